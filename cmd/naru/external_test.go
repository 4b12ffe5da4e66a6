package main

import (
	"crypto/tls"
	"errors"
	"net"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestExternal: a client of AMQP logs in by its certificate alone, with the
// mechanism EXTERNAL, which is offered to those who show one.
func TestExternal(t *testing.T) {
	e := startEdge(t, `
users:
  alice: {certificate: true}
  bob: {certificate: true, vhosts: []}
mqtt: {enabled: false}
amqp:
  listeners: [{address: "127.0.0.1:0", tls: {cert: DIR/server.pem, key: DIR/server.key, client_ca: DIR/ca.pem, client_auth: optional}}]
`)
	for _, c := range []struct {
		certificate string
		code        int // 0: it is let in
	}{
		{"alice", 0},
		{"bob", amqp.NotAllowed}, // known, and without a right to the vhost
	} {
		var name string
		dial := func(string, string) (net.Conn, error) {
			conn, err := net.Dial("tcp", e.node.amqp.Addrs()[0].String())
			if err != nil {
				return nil, err
			}
			return e.secure(conn, c.certificate), nil
		}
		conn, err := amqp.DialConfig("amqp://localhost/", amqp.Config{SASL: []amqp.Authentication{&amqp.ExternalAuth{}}, Dial: dial})
		var refused *amqp.Error
		switch {
		case c.code != 0 && (!errors.As(err, &refused) || refused.Code != c.code):
			t.Errorf("%s: %v, want code %d", c.certificate, err, c.code)
		case c.code == 0 && err != nil:
			t.Errorf("%s: %v", c.certificate, err)
		case c.code == 0:
			for info := range e.node.bus.Connections("") {
				name = info.User
			}
			if name != c.certificate {
				t.Errorf("%s is %q", c.certificate, name)
			}
			conn.Close()
		}
	}
	// Without a certificate the mechanism is not there.
	conn, err := tls.Dial("tcp", e.node.amqp.Addrs()[0].String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = amqp.Open(conn, amqp.Config{SASL: []amqp.Authentication{&amqp.ExternalAuth{}}})
	if !errors.Is(err, amqp.ErrSASL) {
		t.Errorf("without a certificate: %v", err)
	}
}
