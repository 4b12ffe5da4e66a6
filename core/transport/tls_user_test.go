package transport

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

// show has a client show a certificate.
func show(t testing.TB, i issued) func(*tls.Config) {
	return func(c *tls.Config) {
		pair := i.pair(t)
		// Whatever the server says it accepts.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
}

// TestCertificateUser: the name in the certificate is the user, exactly one, and
// literally.
func TestCertificateUser(t *testing.T) {
	address, err := url.Parse("spiffe://example/sensor")
	if err != nil {
		t.Fatal(err)
	}
	subject := pkix.Name{CommonName: "alice", Organization: []string{"Ex, ample"}, Country: []string{"DE"}}
	full := func(c *x509.Certificate) {
		c.Subject, c.DNSNames, c.EmailAddresses, c.URIs = subject, []string{"sensor.example"}, []string{"a@example"}, []*url.URL{address}
	}
	twice := func(c *x509.Certificate) {
		c.Subject.ExtraNames = []pkix.AttributeTypeAndValue{
			{Type: oidCommonName, Value: "mallory"}, {Type: oidCommonName, Value: "alice"},
		}
		c.DNSNames, c.EmailAddresses = []string{"a.example", "b.example"}, []string{"a@example", "b@example"}
		c.URIs = []*url.URL{address, address}
	}
	none := func(c *x509.Certificate) { c.Subject, c.DNSNames = pkix.Name{}, nil }
	for from, want := range map[string][4]string{ // full, twice, none, odd
		"":      {"alice", "", "", "#/+\x00:%u"},
		"cn":    {"alice", "", "", "#/+\x00:%u"},
		"dns":   {"sensor.example", "", "", ""},
		"email": {"a@example", "", "", ""},
		"uri":   {address.String(), "", "", ""},
		"dn":    {`CN=alice,O=Ex\, ample,C=DE`, "CN=alice,CN=mallory", "", "CN=\\#/\\+\x00:%u"},
	} {
		t.Run(from, func(t *testing.T) {
			b := newTLSBox(t, func(b *tlsBox, lc *ListenConfig) {
				wantCertificates("required")(b, lc)
				lc.TLS.UserFrom = from
			})
			for i, change := range []func(*x509.Certificate){full, twice, none, func(c *x509.Certificate) {
				none(c)
				c.Subject.CommonName = "#/+\x00:%u"
			}} {
				c, h := b.dialTLS(show(t, b.ca.issue("alice", change)))
				name, ok := h.conn.CertificateUser()
				if name != want[i] || !ok {
					t.Errorf("certificate %d: %q, %v, want %q", i, name, ok, want[i])
				}
				c.Close()
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		b := newTLSBox(t, func(b *tlsBox, lc *ListenConfig) {
			wantCertificates("required")(b, lc)
			lc.TLS.UserFrom = "none"
		})
		_, h := b.dialTLS(show(t, b.ca.issue("alice")))
		if name, ok := h.conn.CertificateUser(); ok || name != "" {
			t.Errorf("%q, %v", name, ok)
		}
	})
}

// TestClientCertificates: only a certificate whose chain holds lets a client in,
// one that looks the same from another authority does not. [SECURITY 15]
func TestClientCertificates(t *testing.T) {
	old := func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
	early := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }
	server := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	for _, auth := range []string{"required", "optional"} {
		t.Run(auth, func(t *testing.T) {
			b := newTLSBox(t, wantCertificates(auth))
			// Same subject, same serial number, same issuer: only the key differs.
			impostor := newAuthority(t)
			if impostor.cert.Subject.String() != b.ca.cert.Subject.String() || impostor.cert.SerialNumber.Cmp(b.ca.cert.SerialNumber) != 0 {
				t.Fatal("the authorities can be told apart")
			}
			self := impostor.pem
			keyDER, err := x509.MarshalPKCS8PrivateKey(impostor.key)
			if err != nil {
				t.Fatal(err)
			}
			for name, i := range map[string]issued{
				"another authority": impostor.issue("alice"),
				"expired":           b.ca.issue("alice", old),
				"not yet valid":     b.ca.issue("alice", early),
				"for servers":       b.ca.issue("alice", server),
				"self-signed":       {self, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})},
			} {
				cfg := b.config()
				show(t, i)(cfg)
				if err := b.refused(cfg); !strings.Contains(err.Error(), "tls:") {
					t.Errorf("%s: the client hears %v", name, err)
				}
			}
			// An authority that brings along its own root.
			chain := impostor.issue("alice")
			chain.cert = append(chain.cert, impostor.pem...)
			cfg := b.config()
			show(t, chain)(cfg)
			_ = b.refused(cfg)

			if auth == "required" {
				_ = b.refused(b.config())
			} else {
				_, h := b.dialTLS()
				if name, ok := h.conn.CertificateUser(); ok {
					t.Errorf("nobody's certificate names %q", name)
				}
			}
			_, h := b.dialTLS(show(t, b.ca.issue("alice")))
			if name, ok := h.conn.CertificateUser(); name != "alice" || !ok {
				t.Errorf("a good certificate names %q, %v", name, ok)
			}
			if len(b.probes) != 0 {
				t.Errorf("%d more were served", len(b.probes))
			}
		})
	}
}

