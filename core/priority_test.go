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
	p := x.publisher()
	send := func(prio uint8, text string) {
		t.Helper()
		x.turn(func(tn *Turn) {
			if err := p.prio(tn, "q", text, prio, true); err != nil {
				t.Fatal(err)
			}
		})
	}
	// A lane that another worker reads than that of priority 0.
	prio := uint8(1)
	for send(prio, "high 0"); (*q.named.lanes.snapshot.Load())[prio].id%uint64(len(x.workers)) == q.id%uint64(len(x.workers)); {
		x.purge(q, 1)
		prio++
		send(prio, "high 0")
	}
	for i := 1; i < 5; i++ {
		send(prio, fmt.Sprint("high ", i))
	}
	for i := range 5 {
		send(0, fmt.Sprint("low ", i))
	}
	x.rest(nil)

	x = x.crash(f.wrap)
	q = x.VHost("/").Queue("q")
	gate := make(chan struct{})
	f.of.Store((*q.named.lanes.snapshot.Load())[prio].id)
	f.gate.Store(&gate)
	k := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	x.turn(func(tn *Turn) {
		var err error
		if k.c, err = q.Consume(tn, k, ConsumerOptions{QoS: ExactlyOnce, Limit: 1}); err != nil {
			t.Fatal(err)
		}
	})
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
		k.settleBy(ds)
	}
	want := []string{"high 0", "high 1", "high 2", "high 3", "high 4", "low 0", "low 1", "low 2", "low 3", "low 4"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// settleBy accepts deliveries with the consumers that they were made to: those of a
// queue with priorities are on its lanes.
func (k *taker) settleBy(ds []Delivery) {
	k.x.t.Helper()
	k.x.turn(func(t *Turn) {
		for _, d := range ds {
			if st := d.Consumer.Settle(t, d.Ordinal, d.QoS, Accepted); st != Done {
				k.x.t.Fatalf("settle of ordinal %d says %d", d.Ordinal, st)
			}
		}
	})
}
