package core

// Overflow says what a full queue does.
type Overflow uint8

const (
	// DropHead drops the oldest message that has not been sent.
	DropHead Overflow = iota
	// RejectPublish refuses the new one, so that its publisher is not
	// acknowledged.
	RejectPublish
	// RejectPublishDLX is RejectPublish, and the new one is dead-lettered.
	RejectPublishDLX
	overflows
)

func (o Overflow) rejects() bool { return o != DropHead }

// QueueLimits bound a queue. Zero means no bound, AtOnce that nothing may wait:
// what no consumer takes at once is over the limit.
type QueueLimits struct {
	MaxLength int64 // ready messages
	MaxBytes  int64 // payload bytes of ready messages
	Overflow  Overflow
	TTL       int64 // milliseconds a message may wait
}

// AtOnce is a limit that lets nothing wait.
const AtOnce = -1

// value returns the limits, none if l is nil; shared the other way round.
func (l *QueueLimits) value() QueueLimits {
	if l == nil {
		return QueueLimits{}
	}
	return *l
}

func (l QueueLimits) shared() *QueueLimits {
	if l == (QueueLimits{}) {
		return nil
	}
	return &l
}

// limit sets the limits. The caller holds q.mu, or nobody else knows the queue.
func (q *Queue) limit(l *QueueLimits) {
	q.limits = l
	if l != nil && l.Overflow.rejects() {
		q.vh.bus.rejecting.Store(true)
	}
}

// refuses says whether the queue is full and leaves messages to their
// publishers rather than drop what it has.
func (q *Queue) refuses(m *Message) bool {
	if n := q.named; n != nil && n.lanes != nil {
		q.mu.Lock()
		l := q.limits.value()
		q.mu.Unlock()
		ready, bytes := q.waiting()
		return l.Overflow.rejects() && l.exceeded(ready+1, bytes+int64(len(m.Payload)))
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.limits != nil && q.limits.Overflow.rejects() && q.fullLocked(m)
}

// fullLocked says whether one message more is too much. A queue that somebody has
// declared means its limits; in that of a session one message always has room.
func (q *Queue) fullLocked(m *Message) bool {
	ready := q.count - q.unsettled
	if q.named != nil && ready == 0 && q.awaitedLocked() {
		return false
	}
	return (ready > 0 || q.named != nil) && q.limits.exceeded(ready+1, q.readyBytesLocked()+int64(len(m.Payload)))
}

// lentBytes counts the bytes that are not ready, of declared queues.
func (q *Queue) lentBytes(n int64) {
	if q.named != nil {
		q.named.lent += n
	}
}

// readyBytesLocked are the bytes that count for the limits: with a session, whose
// window is small, all there are.
func (q *Queue) readyBytesLocked() int64 {
	if q.named != nil {
		return q.bytes - q.named.lent
	}
	return q.bytes
}

// awaitedLocked says whether a consumer has room for a message that comes now,
// behind all that are there.
func (q *Queue) awaitedLocked() bool {
	free := int64(0)
	for _, c := range q.consumers {
		if c.paused || !q.servesLocked(c) {
			continue
		}
		if c.opt.Limit == 0 {
			return true
		}
		free += int64(c.opt.Limit) - c.inUseLocked()
	}
	return free > q.count-q.unsettled
}

// makeRoomLocked applies the length limits before a message is added.
func (q *Queue) makeRoomLocked(t *Turn, m *Message) {
	if q.limits == nil || q.limits.Overflow != DropHead {
		return
	}
	for q.count > q.unsettled && q.fullLocked(m) {
		if !q.dropHeadLocked(t) {
			return // what could go is on disk or on its way there: see dropExcessLocked
		}
	}
}

func (l *QueueLimits) exceeded(n, bytes int64) bool {
	return l.MaxLength != 0 && n > max(l.MaxLength, 0) || l.MaxBytes != 0 && bytes > max(l.MaxBytes, 0)
}

// dropExcessLocked drops what could not be dropped when it became too much,
// now that more is on disk or has been read from there.
func (q *Queue) dropExcessLocked(t *Turn) {
	if l := q.limits; l != nil && l.Overflow == DropHead {
		least := int64(1)
		if q.named != nil {
			least = 0
		}
		for ready := q.count - q.unsettled; ready > least && l.exceeded(ready, q.readyBytesLocked()); ready = q.count - q.unsettled {
			if !q.dropHeadLocked(t) {
				return
			}
		}
	}
}

// dropHeadLocked drops the oldest entry that has never been sent, or of a declared
// queue the oldest that waits.
func (q *Queue) dropHeadLocked(t *Turn) bool {
	if q.named == nil {
		return q.dropUnsentLocked(t)
	}
	if e := q.nextLocked(t); e != nil && e.state == entryReady && e.ord < q.cursor { // it came back
		q.dieLocked(t, e, DiedMaxLength)
	} else if !q.dropUnsentLocked(t) {
		return false
	}
	if e := q.nextLocked(t); e != nil { // which may have expired behind it
		q.armExpiryLocked(t, e.expires)
	}
	return true
}

func (q *Queue) dropUnsentLocked(t *Turn) bool {
	for i := q.head.index(max(q.cursor, q.floorLocked())); i < q.head.n; i++ {
		e := q.head.at(i)
		if e.state != entryReady || e.flags&flagMoved != 0 {
			continue
		}
		if e.flags&flagPending != 0 {
			return false
		}
		q.dieLocked(t, e, DiedMaxLength)
		return true
	}
	if q.far.gap.n > 0 && q.head.n < keepAtLimit {
		q.loadLocked(t)
	}
	return false
}

// keepAtLimit bounds what is read in search of something to drop: a session may
// have sent all of what comes first.
const keepAtLimit = 4 * fillEntries

// laneExcessLocked has a queue with priorities drop what is too much, now that
// this lane has more that can be dropped.
func (q *Queue) laneExcessLocked(t *Turn) {
	switch n := q.named; {
	case n == nil:
	case n.root != nil:
		t.Do(n.root.tooMany)
	case n.lanes != nil:
		t.Do(q.tooMany)
	}
}
