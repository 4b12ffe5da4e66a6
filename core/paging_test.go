package core

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func queueMemory(n int64) func(*Options) {
	return func(o *Options) { o.QueueMemory = n }
}

func TestBacklogInBoundedMemory(t *testing.T) {
	const total, budget = 50_000, 64 << 10
	// One fill may come on top of the budget, and what one turn has published
	// until its commit is done.
	const bound = budget + fillEntries*(80+1+entryOverhead)
	for _, persistent := range []bool{true, false} {
		t.Run(fmt.Sprintf("persistent=%v", persistent), func(t *testing.T) {
			x := newBox(t, queueMemory(budget))
			q := x.named("q", QueueOptions{Durable: true})
			check := func(when string) {
				t.Helper()
				if n := x.memory.Load(); n > bound {
					t.Fatalf("%s: %d bytes in memory: %+v", when, n, q.Info())
				}
				if n := q.Info().InMemory; n > 1000 {
					t.Fatalf("%s: %d messages in memory", when, n)
				}
			}
			for lo := 0; lo < total; lo += 2500 {
				x.fill("q", lo, lo+2500, persistent)
				// What is transient is spilled a bit at a time: a second is one look.
				x.eventually("the backlog leaves memory", func() bool {
					x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
					x.rest(nil)
					return x.memory.Load() <= bound
				})
				check("filling")
			}
			if i := q.Info(); i.Ready != total || i.Bytes != total*80 {
				t.Fatalf("filled: %+v", i)
			}
			k := x.taker(q, 100)
			k.expect(0, total/2, func() { check("first half") })
			at := k.nextNumber()
			if at < total/2 || at > total/2+100 {
				t.Fatalf("the second half begins with %d", at)
			}
			if persistent {
				x.rest(nil)
				x = x.crash(queueMemory(budget))
				q = x.VHost("/").Queue("q")
				if i := q.Info(); i.Ready != int64(total-at) || i.Bytes != i.Ready*80 || i.InMemory != 0 {
					t.Fatalf("after a restart, from message %d on: %+v", at, i)
				}
				k = x.taker(q, 100)
			}
			k.expect(at, total, func() { check("second half") })
			x.rest(nil)
			if i := q.Info(); i.Ready+i.Unsettled+i.Bytes+i.InMemory != 0 {
				t.Fatalf("emptied: %+v", i)
			}
			x.fill("q", 0, 100, persistent)
			k.expect(0, 100, nil)
			if left := x.leftBehind(); len(left) > 0 {
				t.Fatalf("%d keys are left, the first is %q", len(left), left[0])
			}
			if n := x.memory.Load(); n != 0 {
				t.Fatalf("emptied, but %d bytes are counted", n)
			}
		})
	}
}

// What comes back to a queue after it has been looked at for spilling must
// still be able to leave memory, and let what stands behind it leave.
func TestReturnedTransientMessagesLeaveMemory(t *testing.T) {
	const budget = 16 << 10
	for _, released := range []bool{false, true} {
		t.Run(fmt.Sprintf("released=%v", released), func(t *testing.T) {
			x := newBox(t, queueMemory(budget))
			q := x.named("q", QueueOptions{})
			k := x.taker(q, 10)
			x.hold(true)
			x.fill("q", 0, 500, false) // ten are out, the others are on their way to disk
			if ds := k.take(); released {
				q.mu.Lock() // as if the client had no room for them any more
				k.c.opt.Limit = 1
				q.mu.Unlock()
				k.settle(Released, ds...)
			}
			x.turn(func(t *Turn) { k.c.Cancel(t) })
			x.hold(false)
			x.fill("q", 500, 2000, false)
			x.eventually("the backlog leaves memory", func() bool {
				x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
				x.rest(nil)
				return x.memory.Load() <= budget+fillEntries*(80+1+entryOverhead)
			})
			if i := q.Info(); i.Ready != 2000 || i.Unsettled != 0 {
				t.Fatalf("%+v", i)
			}
			x.taker(q, 100).expect(0, 2000, nil)
		})
	}
}

// A consumer with credit gets what is on disk behind messages that others, or
// itself, have not settled yet.
func TestGapIsReadBehindLentMessages(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 300, true)
	x.rest(nil)
	a, b := x.taker(q, 5), x.taker(q, 150)
	got := append(a.now(), b.now()...)
	if len(got) != 155 {
		t.Fatalf("%d messages were lent, want 155", len(got))
	}
	// The cursor goes back for what the first had, and what has not been sent
	// yet leaves memory.
	x.turn(func(t *Turn) { a.c.Cancel(t) })
	x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
	if i := q.Info(); i.InMemory > 160 || i.Ready != 150 {
		t.Fatalf("%+v", i)
	}
	c := x.taker(q, 60)
	if got := c.now(); len(got) != 60 || got[0] != number(0) || got[59] != number(154+55) {
		t.Fatalf("%d of 60 came to the next consumer: %q", len(got), got)
	}
}

