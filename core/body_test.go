package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// fans declares durable queues that all get what is published to fanout.
func (x *box) fans(n int, l QueueLimits) (qs []*Queue) {
	x.t.Helper()
	for i := range n {
		q := x.named(fmt.Sprint("f", i), QueueOptions{Durable: true, Limits: l})
		x.turn(func(t *Turn) {
			if err := x.VHost("/").BindQueue(t, q, fanoutExchange, "", SyntaxAMQP); err != nil {
				x.t.Fatal(err)
			}
		})
		qs = append(qs, q)
	}
	return qs
}

func (p *Publisher) fanned(t *Turn, payload []byte, w *BodyWriter) error {
	m := t.Message()
	m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(fanoutExchange), []byte("f"), SyntaxAMQP
	m.Payload, m.QoS, m.Persistent, m.Stored = bytes.Clone(payload), AtLeastOnce, true, w
	_, err := p.Publish(t, m)
	clear(m.Payload) // as the next read does
	return err
}

// pattern is a payload of n bytes that shows where it was cut.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+8 <= n; i += 8 {
		binary.BigEndian.PutUint64(b[i:], uint64(i)+uint64(n)<<32)
	}
	return b
}

// sweepNow looks for bodies that nobody refers to, as housekeeping does.
func (x *box) sweepNow() int {
	x.rest(nil)
	x.turn(func(t *Turn) { x.sweep(t) })
	x.rest(nil)
	return len(x.keys(keyBody))
}

func (k *taker) expectBody(want []byte) {
	k.x.t.Helper()
	d := k.take()[0]
	if !bytes.Equal(d.Msg.Payload, want) {
		k.x.t.Fatalf("%s: got %d bytes, want %d", k.q.name, len(d.Msg.Payload), len(want))
	}
	k.settle(Accepted, d)
	k.x.rest(nil)
}

