package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
)

// patience is how long a test waits for what must happen, on a slow machine
// that does something else too.
const patience = 30 * time.Second

// box is a real bus and server; the handlers of its connections are probes.
type box struct {
	t      testing.TB
	st     *memstore.Store
	bus    *core.Bus
	srv    *Server
	log    *logText
	probes chan *probe   // of new connections, in the order of their making
	pass   chan struct{} // what 'w' waits for
	born   func(*Conn)   // looks at each new connection, on its own loop
}

type boxOptions struct {
	Config
	core core.Options
	born func(*Conn)
}

func newBox(t testing.TB, change ...func(*boxOptions)) *box {
	t.Helper()
	o := boxOptions{Config: DefaultConfig()}
	o.core.Config = core.DefaultConfig()
	o.Poller = "goroutine"
	o.Loops = 1
	o.AuthTimeout = time.Hour // most probes never log in
	for _, f := range change {
		f(&o)
	}
	b := &box{
		t: t, st: memstore.New(), log: new(logText), born: o.born,
		probes: make(chan *probe, 8192), pass: make(chan struct{}),
	}
	o.core.Shards = []core.Shard{b.st}
	o.core.Fail = func(err error) { t.Errorf("the bus failed: %v", err) }
	var err error
	if b.bus, err = core.Open(o.core); err != nil {
		t.Fatal(err)
	}
	if b.srv, err = NewServer(b.bus, o.Config, slog.New(slog.NewTextHandler(b.log, nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

// close ends it all and looks for goroutines that stay behind.
func (b *box) close() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, err := range []error{b.srv.Close(ctx), b.bus.Close(), b.st.Close()} {
		if err != nil {
			b.t.Errorf("close: %v", err)
		}
	}
	if n := b.srv.Open(); n != 0 {
		b.t.Errorf("%d connections are open after Close", n)
	}
	deadline := time.Now().Add(patience)
	for left := ours(); left != ""; left = ours() {
		if time.Now().After(deadline) {
			b.t.Fatalf("left behind:\n%s", left)
		}
		time.Sleep(time.Millisecond) // a goroutine that has been waited for still has to return
	}
}

// ours returns the stacks of the goroutines that this package and the bus have
// started, and that are no test.
func ours() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for _, g := range strings.Split(string(buf), "\n\n") {
		if strings.Contains(g, "narumq/naru/core") && !strings.Contains(g, "_test.go") &&
			!strings.Contains(g, "testing.tRunner") {
			left = append(left, g)
		}
	}
	return strings.Join(left, "\n\n")
}

func (b *box) handler(c *Conn) Handler {
	p := &probe{
		box: b, conn: c, closed: make(chan error, 8),
		pub: b.bus.VHost("/").NewPublisher(core.NewPrincipal(core.Identity{VHost: "/"})),
	}
	if b.born != nil {
		b.born(c)
	}
	b.probes <- p
	return p
}

// listen serves probes on loopback.
func (b *box) listen() net.Addr {
	b.t.Helper()
	addr, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0"}, b.handler)
	if err != nil {
		b.t.Fatal(err)
	}
	return addr
}

// dial connects, and returns both sides of the connection.
func (b *box) dial(addr net.Addr) (*client, *probe) {
	b.t.Helper()
	c := dial(b.t, addr)
	return c, b.next()
}

func (b *box) pipe() (*Pipe, *probe) {
	b.t.Helper()
	p := b.srv.NewPipe(b.handler)
	if p == nil {
		b.t.Fatal("no connection")
	}
	return p, b.next()
}

func (b *box) next() *probe {
	b.t.Helper()
	select {
	case p := <-b.probes:
		p.inside(func(*core.Turn, *Conn) {}) // it is served from now on
		return p
	case <-time.After(patience):
		b.t.Fatal("no connection arrived")
		return nil
	}
}

// turn runs f in a turn of its own, like another connection that delivers.
func (b *box) turn(f func(*core.Turn)) {
	t := b.bus.NewTurn()
	f(t)
	t.End()
}

// drivers runs a test with event loops and with goroutines.
func drivers(t *testing.T, f func(t *testing.T, driver func(*boxOptions))) {
	for _, name := range []string{"epoll", "goroutine"} {
		t.Run(name, func(t *testing.T) {
			if name == "epoll" && !canPoll {
				t.Skip("no event loops here")
			}
			f(t, func(o *boxOptions) { o.Poller = name })
		})
	}
}

// wait waits until a condition holds.
func wait(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("still not: %s", what)
		}
		time.Sleep(time.Millisecond) // it is looked at again and again
	}
}

// inside runs f where the connection is fed, and waits for it.
func (p *probe) inside(f func(*core.Turn, *Conn)) {
	p.box.t.Helper()
	done := make(chan struct{})
	p.conn.run.post(p.conn, func(t *core.Turn, c *Conn) {
		f(t, c)
		close(done)
	})
	select {
	case <-done:
	case <-time.After(patience):
		p.box.t.Fatal("a posted call did not run")
	}
}

// lingerOn has a connection that has ended linger for as long as the test
// needs.
func (p *probe) lingerOn() {
	p.box.t.Helper()
	p.inside(func(_ *core.Turn, c *Conn) { c.run.arm(c, -1) })
}

func (p *probe) paused() (yes bool) {
	p.inside(func(_ *core.Turn, c *Conn) { yes = c.waiting })
	return yes
}

// ended waits for Closed, which must be called once, with this cause.
func (p *probe) ended(cause error) {
	p.box.t.Helper()
	select {
	case err := <-p.closed:
		if !errors.Is(err, cause) || cause == nil && err != nil {
			p.box.t.Fatalf("ended with %v, want %v", err, cause)
		}
	case <-time.After(patience):
		p.box.t.Fatal("the connection does not end")
	}
}

// client is the other end of a socket.
type client struct {
	*net.TCPConn
	t testing.TB
}

func dial(t testing.TB, addr net.Addr) *client {
	t.Helper()
	nc, err := net.DialTimeout(addr.Network(), addr.String(), patience)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{nc.(*net.TCPConn), t}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	if _, err := c.Write(bytes.Join(frames, nil)); err != nil {
		c.t.Fatal(err)
	}
}

// want reads exactly these bytes.
func (c *client) want(w string) {
	c.t.Helper()
	got := make([]byte, len(w))
	n, err := io.ReadFull(c, got)
	if err != nil {
		c.t.Fatalf("%d of %d bytes, then %v", n, len(w), err)
	}
	if string(got) != w {
		c.t.Fatalf("got %s, want %s", short(got), short([]byte(w)))
	}
}

// wantEOF reads the end, which must be no reset.
func (c *client) wantEOF() {
	c.t.Helper()
	rest, err := io.ReadAll(c)
	if err != nil || len(rest) > 0 {
		c.t.Fatalf("got %s and %v, want the end", short(rest), err)
	}
}

func short(b []byte) string {
	if len(b) <= 64 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%q and %d more", b[:64], len(b)-64)
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

// count returns how many lines have this in them.
func (l *logText) count(s string) (n int) {
	for _, line := range strings.Split(l.String(), "\n") {
		if strings.Contains(line, s) {
			n++
		}
	}
	return n
}
