package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

// An authority signs certificates, as files in a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

// newAuthority writes name.pem, the certificate of a new authority.
func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{dir: dir}
	a.cert, a.key = a.sign(t, name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign writes name.pem and name.key.
func (a *authority) sign(t *testing.T, name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	a.next++
	c.SerialNumber, c.Subject = big.NewInt(a.next), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	must(t, err)
	secret, err := x509.MarshalECPrivateKey(key)
	must(t, err)
	must(t, os.WriteFile(a.file(name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(a.file(name+".key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), 0o600))
	signed, err := x509.ParseCertificate(der)
	must(t, err)
	return signed, key
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// server and client sign what the two ends of a connection show.
func (a *authority) server(t *testing.T, name string, addresses []net.IP, names ...string) {
	a.sign(t, name, &x509.Certificate{
		IPAddresses: addresses, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

func (a *authority) client(t *testing.T, name string) {
	a.sign(t, name, &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

// secureNaru starts a broker with a plain WebSocket listener (broker.WS) and, in
// front of that, these: mqtts, wss, mqtts with client certificates, Unix.
func secureNaru(t *testing.T, a *authority) (b *Broker, mqtts, wss, mutual, socket string) {
	t.Helper()
	socket = a.file("s")
	b, err := run(t, func(dir string, ports [2]int) (*Broker, error) {
		more, err := process.FreePorts(3)
		if err != nil {
			return nil, err
		}
		mqtts, wss, mutual = fmt.Sprint(more[0]), fmt.Sprint(more[1]), fmt.Sprint(more[2])
		tls := fmt.Sprintf("cert: %s, key: %s", a.file("server.pem"), a.file("server.key"))
		conf := fmt.Sprintf(`
data_dir: %s/data
bus: {min_free_disk: 0}
metrics: {address: "127.0.0.1:0"}
amqp: {enabled: false}
ws:
  listeners:
  - {address: "127.0.0.1:%d"}
  - {address: "127.0.0.1:%s", tls: {%s}}
mqtt:
  listeners:
  - {address: "127.0.0.1:%d"}
  - {address: "127.0.0.1:%s", tls: {%s}}
  - {address: "127.0.0.1:%s", tls: {%s, client_ca: %s, client_auth: required, user_from: none}}
  - {address: "unix:%s"}
`, dir, ports[1], wss, tls, ports[0], mqtts, tls, mutual, tls, a.file("ca.pem"), socket)
		file := filepath.Join(dir, "naru.yaml")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		return &Broker{
			MQTT: fmt.Sprintf("127.0.0.1:%d", ports[0]), WS: fmt.Sprintf("127.0.0.1:%d", ports[1]),
			command: func() *exec.Cmd { return exec.Command(naruBinary(t), "serve", "--config", file) },
		}, nil
	})
	must(t, err)
	return b, mqtts, wss, mutual, socket
}

// TestToolTransports: pub and sub over everything that a URL can name, with a
// payload larger than any buffer, and what they refuse.
func TestToolTransports(t *testing.T) {
	dir, err := os.MkdirTemp("", "naru") // the path of a Unix socket must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	a := newAuthority(t, dir, "ca")
	a.server(t, "server", []net.IP{net.IPv4(127, 0, 0, 1)}, "localhost")
	a.client(t, "device")
	newAuthority(t, dir, "stranger")
	b, mqtts, wss, mutual, socket := secureNaru(t, a)
	binary, ca := naruBinary(t), a.file("ca.pem")
	big := strings.Repeat("0123456789abcdef", 20_000)
	file := filepath.Join(t.TempDir(), "big")
	must(t, os.WriteFile(file, []byte(big), 0o600))

	for _, test := range []struct {
		name, url string
		options   []string
	}{
		{"ws", "ws://" + b.WS + "/any/path", nil},
		{"ws without a path", "ws://" + b.WS, nil},
		{"mqtts", "mqtts://127.0.0.1:" + mqtts, []string{"--cafile", ca}},
		{"mqtts, insecure", "mqtts://127.0.0.1:" + mqtts, []string{"--insecure"}},
		{"wss", "wss://127.0.0.1:" + wss + "/mqtt", []string{"--cafile", ca}},
		{"client certificate", "mqtts://127.0.0.1:" + mutual, []string{"--cafile", ca, "--cert", a.file("device.pem"), "--key", a.file("device.key")}},
		{"unix", "unix://" + socket, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			pub := command([]string{binary, "pub", test.url}, test.options...)
			runTool(t, 0, command(pub, "-t", "ready", "-m", "ready", "-r", "-q", "1")...)
			s := startTool(t, nil, nil, command([]string{binary, "sub", test.url}, append(test.options,
				"-t", "x", "-t", "ready", "-C", "4", "-q", "2", "-N")...)...)
			s.await("ready")
			for _, q := range []string{"0", "1", "2"} {
				runTool(t, 0, command(pub, "-t", "x", "-f", file, "-q", q)...)
			}
			if have := s.end(0); have != "ready"+big+big+big {
				t.Errorf("%d bytes came out, and are not what was sent", len(have))
			}
		})
	}
	for _, test := range []struct {
		name, url, says string
		code            int
		options         []string
	}{
		{"unknown authority", "mqtts://127.0.0.1:" + mqtts, "certificate", 1, nil},
		{"other authority", "mqtts://127.0.0.1:" + mqtts, "certificate", 1, []string{"--cafile", a.file("stranger.pem")}},
		{"other authority, insecure", "mqtts://127.0.0.1:" + mqtts, "certificate", 1, []string{"--cafile", a.file("stranger.pem"), "--insecure"}},
		{"other authority over WebSocket", "wss://127.0.0.1:" + wss, "certificate", 1, []string{"--cafile", a.file("stranger.pem")}},
		{"no client certificate", "mqtts://127.0.0.1:" + mutual, "", 1, []string{"--cafile", ca}},
		{"not encrypted", "mqtt://127.0.0.1:" + mqtts, "write mqtts://", 2, []string{"--cafile", ca}},
		{"TLS to a plain port", "mqtts://" + b.MQTT, "", 1, []string{"--insecure"}},
		{"WebSocket to a plain port", "ws://" + b.MQTT, "", 1, nil},
		{"no file", "mqtts://127.0.0.1:" + mqtts, "no such file", 1, []string{"--cafile", a.file("nothing")}},
		{"no socket", "unix://" + a.file("nothing"), "no such file", 1, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, said := runTool(t, test.code, command([]string{binary, "pub", test.url, "-t", "x", "-m", "x", "-q", "1"}, test.options...)...)
			if said == "" || !strings.Contains(said, test.says) {
				t.Errorf("it says %q, want %q", said, test.says)
			}
		})
	}
	// A name that is not in the certificate: --insecure with --cafile lets it pass,
	// without it does not.
	a.server(t, "server", nil, "elsewhere.example")
	must(t, b.Restart(false))
	url := "mqtts://127.0.0.1:" + mqtts
	if _, said := runTool(t, 1, binary, "pub", url, "-t", "x", "-m", "x", "--cafile", ca); !strings.Contains(said, "certificate") {
		t.Errorf("a wrong name: %q", said)
	}
	runTool(t, 0, binary, "pub", url, "-t", "x", "-m", "x", "--cafile", ca, "--insecure")
}
