package core

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// told is where the replies of a connection go.
type told struct {
	gate Gate
	mu   sync.Mutex
	got  []string // guarded by mu
}

func (o *told) AppendReply(_ *Turn, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.got = append(o.got, strings.Fields(string(b))...)
}

func (o *told) replies() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.got)
}

// feed runs f as one Feed of a connection, and replies.
func (o *told) feed(t *Turn, reply string, f func()) {
	o.gate.Begin(t)
	f()
	t.Reply([]byte(reply + " ")...)
	o.gate.EndFeed(t, 10)
}

func newTold(lane uint64) *told {
	o := &told{}
	o.gate.Init(o, lane)
	return o
}

// twoShards returns a box with a queue on each of its shards.
func twoShards(t *testing.T, change ...func(*Options)) (x *box, names [2]string) {
	x = openBox(t, []*testShard{newTestShard(), newTestShard()}, change...)
	for i := 0; names[0] == "" || names[1] == ""; i++ {
		name := fmt.Sprint("q", i)
		if s := x.shardOf("q", "/", name).index; names[s] == "" {
			names[s] = name
			x.named(name, QueueOptions{Durable: true})
		}
	}
	x.settle()
	return x, names
}

// A durable queue shows an entry when it, and every entry before it from
// anyone, is on disk or needs no disk.
func TestShownWhenOnDisk(t *testing.T) {
	for _, c := range []struct {
		publish string // d: durable, v: volatile; before '|' on disk, behind it held back
		before  int    // are shown while the shard holds back
	}{
		{"d|", 1}, {"|d", 0}, {"v|", 1}, {"|v", 1}, {"|vv", 2},
		{"|dv", 0}, {"|vd", 1}, {"|vdv", 1}, {"d|vdvd", 2}, {"dvd|ddv", 3}, {"dv|vvd", 4},
	} {
		t.Run(c.publish, func(t *testing.T) {
			for _, early := range []bool{true, false} { // the consumer is there first, or comes later
				x := newBox(t)
				q := x.named("q", QueueOptions{Durable: true})
				var k *taker
				if early {
					k = x.taker(q, 0)
				}
				p := x.publisher()
				n := 0
				var want []string
				for _, what := range c.publish {
					if what == '|' {
						x.settle()
						x.hold(true)
						continue
					}
					x.turn(func(tn *Turn) {
						if err := p.to(tn, "q", number(n), what == 'd'); err != nil {
							t.Fatal(err)
						}
					})
					want = append(want, number(n))
					n++
				}
				if !early {
					k = x.taker(q, 0)
				}
				x.workersIdle()
				k.mu.Lock()
				got := texts(k.got)
				k.mu.Unlock()
				if !slices.Equal(got, want[:c.before]) {
					t.Errorf("early %v, held back: %q are shown, want %d", early, got, c.before)
				}
				x.hold(false)
				if got := k.now(); !slices.Equal(got, want) {
					t.Errorf("early %v: %q", early, got)
				}
			}
		})
	}
}

// Two turns may commit in the other order than they published.
func TestShownInOrderOfTheQueue(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.settle()
	k := x.taker(q, 0)
	a, b, c := x.NewTurn(), x.NewTurn(), x.NewTurn()
	p := x.publisher()
	for i, tn := range []*Turn{a, b, c, a} {
		if err := p.to(tn, "q", number(i), true); err != nil {
			t.Fatal(err)
		}
	}
	c.End()
	b.End()
	if got := k.now(); len(got) != 0 {
		t.Fatalf("%q are shown, and the one before them is not on disk", got)
	}
	// A crash now leaves those that are on disk, in order.
	y := x.crash()
	if got, want := y.taker(y.VHost("/").Queue("q"), 0).now(), []string{number(1), number(2)}; !slices.Equal(got, want) {
		t.Fatalf("after a crash: %q", got)
	}
	a.End()
	if got, want := k.now(), []string{number(0), number(1), number(2), number(3)}; !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
}

