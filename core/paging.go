package core

import (
	"errors"
	"fmt"
)

const (
	// A fill reads this many entries or bytes from the gap at a time.
	fillEntries = 256
	fillBytes   = 1 << 20
	// When fewer entries than this wait in memory, the next are read.
	lowWater = 32
	// Under memory pressure a queue with consumers keeps this many entries in
	// memory ahead of the cursor; one without keeps none.
	keepAhead = 64
	// A transient entry is spilled at most this many at a time.
	spillEntries = 1024
)

// trimLocked takes messages out of memory: those behind the next few become
// part of the gap, if their records are on disk; transient ones are written
// there first.
func (q *Queue) trimLocked(t *Turn) {
	if q.deleted || q.far.purging > 0 || q.named != nil && q.named.limbo > 0 {
		return
	}
	if q.far.gap.n == 0 {
		q.openGapLocked(t)
		return
	}
	// The committed front of the tail joins the gap.
	for q.far.tail.n > 0 {
		e := q.far.tail.at(0)
		if e.state != entryGone {
			if e.flags&(flagStored|flagSpilling) != flagStored {
				break
			}
			q.far.gap.join(e)
			q.letGoLocked(t, e)
		}
		q.far.tail.pop()
	}
	q.spillLocked(t, &q.far.tail, 0)
}

// openGapLocked splits head: what is to be sent soon stays, what waits for its
// commit becomes the tail, and the gap lies between.
func (q *Queue) openGapLocked(t *Turn) {
	from := 0
	if len(q.consumers) > 0 || q.unsettled > 0 { // one that has stopped may have some
		from = max(q.head.index(q.cursor)+keepAhead, q.head.index(q.sentTo))
	}
	from = min(from, q.head.n)
	n := from
	for n < q.head.n {
		e := q.head.at(n)
		if e.state != entryGone && e.flags&(flagStored|flagSpilling) != flagStored {
			break
		}
		n++
	}
	if n-from < keepAhead && n < q.head.n {
		q.spillLocked(t, &q.head, from)
		return
	}
	if n == from {
		return
	}
	q.needFar()
	if from == 0 {
		q.far.back, q.cursor = nil, q.head.at(0).ord
		q.needDisk().dupBelow = max(q.disk.dupBelow, q.sentTo)
	}
	for i := n; i < q.head.n; i++ {
		if e := q.head.at(i); e.state != entryGone {
			q.far.tail.push(*e)
		}
	}
	lo := q.head.at(from).ord
	q.far.gap = gap{lo: lo, hi: lo}
	for i := from; i < n; i++ { // what is missing between has been settled
		if e := q.head.at(i); e.state != entryGone {
			q.far.gap.join(e)
			q.letGoLocked(t, e)
		}
	}
	q.head.truncate(from)
	if q.far.gap.n == 0 {
		q.joinLocked()
	}
}

// letGoLocked drops the message of an entry that leaves memory.
func (q *Queue) letGoLocked(t *Turn, e *entry) {
	if e.msg == nil {
		return
	}
	if e.flags&flagBody != 0 {
		e.msg.bodyOn(q.sh).uncounted.Store(true) // its count leaves memory with it
		q.sh.bodies.orphaned.Add(1)
	}
	e.msg.drop(t.bus)
	e.msg = nil
}

// spillLocked writes transient entries to disk, so that they can leave memory
// when that is done. Nobody waits for it, and a restart forgets them.
func (q *Queue) spillLocked(t *Turn, r *ring, from int) {
	n := 0
	q.needFar()
	for i := max(from, r.index(q.far.spillTo)); i < r.n && n < spillEntries; i++ {
		e := r.at(i)
		q.far.spillTo = e.ord + 1
		if e.state != entryReady || e.msg == nil || e.flags&(flagStored|flagPending|flagSpilling) != 0 {
			continue
		}
		e.flags |= flagSpilling
		q.spilled = true
		p := t.part(q.sh)
		p.awaits(q, e.ord)
		t.scratch = appendEntry(t.scratch[:0], e, e.msg, nil)
		p.batch.Set(p.entry(q.id, e.ord), t.scratch)
		if q.named != nil {
			q.writeFailuresLocked(t, e)
		}
		n++
	}
}

// joinLocked makes the tail part of head, when no gap is between.
func (q *Queue) joinLocked() {
	if q.head.n == 0 {
		q.head, q.far.tail = q.far.tail, ring{}
		return
	}
	for i := 0; i < q.far.tail.n; i++ {
		if e := q.far.tail.at(i); e.state != entryGone {
			q.head.push(*e)
		}
	}
	q.far.tail.truncate(0)
}

