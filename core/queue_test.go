package core

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// taker is a consumer that notes what it gets and takes up to a limit.
type taker struct {
	x     *box
	q     *Queue
	c     *Consumer
	mu    sync.Mutex
	got   []Delivery // guarded by mu
	noted chan struct{}
}

func (k *taker) Deliver(_ *Turn, d Delivery) Verdict {
	if d.Msg != nil {
		d.Msg = d.Msg.keep()
	}
	k.mu.Lock()
	k.got = append(k.got, d)
	k.mu.Unlock()
	select {
	case k.noted <- struct{}{}:
	default:
	}
	return Taken
}

func (x *box) taker(q *Queue, limit int32) *taker {
	x.t.Helper()
	return x.takerWith(q, ConsumerOptions{QoS: ExactlyOnce, Limit: limit})
}

func (x *box) takerWith(q *Queue, o ConsumerOptions) *taker {
	x.t.Helper()
	k := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	x.turn(func(t *Turn) {
		var err error
		if k.c, err = q.Consume(t, k, o); err != nil {
			x.t.Fatal(err)
		}
	})
	return k
}

// take waits until something has come and returns it.
func (k *taker) take() []Delivery {
	k.x.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		k.mu.Lock()
		got := k.got
		k.got = nil
		k.mu.Unlock()
		if len(got) > 0 {
			return got
		}
		select {
		case <-k.noted:
		case <-deadline:
			k.x.t.Fatalf("nothing comes: %+v", k.q.Info())
		}
	}
}

// now returns what has come when nothing more is on its way.
func (k *taker) now() []string {
	k.x.rest(nil)
	k.mu.Lock()
	defer k.mu.Unlock()
	got := texts(k.got)
	k.got = nil
	return got
}

// settle settles deliveries with the consumers that they were made to: those of a
// queue with priorities are on its lanes.
func (k *taker) settle(o Outcome, ds ...Delivery) {
	k.x.t.Helper()
	k.x.turn(func(t *Turn) {
		for _, d := range ds {
			if st := d.Consumer.Settle(t, d.Ordinal, d.QoS, o); st != Done {
				k.x.t.Fatalf("settle of ordinal %d says %d", d.Ordinal, st)
			}
		}
	})
}

// expect takes and accepts the messages from lo up to hi, in order. What comes
// behind them is left for the next look.
func (k *taker) expect(lo, hi int, between func()) {
	k.x.t.Helper()
	for lo < hi {
		ds := k.take()
		if more := lo + len(ds) - hi; more > 0 {
			k.mu.Lock()
			k.got = append(ds[len(ds)-more:len(ds):len(ds)], k.got...)
			k.mu.Unlock()
			ds = ds[:len(ds)-more]
		}
		for _, d := range ds {
			if got := string(d.Msg.Payload); got != number(lo) {
				k.x.t.Fatalf("got %q, want %q", got, number(lo))
			}
			lo++
		}
		k.settle(Accepted, ds...)
		if between != nil {
			between()
		}
	}
}

func number(i int) string { return fmt.Sprintf("%-80d", i) }

func (x *box) named(name string, o QueueOptions) *Queue {
	x.t.Helper()
	var q *Queue
	x.turn(func(t *Turn) {
		var err error
		if q, err = x.VHost("/").DeclareQueue(t, name, o); err != nil {
			x.t.Fatal(err)
		}
	})
	return q
}

func (x *box) publisher() *Publisher {
	return x.VHost("/").NewPublisher(NewPrincipal(Identity{VHost: "/", ClientID: "p", Protocol: "test"}))
}

// to publishes to a named queue.
func (p *Publisher) to(t *Turn, queue, payload string, persistent bool) error {
	return p.toLane(t, queue, payload, 0, persistent)
}

// toLane publishes to a named queue with a priority.
func (p *Publisher) toLane(t *Turn, queue, payload string, priority uint8, persistent bool) error {
	m := t.Message()
	m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(defaultExchange), []byte(queue), SyntaxAMQP
	m.Payload, m.QoS, m.Persistent, m.Priority = []byte(payload), AtLeastOnce, persistent, priority
	_, err := p.Publish(t, m)
	return err
}

// fill publishes the messages from lo up to hi to a named queue, 500 a turn.
func (x *box) fill(queue string, lo, hi int, persistent bool) {
	x.t.Helper()
	p := x.publisher()
	for lo < hi {
		x.turn(func(t *Turn) {
			for end := min(hi, lo+500); lo < end; lo++ {
				if err := p.to(t, queue, number(lo), persistent); err != nil {
					x.t.Fatal(err)
				}
			}
		})
	}
}

// fillLane publishes messages of one priority to a named queue, in one turn.
func (x *box) fillLane(queue string, priority uint8, persistent bool, payloads ...string) {
	x.t.Helper()
	p := x.publisher()
	x.turn(func(t *Turn) {
		for _, payload := range payloads {
			if err := p.toLane(t, queue, payload, priority, persistent); err != nil {
				x.t.Fatal(err)
			}
		}
	})
}

