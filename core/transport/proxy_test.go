package transport

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// header2 is a header of version 2, made by hand.
func header2(command, family byte, body string) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(body)))
	return string(b) + body
}

const (
	v4Body = "\xc0\x00\x02\x07\x7f\x00\x00\x01\x30\x39\x07\x5b" // 192.0.2.7:12345 to 127.0.0.1:1883
	tcp4   = 0x11
	tcp6   = 0x21
)

func v6Body(from string) string {
	a := netip.MustParseAddr(from).As16()
	return string(a[:]) + strings.Repeat("\x00", 16) + "\x30\x39\x07\x5b"
}

// proxied are headers, and the peer that they make of a proxy on this machine.
var proxied = []struct{ name, header, peer string }{
	{"v1", "PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\r\n", "192.0.2.7:12345"},
	{"v1, IPv6", "PROXY TCP6 2001:db8::7 ::1 12345 1883\r\n", "[2001:db8::7]:12345"},
	{"v1, local client", "PROXY TCP4 127.0.0.1 127.0.0.1 12345 1883\r\n", "127.0.0.1:12345"},
	{"v1, unknown", "PROXY UNKNOWN\r\n", "invalid AddrPort"},
	{"v1, unknown with addresses", "PROXY UNKNOWN 127.0.0.1 127.0.0.1 1 2\r\n", "invalid AddrPort"},
	{"v2", header2(1, tcp4, v4Body), "192.0.2.7:12345"},
	{"v2, IPv6", header2(1, tcp6, v6Body("2001:db8::7")), "[2001:db8::7]:12345"},
	{"v2, IPv4 as IPv6", header2(1, tcp6, v6Body("::ffff:192.0.2.7")), "192.0.2.7:12345"},
	{"v2 with more", header2(1, tcp4, v4Body+"\x04\x00\x01\x00"), "192.0.2.7:12345"},
	{"v2, local", header2(0, 0, ""), "invalid AddrPort"},
	{"v2, local with an address", header2(0, tcp4, v4Body), "invalid AddrPort"},
	{"v2, Unix", header2(1, 0x31, strings.Repeat("\x00", 216)), "invalid AddrPort"},
	{"v2, UDP", header2(1, 0x12, v4Body), "invalid AddrPort"},
}

// TestProxy: the peer is the client that the header names, and the protocol
// begins behind it, in the same packet or later.
func TestProxy(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0", ProxyProtocol: true}, b.handler)
		if err != nil {
			t.Fatal(err)
		}
		large := string(pattern(50_000))
		for _, s := range proxied {
			for _, together := range []bool{true, false} {
				c := dial(t, addr)
				var h *probe
				if together {
					c.send([]byte(s.header), frame('e', large))
					h = b.next()
				} else {
					c.send([]byte(s.header))
					h = b.next()
					c.send(frame('e', large))
				}
				c.want(large)
				if got := h.conn.Peer().String(); got != s.peer {
					t.Errorf("%s: the peer is %s, want %s", s.name, got, s.peer)
				}
				c.send(frame('q', "bye"))
				c.want("bye")
				c.wantEOF()
				c.Close()
				h.ended(nil)
			}
		}
		wait(t, "all are let go", func() bool { return b.srv.Open() == 0 })
	})
}

