package core

import (
	"sync"
	"sync/atomic"
)

// A shard is the core's side of one Shard: the order in which batches are
// handed over, and the counters that follow that order.
type shard struct {
	index int
	store Shard
	bus   *Bus

	// seq orders the batches of all turns. It guards onDisk.counters of the queues
	// of this shard, retainedNode.seq and the way down of body.refs, which must
	// follow the order of the commits and not that in which turns changed memory. It
	// is held for adding up counters and handing over, with no other lock held.
	seq struct {
		sync.Mutex
		n       uint64 // batches so far
		scratch []byte
	}

	bodies struct {
		next     atomic.Uint64 // id of the next shared body
		orphaned atomic.Int64  // references given up without a count: work for the sweeper
		mu       sync.Mutex
		building map[uint64]struct{} // ids whose chunks are being written; guarded by mu
	}
}

// A part is what a turn changes in one shard.
type part struct {
	batch   Batch
	touches []touch
	late    []lateRetained
	unrefs  []*body // references given up
	told    bool    // somebody wants to know when it is durable
	key     [entryKeySize]byte
}

// entry is entryKey in memory that the next call overwrites. Batches copy.
func (p *part) entry(q, ord uint64) []byte {
	putEntryKey(&p.key, q, ord)
	return p.key[:]
}

// A touch is what a turn did to one queue: which of its entries wait for this
// commit, and by how much the queue's counters change. A turn may have several
// for one queue.
type touch struct {
	q      *Queue
	disk   *onDisk
	lo, hi uint64 // ordinals [lo, hi) are shown when the commit is done
	count  int64
	bytes  int64
	head   uint64 // no live entry is below, 0: no news
	sent   uint64 // see counters.sent
	setSnt bool
}

// touch returns the turn's record for q. The caller holds q.mu.
func (p *part) touch(q *Queue) *touch {
	if i := int(q.touchIndex); i < len(p.touches) && p.touches[i].q == q {
		return &p.touches[i]
	}
	return p.newTouch(q)
}

func (p *part) newTouch(q *Queue) *touch {
	q.touchIndex = int32(len(p.touches))
	p.touches = append(p.touches, touch{q: q, disk: q.needDisk()})
	return &p.touches[q.touchIndex]
}

// awaits notes that the entry with this ordinal changes when the commit is
// done. The caller holds q.mu.
func (p *part) awaits(q *Queue, ord uint64) *touch {
	p.told = true
	tc := p.touch(q)
	switch {
	case tc.lo == tc.hi:
		tc.lo, tc.hi = ord, ord+1
	case tc.hi == ord:
		tc.hi++
	default: // another turn's entries lie between
		tc = p.newTouch(q)
		tc.lo, tc.hi = ord, ord+1
	}
	return tc
}

// counters are the part of a queue's record that changes with every batch.
// They say what is durable, in the order of the commits.
type counters struct {
	head  uint64 // no live entry has a lower ordinal
	next  uint64 // no entry has this or a higher ordinal
	count int64
	bytes int64
	// sent: entries below may have been sent before, and carry DUP. All ones
	// while a consumer is connected, because then nobody knows.
	sent uint64

	batch uint64 // the last batch that this record was written to
}

// A commit follows the batches of one turn until all are durable.
type commit struct {
	bus  *Bus
	open atomic.Int32
	segs []*segment

	mu    sync.Mutex
	over  bool      // guarded by mu
	heirs []*commit // guarded by mu: they end no earlier than this one
	after []laned   // guarded by mu: to run afterwards
}

type laned struct {
	lane uint64
	f    func(*Turn)
}

