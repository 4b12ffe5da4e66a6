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
// leaves the count behind: the sweeper finds such bodies by the list of entries
// that each carries (see sweepBodies).
type body struct {
	shard   *shard
	id      uint64
	refs    atomic.Int32
	foreign bool  // read back from disk: not counted
	next    *body // of the same payload in another shard
}

// bodyOn returns the body that entries on this shard refer to.
func (m *Message) bodyOn(s *shard) *body {
	b := m.body
	for b.shard != s {
		b = b.next
	}
	return b
}

// unref gives up one durable entry's reference.
func (b *body) unref(p *part) {
	if b.foreign {
		b.shard.bodies.orphaned.Add(1)
		return
	}
	if b.refs.Add(-1) == 0 {
		p.batch.DeleteRange(idKey(keyBody, b.id), idKey(keyBody, b.id+1))
	}
}

// A sharedBody is a payload on its way to several durable queues: the entries
// are added first, then the body is written beside them in the same batch.
type sharedBody struct {
	body
	list []byte // queue and ordinal of each entry
}

func (s *shard) newSharedBody() *sharedBody {
	sb := &sharedBody{}
	sb.shard, sb.id = s, s.bodies.next.Add(1)
	return sb
}

func (sb *sharedBody) on(s *shard) bool { return sb.shard == s }

// add notes an entry that refers to the body.
func (sb *sharedBody) add(q *Queue, ord uint64) *body {
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
	p := t.part(sb.shard)
	p.batch.Set(bodyKey(sb.id, 0), sb.list)
	for i := uint32(1); len(payload) > 0; i++ {
		n := min(len(payload), bodyChunk)
		p.batch.Set(bodyKey(sb.id, i), payload[:n])
		payload = payload[n:]
	}
	sb.list = nil
}

// loadBody reads the payload of a message whose body is stored apart.
func (s *shard) loadBody(m *Message) error {
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
			live, err = s.store.Get(entryKey(qid, ord), func(v []byte) {})
			if err != nil {
				return true, err
			}
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
