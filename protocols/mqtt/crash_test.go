package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/coretest/powercut"
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

const (
	crashKept     = 60 // retained messages that never change
	crashPatience = 30 * time.Second
)

// TestCrash cuts the power of a whole broker under load, again and again, and
// has the clients compare what comes afterwards with what they were told
// before. TEST_CUTS is the number of cuts; TEST_SEED repeats the choices of one
// life, though not the moments at which goroutines run.
func TestCrash(t *testing.T) { powercut.Lives(t, crashLife) }

// A crashWorld is a broker and its clients.
type crashWorld struct {
	*crashModel
	t       *testing.T
	r       *rand.Rand
	o       crashOptions
	fs      *powercut.Disk
	box     *box
	clients []*crashClient

	wg     sync.WaitGroup
	endsMu sync.Mutex
	ends   []string // guarded by endsMu: the last connections that the broker saw end, for the report

	stop  atomic.Bool  // the power is going
	drain atomic.Bool  // settle everything and begin nothing
	ops   atomic.Int64 // what clients did
}

// crashOptions differ from life to life.
type crashOptions struct {
	memTable int64
	inflight int
	ids      idSpace
}

var crashClients = []struct {
	id   string
	role crashRole
}{
	{"all 2", crashRole{publishes: true, lazy: 40, keeps: map[string]byte{"d/#": 2, "w/#": 2, "$share/q/s/0": 2}}},
	{"all 1", crashRole{publishes: true, lazy: 60, keeps: map[string]byte{"d/+": 1, "w/+": 1, "$share/m/s/#": 1}}},
	{"pub", crashRole{publishes: true, lazy: 30}},
	{"pub too", crashRole{publishes: true, lazy: 70, clean: 15}},
	{"fleeting", crashRole{publishes: true, lazy: 30, clean: 100, subscribes: []string{"d/0", "d/#", "$share/m/s/#"}}},
	{"moody", crashRole{lazy: 30, subscribes: []string{"d/0", "d/1", "d/+", "d/#", "$share/m/s/#"}}},
	{"moody 2", crashRole{lazy: 80, clean: 20, subscribes: []string{"d/1", "d/2", "d/#"}}},
	{"member", crashRole{lazy: 60, keeps: map[string]byte{"$share/q/s/0": 2}}},
	{"replay", crashRole{lazy: 90, clean: 50, keeps: map[string]byte{"k/#": 2}}},
}

// crashLife is one life of a broker and its clients, with some cuts.
func crashLife(t *testing.T, seed uint64, cuts int) {
	r := rand.New(rand.NewPCG(seed, 7))
	w := &crashWorld{crashModel: newCrashModel(t, seed), t: t, r: r, fs: powercut.NewSlowDisk()}
	w.o = crashOptions{memTable: int64(16<<10) << r.IntN(7), inflight: 2 + r.IntN(20), ids: fullSpace}
	if r.IntN(2) == 0 { // ids come round often
		w.o.ids = idSpace{own: 24, foreign: 8}
		w.o.inflight = min(w.o.inflight, 8)
	}
	for i, c := range crashClients {
		client := &crashClient{w: w, id: c.id, role: c.role, r: rand.New(rand.NewPCG(seed, uint64(100+i)))}
		client.forget()
		w.clients = append(w.clients, client)
	}
	defer w.report()
	w.open()
	w.keep()
	for range cuts {
		w.start()
		w.load()
		if r.IntN(4) == 0 {
			w.settle()
			w.load()
		}
		w.cut()
		if w.failed.Load() {
			break
		}
		w.checkRetained(w.readRetained())
	}
	w.start()
	w.settle()
	w.halt()
	w.wg.Wait()
	w.box.crashClose()
}

// report shows the last packets of everybody after a failure.
func (w *crashWorld) report() {
	if !w.failed.Load() {
		return
	}
	w.halt()
	w.wg.Wait()
	w.endsMu.Lock()
	w.t.Logf("the broker saw end:\n\t%s", strings.Join(w.ends, "\n\t"))
	w.endsMu.Unlock()
	for _, c := range w.clients {
		w.t.Logf("%s, state %d:\n\t%s", c.id, c.state, strings.Join(c.trace, "\n\t"))
	}
}

