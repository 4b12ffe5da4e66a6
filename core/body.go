package core

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
)

const (
	// A payload from this size on that goes to several durable queues of one
	// shard is stored once.
	sharedBodySize = 256
	// Payloads are cut into chunks of this size where they are stored apart.
	bodyChunk = 256 << 10
)

// A body is a payload that is stored apart, once for the entries of several
// durable queues of one shard. Entries that are settled while the message is in
// memory count it down and the last one deletes it. An entry that left memory
// leaves the count behind, which means nothing from then on: the sweeper finds
// such bodies by the list of entries that each carries (see sweepBodies).
type body struct {
	shard     *shard
	id        uint64
	refs      atomic.Int32
	uncounted atomic.Bool // an entry has left memory, or this was read back from disk
	next      *body       // of the same payload in another shard
}

// bodyOn returns the body that entries on this shard refer to.
func (m *Message) bodyOn(s *shard) *body {
	b := m.body
	for b.shard != s {
		b = b.next
	}
	return b
}

// unref gives up one durable entry's reference, in this batch.
func (b *body) unref(p *part) { p.unrefs = append(p.unrefs, b) }

// release is unref when the order of the commits is known. The batch that comes last
// deletes the body: were it the turn that changed memory last, a crash could find the
// body gone and an entry still there, of which another batch was to make something
// else.
func (b *body) release(batch Batch) {
	if b.uncounted.Load() {
		b.shard.bodies.orphaned.Add(1)
		return
	}
	if b.refs.Add(-1) == 0 {
		batch.DeleteRange(idKey(keyBody, b.id), idKey(keyBody, b.id+1))
	}
}

// A sharedBody is a payload on its way to durable queues: the entries are added
// first, then what is not written yet of the body, beside them in the same
// batch.
type sharedBody struct {
	body
	list    []byte // queue and ordinal of each entry
	chunks  uint32 // written so far
	written int    // bytes of payload in them
	early   bool   // begun before the message was complete
	used    bool   // an entry refers to it
}

func (s *shard) newSharedBody() *sharedBody {
	sb := &sharedBody{}
	sb.shard, sb.id = s, s.bodies.next.Add(1)
	// The publisher's own reference, until the list is complete: a queue that
	// goes meanwhile must not take the body from those that follow.
	sb.refs.Store(1)
	return sb
}

func (sb *sharedBody) on(s *shard) bool { return sb.shard == s }

// add notes an entry that refers to the body.
func (sb *sharedBody) add(q *Queue, ord uint64) *body {
	sb.used = true
	sb.refs.Add(1)
	sb.list = binary.AppendUvarint(sb.list, q.id)
	sb.list = binary.AppendUvarint(sb.list, ord)
	return &sb.body
}

// write puts the list and the payload into the batch, if any entry refers to
// it.
func (sb *sharedBody) write(t *Turn, payload []byte) {
	if len(sb.list) == 0 {
		return
	}
	t.part(sb.shard).batch.Set(bodyKey(sb.id, 0), sb.list)
	sb.list = nil
	for sb.written < len(payload) {
		sb.chunk(t, payload[sb.written:min(len(payload), sb.written+bodyChunk)])
	}
	if sb.early {
		// The list is not to be seen before the commit, and what has none would
		// be swept.
		s := sb.shard
		t.following().then(sb.id, func(*Turn) { s.setBuilding(sb.id, false) })
	}
	sb.unref(t.part(sb.shard)) // behind the list and the chunks in the batch
}

// chunk writes the next bytes of the payload.
func (sb *sharedBody) chunk(t *Turn, b []byte) {
	sb.chunks++
	sb.written += len(b)
	t.promise(sb.shard).batch.Set(bodyKey(sb.id, sb.chunks), b)
}

// A BodyWriter stores the payload of a large message while it is still
// arriving, so that its commit is spread over the time it takes to arrive and
// does not stand in the way of others.
type BodyWriter struct {
	bodies []*sharedBody // by shard; nil where nothing durable is led to
}

// StoreBody begins to store a large message of which only the address, QoS and
// the like are known. It asks for the right to publish as Publish does, and
// returns nil if no durable queue is led to now.
func (p *Publisher) StoreBody(t *Turn, m *Message) (*BodyWriter, Wait, error) {
	if !p.internal && t.bus.alarms.active.Load() != 0 {
		return nil, t.bus.alarms.wait, nil
	}
	r, wait, err := p.route(t, m)
	if wait != nil || err != nil || len(t.bus.interceptors) > 0 { // who may change the payload
		return nil, wait, err
	}
	var w *BodyWriter
	for i := range r.targets {
		s := r.targets[i].q.sh
		if !r.targets[i].storesApart() || w != nil && w.bodies[s.index] != nil {
			continue
		}
		if w == nil {
			w = &BodyWriter{bodies: make([]*sharedBody, len(t.bus.shards))}
		}
		sb := s.newSharedBody()
		sb.early = true
		s.setBuilding(sb.id, true)
		w.bodies[s.index] = sb
	}
	return w, nil, nil
}

// ChunkSize is how many bytes of payload are worth a call of Write.
const ChunkSize = bodyChunk