func TestWherePayloadsAreStored(t *testing.T) {
	for _, c := range []struct {
		size, queues int
		keys         int // of kind body: a list, and the chunks
	}{
		{sharedBodySize - 1, 3, 0},
		{sharedBodySize, 1, 0},
		{sharedBodySize, 2, 2},
		{bodyChunk, 1, 0},
		{bodyChunk, 3, 2},
		{bodyChunk + 1, 1, 3},
		{2 * bodyChunk, 2, 3},
		{2*bodyChunk + 5, 2, 4},
	} {
		t.Run(fmt.Sprintf("%d bytes to %d queues", c.size, c.queues), func(t *testing.T) {
			x := newBox(t)
			x.fans(c.queues, QueueLimits{})
			p := x.publisher()
			x.turn(func(tn *Turn) {
				if err := p.fanned(tn, pattern(c.size), nil); err != nil {
					t.Fatal(err)
				}
			})
			x.rest(nil)
			if n := len(x.keys(keyBody)); n != c.keys {
				t.Errorf("%d body keys, want %d", n, c.keys)
			}
			if n := len(x.keys(keyEntry)); n != c.queues {
				t.Errorf("%d entries", n)
			}
			y := x.crash() // what is read back is what was published
			for i := range c.queues {
				if n := len(y.keys(keyBody)); n != c.keys {
					t.Errorf("%d body keys before queue %d has settled, want %d", n, i, c.keys)
				}
				y.taker(y.VHost("/").Queue(fmt.Sprint("f", i)), 0).expectBody(pattern(c.size))
			}
			if left := y.leftBehind(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			for i := range c.queues {
				x.taker(x.VHost("/").Queue(fmt.Sprint("f", i)), 0).expectBody(pattern(c.size))
			}
			// While the messages are in memory the last settle takes the body along.
			if left := x.keys(keyBody); len(left) > 0 {
				t.Errorf("left by the last settle: %q", left)
			}
		})
	}
}

// A body whose references are counted no more goes with the last entry all the
// same, whichever left memory and whichever is settled last.
func TestBodyGoesWithTheLastEntry(t *testing.T) {
	for _, how := range []string{"first leaves memory", "last leaves memory", "both leave memory", "restart"} {
		t.Run(how, func(t *testing.T) {
			x := newBox(t)
			qs := x.fans(2, QueueLimits{})
			p := x.publisher()
			body := pattern(1000)
			x.turn(func(t *Turn) { _ = p.fanned(t, body, nil) })
			x.rest(nil)
			out := func(q *Queue) {
				x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
				if n := q.Info().InMemory; n != 0 {
					t.Fatalf("%d in memory", n)
				}
			}
			switch how {
			case "first leaves memory":
				out(qs[0])
			case "last leaves memory":
				out(qs[1])
			case "both leave memory":
				out(qs[0])
				out(qs[1])
			default:
				x = x.crash()
				qs = []*Queue{x.VHost("/").Queue("f0"), x.VHost("/").Queue("f1")}
			}
			if n := x.sweepNow(); n != 2 {
				t.Fatalf("two queues have the message, and %d of 2 keys of its payload are left", n)
			}
			x.taker(qs[0], 0).expectBody(body)
			if n := x.sweepNow(); n != 2 {
				t.Fatalf("one queue has the message, and %d of 2 keys of its payload are left", n)
			}
			x.taker(qs[1], 0).expectBody(body)
			if n := x.sweepNow(); n != 0 {
				t.Fatalf("nobody has the message, and %d keys of its payload are left", n)
			}
		})
	}
}

func TestBodyOfReceivedMessageGoes(t *testing.T) {
	for _, paged := range []bool{false, true} {
		t.Run(fmt.Sprintf("paged=%v", paged), func(t *testing.T) {
			x := newBox(t)
			sub := x.connect("s", persistent)
			sub.subscribe("a", ExactlyOnce)
			sub2 := x.connect("s2", persistent)
			sub2.subscribe("a", ExactlyOnce)
			x.rest(nil)
			x.connect("p").publish("a", string(pattern(1000)), ExactlyOnce)
			x.rest(nil)
			if n := len(x.keys(keyBody)); n != 2 {
				t.Fatalf("%d body keys", n)
			}
			if paged { // what it has is read back, and its count lost
				x = x.crash()
				sub, sub2 = x.connect("s", persistent), x.connect("s2", persistent)
				sub.payloads(1)
				sub2.payloads(1)
			}
			for _, c := range []*client{sub, sub2} {
				x.turn(func(tn *Turn) {
					if st := c.s.Consumer().Settle(tn, 0, ExactlyOnce, Received); st != Done {
						t.Fatalf("settle: %d", st)
					}
				})
				x.rest(nil)
			}
			for _, c := range []*client{sub, sub2} { // received entries leave memory as well
				c.close(false)
				x.rest(nil)
				q := c.s.Queue()
				x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
			}
			if n := x.sweepNow(); n != 0 {
				t.Errorf("both clients have the message, and %d keys of its payload are left", n)
			}
		})
	}
}

func TestBodiesOfDeletedQueuesGo(t *testing.T) {
	for _, paged := range []bool{false, true} {
		t.Run(fmt.Sprintf("paged=%v", paged), func(t *testing.T) {
			x := newBox(t)
			for _, id := range []string{"a", "b"} {
				c := x.connect(id, persistent)
				c.subscribe("t", AtLeastOnce)
				c.close(true)
			}
			x.rest(nil)
			pub := x.connect("p")
			for range 10 {
				pub.publish("t", string(pattern(5000)), AtLeastOnce)
			}
			x.rest(nil)
			if n := len(x.keys(keyBody)); n != 20 {
				t.Fatalf("%d body keys", n)
			}
			for _, id := range []string{"a", "b"} {
				q := x.VHost("/").Session(id).Queue()
				if paged {
					x.turn(func(t *Turn) { q.mu.Lock(); q.trimLocked(t); q.mu.Unlock() })
				}
				x.connect(id).close(true) // a clean session forgets what was
				if id == "a" {
					if n := x.sweepNow(); n != 20 {
						t.Fatalf("%d body keys while the other still has them", n)
					}
				}
			}
			if left := x.leftBehind(); len(left) > 0 {
				t.Errorf("left behind: %d keys", len(left))
			}
			if n := x.memory.Load(); n != 0 {
				t.Errorf("%d bytes are counted", n)
			}
		})
	}
}

// begin stores the first chunks of a payload as it arrives.
func (x *box) begin(p *Publisher, payload []byte, arrived ...int) *BodyWriter {
	x.t.Helper()
	var w *BodyWriter
	for _, n := range arrived {
		x.turn(func(t *Turn) {
			if w == nil {
				m := t.Message()
				m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(fanoutExchange), []byte("f"), SyntaxAMQP
				m.QoS, m.Persistent = AtLeastOnce, true
				var err error
				if w, _, err = p.StoreBody(t, m); err != nil || w == nil {
					x.t.Fatalf("no writer: %v", err)
				}
			}
			w.Write(t, payload[:n])
		})
	}
	return w
}

func TestBodyWriter(t *testing.T) {
	payload := pattern(3*bodyChunk + 77)
	x := newBox(t)
	x.fans(2, QueueLimits{})
	p := x.publisher()
	w := x.begin(p, payload, 100, bodyChunk, bodyChunk+1, 2*bodyChunk+10, 3*bodyChunk+77)
	x.rest(nil)
	if n := len(x.keys(keyBody)); n != 3 {
		t.Fatalf("%d chunks before the message is complete, want 3", n)
	}
	x.Bus.shards[0].bodies.orphaned.Add(1)
	if n := x.sweepNow(); n != 3 {
		t.Fatalf("the sweeper left %d chunks of 3 of a payload that is arriving", n)
	}
	x.turn(func(tn *Turn) {
		if err := p.fanned(tn, payload, w); err != nil {
			t.Fatal(err)
		}
	})
	x.rest(nil)
	if n := len(x.keys(keyBody)); n != 5 {
		t.Fatalf("%d body keys, want a list and 4 chunks", n)
	}
	y := x.crash()
	if n := y.sweepNow(); n != 5 {
		t.Fatalf("%d of 5 keys after a restart", n)
	}
	for i := range 2 {
		y.taker(y.VHost("/").Queue(fmt.Sprint("f", i)), 0).expectBody(payload)
		x.taker(x.VHost("/").Queue(fmt.Sprint("f", i)), 0).expectBody(payload)
	}
	for _, z := range []*box{x, y} {
		if left := z.leftBehind(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
	if len(x.Bus.shards[0].bodies.building) > 0 {
		t.Error("the body counts as being written for ever")
	}
}

func TestBodyWriterOfNothingDurable(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{})
	p := x.publisher()
	x.turn(func(tn *Turn) {
		if err := x.VHost("/").BindQueue(tn, q, fanoutExchange, "", SyntaxAMQP); err != nil {
			t.Fatal(err)
		}
		m := tn.Message()
		m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(fanoutExchange), []byte("f"), SyntaxAMQP
		m.QoS, m.Persistent = AtLeastOnce, true
		w, wait, err := p.StoreBody(tn, m)
		if w != nil || wait != nil || err != nil {
			t.Errorf("a writer for a transient queue: %v, %v", w, err)
		}
	})
}

func TestBodyWriterThatComesToNothing(t *testing.T) {
	payload := pattern(2*bodyChunk + 77)
	for _, how := range []string{"aborted", "refused", "queue gone", "crash"} {
		t.Run(how, func(t *testing.T) {
			x := newBox(t)
			qs := x.fans(1, QueueLimits{MaxLength: 1, Overflow: RejectPublish})
			p := x.publisher()
			w := x.begin(p, payload, len(payload))
			x.rest(nil)
			if n := len(x.keys(keyBody)); n != 2 {
				t.Fatalf("%d chunks", n)
			}
			left := 0
			switch how {
			case "aborted":
				x.turn(func(t *Turn) { w.Abort(t) })
			case "refused":
				left = 1
				x.fill("f0", 0, 1, true)
				x.turn(func(tn *Turn) {
					if err := p.fanned(tn, payload, w); !errors.Is(err, ErrQuota) {
						t.Errorf("publish to a full queue: %v", err)
					}
					w.Abort(tn) // as the adapter does with every error
				})
			case "queue gone":
				x.VHost("/").Exchange(fanoutExchange).unbind(qs[0], SyntaxAMQP, "")
				x.turn(func(tn *Turn) {
					if err := p.fanned(tn, payload, w); err != nil {
						t.Error(err)
					}
				})
			case "crash":
				x = x.crash()
			}
			if keys := x.leftBehind(); len(keys) != left {
				t.Errorf("left behind: %q", keys)
			}
			if n := len(x.Bus.shards[0].bodies.building); n > 0 {
				t.Error("the body counts as being written for ever")
			}
		})
	}
}

// A body goes in the batch that comes last, not with the turn that was last to give it
// up: of two copies one is dead-lettered, in a turn that commits behind the one in
// which the other is settled. A crash between the two must find its payload.
func TestBodyGoesInTheOrderOfCommits(t *testing.T) {
	x := newBox(t)
	other := x.fans(1, QueueLimits{})[0]
	x.named("dead", QueueOptions{Durable: true})
	q := x.named("q", QueueOptions{Durable: true, DeadLetter: &DeadLetter{Key: "dead", HasKey: true}})
	x.bindQueue(q, fanoutExchange, "", SyntaxAMQP)
	want, p := pattern(1000), x.publisher()
	x.turn(func(tn *Turn) {
		if err := p.fanned(tn, want, nil); err != nil {
			t.Fatal(err)
		}
	})
	k, ko := x.taker(q, 0), x.taker(other, 0)
	dies, settled := k.take()[0], ko.take()[0]
	x.rest(nil)
	x.hold(true)
	tn := x.NewTurn()
	dies.Consumer.Settle(tn, dies.Ordinal, dies.QoS, Rejected)
	tn.runTodo() // it ends, and has not come to its commit
	ko.settle(Accepted, settled)
	tn.End()
	x.crashes(func(y *box, n int) {
		there := 0
		for _, name := range []string{"q", "dead"} {
			for _, payload := range y.taker(y.VHost("/").Queue(name), 0).now() {
				if payload == string(want) {
					there++
				}
			}
		}
		if there != 1 {
			t.Errorf("after %d commits the message is there %d times", n, there)
		}
	})
	x.hold(false)
	x.taker(x.VHost("/").Queue("dead"), 0).expectBody(want)
	if left := x.keys(keyBody); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// bodyScan is a shard that has something happen just when bodies have been scanned.
type bodyScan struct {
	Shard
	then func()
}

func (s *bodyScan) Scan(lo, hi []byte, g func(k, v []byte) bool) error {
	err := s.Shard.Scan(lo, hi, g)
	if f := s.then; f != nil && lo[0] == keyBody {
		s.then = nil
		f()
	}
	return err
}

// A body of which the sweep has seen chunks and no list, and that is complete when it
// asks whether somebody is at it, is not swept.
func TestSweepBesideABodyWriter(t *testing.T) {
	payload := pattern(3 * bodyChunk)
	var s bodyScan
	x := newBox(t, func(o *Options) { s.Shard, o.Shards[0] = o.Shards[0], &s })
	q := x.fans(1, QueueLimits{})[0]
	x.sweepNow() // of the start
	p := x.publisher()
	w := x.begin(p, payload, bodyChunk)
	x.rest(nil)
	x.hold(true)
	x.turn(func(tn *Turn) {
		if err := p.fanned(tn, payload, w); err != nil {
			t.Fatal(err)
		}
	})
	x.Bus.shards[0].bodies.orphaned.Add(1) // something else is to be swept
	s.then = func() {
		x.hold(false)
		x.rest(nil)
	}
	x.turn(func(tn *Turn) { x.sweep(tn) })
	x.rest(nil)
	y := x.crash()
	y.taker(y.VHost("/").Queue(q.name), 0).expectBody(payload)
}
