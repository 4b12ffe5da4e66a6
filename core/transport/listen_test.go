package transport

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestListen serves several addresses at once, each with its handlers.
func TestListen(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 2 })
		var addrs []net.Addr
		made := make([]atomic.Int64, 3)
		for i := range made {
			addr, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0"}, func(c *Conn) Handler {
				made[i].Add(1)
				return b.handler(c)
			})
			if err != nil {
				t.Fatal(err)
			}
			addrs = append(addrs, addr)
		}
		for range 3 {
			for i, addr := range addrs {
				before := made[i].Load()
				c, h := b.dial(addr)
				if made[i].Load() != before+1 {
					t.Errorf("the connection to listener %d was served by another", i)
				}
				c.send(frame('e', "hello"))
				c.want("hello")
				if got, want := h.conn.Peer().String(), c.LocalAddr().String(); got != want {
					t.Errorf("the peer is %s, want %s", got, want)
				}
			}
		}
		if n := b.srv.Accepted(); n != 9 {
			t.Errorf("%d accepted, want 9", n)
		}
	})
}

func TestListenInUse(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		_, err := b.srv.Listen(ListenConfig{Address: addr.String()}, b.handler)
		if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), addr.String()) {
			t.Errorf("the address in use gives %v", err)
		}
		if _, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:no-such-port"}, b.handler); err == nil {
			t.Error("a port that is none is listened on")
		}
		c, _ := b.dial(addr) // the first is served on
		c.send(frame('e', "x"))
		c.want("x")
	})
}

func TestListenIPv6(t *testing.T) {
	probe, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 here: %v", err)
	}
	probe.Close()
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		for _, s := range []struct{ listen, from string }{
			{"[::1]:0", "::1"},
			{"[::]:0", "::1"},
			{"[::]:0", "127.0.0.1"}, // both families arrive at one socket
		} {
			addr, err := b.srv.Listen(ListenConfig{Address: s.listen}, b.handler)
			if err != nil {
				t.Fatal(err)
			}
			from := netip.AddrPortFrom(netip.MustParseAddr(s.from), addr.(*net.TCPAddr).AddrPort().Port())
			c, h := b.dial(net.TCPAddrFromAddrPort(from))
			c.send(frame('e', "x"))
			c.want("x")
			if got := h.conn.Peer().Addr().String(); got != s.from {
				t.Errorf("%s: the peer is %s, want %s", s.listen, got, s.from)
			}
		}
	})
}

// TestTraffic counts the bytes of both directions.
func TestTraffic(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, _ := b.dial(b.listen())
		c.send(frame('n', number(1_000_000)), frame('s', "12345678"))
		c.want(string(pattern(1_000_000)))
		wait(t, "all is counted", func() bool {
			in, out := b.srv.Traffic()
			return in == 8+12 && out == 1_000_000
		})
	})
}

// TestListenClose: Close may come between the two halves of Listen.
func TestListenClose(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		loops := b.srv.loops
		b.close()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		for _, l := range loops {
			if err := l.listen(ln.(*net.TCPListener), nil, b.handler); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a loop that has ended says %v", err)
			}
		}
		for range 20 {
			b := newBox(t, driver)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					if _, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0"}, b.handler); err != nil {
						return
					}
				}
			}()
			b.close()
			<-done
		}
	})
}