// nextNumber looks at the message that comes next.
func (k *taker) nextNumber() int {
	k.x.t.Helper()
	ds := k.take()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(ds, k.got...)
	var n int
	fmt.Sscan(string(ds[0].Msg.Payload), &n)
	return n
}

// rest waits until nothing is on its way but what a held shard keeps back.
func (x *box) rest(held []bool) {
	barrier := func() {
		for range 2 { // the second sees the turn of the first ended
			for _, w := range x.workers {
				done := make(chan struct{})
				w.post(task{f: func(*Turn) { close(done) }})
				<-done
			}
		}
	}
	before := uint64(0)
	for still := 0; still < 2; {
		for i, s := range x.Bus.shards {
			if held == nil || !held[i] {
				done := make(chan struct{})
				s.store.Commit(s.store.NewBatch(), func(error) { close(done) })
				<-done
			}
		}
		barrier()
		now, loading := uint64(0), false
		for _, s := range x.Bus.shards {
			s.seq.Lock()
			now += s.seq.n
			s.seq.Unlock()
		}
		x.eachQueue(func(q *Queue) bool {
			q.mu.Lock()
			loading = loading || q.far.loading
			q.mu.Unlock()
			return true
		})
		if now == before && !loading {
			still++
		} else {
			still = 0
		}
		before = now
	}
}

// inconsistent says what is wrong inside the queue, "" if nothing is.
func (q *Queue) inconsistent() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	count, size, lent := q.far.gap.n, q.far.gap.bytes, int64(0)
	last, first := uint64(0), true
	for ri, r := range q.rings() {
		gone := 0
		for i := range r.n {
			e := r.at(i)
			if !first && e.ord <= last {
				return fmt.Sprintf("ordinal %d after %d", e.ord, last)
			}
			last, first = e.ord, false
			if q.far.gap.n > 0 && (ri == 0) != (e.ord < q.far.gap.lo) {
				return fmt.Sprintf("ordinal %d in ring %d and a gap from %d to %d", e.ord, ri, q.far.gap.lo, q.far.gap.hi)
			}
			if e.state == entryGone {
				gone++
				continue
			}
			count++
			size += int64(e.size)
			if e.cons != nil {
				lent++
			}
		}
		if gone != r.gone {
			return fmt.Sprintf("%d holes, %d counted", gone, r.gone)
		}
	}
	if count != q.count || size != q.bytes || lent != q.unsettled {
		return fmt.Sprintf("%d entries of %d bytes, %d lent; counted %d, %d, %d", count, size, lent, q.count, q.bytes, q.unsettled)
	}
	return ""
}

// heldBytes adds up the messages that queues have in memory, each once.
func (x *box) heldBytes() int64 {
	seen := make(map[*Message]bool)
	sum := int64(0)
	x.eachQueue(func(q *Queue) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, r := range q.rings() {
			for i := range r.n {
				if msg := r.at(i).msg; msg != nil && !seen[msg] {
					seen[msg] = true
					sum += msg.footprint()
				}
			}
		}
		return true
	})
	return sum
}

// stop ends a box before the test does.
func (x *box) stop() {
	for _, s := range x.shards {
		s.hold(false)
	}
	x.Close()
	for _, s := range x.shards {
		s.close()
	}
}

// leftBehind does what housekeeping does and returns the keys of entries and
// bodies that are there nevertheless.
func (x *box) leftBehind() []string {
	x.rest(nil)
	x.turn(func(t *Turn) {
		x.janitor.run(t)
		x.sweep(t)
	})
	x.rest(nil)
	return x.keys(keyEntry, keyFailures, keyBody)
}

// keys returns the keys of some kinds in all shards.
func (x *box) keys(kinds ...byte) []string {
	var out []string
	for _, s := range x.Bus.shards {
		for _, kind := range kinds {
			lo, hi := kindRange(kind)
			if err := s.store.Scan(lo, hi, func(k, _ []byte) bool {
				out = append(out, string(k))
				return true
			}); err != nil {
				x.t.Error(err)
			}
		}
	}
	return out
}

