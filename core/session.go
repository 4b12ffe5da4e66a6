package core

import (
	"context"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/core/internal/wheel"
)

// An Owner is the connection that a session belongs to.
type Owner interface {
	// Kick ends the connection, soon and from any goroutine; it does not block.
	Kick(cause error)
}

// A Session is what a client id stands for: a queue with at most one consumer,
// subscriptions, inbound QoS 2 ids and a will. One that is not clean outlives
// its connection, and the process.
//
// A session has one owner at a time. Methods that take a Turn are called by
// the owner's Feed and nobody else; between owners, the registry of the vhost
// serialises.
type Session struct {
	queue Queue
	who   atomic.Pointer[Principal]

	// direct is where QoS 0 deliveries go: the connection.
	direct atomic.Pointer[directSink]

	// guarded by the lock of the registry shard
	owner    Owner
	released chan struct{} // if somebody waits: closed when the owner has let go and its changes are on their way
	away     *away         // nil for a clean session

	// owned by the owner's Feed
	inbound  map[uint16]*commit // unreleased ids; the commit is nil when known to be over
	subs     subscriptions      // changed under the lock of the registry shard, for those who list them
	consumer *Consumer
	limit    int32 // of each consumer
	clean    bool  // never changed
	will     *will

	replays atomic.Pointer[replayList] // nil until there is one
}

// away is what becomes of a session without its client.
type away struct {
	endedAt int64 // unix milliseconds at which the last owner went
	expiry  int64 // milliseconds without owner until the session is deleted, 0: never
	timer   wheel.Timer[timed]
}

func (s *Session) principal() *Principal { return s.who.Load() }

// ClientID returns the session's client id.
func (s *Session) ClientID() string { return s.queue.name }

// Clean says whether the session ends with its connection.
func (s *Session) Clean() bool { return s.clean }

// Queue returns the session's queue.
func (s *Session) Queue() *Queue { return &s.queue }

// A SessionRequest says how a client wants to connect.
type SessionRequest struct {
	Principal *Principal
	ClientID  string
	Clean     bool          // forget what was, and end with the connection
	Expiry    time.Duration // without connection until the session is deleted, 0: never
	Limits    *QueueLimits  // shared and never changed; nil: none
	Will      *Message      // to be published unless the client says goodbye, or nil
	Owner     Owner
}

type sessionShard struct {
	mu sync.Mutex
	m  map[string]*Session // guarded by mu
}

// OpenSession connects a client: it takes over from a connection that has the
// client id now, resumes what is there or begins anew. A Wait means that the
// present owner has been told to go: ask again when it is over. What changes is
// in the batch of the turn; the client may be told when that is committed, and
// Start be called then.
func (vh *VHost) OpenSession(t *Turn, r SessionRequest) (s *Session, present bool, w Wait, err error) {
	reg := vh.sessionShard(r.ClientID)
	reg.mu.Lock()
	old := reg.m[r.ClientID]
	if old != nil && old.principal().User != r.Principal.User {
		reg.mu.Unlock()
		return nil, false, nil, fmt.Errorf("%w: client id %q belongs to another user", ErrIdentifier, r.ClientID)
	}
	if old != nil && old.owner != nil {
		return nil, false, old.expelLocked(reg, ErrTakenOver), nil
	}
	s = old
	if present = old != nil && !r.Clean && !old.clean; !present {
		s = vh.newSession(r)
		reg.m[r.ClientID] = s
	}
	s.owner = r.Owner
	if s.away != nil {
		s.away.expiry = r.Expiry.Milliseconds()
		vh.bus.timers.stop(&s.away.timer)
	}
	// Under the lock: whoever finds the session asks who it belongs to.
	r.Principal.session, r.Principal.since = s, t.Now
	s.who.Store(r.Principal)
	reg.mu.Unlock()

	if old != nil && !present {
		old.destroy(t)
	}
	s.opened(t, r, present)
	return s, present, nil, nil
}