// faulty is a shard whose reads can be held up, or fail.
type faulty struct {
	Shard
	scans atomic.Int64
	gate  atomic.Pointer[chan struct{}] // scans wait until it is closed
	of    atomic.Uint64                 // those of this queue alone, 0: all
	bad   atomic.Pointer[error]
}

func (f *faulty) Scan(lo, hi []byte, g func(k, v []byte) bool) error {
	f.scans.Add(1)
	if gate, of := f.gate.Load(), f.of.Load(); gate != nil && (of == 0 || len(lo) > 8 && queueOf(lo) == of) {
		<-*gate
	}
	if bad := f.bad.Load(); bad != nil {
		return *bad
	}
	return f.Shard.Scan(lo, hi, g)
}

func (f *faulty) wrap(o *Options) { f.Shard, o.Shards[0] = o.Shards[0], f }

func TestSlowReadHoldsNobodyUp(t *testing.T) {
	var f faulty
	x := newBox(t, queueMemory(16<<10), f.wrap)
	q := x.named("q", QueueOptions{Durable: true})
	other := x.named("other", QueueOptions{Durable: true})
	for other.id%uint64(len(x.workers)) == q.id%uint64(len(x.workers)) && len(x.workers) > 1 {
		other = x.named(fmt.Sprint("other", other.id), QueueOptions{Durable: true})
	}
	x.fill("q", 0, 1000, true)
	x.rest(nil)
	gate := make(chan struct{})
	f.gate.Store(&gate)
	open := sync.OnceFunc(func() { close(gate) })
	defer open()
	k := x.taker(q, 10)
	k2 := x.taker(other, 10)
	x.fill("q", 1000, 1500, true)
	if i := q.Info(); i.Ready != 1500 { // nobody waits for the lock of the queue
		t.Fatalf("%+v", i)
	}
	if len(x.workers) > 1 {
		x.fill(other.name, 0, 50, true)
		k2.expect(0, 50, nil)
	}
	k.mu.Lock()
	early := len(k.got)
	k.mu.Unlock()
	if early != 0 {
		t.Fatalf("%d messages came while nothing could be read", early)
	}
	f.gate.Store(nil)
	open()
	k.expect(0, 1500, nil)
}

func TestReadErrorIsFatalAndLosesNothing(t *testing.T) {
	var f faulty
	failed := make(chan error, 10)
	x := newBox(t, queueMemory(16<<10), f.wrap, func(o *Options) { o.Fail = func(err error) { failed <- err } })
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 1000, true)
	x.rest(nil)
	broken := errors.New("the disk is broken")
	f.bad.Store(&broken)
	k := x.taker(q, 10)
	select {
	case err := <-failed:
		if !errors.Is(err, broken) {
			t.Fatalf("the bus failed with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told that the shard cannot be read")
	}
	x.settle()
	before := f.scans.Load()
	for range 20 {
		x.turn(func(t *Turn) { k.c.Resume(t) })
		x.settle()
	}
	if n := f.scans.Load() - before; n > 20 {
		t.Errorf("%d reads after the first had failed", n)
	}
	if len(failed) > 0 {
		t.Errorf("the bus failed more than once: %v", <-failed)
	}
	if i := q.Info(); i.Ready+i.Unsettled != 1000 {
		t.Errorf("%+v", i)
	}
	y := x.crash()
	y.taker(y.VHost("/").Queue("q"), 100).expect(0, 1000, nil)
}

func TestDamagedRecordIsToldAndLeftOut(t *testing.T) {
	var mu sync.Mutex
	var told []StoreDamaged
	x := newBox(t)
	x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 600, true)
	x.settle()
	s := x.shards[0].fork()
	id := x.VHost("/").Queue("q").id
	for _, ord := range []uint64{0, 7, 599} {
		s.view.Set(string(entryKey(id, ord)), "\x09\x01nonsense")
	}
	s.view.Delete(string(entryKey(id, 300))) // not even there any more
	y := openBox(t, []*testShard{s}, func(o *Options) {
		o.Listeners = append(o.Listeners, func(e Event) {
			if d, ok := e.(StoreDamaged); ok {
				mu.Lock()
				told = append(told, d)
				mu.Unlock()
			}
		})
	})
	q := y.VHost("/").Queue("q")
	k := y.taker(q, 0)
	var want []string
	for i := range 600 {
		if i != 0 && i != 7 && i != 599 && i != 300 {
			want = append(want, number(i))
		}
	}
	if got := k.now(); !slices.Equal(got, want) {
		t.Fatalf("%d messages came, want %d", len(got), len(want))
	}
	if i := q.Info(); i.Unsettled != 596 || i.Ready != 0 || i.Bytes != 596*80 {
		t.Errorf("the counters still count what is not there: %+v", i)
	}
	mu.Lock()
	if len(told) == 0 || told[0].Queue != "q" || !errors.Is(told[0].Err, errRecord) {
		t.Errorf("told: %v", told)
	}
	mu.Unlock()
	// The next start knows the right numbers.
	y.rest(nil)
	if i := y.crash().VHost("/").Queue("q").Info(); i.Ready != 596 || i.Bytes != 596*80 {
		t.Errorf("after the next start: %+v", i)
	}
}

