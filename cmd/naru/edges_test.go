package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/config"
)

// edge is a node that runs in the test, with a file as its configuration. Its
// listeners are numbered as they stand there.
type edge struct {
	*testing.T
	dir  string
	node *node
}

func startEdge(t *testing.T, yaml string) *edge {
	t.Helper()
	e := &edge{T: t, dir: t.TempDir()}
	e.certificates()
	file := filepath.Join(e.dir, "naru.yaml")
	if !strings.Contains(yaml, "\namqp:") {
		yaml += "\namqp: {enabled: false}"
	}
	yaml = strings.ReplaceAll(yaml, "DIR", e.dir) + `
store: {engine: memory}
metrics: {enabled: false}
ws: {enabled: false}
operator: {enabled: false}
`
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	if _, err := config.Load(&cfg, config.Sources{File: file}); err != nil {
		t.Fatal(err)
	}
	e.node = newNode(&cfg, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := e.node.close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := e.node.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return e
}

// certificates writes ca.pem, root.pem, and a certificate with its key for server, alice
// and bob.
func (e *edge) certificates() {
	e.Helper()
	template := func(name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
	}
	ca := template("ca")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	key, der := e.issue("ca", ca, ca, nil)
	e.write("root.pem", "CERTIFICATE", der) // what clients trust
	for _, name := range []string{"server", "alice", "bob"} {
		e.issue(name, template(name), ca, key)
	}
}

// issue makes a key, and a certificate for it that the key of the issuer signs, nil:
// itself. It writes both.
func (e *edge) issue(name string, c, issuer *x509.Certificate, signer *ecdsa.PrivateKey) (key *ecdsa.PrivateKey, der []byte) {
	e.Helper()
	must := func(err error) {
		e.Helper()
		if err != nil {
			e.Fatal(err)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	if signer == nil {
		signer = key
	}
	der, err = x509.CreateCertificate(rand.Reader, c, issuer, key.Public(), signer)
	must(err)
	e.write(name+".pem", "CERTIFICATE", der)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	e.write(name+".key", "PRIVATE KEY", private)
	return key, der
}

func (e *edge) write(name, kind string, der []byte) {
	e.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		e.Fatal(err)
	}
}

// dial connects to a listener, with words before everything else.
func (e *edge) dial(listener int, first string) net.Conn {
	e.Helper()
	a := e.node.mqtt.Addrs()[listener]
	c, err := net.Dial(a.Network(), a.String())
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		e.Fatal(err)
	}
	if _, err := io.WriteString(c, first); err != nil {
		e.Fatal(err)
	}
	return c
}

// secure does the handshake of TLS, with the certificate of that name if there is
// one.
func (e *edge) secure(c net.Conn, name string) net.Conn {
	e.Helper()
	pool := x509.NewCertPool()
	authority, err := os.ReadFile(filepath.Join(e.dir, "root.pem"))
	if err != nil || !pool.AppendCertsFromPEM(authority) {
		e.Fatal("no authority", err)
	}
	cfg := &tls.Config{RootCAs: pool, ServerName: "server"}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(e.dir, name+".pem"), filepath.Join(e.dir, name+".key"))
		if err != nil {
			e.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return tls.Client(c, cfg)
}

// field is a string as MQTT writes it.
func field(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

// login sends CONNECT and returns the code of the answer.
func (e *edge) login(c net.Conn, user, password string) byte {
	e.Helper()
	flags, rest := byte(2), ""
	if user != "" {
		flags |= 0x80
		rest += field(user)
	}
	if password != "" {
		flags |= 0x40
		rest += field(password)
	}
	body := "\x00\x04MQTT\x04" + string([]byte{flags}) + "\x00\x00" + field("") + rest
	if _, err := io.WriteString(c, "\x10"+string([]byte{byte(len(body))})+body); err != nil {
		e.Fatal(err)
	}
	var answer [4]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil || answer[0] != 0x20 {
		e.Fatalf("the answer is % x, %v", answer, err)
	}
	return answer[3]
}

// TestLoopbackBehindProxy: behind a proxy on this machine the real client must be
// here for what is only for this machine. [SECURITY 14]
func TestLoopbackBehindProxy(t *testing.T) {
	e := startEdge(t, `
mqtt:
  listeners:
  - {address: "127.0.0.1:0"}
  - {address: "127.0.0.1:0", proxy_protocol: true}
  - {address: "unix:DIR/s"}
  - {address: "unix:DIR/p", proxy_protocol: true}
`)
	const (
		remote  = "PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n"
		local   = "PROXY TCP4 127.0.0.1 127.0.0.1 12345 1883\r\n"
		unknown = "PROXY UNKNOWN\r\n"
		check   = "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00" // LOCAL
	)
	for _, s := range []struct {
		listener int
		header   string
		here     bool
	}{
		{0, "", true}, {2, "", true},
		{1, local, true}, {1, remote, false}, {1, unknown, false}, {1, check, false},
		{3, local, true}, {3, remote, false}, {3, unknown, false}, {3, check, false},
	} {
		for _, user := range []string{"", "guest"} {
			code := e.login(e.dial(s.listener, s.header), user, user)
			if (code == 0) != s.here {
				t.Errorf("listener %d, header %q, user %q: code %d", s.listener, s.header, user, code)
			}
		}
	}
}

// TestCertificateLogin: who shows a certificate is the user in it, whatever the
// login says; who is not to come that way does not.
func TestCertificateLogin(t *testing.T) {
	e := startEdge(t, `
users:
  alice: {certificate: true, acl: ["write a/#"]}
  bob: {password: "$argon2id$v=19$m=19456,t=2,p=1$7wCMiUhTUZVivhZWycAaVg$krZGYTKIWS+JSdZl9stOtCDKu8UM5AmXy4CVF2MSzJY"}
vhosts: [{name: other}]
mqtt:
  listeners:
  - {address: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/ca.pem, client_auth: optional}}
  - {address: "127.0.0.1:0", anonymous: false, vhost: other, tls: {cert: DIR/server.pem, key: DIR/server.key}}
  - {address: "127.0.0.1:0", proxy_protocol: true, tls: {cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/ca.pem, client_auth: required}}
`)
	const proxied = "PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n"
	for _, s := range []struct {
		listener                          int
		header, certificate, user, secret string
		code                              byte
	}{
		{0, "", "alice", "", "", 0},
		{0, "", "alice", "bob", "wrong", 0}, // alice still
		{0, "", "alice", "other:bob", "x", 0},
		{0, "", "bob", "", "", 4},         // comes with a password
		{0, "", "bob", "bob", "guest", 4}, // and with nothing else beside
		{0, "", "server", "", "", 4},      // nobody knows
		{0, "", "", "", "", 0},            // anonymous, from here
		{0, "", "", "bob", "guest", 0},
		{0, "", "", "bob", "wrong", 4},
		{0, "", "", "alice", "guest", 4}, // has no password
		{1, "", "", "", "", 4},           // no anonymous clients there
		{1, "", "", "bob", "guest", 0},
		{2, proxied, "alice", "", "", 0},
	} {
		c := e.secure(e.dial(s.listener, s.header), s.certificate)
		if code := e.login(c, s.user, s.secret); code != s.code {
			t.Errorf("%+v: code %d", s, code)
		}
	}
	// The rights are those of the user in the certificate.
	for certificate, want := range map[string]byte{"alice": 0x80, "": 0} {
		c := e.secure(e.dial(0, ""), certificate)
		if code := e.login(c, "bob", "guest"); code != 0 {
			t.Fatalf("code %d", code)
		}
		if _, err := io.WriteString(c, "\x82\x06\x00\x01\x00\x01b\x00"); err != nil {
			t.Fatal(err)
		}
		var answer [5]byte
		if _, err := io.ReadFull(c, answer[:]); err != nil || answer[0] != 0x90 || answer[4] != want {
			t.Errorf("certificate of %q: SUBACK % x, %v", certificate, answer, err)
		}
	}
}

// TestBrokenClientCA: with an authority that is none the broker does not start,
// and with a broken file a reload keeps what there was. [SECURITY 15]
func TestBrokenClientCA(t *testing.T) {
	e := startEdge(t, `
mqtt:
  listeners:
  - {address: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/ca.pem, client_auth: required, user_from: none}}
`)
	if code := e.login(e.secure(e.dial(0, ""), "alice"), "", ""); code != 0 {
		t.Fatalf("code %d", code)
	}
	good, err := os.ReadFile(filepath.Join(e.dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.dir, "ca.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.node.srv.ReloadCertificates(); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("a reload says %v", err)
	}
	other := newNode(e.node.cfg, slog.New(slog.DiscardHandler))
	if err := other.start(t.Context()); err == nil || !strings.Contains(err.Error(), "client_ca") {
		t.Errorf("a start says %v", err)
	}
	if err := other.close(t.Context()); err != nil {
		t.Error(err)
	}
	if code := e.login(e.secure(e.dial(0, ""), "alice"), "", ""); code != 0 {
		t.Errorf("with the old authority: code %d", code)
	}
	if err := os.WriteFile(filepath.Join(e.dir, "ca.pem"), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := e.node.srv.ReloadCertificates(); err != nil {
		t.Error(err)
	}
}

// TestLargeOverTLS sends a message of several megabytes from one client with TLS
// to another.
func TestLargeOverTLS(t *testing.T) {
	const size = 5_000_000
	e := startEdge(t, `
mqtt:
  listeners: [{address: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, min_version: "1.3"}}]
`)
	sub, pub := e.secure(e.dial(0, ""), ""), e.secure(e.dial(0, ""), "")
	for _, c := range []net.Conn{sub, pub} {
		if code := e.login(c, "", ""); code != 0 {
			t.Fatalf("code %d", code)
		}
	}
	if _, err := io.WriteString(sub, "\x82\x06\x00\x01\x00\x01a\x01"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(sub, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = byte(i>>16 ^ i>>8 ^ i)
	}
	n := size + 5 // with topic and packet id
	head := []byte{0x32, byte(n) | 0x80, byte(n>>7) | 0x80, byte(n>>14) | 0x80, byte(n >> 21), 0, 1, 'a', 0, 1}
	packet := append(head, payload...)
	if _, err := pub.Write(packet); err != nil {
		t.Fatal(err)
	}
	var ack [4]byte
	if _, err := io.ReadFull(pub, ack[:]); err != nil || ack != [4]byte{0x40, 2, 0, 1} {
		t.Errorf("PUBACK % x, %v", ack, err)
	}
	got := make([]byte, len(packet))
	if _, err := io.ReadFull(sub, got); err != nil || !bytes.Equal(got, packet) {
		t.Errorf("it arrived broken, %v", err)
	}
}
