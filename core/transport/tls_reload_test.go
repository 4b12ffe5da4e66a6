package transport

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"testing"
	"time"
)

// name returns whose certificate a new client is shown.
func (b *tlsBox) shown(change ...func(*tls.Config)) string {
	b.t.Helper()
	c, _ := b.dialTLS(append(change, func(c *tls.Config) { c.InsecureSkipVerify = true })...)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName
}

// lookNow has the next client find files that have changed.
func (b *tlsBox) lookNow() {
	for _, k := range b.srv.keyrings {
		k.mu.Lock()
		k.mu.looked = time.Time{}
		k.mu.Unlock()
	}
}

// TestTLSReload: a client that comes after the files have changed is shown the
// new certificate; who is connected notices nothing.
func TestTLSReload(t *testing.T) {
	b := newTLSBox(t, nil)
	old, _ := b.dialTLS()
	b.files.put("server", b.ca.issue("renewed"))
	wait(t, "the new certificate is shown", func() bool { return b.shown() == "renewed" })
	if n := b.log.count("certificates reloaded"); n != 1 {
		t.Errorf("it was told %d times", n)
	}
	b.files.put("server", b.ca.issue("again"))
	if err := b.srv.ReloadCertificates(); err != nil {
		t.Fatal(err)
	}
	if got := b.shown(); got != "again" {
		t.Errorf("after a reload %q is shown", got)
	}
	if err := b.srv.ReloadCertificates(); err != nil { // of files that are what they were
		t.Fatal(err)
	}
	if n := b.log.count("certificates reloaded"); n != 2 {
		t.Errorf("it was told %d times, want 2", n)
	}
	old.send(frame('e', "still here"))
	old.want("still here")
}

// TestTLSReloadSeldom: files are not looked at for every client.
func TestTLSReloadSeldom(t *testing.T) {
	b := newTLSBox(t, nil)
	k := b.srv.keyrings[0]
	k.mu.Lock()
	k.mu.looked = time.Now().Add(time.Hour) // no second passes for the files
	k.mu.Unlock()
	b.files.put("server", b.ca.issue("renewed"))
	if got := b.shown(); got != "broker" {
		t.Errorf("%q is shown", got)
	}
	b.lookNow()
	if got := b.shown(); got != "renewed" {
		t.Errorf("then %q is shown", got)
	}
}

// TestTLSReloadBroken: with broken files the old certificate stays, which is
// told once, until they change again.
func TestTLSReloadBroken(t *testing.T) {
	b := newTLSBox(t, wantCertificates("optional"))
	good, ca := b.ca.issue("renewed"), newAuthority(t)
	server := b.srv.keyrings[0].cfg
	for name, s := range map[string]struct {
		file    string
		content []byte
	}{
		"empty certificate": {"server.crt", nil},
		"half certificate":  {"server.crt", good.cert[:100]},
		"another key":       {"server.key", ca.issue("other").key},
		"empty key":         {"server.key", nil},
		"empty client_ca":   {"ca.crt", nil},
		"broken client_ca":  {"ca.crt", []byte(strings.Replace(string(ca.pem), "M", "!", 3))},
	} {
		kept := map[string][]byte{}
		for _, f := range []string{server.Cert, server.Key, server.ClientCA} {
			content, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			kept[f] = content
		}
		before := b.log.count("not reloaded")
		b.files.write(s.file, s.content)
		for range 3 {
			b.lookNow()
			if got := b.shown(); got != "broker" {
				t.Fatalf("%s: %q is shown", name, got)
			}
		}
		if n := b.log.count("not reloaded") - before; n != 1 {
			t.Errorf("%s: it was told %d times", name, n)
		}
		if err := b.srv.ReloadCertificates(); err == nil || !strings.Contains(err.Error(), "listener 127.0.0.1:0: ") {
			t.Errorf("%s: a reload says %v", name, err)
		}
		b.lookNow()
		if got := b.shown(); got != "broker" {
			t.Fatalf("%s: after a reload %q is shown", name, got)
		}
		if n := b.log.count("not reloaded") - before; n != 1 { // who reloads has the error
			t.Errorf("%s: with a reload it was told %d times", name, n)
		}
		for f, content := range kept {
			if err := os.WriteFile(f, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.srv.ReloadCertificates(); err != nil {
			t.Fatalf("%s: with the old files again: %v", name, err)
		}
	}
	// A file that is gone for a moment, as when it is replaced.
	if err := os.Remove(server.Key); err != nil {
		t.Fatal(err)
	}
	b.lookNow()
	if got := b.shown(); got != "broker" {
		t.Errorf("without a key %q is shown", got)
	}
	b.files.put("server", good)
	b.lookNow()
	if got := b.shown(); got != "renewed" {
		t.Errorf("when it is back %q is shown", got)
	}
}

// TestTLSReloadAuthorities: whom a new client_ca does not know is not let in any
// more, not even with a session from before.
func TestTLSReloadAuthorities(t *testing.T) {
	b := newTLSBox(t, wantCertificates("required"))
	cache := tls.NewLRUClientSessionCache(8)
	cfg := b.config()
	cfg.Certificates, cfg.ClientSessionCache = []tls.Certificate{b.ca.issue("alice").pair(t)}, cache
	for range 2 {
		c, err := b.over(dial(t, b.addr), cfg)
		if err != nil {
			t.Fatal(err)
		}
		b.next()
		c.send(frame('e', "x"))
		c.want("x") // a session ticket would have come before
		c.Close()
	}
	b.files.write("ca.crt", newAuthority(t).pem)
	if err := b.srv.ReloadCertificates(); err != nil {
		t.Fatal(err)
	}
	_ = b.refused(cfg)
}

// TestTLSNames: a client gets the certificate for the name that it asks for, and
// otherwise the first.
func TestTLSNames(t *testing.T) {
	b := newTLSBox(t, func(b *tlsBox, lc *ListenConfig) {
		lc.TLS.Certificates = []Certificate{
			b.files.put("two", b.ca.issue("two.example")),
			b.files.put("wild", b.ca.issue("wild", func(c *x509.Certificate) { c.DNSNames = []string{"*.devices.example"} })),
		}
	})
	for asked, want := range map[string]string{
		"two.example": "two.example", "TWO.example": "two.example", "a.devices.example": "wild",
		"broker": "broker", "unknown.example": "broker", "a.b.devices.example": "broker", "": "broker",
	} {
		if got := b.shown(func(c *tls.Config) { c.ServerName = asked }); got != want {
			t.Errorf("who asks for %q is shown %q, want %q", asked, got, want)
		}
	}
	b.files.put("two", b.ca.issue("two, renewed", func(c *x509.Certificate) { c.DNSNames = []string{"two.example"} }))
	b.lookNow()
	if got := b.shown(func(c *tls.Config) { c.ServerName = "two.example" }); got != "two, renewed" {
		t.Errorf("of the others, %q is shown after a change", got)
	}
}
