package core

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
)

// QueueKind tells what a queue stands for; it decides when the queue goes.
type QueueKind uint8

const (
	// KindSession is the queue of a session, one consumer at a time.
	KindSession QueueKind = iota
	// KindNamed is declared by name and consumed by whoever asks.
	KindNamed
	// KindGroup is a shared subscription, gone with its last member.
	KindGroup
	queueKinds
)

func (k QueueKind) String() string { return [...]string{"session", "named", "group"}[k] }

// A Queue is the QoS engine: messages in the order they came, lent to
// consumers, gone when settled.
//
// Entries are kept in the order of their ordinals in three regions: head, in
// memory; the gap, on disk only; tail, in memory. Consumers are served from
// head; when it runs low it is filled from the gap, or takes over the tail
// when there is no gap. Under memory pressure the committed part of the tail
// becomes part of the gap. So a backlog costs memory for a window at each end.
//
// A durable entry is shown when it and every entry before it is on disk or
// needs no disk: nobody has seen a message that a crash can take back.
type Queue struct {
	vh      *VHost
	sh      *shard
	name    string
	id      uint64   // its keys in the store
	session *Session // of KindSession
	group   *group   // of KindGroup
	named   *named   // of KindNamed
	kind    QueueKind

	// diskless: no record of the queue is on disk (a transient queue).
	diskless atomic.Bool

	mu         sync.Mutex // guards what follows
	durable    bool       // persistent messages go to disk before they show
	volatile   bool       // dies with its consumer: what is sent is not kept
	deleted    bool
	spilled    bool   // transient entries have been written to disk
	turnTo     int32  // which consumer is asked first
	touchIndex int32  // see part.touch
	next       uint64 // ordinal of the next entry
	cursor     uint64 // no entry below is ready, but those in far.back
	sentTo     uint64 // above the highest ordinal ever sent
	count      int64  // live entries
	bytes      int64  // of their payloads
	unsettled  int64  // lent to consumers
	head       ring
	consumers  []*Consumer
	limits     *QueueLimits // shared and never changed; nil: none
	rights     struct {
		epoch uint64 // rights epoch that entries from clean on were routed under
		clean uint64
	}

	// What few queues have at a time. Reading goes by the pointers, which
	// lead to shared zeros at first; who writes takes needFar and needDisk.
	far  *far
	disk *onDisk
}

// far is what a queue has beyond its head.
type far struct {
	back       ordHeap // ordinals that came back
	tail       ring
	gap        gap
	spillTo    uint64        // entries below have been looked at by spill
	loading    bool          // a worker reads from the gap
	loaded     chan struct{} // if somebody waits: closed when it has, or a commit is done
	purging    int32         // purges that are at it: nothing more leaves memory meanwhile
	generation uint32        // changes when what a worker has read is void
}

type gap struct {
	lo, hi uint64 // ordinals
	n      int64  // entries
	bytes  int64
	// dead are ranges [lo, hi) of ordinals, in order, of entries that were settled
	// before the gap was opened over them: their records may be there still. It
	// only grows at its end.
	dead [][2]uint64
}

// join makes a live entry the last of the gap. What was between is dead.
func (g *gap) join(e *entry) {
	if e.ord > g.hi {
		g.dead = append(g.dead, [2]uint64{g.hi, e.ord})
	}
	g.hi = e.ord + 1
	g.n++
	g.bytes += int64(e.size)
}

// has says whether an entry with this ordinal may be in the gap.
func (g *gap) has(ord uint64) bool {
	return g.n > 0 && ord >= g.lo && ord < g.hi && !g.settled(ord)
}

// settled says whether a record with this ordinal is that of a dead entry.
func (g *gap) settled(ord uint64) bool {
	i, found := slices.BinarySearchFunc(g.dead, ord, func(r [2]uint64, ord uint64) int { return cmp.Compare(r[0], ord) })
	return found || i > 0 && ord < g.dead[i-1][1]
}

// onDisk is what a queue remembers of its records.
type onDisk struct {
	counters counters // guarded by sh.seq, the rest by the queue's lock

	dupBelow uint64 // entries below were sent to a former connection
	safeHead uint64 // settles below are durable
	purgedTo uint64 // records below are removed
	bootNext uint64 // entries below were there when the broker started
	barrier  bool   // a commit is under way that will move safeHead
	visited  bool   // on the janitor's list
	failures bool   // there may be records of failed deliveries
}

var (
	noFar  = new(far)
	noDisk = new(onDisk)
)

func (q *Queue) needFar() *far {
	if q.far == noFar {
		q.far = new(far)
	}
	return q.far
}

func (q *Queue) needDisk() *onDisk {
	if q.disk == noDisk {
		q.disk = new(onDisk)
	}
	return q.disk
}

type directSink struct{ sink Sink }

// rings returns what of the queue is in memory, in order.
func (q *Queue) rings() []*ring {
	if q.far == noFar {
		return []*ring{&q.head}
	}
	return []*ring{&q.head, &q.far.tail}
}

// Name returns the queue's name: the client id of a session.
func (q *Queue) Name() string { return q.name }

