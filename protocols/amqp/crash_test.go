package amqp

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/narumq/naru/core/coretest/powercut"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

const crashPatience = 30 * time.Second

// TestCrash cuts the power of a whole broker under load, again and again, and
// looks after each cut whether what its clients were told is true. TEST_CUTS is
// the number of cuts; TEST_SEED repeats the choices of one life, though not the
// moments at which goroutines run.
func TestCrash(t *testing.T) { powercut.Lives(t, crashLife) }

// A crashWorld is a broker and its clients.
type crashWorld struct {
	*crashModel
	t        *testing.T
	r        *rand.Rand
	memTable int64
	fs       *powercut.Disk
	box      *box
	clients  []*crashClient
	wg       sync.WaitGroup
	stop     atomic.Bool  // the power is going
	ops      atomic.Int64 // what clients did
}

// crashLife is one life of a broker and its clients, with some cuts.
func crashLife(t *testing.T, seed uint64, cuts int) {
	r := rand.New(rand.NewPCG(seed, 9))
	w := &crashWorld{crashModel: newCrashModel(t, seed), t: t, r: r, fs: powercut.NewSlowDisk()}
	w.memTable = int64(16<<10) << r.IntN(7)
	for i, role := range []crashRole{confirmsRole, confirmsRole, transactsRole, movesRole, worksRole, worksRole, buriesRole, prefersRole, finishesRole, declaresRole} {
		w.clients = append(w.clients, &crashClient{w: w, role: role, r: rand.New(rand.NewPCG(seed, uint64(100+i)))})
	}
	defer w.report()
	w.open()
	p := w.box.connect()
	p.declare(1, "work", 2, props.AddStr(props.AddStr(nil, "x-dead-letter-exchange", ""), "x-dead-letter-routing-key", "dead"))
	p.declare(1, "dead", 2, nil)
	p.declare(1, "prio", 2, props.AddInt32(nil, "x-max-priority", 4))
	p.declare(1, "tx", 2, nil)
	p.declare(1, "done", 2, nil)
	p.Hangup(nil)
	for range cuts {
		w.start()
		w.load()
		w.cut()
		if w.failed.Load() {
			break
		}
		w.audit()
	}
	w.box.close()
	t.Logf("%d messages, %+v", len(w.msgs), w.counts)
}

// report shows the last frames of everybody after a failure.
func (w *crashWorld) report() {
	if !w.failed.Load() {
		return
	}
	w.halt()
	w.wg.Wait()
	for i, c := range w.clients {
		w.t.Logf("client %d, role %d:\n\t%s", i, c.role, strings.Join(c.trace, "\n\t"))
	}
}

// open starts a broker on what the disk has.
func (w *crashWorld) open() {
	w.box = openBox(w.t, func(o *boxOptions) {
		o.fs = w.fs
		o.store.MemTableSize, o.store.CacheSize = w.memTable, 4<<20
		o.core.QueueMemory = 1 << 20 // so that queues go to disk
		o.core.Fail = func(err error) { w.errorf("the bus failed: %v", err) }
	})
}

func (w *crashWorld) start() {
	w.stop.Store(false)
	for _, c := range w.clients {
		w.wg.Go(c.run)
	}
}

// load waits until the clients have done something.
func (w *crashWorld) load() {
	until := w.ops.Load() + int64(w.r.IntN(500))
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
	for _, c := range w.clients {
		if c.pipe != nil && w.r.IntN(2) == 0 && !w.failed.Load() {
			c.receive(c.pipe.Receive()) // what was written before has arrived, or has not
		}
		c.lost()
	}
	w.box.close()
	w.fs = left
	if w.failed.Load() {
		w.open() // for the end
		return
	}
	if w.r.IntN(4) == 0 { // the power fails again while the broker starts
		again := left.CutSoon(rand.New(rand.NewPCG(w.seed, rand.Uint64())))
		w.open()
		w.fs = <-again
		w.box.close()
	}
	w.open()
}

// audit looks at what the queues have after a restart, and gives it back.
func (w *crashWorld) audit() {
	p := w.box.connect()
	there := make(map[string]map[int]int)
	for _, queue := range crashQueues {
		there[queue] = make(map[int]int)
		for {
			p.send(1, frame.MethodBasicGet, uint16(0), queue, false)
			g, ok := p.next()
			if !ok || g.method == frame.MethodBasicGetEmpty {
				break
			}
			if g.method != frame.MethodBasicGetOK {
				w.errorf("basic.get is answered by %v", g)
				return
			}
			raw, body := p.content(1)
			msg := w.find(body)
			if msg == nil {
				w.errorf("%s holds what was never sent: %.20q", queue, body)
				return
			}
			if s, err := props.Scan(raw); err != nil || s.Persistent() == msg.fleeting {
				w.errorf("%s holds %v with properties % x: %v", queue, msg, raw, err)
			}
			there[queue][msg.no]++
		}
	}
	p.send(1, frame.MethodChannelClose, uint16(200), "", uint16(0), uint16(0))
	p.want(1, frame.MethodChannelCloseOK)
	p.Hangup(nil)
	w.check(there)
	w.checkTopology(w.box.bus)
}
