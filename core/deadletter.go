package core

import (
	"context"
	"slices"
)

// Death says why a message was dead-lettered.
type Death uint8

const (
	DiedRejected      Death = iota // by a consumer
	DiedExpired                    // its time was over
	DiedMaxLength                  // the queue was full
	DiedDeliveryLimit              // it has failed too often
	DiedNameless                   // its address is no topic name, and nobody but sessions is there
)

func (d Death) String() string {
	return [...]string{"rejected", "expired", "maxlen", "delivery_limit", "no_topic"}[d]
}

// dying is an entry that is to be dead-lettered.
type dying struct {
	ord uint64
	why Death
}

// dieLocked takes a live entry that nobody has out of head: it is dead-lettered
// if the queue says where to, and dropped otherwise.
func (q *Queue) dieLocked(t *Turn, e *entry, why Death) {
	n := q.named
	if n == nil || n.deadLetter == nil || e.msg == nil {
		q.lost(t, e.qos(), int(e.size), why)
		q.removeLocked(t, e)
		return
	}
	// It stays where it is, out of everybody's reach, until it is where it goes,
	// so that a crash cannot take it from both.
	e.state, e.cons = entryDying, nil
	q.unsettled++
	n.lent += int64(e.size)
	n.limbo++
	if q.cursor == e.ord {
		q.cursor++ // or it would be passed by again and again
	}
	if n.dying = append(n.dying, dying{e.ord, why}); len(n.dying) == 1 {
		t.Do(q.bury)
	}
}

// lost counts a message that has died and is in no other queue now. What a consumer
// has rejected is not lost: that is what it wanted.
func (q *Queue) lost(t *Turn, qos QoS, size int, why Death) {
	switch why {
	case DiedExpired:
		t.dropped(q, DropExpired, qos, size)
	case DiedMaxLength:
		t.dropped(q, DropOverflow, qos, size)
	case DiedDeliveryLimit:
		t.dropped(q, DropDeliveryLimit, qos, size)
	}
}

// failedLocked counts a failed delivery. It says whether that was one too many;
// then the entry, which nobody has any more, is on its way out.
func (q *Queue) failedLocked(t *Turn, e *entry) bool {
	e.setFailures(e.failures() + 1)
	n := q.named
	if n == nil {
		return false
	}
	if n.deliveryLimit == 0 || e.failures() <= min(max(int(n.deliveryLimit), 0), maxFailures-1) {
		q.noteFailuresLocked(t, e)
		return false
	}
	q.dieLocked(t, e, DiedDeliveryLimit)
	return true
}

// bury publishes what is dying, and takes it out of the queue in the same batch.
func (q *Queue) bury(t *Turn) {
	q.mu.Lock()
	if q.named.asking { // they go behind those that wait
		q.mu.Unlock()
		return
	}
	list, dl := q.named.dying, q.named.deadLetter
	q.named.dying = nil
	q.mu.Unlock()
	for i, d := range list {
		q.mu.Lock()
		e := q.head.find(d.ord)
		if e == nil || e.state != entryDying { // deleted with the queue
			q.mu.Unlock()
			continue
		}
		m := e.msg
		q.mu.Unlock()
		arrived, wait := q.publishDead(t, m, dl, d.why)
		if wait != nil {
			q.buryLater(list[i:], wait)
			return
		}
		q.mu.Lock()
		if e := q.head.find(d.ord); e != nil && e.state == entryDying {
			q.unsettled--
			q.named.lent -= int64(e.size)
			q.named.limbo--
			if !arrived {
				q.lost(t, e.qos(), int(e.size), d.why)
			}
			q.leaveLocked(t, e)
		}
		q.mu.Unlock()
	}
}

// buryLater goes on when the rights of those who get the messages are known. One asks
// for all that die meanwhile.
func (q *Queue) buryLater(list []dying, wait Wait) {
	b := q.vh.bus
	q.mu.Lock()
	q.named.dying = append(list, q.named.dying...)
	asking := q.named.asking
	q.named.asking = true
	q.mu.Unlock()
	if asking {
		return
	}
	b.spawn(func(ctx context.Context) {
		wait(ctx)
		if ctx.Err() != nil {
			return // what is on disk comes back after the restart
		}
		q.mu.Lock()
		q.named.asking = false
		q.mu.Unlock()
		t := b.NewTurn()
		q.bury(t)
		t.End()
	})
}

// publishDead publishes a dead letter, and says whether it has arrived anywhere. One
// that nothing is bound for is dropped, as RabbitMQ does. A queue that is full and refuses it, or to which it would go in a
// circle, is left out: no publisher is there to send it to the others again.
func (q *Queue) publishDead(t *Turn, m *Message, dl *DeadLetter, why Death) (arrived bool, _ Wait) {
	if dl == nil { // a change of policy
		return false, nil
	}
	x := q.vh.Exchange(dl.Exchange)
	if x == nil {
		return false, nil
	}
	dead, deaths := q.deadLetter(t, m, dl, why)
	dead.Exchange = x
	if underSys(dead.Topic) { // which is the broker's own to tell
		return false, nil
	}
	p := q.vh.NewInternalPublisher()
	r, wait, err := p.route(t, dead)
	if wait != nil || err != nil {
		return false, wait
	}
	if why != DiedRejected {
		r = r.without(func(q *Queue) bool { return deaths.circles(q.name) })
	}
	if t.bus.rejecting.Load() { // a full queue must not keep it from the others
		r.deadLetterRefused(t, dead)
		r = r.without(func(q *Queue) bool { return q.refuses(dead) })
	}
	p.accept(t, r, dead)
	return len(r.targets) > 0, nil
}

// deadLetterRefused dead-letters a message that queues have refused and want to
// have dead-lettered nevertheless.
func (r *route) deadLetterRefused(t *Turn, m *Message) {
	for i := range r.targets {
		q := r.targets[i].q
		if q.named == nil || !q.deadLettersRefused() || !q.refuses(m) {
			continue
		}
		kept := m.keep()
		t.Do(func(t *Turn) { q.sendDead(t, kept) })
	}
}

func (q *Queue) deadLettersRefused() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.named.overflow == RejectPublishDLX && q.named.deadLetter != nil
}

func (q *Queue) sendDead(t *Turn, m *Message) {
	q.mu.Lock()
	dl := q.named.deadLetter
	q.mu.Unlock()
	_, wait := q.publishDead(t, m, dl, DiedMaxLength) // no loss: its publisher was told
	if wait == nil {
		return
	}
	b := q.vh.bus
	b.spawn(func(ctx context.Context) {
		wait(ctx)
		if ctx.Err() == nil {
			t := b.NewTurn()
			q.sendDead(t, m)
			t.End()
		}
	})
}

// without returns the route without some named queues.
func (r *route) without(leave func(*Queue) bool) *route {
	gone := func(tg target) bool { return tg.q.kind == KindNamed && leave(tg.q) }
	if !slices.ContainsFunc(r.targets, gone) {
		return r
	}
	less := *r
	less.targets = slices.DeleteFunc(slices.Clone(r.targets), gone)
	return &less
}