// expelLocked tells the present owner to go, and gives the lock of the registry
// back. The Wait is over when the owner has let go and its changes are on their
// way.
func (s *Session) expelLocked(reg *sessionShard, cause error) Wait {
	if s.released == nil {
		s.released = make(chan struct{})
	}
	owner, released := s.owner, s.released
	reg.mu.Unlock()
	owner.Kick(cause)
	return func(ctx context.Context) {
		select {
		case <-released:
		case <-ctx.Done():
		}
	}
}

func (vh *VHost) newSession(r SessionRequest) *Session {
	s := &Session{clean: r.Clean}
	q := &s.queue
	vh.initQueue(q, KindSession, r.ClientID, !r.Clean)
	q.session, q.volatile = s, r.Clean
	q.limit(r.Limits)
	if !r.Clean {
		s.newAway()
	}
	return s
}

func (s *Session) newAway() *away {
	s.away = &away{}
	s.away.timer.Owner = s
	return s.away
}

// opened writes what must be on disk before the client is told.
func (s *Session) opened(t *Turn, r SessionRequest, present bool) {
	q := &s.queue
	if !s.clean {
		q.mu.Lock()
		q.limit(r.Limits)
		tc := t.promise(q.sh).touch(q)
		tc.setSnt, tc.sent = true, math.MaxUint64
		q.mu.Unlock()
		s.save(t, 0)
	}
	if r.Will != nil {
		s.saveWill(t, r.Will)
	}
	if !present {
		t.bus.sessionCount.Add(1)
	}
}

// save writes the session's record. endedAt is 0 while a client is connected.
func (s *Session) save(t *Turn, endedAt int64) {
	q := &s.queue
	t.scratch = (&queueRecord{
		kind: KindSession, vhost: q.vh.name, name: q.name, user: s.principal().User,
		expiry: s.away.expiry, endedAt: endedAt, limits: q.limits.value(),
	}).append(t.scratch[:0])
	t.part(q.sh).batch.Set(queueKey(q.id), t.scratch)
}

// Start begins to deliver to the client: at most limit unsettled messages from
// each queue. span is the number of packet ids that derive from ordinals.
func (s *Session) Start(t *Turn, sink Sink, limit, span int) {
	s.limit = int32(limit)
	s.direct.Store(&directSink{sink})
	s.consumer = s.queue.consume(t, sink, ConsumerOptions{
		Identity: s.principal(), QoS: ExactlyOnce, Limit: s.limit, Span: uint32(span),
	})
	for i := range s.subs.list {
		s.subs.list[i].start(t, s, sink)
	}
	s.replayList().tell(t.bus.ids.Load()) // SUBACK of what is left has been sent, or will not be
	s.Replay(t)
}

func (s *Session) kick(cause error) {
	reg := s.queue.vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	owner := s.owner
	reg.mu.Unlock()
	if owner != nil {
		owner.Kick(cause)
	}
}

// Consumer returns the consumer of the session's own queue, after Start.
func (s *Session) Consumer() *Consumer { return s.consumer }

// Close ends the connection of the session. goodbye says that the client left
// in good order, so that its will is forgotten. A clean session is deleted.
func (s *Session) Close(t *Turn, goodbye bool) {
	q := &s.queue
	s.direct.Store(nil)
	s.replayList().stop()
	for i := range s.subs.list {
		s.subs.list[i].stop(t)
	}
	if s.consumer != nil {
		s.consumer.Cancel(t)
		s.consumer = nil
	}
	if s.will != nil {
		if goodbye {
			t.promise(q.sh).batch.Delete(willKey(s.will.id))
		} else {
			s.fireWill(t)
		}
		s.will = nil
	}
	if s.clean {
		s.destroy(t)
	} else {
		q.mu.Lock()
		tc := t.part(q.sh).touch(q)
		tc.setSnt, tc.sent = true, q.disk.dupBelow
		q.mu.Unlock()
		if s.away.expiry > 0 {
			s.save(t, t.Now)
		}
	}
	// Who connects next with this client id may go on when these changes are on
	// their way to the shard, so that its own commit later.
	now := t.Now
	t.onSubmitted(func() { s.release(now) })
}