// loadLocked has a worker read the next entries from the gap.
func (q *Queue) loadLocked(t *Turn) {
	if q.far.loading || q.deleted {
		return
	}
	q.far.loading = true
	gap, gen, failures := q.far.gap, q.far.generation, q.disk.failures
	entries, size := fillEntries, fillBytes
	if t.bus.overBudget() { // many queues may be reading
		entries, size = lowWater, fillBytes/16
	}
	t.bus.workerOf(q.id).post(task{f: func(t *Turn) { q.fill(t, gap, gen, failures, entries, size) }})
}

// fill reads entries from disk and appends them to head. gap is as it was when
// that was asked for; a tail that was trimmed since only makes it longer.
func (q *Queue) fill(t *Turn, gap gap, gen uint32, failures bool, maxEntries, maxSize int) {
	loaded, exhausted, bad, err := q.readGap(gap, maxEntries, maxSize)
	if err == nil && failures {
		err = q.loadFailures(loaded)
	}
	if err != nil {
		t.bus.fail(fmt.Errorf("read queue %q: %w", q.name, err))
		return
	}
	if bad != nil {
		t.Event(StoreDamaged{Queue: q.name, Err: bad})
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	q.far.loading = false
	q.far.wake()
	if q.deleted {
		return
	}
	if q.far.generation != gen { // purged meanwhile: whoever wants more asks again
		q.deliverFetchedLocked(t)
		return
	}
	var over []uint64 // received by a client whose session ended with a former life
	for i := range loaded {
		e := &loaded[i]
		if e.flags&flagDurable == 0 && e.ord < q.disk.bootNext {
			continue // spilled in a former life: transient messages do not survive
		}
		if e.msg == nil && e.state == entryReady {
			continue // damaged
		}
		if e.msg != nil {
			e.msg.hold(t.bus)
		}
		q.far.gap.n--
		q.far.gap.bytes -= int64(e.size)
		q.head.push(*e)
		if e.state == entryReceived && q.kind != KindSession {
			over = append(over, e.ord)
		}
	}
	switch {
	case !exhausted:
		q.far.gap.lo = loaded[len(loaded)-1].ord + 1
	case gap.hi < q.far.gap.hi: // the tail was trimmed meanwhile
		q.far.gap.lo = gap.hi
	default:
		if q.far.gap.n != 0 { // the counters disagree with the records: the records are right
			tc := t.part(q.sh).touch(q)
			tc.count -= q.far.gap.n
			tc.bytes -= q.far.gap.bytes
			q.count -= q.far.gap.n
			q.bytes -= q.far.gap.bytes
			q.far.gap.n, q.far.gap.bytes = 0, 0
		}
	}
	more := !exhausted || gap.hi < q.far.gap.hi
	if more && q.far.gap.n < 1 {
		// The counters know of fewer than there are: the records are right, and
		// the end of the gap must not be hidden by them.
		q.count += 1 - q.far.gap.n
		q.far.gap.n = 1
	}
	if !more {
		q.far.gap.n, q.far.gap.bytes = 0, 0
		q.joinLocked()
	}
	for _, ord := range over {
		q.removeLocked(t, q.head.find(ord))
	}
	q.deliverFetchedLocked(t)
	q.dropExcessLocked(t)
	q.laneExcessLocked(t)
	if q.named != nil {
		q.expireLocked(t)
	}
}

// readGap reads the first entries of a gap, with no lock held. bad is what could
// not be read, and was left out.
func (q *Queue) readGap(gap gap, maxEntries, maxSize int) (loaded []entry, exhausted bool, bad, err error) {
	var size int
	exhausted = true
	err = q.sh.store.Scan(entryKey(q.id, gap.lo), entryKey(q.id, gap.hi), func(k, v []byte) bool {
		if len(loaded) >= maxEntries || size >= maxSize {
			exhausted = false
			return false
		}
		if gap.settled(ordinalOf(k)) {
			return true
		}
		e, err := q.decodeEntry(ordinalOf(k), v)
		if err != nil {
			bad = fmt.Errorf("entry %d: %w", ordinalOf(k), err)
			return true
		}
		e.flags |= flagStored
		loaded = append(loaded, e)
		size += max(len(v), int(e.size))
		return true
	})
	if err == nil { // outside the scan
		err = q.loadBodies(loaded, &bad)
	}
	return loaded, exhausted, bad, err
}

// loadBodies reads the payloads that are stored apart. An entry whose payload is
// not what its record says is told of by bad, and left without a message.
func (q *Queue) loadBodies(entries []entry, bad *error) error {
	for i := range entries {
		e := &entries[i]
		err := q.sh.loadBody(e)
		if errors.Is(err, errRecord) {
			*bad, err = fmt.Errorf("entry %d: %w", e.ord, err), nil
			e.msg = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}