// Write stores what has arrived, in whole chunks. payload is all there is so
// far. It returns how many bytes it has stored now.
func (w *BodyWriter) Write(t *Turn, payload []byte) (stored int) {
	for _, sb := range w.bodies {
		for sb != nil && len(payload)-sb.written >= bodyChunk {
			sb.chunk(t, payload[sb.written:sb.written+bodyChunk])
			stored += bodyChunk
		}
	}
	return stored
}

// of returns the body that has been begun in a shard, nil if there is none.
func (w *BodyWriter) of(s *shard) *sharedBody {
	if w == nil {
		return nil
	}
	return w.bodies[s.index]
}

// abortUnused removes what has been stored for queues that are gone, or that
// refused the message.
func (w *BodyWriter) abortUnused(t *Turn) {
	if w == nil {
		return
	}
	for i, sb := range w.bodies {
		if sb != nil && sb.used {
			w.bodies[i] = nil
		}
	}
	w.Abort(t)
}

// Abort removes what has been stored of a message that will not be complete, or
// was not published after all.
func (w *BodyWriter) Abort(t *Turn) {
	for _, sb := range w.bodies {
		if sb == nil {
			continue
		}
		t.part(sb.shard).batch.DeleteRange(idKey(keyBody, sb.id), idKey(keyBody, sb.id+1))
		sb.shard.setBuilding(sb.id, false)
	}
}

// loadBody reads the payload of an entry whose body is stored apart. It returns
// errRecord if there is not what the entry says.
func (s *shard) loadBody(e *entry) error {
	m := e.msg
	if m == nil || m.body == nil || m.Payload != nil {
		return nil
	}
	var payload []byte
	err := s.store.Scan(bodyKey(m.body.id, 1), idKey(keyBody, m.body.id+1), func(_, v []byte) bool {
		payload = append(payload, v...)
		return true
	})
	if err != nil {
		return fmt.Errorf("read body %d: %w", m.body.id, err)
	}
	if len(payload) != int(e.size) {
		return fmt.Errorf("%w: body %d has %d bytes of %d", errRecord, m.body.id, len(payload), e.size)
	}
	m.Payload = payload
	return nil
}

// sweepBodies deletes the bodies that no live entry refers to. It looks at
// each body's list and stops at the first entry that lives.
func (s *shard) sweepBodies(t *Turn) error {
	if s.bodies.orphaned.Swap(0) == 0 {
		return nil
	}
	known := s.bus.snapshotQueues()
	lo, hi := kindRange(keyBody)
	for {
		var id uint64
		var list []byte
		err := s.store.Scan(lo, hi, func(k, v []byte) bool {
			id = queueOf(k)
			list = nil
			if len(k) == 13 && binary.BigEndian.Uint32(k[9:]) == 0 {
				list = append(list, v...)
			}
			return false
		})
		if err != nil {
			return fmt.Errorf("sweep bodies: %w", err)
		}
		if id == 0 {
			return nil
		}
		lo = idKey(keyBody, id+1)
		if s.isBuilding(id) {
			id = 0
			continue
		}
		if list == nil { // it may have been completed since the scan
			if _, err := s.store.Get(bodyKey(id, 0), func(v []byte) { list = append(list, v...) }); err != nil {
				return fmt.Errorf("sweep bodies: %w", err)
			}
		}
		live, err := s.anyLive(known, list)
		if err != nil {
			return err
		}
		if !live {
			t.part(s).batch.DeleteRange(idKey(keyBody, id), lo)
			if t.parts[s.index].batch.Len() >= 1024 {
				t.Flush()
			}
		}
	}
}

func (s *shard) setBuilding(id uint64, on bool) {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	if !on {
		delete(s.bodies.building, id)
		return
	}
	if s.bodies.building == nil {
		s.bodies.building = make(map[uint64]struct{})
	}
	s.bodies.building[id] = struct{}{}
}

func (s *shard) isBuilding(id uint64) bool {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	_, ok := s.bodies.building[id]
	return ok
}

// anyLive says whether one of the listed entries is alive.
func (s *shard) anyLive(known *queueSnapshot, list []byte) (bool, error) {
	r := reader{b: list}
	for len(r.b) > 0 {
		qid, ord := r.uint(), r.uint()
		if r.err != nil {
			return true, r.err // never delete what cannot be read
		}
		q := known.queues[qid]
		switch {
		case q == nil && qid > known.newest:
			return true, nil // made since
		case q == nil:
			continue
		}
		live, sure := q.lives(ord)
		if !sure {
			var err error
			received := false
			live, err = s.store.Get(entryKey(qid, ord), func(v []byte) { received = len(v) > 0 && v[0] == formReceived })
			if err != nil {
				return true, err
			}
			live = live && !received // which needs the payload no more
		}
		if live {
			return true, nil
		}
	}
	return false, nil
}

// lives says whether an entry is alive, if memory can tell.
func (q *Queue) lives(ord uint64) (live, known bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.deleted || ord < q.lowestLocked():
		return false, true
	case q.far.gap.n > 0 && ord >= q.far.gap.lo && ord < q.far.gap.hi:
		return false, false
	}
	e := q.findLocked(ord)
	return e != nil && e.state != entryGone && e.state != entryReceived, true
}
