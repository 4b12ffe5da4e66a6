package ws

import (
	"bytes"
	"compress/flate"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt"
)

// The numbers in the names of these tests are classes of defects that other
// brokers had:
//
//	 1  memory before login
//	 2  decompression bombs
//	18  what is switched off and can be reached all the same
//	19  web pages of others that connect
//	22  secrets that are shown

// heap is what is in use, with nothing that could go.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // finalizers and pools take more than one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSecurity1HalfOpen has a thousand clients that begin and do not go on, each
// at another place of the handshake, the first frame or the first packet, some
// byte by byte. Memory is bounded, another is served, and all are closed in
// time, without a goroutine left (see box.close).
func TestSecurity1HalfOpen(t *testing.T) {
	const clients = 1000
	b := newBox(t, func(o *boxOptions) { o.conn.AuthTimeout = 5 * time.Second })
	head := []byte(upgradeHead + "Sec-WebSocket-Protocol: mqtt\r\n\r\n")
	padded := []byte("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 10<<10))
	connect := frame(0x82, append(raw("10 ff 7f 0004'MQTT'04 02 0000 3ff0"), make([]byte, 8<<10)...)) // 16 KiB announced
	announced := raw("82 ff 0000000008000000 00000000 10")                                            // 128 MiB announced
	begins := [][]byte{
		nil, []byte("G"), head[:len(head)-2], padded, // before the upgrade
		head, append(head[:len(head):len(head)], 0x82), append(head[:len(head):len(head)], connect[:3]...),
		append(head[:len(head):len(head)], connect...), append(head[:len(head):len(head)], announced...),
	}
	before := heap()
	conns := make([]*rawConn, clients)
	for i := range conns {
		conns[i] = b.tcp()
		if begin := begins[i%len(begins)]; len(begin) > 0 {
			conns[i].write(begin)
		}
	}
	other := b.connect("other")
	if grown := heap() - before; grown > clients*24<<10 {
		t.Errorf("%d clients before login hold %d bytes", clients, grown)
	}
	other.sendHex("c0 00")
	other.want(raw("d0 00"))
	for drip := 0; drip < len(head); drip++ { // those that have sent nothing yet go on, slowly
		for i := 0; i < clients; i += len(begins) {
			_, _ = conns[i].Write(head[drip : drip+1]) // closed meanwhile, perhaps
		}
		time.Sleep(5 * time.Millisecond) // a slow client; nothing is waited for
	}
	for _, c := range conns {
		_, _ = io.Copy(io.Discard, c) // until it is closed, in order or not
		if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Fatalf("a connection is open after the time for login: %v", err)
		}
	}
	other.sendHex("c0 00")
	other.want(raw("d0 00"))
}

// TestSecurity1Header: the head of a request has a bound.
func TestSecurity1Header(t *testing.T) {
	b := newBox(t)
	c := b.tcp()
	go func() {
		line := []byte("X: " + strings.Repeat("x", 1000) + "\r\n")
		_, _ = c.Write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n"))
		for range 1000 {
			if _, err := c.Write(line); err != nil {
				return // as it should
			}
		}
	}()
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 431 ") {
		t.Errorf("a head of 1 MB is answered with %q", head)
	}
}

// deflated is what permessage-deflate makes of n zero bytes, all in one message.
func deflated(t *testing.T, n int) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeroes := make([]byte, 1<<20)
	for n > 0 {
		k, err := w.Write(zeroes[:min(n, len(zeroes))])
		if n -= k; err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSuffix(b.Bytes(), raw("0000ffff"))
}

