package transport

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
)

// identify notes on the wire whom the client's certificate names. crypto/tls has
// verified its whole chain.
func (k *keyring) identify(w *Wire, state tls.ConnectionState) {
	from := userSources[k.cfg.UserFrom]
	if from == nil || len(state.VerifiedChains) == 0 {
		return
	}
	w.certified = true
	// Of two names neither is taken: which one the authority has vouched for, and
	// for what, cannot be known here.
	if names := from(state.VerifiedChains[0][0]); len(names) == 1 {
		w.user = names[0]
	}
}

// userSources find the names in a certificate, by the value of user_from.
var userSources = map[string]func(*x509.Certificate) []string{
	"cn": commonNames,
	"dn": func(c *x509.Certificate) []string {
		var subject pkix.RDNSequence
		if rest, err := asn1.Unmarshal(c.RawSubject, &subject); err != nil || len(rest) > 0 || len(subject) == 0 {
			return nil
		}
		return []string{subject.String()}
	},
	"dns":   func(c *x509.Certificate) []string { return c.DNSNames },
	"email": func(c *x509.Certificate) []string { return c.EmailAddresses },
	"uri": func(c *x509.Certificate) (names []string) {
		for _, u := range c.URIs {
			names = append(names, u.String())
		}
		return names
	},
}

var oidCommonName = asn1.ObjectIdentifier{2, 5, 4, 3}

func commonNames(c *x509.Certificate) (names []string) {
	for _, a := range c.Subject.Names {
		if name, ok := a.Value.(string); ok && a.Type.Equal(oidCommonName) {
			names = append(names, name)
		}
	}
	return names
}