// Settles that commit in the other order bring nothing back that is on disk as
// settled, and lose nothing.
func TestSettlesCommitInAnyOrder(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 6, true)
	x.rest(nil)
	k := x.taker(q, 0)
	a, b := x.NewTurn(), x.NewTurn()
	for i, ord := range []uint64{0, 1, 3} {
		if st := k.c.Settle([]*Turn{a, b, b}[i], ord, AtLeastOnce, Accepted); st != Done {
			t.Fatal(st)
		}
	}
	b.End()
	x.rest(nil)
	y := x.crash()
	ky := y.taker(y.VHost("/").Queue("q"), 0)
	got := ky.now()
	if len(got) > 0 && got[0] == number(0) {
		got = got[1:] // its settle is not on disk
	}
	if want := []string{number(2), number(4), number(5)}; !slices.Equal(got, want) {
		t.Fatalf("after a crash: %q", got)
	}
	a.End()
	x.rest(nil)
	z := x.crash()
	if i := z.VHost("/").Queue("q").Info(); i.Ready != 3 || i.Bytes != 240 {
		t.Fatalf("after both commits: %+v", i)
	}
	z.taker(z.VHost("/").Queue("q"), 0).now()
}

func TestConfirmAfterAllShards(t *testing.T) {
	x, names := twoShards(t)
	p := x.publisher()
	o := newTold(1)
	k0, k1 := x.taker(x.VHost("/").Queue(names[0]), 0), x.taker(x.VHost("/").Queue(names[1]), 0)
	x.shards[1].hold(true)
	x.turn(func(tn *Turn) {
		o.feed(tn, "both", func() {
			_ = p.to(tn, names[0], "m", true)
			_ = p.to(tn, names[1], "m", true)
		})
	})
	x.rest([]bool{false, true})
	if got := o.replies(); len(got) != 0 {
		t.Fatalf("%q is told, and one shard is not done", got)
	}
	k0.mu.Lock()
	k1.mu.Lock()
	if len(k0.got) != 1 || len(k1.got) != 0 { // a queue waits for its own shard only
		t.Errorf("%d and %d are shown", len(k0.got), len(k1.got))
	}
	k1.mu.Unlock()
	k0.mu.Unlock()
	x.shards[1].hold(false)
	x.rest(nil)
	if got := o.replies(); !slices.Equal(got, []string{"both"}) {
		t.Fatalf("told: %q", got)
	}
	if len(k1.now()) != 1 {
		t.Error("the other queue does not show it")
	}
}

func TestConfirmsKeepTheOrderOfTheTurns(t *testing.T) {
	x, names := twoShards(t)
	p := x.publisher()
	o, other := newTold(1), newTold(2)
	x.shards[0].hold(true)
	one := func(o *told, reply, queue string) {
		x.turn(func(tn *Turn) {
			o.feed(tn, reply, func() {
				if queue != "" {
					_ = p.to(tn, queue, "m", true)
				}
			})
		})
	}
	one(o, "0", "") // needs no disk, and nothing is before it
	one(o, "1", names[0])
	one(o, "2", names[1])
	one(o, "3", "")
	one(o, "4", names[0])
	one(other, "x", names[1])
	x.rest([]bool{true, false})
	if got := o.replies(); !slices.Equal(got, []string{"0"}) {
		t.Fatalf("told while the first shard holds back: %q", got)
	}
	if got := other.replies(); !slices.Equal(got, []string{"x"}) {
		t.Fatalf("another connection waits with it: %q", got)
	}
	if n := o.gate.Held(); n != 32 { // of three publishes, and the reply to 3
		t.Errorf("%d bytes are held, want 32", n)
	}
	x.shards[0].hold(false)
	x.rest(nil)
	if got := o.replies(); !slices.Equal(got, []string{"0", "1", "2", "3", "4"}) {
		t.Fatalf("told: %q", got)
	}
	if n := o.gate.Held(); n != 0 {
		t.Errorf("%d bytes are unconfirmed", n)
	}
}

// fullShard is a shard that cannot write any more from some commit on.
type fullShard struct {
	Shard
	mu  sync.Mutex
	err error // guarded by mu
}

func (f *fullShard) Commit(b Batch, done func(error)) {
	f.mu.Lock()
	err := f.err
	f.mu.Unlock()
	if err == nil {
		f.Shard.Commit(b, done)
	} else if done != nil {
		go done(err)
	}
}