// TestNoCertificateWanted: where none is asked for, none counts.
func TestNoCertificateWanted(t *testing.T) {
	b := newTLSBox(t, nil)
	_, h := b.dialTLS(show(t, b.ca.issue("alice")))
	if name, ok := h.conn.CertificateUser(); ok {
		t.Errorf("the user is %q", name)
	}
}

// TestTLSConfigRefused: a listener of which the certificates are not what they
// should be is not opened. [SECURITY 15]
func TestTLSConfigRefused(t *testing.T) {
	b := newBox(t)
	ca, files := newAuthority(t), newKeyFiles(t)
	good := files.put("server", ca.issue("broker"))
	other := files.put("other", ca.issue("other"))
	leaf := ca.issue("leaf")
	n := 0
	with := func(content string) TLS {
		n++
		return TLS{Cert: good.Cert, Key: good.Key, ClientAuth: "required", ClientCA: files.write("ca"+strconv.Itoa(n), []byte(content))}
	}
	pemCA := string(ca.pem)
	for name, c := range map[string]TLS{
		"nothing":                  {},
		"no key":                   {Cert: good.Cert},
		"no cert":                  {Key: good.Key},
		"no such file":             {Cert: good.Cert + "x", Key: good.Key},
		"key of another":           {Cert: good.Cert, Key: other.Key},
		"second without key":       {Cert: good.Cert, Key: good.Key, Certificates: []Certificate{{Cert: other.Cert}}},
		"second with another key":  {Cert: good.Cert, Key: good.Key, Certificates: []Certificate{{other.Cert, good.Key}}},
		"client_ca not used":       {Cert: good.Cert, Key: good.Key, ClientCA: good.Cert},
		"no client_ca":             {Cert: good.Cert, Key: good.Key, ClientAuth: "required"},
		"no client_ca, optional":   {Cert: good.Cert, Key: good.Key, ClientAuth: "optional"},
		"client_ca not there":      {Cert: good.Cert, Key: good.Key, ClientAuth: "required", ClientCA: good.Cert + "x"},
		"client_ca a directory":    {Cert: good.Cert, Key: good.Key, ClientAuth: "required", ClientCA: files.dir},
		"client_auth unknown":      {Cert: good.Cert, Key: good.Key, ClientAuth: "yes", ClientCA: good.Cert},
		"min_version unknown":      {Cert: good.Cert, Key: good.Key, MinVersion: "1.1"},
		"user_from unknown":        {Cert: good.Cert, Key: good.Key, UserFrom: "serial"},
		"client_ca empty":          with(""),
		"client_ca blank":          with(" \n\n"),
		"client_ca text":           with("the authority is over there"),
		"client_ca a key":          with(string(leaf.key)),
		"client_ca with a key":     with(pemCA + string(leaf.key)),
		"client_ca no authority":   with(string(leaf.cert)),
		"client_ca cut":            with(pemCA[:len(pemCA)/2]),
		"client_ca, second cut":    with(pemCA + pemCA[:len(pemCA)/2]),
		"client_ca, first damaged": with(strings.Replace(pemCA, "M", "!", 1) + pemCA),
		"client_ca no certificate": with(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}))),
	} {
		if _, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0", TLS: &c}, b.handler); err == nil {
			t.Errorf("%s: it listens", name)
		} else if !strings.Contains(err.Error(), "tls") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0", TLS: &c}); err == nil {
			t.Errorf("%s: it accepts", name)
		}
	}
	for name, c := range map[string]TLS{
		"one":               {Cert: good.Cert, Key: good.Key},
		"list":              {Certificates: []Certificate{good, other}},
		"with client_ca":    with(pemCA),
		"with two and text": with("ours:\n" + pemCA + "\ntheirs:\n" + string(newAuthority(t).pem)),
	} {
		if _, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0", TLS: &c}, b.handler); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
