package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
)

// TestTLS sends large messages both ways, over both versions of TLS, beside
// loops and beside goroutines.
func TestTLS(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newTLSBox(t, nil, driver)
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, h := b.dialTLS(func(c *tls.Config) { c.MinVersion, c.MaxVersion = version, version })
			if got, want := h.conn.Peer().String(), c.LocalAddr().String(); got != want {
				t.Errorf("the peer is %s, want %s", got, want)
			}
			if name, ok := h.conn.CertificateUser(); ok || name != "" {
				t.Errorf("a client without a certificate is %q", name)
			}
			c.send(frame('l', number(0)))
			c.want(number(0))
			large := string(pattern(3_000_000))
			var wg sync.WaitGroup
			wg.Go(func() { c.send(frame('e', large), frame('n', number(2_000_000)), frame('e', "last")) })
			c.want(large + string(pattern(2_000_000)) + "last")
			wg.Wait()
			c.Close()
			h.ended(io.EOF)
		}
		wait(t, "both are let go", func() bool { return b.srv.Open() == 0 })
	})
}

// TestTLSTooOld: what is older than 1.2 is not spoken, and with min_version not
// even that.
func TestTLSTooOld(t *testing.T) {
	for _, s := range []struct {
		least   string
		version uint16
	}{{"", tls.VersionTLS10}, {"", tls.VersionTLS11}, {"1.3", tls.VersionTLS12}} {
		t.Run(tls.VersionName(s.version), func(t *testing.T) {
			b := newTLSBox(t, func(_ *tlsBox, lc *ListenConfig) { lc.TLS.MinVersion = s.least })
			cfg := b.config()
			cfg.MinVersion, cfg.MaxVersion = tls.VersionTLS10, s.version
			if err := b.refused(cfg); !strings.Contains(err.Error(), "protocol version") {
				t.Error(err)
			}
		})
	}
}

// TestTLSNoPlain: a client without TLS gets nothing, and no handler.
func TestTLSNoPlain(t *testing.T) {
	b := newTLSBox(t, nil)
	c := dial(t, b.addr)
	c.send(frame('e', "hello"))
	got, _ := io.ReadAll(c) // an alert of TLS, or a reset
	if strings.Contains(string(got), "hello") || len(b.probes) > 0 {
		t.Errorf("it got %q, and %d handlers", got, len(b.probes))
	}
	wait(t, "it is let go", func() bool { return b.srv.Open() == 0 })
}

// byteConn sends each byte alone.
type byteConn struct{ *net.TCPConn }

func (c byteConn) Write(p []byte) (int, error) {
	for i := range p {
		if n, err := c.TCPConn.Write(p[i : i+1]); err != nil {
			return i + n, err
		}
	}
	return len(p), nil
}

// TestTLSByteByByte: records may arrive in any pieces, in the handshake and
// after it.
func TestTLSByteByByte(t *testing.T) {
	b := newTLSBox(t, nil)
	c, err := b.over(byteConn{dial(t, b.addr).TCPConn}, b.config())
	if err != nil {
		t.Fatal(err)
	}
	h := b.next()
	for _, s := range []string{"a", "slow writer", string(pattern(3000))} {
		c.send(frame('e', s))
		c.want(s)
	}
	c.send(frame('q', "bye"))
	c.want("bye")
	h.ended(nil)
}

// TestTLSUnread: who does not read holds nobody up, and no more memory than its
// outbox; what was not dropped arrives in the end.
func TestTLSUnread(t *testing.T) {
	const size = 256 << 10
	b := newTLSBox(t, nil)
	c, h := b.dialTLS()
	count := 0
	wait(t, "socket and outbox are full", func() bool {
		count++
		c.send(frame('b', number(size)))
		return h.conn.wire().full() && h.dropped.Load() > 0
	})
	c.send(frame('e', "asked"))
	other, _ := b.dialTLS()
	other.send(frame('e', "served"))
	other.want("served")
	wire := h.conn.wire()
	wire.mu.Lock()
	rest := len(wire.mu.rest)
	wire.mu.Unlock()
	if rest > bigBuffer+smallBuffer {
		t.Errorf("%d bytes wait below the outbox", rest)
	}
	got := make([]byte, size)
	for n := 0; ; n++ {
		if _, err := io.ReadFull(c, got[:5]); err != nil {
			t.Fatal(err)
		}
		if string(got[:5]) == "asked" {
			if k := int(h.dropped.Load()); n+k != count {
				t.Errorf("%d arrived and %d were dropped, of %d", n, k, count)
			}
			break
		}
		if _, err := io.ReadFull(c, got[5:]); err != nil {
			t.Fatal(err)
		}
		if string(got) != string(pattern(size)) {
			t.Fatalf("number %d arrived broken", n)
		}
	}
}

