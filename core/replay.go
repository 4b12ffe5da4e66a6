package core

import (
	"bytes"
	"context"
	"sync"
	"sync/atomic"
)

const (
	// A replay looks at this many retained messages at a time.
	replayStep = 32
	// A replay waits while this many messages are ready in the session's queue,
	// so that it takes room like any other sender and no more.
	replayBacklog = 64
)

// A replay sends the retained messages that match a new subscription, as fast
// as the client takes them.
type replay struct {
	filter string
	qos    QoS
	number uint64
	after  string // key of the last one that is done
}

// replayList holds the replays of a session. They are run by a worker, one
// step after the other.
type replayList struct {
	due atomic.Bool // there are some, so that asking costs nothing otherwise

	mu      sync.Mutex
	list    []replay // guarded by mu; those that have been told first, behind them by number
	told    uint64   // guarded by mu: those up to this number may begin, SUBACK has left
	running bool     // guarded by mu: a worker is at it
	again   bool     // guarded by mu: room was announced, or an answer came, meanwhile
	paused  bool     // guarded by mu: no client is connected
}

var noReplays = new(replayList)

// replayList returns the session's replays; nothing may be added to it if there
// are none.
func (s *Session) replayList() *replayList {
	if l := s.replays.Load(); l != nil {
		return l
	}
	return noReplays
}

func (s *Session) addReplay(r replay) {
	if s.replays.Load() == nil {
		s.replays.Store(new(replayList))
	}
	s.replays.Load().add(r)
}

func (l *replayList) add(r replay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(r.filter)
	l.list = append(l.list, r)
	l.due.Store(true)
}

// Subscribed says that the replies of the turn have the answer to what has been
// subscribed to. When they have left the gate the retained messages follow.
func (s *Session) Subscribed(t *Turn) {
	l := s.replayList()
	if !l.due.Load() {
		return
	}
	last := t.bus.ids.Load()
	t.After(func(t *Turn) {
		l.tell(last)
		s.Replay(t)
	})
}

// tell lets the replays up to that number begin.
func (l *replayList) tell(last uint64) {
	if l == noReplays {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.told = max(l.told, last)
}

func (l *replayList) remove(filter string) {
	if l == noReplays {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeLocked(filter)
}

func (l *replayList) removeLocked(filter string) {
	for i := range l.list {
		if l.list[i].filter == filter {
			l.list = append(l.list[:i], l.list[i+1:]...)
			break
		}
	}
	l.due.Store(len(l.list) > 0)
}

// stop suspends the replays until the session is started again.
func (l *replayList) stop() {
	if l == noReplays {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = true
}

// Replay goes on with sending retained messages, if any are due. The adapter
// calls it when there is room again.
func (s *Session) Replay(t *Turn) {
	l := s.replayList()
	if !l.due.Load() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.direct.Load() == nil {
		return
	}
	l.paused = false
	if l.running {
		l.again = true
		return
	}
	l.running = true
	t.bus.workerOf(s.queue.id).post(task{f: s.runReplay})
}

// runReplay takes one step, and has the worker come back for the next when it
// has looked after others.
func (s *Session) runReplay(t *Turn) {
	l := s.replayList()
	l.mu.Lock()
	if l.paused || len(l.list) == 0 || l.list[0].number > l.told {
		l.running = false
		l.mu.Unlock()
		return
	}
	r := l.list[0]
	l.again = false
	l.mu.Unlock()

	before := r.after
	st := s.step(t, &r)
	if r.after != before || st == stepDone {
		s.saveProgress(t, &r, st == stepDone)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.list) > 0 && l.list[0].number == r.number {
		if st == stepDone {
			l.removeLocked(r.filter)
		} else {
			l.list[0].after = r.after
		}
	}
	if (st == stepFull || st == stepAsked) && !l.again {
		l.running = false
		return
	}
	t.bus.workerOf(s.queue.id).post(task{f: s.runReplay})
}

type stepResult uint8

const (
	stepMore  stepResult = iota
	stepFull             // no room: goes on when there is
	stepAsked            // rights are being asked for: goes on when they are known
	stepDone
)

// step sends the next few messages of a replay.
func (s *Session) step(t *Turn, r *replay) stepResult {
	q := &s.queue
	b := t.bus
	store := &q.vh.retained
	var nodes [replayStep]*retainedNode
	n := 0
	reached := store.walk(r.filter, r.after, func(node *retainedNode) bool {
		nodes[n] = node
		n++
		return n < len(nodes)
	})
	for _, node := range nodes[:n] {
		m, err := store.read(node)
		if err != nil {
			t.Event(StoreDamaged{Queue: q.name, Err: err})
		}
		if m == nil { // cleared meanwhile
			r.after = node.key
			continue
		}
		right := Right{Action: ActionReceive, Exchange: m.Exchange.name, Syntax: m.Syntax, Address: m.Topic}
		switch b.may(s.principal(), right) {
		case denied:
			r.after = node.key
			continue
		case unknown:
			right.Address = bytes.Clone(m.Topic)
			b.spawn(func(ctx context.Context) {
				b.ask(ctx, s.principal(), right)
				if ctx.Err() != nil {
					return
				}
				t := b.NewTurn()
				s.Replay(t)
				t.End()
			})
			return stepAsked
		}
		if !s.sendRetained(t, m, min(m.QoS, r.qos)) {
			return stepFull
		}
		r.after = node.key
	}
	switch {
	case reached != "":
		r.after = reached
	case n < len(nodes):
		return stepDone
	}
	return stepMore
}

// sendRetained sends one retained message, or says that there is no room.
func (s *Session) sendRetained(t *Turn, m *Message, qos QoS) bool {
	q := &s.queue
	if qos == AtMostOnce {
		ds := s.direct.Load()
		return ds != nil && ds.sink.Deliver(t, Delivery{Msg: m, Retain: true}) != Refused
	}
	q.mu.Lock()
	full := q.count-q.unsettled >= replayBacklog
	q.mu.Unlock()
	if full {
		return false
	}
	if t.bus.rejecting.Load() && q.refuses(m) {
		t.dropped(q, DropOverflow, qos, len(m.Payload))
		return true
	}
	q.enqueue(t, m, qos, flagRetained, nil)
	return true
}

func (s *Session) saveProgress(t *Turn, r *replay, done bool) {
	if s.clean {
		return
	}
	q := &s.queue
	t.scratch = (&progressRecord{replay: r.number, done: done, after: r.after}).append(t.scratch[:0])
	t.part(q.sh).batch.Set(progressKey(q.id, r.filter), t.scratch)
}
