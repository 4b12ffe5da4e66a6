package core

import (
	"context"
	"fmt"
)

// A purge takes the messages out of a queue that were in it when it began and
// that nobody has been sent. What has been sent stays until it is settled, and
// with a session what may have been sent to a former connection: the client may
// hold its packet id, and at QoS 2 would take another message under that id for
// the same. What waits for its own commit was published at the same time, and
// stays too.
//
// It works in steps, so that a backlog of millions holds up nobody. First the
// gap is read from its front, and what must stay is moved to head; then head is
// gone through. Each step is on disk before the next: a new gap may be opened
// only when the records of what lay between what has stayed are gone.
type purge struct {
	q      *Queue
	end    uint64 // entries from here on came later
	at     uint64 // entries of head below have been looked at
	purged int64
}

// Purge empties a queue of what has not been sent, and returns how many messages
// that was. It waits until they are gone from disk.
func (b *Bus) Purge(ctx context.Context, q *Queue) (purged int64, err error) {
	q.eachLane(func(lane *Queue) bool {
		var n int64
		n, err = b.purge(ctx, lane)
		purged += n
		return err == nil
	})
	return purged, err
}

func (b *Bus) purge(ctx context.Context, q *Queue) (purged int64, err error) {
	// What has been acknowledged is on disk, but the queue may not know it yet.
	if err := b.durably(ctx, q.id, func(t *Turn) { t.part(q.sh) }); err != nil {
		return 0, err
	}
	p := purge{q: q}
	q.mu.Lock()
	p.end = q.next
	q.needFar().purging++
	q.mu.Unlock()
	defer func() {
		q.mu.Lock()
		q.far.purging--
		q.mu.Unlock()
	}()
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return p.purged, err
		}
		page, err := p.read()
		if err != nil {
			return p.purged, fmt.Errorf("purge queue %q: %w", q.name, err)
		}
		// Not to be given up in the middle: see above.
		whole := context.WithoutCancel(ctx)
		if err := b.durably(whole, q.id, func(t *Turn) { more = p.step(t, page) }); err != nil {
			return p.purged, err
		}
	}
	return p.purged, nil
}

const (
	purgePage  = 4096    // records of the gap in a step
	purgeBytes = 4 << 20 // of them
	purgeStep  = 4096    // entries of head in a step
)

// A purgePart is the front of the gap as it is on disk.
type purgePart struct {
	gap       gap    // as it was
	next      uint64 // the ordinal behind what was read
	exhausted bool   // it is all of the gap
	stay      []entry
	ranges    [][2]uint64 // ordinals [lo, hi) that go, with nothing between that stays
	gone      tally       // of what goes
	bodies    int64       // of them refer to a payload stored apart
	bad       error
}

// A tally counts entries as the gap does, and the durable ones of them.
type tally struct{ n, bytes, durable, durableBytes int64 }

func (c *tally) add(e *entry) {
	c.n++
	c.bytes += int64(e.size)
	if e.flags&flagDurable != 0 {
		c.durable++
		c.durableBytes += int64(e.size)
	}
}

// read looks at the front of the gap, with no lock held. It returns nil if there
// is no gap.
func (p *purge) read() (*purgePart, error) {
	q := p.q
	q.mu.Lock()
	g, floor, boot := q.far.gap, q.floorLocked(), q.disk.bootNext
	none := g.n == 0 || q.deleted
	q.mu.Unlock()
	if none {
		return nil, nil
	}
	pp := &purgePart{gap: g, next: g.hi, exhausted: true}
	n, size := 0, 0
	open := false // the last range may grow
	err := q.sh.store.Scan(entryKey(q.id, g.lo), entryKey(q.id, g.hi), func(k, v []byte) bool {
		ord := ordinalOf(k)
		if n >= purgePage || size >= purgeBytes {
			pp.next, pp.exhausted = ord, false
			return false
		}
		n++
		size += len(v)
		if g.settled(ord) {
			return true
		}
		e, err := q.decodeEntry(ord, v)
		dead := err == nil && e.flags&flagDurable == 0 && ord < boot // spilled in a former life
		stays := err == nil && !dead && q.kind == KindSession &&
			(ord < floor || ord >= p.end || e.flags&flagMoved != 0 || e.state == entryReceived)
		switch {
		case err != nil:
			pp.bad = fmt.Errorf("entry %d: %w", ord, err)
		case stays:
			size += int(e.size)
			e.flags |= flagStored
			pp.stay = append(pp.stay, e)
			open = false
			return true
		case !dead:
			pp.gone.add(&e)
			if e.flags&flagBody != 0 {
				pp.bodies++
			}
		}
		if !open {
			pp.ranges = append(pp.ranges, [2]uint64{ord, ord})
			open = true
		}
		pp.ranges[len(pp.ranges)-1][1] = ord + 1
		return true
	})
	if err == nil {
		err = q.loadBodies(pp.stay, &pp.bad)
	}
	return pp, err
}

// step does one step, and says whether another is due.
func (p *purge) step(t *Turn, pp *purgePart) (more bool) {
	q := p.q
	if pp != nil && pp.bad != nil {
		t.Event(StoreDamaged{Queue: q.name, Err: pp.bad})
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.deleted:
		return false
	case pp != nil:
		if q.far.gap.lo == pp.gap.lo && q.far.gap.n == pp.gap.n { // nobody has read from it meanwhile
			p.gapLocked(t, pp)
		}
		more = true
	case q.far.gap.n > 0:
		return true
	default:
		more = p.headLocked(t)
	}
	q.deliverLocked(t)
	return more
}

// gapLocked takes away the front of the gap.
func (p *purge) gapLocked(t *Turn, pp *purgePart) {
	q := p.q
	g := &q.far.gap
	q.far.generation++
	p.purged += pp.gone.n
	away := pp.gone
	for i := range pp.stay {
		e := &pp.stay[i]
		if e.msg == nil && e.state == entryReady {
			continue // damaged: it is counted below, when the gap is at its end
		}
		g.n--
		g.bytes -= int64(e.size)
		if e.msg != nil {
			e.msg.hold(t.bus)
		}
		q.head.push(*e)
	}
	g.n -= away.n
	g.bytes -= away.bytes
	if pp.exhausted || g.n <= 0 {
		// Where the counters disagree with the records, the records are right.
		away.n += g.n
		away.bytes += g.bytes
		away.durable += g.n
		away.durableBytes += g.bytes
		*g = gap{}
		q.joinLocked()
	} else {
		g.lo = pp.next
	}
	q.count -= away.n
	q.bytes -= away.bytes
	q.sh.bodies.orphaned.Add(pp.bodies)
	part := t.part(q.sh)
	tc := part.touch(q)
	tc.count -= away.durable
	tc.bytes -= away.durableBytes
	tc.head = q.lowestLocked()
	for _, r := range pp.ranges {
		q.deleteEntriesLocked(part, r[0], r[1])
	}
}

// headLocked takes away the next entries of head. It says whether there may be
// more.
func (p *purge) headLocked(t *Turn) bool {
	q := p.q
	i := q.head.index(max(p.at, q.floorLocked()))
	for n := 0; i < q.head.n; {
		e := q.head.at(i)
		switch {
		case e.ord >= p.end:
			return false
		case e.state != entryReady || e.flags&(flagPending|flagMoved) != 0:
			i++
			continue
		case n == purgeStep:
			return true
		}
		n++
		p.purged++
		p.at = e.ord + 1
		q.removeLocked(t, e)
		i = q.head.index(p.at)
	}
	return false
}
