package transport

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// An authority issues certificates for a test.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// issued is a certificate with its key, in PEM.
type issued struct{ cert, key []byte }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	der, err := x509.CreateCertificate(rand.Reader, caTemplate(), caTemplate(), a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// caTemplate is the same for all: authorities that differ in nothing but the key.
func caTemplate() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// issue makes a certificate for clients and servers with one common name.
func (a *authority) issue(name string, change ...func(*x509.Certificate)) issued {
	a.t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, f := range change {
		f(c)
	}
	key := newKey(a.t)
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return issued{
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

func (i issued) pair(t testing.TB) tls.Certificate {
	t.Helper()
	c, err := tls.X509KeyPair(i.cert, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pool is what a client trusts.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// keyFiles are the files that a listener reads.
type keyFiles struct {
	t   testing.TB
	dir string
}

func newKeyFiles(t testing.TB) keyFiles { return keyFiles{t, t.TempDir()} }

// write replaces a file in one step, and returns its name.
func (f keyFiles) write(name string, content []byte) string {
	f.t.Helper()
	name = filepath.Join(f.dir, name)
	if err := os.WriteFile(name+".new", content, 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		f.t.Fatal(err)
	}
	return name
}

func (f keyFiles) put(name string, i issued) Certificate {
	f.t.Helper()
	return Certificate{f.write(name+".crt", i.cert), f.write(name+".key", i.key)}
}

// tlsBox is a box with a TLS listener for the name "broker".
type tlsBox struct {
	*box
	ca    *authority
	files keyFiles
	addr  net.Addr
}

func newTLSBox(t testing.TB, lc func(*tlsBox, *ListenConfig), change ...func(*boxOptions)) *tlsBox {
	t.Helper()
	b := &tlsBox{box: newBox(t, change...), ca: newAuthority(t), files: newKeyFiles(t)}
	pair := b.files.put("server", b.ca.issue("broker"))
	c := ListenConfig{Address: "127.0.0.1:0", TLS: &TLS{Cert: pair.Cert, Key: pair.Key}}
	if lc != nil {
		lc(b, &c)
	}
	var err error
	if b.addr, err = b.srv.Listen(c, b.handler); err != nil {
		t.Fatal(err)
	}
	return b
}

// wantCertificates has clients show certificates of the box's authority.
func wantCertificates(auth string) func(*tlsBox, *ListenConfig) {
	return func(b *tlsBox, lc *ListenConfig) {
		lc.TLS.ClientCA, lc.TLS.ClientAuth = b.files.write("ca.crt", b.ca.pem), auth
	}
}

// tlsClient is the other end of a connection with TLS.
type tlsClient struct {
	*tls.Conn
	t testing.TB
}

func (b *tlsBox) config() *tls.Config { return &tls.Config{RootCAs: b.ca.pool(), ServerName: "broker"} }

// over does the handshake over a socket.
func (b *tlsBox) over(nc net.Conn, cfg *tls.Config) (*tlsClient, error) {
	c := &tlsClient{tls.Client(nc, cfg), b.t}
	return c, c.Handshake()
}

// dialTLS connects, and returns both sides of the connection.
func (b *tlsBox) dialTLS(change ...func(*tls.Config)) (*tlsClient, *probe) {
	b.t.Helper()
	cfg := b.config()
	for _, f := range change {
		f(cfg)
	}
	c, err := b.over(dial(b.t, b.addr), cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	return c, b.next()
}

func (c *tlsClient) send(frames ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *tlsClient) want(w string) {
	c.t.Helper()
	got := make([]byte, len(w))
	n, err := io.ReadFull(c, got)
	if err != nil {
		c.t.Fatalf("%d of %d bytes, then %v", n, len(w), err)
	}
	if string(got) != w {
		c.t.Fatalf("got %s, want %s", short(got), short([]byte(w)))
	}
}

// refused is what a client hears that is turned away, during the handshake or, in
// TLS 1.3, right after its end.
func (b *tlsBox) refused(cfg *tls.Config) error {
	b.t.Helper()
	c, err := b.over(dial(b.t, b.addr), cfg)
	if err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	if err == nil {
		b.t.Fatal("a client was let in that should not")
	}
	return err
}
