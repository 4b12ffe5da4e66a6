package core

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// countingFlusher is an outbox that is told to flush.
type countingFlusher struct {
	flushed int
	then    func(*Turn)
}

func (f *countingFlusher) Flush(t *Turn) {
	f.flushed++
	if f.then != nil {
		then := f.then
		f.then = nil
		then(t)
	}
}

func TestTurnFull(t *testing.T) {
	x := newBox(t)
	for _, tc := range []struct {
		name string
		grow func(tn *Turn, f *countingFlusher)
		n    int // how often until it is full
	}{
		{"touched", func(tn *Turn, f *countingFlusher) { tn.Touch(f, 1) }, 1024},
		{"touched with much", func(tn *Turn, f *countingFlusher) { tn.Touch(f, 1<<14) }, 64},
		{"appended", func(tn *Turn, f *countingFlusher) { tn.Appended(1 << 12) }, 256},
	} {
		tn := x.NewTurn()
		flushers := make([]countingFlusher, tc.n)
		for i := range tc.n {
			if tn.Full() {
				t.Fatalf("%s: full after %d", tc.name, i)
			}
			tc.grow(tn, &flushers[i])
		}
		if !tn.Full() {
			t.Errorf("%s: not full after %d", tc.name, tc.n)
		}
		tn.relieve()
		if tn.Full() {
			t.Errorf("%s: full after relief", tc.name)
		}
		tn.End()
		for i := range flushers {
			if want := 1; tc.name != "appended" && flushers[i].flushed != want {
				t.Fatalf("%s: connection %d was flushed %d times", tc.name, i, flushers[i].flushed)
			}
		}
	}
}

// touchSink is a connection with an outbox: touched once in a turn, flushed at
// its end or earlier.
type touchSink struct {
	mu      sync.Mutex
	touched bool
	queued  int
	written int
	most    *int // the largest number of connections that waited at a time
}

func (s *touchSink) Deliver(t *Turn, d Delivery) Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued += len(d.Msg.Payload)
	if s.touched {
		t.Appended(len(d.Msg.Payload))
	} else {
		s.touched = true
		t.Touch(s, len(d.Msg.Payload))
	}
	*s.most = max(*s.most, len(t.touched))
	return Taken
}

func (s *touchSink) Flush(*Turn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touched = false
	s.written += s.queued
	s.queued = 0
}

// TestLargeFanOut: one publish to more connections than a turn may touch is
// flushed on the way, and all of it arrives.
func TestLargeFanOut(t *testing.T) {
	const n = 3000
	for qos := range QoS(2) {
		x := newBox(t)
		most := 0
		sinks := make([]*touchSink, n)
		for i := range sinks {
			c := x.connect(fmt.Sprint(i))
			c.subscribe("a", qos)
			sinks[i] = &touchSink{most: &most}
			c.s.direct.Store(&directSink{sinks[i]})
			c.s.queue.mu.Lock()
			c.s.consumer.sink = sinks[i]
			c.s.queue.mu.Unlock()
		}
		pub := x.connect("pub")
		pub.publish("a", "12345678", qos)
		pub.publish("a", "90", qos)
		for i, s := range sinks {
			if s.written != 10 || s.queued != 0 || s.touched {
				t.Fatalf("QoS %d: connection %d has %d bytes written, %d not", qos, i, s.written, s.queued)
			}
		}
		if most > turnTouched+64 {
			t.Errorf("QoS %d: %d connections waited at a time", qos, most)
		}
	}
}

// TestTurnOrder: batches are handed over before effects run, effects before
// connections are flushed, and what they set in motion is done as well.
func TestTurnOrder(t *testing.T) {
	x := newBox(t)
	x.hold(true)
	var order []string
	note := func(s string) { order = append(order, fmt.Sprint(s, " ", x.shards[0].waiting())) }
	var flusher countingFlusher
	flusher.then = func(t *Turn) {
		note("flush")
		t.Do(func(t *Turn) {
			note("effect of a flush")
			t.part(t.bus.shards[0]).batch.Set([]byte("c"), nil)
		})
	}
	x.turn(func(t *Turn) {
		t.Touch(&flusher, 1)
		t.Do(func(t *Turn) {
			note("effect")
			t.part(t.bus.shards[0]).batch.Set([]byte("b"), nil)
			t.Do(func(*Turn) { note("effect of an effect") })
		})
		t.onSubmitted(func() { note("submitted") })
		t.part(t.bus.shards[0]).batch.Set([]byte("a"), nil)
	})
	note("end")
	want := []string{"submitted 1", "effect 1", "effect of an effect 2", "flush 2", "effect of a flush 2", "end 3"}
	if !slices.Equal(order, want) {
		t.Errorf("got  %q\nwant %q", order, want)
	}
}

// TestEffectsHoldNoLock has effects do what takes every lock there is: events
// that are told while a delivery is refused, and a client that is closed from
// inside one.
func TestEffectsHoldNoLock(t *testing.T) {
	var x *box
	told := 0
	x = newBox(t, func(o *Options) {
		o.Listeners = append(o.Listeners, func(e Event) {
			if _, ok := e.(Subscribed); !ok {
				return
			}
			told++
			vh := x.VHost("/")
			x.Stored()
			x.Groups()
			vh.Queue("$share/g/a").Info()
			vh.Session("c").Queue().Info()
			if !vh.topics.mu.TryLock() {
				t.Error("the lock of the exchange is held")
				return
			}
			vh.topics.mu.Unlock()
			x.Sync()
		})
	})
	c, victim := x.connect("c"), x.connect("victim")
	c.subscribe("$share/g/a", AtLeastOnce)
	c.subscribe("b", AtLeastOnce)
	victim.subscribe("b", AtLeastOnce)
	if told != 3 {
		t.Errorf("told %d times", told)
	}
	// A sink that has its session closed while it is being delivered to.
	sink := &closingSink{s: victim.s}
	victim.s.queue.mu.Lock()
	victim.s.consumer.sink = sink
	victim.s.queue.mu.Unlock()
	c.publish("b", "1", AtLeastOnce)
	c.publish("b", "2", AtLeastOnce)
	if got := texts(c.take()); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("the other got %q", got)
	}
	if x.VHost("/").Session("victim") != nil || sink.n != 1 {
		t.Errorf("the victim lives, after %d deliveries", sink.n)
	}
}

type closingSink struct {
	s *Session
	n int
}

func (c *closingSink) Deliver(t *Turn, _ Delivery) Verdict {
	c.n++
	t.Do(func(t *Turn) { c.s.Close(t, false) })
	return Refused
}
