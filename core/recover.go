package core

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// recovery reads what a former run left: records of sessions, queues, bindings,
// inbound ids, wills and retained messages. Entries stay where they are; the
// counters tell how many there are.
type recovery struct {
	b      *Bus
	t      *Turn
	queues map[uint64]*Queue
	wills  []recoveredWill
	told   Recovered
}

type recoveredWill struct {
	sh  *shard
	id  uint64
	vh  *VHost
	who *Principal
	msg *Message
}

func (b *Bus) recover() error {
	began := time.Now()
	r := &recovery{b: b, t: b.NewTurn(), queues: make(map[uint64]*Queue)}
	for _, s := range b.shards {
		if err := r.begin(s); err != nil {
			return err
		}
	}
	// Bindings may lead to queues of other shards, so queues come first, and
	// exchanges before them: what is recovered later says which it was sent to.
	steps := []struct {
		kind byte
		f    func(*shard, []byte, []byte) error
	}{
		{keyExchange, r.exchange}, {keyExit, r.exit}, {keyQueue, r.queue}, {keyCounter, r.counters},
		{keyBinding, r.binding}, {keyProgress, r.progress},
		{keyInbound, r.inbound}, {keyRetained, r.retained}, {keyWill, r.will},
	}
	for _, st := range steps {
		for _, s := range b.shards {
			if err := scanKind(s, st.kind, st.f); err != nil {
				return err
			}
		}
	}
	for _, s := range b.shards {
		if err := r.strayEntries(s); err != nil {
			return err
		}
		s.bodies.orphaned.Store(1) // of unfinished publishes and unfinished settles
	}
	r.finish()
	b.applyPolicies(r.t)
	for _, w := range r.wills {
		w.vh.NewPublisher(w.who).publishWill(r.t, w.sh, w.id, w.msg)
		if r.t.Full() {
			r.t.Flush()
		}
	}
	r.t.End()
	b.Sync()
	r.told.Took = time.Since(began)
	b.emit(r.told)
	return nil
}

func scanKind(s *shard, kind byte, f func(*shard, []byte, []byte) error) error {
	var bad error
	lo, hi := kindRange(kind)
	err := s.store.Scan(lo, hi, func(k, v []byte) bool {
		if bad = f(s, k, v); bad != nil {
			bad = fmt.Errorf("record %q: %w", k, bad)
		}
		return bad == nil
	})
	if err == nil {
		err = bad
	}
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	return nil
}

// begin checks the format and counts the start, so that ids of this run are
// above all that were ever given.
func (r *recovery) begin(s *shard) error {
	if _, err := formatOf(s.store); err != nil {
		return err
	}
	var starts uint64
	if _, err := s.store.Get([]byte{keyStarts}, func(v []byte) { starts, _ = binary.Uvarint(v) }); err != nil {
		return err
	}
	starts++
	batch := s.store.NewBatch()
	batch.Set([]byte{keyFormat}, binary.AppendUvarint(nil, formatNumber))
	batch.Set([]byte{keyStarts}, binary.AppendUvarint(nil, starts))
	done := make(chan error, 1)
	s.store.Commit(batch, func(err error) { done <- err })
	if err := <-done; err != nil {
		return err
	}
	first := starts << idBits
	s.bodies.next.Store(first)
	if first > r.b.ids.Load() {
		r.b.ids.Store(first)
	}
	return nil
}

func (r *recovery) vhost(name string) *VHost {
	vh := r.b.vhosts[name]
	if vh == nil { // no longer configured, but not forgotten
		vh = newVHost(r.b, name)
		r.b.vhosts[name] = vh
	}
	return vh
}

