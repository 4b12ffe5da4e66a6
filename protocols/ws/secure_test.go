package ws

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core/transport"
)

// certificate writes one for 127.0.0.1 and returns its files and who trusts it.
func certificate(t testing.TB) (*transport.TLS, *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := &transport.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	for name, b := range map[string][]byte{files.Cert: cert, files.Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	return files, &tls.Config{RootCAs: pool}
}

// TestSecure speaks wss: both ways, large and small, to the closing frame, and
// serves the page.
func TestSecure(t *testing.T) {
	files, trust := certificate(t)
	b := newBox(t, func(o *boxOptions) { o.Listeners[0].TLS = files })
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: patience, TLSClientConfig: trust}
	ws, _, err := d.Dial("wss://"+b.addr+"/mqtt", http.Header{"Origin": {"https://" + b.addr}})
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.SetReadDeadline(time.Now().Add(2 * patience))
	c := &client{Conn: ws, t: t}
	c.send(append(connectPacket("secure"), subscribePacket("secure")...))
	c.want(raw("20 02 00 00 90 03 0001 00"))
	for _, size := range []int{0, 1, 200, 4096, 70_000, 5 << 20} {
		p := publishPacket("secure", bytes.Repeat([]byte{0xa7}, size))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for rest := p; len(rest) > 0; {
				k := min(len(rest), 100_003)
				if err := ws.WriteMessage(websocket.BinaryMessage, rest[:k]); err != nil {
					t.Error(err)
					return
				}
				rest = rest[k:]
			}
		}()
		c.want(p)
		<-done
	}
	c.sendHex("e0 00")
	c.wantClose(websocket.CloseNormalClosure)

	tr := &http.Transport{TLSClientConfig: trust, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + b.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 1 || !strings.Contains(resp.Header.Get("Content-Type"), "html") {
		t.Errorf("the page: %s %s", resp.Proto, resp.Status)
	}
}

// TestUnix: a proxy on the same machine may come by a Unix socket.
func TestUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ws")
	b := newBox(t, func(o *boxOptions) { o.Listeners[0].Address = "unix:" + path })
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: patience, NetDial: func(string, string) (net.Conn, error) {
		return net.Dial("unix", path)
	}}
	ws, _, err := d.Dial("ws://broker.example/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	ws.SetReadDeadline(time.Now().Add(2 * patience))
	c := &client{Conn: ws, t: t}
	c.send(connectPacket("unix"))
	c.want(raw("20 02 00 00"))
	if _, resp, err := d.Dial("ws://broker.example/mqtt", http.Header{"Origin": {"http://broker.example"}}); err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a page that somebody's proxy leads here: %v, %v", resp, err)
	}
	if n := b.srv.Open(); n < 1 {
		t.Errorf("%d connections", n)
	}
}

// TestListenerRules: what the listener says of anonymous clients holds for those
// who come by WebSocket.
func TestListenerRules(t *testing.T) {
	no := false
	b := newBox(t, func(o *boxOptions) { o.Listeners[0].Anonymous = &no })
	c := b.dial()
	c.send(connectPacket("nobody"))
	c.want(raw("20 02 00 04")) // as to every login that fails
	c.wantClose(websocket.ClosePolicyViolation)
}
