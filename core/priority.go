package core

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A queue with priorities is several queues, its lanes, one for each priority
// that has been used; the queue itself is the lane of priority 0. Each lane is a
// whole queue, with order, records and backlog of its own, so that a message of a
// high priority is found however many of a low one lie on disk. A consumer of
// the queue consumes from all lanes, with one credit; when it has room the
// highest lane is asked first.
type lanes struct {
	mu     sync.Mutex                 // before the lock of any lane; guards what follows, and who consumes from which lane
	list   []*Queue                   // by priority; nil for one that has not been used
	active atomic.Pointer[laneCredit] // of SingleActive: who is served, on all lanes
	// snapshot is list, for those who must not wait.
	snapshot atomic.Pointer[[]*Queue]
}

// laneCredit is what the consumers of one client on several lanes share.
type laneCredit struct {
	root  *Consumer
	used  atomic.Int32
	due   atomic.Bool // resumeLanes will run
	lanes []*Consumer // guarded by lanes.mu: but that of the queue itself
	over  bool        // guarded by lanes.mu: no lane is added any more
	// others is, of one that gets, how many messages wait in other lanes.
	others int64
}

func (k *laneCredit) elsewhere() int64 {
	if k == nil {
		return 0
	}
	return k.others
}

// take takes one of the limit, if there is one left.
func (k *laneCredit) take(limit int32) bool {
	for {
		n := k.used.Load()
		if limit != 0 && n >= limit {
			return false
		}
		if k.used.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// resumeLater asks the lanes for more at the end of the turn, once.
func (k *laneCredit) resumeLater(t *Turn) {
	if !k.due.Swap(true) {
		t.Do(k.root.resumeLanes)
	}
}

func (n *named) initLanes(q *Queue) {
	if n.opt.MaxPriority > 0 {
		n.lanes = &lanes{list: make([]*Queue, int(n.opt.MaxPriority)+1)}
		n.lanes.list[0] = q
		n.lanes.publish()
	}
}

func (l *lanes) publish() {
	list := slices.Clone(l.list)
	l.snapshot.Store(&list)
}

// each calls f for the lanes that there are, highest first, until it returns
// false.
func (q *Queue) eachLane(f func(*Queue) bool) {
	if q.named == nil || q.named.lanes == nil {
		f(q)
		return
	}
	for _, lane := range slices.Backward(*q.named.lanes.snapshot.Load()) {
		if lane != nil && !f(lane) {
			return
		}
	}
}

// lane returns the lane for a message, and makes it if it is the first of its
// priority.
func (q *Queue) lane(t *Turn, m *Message) *Queue {
	l := q.named.lanes
	p := min(int(m.Priority), len(l.list)-1)
	if lane := (*l.snapshot.Load())[p]; lane != nil {
		return lane
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list[p] != nil {
		return l.list[p]
	}
	q.mu.Lock()
	deleted, consumers := q.deleted, slices.Clone(q.consumers)
	q.mu.Unlock()
	if deleted {
		return q
	}
	o := q.named.opt
	o.lane = uint8(p)
	lane := q.newLane(o)
	for _, c := range consumers {
		if c.credit.over {
			continue
		}
		k := c.onLane(lane)
		lane.consumers = append(lane.consumers, k)
	}
	lane.named.consumed, lane.named.ranked = true, q.named.ranked
	if q.durable {
		lane.handOver(t, o)
	}
	l.list[p] = lane
	l.publish()
	lane.applyPolicies() // others may have come before SetPolicies could find it
	return lane
}

// newLane makes a lane, which nobody finds by name.
func (q *Queue) newLane(o QueueOptions) *Queue {
	lane := &Queue{}
	q.vh.initQueue(lane, KindNamed, q.name, q.durable)
	lane.setLane(q, o)
	return lane
}

// setLane makes q a lane of root. What is about all lanes together is root's.
func (q *Queue) setLane(root *Queue, o QueueOptions) {
	o.AutoDelete = false
	n := &named{opt: o, root: root}
	n.expiry.Owner, n.disuse.Owner = (*expiryOf)(q), (*disuseOf)(q)
	q.named = n
	e := q.vh.bus.Policies().ForQueue(q.vh.name, q.name, o.Quorum)
	n.inForce(q, e.MergeQueue(o))
}

// onLane returns the consumer that c is on a lane. The caller holds lanes.mu.
func (c *Consumer) onLane(lane *Queue) *Consumer {
	k := &Consumer{q: lane, sink: c.sink, opt: c.opt, credit: c.credit, stopped: c.stopped}
	c.credit.lanes = append(c.credit.lanes, k)
	return k
}

// attachLanes has a consumer that the queue has admitted consume from the other
// lanes too. Nothing is delivered yet. The caller holds lanes.mu.
func (q *Queue) attachLanes(c *Consumer) {
	for _, lane := range q.named.lanes.list {
		if lane == nil || lane == q {
			continue
		}
		k := c.onLane(lane)
		lane.mu.Lock()
		lane.attachLocked(k)
		lane.mu.Unlock()
	}
}

// eachLane calls f for the consumer on every lane, highest first. last says that
// there are to be no more lanes.
func (c *Consumer) eachLane(last bool, f func(*Consumer)) {
	k := c.credit
	l := k.root.q.named.lanes
	l.mu.Lock()
	all := slices.Clone(k.lanes)
	k.over = k.over || last
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b *Consumer) int { return int(b.q.named.opt.lane) - int(a.q.named.opt.lane) })
	for _, o := range all {
		f(o)
	}
	f(k.root)
}

// getLanes is Get for a queue with priorities.
func (c *Consumer) getLanes(t *Turn) (got bool, w Wait) {
	c.q.Touch(t)
	ready, _ := c.q.waiting()
	c.q.eachLane(func(lane *Queue) bool {
		k := c.getterOn(lane)
		lane.mu.Lock()
		c.credit.others = ready - (lane.count - lane.unsettled)
		lane.mu.Unlock()
		got, w = k.get(t)
		return !got && w == nil
	})
	return got, w
}

func (c *Consumer) getterOn(lane *Queue) *Consumer {
	if lane == c.q {
		return c
	}
	l := c.q.named.lanes
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range c.credit.lanes {
		if k.q == lane {
			return k
		}
	}
	return c.onLane(lane)
}

// resumeLanes asks the lanes for more, highest first.
func (c *Consumer) resumeLanes(t *Turn) {
	c.credit.due.Store(false)
	c.eachLane(false, func(k *Consumer) {
		k.q.mu.Lock()
		k.paused = false
		k.q.deliverLocked(t)
		k.q.mu.Unlock()
	})
}

// fetchLocked notes that a lane has nothing for its consumers until more is read.
func (q *Queue) fetchLocked() {
	if n := q.named; n != nil && (n.lanes != nil || n.root != nil) {
		n.fetching.Store(true)
	}
}

// outranked says whether a lane of a higher priority is reading what is to go
// first. When it has, the consumers are asked again.
func (q *Queue) outranked() bool {
	n := q.named
	if n == nil || n.lanes == nil && n.root == nil {
		return false
	}
	root := n
	if n.root != nil {
		root = n.root.named
	}
	return slices.ContainsFunc((*root.lanes.snapshot.Load())[n.opt.lane+1:], func(higher *Queue) bool {
		return higher != nil && higher.named.fetching.Load()
	})
}

// deliverFetchedLocked delivers what has been read, and after that what lower
// lanes have.
func (q *Queue) deliverFetchedLocked(t *Turn) {
	n := q.named
	fetched := n != nil && n.fetching.Swap(false)
	q.deliverLocked(t)
	switch {
	case !fetched || n.fetching.Load():
	case n.root != nil:
		t.Do(n.root.deliverLanes)
	default:
		t.Do(q.deliverLanes)
	}
}

// deliverLanes has all lanes deliver, highest first.
func (q *Queue) deliverLanes(t *Turn) {
	q.eachLane(func(lane *Queue) bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		lane.deliverLocked(t)
		return true
	})
}