func (r *recovery) queue(s *shard, k, v []byte) error {
	rec, err := decodeQueueRecord(v)
	if err != nil {
		return err
	}
	vh := r.vhost(rec.vhost)
	var q *Queue
	switch rec.kind {
	case KindSession:
		se := &Session{}
		a := se.newAway()
		a.expiry, a.endedAt = rec.expiry, rec.endedAt
		q = &se.queue
		q.session = se
		who := NewPrincipal(Identity{
			User: rec.user, Anonymous: rec.user == "", VHost: rec.vhost, ClientID: rec.name, Protocol: "mqtt",
		})
		who.session = se
		se.who.Store(who)
		reg := vh.sessionShard(rec.name)
		if old := reg.m[rec.name]; old != nil {
			r.forget(old)
		}
		reg.m[rec.name] = se
		r.b.sessionCount.Add(1)
		r.told.Sessions++
	default:
		q = &Queue{}
		if rec.options == nil || rec.options.lane == 0 {
			if old := vh.queues[rec.name]; old != nil {
				r.forgetQueue(old)
			}
			vh.queues[rec.name] = q
			r.told.Queues++
		}
	}
	q.vh, q.sh, q.kind, q.name, q.id, q.durable = vh, s, rec.kind, rec.name, queueOf(k), true
	q.far, q.disk = noFar, new(onDisk)
	q.limit(rec.limits.shared())
	if q.kind == KindNamed {
		o := rec.options
		if o == nil {
			o = &QueueOptions{Durable: true, Limits: rec.limits}
		}
		if o.lane > 0 {
			return r.lane(q, *o)
		}
		vh.setNamed(q, *o)
	}
	r.queues[q.id] = q
	return nil
}

// lane puts a lane where it belongs: the queue it is a lane of was declared, and
// is found, before. A lane without a queue is nobody's.
func (r *recovery) lane(q *Queue, o QueueOptions) error {
	root := q.vh.queues[q.name]
	if root == nil || root.named == nil || root.named.lanes == nil || int(o.lane) >= len(root.named.lanes.list) {
		// Its queue was deleted just when the lane was made.
		for _, kind := range []byte{keyQueue, keyCounter, keyEntry, keyFailures} {
			r.stray(q.sh, kind, q.id)
		}
		return nil
	}
	q.setLane(root, o)
	root.named.lanes.list[o.lane] = q
	root.named.lanes.publish()
	r.queues[q.id] = q
	return nil
}

func (r *recovery) counters(sh *shard, k, v []byte) error {
	c, err := decodeCounters(v)
	if err != nil {
		return err
	}
	q := r.queues[queueOf(k)]
	if q == nil {
		r.stray(sh, keyCounter, queueOf(k))
		return nil
	}
	q.disk.counters = c
	// The last ordinals may have been those of transient messages, settled
	// since: they have left no record but the head behind them.
	c.next = max(c.next, c.head)
	q.next, q.disk.bootNext = c.next, c.next
	q.cursor, q.disk.safeHead = c.head, c.head
	q.count, q.bytes = c.count, c.bytes
	q.disk.dupBelow = c.sent
	if c.sent == math.MaxUint64 { // was connected: anything may have been sent
		// It is within the span of packet ids from the first one that lives.
		q.disk.dupBelow = min(c.next, c.head+maxSpan)
	}
	q.sentTo = q.disk.dupBelow
	if q.kind != KindSession { // nothing tells which of them have been with a consumer
		q.disk.dupBelow = c.next
	}
	if c.count > 0 {
		q.needFar().gap = gap{lo: c.head, hi: c.next, n: c.count, bytes: c.bytes}
	}
	r.told.Messages += c.count
	return nil
}

func (r *recovery) binding(sh *shard, k, v []byte) error {
	rec, err := decodeBindingRecord(v)
	if err != nil {
		return err
	}
	q := r.queues[queueOf(k)]
	if q == nil {
		r.stray(sh, keyBinding, queueOf(k))
		return nil
	}
	exchange, pattern, err := splitBindingKey(k)
	if err != nil {
		return err
	}
	if q.kind == KindNamed {
		x := q.vh.Exchange(exchange)
		if x == nil || x.id != rec.exchange {
			r.t.part(sh).batch.Delete(k) // the exchange was deleted, if this one was not
			return nil
		}
		return r.bind(&binding{from: x, queue: q, key: pattern, arguments: rec.arguments, syntax: rec.syntax})
	}
	r.told.Bindings++
	s := q.session
	if s == nil {
		return errRecord
	}
	filter := pattern
	pattern, group, err := splitFilter(filter)
	if err != nil {
		return err
	}
	sub := subscription{filter: filter, qos: rec.qos}
	switch group {
	case "":
		q.vh.topics.bind(q, SyntaxMQTT, pattern, rec.qos)
		if rec.replay != 0 {
			s.addReplay(replay{filter: filter, qos: rec.qos, number: rec.replay})
		}
	case queuePrefix:
		sub.from = q.vh.Queue(pattern) // nil if it is declared later; see start
	default:
		sub.from = q.vh.recoverGroup(s, filter, pattern, rec.qos)
	}
	s.subs.add(sub)
	return nil
}