func TestFailedCommitAcknowledgesNothing(t *testing.T) {
	var f fullShard
	failed := make(chan error, 10)
	x, names := twoShards(t, func(o *Options) {
		f.Shard, o.Shards[1] = o.Shards[1], &f
		o.Fail = func(err error) { failed <- err }
	})
	p := x.publisher()
	o := newTold(1)
	k := x.taker(x.VHost("/").Queue(names[1]), 0)
	full := errors.New("no space left on device")
	f.mu.Lock()
	f.err = full
	f.mu.Unlock()
	for i := range 3 {
		x.turn(func(tn *Turn) {
			o.feed(tn, fmt.Sprint(i), func() {
				_ = p.to(tn, names[0], "m", true)
				_ = p.to(tn, names[1], "m", true)
			})
		})
	}
	select {
	case err := <-failed:
		if !errors.Is(err, full) {
			t.Errorf("failed with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nobody was told")
	}
	x.settle()
	if got := o.replies(); len(got) != 0 {
		t.Errorf("%q were acknowledged", got)
	}
	k.mu.Lock()
	if len(k.got) != 0 {
		t.Errorf("%d messages were shown that are not on disk", len(k.got))
	}
	k.mu.Unlock()
	if len(failed) != 0 {
		t.Error("the failure was told more than once")
	}
}

func TestWhoWaitsForACommit(t *testing.T) {
	x, names := twoShards(t)
	p := x.publisher()
	ran := make(chan string, 10)
	x.shards[0].hold(true)
	var first *commit
	x.turn(func(tn *Turn) {
		_ = p.to(tn, names[0], "m", true)
		first = tn.following()
		first.then(1, func(*Turn) { ran <- "first" })
	})
	o := newTold(1)
	x.turn(func(tn *Turn) { // of its own it needs no disk, but waits for the first
		o.feed(tn, "later", func() { tn.await(first) })
	})
	x.rest([]bool{true, false})
	if len(ran) != 0 || first.isOver() || len(o.replies()) != 0 {
		t.Fatalf("over before the shard is done: %d, %v, %q", len(ran), first.isOver(), o.replies())
	}
	x.shards[0].hold(false)
	x.rest(nil)
	if len(ran) != 1 || !first.isOver() || len(o.replies()) != 1 {
		t.Fatalf("not over: %d, %v, %q", len(ran), first.isOver(), o.replies())
	}
	first.then(1, func(*Turn) { ran <- "at once" })
	x.turn(func(tn *Turn) { o.feed(tn, "free", func() { tn.await(first) }) })
	x.rest(nil)
	if len(ran) != 2 || len(o.replies()) != 2 {
		t.Fatalf("waits for what is over: %d, %q", len(ran), o.replies())
	}
}

// load is what goes on while a crash comes.
type load struct {
	x     *box
	names [2]string
	wg    sync.WaitGroup
	stop  chan struct{}

	mu        sync.Mutex
	confirmed map[string]bool // guarded by mu: acknowledged to the publisher
	settled   map[string]bool // guarded by mu: the settle is on disk
	accepted  map[string]bool // guarded by mu: the consumer has settled it
}

func (l *load) running() bool {
	select {
	case <-l.stop:
		return false
	default:
		return true
	}
}

// publish publishes to both queues, and notes what is confirmed.
func (l *load) publish(name int) {
	defer l.wg.Done()
	p := l.x.publisher()
	o := newTold(uint64(name))
	r := rand.New(rand.NewPCG(uint64(name), 1))
	for i := 0; i < 5000 && l.running(); {
		l.x.turn(func(tn *Turn) {
			for range 1 + r.IntN(30) {
				id := fmt.Sprintf("%d %06d", name, i)
				i++
				o.gate.Begin(tn)
				for _, queue := range l.names {
					body := id + " " + strings.Repeat("x", r.IntN(100))
					if err := p.to(tn, queue, body, true); err != nil {
						panic(err)
					}
				}
				tn.After(func(*Turn) {
					l.mu.Lock()
					l.confirmed[id] = true
					l.mu.Unlock()
				})
				o.gate.EndFeed(tn, 1)
			}
		})
		for o.gate.Held() > 200 && l.running() {
			l.x.Sync() // as a connection waits that has too much unconfirmed
		}
	}
}

func (l *load) take(queue string, seed uint64) {
	defer l.wg.Done()
	k := l.x.taker(l.x.VHost("/").Queue(queue), 40)
	r := rand.New(rand.NewPCG(seed, 2))
	for l.running() {
		select {
		case <-k.noted:
		case <-l.stop:
			return
		}
		k.mu.Lock()
		ds := k.got
		k.got = nil
		k.mu.Unlock()
		r.Shuffle(len(ds), func(i, j int) { ds[i], ds[j] = ds[j], ds[i] })
		l.x.turn(func(tn *Turn) {
			for _, d := range ds {
				key := queue + " " + loadID(d)
				if r.IntN(4) == 0 {
					k.c.Settle(tn, d.Ordinal, d.QoS, Released)
					continue
				}
				l.mu.Lock()
				l.accepted[key] = true
				l.mu.Unlock()
				if st := k.c.Settle(tn, d.Ordinal, d.QoS, Accepted); st != Done {
					l.x.t.Errorf("settle says %d", st)
				}
				tn.part(k.q.sh).told = true
				tn.following().then(1, func(*Turn) {
					l.mu.Lock()
					l.settled[key] = true
					l.mu.Unlock()
				})
			}
		})
	}
}

func loadID(d Delivery) string { return string(d.Msg.Payload[:8]) }

// copyOf returns what is known of a set at this moment.
func (l *load) copyOf(m map[string]bool) map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := make(map[string]bool, len(m))
	for k := range m {
		c[k] = true
	}
	return c
}

