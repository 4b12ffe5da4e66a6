package ws

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// box is a real bus and transport with MQTT on them, over WebSocket and plain.
type box struct {
	t    testing.TB
	st   *memstore.Store
	bus  *core.Bus
	srv  *transport.Server
	mqtt *mqtt.Adapter
	ws   *Adapter
	log  *logText
	addr string // of the WebSocket listener
	once sync.Once
}

type boxOptions struct {
	Config
	mqtt      mqtt.Config
	conn      transport.Config
	core      core.Options
	protocols func(*mqtt.Adapter) []Protocol
}

// carriesMQTT is what wire.go gives the adapter.
func carriesMQTT(a *mqtt.Adapter) []Protocol {
	return []Protocol{{Names: []string{"mqtt", "mqttv3.1"}, Handler: func(l Listener) func(*transport.Conn) transport.Handler {
		return a.Handler(mqtt.Listener{ListenConfig: l.ListenConfig, VHost: l.VHost})
	}}}
}

func newBox(t testing.TB, change ...func(*boxOptions)) *box {
	t.Helper()
	o := boxOptions{Config: DefaultConfig(), mqtt: mqtt.DefaultConfig(), conn: transport.DefaultConfig(), protocols: carriesMQTT}
	o.core.Config = core.DefaultConfig()
	o.Listeners[0].Address = "127.0.0.1:0"
	o.mqtt.Listeners[0].Address = "127.0.0.1:0"
	o.mqtt.SysInterval = 0
	for _, f := range change {
		f(&o)
	}
	b := &box{t: t, st: memstore.New(), log: new(logText)}
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	o.core.Shards = []core.Shard{b.st}
	o.core.Fail = func(err error) { t.Errorf("the bus failed: %v", err) }
	var err error
	if b.bus, err = core.Open(o.core); err != nil {
		t.Fatal(err)
	}
	if b.srv, err = transport.NewServer(b.bus, o.conn, log); err != nil {
		t.Fatal(err)
	}
	b.mqtt = mqtt.New(b.bus, b.srv, o.mqtt, "test", log)
	b.ws = New(b.srv, o.Config, o.protocols(b.mqtt), log)
	boxes.Add(1)
	t.Cleanup(b.close)
	for _, start := range []func(context.Context) error{b.mqtt.Start, b.ws.Start} {
		if err := start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a := b.ws.Addrs(); len(a) > 0 {
		b.addr = a[0].String()
	}
	return b
}

// boxes counts those that are open.
var boxes atomic.Int32

// close ends it all. The last box that is closed looks for goroutines that stay
// behind.
func (b *box) close() { b.once.Do(b.end) }

func (b *box) end() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, err := range []error{b.ws.Stop(ctx), b.mqtt.Stop(ctx), b.srv.Close(ctx), b.bus.Close(), b.st.Close()} {
		if err != nil {
			b.t.Errorf("close: %v", err)
		}
	}
	if boxes.Add(-1) > 0 {
		return
	}
	deadline := time.Now().Add(patience)
	for left := ours(); left != ""; left = ours() {
		if time.Now().After(deadline) {
			b.t.Fatalf("left behind:\n%s", left)
		}
		time.Sleep(time.Millisecond) // a goroutine that has been waited for still has to return
	}
}

// ours returns the stacks of goroutines that the broker has started.
func ours() string {
	buf := make([]byte, 4<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if (strings.Contains(g, "narumq/naru/") || strings.Contains(g, "net/http.(*conn)")) && !strings.Contains(g, "_test.go") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

// logText gathers what is logged.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logText) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// raw turns "10 0c 'MQTT'" into bytes.
func raw(s string) []byte {
	var out []byte
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		h, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			panic(fmt.Sprintf("bad bytes %q: %v", s, err))
		}
		out = append(out, h...)
	}
	return out
}

func connectPacket(id string) []byte {
	return append(raw(fmt.Sprintf("10 %02x 0004'MQTT'04 02 0000 %04x", 12+len(id), len(id))), id...)
}

// client speaks by gorilla, which is another implementation of the client's
// side than of ours as far as frames go: it masks, and does not unmask.
type client struct {
	*websocket.Conn
	t   testing.TB
	buf []byte // received and not yet expected
}

// dial opens a WebSocket.
func (b *box) dial(change ...func(*websocket.Dialer)) *client {
	b.t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: patience}
	for _, f := range change {
		f(&d)
	}
	c, resp, err := d.Dial("ws://"+b.addr+"/any/path", nil)
	if err != nil {
		b.t.Fatalf("dial: %v (%v)", err, resp)
	}
	b.t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(2 * patience))
	return &client{Conn: c, t: b.t}
}

// connect opens a WebSocket and logs in.
func (b *box) connect(id string, change ...func(*websocket.Dialer)) *client {
	b.t.Helper()
	c := b.dial(change...)
	c.send(connectPacket(id))
	c.want(raw("20 02 00 00"))
	return c
}