func TestLengthLimit(t *testing.T) {
	for _, c := range []struct {
		name   string
		limits QueueLimits
		send   int // messages of 80 bytes, the first of them with a consumer that takes two
		want   []int
		quota  int // are refused
	}{
		{"none", QueueLimits{}, 10, []int{2, 3, 4, 5, 6, 7, 8, 9}, 0},
		{"length, drop", QueueLimits{MaxLength: 3}, 10, []int{7, 8, 9}, 0},
		{"length, reject", QueueLimits{MaxLength: 3, Overflow: RejectPublish}, 10, []int{2, 3, 4}, 5},
		{"bytes, drop", QueueLimits{MaxBytes: 5 * 80}, 10, []int{5, 6, 7, 8, 9}, 0}, // the two that are out do not count
		{"bytes, reject", QueueLimits{MaxBytes: 5 * 80, Overflow: RejectPublish}, 10, []int{2, 3, 4, 5, 6}, 3},
		{"one larger than the limit", QueueLimits{MaxBytes: 10}, 4, nil, 0}, // as RabbitMQ does
	} {
		for _, persistent := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/persistent=%v", c.name, persistent), func(t *testing.T) {
				x := newBox(t)
				q := x.named("q", QueueOptions{Durable: true, Limits: c.limits})
				k := x.taker(q, 2)
				p := x.publisher()
				refused := 0
				for i := range c.send {
					x.turn(func(tn *Turn) {
						if err := p.to(tn, "q", number(i), persistent); errors.Is(err, ErrQuota) {
							refused++
						} else if err != nil {
							t.Fatal(err)
						}
					})
					x.rest(nil)
				}
				var want []string
				for _, i := range c.want {
					want = append(want, number(i))
				}
				if ds := k.take(); len(ds) != 2 {
					t.Fatalf("%d were sent", len(ds))
				}
				x.turn(func(t *Turn) { k.c.Cancel(t) })
				want = append([]string{number(0), number(1)}, want...)
				if got := x.taker(q, 0).now(); !slices.Equal(got, want) {
					t.Errorf("%q are there, want %q", got, want)
				}
				if refused != c.quota {
					t.Errorf("%d were refused, want %d", refused, c.quota)
				}
				dropped := int(x.Stats().Dropped[DropOverflow])
				if n := c.send - 2 - len(c.want) - c.quota; dropped != n {
					t.Errorf("%d count as dropped, want %d", dropped, n)
				}
			})
		}
	}
}

// A limit holds too for what came in one turn, or while the head was on disk:
// as soon as something can be dropped, it is.
func TestLengthLimitOfABurst(t *testing.T) {
	for _, budget := range []int64{1 << 30, 4 << 10} {
		t.Run(fmt.Sprintf("budget=%d", budget), func(t *testing.T) {
			x := newBox(t, queueMemory(budget))
			q := x.named("q", QueueOptions{Durable: true, Limits: QueueLimits{MaxLength: 100}})
			for i := range 5 {
				x.fill("q", 500*i, 500*i+500, true) // one turn
				x.rest(nil)
				if i := q.Info(); i.Ready != 100 {
					t.Fatalf("%+v", i)
				}
			}
			var want []string
			for i := 2400; i < 2500; i++ {
				want = append(want, number(i))
			}
			if got := x.taker(q, 0).now(); !slices.Equal(got, want) {
				t.Errorf("%d are there, the first is %q", len(got), got[0])
			}
		})
	}
}

// What comes back takes the place it had, however it comes back.
func TestReturnsToItsPlace(t *testing.T) {
	for _, persistent := range []bool{true, false} {
		x := newBox(t)
		q := x.named("q", QueueOptions{Durable: true})
		x.fill("q", 0, 8, persistent)
		x.rest(nil)
		k := x.taker(q, 6)
		ds := k.take()
		q.mu.Lock() // as if the client had no room for them any more
		k.c.opt.Limit = 1
		q.mu.Unlock()
		k.settle(Released, ds[4], ds[2])
		k.settle(Accepted, ds[1])
		x.turn(func(t *Turn) { k.c.Cancel(t) })
		k = x.taker(q, 0)
		x.rest(nil)
		var got []string
		for i, d := range k.take() {
			got = append(got, string(d.Msg.Payload))
			if d.Redelivered != (i < 5) {
				t.Errorf("persistent=%v: delivery %d: redelivered is %v", persistent, i, d.Redelivered)
			}
		}
		want := []string{number(0), number(2), number(3), number(4), number(5), number(6), number(7)}
		if !slices.Equal(got, want) {
			t.Errorf("persistent=%v: %q", persistent, got)
		}
	}
}

// TestRedeliveredAfterARestart: what was in a queue before is marked, for nothing
// tells whether a consumer has had it; what comes later is not.
func TestRedeliveredAfterARestart(t *testing.T) {
	x := newBox(t)
	k := x.taker(x.named("q", QueueOptions{Durable: true}), 1)
	x.fill("q", 0, 2, true)
	if got := k.now(); len(got) != 1 {
		t.Fatalf("%q were sent", got)
	}
	y := x.crash()
	y.fill("q", 2, 3, true)
	y.rest(nil)
	k = y.taker(y.VHost("/").Queue("q"), 0)
	y.rest(nil)
	ds := k.take()
	if len(ds) != 3 {
		t.Fatalf("%q are there", texts(ds))
	}
	for i, d := range ds {
		if d.Redelivered != (i < 2) {
			t.Errorf("message %d: redelivered is %v", i, d.Redelivered)
		}
	}
}