// TestProxyRefused: who does not begin with a header is closed, and is no client.
func TestProxyRefused(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.AuthTimeout = 2 * time.Second })
	addr, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0", ProxyProtocol: true}, b.handler)
	if err != nil {
		t.Fatal(err)
	}
	for name, garbage := range map[string]string{
		"no header":         string(frame('e', "hello")),
		"nothing":           "",
		"half":              "PROXY TCP4 192.0.2.7",
		"half of v2":        header2(1, tcp4, v4Body)[:20],
		"never ending":      "PROXY " + strings.Repeat("x", 2000),
		"bad address":       "PROXY TCP4 192.0.2.777 127.0.0.1 12345 1883\r\n",
		"bad port":          "PROXY TCP4 192.0.2.7 127.0.0.1 123456 1883\r\n",
		"wrong family":      "PROXY TCP4 ::1 ::1 12345 1883\r\n",
		"no CR":             "PROXY TCP4 192.0.2.7 127.0.0.1 12345 1883\n",
		"another version":   strings.Replace(header2(1, tcp4, v4Body), "\x21", "\x31", 1),
		"another command":   header2(7, tcp4, v4Body),
		"unspecified":       header2(1, 0, ""),
		"short addresses":   header2(1, tcp4, v4Body[:8]),
		"too long":          header2(1, tcp4, v4Body+strings.Repeat("\x00", 60_000)),
		"another signature": "PROXYPROXYPROXY\r\n",
	} {
		c := dial(t, addr)
		_, _ = c.Write([]byte(garbage)) // may be closed already
		got, _ := io.ReadAll(c)         // a reset, if it was not read
		if len(got) > 0 {
			t.Errorf("%s: it got %q", name, got)
		}
	}
	wait(t, "all are let go", func() bool { return b.srv.Open() == 0 })
	if len(b.probes) > 0 {
		t.Errorf("%d were served", len(b.probes))
	}
}

// TestProxiedPeer: only who is on this machine for certain gets a loopback
// address. [SECURITY 14]
func TestProxiedPeer(t *testing.T) {
	for _, proxy := range []string{"127.0.0.1:5", "[::1]:5", "192.0.2.1:5", "[2001:db8::1]:5"} {
		at := netip.MustParseAddrPort(proxy)
		here := at.Addr().IsLoopback()
		for _, told := range []string{"127.0.0.1:9", "127.8.8.8:9", "[::1]:9", "[::ffff:127.0.0.1]:9", "192.0.2.7:9", ""} {
			h := &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL}
			want := at.String()
			if here {
				want = "invalid AddrPort"
			}
			if told != "" {
				from := netip.MustParseAddrPort(told)
				h.Command, h.TransportProtocol, h.SourceAddr = proxyproto.PROXY, proxyproto.TCPv6, net.TCPAddrFromAddrPort(from)
				from = netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
				if here || !from.Addr().IsLoopback() {
					want = from.String()
				}
			}
			if got := proxiedPeer(h, at).String(); got != want {
				t.Errorf("proxy %s tells %q: %s, want %s", proxy, told, got, want)
			}
		}
	}
}

// TestProxyTLS: the header comes in clear, before the handshake.
func TestProxyTLS(t *testing.T) {
	b := newTLSBox(t, func(_ *tlsBox, lc *ListenConfig) { lc.ProxyProtocol = true })
	nc := dial(t, b.addr)
	nc.send([]byte(proxied[0].header))
	c, err := b.over(nc, b.config())
	if err != nil {
		t.Fatal(err)
	}
	h := b.next()
	c.send(frame('e', "hello"))
	c.want("hello")
	if got := h.conn.Peer().String(); got != proxied[0].peer {
		t.Errorf("the peer is %s", got)
	}
	_, err = b.over(dial(t, b.addr), b.config()) // without one
	if err == nil {
		t.Error("a client without a header was let in")
	}
}

// TestProxyAccept: Accept gives the real peer too, and what was sent behind the
// header.
func TestProxyAccept(t *testing.T) {
	b := newBox(t)
	ln, err := b.srv.Accept(ListenConfig{Address: "127.0.0.1:0", ProxyProtocol: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range proxied {
		c := dial(t, ln.Addr())
		c.send([]byte(s.header + "GET /"))
		nc, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		peer := WireOf(nc).peer
		if peer.String() != s.peer {
			t.Errorf("%s: the peer is %s", s.name, peer)
		}
		if ap := nc.RemoteAddr().(*net.TCPAddr).AddrPort(); peer.IsValid() && ap.Addr().Unmap() != peer.Addr() || ap.Addr().IsLoopback() != peer.Addr().IsLoopback() {
			t.Errorf("%s: the remote address is %s", s.name, ap)
		}
		got := make([]byte, 5)
		if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, []byte("GET /")) {
			t.Errorf("%s: then %q, %v", s.name, got, err)
		}
		nc.Close()
		nc.Close() // counts once
	}
	if n := b.srv.Open(); n != 0 {
		t.Errorf("%d connections are counted", n)
	}
}