// recordConn keeps what it has read.
type recordConn struct {
	*net.TCPConn
	got []byte // owned by the reader
}

func (c *recordConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.got = append(c.got, p[:n]...)
	return n, err
}

// TestTLSCloseNotify: the end of a connection can be told from a cut: the alert
// comes before the end of the socket, behind all that was said.
func TestTLSCloseNotify(t *testing.T) {
	b := newTLSBox(t, nil)
	cfg := b.config()
	cfg.MaxVersion = tls.VersionTLS12 // where the type of a record can be seen
	nc := &recordConn{TCPConn: dial(t, b.addr).TCPConn}
	c, err := b.over(nc, cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := b.next()
	c.send(frame('l', number(0)), frame('x', string(pattern(1_000_000))))
	c.want(number(0) + string(pattern(1_000_000)))
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Fatalf("then %s, %v", short(rest), err)
	}
	h.ended(errBad)
	if _, err := io.Copy(io.Discard, nc); err != nil { // to the end of the socket: no reset
		t.Fatal(err)
	}
	const alert = 21
	last := byte(0)
	for p := nc.got; len(p) >= 5; p = p[min(len(p), 5+int(p[3])<<8+int(p[4])):] {
		last = p[0]
	}
	if last != alert {
		t.Errorf("the last record is of type %d, not an alert", last)
	}
}

// TestTLSHangup: a client that closes its side, with close_notify or without, is
// one that has gone, and hears that its connection has ended.
func TestTLSHangup(t *testing.T) {
	b := newTLSBox(t, nil)
	for _, polite := range []bool{true, false} {
		c, h := b.dialTLS()
		c.send(frame('e', "hello"))
		c.want("hello")
		var err error
		if polite {
			err = c.CloseWrite()
		} else {
			err = c.NetConn().(*client).CloseWrite()
		}
		if err != nil {
			t.Fatal(err)
		}
		h.ended(io.EOF)
		if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
			t.Errorf("polite %v: then %q, %v", polite, rest, err)
		}
	}
}

// TestTLSGarbage: what is no record, or was changed on its way, ends the
// connection.
func TestTLSGarbage(t *testing.T) {
	b := newTLSBox(t, nil)
	for _, garbage := range []string{
		"\x17\x03\x03\x00\x20" + strings.Repeat("x", 32), // a record that does not decrypt
		"GET / HTTP/1.1\r\n\r\n",
		"\x17\x03\x03\xff\xff",
	} {
		c, h := b.dialTLS()
		c.send(frame('e', "before"))
		c.want("before")
		if _, err := c.NetConn().Write([]byte(garbage)); err != nil {
			t.Fatal(err)
		}
		if err := <-h.closed; err == nil || err == io.EOF {
			t.Errorf("%q: it ended with %v", garbage, err)
		}
	}
	wait(t, "all are let go", func() bool { return b.srv.Open() == 0 })
}

// TestTLSKick: the end may come from elsewhere, and the client hears it.
func TestTLSKick(t *testing.T) {
	b := newTLSBox(t, nil)
	c, h := b.dialTLS()
	c.send(frame('e', "hello"))
	c.want("hello")
	h.conn.Kick(core.ErrShutdown)
	h.ended(core.ErrShutdown)
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v", rest, err)
	}
}

// TestTLSHoldsNoBuffer: when nothing is there a Read holds nothing, and Await
// waits; when something is left above the wire it does not.
func TestTLSHoldsNoBuffer(t *testing.T) {
	ca, files := newAuthority(t), newKeyFiles(t)
	pair := files.put("server", ca.issue("broker"))
	keys, err := newKeyring("", TLS{Cert: pair.Cert, Key: pair.Key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := tls.Client(dial(t, ln.Addr()), &tls.Config{RootCAs: ca.pool(), ServerName: "broker"})
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	w, err := newWire(nc)
	if err != nil {
		t.Fatal(err)
	}
	tc := newTLSConn(w, keys)
	shaken := make(chan error, 1)
	go func() { shaken <- c.Handshake() }()
	if err := errors.Join(tc.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	st := newTLSStream(tc)
	if _, err := c.Write(pattern(50_000)); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for len(got) < 50_000 {
		if err := st.Await(); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1000) // less than a record
		n, err := st.Read(b)
		if err != nil && !errors.Is(err, ErrNothing) {
			t.Fatal(err)
		}
		got = append(got, b[:n]...)
	}
	if string(got) != string(pattern(50_000)) {
		t.Error("it arrived broken")
	}
	if n, err := st.Read(make([]byte, 1000)); n != 0 || !errors.Is(err, ErrNothing) {
		t.Errorf("then %d, %v", n, err)
	}
	if st.wire.ahead != nil || w.head != nil || !st.drained {
		t.Errorf("it holds a buffer: %v, %d bytes, drained: %v", st.wire.ahead != nil, len(w.head), st.drained)
	}
}
