package main

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCheckFiles: naru check finds good what the node starts with, and nothing
// else, as far as certificates and keys go.
func TestCheckFiles(t *testing.T) {
	e := &edge{T: t, dir: t.TempDir()}
	e.certificates()
	e.selfSigned("old", time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour))
	e.selfSigned("early", time.Now().Add(time.Hour), time.Now().Add(2*time.Hour))
	for name, content := range map[string]string{"empty.pem": "", "text.pem": "no certificate\n"} {
		if err := os.WriteFile(filepath.Join(e.dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, tls string
		faults    []string // that the error names; none: it is good
		warning   string
	}{
		{"good", "cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/ca.pem, client_auth: required", nil, ""},
		{"no certificate", "cert: DIR/none.pem, key: DIR/server.key", []string{"none.pem"}, ""},
		{"no key", "cert: DIR/server.pem, key: DIR/none.key", []string{"none.key"}, ""},
		{"another key", "cert: DIR/server.pem, key: DIR/alice.key", []string{"alice.key", "does not match"}, ""},
		{"no PEM", "cert: DIR/text.pem, key: DIR/server.key", []string{"text.pem"}, ""},
		{"a directory", "cert: DIR, key: DIR/server.key", []string{"directory"}, ""},
		{"no authority", "cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/alice.pem, client_auth: optional", []string{"client_ca", "alice"}, ""},
		{"empty authority", "cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/empty.pem, client_auth: optional", []string{"client_ca"}, ""},
		{"the second one", "cert: DIR/server.pem, key: DIR/server.key, certificates: [{cert: DIR/bob.pem, key: DIR/alice.key}]", []string{"bob.pem"}, ""},
		{"several", "cert: DIR/none.pem, key: DIR/server.key, client_ca: DIR/none-ca.pem, client_auth: optional", []string{"none.pem", "none-ca.pem"}, ""},
		{"expired", "cert: DIR/old.pem, key: DIR/old.key", nil, "CN=old has expired"},
		{"not yet valid", "cert: DIR/early.pem, key: DIR/early.key", nil, "CN=early is not valid before"},
		{"expired authority", "cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/old.pem, client_auth: optional", nil, "CN=old has expired"},
	} {
		for _, protocol := range []string{"mqtt", "amqp", "ws"} {
			t.Run(c.name+"/"+protocol, func(t *testing.T) {
				src := e.listener(t, protocol, c.tls)
				out, err := runCheck(t, src)
				if (err == nil) != (len(c.faults) == 0) || strings.Contains(out, "is good") != (err == nil) {
					t.Errorf("check: %v\n%s", err, out)
				}
				for _, want := range append(c.faults, protocol+".listeners.0.tls: ") {
					if err != nil && !strings.Contains(err.Error(), want) {
						t.Errorf("check does not name %s: %v", want, err)
					}
				}
				if strings.Contains(out, "warning") != (c.warning != "") || !strings.Contains(out, c.warning) {
					t.Errorf("check, want the warning %q:\n%s", c.warning, out)
				}
				log, started := e.start(t, src)
				if (started == nil) != (err == nil) {
					t.Errorf("check says %v, the start %v", err, started)
				}
				if !strings.Contains(log, c.warning) || strings.Contains(log, "not valid now") != (c.warning != "") {
					t.Errorf("the log of the start, want the warning %q:\n%s", c.warning, log)
				}
			})
		}
	}
}

// TestCheckUnserved: what is not served is not looked at, neither here nor there.
func TestCheckUnserved(t *testing.T) {
	e := &edge{T: t, dir: t.TempDir()}
	for protocol, change := range map[string][2]string{
		"mqtt": {"mqtt: {enabled: true", "mqtt: {enabled: false"},
		"amqp": {"amqp: {enabled: true", "amqp: {enabled: false"},
		"ws":   {"mqtt: {enabled: true", "mqtt: {enabled: false"}, // there is nothing to carry
	} {
		src := e.listener(t, protocol, "cert: DIR/none.pem, key: DIR/none.key")
		text, err := os.ReadFile(src.file)
		if err != nil {
			t.Fatal(err)
		}
		text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
		if err := os.WriteFile(src.file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := runCheck(t, src); err != nil {
			t.Errorf("%s: check: %v\n%s", protocol, err, out)
		}
		if _, err := e.start(t, src); err != nil {
			t.Errorf("%s: start: %v", protocol, err)
		}
	}
}

// TestReloadBadCertificate: what is wrong with a certificate is told once when the
// configuration is read again, with the listener.
func TestReloadBadCertificate(t *testing.T) {
	e := &edge{T: t, dir: t.TempDir()}
	e.certificates()
	src := e.listener(t, "mqtt", "cert: DIR/server.pem, key: DIR/server.key")
	cfg, report, err := src.load()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n := newNode(cfg, slog.New(slog.NewTextHandler(&out, nil)))
	defer func() {
		if err := n.close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	if err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(e.dir, "alice.key"), filepath.Join(e.dir, "server.key")); err != nil {
		t.Fatal(err)
	}
	out.Reset() // nobody connects, so nobody else writes
	r := newReloader(n, new(slog.LevelVar), src, report)
	r.log(r.reload())
	log := out.String()
	if strings.Count(log, "level=ERROR") != 1 || strings.Count(log, "does not match") != 1 || !strings.Contains(log, "listener 127.0.0.1:0: ") {
		t.Errorf("the log of a reload:\n%s", log)
	}
}

// listener writes a configuration with one listener, that with TLS.
func (e *edge) listener(t *testing.T, protocol, tls string) source {
	t.Helper()
	var text strings.Builder
	for _, p := range []string{"mqtt", "amqp", "ws"} {
		switch {
		case p == protocol:
			text.WriteString(p + `: {enabled: true, listeners: [{address: "127.0.0.1:0", tls: {` + strings.ReplaceAll(tls, "DIR", e.dir) + "}}]}\n")
		case p == "mqtt" && protocol == "ws":
			text.WriteString("mqtt: {enabled: true, listeners: []}\n") // carried
		default:
			text.WriteString(p + ": {enabled: false}\n")
		}
	}
	text.WriteString("store: {engine: memory}\nmetrics: {enabled: false}\noperator: {enabled: false}\n")
	file := filepath.Join(t.TempDir(), "naru.yaml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return source{file: file}
}

// start has a node start and stop, and returns what it has logged.
func (e *edge) start(t *testing.T, src source) (log string, err error) {
	t.Helper()
	cfg, _, err := src.load()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	n := newNode(cfg, slog.New(slog.NewTextHandler(&out, nil)))
	err = n.start(t.Context())
	if closed := n.close(t.Context()); closed != nil {
		t.Errorf("close: %v", closed)
	}
	return out.String(), err
}

func runCheck(t *testing.T, src source) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd := newCommand()
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SetArgs([]string{"check", src.file})
	err := cmd.ExecuteContext(t.Context())
	return out.String(), err
}

// selfSigned writes the certificate of an authority that is its own server, with
// its key.
func (e *edge) selfSigned(name string, from, until time.Time) {
	e.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true,
	}
	e.issue(name, c, c, nil)
}