// then runs f on the worker of the lane when the commit is over.
func (c *commit) then(lane uint64, f func(*Turn)) {
	c.mu.Lock()
	if !c.over {
		c.after = append(c.after, laned{lane, f})
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.bus.workerOf(lane).post(task{f: f})
}

// commitPart follows one batch.
type commitPart struct {
	bus     *Bus
	c       *commit
	touches []touch
	done    func(error)
}

var commitParts sync.Pool

func newCommitPart() *commitPart {
	if p, ok := commitParts.Get().(*commitPart); ok {
		return p
	}
	p := new(commitPart)
	p.done = p.finish
	return p
}

// following returns the commit that the present changes of the turn will
// follow, for those who want to wait for it.
func (t *Turn) following() *commit {
	if t.follower == nil {
		t.follower = &commit{bus: t.bus}
	}
	return t.follower
}

// await has the present replies of the turn wait for an earlier commit too.
func (t *Turn) await(c *commit) {
	if c == t.follower { // it is the turn's own
		t.promises++
		return
	}
	c.mu.Lock()
	over := c.over
	c.mu.Unlock()
	if !over {
		t.waitFor = append(t.waitFor, c)
	}
}

// isOver says whether everything the commit followed is durable.
func (c *commit) isOver() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// pending says whether there is something to commit.
func (t *Turn) pending() bool {
	for i := range t.parts {
		if t.parts[i].batch != nil {
			return true
		}
	}
	return len(t.segs) > 0 || len(t.submitted) > 0
}

// commit hands the turn's batches to their shards. It says whether there was
// anything to do.
func (t *Turn) commit() bool {
	if !t.pending() {
		return false
	}
	n := int32(0)
	for i := range t.parts {
		if t.parts[i].batch != nil {
			n++
		}
	}
	var c *commit
	if len(t.segs) > 0 || t.follower != nil {
		c = t.following()
		c.segs = append(c.segs, t.segs...)
		clear(t.segs)
		t.segs = t.segs[:0]
		t.follower = nil
		c.open.Store(n + int32(len(t.waitFor)) + 1)
		for i, w := range t.waitFor {
			w.mu.Lock()
			if w.over {
				c.open.Add(-1)
			} else {
				w.heirs = append(w.heirs, c)
			}
			w.mu.Unlock()
			t.waitFor[i] = nil
		}
		t.waitFor = t.waitFor[:0]
	}
	for i := range t.parts {
		if p := &t.parts[i]; p.batch != nil {
			t.bus.shards[i].commit(p, c)
		}
	}
	if c != nil {
		c.finishOne()
	}
	for i := 0; i < len(t.submitted); i++ {
		t.submitted[i]()
		t.submitted[i] = nil
	}
	t.submitted = t.submitted[:0]
	return true
}

// commit adds what must follow the order of the commits and hands the batch
// over.
func (s *shard) commit(p *part, c *commit) {
	var done func(error)
	if c != nil || p.told {
		cp := newCommitPart()
		cp.bus, cp.c = s.bus, c
		cp.touches = append(cp.touches[:0], p.touches...)
		done = cp.done
	}
	s.seq.Lock()
	s.seq.n++
	for i := range p.touches {
		tc := &p.touches[i]
		d := &tc.disk.counters
		d.count += tc.count
		d.bytes += tc.bytes
		d.head = max(d.head, tc.head)
		d.next = max(d.next, tc.hi)
		if tc.setSnt {
			d.sent = tc.sent
		}
	}
	for i := range p.touches {
		q, d := p.touches[i].q, &p.touches[i].disk.counters
		if d.batch != s.seq.n && !q.diskless.Load() {
			d.batch = s.seq.n
			s.seq.scratch = d.append(s.seq.scratch[:0])
			p.batch.Set(counterKey(q.id), s.seq.scratch)
		}
	}
	for i := range p.late {
		s.seq.scratch = p.late[i].write(p.batch, s.seq.scratch)
		p.late[i] = lateRetained{}
	}
	for _, b := range p.unrefs {
		b.release(p.batch)
	}
	s.store.Commit(p.batch, done)
	s.seq.Unlock()

	clear(p.touches)
	clear(p.unrefs)
	p.batch, p.touches, p.late, p.unrefs, p.told = nil, p.touches[:0], p.late[:0], p.unrefs[:0], false
}

// finish is called by the shard when a batch is durable.
func (cp *commitPart) finish(err error) {
	b, c := cp.bus, cp.c
	if err != nil {
		b.fail(err)
		return
	}
	for i := range cp.touches {
		tc := &cp.touches[i]
		if tc.lo != tc.hi {
			b.workerOf(tc.q.id).post(task{q: tc.q, lo: tc.lo, hi: tc.hi})
		}
	}
	clear(cp.touches)
	cp.c = nil
	commitParts.Put(cp)
	if c != nil {
		c.finishOne()
	}
}

func (c *commit) finishOne() {
	if c.open.Add(-1) != 0 {
		return
	}
	c.mu.Lock()
	c.over = true
	heirs, then := c.heirs, c.after
	c.heirs, c.after = nil, nil
	c.mu.Unlock()
	for _, s := range c.segs {
		c.bus.workerOf(s.gate.lane).post(task{seg: s})
	}
	c.segs = nil
	for _, l := range then {
		c.bus.workerOf(l.lane).post(task{f: l.f})
	}
	for _, h := range heirs {
		h.finishOne()
	}
}