// tooMany drops what is too much in all lanes together, of the lowest priority
// first.
func (q *Queue) tooMany(t *Turn) {
	q.mu.Lock()
	l := q.limits.value()
	q.mu.Unlock()
	if l.Overflow != DropHead || l.MaxLength == 0 && l.MaxBytes == 0 {
		return
	}
	for {
		ready, bytes := q.waiting()
		if ready == 0 || !l.exceeded(ready, bytes) {
			return
		}
		if q.expireLanes(t) {
			continue
		}
		dropped := false
		for _, lane := range *q.named.lanes.snapshot.Load() {
			if lane == nil {
				continue
			}
			lane.mu.Lock()
			some := lane.count > lane.unsettled
			dropped = some && lane.dropHeadLocked(t)
			lane.mu.Unlock()
			if some { // what cannot be dropped yet goes before any of a higher lane
				break
			}
		}
		if !dropped {
			return
		}
	}
}

// expireLanes removes what has expired at the heads of the lanes: the room it
// takes must not cost one that lives. It says whether there was anything.
func (q *Queue) expireLanes(t *Turn) (some bool) {
	q.eachLane(func(lane *Queue) bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		ready := lane.count - lane.unsettled
		lane.expireLocked(t)
		some = some || lane.count-lane.unsettled != ready
		return true
	})
	return some
}

// waiting is what waits in all lanes.
func (q *Queue) waiting() (ready, bytes int64) {
	q.eachLane(func(lane *Queue) bool {
		lane.mu.Lock()
		ready += lane.count - lane.unsettled
		bytes += lane.readyBytesLocked()
		lane.mu.Unlock()
		return true
	})
	return ready, bytes
}
