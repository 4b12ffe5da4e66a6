package core

// A Sink is the receiving end of an adapter's connection (or of one of its
// channels), as queues see it.
type Sink interface {
	// Deliver encodes one message for the client, or says that there is no
	// room (in the window or in the outbox). It is called under the lock of a
	// queue and may take the out lock of its own connection and nothing else.
	// After Refused the consumer is paused until Settle or Resume.
	Deliver(t *Turn, d Delivery) Verdict
}

// A Mover is a Sink that answers MoveFirst and counts what it has asked for.
type Mover interface {
	// NotMoved: one of the deliveries will not come. It is called without any
	// lock.
	NotMoved(t *Turn)
}

// A CancelledSink is a Sink that wants to know that it gets nothing more, because
// the queue is gone. It is called without any lock.
type CancelledSink interface {
	Cancelled(t *Turn, c *Consumer)
}

// Verdict is a sink's answer to Deliver.
type Verdict uint8

const (
	// Refused: no room now.
	Refused Verdict = iota
	// Taken: encoded.
	Taken
	// MoveFirst: the delivery must survive the connection; it is first moved
	// into the member's own session queue, by a commit.
	MoveFirst
)

// A Delivery is a message lent to a consumer.
type Delivery struct {
	Consumer    *Consumer // nil for QoS 0 that comes from no queue
	Msg         *Message  // nil if Released
	Ordinal     uint64
	QoS         QoS  // effective: of the message and the subscription
	Retain      bool // sent because of a new subscription
	Redelivered bool
	Released    bool  // QoS 2: the client has the message, only its completion is due
	Moved       bool  // announced by an earlier MoveFirst
	Failures    int   // deliveries that have failed before
	Left        int64 // messages that wait behind this one; only for Get
}

// Outcome is how a consumer settles a delivery.
type Outcome uint8

const (
	// Accepted: done, forget it.
	Accepted Outcome = iota
	// Rejected: never deliver it again.
	Rejected
	// Released: back to its place, as if never sent.
	Released
	// Received: the client has it (QoS 2 after PUBREC); never requeued,
	// expired or dropped, and due for Accepted.
	Received
	// Failed: back to its place, unless it has failed too often.
	Failed
)

// Settled is the answer to a settle.
type Settled uint8

const (
	// NotFound: no such delivery is out; settled before, or never made.
	NotFound Settled = iota
	// Done as asked.
	Done
	// Again: it is in that state already.
	Again
	// Mismatch: the delivery is out, with another QoS or in another state.
	Mismatch
)

// ConsumerOptions say how a consumer takes from a queue.
type ConsumerOptions struct {
	Identity *Principal
	// QoS caps what is delivered. Deliveries at AtMostOnce settle themselves.
	QoS QoS
	// Exclusive asks for the queue alone.
	Exclusive bool
	// Limit is the number of unsettled deliveries, 0: as many as the sink takes.
	Limit int32
	// Span bounds the distance between the oldest ordinal whose settle is not
	// yet durable and the newest sent, for clients whose packet ids derive
	// from ordinals. 0: none.
	Span uint32
	// Priority: those with a higher one are served first, for as long as they
	// have room.
	Priority int32
}

// A Consumer takes from a queue.
type Consumer struct {
	q    *Queue
	sink Sink
	opt  ConsumerOptions
	// credit is shared by the consumers that one client has on the lanes of a
	// queue with priorities; nil elsewhere.
	credit *laneCredit

	// guarded by q.mu
	unsettled int32
	paused    bool
	stopped   bool // gets nothing more, but has what it has
	gone      bool
	progress  int64 // unix milliseconds of the last settle, or of the first delivery
}

// Queue returns the queue the consumer takes from.
func (c *Consumer) Queue() *Queue { return c.q }

// Options returns how the consumer takes from the queue.
func (c *Consumer) Options() ConsumerOptions { return c.opt }

// consume attaches a consumer and begins to deliver.
func (q *Queue) consume(t *Turn, sink Sink, opt ConsumerOptions) *Consumer {
	c := &Consumer{q: q, sink: sink, opt: opt}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.attachLocked(c)
	q.deliverLocked(t)
	return c
}

// Resume tells the queue that the sink has room again.
func (c *Consumer) Resume(t *Turn) {
	if c.credit != nil {
		c.resumeLanes(t)
		return
	}
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	c.paused = false
	c.q.deliverLocked(t)
}

// Settle settles the delivery with this ordinal. want is the QoS it was made
// with.
func (c *Consumer) Settle(t *Turn, ord uint64, want QoS, o Outcome) Settled {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	return c.settleLocked(t, ord, want, o)
}