// Settled entries are dead by the counters alone. Their records go later: where a
// crash has left some, with the next that are settled, or at the start if there is
// no message left.
func TestDeadRecordsGoAfterACrash(t *testing.T) {
	x := newBox(t)
	for _, left := range []int{0, 5} {
		name := fmt.Sprint("q", left)
		x.fill(x.named(name, QueueOptions{Durable: true}).name, 0, 500+left, true)
		x.taker(x.VHost("/").Queue(name), 100).expect(0, 500, nil)
	}
	x.rest(nil)
	y := x.crash()
	y.rest(nil)
	of := y.VHost("/").Queue("q0").id
	if n := len(y.keys(keyEntry)); n > 505 || slices.ContainsFunc(y.keys(keyEntry), func(k string) bool { return queueOf([]byte(k)) == of }) {
		t.Errorf("%d records at the start, some of them of the empty queue", n)
	}
	y.taker(y.VHost("/").Queue("q5"), 100).expect(500, 505, nil)
	if left := y.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %d records", len(left))
	}
}

// A transient message may have the last ordinal that a durable queue has given
// away, and leave no record of it.
func TestOrdinalsAfterTransientMessages(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	k := x.taker(q, 0)
	x.fill("q", 0, 1, true)
	x.fill("q", 1, 10, false)
	x.rest(nil)
	ds := k.take()
	k.settle(Accepted, ds[1:]...)
	k.settle(Accepted, ds[0]) // only now does anything of this reach the disk
	x.rest(nil)
	x = x.crash()
	x.fill("q", 0, 1, true)
	x.rest(nil)
	x = x.crash()
	q = x.VHost("/").Queue("q")
	if i := q.Info(); i.Ready != 1 {
		t.Fatalf("after a restart: %+v", i)
	}
	x.taker(q, 0).expect(0, 1, nil)
}

func (q *Queue) trim(x *box) {
	x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
}

// What joins the gap while the gap is being read is read next.
func TestGapGrowsWhileItIsRead(t *testing.T) {
	var f faulty
	x := newBox(t, f.wrap)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 20, true)
	x.rest(nil)
	q.trim(x)
	x.fill("q", 20, 40, true)
	x.rest(nil)
	if i := q.Info(); i.InMemory != 20 {
		t.Fatalf("%+v", i)
	}
	gate := make(chan struct{})
	f.gate.Store(&gate)
	before := f.scans.Load()
	k := x.taker(q, 0)
	x.eventuallyRead(&f, before)
	q.trim(x)
	f.gate.Store(nil)
	close(gate)
	k.expect(0, 40, nil)
	if i := q.Info(); i.Ready+i.Unsettled+i.Bytes != 0 {
		t.Errorf("%+v", i)
	}
}

// eventuallyRead waits until a read has begun.
func (x *box) eventuallyRead(f *faulty, before int64) {
	for deadline := time.Now().Add(20 * time.Second); f.scans.Load() == before; {
		if time.Now().After(deadline) {
			x.t.Fatal("nothing is read")
		}
		runtime.Gosched()
	}
}

// A transient message may be settled while its record is on the way to disk:
// the delete is handed over before the record then, and once more behind it.
func TestSettledWhileItIsSpilled(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{})
	x.fill("q", 0, 10, false)
	spilling := x.NewTurn()
	q.mu.Lock()
	q.trimLocked(spilling)
	q.mu.Unlock()
	k := x.taker(q, 0)
	ds := k.take()
	k.settle(Accepted, ds[5])
	x.rest(nil)
	spilling.End()
	x.rest(nil)
	if n := len(x.keys(keyEntry)); n != 9 {
		t.Errorf("%d records of 9 messages", n)
	}
	k.settle(Accepted, append(ds[:5:5], ds[6:]...)...)
	if left := x.leftBehind(); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Holes between messages that cannot leave memory yet are not taken along.
