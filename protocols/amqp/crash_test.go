package amqp

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

const (
	cutsOfLife    = 10 // cuts in one life of a broker
	crashPatience = 30 * time.Second
)

// crashNumber reads a number from the environment.
func crashNumber(t *testing.T, name string, otherwise uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// TestCrash cuts the power of a whole broker under load, again and again, and
// looks after each cut whether what its clients were told is true. TEST_CUTS is
// the number of cuts; TEST_SEED repeats the choices of one life, though not the
// moments at which goroutines run.
func TestCrash(t *testing.T) {
	if os.Getenv("TEST_SEED") != "" {
		crashLife(t, crashNumber(t, "TEST_SEED", 0), cutsOfLife)
		return
	}
	cuts := 100
	if testing.Short() {
		cuts = 30
	}
	cuts = int(crashNumber(t, "TEST_CUTS", uint64(cuts)))
	for life := 0; cuts > 0; life++ {
		n := min(cuts, cutsOfLife)
		cuts -= n
		all := t
		t.Run(fmt.Sprint(life), func(t *testing.T) {
			t.Parallel()
			if all.Failed() {
				t.Skip("one failure is enough")
			}
			crashLife(t, uint64(life), n)
		})
	}
}

// A crashWorld is a broker and its clients.
type crashWorld struct {
	*crashModel
	t        *testing.T
	r        *rand.Rand
	memTable int64
	fs       *crashFS
	box      *box
	clients  []*crashClient
	wg       sync.WaitGroup
	stop     atomic.Bool  // the power is going
	ops      atomic.Int64 // what clients did
}

// crashLife is one life of a broker and its clients, with some cuts.
func crashLife(t *testing.T, seed uint64, cuts int) {
	r := rand.New(rand.NewPCG(seed, 9))
	w := &crashWorld{crashModel: newCrashModel(t, seed), t: t, r: r, fs: &crashFS{vfs.NewCrashableMem()}}
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
	left := w.fs.crash(w.r) // while the clients, and the broker, go on
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
		again := make(chan *crashFS)
		go func() {
			for range rand.IntN(1 << rand.IntN(14)) {
				runtime.Gosched()
			}
			again <- left.crash(rand.New(rand.NewPCG(w.seed, rand.Uint64())))
		}()
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

// A crashFS is Pebble's own, with a mistake of that removed: its ReuseForWrite
// and its Lock take a read lock twice, which never ends when CrashClone comes in
// between. And syncing its log takes time, so that the power can fail meanwhile.
type crashFS struct{ *vfs.MemFS }

// Lock has nobody to keep out.
func (f *crashFS) Lock(name string) (io.Closer, error) {
	return f.MemFS.Create(name, vfs.WriteCategoryUnspecified)
}

func (f *crashFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := f.Rename(from, to); err != nil {
		return nil, err
	}
	return slowLog(to)(f.OpenReadWrite(to, c))
}

func (f *crashFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return slowLog(name)(f.MemFS.Create(name, c))
}

func slowLog(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil || !strings.HasSuffix(name, ".log") {
			return f, err
		}
		return slowFile{f}, nil
	}
}

type slowFile struct{ vfs.File }

func (f slowFile) Sync() error {
	pause()
	return f.File.Sync()
}

func (f slowFile) SyncData() error {
	pause()
	return f.File.SyncData()
}

// pause is what a disk needs, as a rule little.
func pause() { time.Sleep(time.Duration(rand.IntN(100<<rand.IntN(4))) * time.Microsecond) }

// crash returns what is left when the power goes: all that was synced, and some
// share of the blocks and directory entries that were not.
func (f *crashFS) crash(r *rand.Rand) *crashFS {
	return &crashFS{f.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 20, 50, 80, 100}[r.IntN(5)], RNG: r})}
}
