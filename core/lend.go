package core

import "slices"

// deliverLocked lends ready entries to consumers while there are both.
func (q *Queue) deliverLocked(t *Turn) {
	for len(q.consumers) > 0 {
		e := q.nextLocked(t)
		if e == nil || e.flags&flagPending != 0 {
			return
		}
		if q.expiredLocked(t, e) {
			q.dieLocked(t, e, DiedExpired)
			continue
		}
		if !q.lendLocked(t, e) {
			q.armExpiryLocked(t, e.expires)
			return
		}
	}
}

// lendLocked finds a consumer for e. Consumers take turns.
func (q *Queue) lendLocked(t *Turn, e *entry) bool {
	if q.outranked() {
		return false
	}
	if q.named != nil && q.named.ranked {
		return q.lendByRankLocked(t, e)
	}
	refused := 0
	for i := 0; i < len(q.consumers); i++ {
		if int(q.turnTo) >= len(q.consumers) {
			q.turnTo = 0
		}
		c := q.consumers[q.turnTo]
		q.turnTo++
		if c.paused || !c.creditLocked() || !q.spanLocked(t, c, e.ord) {
			continue
		}
		if q.nameless(c, e) {
			if q.rejectNamelessLocked(t, e) {
				return true
			}
			continue
		}
		if e.state != entryReceived {
			switch q.permitsLocked(t, c, e) {
			case denied:
				refused++
				continue
			case unknown:
				continue
			}
		}
		if !c.offerLocked(t, e.msg, e) {
			continue
		}
		q.tookLocked(t, e)
		return true
	}
	if refused > 0 && refused == len(q.consumers) && q.kind != KindNamed && q.onlySessionsLocked() {
		// Nobody here may have it, and what stands behind must not wait for a
		// change of rights. A named queue is kept for those who may consume it.
		t.dropped(q, DropNotAuthorized, e.qos(), int(e.size))
		if e.flags&flagMoved != 0 { // whoever asked for it counts on it
			for _, c := range q.consumers {
				if m, ok := c.sink.(Mover); ok {
					t.Do(m.NotMoved)
				}
			}
		}
		q.removeLocked(t, e)
		return true
	}
	return false
}

// nameless says whether the consumer is a session and the message has an address
// that is no topic name.
func (q *Queue) nameless(c *Consumer, e *entry) bool {
	if q.kind != KindNamed || e.msg == nil || e.msg.Syntax == SyntaxMQTT || !c.isSession() {
		return false
	}
	_, legal := mqttForm(e.msg.Syntax, e.msg.Topic)
	return !legal
}

// onlySessionsLocked says whether nobody but sessions takes from the queue.
func (q *Queue) onlySessionsLocked() bool {
	return !slices.ContainsFunc(q.consumers, func(c *Consumer) bool { return !c.isSession() })
}

// rejectNamelessLocked takes a message out of the way that no consumer there is
// can have, because it has no topic name. It says whether that is so.
func (q *Queue) rejectNamelessLocked(t *Turn, e *entry) bool {
	if !q.onlySessionsLocked() {
		return false
	}
	t.Stats.Unrepresentable++
	q.dieLocked(t, e, DiedNameless) // not rejected: nobody would end a circle
	return true
}

// tookLocked updates the queue after an entry has been lent.
func (q *Queue) tookLocked(t *Turn, e *entry) {
	if len(q.far.back) > 0 && q.far.back[0] == e.ord {
		q.far.back.pop()
	} else {
		q.cursor = e.ord + 1
	}
	switch {
	case e.state == entryGone:
		e.state = entrySent // removeLocked makes the hole
		q.removeLocked(t, e)
	case q.volatile && e.msg != nil && e.flags&flagStored == 0:
		e.msg.drop(t.bus)
		e.msg = nil
	}
}

// nextLocked returns the next entry to lend: one that came back, or the one at
// the cursor. If the entry is not in memory it has it loaded and returns nil.
func (q *Queue) nextLocked(t *Turn) *entry {
	for len(q.far.back) > 0 {
		// What is not below the cursor is found from there, in its order: the
		// cursor goes back when a consumer goes.
		if e := q.head.find(q.far.back[0]); e != nil && e.state == entryReady && e.ord < q.cursor {
			return e
		}
		q.far.back.pop()
	}
	for {
		i := q.head.index(q.cursor)
		if q.far.gap.n > 0 && q.head.n-i < lowWater {
			q.loadLocked(t)
		}
		for ; i < q.head.n; i++ {
			e := q.head.at(i)
			if e.state == entryReady || e.state == entryReceived && e.cons == nil {
				q.cursor = e.ord
				return e
			}
		}
		if q.far.gap.n > 0 {
			q.loadLocked(t) // all in head is lent
			q.fetchLocked()
			return nil
		}
		if q.far.tail.n == 0 {
			return nil
		}
		q.joinLocked()
	}
}