func TestHolesAreCountedWhereTheyAre(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 70, true)
	x.fill("q", 70, 71, false)
	x.fill("q", 71, 75, true)
	x.rest(nil)
	k := x.taker(q, 0)
	ds := k.take()
	k.settle(Accepted, ds[3], ds[72])
	x.turn(func(t *Turn) { k.c.Cancel(t) })
	q.trim(x)
	if problem := q.inconsistent(); problem != "" {
		t.Error(problem)
	}
	if i := q.Info(); i.InMemory != 4 || i.Ready != 73 {
		t.Errorf("%+v", i)
	}
	if n := len(x.taker(q, 0).now()); n != 73 {
		t.Errorf("%d came", n)
	}
}

// A message settled out of order, whose delete is not on disk yet, must not come
// back when the queue leaves memory and is read again.
func TestSettledDoesNotComeBackFromTheGap(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 75, true)
	x.rest(nil)
	k := x.taker(q, 0)
	ds := k.take()
	x.hold(true) // on Pebble a settle rides on a later sync, up to 100 ms
	k.settle(Accepted, ds[3])
	x.turn(func(t *Turn) { k.c.Cancel(t) })
	q.trim(x)
	k = x.taker(q, 0)
	x.rest([]bool{true})
	k.mu.Lock()
	got := texts(k.got)
	k.mu.Unlock()
	for i, s := range got {
		if s == number(3) {
			t.Errorf("message 3 came back, as delivery %d of %d", i, len(got))
		}
	}
	if len(got) > 0 && got[len(got)-1] != number(74) {
		t.Errorf("the last message is not seen: %q", got[len(got)-1])
	}
	x.hold(false)
}

// Nor if so many were settled that memory has closed the holes they left, and not
// when the queue leaves memory for the second time either. What came back would be
// settled, and counted, twice: the counters on disk would fall behind, and a restart
// would not find what is published after that.
func TestSettledDoesNotComeBackFromAClosedHole(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 300, true)
	x.rest(nil)
	k := x.taker(q, 0)
	_, ds := k.failed(300)
	x.hold(true)
	k.settle(Accepted, ds[1:200]...)
	for round := range 2 {
		k.cancel()
		q.trim(x)
		if i := q.Info(); i.InMemory != 0 || i.Ready != 101 {
			t.Fatalf("round %d: %+v", round, i)
		}
		k = x.taker(q, 0)
		x.rest([]bool{true})
		if _, ds = k.failed(101); len(ds) != 101 {
			t.Fatalf("round %d: %d came, want 101", round, len(ds))
		}
	}
	x.hold(false)
	k.settle(Accepted, ds...)
	k.cancel()
	x.fill("q", 300, 310, true)
	x.rest(nil)
	y := x.crash()
	if got := y.taker(y.VHost("/").Queue("q"), 0).now(); len(got) != 10 {
		t.Errorf("after a restart %d of 10 messages are there", len(got))
	}
}

// An entry that leaves for another queue from the middle of the tail keeps nothing
// behind it in memory.
func TestHoleInTheTail(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true, DeadLetter: &DeadLetter{Key: "nobody", HasKey: true}})
	x.fill("q", 0, 300, true)
	x.rest(nil)
	k := x.taker(q, 0)
	_, ds := k.failed(300)
	x.hold(true)
	x.turn(func(tn *Turn) {
		for _, i := range []int{100, 120, 140} {
			ds[i].Consumer.Settle(tn, ds[i].Ordinal, ds[i].QoS, Rejected)
		}
		k.c.Cancel(tn)
	})
	q.trim(x)
	x.hold(false)
	x.rest(nil)
	if q.far.tail.gone != 2 {
		t.Fatalf("the tail has %d holes", q.far.tail.gone)
	}
	q.trim(x)
	if i := q.Info(); i.InMemory != 0 || i.Ready != 297 {
		t.Errorf("paged out: %+v", i)
	}
	if got := x.taker(q, 0).now(); len(got) != 297 {
		t.Errorf("%d came", len(got))
	}
	if problem := q.inconsistent(); problem != "" {
		t.Error(problem)
	}
}

// Counters that know of fewer entries than there are, as when settled ones are
// read once more, hide none of them.
func TestGapIsReadToItsEnd(t *testing.T) {
	x := newBox(t)
	x.named("q", QueueOptions{Durable: true})
	const n = 3 * fillEntries
	x.fill("q", 0, n, true)
	x.rest(nil)
	y := x.crash()
	q := y.VHost("/").Queue("q")
	q.mu.Lock()
	q.far.gap.n, q.count = 1, 1
	q.mu.Unlock()
	k := y.taker(q, 0)
	got := 0
	y.eventually("all of them come", func() bool {
		ds := k.take()
		got += len(ds)
		k.settle(Accepted, ds...)
		return got == n
	})
	if i := q.Info(); i.Ready != 0 || i.Unsettled != 0 {
		t.Errorf("%+v is left", i)
	}
}