// SettleResidue settles the delivery whose ordinal is congruent to r modulo m,
// for protocols that number deliveries by ordinal. Among unsettled entries
// there is at most one, because of ConsumerOptions.Span.
func (c *Consumer) SettleResidue(t *Turn, r, m uint64, want QoS, o Outcome) Settled {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	low := c.q.lowestLocked()
	return c.settleLocked(t, low+(r+m-low%m)%m, want, o)
}

func (c *Consumer) settleLocked(t *Turn, ord uint64, want QoS, o Outcome) Settled {
	q := c.q
	e := q.head.find(ord)
	if e == nil || e.cons != c {
		return NotFound
	}
	if min(e.qos(), c.opt.QoS) != want {
		return Mismatch
	}
	switch {
	case o == Received && e.state == entryReceived:
		return Again
	case o == Received && want != ExactlyOnce,
		o != Received && want == ExactlyOnce && o == Accepted && e.state != entryReceived,
		(o == Released || o == Failed) && e.state != entrySent:
		return Mismatch
	}
	if o == Received {
		q.receivedLocked(t, e)
		return Done
	}
	c.returnLocked(t, e)
	switch {
	case o == Failed && q.failedLocked(t, e): // too often
	case o == Released || o == Failed:
		e.state, e.cons = entryReady, nil
		e.flags |= flagRedelivered
		q.needFar().back.push(e.ord)
		q.far.spillTo = min(q.far.spillTo, e.ord)
	case o == Rejected:
		q.dieLocked(t, e, DiedRejected)
	default:
		q.removeLocked(t, e)
	}
	switch {
	case q.named != nil && len(q.consumers) == 0:
		q.expireLocked(t) // its time may have been over while it was out
	case c.credit != nil: // other lanes may come first
		c.credit.resumeLater(t)
	default:
		q.deliverLocked(t)
	}
	return Done
}

// returnLocked takes e out of what the consumer has.
func (c *Consumer) returnLocked(t *Turn, e *entry) {
	c.unsettled--
	c.q.unsettled--
	c.q.lentBytes(-int64(e.size))
	if c.credit != nil {
		c.credit.used.Add(-1)
	}
	c.progress = t.Now
	c.paused = false
}

// receivedLocked notes that the client has a QoS 2 message: the record on disk
// shrinks to a mark, and PUBREL may leave when that is committed.
func (q *Queue) receivedLocked(t *Turn, e *entry) {
	e.state = entryReceived
	if msg := e.msg; msg != nil {
		e.msg = nil
		if e.flags&flagBody != 0 {
			msg.bodyOn(q.sh).unref(t.part(q.sh))
			e.flags &^= flagBody
		}
		msg.drop(t.bus)
	}
	q.bytes -= int64(e.size)
	q.lentBytes(-int64(e.size))
	if e.flags&(flagDurable|flagStored|flagSpilling) != 0 {
		p := t.promise(q.sh)
		tc := p.awaits(q, e.ord) // not to be paged out before it is on disk
		if e.flags&flagDurable != 0 {
			tc.bytes -= int64(e.size)
		}
		e.size = 0
		e.flags |= flagSpilling
		t.scratch = appendEntry(t.scratch[:0], e, nil, nil)
		p.batch.Set(p.entry(q.id, e.ord), t.scratch)
	}
	e.size = 0
}

// Cancel detaches the consumer. What it has not settled goes back to its
// place; what it has received (QoS 2) stays until the next consumer completes
// it, or is done if there can be none.
func (c *Consumer) Cancel(t *Turn) {
	if c.credit == nil {
		c.cancel(t)
		return
	}
	c.eachLane(true, func(k *Consumer) { k.cancel(t) })
}

func (c *Consumer) cancel(t *Turn) {
	q := c.q
	q.mu.Lock()
	defer q.mu.Unlock()
	c.cancelLocked(t)
	if len(q.consumers) > 0 {
		if !q.activeServesLocked(t) {
			q.deliverLocked(t)
		}
		return
	}
	if q.named != nil {
		q.expireLocked(t)
	}
	if t.bus.overBudget() {
		q.trimLocked(t)
	}
}

func (c *Consumer) cancelLocked(t *Turn) {
	q := c.q
	if c.gone {
		return
	}
	c.gone = true
	q.detachLocked(t, c)
	if q.kind == KindSession && !q.volatile {
		q.needDisk().dupBelow = max(q.disk.dupBelow, q.sentTo)
	}
	lowest := q.cursor
	for i := 0; i < q.head.n && c.unsettled > 0; i++ {
		e := q.head.at(i)
		if e.cons != c || e.state == entryGone {
			continue
		}
		c.unsettled--
		q.unsettled--
		q.lentBytes(-int64(e.size))
		if c.credit != nil {
			c.credit.used.Add(-1)
		}
		e.cons = nil
		switch {
		case e.state == entrySent:
			ord := e.ord
			if q.failedLocked(t, e) {
				i = q.head.index(ord) - 1
				continue
			}
			e.state = entryReady
			e.flags |= flagRedelivered
			lowest = min(lowest, ord)
		case q.kind == KindSession: // completed by the next connection
			lowest = min(lowest, e.ord)
		default: // the client has it, and nobody is left to complete it
			ord := e.ord
			q.removeLocked(t, e)
			i = q.head.index(ord) - 1
		}
	}
	q.cursor = lowest
	if q.far.spillTo > lowest { // what has come back may be spilled as well
		q.far.spillTo = lowest
	}
}