// TestSecurity2Bomb: a message is counted while it is inflated, before login
// and after it, in one frame and in many; compression is off unless it is asked
// for by the operator.
func TestSecurity2Bomb(t *testing.T) {
	if DefaultConfig().Compression {
		t.Error("compression is on by default")
	}
	bomb := deflated(t, 32<<20)
	if len(bomb) > 64<<10 {
		t.Fatalf("the bomb has %d bytes", len(bomb))
	}
	agree := upgradeHead + "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	for _, loggedIn := range []bool{false, true} {
		for _, parts := range []int{1, 50} {
			t.Run(fmt.Sprintf("loggedIn=%v/parts=%d", loggedIn, parts), func(t *testing.T) {
				b := newBox(t, func(o *boxOptions) { o.Compression, o.MaxMessageSize = true, 1<<20 })
				c := b.tcp()
				c.write([]byte(agree))
				if head := c.head(); !strings.Contains(head, "permessage-deflate; server_no_context_takeover") {
					t.Fatalf("no compression: %q", head)
				}
				want := raw("88 02 03ea") // zeroes are no CONNECT
				if loggedIn {
					// A PUBLISH that goes on and on: only the limit of messages ends it.
					c.write(frame(0x82, append(connectPacket("bomb"), raw("30 ff ff ff 7f 0001'z'")...)))
					c.skipFrame()
					want = raw("88 02 03f1")
				}
				received, _ := b.srv.Traffic()
				first := byte(0x42)
				for i := range parts {
					if i == parts-1 {
						first |= 0x80
					}
					c.write(frame(first, bomb[i*len(bomb)/parts:(i+1)*len(bomb)/parts]))
					first = 0
				}
				c.wantEnd(want)
				if after, _ := b.srv.Traffic(); after-received > 1<<20 {
					t.Errorf("%d bytes were inflated, limit 1 MiB", after-received)
				}
			})
		}
	}
	t.Run("not agreed", func(t *testing.T) {
		b := newBox(t)
		c := b.tcp()
		c.write([]byte(agree))
		if head := c.head(); strings.Contains(head, "Extensions") {
			t.Errorf("compression is agreed on: %q", head)
		}
		c.write(frame(0xc2, bomb[:1000]))
		c.wantEnd(raw("88 0a 03ea'RSV1 set'"))
	})
	t.Run("corrupt", func(t *testing.T) {
		b := newBox(t, func(o *boxOptions) { o.Compression = true })
		c := b.tcp()
		c.write([]byte(agree))
		c.head()
		c.write(frame(0xc2, raw("ffff 0000 1234")))
		c.wantEnd(raw("88 02 03ef"))
	})
}

// skipFrame reads one short frame.
func (c *rawConn) skipFrame() {
	c.t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, c, int64(head[1])); err != nil {
		c.t.Fatal(err)
	}
}

// TestSecurity18Disabled asks every path for every sub-protocol when none, or
// another one, is enabled.
func TestSecurity18Disabled(t *testing.T) {
	none := newBox(t, func(o *boxOptions) { o.protocols = func(*mqtt.Adapter) []Protocol { return nil } })
	if n := len(none.ws.Addrs()); n != 0 {
		t.Errorf("%d listeners without a protocol", n)
	}
	var reached atomic.Int32
	b := newBox(t, func(o *boxOptions) {
		o.Page = false
		o.protocols = func(*mqtt.Adapter) []Protocol {
			return []Protocol{{Names: []string{"v12.stomp"}, Text: true, Handler: func(Listener) func(*transport.Conn) transport.Handler {
				return func(*transport.Conn) transport.Handler {
					reached.Add(1)
					return echo{}
				}
			}}}
		}
	})
	for _, path := range []string{"/", "/mqtt", "/ws", "/stomp", "/any/path", "/page.js"} {
		if resp, _ := b.get(http.MethodGet, path); resp.StatusCode != http.StatusUpgradeRequired {
			t.Errorf("GET %s: %s", path, resp.Status)
		}
		for _, offer := range []string{"mqtt", "mqttv3.1", "amqp", "V12.STOMP", "v10.stomp,v11.stomp", "", ",", "v12.stomp;mqtt"} {
			d := websocket.Dialer{HandshakeTimeout: patience}
			if offer != "" {
				d.Subprotocols = []string{offer}
			}
			c, resp, err := d.Dial("ws://"+b.addr+path, nil)
			if err == nil {
				c.Close()
				t.Errorf("%s on %s is served", offer, path)
				continue
			}
			if resp == nil || resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s on %s: %v %v", offer, path, resp, err)
			}
		}
	}
	if n := reached.Load(); n != 0 {
		t.Errorf("%d connections have reached a protocol that they did not ask for", n)
	}
}

// echo sends back what it is fed.
type echo struct{}

func (echo) Feed(t *core.Turn, data []byte) transport.Result {
	t.Reply(data...)
	return transport.Result{Consumed: len(data)}
}
func (echo) Drained(*core.Turn)       {}
func (echo) Quiet()                   {}
func (echo) Closed(*core.Turn, error) {}

