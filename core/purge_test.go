package core

import (
	"fmt"
	"slices"
	"testing"
)

func (x *box) purge(q *Queue, want int64) {
	x.t.Helper()
	n, err := x.Purge(x.t.Context(), q)
	if err != nil || n != want {
		x.t.Fatalf("purge of %q: %d messages, %v; want %d", q.name, n, err, want)
	}
}

// TestPurgeBacklog: a purge takes what is in memory and what is on disk only,
// leaves nothing behind, and the queue works on. A crash right after it brings
// nothing back.
func TestPurgeBacklog(t *testing.T) {
	for _, budget := range []int64{64 << 10, 64 << 20} {
		for _, persistent := range []bool{true, false} {
			t.Run(fmt.Sprintf("memory=%d persistent=%v", budget, persistent), func(t *testing.T) {
				const total = 12_000
				x := newBox(t, queueMemory(budget))
				q := x.named("q", QueueOptions{Durable: true})
				for lo := 0; lo < total; lo += 2000 {
					x.fill("q", lo, lo+2000, persistent)
					x.rest(nil)
				}
				if paged := q.Info().InMemory < total; paged != (budget < 1<<20) {
					t.Fatalf("before: %+v", q.Info())
				}
				x.purge(q, total)
				if i := q.Info(); i.Ready+i.Unsettled+i.Bytes+i.InMemory != 0 {
					t.Errorf("purged: %+v", i)
				}
				if n := x.memory.Load(); n != 0 {
					t.Errorf("purged, but %d bytes are counted", n)
				}
				y := x.crash(queueMemory(budget))
				if i := y.VHost("/").Queue("q").Info(); i.Ready+i.Bytes != 0 {
					t.Errorf("after a crash: %+v", i)
				}
				y.fill("q", 0, 10, true)
				y.taker(y.VHost("/").Queue("q"), 0).expect(0, 10, nil)
				x.fill("q", 0, 100, true)
				x.taker(q, 100).expect(0, 100, nil)
				x.rest(nil)
				if left := x.leftBehind(); len(left) > 0 {
					t.Errorf("%d keys are left, the first is %q", len(left), left[0])
				}
			})
		}
	}
}

// TestPurgeLeavesWhatIsLent: what a consumer has been sent stays, settles as if
// nothing had been, and goes back to its place.
func TestPurgeLeavesWhatIsLent(t *testing.T) {
	x := newBox(t, queueMemory(16<<10))
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 3000, true)
	x.rest(nil)
	k := x.taker(q, 5)
	var lent []Delivery
	for len(lent) < 5 {
		lent = append(lent, k.take()...)
	}
	x.purge(q, 2995)
	if i := q.Info(); i.Ready != 0 || i.Unsettled != 5 || i.Bytes != 5*80 {
		t.Fatalf("purged: %+v", i)
	}
	x.fill("q", 3000, 3003, true)
	k.settle(Accepted, lent[0], lent[3])
	x.turn(func(t *Turn) { k.c.Cancel(t) })
	x.rest(nil)
	again := x.taker(q, 0)
	var got []string
	for len(got) < 6 {
		got = append(got, texts(again.take())...)
	}
	want := []string{number(1), number(2), number(4), number(3000), number(3001), number(3002)}
	if !slices.Equal(got, want) {
		t.Errorf("what is left is %q", got)
	}
}

// TestPurgeSession: in the queue of a session, what its client may have been sent
// keeps its place and its packet id: over the purge, over a crash, in memory and
// on disk.
func TestPurgeSession(t *testing.T) {
	for _, budget := range []int64{8 << 10, 64 << 20} {
		t.Run(fmt.Sprintf("memory=%d", budget), func(t *testing.T) {
			x := newBox(t, queueMemory(budget))
			c := x.connect("c", persistent)
			c.subscribe("a", ExactlyOnce)
			c.sink.Lock()
			c.room = 3
			c.sink.Unlock()
			pub := x.connect("pub")
			for i := range 800 {
				pub.publish("a", number(i), QoS(1+i%2))
			}
			x.rest(nil)
			sent := c.take()
			if len(sent) != 3 || sent[1].QoS != ExactlyOnce {
				t.Fatalf("%d were sent", len(sent))
			}
			x.turn(func(t *Turn) { sent[1].Consumer.Settle(t, sent[1].Ordinal, ExactlyOnce, Received) })
			q := c.s.Queue()
			x.purge(q, 797) // the client is connected
			c.close(true)
			for i := range 400 {
				pub.publish("a", number(1000+i), AtLeastOnce)
			}
			x.rest(nil)
			x.purge(q, 400) // and now it is not
			if i := q.Info(); i.Ready != 3 {
				t.Fatalf("what may have been sent: %+v", i)
			}
			for _, y := range []*box{x.crash(queueMemory(budget)), x} {
				y.purge(y.VHost("/").Session("c").Queue(), 0)
				c := y.connect("c", persistent)
				y.connect("pub").publish("a", "after", AtLeastOnce)
				var got []Delivery
				y.eventually("four deliveries", func() bool { got = append(got, c.take()...); return len(got) >= 4 })
				for i, d := range got[:3] {
					if d.Ordinal != sent[i].Ordinal || d.Released != (i == 1) || !d.Released && !d.Redelivered {
						t.Errorf("delivery %d is ordinal %d, released %v, redelivered %v", i, d.Ordinal, d.Released, d.Redelivered)
					}
				}
				if d := got[3]; string(d.Msg.Payload) != "after" || len(got) != 4 {
					t.Errorf("then %q, %d in all", d.Msg.Payload, len(got))
				}
			}
		})
	}
}

