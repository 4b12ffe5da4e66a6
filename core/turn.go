package core

import (
	"context"
	"sync"
	"time"
)

const (
	// A turn that has appended this much or touched this many connections is
	// Full: whoever runs it ends it and goes on with a fresh one.
	turnBytes   = 1 << 20
	turnTouched = 1024
)

// A Flusher has output that waits for the end of the turn, as a rule the
// outbox of a connection.
type Flusher interface {
	// Flush writes what has been appended, without blocking. It is called
	// with no lock held.
	Flush(t *Turn)
}

// A Wait is what must happen before parsing can go on: it blocks, outside
// Feed, until it has or until ctx ends.
type Wait func(ctx context.Context)

// A Turn is what one read sets in motion, or one group of finished commits.
// Deliveries append to outboxes and touch each once; durable records gather in
// one batch for each shard. End commits the batches, runs the effects that
// must not run under a lock, and flushes the outboxes.
//
// A turn belongs to one goroutine, which must not hold any lock of the core
// when it calls End.
type Turn struct {
	// Now is the time of the turn in unix milliseconds.
	Now int64
	// Stats gathers counters, added to the bus at the end.
	Stats Counts

	bus            *Bus
	began          int64  // nanoseconds since the bus was opened
	parts          []part // one for each shard
	promisesBefore int    // when the present Feed began
	promises       int    // changes that somebody must not be told of before they are durable
	touched        []Flusher
	appended       int
	todo           []func(*Turn)
	submitted      []func()
	replies        []byte
	afters         []func(*Turn)
	marks          []mark
	segs           []*segment
	scratch        []byte
	msg            Message   // scratch for who publishes through this turn
	waitFor        []*commit // earlier commits that the present replies wait for
	follower       *commit
	drop           struct { // gathered for the drop log
		q   *Queue
		why DropReason
		n   int64
	}
}

// NewTurn takes a turn from the pool.
func (b *Bus) NewTurn() *Turn {
	t := b.turns.Get().(*Turn)
	now := time.Now()
	t.Now, t.began = now.UnixMilli(), int64(now.Sub(b.started))
	return t
}

// Bus returns the bus the turn belongs to.
func (t *Turn) Bus() *Bus { return t.bus }

// Message returns the turn's scratch message, all zero. It is valid until the
// next call.
func (t *Turn) Message() *Message {
	m := &t.msg
	m.Exchange, m.Topic, m.Payload = nil, nil, nil
	m.Syntax, m.QoS, m.Retain, m.Persistent, m.Owned = 0, 0, false, false, false
	m.Published, m.Expires, m.kept, m.body, m.Stored = 0, 0, nil, nil, nil
	m.Props, m.Priority, m.Keys, m.Routed, m.Died = nil, 0, nil, false, false
	return m
}

// Do runs f at the end of the turn, with no lock held. It is how an effect
// escapes from under a lock: closing a connection, publishing a dead letter,
// emitting an event.
func (t *Turn) Do(f func(*Turn)) { t.todo = append(t.todo, f) }

// Touch has f flushed at the end of the turn. The caller sees to it that f is
// not touched twice. n is the number of bytes it appended.
func (t *Turn) Touch(f Flusher, n int) {
	t.touched = append(t.touched, f)
	t.appended += n
}

// Appended counts n more bytes for an outbox that is touched already.
func (t *Turn) Appended(n int) { t.appended += n }

// Full says that the turn has set enough in motion.
func (t *Turn) Full() bool {
	return t.appended >= turnBytes || len(t.touched) >= turnTouched
}

// relieve flushes in the middle of a large fan-out. No lock may be held.
// Deliveries may always leave early; only replies wait for commits.
func (t *Turn) relieve() {
	if t.Full() {
		t.flush()
	}
}

func (t *Turn) flush() {
	for i := 0; i < len(t.touched); i++ { // flushing may touch others
		t.touched[i].Flush(t)
		t.touched[i] = nil
	}
	t.touched = t.touched[:0]
	t.appended = 0
}

// part returns the turn's share in a shard, with a batch to write to.
func (t *Turn) part(s *shard) *part {
	p := &t.parts[s.index]
	if p.batch == nil {
		p.batch = s.store.NewBatch()
	}
	return p
}

// promise is part for changes that a reply of the connection being fed
// promises: its replies wait for the commit.
func (t *Turn) promise(s *shard) *part {
	t.promises++
	p := t.part(s)
	p.told = true
	return p
}

// Promise has the present replies wait for all that the turn has changed.
func (t *Turn) Promise() { t.promises++ }

// End commits, runs what waits and flushes, and gives the turn back to the
// pool.
func (t *Turn) End() {
	t.Flush()
	if cap(t.touched) > 4*turnTouched {
		t.touched = nil
	}
	if cap(t.scratch) > 1<<16 {
		t.scratch = nil
	}
	t.bus.turns.Put(t)
}

// Flush does what End does, for a turn that goes on.
func (t *Turn) Flush() {
	for t.commit() || t.runTodo() || len(t.touched) > 0 {
		// Outboxes last, when nothing is left that could add to them; those
		// that drain may set new things in motion.
		if !t.pending() && len(t.todo) == 0 {
			t.flush()
		}
	}
	// Bytes that went to outboxes which other turns had touched are theirs to
	// flush: a turn that counted them still would be full for ever.
	t.appended = 0
	t.flushDrops()
	t.Stats.addTo(&t.bus.stats)
}

// runTodo runs what must not run under a lock. It says whether there was any.
func (t *Turn) runTodo() bool {
	if len(t.todo) == 0 {
		return false
	}
	todo := t.todo
	t.todo = nil
	for i, f := range todo {
		f(t)
		todo[i] = nil
	}
	if t.todo == nil {
		t.todo = todo[:0]
	}
	return true
}

// onSubmitted runs f when the batches of the turn have been handed to their
// shards, so that whatever f lets happen commits later.
func (t *Turn) onSubmitted(f func()) { t.submitted = append(t.submitted, f) }

func newTurnPool(b *Bus) *sync.Pool {
	return &sync.Pool{New: func() any {
		return &Turn{bus: b, parts: make([]part, len(b.shards))}
	}}
}