// Whatever goes on at the moment of a crash: what was acknowledged is there,
// once and in the order of its publisher, unless a consumer has settled it;
// what is on disk as settled does not come back.
func TestCrashUnderLoad(t *testing.T) {
	for round := range 3 {
		x, names := twoShards(t, queueMemory(16<<10))
		l := &load{
			x: x, names: names, stop: make(chan struct{}),
			confirmed: make(map[string]bool), settled: make(map[string]bool), accepted: make(map[string]bool),
		}
		for i := range 3 {
			l.wg.Add(1)
			go l.publish(i)
		}
		for i, queue := range []string{names[0], names[0], names[1]} {
			l.wg.Add(1)
			go l.take(queue, uint64(10*round+i))
		}
		for crash := range 3 {
			want := 200 * (crash + 1)
			for deadline := time.Now().Add(20 * time.Second); len(l.copyOf(l.confirmed)) < want; {
				if time.Now().After(deadline) {
					t.Fatalf("%d messages are confirmed", len(l.confirmed))
				}
				x.Sync()
			}
			confirmed, settled := l.copyOf(l.confirmed), l.copyOf(l.settled)
			y := x.crash(queueMemory(16 << 10))
			accepted := l.copyOf(l.accepted)
			for _, queue := range names {
				checkAfterCrash(t, y, queue, confirmed, settled, accepted)
			}
			if left := y.leftBehind(); len(left) > 0 {
				t.Errorf("%d keys are left behind", len(left))
			}
			y.stop()
		}
		close(l.stop)
		l.wg.Wait()
		x.stop()
		if t.Failed() {
			return
		}
	}
}

func checkAfterCrash(t *testing.T, y *box, queue string, confirmed, settled, accepted map[string]bool) {
	t.Helper()
	k := y.taker(y.VHost("/").Queue(queue), 100)
	last := make(map[byte]string)
	there := make(map[string]bool)
	for {
		y.rest(nil)
		k.mu.Lock()
		ds := k.got
		k.got = nil
		k.mu.Unlock()
		if len(ds) == 0 {
			break
		}
		for _, d := range ds {
			id := loadID(d)
			if id <= last[id[0]] {
				t.Errorf("%s: %q came after %q", queue, id, last[id[0]])
			}
			last[id[0]] = id
			there[id] = true
			if settled[queue+" "+id] {
				t.Errorf("%s: %q came back, its settle was on disk", queue, id)
			}
		}
		k.settle(Accepted, ds...)
	}
	for id := range confirmed {
		if !there[id] && !accepted[queue+" "+id] {
			t.Errorf("%s: %q was acknowledged and is lost", queue, id)
		}
	}
	if i := k.q.Info(); i.Ready+i.Unsettled+i.Bytes != 0 {
		t.Errorf("%s is empty and counts %+v", queue, i)
	}
}