// ended remembers how a connection ended.
func (w *crashWorld) ended(e core.Event) {
	var who *core.Identity
	var cause error
	switch e := e.(type) {
	case core.Disconnected:
		who, cause = e.Identity, e.Cause
	case core.LoginRefused:
		who, cause = e.Identity, e.Cause
	default:
		return
	}
	w.endsMu.Lock()
	defer w.endsMu.Unlock()
	if len(w.ends) > 60 {
		w.ends = append(w.ends[:0], w.ends[30:]...)
	}
	w.ends = append(w.ends, fmt.Sprintf("%d %T of %q: %v", w.clock.Load(), e, who.ClientID, cause))
}

// open starts a broker on what the disk has.
func (w *crashWorld) open() {
	b := &box{t: w.t}
	var err error
	if b.st, err = pebblestore.Open("store", pebblestore.Options{FS: w.fs, MemTableSize: w.o.memTable, CacheSize: 4 << 20}); err != nil {
		w.t.Fatalf("TEST_SEED=%d: open: %v", w.seed, err)
	}
	o := core.Options{Config: core.DefaultConfig(), Shards: []core.Shard{b.st}}
	o.QueueMemory = 1 << 20 // so that queues go to disk
	o.Fail = func(err error) { w.errorf("the bus failed: %v", err) }
	o.Listeners = []core.Listener{w.ended}
	if b.bus, err = core.Open(o); err != nil {
		w.t.Fatalf("TEST_SEED=%d: open: %v", w.seed, err)
	}
	log := slog.New(slog.DiscardHandler)
	tc := transport.DefaultConfig()
	tc.Poller = "goroutine"
	if b.srv, err = transport.NewServer(b.bus, tc, log); err != nil {
		w.t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.SysInterval, cfg.Listeners, cfg.MaxInflight = 0, nil, w.o.inflight
	b.a = New(b.bus, b.srv, cfg, "test", log)
	b.a.ids = w.o.ids
	if err := b.a.Start(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.box = b
}

// crashClose stops a broker whose disk nobody will read any more.
func (b *box) crashClose() {
	ctx := context.Background()
	for _, err := range []error{b.a.Stop(ctx), b.srv.Close(ctx), b.bus.Close(), b.st.Close()} {
		if err != nil {
			b.t.Errorf("close: %v", err)
		}
	}
}

// keep retains the messages that never change.
func (w *crashWorld) keep() {
	p := w.box.connect("keep", true)
	for i := range crashKept + 1 {
		m := crashMsg{topic: fmt.Sprintf("k/%d", i), qos: byte(1 + i%2), from: "keep", retain: true, size: i}
		if i == crashKept {
			m.topic = "r/zz" // the last that readRetained gets
		}
		msg := w.newMsg(m)
		w.sending(msg)
		payload := msg.payload()
		id := uint16(i + 1)
		b := packet.AppendPublishHead(nil, []byte(msg.topic), len(payload), msg.qos, true, false, id)
		p.Send(append(b, payload...))
		w.sent(msg)
		p.want(fmt.Sprintf("%02x 02 %04x", []byte{0, 0x40, 0x50}[msg.qos], id))
		w.acknowledged(msg)
	}
	p.Hangup(nil)
}

// start has every client do what it does.
func (w *crashWorld) start() {
	w.stop.Store(false)
	for _, c := range w.clients {
		w.wg.Go(c.run)
	}
}

// load waits until the clients have done something.
func (w *crashWorld) load() {
	w.drain.Store(false)
	until := w.ops.Load() + int64(w.r.IntN(400))
	for deadline := time.Now().Add(crashPatience); w.ops.Load() < until && !w.failed.Load(); {
		if time.Now().After(deadline) {
			w.errorf("the clients are stuck")
		}
		time.Sleep(100 * time.Microsecond) // what is waited for is counted, not told
	}
	for range w.r.IntN(100) {
		runtime.Gosched()
	}
}

// settle waits until every client has what it is due and has acknowledged it,
// and checks that this was everything.
func (w *crashWorld) settle() {
	w.drain.Store(true)
	deadline, least := time.Now().Add(crashPatience), int64(math.MaxInt64)
	for !w.failed.Load() {
		quiet := true
		for _, c := range w.clients {
			quiet = quiet && c.idle.Load()
		}
		n, _ := w.box.bus.Stored()
		if n < least { // slow, but not stuck
			deadline, least = time.Now().Add(crashPatience), n
		}
		if quiet && n == 0 {
			w.checkAll()
			break
		}
		if time.Now().After(deadline) {
			w.stop.Store(true)
			w.wg.Wait()
			for _, c := range w.clients {
				if c.last != "" {
					w.errorf("%s waits for %s", c.id, c.last)
				}
			}
			w.errorf("%d messages are stored still", n)
			return
		}
		time.Sleep(time.Millisecond) // what is waited for is counted, not told
	}
	for _, c := range w.clients {
		c.idle.Store(false)
	}
}

// halt has the clients see nothing more, and stop.
func (w *crashWorld) halt() {
	w.stop.Store(true)
	for _, c := range w.clients {
		c.pipeMu.Lock()
		if c.pipe != nil {
			c.pipe.Cut()
		}
		c.pipeMu.Unlock()
	}
}

// cut cuts the power and starts a broker on what is left.
func (w *crashWorld) cut() {
	w.halt()
	left := w.fs.Cut(w.r) // while the clients, and the broker, go on
	w.wg.Wait()
	if w.failed.Load() {
		w.box.crashClose()
		return
	}
	for _, c := range w.clients {
		if c.state == clientDown {
			continue
		}
		if w.r.IntN(2) == 0 { // what was written before has arrived, or has not
			c.receive(c.pipe.Receive())
		}
		c.lost()
	}
	w.box.crashClose()
	w.fs = left
	if w.r.IntN(4) > 0 {
		w.open()
		return
	}
	// The power fails again while the broker starts.
	again := left.CutSoon(rand.New(rand.NewPCG(w.seed, rand.Uint64())))
	w.open()
	w.fs = <-again
	w.box.crashClose()
	w.open()
}

// readRetained subscribes to the retained messages that change, and those that
// do not.
func (w *crashWorld) readRetained() map[string]*packet.Publish {
	p := w.box.connect("reader", true)
	defer p.Hangup(nil)
	p.send("82 0e 0001 0003'k/#'00 0003'r/#'00")
	p.want("90 04 0001 00 00")
	have := make(map[string]*packet.Publish)
	for deadline := time.Now().Add(crashPatience); have["r/zz"] == nil; {
		if time.Now().After(deadline) {
			w.errorf("of the retained messages came %d", len(have))
			break
		}
		h, more, err := packet.ReadHeader(p.buf)
		if err != nil {
			w.errorf("reader got % x: %v", p.buf, err)
			break
		}
		if more || len(p.buf) < h.Total() {
			p.Wait(time.Second)
			p.buf = append(p.buf, p.Receive()...)
			continue
		}
		pub := new(packet.Publish)
		if err := pub.Decode(h.Flags, p.buf[h.Size:h.Total()]); err != nil || !pub.Retain || pub.QoS != 0 {
			w.errorf("reader got % x: %v", p.buf[:h.Total()], err)
			break
		}
		have[string(pub.Topic)] = pub
		p.buf = p.buf[h.Total():]
	}
	return have
}

// TestCrashGroupReceived has a member whose session is clean take a QoS 2
// message of a group as far as PUBREC. The message is that client's: after a
// crash no other member may hear of it, not even by PUBREL.
func TestCrashGroupReceived(t *testing.T) {
	w := &crashWorld{crashModel: newCrashModel(t, 0), t: t, r: rand.New(rand.NewPCG(0, 5)), fs: powercut.NewSlowDisk()}
	w.o = crashOptions{memTable: 64 << 10, inflight: 10, ids: fullSpace}
	w.open()
	away := w.box.connect("away", false)
	away.send("82 0f 0001 000a'$share/g/a'02 e0 00")
	away.want("90 03 0001 02")
	away.wantOver()
	member := w.box.connect("member", true)
	member.send("82 0f 0001 000a'$share/g/a'02")
	member.want("90 03 0001 02")
	pub := w.box.connect("pub", true)
	for i := range 3 { // of which the first is received, the second only sent
		pub.send(fmt.Sprintf("34 06 0001'a'%04x'%d'", i+1, i))
		pub.want(fmt.Sprintf("50 02 %04x", i+1))
	}
	member.want("34 06 0001'a'c001'0'")
	member.send("50 02 c001")
	member.want("34 06 0001'a'c002'1' 34 06 0001'a'c003'2' 62 02 c001")
	left := w.fs.Cut(w.r)
	w.box.crashClose()
	w.fs = left
	w.open()
	defer w.box.crashClose()
	away = w.box.connect("away", false)
	away.want("34 06 0001'a'0001'1' 34 06 0001'a'0002'2'")
	if n, _ := w.box.bus.Stored(); n != 2 {
		t.Errorf("%d messages are stored, not 2", n)
	}
}