// TestSecurity19Origin asks for the upgrade with every kind of Origin, at a
// loopback address.
func TestSecurity19Origin(t *testing.T) {
	listed := func(o *boxOptions) { o.Origins = []string{"https://app.example.com", "http://other.example:8080/"} }
	boxes := map[string]*box{"": newBox(t), "listed": newBox(t, listed), "*": newBox(t, func(o *boxOptions) { o.Origins = []string{"*"} })}
	for _, s := range []struct {
		box, host, origin string
		want              int
	}{
		{"", "localhost", "", 101},
		{"", "localhost", "http://localhost:3000", 101},
		{"", "127.0.0.1:8083", "http://127.0.0.1:8083", 101},
		{"", "[::1]:8083", "http://[::1]", 101},
		{"", "localhost", "http://dev.localhost", 101},
		{"", "localhost", "https://evil.example", 403},
		{"", "localhost", "https://localhost.evil.example", 403},
		{"", "localhost", "https://evil.example#localhost", 403},
		{"", "localhost", "https://localhost@evil.example", 403},
		{"", "localhost", "https://notlocalhost", 403},
		{"", "localhost", "null", 403},
		{"", "localhost", "file://", 403},
		{"", "localhost", "*", 403},
		{"", "localhost", "::not a URL::", 403},
		// A name of theirs that leads to 127.0.0.1: DNS rebinding.
		{"", "evil.example:8083", "http://evil.example:8083", 403},
		{"", "app.example.com", "https://app.example.com", 403},
		{"listed", "app.example.com", "https://app.example.com", 101},
		{"listed", "broker.example.com", "https://APP.example.com", 101},
		{"listed", "localhost", "http://other.example:8080", 101},
		{"listed", "localhost", "http://other.example", 403},
		{"listed", "localhost", "http://app.example.com", 403},
		{"listed", "localhost", "https://app.example.com.evil.example", 403},
		{"listed", "localhost", "https://evil-app.example.com", 403},
		{"*", "localhost", "https://evil.example", 101},
		{"*", "localhost", "null", 101},
	} {
		c := boxes[s.box].tcp()
		head := strings.Replace(upgradeHead, "Host: localhost\r\n", "Host: "+s.host+"\r\n", 1)
		if s.origin != "" {
			head += "Origin: " + s.origin + "\r\n"
		}
		c.write([]byte(head + "Sec-WebSocket-Protocol: mqtt\r\n\r\n"))
		if got := c.head(); !strings.HasPrefix(got, fmt.Sprint("HTTP/1.1 ", s.want)) || strings.Contains(got, "Access-Control") {
			t.Errorf("%q: origin %q at host %q: want %d, got %q", s.box, s.origin, s.host, s.want, got)
		}
		c.Close()
	}
	c := boxes["listed"].tcp()
	c.write([]byte(upgradeHead + "Origin: https://app.example.com\r\nOrigin: https://evil.example\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"))
	if got := c.head(); !strings.HasPrefix(got, "HTTP/1.1 403 ") {
		t.Errorf("two origins: %q", got)
	}
}

// TestSecurity22Secrets puts secrets wherever a client can have one; none of
// them is logged, at the most talkative level, or told back.
func TestSecurity22Secrets(t *testing.T) {
	const canary = "CANARY"
	b := newBox(t)
	heads := []string{
		"GET /?token=" + canary + " HTTP/1.1\r\n", "GET /" + canary + " HTTP/1.1\r\n", "POST /" + canary + " HTTP/1.1\r\n",
	}
	for _, line := range heads {
		for _, more := range []string{"", "Sec-WebSocket-Protocol: mqtt\r\n", "Sec-WebSocket-Protocol: " + canary + "\r\n",
			"Origin: https://" + canary + "\r\nSec-WebSocket-Protocol: mqtt\r\n", "Bad header " + canary + "\r\n"} {
			c := b.tcp()
			_, rest, _ := strings.Cut(upgradeHead, "\r\n")
			c.write([]byte(line + rest + more + "Cookie: session=" + canary + "\r\nAuthorization: Bearer " + canary + "\r\n\r\n"))
			if head := c.head(); strings.Contains(head, canary) {
				t.Errorf("%q %q is told back: %q", line, more, head)
			} else if !strings.HasPrefix(head, "HTTP/1.1 101 ") {
				body, err := io.ReadAll(c)
				if err != nil || bytes.Contains(body, []byte(canary)) {
					t.Errorf("%q %q is told back: %q %v", line, more, body, err)
				}
			}
			c.Close()
		}
	}
	c := b.dial()
	c.send(append(raw("10 20 0004'MQTT'04 c2 0000 0003'abc' 0003'usr' 000a"), canary+"1234"...))
	c.take(4)
	c.Close()
	for _, secret := range []string{canary} {
		if text := b.log.String(); strings.Contains(text, secret) {
			t.Errorf("a secret is logged:\n%s", text)
		}
	}
	if !strings.Contains(b.log.String(), "WebSocket refused") {
		t.Error("refusals are not logged at all")
	}
}