// send sends bytes as one message.
func (c *client) send(b []byte) {
	c.t.Helper()
	if err := c.WriteMessage(websocket.BinaryMessage, b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) sendHex(s string) {
	c.t.Helper()
	c.send(raw(s))
}

// want reads exactly these bytes, in whatever messages.
func (c *client) want(w []byte) {
	c.t.Helper()
	if got := c.take(len(w)); !bytes.Equal(got, w) {
		c.t.Fatalf("got  %x\nwant %x", got[:min(len(got), 100)], w[:min(len(w), 100)])
	}
}

func (c *client) take(n int) []byte {
	c.t.Helper()
	for len(c.buf) < n {
		kind, b, err := c.ReadMessage()
		if err != nil {
			c.t.Fatalf("got %x, then %v", c.buf[:min(len(c.buf), 100)], err)
		}
		if kind != websocket.BinaryMessage {
			c.t.Fatalf("message of kind %d", kind)
		}
		c.buf = append(c.buf, b...)
	}
	got := c.buf[:n]
	c.buf = c.buf[n:]
	return got
}

// wantClose reads the closing frame, and nothing before it.
func (c *client) wantClose(code int) {
	c.t.Helper()
	kind, b, err := c.ReadMessage()
	if !websocket.IsCloseError(err, code) || len(c.buf) > 0 {
		c.t.Fatalf("got %x %x of kind %d and %v, want the close code %d", c.buf, b, kind, err, code)
	}
}

// rawConn is a WebSocket of which the test makes the frames.
type rawConn struct {
	net.Conn
	t testing.TB
}

const upgradeHead = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bmFydSBuYXJ1IG5hcnUgbg==\r\n"

func (b *box) tcp() *rawConn {
	b.t.Helper()
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(2 * patience))
	return &rawConn{nc, b.t}
}

// upgrade opens a WebSocket.
func (b *box) upgrade() *rawConn {
	b.t.Helper()
	c := b.tcp()
	c.write([]byte(upgradeHead + "Sec-WebSocket-Protocol: mqtt\r\n\r\n"))
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		b.t.Fatalf("the upgrade is answered with %q", head)
	}
	return c
}

func (c *rawConn) write(b []byte) {
	c.t.Helper()
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// head reads the head of an HTTP answer, and nothing behind it.
func (c *rawConn) head() string {
	c.t.Helper()
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); head = append(head, one[0]) {
		if _, err := io.ReadFull(c, one); err != nil {
			c.t.Fatalf("got %q, then %v", head, err)
		}
	}
	return string(head)
}

// wantEnd reads exactly this, and then the orderly end.
func (c *rawConn) wantEnd(w []byte) {
	c.t.Helper()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, w) {
		c.t.Fatalf("got  %x and %v\nwant %x and the end", got, err, w)
	}
}

func (c *rawConn) want(w []byte) {
	c.t.Helper()
	got := make([]byte, len(w))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, w) {
		c.t.Fatalf("got  %x and %v\nwant %x", got[:n], err, w)
	}
}

// wantInside reads exactly these bytes, in whatever binary messages.
func (c *rawConn) wantInside(w []byte) {
	c.t.Helper()
	var got []byte
	for len(got) < len(w) {
		head := make([]byte, 2, 10)
		if _, err := io.ReadFull(c, head); err != nil {
			c.t.Fatalf("%d of %d bytes, then %v", len(got), len(w), err)
		}
		n := int(head[1])
		if more := map[byte]int{126: 2, 127: 8}[head[1]]; more > 0 {
			length := make([]byte, 8)
			if _, err := io.ReadFull(c, length[8-more:]); err != nil {
				c.t.Fatal(err)
			}
			n = int(binary.BigEndian.Uint64(length))
		}
		payload := make([]byte, n)
		if _, err := io.ReadFull(c, payload); err != nil {
			c.t.Fatal(err)
		}
		if head[0] != 0x82 {
			c.t.Fatalf("%d of %d bytes, then a frame %x %q", len(got), len(w), head, payload)
		}
		got = append(got, payload...)
	}
	if !bytes.Equal(got, w) {
		c.t.Fatalf("got  %x\nwant %x", got[:min(len(got), 100)], w[:min(len(w), 100)])
	}
}

// frame makes a masked frame.
func frame(first byte, payload []byte) []byte {
	b := []byte{first}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	mask := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	b = append(b, mask[:]...)
	for i, c := range payload {
		b = append(b, c^mask[i%4])
	}
	return b
}

// get asks for a path by HTTP.
func (b *box) get(method, path string) (*http.Response, string) {
	b.t.Helper()
	req, err := http.NewRequest(method, "http://"+b.addr+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := tr.RoundTrip(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return resp, string(body)
}
