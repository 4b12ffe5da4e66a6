package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/core/internal/wheel"
)

// hello is the first flight of a client.
func hello(t testing.TB) []byte {
	t.Helper()
	one, other := net.Pipe()
	defer other.Close()
	go func() {
		_ = tls.Client(one, &tls.Config{ServerName: "broker"}).Handshake() // fails when the pipe closes
		one.Close()
	}()
	b := make([]byte, 5)
	if _, err := io.ReadFull(other, b); err != nil {
		t.Fatal(err)
	}
	b = append(b, make([]byte, binary.BigEndian.Uint16(b[3:]))...)
	if _, err := io.ReadFull(other, b[5:]); err != nil {
		t.Fatal(err)
	}
	return b
}

// wantClosed reads until the server has closed, with a reset or without.
func (c *client) wantClosed() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Fatal("the connection is open still")
	}
}

// TestTLSStuckHandshake: clients that say nothing, or half of something, keep
// nobody out, and are closed in time. [SECURITY 29]
func TestTLSStuckHandshake(t *testing.T) {
	b := newTLSBox(t, nil, func(o *boxOptions) { o.AuthTimeout = 3 * time.Second })
	first := hello(t)
	var stuck []*client
	for i := range 20 {
		c := dial(t, b.addr)
		c.send(first[:i*len(first)/20])
		stuck = append(stuck, c)
	}
	slow := dial(t, b.addr)
	go func() { // a byte at a time: each resets no clock
		for i := 0; ; i++ {
			if _, err := slow.Write(first[i%len(first) : i%len(first)+1]); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond) // it is slow
		}
	}()
	c, h := b.dialTLS()
	c.send(frame('l', number(0)), frame('e', "served"))
	c.want(number(0) + "served")
	for _, s := range append(stuck, slow) {
		s.wantClosed()
	}
	c.send(frame('e', "still"))
	c.want("still")
	c.Close()
	h.ended(io.EOF)
	wait(t, "all are let go", func() bool { return b.srv.Open() == 0 })
}

// TestTLSLoginTime: the time to log in runs from accept, and is not begun again
// after the handshake.
func TestTLSLoginTime(t *testing.T) {
	b := newTLSBox(t, nil, func(o *boxOptions) { o.AuthTimeout = time.Hour })
	nc := dial(t, b.addr)
	wait(t, "it is accepted", func() bool { return b.srv.Open() == 1 })
	time.Sleep(time.Second) // the handshake takes its time
	c, err := b.over(nc, b.config())
	if err != nil {
		t.Fatal(err)
	}
	h := b.next()
	fired := false
	b.srv.mu.Lock()
	b.srv.timers.Advance(h.conn.wire().since+int64(time.Hour+200*time.Millisecond), func(*wheel.Timer[*Conn]) { fired = true })
	b.srv.mu.Unlock()
	if !fired {
		t.Error("an hour after accept there is time to log in still")
	}
	c.Close()
	h.ended(io.EOF)
}

// TestTLSLongHandshake: what a client may send before it has shaken hands is
// bounded, though crypto/tls would take a certificate of 256 KiB.
func TestTLSLongHandshake(t *testing.T) {
	b := newTLSBox(t, wantCertificates("required"), func(o *boxOptions) { o.AuthTimeout = time.Hour })
	cert := b.ca.issue("alice").pair(t)
	cert.Certificate = append(cert.Certificate, bytes.Repeat([]byte{1}, handshakeBytes))
	cfg := b.config()
	cfg.Certificates = []tls.Certificate{cert}
	_ = b.refused(cfg)
	wait(t, "it is told", func() bool { return b.log.count(errLongHandshake.Error()) == 1 })
}

// TestTLSMaxConnections: who shakes hands counts.
func TestTLSMaxConnections(t *testing.T) {
	for _, own := range []bool{true, false} {
		t.Run(map[bool]string{true: "of the listener", false: "of the server"}[own], func(t *testing.T) {
			b := newTLSBox(t, func(_ *tlsBox, lc *ListenConfig) {
				if own {
					lc.MaxConnections = 2
				}
			}, func(o *boxOptions) {
				if !own {
					o.MaxConnections = 2
				}
			})
			half := dial(t, b.addr)
			c, _ := b.dialTLS()
			wait(t, "two are there", func() bool { return b.srv.Open() == 2 })
			for range 3 {
				dial(t, b.addr).wantClosed()
			}
			half.Close()
			wait(t, "one has gone", func() bool { return b.srv.Open() == 1 })
			other, _ := b.dialTLS()
			for _, c := range []*tlsClient{c, other} {
				c.send(frame('e', "x"))
				c.want("x")
			}
		})
	}
}