// QueueInfo is a snapshot for operators and tests.
type QueueInfo struct {
	Name      string
	Kind      QueueKind
	Durable   bool
	Ready     int64
	Unsettled int64
	Bytes     int64
	InMemory  int64 // entries held in memory
	Consumers int
}

// Info returns a snapshot of the queue.
func (q *Queue) Info() QueueInfo {
	i := QueueInfo{Name: q.name, Kind: q.kind}
	q.eachLane(func(lane *Queue) bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		i.Durable = lane.durable
		i.Ready += lane.count - lane.unsettled
		i.Unsettled += lane.unsettled
		i.Bytes += lane.bytes
		i.InMemory += int64(lane.head.n - lane.head.gone + lane.far.tail.n - lane.far.tail.gone)
		i.Consumers = len(lane.consumers) // the same on all
		return true
	})
	return i
}

// enqueue adds a message, which may be borrowed, with the guarantee qos. extra
// are flags of the entry. stored, if not nil, is where the payload is kept once
// for several queues. Whether the queue refuses is asked before; see refuses.
func (q *Queue) enqueue(t *Turn, m *Message, qos QoS, extra uint8, stored *sharedBody) {
	if n := q.named; n != nil && n.lanes != nil {
		q.lane(t, m).put(t, m, qos, extra, stored)
		q.tooMany(t)
		return
	}
	q.put(t, m, qos, extra, stored)
}

func (q *Queue) put(t *Turn, m *Message, qos QoS, extra uint8, stored *sharedBody) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return
	}
	if extra&flagMoved == 0 { // which has been accepted where it comes from
		q.makeRoomLocked(t, m)
	}
	e := entry{ord: q.next, size: uint32(len(m.Payload)), tries: uint16(qos), flags: extra, expires: m.Expires}
	if l := q.limits; l != nil && l.TTL != 0 && (e.expires == 0 || e.expires > t.Now+max(l.TTL, 0)) {
		e.expires = t.Now + max(l.TTL, 0)
	}
	if e.expires != 0 && q.named != nil {
		if e.expires <= t.Now && q.awaitedLocked() {
			e.expires = 0 // somebody takes it as soon as it may be shown
		}
		q.armExpiryLocked(t, e.expires)
	}
	q.next++
	q.count++
	q.bytes += int64(e.size)

	if q.durable && m.Persistent {
		q.enqueueDurableLocked(t, m, &e, stored)
		return
	}
	if q.tryNowLocked(t, m, &e) {
		return
	}
	e.msg = m.keep()
	e.msg.hold(t.bus)
	q.pushLocked(e)
	if len(q.consumers) > 0 {
		q.deliverLocked(t)
	}
	if q.named != nil {
		q.dropExcessLocked(t)
	}
	if t.bus.overBudget() {
		q.trimLocked(t)
	}
}

func (q *Queue) enqueueDurableLocked(t *Turn, m *Message, e *entry, stored *sharedBody) {
	e.msg = m.keep()
	e.msg.hold(t.bus)
	e.flags |= flagPending | flagDurable
	p := t.promise(q.sh)
	tc := p.awaits(q, e.ord)
	tc.count++
	tc.bytes += int64(e.size)
	var b *body
	if stored != nil && stored.on(q.sh) {
		b = stored.add(q, e.ord)
		e.flags |= flagBody
	}
	t.scratch = appendEntry(t.scratch[:0], e, e.msg, b)
	p.batch.Set(p.entry(q.id, e.ord), t.scratch)
	q.pushLocked(*e)
}

func (q *Queue) pushLocked(e entry) {
	if q.far.gap.n > 0 {
		q.far.tail.push(e)
	} else {
		q.head.push(e)
	}
}

// tryNowLocked delivers a message that needs no disk straight from the
// publisher's buffer, if nothing stands before it and its only consumer has
// room. What a volatile queue has sent is never sent again, so the message is
// not kept.
func (q *Queue) tryNowLocked(t *Turn, m *Message, e *entry) bool {
	if len(q.consumers) != 1 || q.count-1 != q.unsettled {
		return false
	}
	if q.kind == KindGroup && !t.bus.unrestricted.Load() {
		return false // each member's rights are asked for
	}
	c := q.consumers[0]
	if q.kind == KindNamed && c.isSession() && (m.Syntax == SyntaxAMQP || !t.bus.unrestricted.Load()) {
		return false // whether its key is a topic is looked at, and whether it may have it
	}
	if c.paused || !c.creditLocked() || !q.spanLocked(t, c, e.ord) || !q.servesLocked(c) || q.outranked() {
		return false
	}
	if !c.offerLocked(t, m, e) {
		return false
	}
	q.cursor = e.ord + 1
	if e.state == entryGone { // at most once: nothing to wait for
		q.count--
		q.bytes -= int64(e.size)
		return true
	}
	if !q.volatile {
		e.msg = m.keep()
		e.msg.hold(t.bus)
	}
	q.pushLocked(*e)
	return true
}

// floorLocked is the ordinal below which entries neither expire nor drop: a
// session may have sent them, and the client may hold their packet id.
func (q *Queue) floorLocked() uint64 {
	if q.kind == KindSession {
		return q.disk.dupBelow
	}
	return 0
}