// TestPurgeIsDurable: the purge does not answer before it is on disk, and a crash
// in the middle of it leaves a queue that agrees with its records.
func TestPurgeIsDurable(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 6000, true)
	x.rest(nil)
	x.hold(true)
	answered := make(chan error, 1)
	go func() { _, err := x.Purge(t.Context(), q); answered <- err }()
	x.eventuallyHeld("the barrier is handed over", func() bool { return x.shards[0].waiting() > 0 })
	select {
	case err := <-answered:
		t.Fatalf("answered before anything was on disk: %v", err)
	default:
	}
	x.crashes(func(y *box, n int) {
		q := y.VHost("/").Queue("q")
		ready := q.Info().Ready
		y.purge(q, ready)
		y.fill("q", 0, 3, true)
		y.taker(q, 0).expect(0, 3, nil)
	})
	x.hold(false)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}

// TestPurgeBesideTraffic: publishers, a consumer that keeps going and coming, and
// paging go on beside purges. What is confirmed is delivered or purged: nothing
// comes twice out of it, and the books are even at the end.
func TestPurgeBesideTraffic(t *testing.T) {
	x := newBox(t, queueMemory(16<<10))
	q := x.named("q", QueueOptions{Durable: true})
	const total = 6000
	published := make(chan struct{})
	go func() {
		defer close(published)
		x.fill("q", 0, total, true)
	}()
	seen := map[string]int{}
	var purged int64
	accept := func(k *taker) {
		k.mu.Lock()
		ds := k.got
		k.got = nil
		k.mu.Unlock()
		for _, d := range ds {
			x.turn(func(t *Turn) {
				if k.c.Settle(t, d.Ordinal, d.QoS, Accepted) == Done {
					seen[string(d.Msg.Payload)]++
				}
			})
		}
	}
	for over := false; !over; {
		select {
		case <-published:
			over = true
		default:
		}
		k := x.taker(q, 10)
		accept(k)
		n, err := x.Purge(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		purged += n
		accept(k)
		x.turn(func(t *Turn) { k.c.Cancel(t) })
	}
	x.rest(nil)
	n, err := x.Purge(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	if purged += n; purged+int64(len(seen)) != total {
		t.Errorf("%d purged and %d delivered of %d", purged, len(seen), total)
	}
	for p, n := range seen {
		if n != 1 {
			t.Errorf("%q was settled %d times", p, n)
		}
	}
	if i := q.Info(); i.Ready+i.Unsettled+i.Bytes+i.InMemory != 0 {
		t.Errorf("at the end: %+v", i)
	}
	if i := x.crash().VHost("/").Queue("q").Info(); i.Ready+i.Bytes != 0 {
		t.Errorf("on disk: %+v", i)
	}
}

// TestPurgePagesNothingOut: while records of what was purged may still be on disk
// between those of what stays, nothing leaves memory, or it would be read back
// with them.
func TestPurgePagesNothingOut(t *testing.T) {
	x := newBox(t, queueMemory(1))
	c := x.connect("c", persistent)
	c.subscribe("a", AtLeastOnce)
	c.sink.Lock()
	c.room = 2
	c.sink.Unlock()
	for i := range 300 {
		c.publish("a", number(i), AtLeastOnce)
	}
	x.rest(nil)
	c.close(true)
	x.rest(nil)
	q := c.s.Queue()
	p := purge{q: q, end: 1 << 60}
	q.mu.Lock()
	q.needFar().purging++
	q.mu.Unlock()
	x.hold(true)
	for more := true; more; {
		page, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		x.turn(func(t *Turn) { more = p.step(t, page) })
	}
	trim := func() int64 {
		x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
		q.mu.Lock()
		defer q.mu.Unlock()
		return q.far.gap.n
	}
	if n := trim(); n != 0 {
		t.Errorf("%d messages have left memory", n)
	}
	x.hold(false)
	x.rest(nil)
	q.mu.Lock()
	q.far.purging--
	q.mu.Unlock()
	if n := trim(); n != 2 {
		t.Errorf("%d messages leave memory after the purge, want 2", n)
	}
	if i := q.Info(); i.Ready != 2 || p.purged != 298 {
		t.Errorf("%d purged: %+v", p.purged, i)
	}
}
