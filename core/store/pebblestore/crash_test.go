package pebblestore

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/coretest"
	"github.com/narumq/naru/core/coretest/powercut"
)

// crashCuts is how many times the power is cut: TEST_CUTS, or 200.
func crashCuts(t *testing.T) int {
	cuts := uint64(200)
	if testing.Short() {
		cuts = 40
	}
	return int(powercut.Number(t, "TEST_CUTS", cuts))
}

const (
	cutsOfLife = 20 // cuts in one life of a store
	committers = 4
)

// TestCrash cuts the power while several goroutines commit, and looks at what
// the disk has then: all that was synced and some blocks, at random, of what
// was not. It must be exactly what the first n commits leave, for some n that
// no done was ahead of. So batches are whole, in order and without gaps.
func TestCrash(t *testing.T) {
	cuts := crashCuts(t)
	for life := range (cuts + cutsOfLife - 1) / cutsOfLife {
		t.Run(fmt.Sprint(life), func(t *testing.T) { t.Parallel(); crashLife(t, uint64(life), SyncAlways) })
	}
	// Without syncs the last commits may be gone, but nothing in their midst.
	t.Run(SyncInterval, func(t *testing.T) { t.Parallel(); crashLife(t, 1000, SyncInterval) })
	t.Run(SyncOS, func(t *testing.T) { t.Parallel(); crashLife(t, 1001, SyncOS) })
}

func crashLife(t *testing.T, seed uint64, sync string) {
	r := rand.New(rand.NewPCG(seed, 1))
	fs := powercut.NewDisk()
	// Small enough for tables, compactions and used logs to take part.
	opt := Options{FS: fs, Sync: sync, MemTableSize: int64(16<<10) << r.IntN(7)}
	s, closeStore := open(t, "store", opt)
	w := &crashWork{t: t, s: s, seed: seed, tick: make(chan struct{}, 1), stop: make(chan struct{})}
	w.start()
	model := &replay{seed: seed, state: coretest.Model{}}
	for cut := 0; cut < cutsOfLife && !t.Failed(); cut++ {
		for range r.IntN(30) {
			runtime.Gosched()
		}
		w.waitFor(w.told.Load() + int64(r.IntN(60)))
		told := w.told.Load()
		crashed := fs.Cut(r)
		begun := w.begun.Load()
		if sync != SyncAlways {
			told = 0
		}
		w.mu.Lock() // the others may rest: they have been cut off
		opt.FS = crashed
		n := model.check(t, r, opt, told, begun)
		if r.IntN(3) == 0 && !t.Failed() { // and again, soon after the restart
			opt.FS = crashed.CutShare(r, r.IntN(101))
			model.check(t, r, opt, n, n)
		}
		w.mu.Unlock()
	}
	close(w.stop)
	w.wg.Wait()
	closeStore()
}

// crashWork commits what batch(n) says, for n = 1, 2, 3 ... in this order, from
// several goroutines.
type crashWork struct {
	t    *testing.T
	s    *Store
	seed uint64

	mu    sync.Mutex // over batch and Commit, as in core: its order is that of n
	begun atomic.Int64
	told  atomic.Int64

	tick chan struct{} // one slot: told has grown
	stop chan struct{}
	wg   sync.WaitGroup
}

func (w *crashWork) start() {
	for range committers {
		w.wg.Go(w.commit)
	}
}

func (w *crashWork) commit() {
	slots := make(chan struct{}, 8) // some in flight, but not without bound
	defer func() {
		for range cap(slots) {
			slots <- struct{}{}
		}
	}()
	for {
		select {
		case <-w.stop:
			return
		case slots <- struct{}{}:
		}
		w.mu.Lock()
		n := w.begun.Add(1)
		b := w.s.NewBatch()
		crashBatch(w.seed, n, coretest.Model{}, b)
		done := func(err error) {
			if err != nil {
				w.t.Errorf("commit %d: %v", n, err)
			}
			w.told.Store(n)
			select {
			case w.tick <- struct{}{}:
			default:
			}
			<-slots
		}
		if n%5 == 0 {
			w.s.Commit(b, nil)
			<-slots
		} else {
			w.s.Commit(b, done)
		}
		w.mu.Unlock()
	}
}

func (w *crashWork) waitFor(n int64) {
	for w.told.Load() < n {
		<-w.tick
	}
}

// crashBatch is the nth commit: some changes, and its number.
func crashBatch(seed uint64, n int64, m coretest.Model, b core.Batch) {
	r := rand.New(rand.NewPCG(seed, uint64(n)))
	changes := r.IntN(12)
	if n%50 == 0 {
		changes = 600 // more than a memtable may have room for
	}
	m.Apply(r, b, changes)
	if b != nil {
		b.Set([]byte("n"), strconv.AppendInt(nil, n, 10))
	}
}

// A replay is the state after the first n commits.
type replay struct {
	seed  uint64
	n     int64
	state coretest.Model
}

// check opens what a crash has left and returns n. It must be within [told,
// begun].
func (m *replay) check(t *testing.T, r *rand.Rand, o Options, told, begun int64) (n int64) {
	s, err := Open("store", o)
	if err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close after a crash: %v", err)
		}
	}()
	if _, err := s.Get([]byte("n"), func(v []byte) { n, _ = strconv.ParseInt(string(v), 10, 64) }); err != nil {
		t.Fatalf("after a crash: %v", err)
	}
	if n < told || n > begun {
		t.Fatalf("after a crash commit %d is the last, but %d was told to be durable and %d were begun", n, told, begun)
	}
	if n < m.n { // a mode that loses more this time
		m.n, m.state = 0, coretest.Model{}
	}
	for m.n < n {
		m.n++
		crashBatch(m.seed, m.n, m.state, nil)
	}
	m.state.Check(t, r, s)
	return n
}