// removeLocked takes a live entry out of head for good, from memory and disk.
func (q *Queue) removeLocked(t *Turn, e *entry) {
	q.count--
	q.bytes -= int64(e.size)
	ord, flags, msg, failures := e.ord, e.flags, e.msg, e.failures()
	var tc *touch
	var p *part
	if flags&(flagDurable|flagStored|flagSpilling) != 0 {
		p = t.part(q.sh)
		tc = p.touch(q)
		if flags&flagDurable != 0 {
			tc.count--
			tc.bytes -= int64(e.size)
		}
	}
	first := q.head.at(0) == e
	q.head.markGone(e)
	if msg != nil {
		if flags&flagBody != 0 {
			msg.bodyOn(q.sh).unref(p)
		}
		msg.drop(t.bus)
	}
	if p == nil {
		if q.count == 0 && q.disk != noDisk {
			t.bus.janitor.visit(q) // dead records of others may be left
		}
		return
	}
	q.forgetFailuresLocked(p, ord, failures)
	low := q.lowestLocked()
	tc.head = low
	if !first {
		p.batch.Delete(p.entry(q.id, ord))
		return
	}
	// What lies below the lowest live entry is dead by the counters alone; the
	// records go in one range, once it is worth it.
	if low-q.disk.purgedTo >= purgeAfter {
		q.purgeLocked(p, low)
	} else if q.count == 0 {
		t.bus.janitor.visit(q)
	}
}

// leaveLocked takes a live entry out of head that goes to another queue in this
// turn. Its place is kept until the batch that has both is on disk: a later one
// might be there first, with a head beyond this entry, and a crash between the
// two would take the message from both queues.
func (q *Queue) leaveLocked(t *Turn, e *entry) {
	if e.flags&(flagDurable|flagStored|flagSpilling) == 0 {
		q.removeLocked(t, e)
		return
	}
	p := t.part(q.sh)
	tc := p.touch(q)
	q.count--
	q.bytes -= int64(e.size)
	if e.flags&flagDurable != 0 {
		tc.count--
		tc.bytes -= int64(e.size)
	}
	if e.flags&flagBody != 0 {
		e.msg.bodyOn(q.sh).unref(p)
	}
	ord := e.ord
	p.batch.Delete(p.entry(q.id, ord))
	q.forgetFailuresLocked(p, ord, e.failures())
	e.state, e.cons = entryLeaving, nil
	e.flags = flagPending // it is not to be paged out
	t.following().then(q.id, func(t *Turn) { q.left(t, ord) })
}

// left is called when an entry that was leaving has left on disk.
func (q *Queue) left(t *Turn, ord uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := &q.head
	e := r.find(ord)
	if e == nil {
		r = &q.far.tail
		e = r.find(ord)
	}
	if e == nil || e.state != entryLeaving {
		return // deleted with the queue
	}
	e.msg.drop(t.bus)
	r.markGone(e)
	if q.count == 0 {
		t.bus.janitor.visit(q)
	}
}

// purgeAfter is how many dead records gather before one range delete.
const purgeAfter = 1024

func (q *Queue) purgeLocked(p *part, low uint64) {
	q.deleteEntriesLocked(p, q.disk.purgedTo, low)
	q.needDisk().purgedTo = low
}

// lowestLocked is the lowest ordinal that may be alive.
func (q *Queue) lowestLocked() uint64 {
	switch {
	case q.head.n > 0:
		return q.head.at(0).ord
	case q.far.gap.n > 0:
		return q.far.gap.lo
	case q.far.tail.n > 0:
		return q.far.tail.at(0).ord
	}
	return q.next
}

// committed is called when the entries [lo, hi) of one turn are on disk.
func (q *Queue) committed(t *Turn, lo, hi uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.far.wake()
	if q.deleted {
		return
	}
	shown := false
	for ord := max(lo, q.lowestLocked()); ord < hi; ord++ {
		e := q.findLocked(ord)
		if e == nil && q.far.gap.has(ord) {
			continue // an earlier record of it was enough to leave memory
		}
		if e == nil || e.state >= entryLeaving {
			// Settled while its record was on the way: the delete may have been
			// handed over before the record was.
			t.part(q.sh).batch.Delete(entryKey(q.id, ord))
			if q.disk.failures {
				t.part(q.sh).batch.Delete(failuresKey(q.id, ord))
			}
			continue
		}
		shown = shown || e.flags&flagPending != 0
		e.flags = e.flags&^(flagPending|flagSpilling) | flagStored
	}
	if shown { // else there is nothing new: what came back may be too much, until there is more
		q.deliverLocked(t)
		q.dropExcessLocked(t)
		q.laneExcessLocked(t)
	}
	if t.bus.overBudget() {
		q.trimLocked(t)
	}
}

// findLocked returns the entry with this ordinal if it is in memory.
func (q *Queue) findLocked(ord uint64) *entry {
	if e := q.head.find(ord); e != nil {
		return e
	}
	return q.far.tail.find(ord)
}
