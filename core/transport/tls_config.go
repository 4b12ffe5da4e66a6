package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// TLS are the settings of a listener with TLS.
type TLS struct {
	Cert         string        `yaml:"cert" doc:"File with the certificate and those that lead to its root, in PEM. Like all files here it is read again when it changes, without a restart."`
	Key          string        `yaml:"key" doc:"File with the private key, in PEM."`
	Certificates []Certificate `yaml:"certificates" doc:"More certificates: a client gets the first that fits the name it asks for (SNI), or else the first of all."`
	ClientCA     string        `yaml:"client_ca" doc:"File with the authorities whose client certificates are taken, in PEM."`
	ClientAuth   string        `yaml:"client_auth" enum:"none,optional,required" doc:"Whether clients show a certificate. One that is shown must be valid."`
	MinVersion   string        `yaml:"min_version" enum:"1.2,1.3" doc:"Oldest version of TLS that is spoken."`
	UserFrom     string        `yaml:"user_from" enum:"none,cn,dn,dns,email,uri" doc:"What of a client certificate is the user name, instead of the one in the login, with no password asked for: the common name, the whole subject (RFC 2253), or the alternative name of a kind. There must be exactly one. none: clients log in as without a certificate."`
}

// A Certificate is a pair of files.
type Certificate struct {
	Cert string `yaml:"cert" doc:"File with the certificate and those that lead to its root, in PEM."`
	Key  string `yaml:"key" doc:"File with the private key, in PEM."`
}

// SetDefaults gives a listener what it need not be told.
func (t *TLS) SetDefaults() { t.ClientAuth, t.MinVersion, t.UserFrom = "none", "1.2", "cn" }

// withDefaults fills in what a struct made by hand does not say.
func (t TLS) withDefaults() TLS {
	d := TLS{}
	d.SetDefaults()
	for _, f := range [...]struct{ have, want *string }{
		{&t.ClientAuth, &d.ClientAuth}, {&t.MinVersion, &d.MinVersion}, {&t.UserFrom, &d.UserFrom},
	} {
		if *f.have == "" {
			*f.have = *f.want
		}
	}
	return t
}

// Validate checks the settings, but not the files that they name.
func (t TLS) Validate() error {
	t = t.withDefaults()
	var errs []error
	for _, c := range t.pairs() {
		if c.Cert == "" || c.Key == "" {
			errs = append(errs, errors.New("a certificate needs a file for cert and one for key"))
		}
	}
	if len(t.pairs()) == 0 {
		errs = append(errs, errors.New("there is no certificate: give cert and key"))
	}
	if _, ok := minVersions[t.MinVersion]; !ok {
		errs = append(errs, fmt.Errorf("min_version %q is neither 1.2 nor 1.3", t.MinVersion))
	}
	if _, ok := clientAuths[t.ClientAuth]; !ok {
		errs = append(errs, fmt.Errorf("client_auth %q is not none, optional or required", t.ClientAuth))
	}
	if _, ok := userSources[t.UserFrom]; !ok && t.UserFrom != "none" {
		errs = append(errs, fmt.Errorf("user_from %q is not none, cn, dn, dns, email or uri", t.UserFrom))
	}
	switch {
	case t.ClientAuth == "none" && t.ClientCA != "":
		errs = append(errs, errors.New("client_ca does nothing while client_auth is none"))
	case t.ClientAuth != "none" && t.ClientCA == "":
		errs = append(errs, fmt.Errorf("client_auth %s needs a client_ca", t.ClientAuth))
	}
	return errors.Join(errs...)
}

// pairs returns the pairs of files, the one to fall back to first.
func (t TLS) pairs() []Certificate {
	if t.Cert == "" && t.Key == "" {
		return t.Certificates
	}
	return append([]Certificate{{t.Cert, t.Key}}, t.Certificates...)
}

var minVersions = map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}

var clientAuths = map[string]tls.ClientAuthType{
	"none": tls.NoClientCert, "optional": tls.VerifyClientCertIfGiven, "required": tls.RequireAndVerifyClientCert,
}
