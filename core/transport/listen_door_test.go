package transport

import (
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/narumq/naru/core"
)

// TestListenMaxConnections: each listener has a limit of its own, beside that of
// the server, and one that is full keeps nobody out of another.
func TestListenMaxConnections(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		for _, proxy := range []bool{false, true} {
			b := newBox(t, driver, func(o *boxOptions) { o.MaxConnections = 5 })
			listen := func(most int) net.Addr {
				addr, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0", MaxConnections: most, ProxyProtocol: proxy}, b.handler)
				if err != nil {
					t.Fatal(err)
				}
				return addr
			}
			first := ""
			if proxy {
				first = proxied[0].header
			}
			dial := func(addr net.Addr) *client {
				c := dial(t, addr)
				_, _ = c.Write([]byte(first)) // may be closed already
				return c
			}
			small, large := listen(2), listen(0)
			full := []*client{dial(small), dial(small)}
			b.next()
			b.next()
			for range 3 {
				dial(small).wantClosed()
			}
			for range 3 {
				full = append(full, dial(large))
				b.next()
			}
			dial(large).wantClosed() // the server's
			full[0].Close()
			wait(t, "there is room", func() bool { return b.srv.Open() == 4 })
			again := dial(small)
			b.next()
			for _, c := range append(full[1:], again) {
				c.send(frame('e', "served"))
				c.want("served")
			}
			if len(b.probes) > 0 {
				t.Errorf("%d too many were served", len(b.probes))
			}
			for _, c := range append(full[1:], again) {
				c.Close()
			}
			wait(t, "all are let go", func() bool { return b.srv.Open() == 0 })
			for _, d := range b.srv.doors {
				if n := d.open.Load(); n != 0 {
					t.Errorf("%d are counted at the door", n)
				}
			}
			b.close()
		}
	})
}

// TestListenMaxConnectionsLog: those turned away are told of together, by
// listener.
func TestListenMaxConnectionsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t)
		d := &door{address: "here", most: 1}
		b.srv.mu.Lock()
		b.srv.doors = append(b.srv.doors, d)
		b.srv.mu.Unlock()
		time.Sleep(time.Second) // virtual: past the first look
		if !b.srv.enter(d) {
			t.Fatal("the first is turned away")
		}
		for range 50 {
			if b.srv.enter(d) {
				t.Fatal("one too many")
			}
		}
		time.Sleep(time.Minute) // virtual
		if b.log.count("listener=here count=50 max_connections=1") != 1 || b.log.count("refused") != 1 {
			t.Errorf("the log says:\n%s", b.log)
		}
		b.srv.exit(d)
		b.close()
	})
}

// TestListenAnonymous: the handler can know whether a listener takes clients
// without a name, by whatever way they come.
func TestListenAnonymous(t *testing.T) {
	yes, no := true, false
	anonymous := &core.Credentials{HasPassword: true} // which names nobody
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		for _, s := range []struct {
			anonymous *bool
			refused   bool
		}{{nil, false}, {&yes, false}, {&no, true}} {
			for _, proxy := range []bool{false, true} {
				addr, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0", Anonymous: s.anonymous, ProxyProtocol: proxy}, b.handler)
				if err != nil {
					t.Fatal(err)
				}
				c := dial(t, addr)
				if proxy {
					c.send([]byte(proxied[0].header))
				}
				conn := b.next().conn
				if err := conn.Admits(anonymous); errors.Is(err, core.ErrBadCredentials) != s.refused || (err != nil) != s.refused {
					t.Errorf("anonymous %v, proxy %v: %v", s.anonymous, proxy, err)
				}
				for _, cred := range []core.Credentials{{HasUser: true}, {HasCertificate: true}} {
					if err := conn.Admits(&cred); err != nil {
						t.Errorf("anonymous %v, proxy %v: %+v: %v", s.anonymous, proxy, cred, err)
					}
				}
			}
		}
		ln, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0", Anonymous: &no})
		if err != nil {
			t.Fatal(err)
		}
		dial(t, ln.Addr())
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		w := WireOf(nc)
		b.srv.ServeStream(w, Plain(w), false, b.handler)
		if b.next().conn.Admits(anonymous) == nil {
			t.Error("it is forgotten behind Accept")
		}
		p, h := b.pipe()
		if err := h.conn.Admits(anonymous); err != nil {
			t.Error("a pipe has no listener:", err)
		}
		p.Hangup(nil)
	})
}

// TestAcceptMaxConnections: what Accept has given counts until it is closed, and
// is closed with the server if nobody does.
func TestAcceptMaxConnections(t *testing.T) {
	b := newBox(t)
	ln, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0", MaxConnections: 1})
	if err != nil {
		t.Fatal(err)
	}
	first := dial(t, ln.Addr())
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	dial(t, ln.Addr()).wantClosed()
	nc.Close()
	first.wantClosed()
	second := dial(t, ln.Addr())
	if nc, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	w := WireOf(nc)
	b.srv.ServeStream(w, Plain(w), false, b.handler)
	h := b.next()
	second.send(frame('q', "bye"))
	second.want("bye")
	second.Close()
	h.ended(nil)
	wait(t, "it is let go", func() bool { return b.srv.Open() == 0 })
	third := dial(t, ln.Addr())
	if _, err := ln.Accept(); err != nil {
		t.Fatal(err)
	}
	b.close()
	third.wantClosed()
}

// TestAcceptShutdown: Close waits for nobody who does not accept.
func TestAcceptShutdown(t *testing.T) {
	b := newBox(t)
	ln, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, ln.Addr())
	wait(t, "it is there", func() bool { return b.srv.Open() == 1 })
	b.close()
	c.wantClosed()
	if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener says %v", err)
	}
	if _, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0"}); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a server that is closed says %v", err)
	}
}

func TestListenConfig(t *testing.T) {
	for _, s := range []struct {
		ListenConfig
		want string
	}{
		{ListenConfig{}, "needs an address"},
		{ListenConfig{Address: "unix:"}, "needs the path"},
		{ListenConfig{Address: "unix:/x", Mode: "rw"}, "mode"},
		{ListenConfig{Address: "unix:/x", Mode: "1777"}, "mode"},
		{ListenConfig{Address: ":1", Mode: "0600"}, "mode is for Unix sockets"},
		{ListenConfig{Address: ":1", MaxConnections: -1}, "negative"},
		{ListenConfig{Address: "1883"}, "is not a host and a port"},
		{ListenConfig{Address: "localhost"}, "is not a host and a port"},
		{ListenConfig{Address: "tcp://127.0.0.1:1883"}, "is not a host and a port"},
		{ListenConfig{Address: "127.0.0.1:"}, "is no port"},
		{ListenConfig{Address: "127.0.0.1:65536"}, "is no port"},
		{ListenConfig{Address: "127.0.0.1:port"}, "is no port"},
		{ListenConfig{Address: ":1"}, ""},
		{ListenConfig{Address: "[::1]:0"}, ""},
		{ListenConfig{Address: "unix:/x", Mode: "0600", MaxConnections: 1, ProxyProtocol: true}, ""},
	} {
		err := s.Validate()
		if s.want == "" && err != nil || s.want != "" && (err == nil || !strings.Contains(err.Error(), s.want)) {
			t.Errorf("%+v: %v, want %q", s.ListenConfig, err, s.want)
		}
		if s.want != "" {
			b := newBox(t)
			if _, err := b.srv.Listen(s.ListenConfig, b.handler); err == nil {
				t.Errorf("%+v: it listens", s.ListenConfig)
			}
			b.close()
		}
	}
}