// recoverGroup makes s a member of the group it belonged to.
func (vh *VHost) recoverGroup(s *Session, name, pattern string, qos QoS) *Queue {
	q := vh.queues[name]
	if q == nil { // the record of the queue is missing: begin anew
		q = vh.groupNamed(name, pattern).q
	}
	if q.group == nil {
		q.group = &group{q: q, pattern: pattern, members: make(map[*Session]QoS)}
	}
	q.group.members[s] = qos
	vh.topics.bind(q, SyntaxMQTT, pattern, q.group.highestLocked())
	return q
}

func (r *recovery) progress(sh *shard, k, v []byte) error {
	rec, err := decodeProgressRecord(v)
	if err != nil {
		return err
	}
	q := r.queues[queueOf(k)]
	if q == nil || q.session == nil {
		r.stray(sh, keyProgress, queueOf(k))
		return nil
	}
	l := q.session.replayList()
	for i := range l.list {
		if l.list[i].number != rec.replay || l.list[i].filter != string(k[9:]) {
			continue
		}
		l.list[i].after = rec.after
		if rec.done {
			l.remove(l.list[i].filter)
		}
		break
	}
	return nil
}

func (r *recovery) inbound(sh *shard, k, _ []byte) error {
	q := r.queues[queueOf(k)]
	if q == nil || q.session == nil {
		r.stray(sh, keyInbound, queueOf(k))
		return nil
	}
	if len(k) != 11 {
		return errRecord
	}
	if q.session.inbound == nil {
		q.session.inbound = make(map[uint16]*commit)
	}
	q.session.inbound[binary.BigEndian.Uint16(k[9:])] = nil
	return nil
}

func (r *recovery) retained(s *shard, k, v []byte) error {
	rest := k[1:]
	var vh *VHost
	var topic string
	for i, c := range rest {
		if c == 0 {
			vh, topic = r.vhost(string(rest[:i])), string(rest[i+1:])
			break
		}
	}
	if vh == nil {
		return errRecord
	}
	n := &retainedNode{key: levelKey(topic), sh: s}
	st := &vh.retained
	if st.bytes < r.b.limits.Load().RetainedMemory {
		rd := reader{b: v}
		if n.msg = rd.message(vh); rd.err != nil {
			return rd.err
		}
		st.bytes += n.msg.footprint()
	} else {
		n.onDisk = true
	}
	st.nodes.Set(n.key, n)
	r.b.retainedCount.Add(1)
	r.told.Retained++
	return nil
}

func (r *recovery) will(s *shard, k, v []byte) error {
	rd := reader{b: v}
	vhost, name, user := rd.string(), rd.string(), rd.string()
	vh := r.vhost(vhost)
	m := rd.message(vh)
	if rd.err != nil {
		return rd.err
	}
	who := NewPrincipal(Identity{User: user, Anonymous: user == "", VHost: vhost, ClientID: name, Protocol: "mqtt"})
	r.wills = append(r.wills, recoveredWill{s, queueOf(k), vh, who, m})
	r.told.Wills++
	return nil
}

// forget removes a session whose client id a younger one has: its time was
// over, and the former run did not live to remove its records.
func (r *recovery) forget(s *Session) {
	id := s.queue.id
	for _, kind := range []byte{keyQueue, keyCounter, keyBinding, keyEntry, keyInbound, keyProgress} {
		r.stray(s.queue.sh, kind, id)
	}
	delete(r.queues, id)
	r.b.sessionCount.Add(-1)
	r.told.Sessions--
}

