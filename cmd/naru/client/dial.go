package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/gorilla/websocket"
)

// Security is what is known about the two sides of an encrypted connection.
type Security struct {
	CAFile   string // certificates to trust instead of the system's
	CertFile string // of the client, with its key
	KeyFile  string
	Insecure bool // with CAFile: any name will do; without: any certificate
}

// Given says whether anything of it was asked for.
func (s Security) Given() bool { return s != Security{} }

// config reads the files.
func (s Security) config(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if (s.CertFile == "") != (s.KeyFile == "") {
		return nil, errors.New("a certificate and its key are given together")
	}
	if s.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(s.CertFile, s.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in it", s.CAFile)
		}
	}
	if s.Insecure {
		c.InsecureSkipVerify = true
		if roots := c.RootCAs; roots != nil {
			c.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(roots, state) }
		}
	}
	return c, nil
}

// verifyChain checks everything but the name.
func verifyChain(roots *x509.CertPool, state tls.ConnectionState) error {
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// dial connects, with TLS and WebSocket where the target says so.
func dial(ctx context.Context, t Target, s Security) (net.Conn, error) {
	var d net.Dialer
	var secure *tls.Config
	if t.Encrypted() {
		var err error
		if secure, err = s.config(t.Host); err != nil {
			return nil, err
		}
	}
	switch t.Scheme {
	case "unix":
		return d.DialContext(ctx, "unix", t.Path)
	case "mqtt", "amqp":
		return d.DialContext(ctx, "tcp", t.Address())
	case "mqtts", "amqps":
		c, err := (&tls.Dialer{NetDialer: &d, Config: secure}).DialContext(ctx, "tcp", t.Address())
		if errors.Is(err, io.EOF) {
			err = errors.New("the server has ended the handshake of TLS: does it speak TLS on this port?")
		}
		return c, err
	}
	return dialWebSocket(ctx, t, secure)
}

func dialWebSocket(ctx context.Context, t Target, secure *tls.Config) (net.Conn, error) {
	path := t.Path
	if path == "" {
		path = "/mqtt" // where most brokers have it; ours takes any
	}
	d := websocket.Dialer{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: secure,
		Subprotocols:    []string{"mqtt"},
	}
	c, answer, err := d.DialContext(ctx, t.Scheme+"://"+t.Address()+path, nil)
	if errors.Is(err, websocket.ErrBadHandshake) && answer != nil {
		return nil, fmt.Errorf("the server answers %s to a WebSocket on %s", answer.Status, path)
	}
	if err != nil {
		return nil, err
	}
	if c.Subprotocol() != "mqtt" {
		c.Close()
		return nil, errors.New("the server does not speak the WebSocket sub-protocol mqtt")
	}
	return &socket{Conn: c}, nil
}

// A socket is a WebSocket as a net.Conn: each Write is a message, and messages
// are read one behind the other. One goroutine reads, one at a time writes.
type socket struct {
	*websocket.Conn
	message io.Reader // what is left of the last one
}

func (s *socket) Read(p []byte) (int, error) {
	for {
		if s.message == nil {
			kind, r, err := s.NextReader()
			var closed *websocket.CloseError
			if errors.As(err, &closed) && closed.Code == websocket.CloseNormalClosure {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("the broker sends text where MQTT is binary")
			}
			s.message = r
		}
		n, err := s.message.Read(p)
		if errors.Is(err, io.EOF) {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (s *socket) Write(p []byte) (int, error) {
	if err := s.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (s *socket) SetDeadline(t time.Time) error {
	return errors.Join(s.SetReadDeadline(t), s.SetWriteDeadline(t))
}
