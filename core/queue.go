package core

import (
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
	// dead are the ordinals of entries that were settled before the gap was
	// opened over them: their records may be there still. It is never changed.
	dead []uint64
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
	e := entry{ord: q.next, size: uint32(len(m.Payload)), qos: qos, flags: extra, expires: m.Expires}
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
	if c.paused || !c.creditLocked() || !q.spanLocked(t, c, e.ord) || !q.servesLocked(c) {
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
	ord, flags, msg := e.ord, e.flags, e.msg
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
	p.batch.DeleteRange(entryKey(q.id, q.disk.purgedTo), entryKey(q.id, low))
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
	for ord := max(lo, q.lowestLocked()); ord < hi; ord++ {
		e := q.findLocked(ord)
		if e == nil || e.state >= entryLeaving {
			// Settled while its record was on the way: the delete may have been
			// handed over before the record was.
			t.part(q.sh).batch.Delete(entryKey(q.id, ord))
			continue
		}
		e.flags = e.flags&^(flagPending|flagSpilling) | flagStored
	}
	q.deliverLocked(t)
	q.dropExcessLocked(t)
	q.laneExcessLocked(t)
	if t.bus.overBudget() {
		q.trimLocked(t)
	}
}

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

// findLocked returns the entry with this ordinal if it is in memory.
func (q *Queue) findLocked(ord uint64) *entry {
	if e := q.head.find(ord); e != nil {
		return e
	}
	return q.far.tail.find(ord)
}

// ordHeap is a min-heap of ordinals that came back.
type ordHeap []uint64

func (h *ordHeap) push(v uint64) {
	*h = append(*h, v)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if s[up] <= s[i] {
			break
		}
		s[up], s[i] = s[i], s[up]
		i = up
	}
}

func (h *ordHeap) pop() {
	s := *h
	n := len(s) - 1
	s[0] = s[n]
	s = s[:n]
	for i := 0; ; {
		l := 2*i + 1
		if l >= n {
			break
		}
		if l+1 < n && s[l+1] < s[l] {
			l++
		}
		if s[i] <= s[l] {
			break
		}
		s[i], s[l] = s[l], s[i]
		i = l
	}
	*h = s
	if n == 0 {
		*h = nil
	}
}