// creditLocked says whether the consumer may have one more.
func (c *Consumer) creditLocked() bool {
	if c.credit != nil {
		return c.opt.Limit == 0 || c.credit.used.Load() < c.opt.Limit
	}
	return c.opt.Limit == 0 || c.unsettled < c.opt.Limit
}

// offerLocked offers an entry to the consumer. On success the entry is sent, or
// gone if it settles itself; the caller removes it then.
func (c *Consumer) offerLocked(t *Turn, m *Message, e *entry) bool {
	q := c.q
	qos := min(e.qos(), c.opt.QoS)
	if c.credit != nil && qos > AtMostOnce && !c.credit.take(c.opt.Limit) {
		return false
	}
	v := c.sink.Deliver(t, Delivery{
		Consumer: c, Msg: m, Ordinal: e.ord, QoS: qos,
		Retain:      e.flags&flagRetained != 0,
		Redelivered: e.ord < q.disk.dupBelow || e.flags&flagRedelivered != 0,
		Released:    e.state == entryReceived,
		Moved:       e.flags&flagMoved != 0,
		Failures:    e.failures(),
		Left:        q.count - q.unsettled - 1 + c.credit.elsewhere(),
	})
	if v == Refused {
		if c.credit != nil && qos > AtMostOnce {
			c.credit.used.Add(-1)
		}
		c.paused = true
		return false
	}
	q.sentTo = max(q.sentTo, e.ord+1)
	if qos == AtMostOnce {
		e.state = entryGone
		return true
	}
	if e.state != entryReceived {
		e.state = entrySent
	}
	e.cons = c
	if c.unsettled == 0 {
		c.progress = t.Now
	}
	c.unsettled++
	q.unsettled++
	q.lentBytes(int64(e.size))
	if v == MoveFirst {
		ord, kept := e.ord, m.keep()
		t.Do(func(t *Turn) { c.move(t, ord, kept) })
	}
	return true
}

// move takes a QoS 2 delivery of a group or named queue into the member's own
// session queue: from there it completes with this client only. Both changes
// are in one batch, if the two queues share a shard.
func (c *Consumer) move(t *Turn, ord uint64, m *Message) {
	s := c.opt.Identity.session
	if s == nil {
		c.Settle(t, ord, ExactlyOnce, Released)
		return
	}
	c.q.mu.Lock()
	e := c.q.head.find(ord)
	if e == nil || e.cons != c || e.state != entrySent {
		c.q.mu.Unlock()
		// The member went meanwhile, and the message with it to another.
		if m, ok := c.sink.(Mover); ok {
			m.NotMoved(t)
		}
		return
	}
	c.returnLocked(t, e)
	c.q.leaveLocked(t, e)
	if c.credit != nil {
		c.credit.resumeLater(t)
	} else {
		c.q.deliverLocked(t)
	}
	c.q.mu.Unlock()
	// A session's own limits do not apply to what it was chosen for.
	s.queue.enqueue(t, m, ExactlyOnce, flagMoved, nil)
}

// maxSpan is the largest ConsumerOptions.Span.
const maxSpan = 1 << 16

// spanLocked keeps packet ids that derive from ordinals unique: an ordinal
// whose id may still be in use waits.
func (q *Queue) spanLocked(t *Turn, c *Consumer, ord uint64) bool {
	span := uint64(c.opt.Span)
	if span == 0 || ord < q.disk.safeHead+span {
		return true
	}
	low := q.lowestLocked()
	d := q.needDisk()
	if !q.durable {
		d.safeHead = low
	} else if low > d.safeHead && !d.barrier {
		// Settles ride on later syncs. Before an id is used again its former
		// settle must be durable, or a crash would bring both back.
		d.barrier = true
		t.part(q.sh).told = true
		t.following().then(q.id, func(t *Turn) {
			q.mu.Lock()
			defer q.mu.Unlock()
			d.barrier = false
			d.safeHead = low
			q.deliverLocked(t)
		})
	}
	return ord < d.safeHead+span
}

// isSession says whether the consumer is a session, of MQTT.
func (c *Consumer) isSession() bool { return c.opt.Identity != nil && c.opt.Identity.session != nil }

// inUseLocked is how much of its limit the consumer uses.
func (c *Consumer) inUseLocked() int64 {
	if c.credit != nil {
		return int64(c.credit.used.Load())
	}
	return int64(c.unsettled)
}