// forgetQueue is forget for a queue whose name a younger one has: it was deleted, and
// declared anew by another turn, which committed before.
func (r *recovery) forgetQueue(old *Queue) {
	old.eachLane(func(lane *Queue) bool {
		for _, kind := range []byte{keyQueue, keyCounter, keyBinding, keyEntry, keyFailures} {
			r.stray(lane.sh, kind, lane.id)
		}
		delete(r.queues, lane.id)
		return true
	})
	if old.kind == KindNamed {
		old.vh.forgetLocked(r.t, old)
	}
	r.told.Queues--
}

// stray removes the records of one kind of a queue that has no record itself:
// a transient queue that was spilled, or what was on its way to a queue when
// it was deleted.
func (r *recovery) stray(s *shard, kind byte, id uint64) {
	r.t.part(s).batch.DeleteRange(queueRange(kind, id))
}

// strayEntries looks for what nobody needs among the entries and their failures:
// those of queues that are gone, and of queues that are empty. What lies dead below
// the head of a queue that has messages goes with them, as ever; so that queues that
// have some, and nothing between them, need not be looked at.
func (r *recovery) strayEntries(s *shard) error {
	if err := r.eachFirst(s, keyFailures, 0, math.MaxUint64); err != nil {
		return err
	}
	var full []uint64
	for id, q := range r.queues {
		if q.sh == s && q.count > 0 {
			full = append(full, id)
		}
	}
	slices.Sort(full)
	next := uint64(0)
	for _, id := range full {
		if err := r.eachFirst(s, keyEntry, next, id); err != nil {
			return err
		}
		next = id + 1
	}
	return r.eachFirst(s, keyEntry, next, math.MaxUint64)
}

// eachFirst takes the first record of this kind of each queue from lo up to hi.
func (r *recovery) eachFirst(s *shard, kind byte, lo, hi uint64) error {
	for lo < hi {
		found := false
		var id, first uint64
		err := s.store.Scan(idKey(kind, lo), idKey(kind, hi), func(k, _ []byte) bool {
			id, first, found = queueOf(k), ordinalOf(k), true
			return false
		})
		if err != nil {
			return fmt.Errorf("recover: %w", err)
		}
		if !found {
			return nil
		}
		r.firstRecord(s, kind, id, first)
		lo = id + 1
	}
	return nil
}

// firstRecord takes the first record that a queue has of this kind.
func (r *recovery) firstRecord(s *shard, kind byte, id, first uint64) {
	q := r.queues[id]
	if q == nil {
		r.stray(s, kind, id)
		return
	}
	if kind == keyFailures {
		q.needDisk().failures = true
	}
	if low := q.lowestLocked(); first < low {
		// Dead, but the former run did not live to remove them.
		q.purgeLocked(r.t.part(s), low)
	}
}

// finish ends what nobody needs any more and arms what is due later.
func (r *recovery) finish() {
	r.unused()
	for _, q := range r.queues {
		if q.kind == KindGroup && q.group == nil {
			// Its members were all of clean sessions.
			delete(q.vh.queues, q.name)
			q.destroy(r.t)
		}
		if q.named != nil {
			q.named.used = r.t.Now
			q.armDisuse(r.t)
			if q.count > 0 { // what has expired meanwhile is found when the head is read
				q.mu.Lock()
				q.armExpiryLocked(r.t, r.t.Now)
				q.mu.Unlock()
			}
		}
		s := q.session
		if s == nil {
			continue
		}
		crashed := s.away.endedAt == 0 // with its client: nobody has seen it go
		if crashed {
			s.away.endedAt = r.t.Now
		}
		if s.away.expiry == 0 {
			continue
		}
		if crashed {
			s.save(r.t, r.t.Now)
		}
		reg := q.vh.sessionShard(q.name)
		reg.mu.Lock()
		s.armLocked(r.t.Now)
		reg.mu.Unlock()
	}
}