// TestTLSShutdown: Close ends handshakes, and does not wait for them.
func TestTLSShutdown(t *testing.T) {
	b := newTLSBox(t, nil, func(o *boxOptions) { o.AuthTimeout = time.Hour })
	var half []*client
	for range 10 {
		c := dial(t, b.addr)
		c.send(hello(t)[:20])
		half = append(half, c)
	}
	c, h := b.dialTLS()
	wait(t, "all are there", func() bool { return b.srv.Open() == 11 })
	go func() {
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}()
	b.close() // finds goroutines that are left
	for _, c := range half {
		c.wantClosed()
	}
	if len(h.closed) != 1 {
		t.Error("Closed was not called")
	}
}

// TestTLSHalfOpen: a thousand clients that do not come to an end take little
// memory, and go in time; others are served meanwhile. [SECURITY 1, 29]
func TestTLSHalfOpen(t *testing.T) {
	const clients, each = 1000, 40 << 10
	b := newTLSBox(t, nil, func(o *boxOptions) { o.AuthTimeout = 10 * time.Second })
	first := hello(t)
	before := inUse()
	var half []*client
	for i := range clients {
		c := dial(t, b.addr)
		c.send(first[:i%len(first)])
		half = append(half, c)
	}
	wait(t, "all are there", func() bool { return b.srv.Open() == clients })
	if used := (inUse() - before) / clients; used > each {
		t.Errorf("%d bytes for each, of both sides", used)
	} else {
		t.Logf("%d bytes for each, of both sides", used)
	}
	c, _ := b.dialTLS()
	c.send(frame('l', number(0)), frame('e', "served"))
	c.want(number(0) + "served")
	for _, c := range half {
		c.wantClosed()
	}
	wait(t, "all are let go", func() bool { return b.srv.Open() == 1 })
}

// inUse is the memory in use: heap and stacks.
func inUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestTLSAccept: what Accept gives has its handshake behind it, and can be
// served; nothing is left of what nobody takes.
func TestTLSAccept(t *testing.T) {
	b := newBox(t)
	ca, files := newAuthority(t), newKeyFiles(t)
	pair := files.put("server", ca.issue("broker"))
	ln, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0", TLS: &TLS{
		Cert: pair.Cert, Key: pair.Key, ClientCA: files.write("ca.crt", ca.pem), ClientAuth: "optional",
	}})
	if err != nil {
		t.Fatal(err)
	}
	stuck := dial(t, ln.Addr())
	cfg := &tls.Config{RootCAs: ca.pool(), ServerName: "broker", Certificates: []tls.Certificate{ca.issue("alice").pair(t)}}
	c := &tlsClient{tls.Client(dial(t, ln.Addr()), cfg), t}
	go func() { _ = c.Handshake() }() // an error is one of the Read below
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	tc := nc.(*tls.Conn)
	if !tc.ConnectionState().HandshakeComplete {
		t.Error("the handshake is not over")
	}
	w := WireOf(nc)
	if w == nil || w.peer.String() != c.LocalAddr().String() {
		t.Fatalf("wire %v of %v", w, c.LocalAddr())
	}
	if n := b.srv.Open(); n != 2 {
		t.Errorf("%d connections", n)
	}
	b.srv.ServeStream(w, blockingTLS{tc, w}, true, b.handler)
	h := b.next()
	c.send(frame('e', "hello"))
	c.want("hello")
	if name, ok := h.conn.CertificateUser(); name != "alice" || !ok {
		t.Errorf("the user is %q, %v", name, ok)
	}
	left := tls.Client(dial(t, ln.Addr()), cfg) // nobody accepts this one
	if err := left.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a closed listener says %v", err)
	}
	if _, err := left.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("whom nobody accepts reads %v", err)
	}
	c.Close()
	h.ended(io.EOF)
	b.close()
	stuck.wantClosed()
}

// blockingTLS is TLS as WebSocket uses it: a Read that waits.
type blockingTLS struct {
	*tls.Conn
	w *Wire
}

func (s blockingTLS) Await() error               { return nil }
func (s blockingTLS) Write(p []byte) error       { _, err := s.Conn.Write(p); return err }
func (s blockingTLS) Finish(error)               { _ = s.CloseWrite() }
func (s blockingTLS) Read(p []byte) (int, error) { return s.Conn.Read(p) }

// TestTLSRefusedLog: a failed handshake is told of with its cause; somebody who
// only looks whether the port is open is not.
func TestTLSRefusedLog(t *testing.T) {
	b := newTLSBox(t, nil)
	dial(t, b.addr).Close()
	_ = b.refused(&tls.Config{ServerName: "broker"}) // knows no authority
	wait(t, "it is told", func() bool { return b.log.count("TLS handshake failed") == 1 })
	if s := b.log.String(); !strings.Contains(s, "bad certificate") && !strings.Contains(s, "unknown") {
		t.Errorf("the log says %s", s)
	}
}