func (s *Session) release(now int64) {
	vh := s.queue.vh
	reg := vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	s.owner = nil
	if s.released != nil {
		close(s.released)
		s.released = nil
	}
	if s.clean {
		if reg.m[s.queue.name] == s {
			delete(reg.m, s.queue.name)
		}
		return
	}
	s.away.endedAt = now
	s.armLocked(now)
}

// armLocked sets the time at which an offline session is deleted.
func (s *Session) armLocked(now int64) {
	if a := s.away; a.expiry > 0 {
		s.queue.vh.bus.timers.set(&a.timer, max(a.endedAt+a.expiry, now))
	}
}

func (s *Session) due(t *Turn) { s.expire(t) }

// expire deletes the session, if no client has come back meanwhile.
func (s *Session) expire(t *Turn) {
	vh := s.queue.vh
	reg := vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	if a := s.away; s.owner != nil || reg.m[s.queue.name] != s || a.expiry == 0 || a.endedAt+a.expiry > t.Now {
		if s.owner == nil && reg.m[s.queue.name] == s {
			s.armLocked(t.Now) // the clock was set back
		}
		reg.mu.Unlock()
		return
	}
	delete(reg.m, s.queue.name)
	reg.mu.Unlock()
	s.destroy(t)
	t.bus.expiredSessions.Add(1)
	t.Event(SessionExpired{VHost: vh.name, ClientID: s.queue.name})
}

// destroy removes all that the session has, from memory and disk. It has no
// owner, or it is the owner that calls.
func (s *Session) destroy(t *Turn) {
	for i := range s.subs.list {
		s.subs.list[i].leave(t, s)
	}
	s.changeSubs(func() { s.subs = subscriptions{} })
	s.inbound = nil
	s.queue.destroy(t)
	t.bus.sessionCount.Add(-1)
}

// PublishOnce publishes a QoS 2 message that the client sent with packet id. A
// message that was published under this id and is not released is not
// published again. The reply of the turn waits until message and id are on
// disk, be it since an earlier turn.
func (s *Session) PublishOnce(t *Turn, p *Publisher, m *Message, id uint16, limit int) (Wait, error) {
	if c, known := s.inbound[id]; known {
		if c != nil && !c.isOver() {
			t.await(c)
		} else if c != nil {
			s.inbound[id] = nil
		}
		m.Stored.abortUnused(t) // nothing has taken it
		return nil, nil
	}
	if len(s.inbound) >= limit {
		return nil, fmt.Errorf("%w: %d QoS 2 messages are not released", ErrProtocol, limit)
	}
	wait, err := p.Publish(t, m)
	if wait != nil || err != nil {
		return wait, err
	}
	if s.inbound == nil {
		s.inbound = make(map[uint16]*commit)
	}
	if s.clean { // its state ends with the connection
		s.inbound[id] = nil
		return nil, nil
	}
	t.promise(s.queue.sh).batch.Set(inboundKey(s.queue.id, id), nil)
	s.inbound[id] = t.following()
	return nil, nil
}

// Knows says whether a QoS 2 id of the client is not released yet.
func (s *Session) Knows(id uint16) bool {
	_, known := s.inbound[id]
	return known
}

// Release forgets an inbound QoS 2 id. The reply of the turn waits until that
// is on disk: an id that came back after a crash would swallow the client's
// next message under it.
func (s *Session) Release(t *Turn, id uint16) {
	if _, known := s.inbound[id]; !known {
		return
	}
	delete(s.inbound, id)
	if !s.clean {
		t.promise(s.queue.sh).batch.Delete(inboundKey(s.queue.id, id))
	}
}
