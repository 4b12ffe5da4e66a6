package mqtt

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/core/transport"
)

// box is a real bus, transport and adapter, with bytes fed in and read out.
type box struct {
	t   testing.TB
	fs  vfs.FS
	st  *pebblestore.Store
	bus *core.Bus
	srv *transport.Server
	a   *Adapter
}

type boxOptions struct {
	fs     vfs.FS
	config Config
	core   core.Options
	conn   transport.Config
}

func newBox(t testing.TB, change ...func(*boxOptions)) *box {
	t.Helper()
	o := boxOptions{fs: vfs.NewMem(), config: DefaultConfig(), conn: transport.DefaultConfig()}
	o.core.Config = core.DefaultConfig()
	o.config.SysInterval = 0
	o.config.Listeners = nil
	o.conn.Poller = "goroutine"
	for _, f := range change {
		f(&o)
	}
	b := &box{t: t, fs: o.fs}
	var err error
	if b.st, err = pebblestore.Open("store", pebblestore.Options{FS: o.fs}); err != nil {
		t.Fatal(err)
	}
	o.core.Shards = []core.Shard{b.st}
	o.core.Fail = func(err error) { t.Errorf("the bus failed: %v", err) }
	if b.bus, err = core.Open(o.core); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if b.srv, err = transport.NewServer(b.bus, o.conn, log); err != nil {
		t.Fatal(err)
	}
	b.a = New(b.bus, b.srv, o.config, "test", log)
	if err := b.a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

func (b *box) close() {
	ctx := b.t.Context()
	for _, err := range []error{b.a.Stop(ctx), b.srv.Close(ctx), b.bus.Close(), b.st.Close()} {
		if err != nil {
			b.t.Errorf("close: %v", err)
		}
	}
}

// peer is a client of bytes.
type peer struct {
	*transport.Pipe
	t   testing.TB
	buf []byte
}

func (b *box) open() *peer {
	return &peer{Pipe: b.srv.NewPipe(b.a.Handler(Listener{transport.ListenConfig{Address: "pipe"}, "/"})), t: b.t}
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

func (p *peer) send(s string) { p.Send(raw(s)) }

// want waits for exactly these bytes.
func (p *peer) want(s string) {
	p.t.Helper()
	w := raw(s)
	deadline := generous()
	for len(p.buf) < len(w) && time.Now().Before(deadline) {
		over := p.Wait(time.Until(deadline))
		got := p.Receive()
		p.buf = append(p.buf, got...)
		if over && len(got) == 0 {
			break
		}
	}
	if !bytes.HasPrefix(p.buf, w) {
		p.t.Fatalf("got  % x %q\nwant % x %q", p.buf, p.buf, w, w)
	}
	p.buf = p.buf[len(w):]
}

func (p *peer) wantOver() {
	p.t.Helper()
	deadline := generous()
	for !p.Over() && time.Now().Before(deadline) {
		p.Wait(10 * time.Millisecond)
		p.buf = append(p.buf, p.Receive()...)
	}
	if !p.Over() {
		p.t.Fatal("the connection is open still")
	}
	if len(p.buf) > 0 {
		p.t.Fatalf("unexpected % x before the end", p.buf)
	}
}

func (b *box) connect(id string, clean bool) *peer {
	b.t.Helper()
	p := b.open()
	flags := "00"
	if clean {
		flags = "02"
	}
	p.send(fmt.Sprintf("10 %02x 0004'MQTT'04 %s 0000 %04x'%s'", 12+len(id), flags, len(id), id))
	p.want("20 02")
	for len(p.buf) < 2 {
		p.Wait(time.Second)
		p.buf = append(p.buf, p.Receive()...)
	}
	if p.buf[1] != 0 {
		b.t.Fatalf("CONNACK %x", p.buf)
	}
	p.buf = p.buf[2:]
	return p
}

func TestFirstSession(t *testing.T) {
	b := newBox(t)
	sub, pub := b.connect("sub", true), b.connect("pub", true)
	sub.send("82 08 0001 0003'a/b'01")
	sub.want("90 03 0001 01")
	pub.send("32 09 0003'a/b'0007'hi'")
	pub.want("40 02 0007")
	sub.want("32 09 0003'a/b'0001'hi'")
	sub.send("40 02 0001")
	pub.send("c0 00")
	pub.want("d0 00")
	pub.send("e0 00")
	pub.wantOver()
}

func TestQoS2AcrossRestart(t *testing.T) {
	fs := vfs.NewMem()
	keep := func(o *boxOptions) { o.fs = fs }
	b := newBox(t, keep)
	sub := b.connect("sub", false)
	sub.send("82 08 0001 0003'a/b'02")
	sub.want("90 03 0001 02")
	sub.send("e0 00")
	sub.wantOver()
	pub := b.connect("pub", false)
	pub.send("34 09 0003'a/b'0007'hi'")
	pub.want("50 02 0007")
	pub.send("34 09 0003'a/b'0007'hi'")
	pub.want("50 02 0007")
	b.close()

	b = newBox(t, keep)
	pub = b.connect("pub", false)
	pub.send("3c 09 0003'a/b'0007'hi'")
	pub.want("50 02 0007")
	pub.send("62 02 0007")
	pub.want("70 02 0007")
	sub = b.connect("sub", false)
	sub.want("34 09 0003'a/b'0001'hi'")
	sub.send("50 02 0001")
	sub.want("62 02 0001")
	sub.send("70 02 0001 c0 00")
	sub.want("d0 00")
}
