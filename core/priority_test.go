package core

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"
)

// TestPriorityOnDisk: after a restart what has a higher priority goes first, however
// long it takes to read it.
func TestPriorityOnDisk(t *testing.T) {
	var f faulty
	x := newBox(t)
	if len(x.workers) < 2 {
		t.Skip("one worker reads all: nothing overtakes anything")
	}
	q := x.named("q", QueueOptions{Durable: true, MaxPriority: 9})
	// A lane that another worker reads than that of priority 0.
	prio := uint8(1)
	for x.fillLane("q", prio, true, "high 0"); (*q.named.lanes.snapshot.Load())[prio].id%uint64(len(x.workers)) == q.id%uint64(len(x.workers)); {
		x.purge(q, 1)
		prio++
		x.fillLane("q", prio, true, "high 0")
	}
	for i := 1; i < 5; i++ {
		x.fillLane("q", prio, true, fmt.Sprint("high ", i))
	}
	for i := range 5 {
		x.fillLane("q", 0, true, fmt.Sprint("low ", i))
	}
	x.rest(nil)

	x = x.crash(f.wrap)
	q = x.VHost("/").Queue("q")
	gate := make(chan struct{})
	f.of.Store((*q.named.lanes.snapshot.Load())[prio].id)
	f.gate.Store(&gate)
	k := x.taker(q, 1)
	inMemory := func() int { q.mu.Lock(); defer q.mu.Unlock(); return q.head.n }
	for deadline := time.Now().Add(20 * time.Second); inMemory() < 5; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the low ones are not read")
		}
	}
	close(gate)
	var got []string
	for len(got) < 10 {
		ds := k.take()
		got = append(got, texts(ds)...)
		k.settle(Accepted, ds...)
	}
	want := []string{"high 0", "high 1", "high 2", "high 3", "high 4", "low 0", "low 1", "low 2", "low 3", "low 4"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestPriorityFetchedOnce: what a read sets in motion does not grow with the consumers,
// of whom one look at the lanes serves all.
func TestPriorityFetchedOnce(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{MaxPriority: 3})
	for range 20 {
		x.taker(q, 1)
	}
	x.fillLane("q", 2, false, "1")
	for _, lane := range []*Queue{q, (*q.named.lanes.snapshot.Load())[2]} {
		x.turn(func(tn *Turn) {
			lane.mu.Lock()
			lane.fetchLocked()
			lane.deliverFetchedLocked(tn)
			lane.mu.Unlock()
			if n := len(tn.todo); n != 1 || q.outranked() {
				t.Errorf("%d times all lanes are asked, fetching %v", n, lane.named.fetching.Load())
			}
		})
	}
}

// TestPriorityUsedFirst: who consumes already gets what comes with a priority that
// nothing has had before, be it a session or not.
func TestPriorityUsedFirst(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{MaxPriority: 5})
	c := x.connect("c")
	c.subscribe("$queue/q", AtLeastOnce)
	k := x.taker(q, 0)
	x.fillLane("q", 3, false, "1", "2")
	if here, there := texts(c.take()), k.now(); len(here) != 1 || len(there) != 1 {
		t.Errorf("the session got %q and the other %q, want one each", here, there)
	}
}

// TestPriorityOfSingleActive: one consumer is served on all lanes, also on one that
// is made when another, which would come first, has joined.
func TestPriorityOfSingleActive(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{MaxPriority: 3, SingleActive: true})
	active := x.takerWith(q, ConsumerOptions{QoS: AtLeastOnce})
	x.fillLane("q", 0, false, "1", "2")
	waits := x.takerWith(q, ConsumerOptions{QoS: AtLeastOnce, Priority: 5})
	x.fillLane("q", 0, false, "3")
	x.fillLane("q", 2, false, "4")
	if got, other := active.now(), waits.now(); !slices.Equal(got, []string{"1", "2", "3", "4"}) || len(other) > 0 {
		t.Errorf("the active one got %q and the other %q", got, other)
	}
}

// TestPriorityAfterAMove: a message that moves into the queue of its session leaves
// the credit to all lanes.
func TestPriorityAfterAMove(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{MaxPriority: 3})
	c := x.connect("c", persistent)
	x.turn(func(tn *Turn) {
		if _, err := q.Consume(tn, mover{c}, ConsumerOptions{Identity: c.s.principal(), QoS: ExactlyOnce, Limit: 1}); err != nil {
			t.Fatal(err)
		}
	})
	p := x.publisher()
	x.turn(func(tn *Turn) {
		if err := p.lasting(tn, "q", "moves", ExactlyOnce, 0, false); err != nil {
			t.Fatal(err)
		}
		if err := p.toLane(tn, "q", "waits", 3, false); err != nil {
			t.Fatal(err)
		}
	})
	x.settle()
	got := c.take()
	for _, d := range got {
		if want := string(d.Msg.Payload) == "moves"; d.Moved != want {
			t.Errorf("%q: moved is %v", d.Msg.Payload, d.Moved)
		}
	}
	if len(got) != 2 {
		t.Errorf("got %q", texts(got))
	}
}
