package core

import (
	"fmt"
	"slices"
)

// What clients do in the model of the queue, on the bus and on the list.

// publish sends some messages in one turn, to all queues or to one.
func (m *model) publish() {
	n := 1 + m.r.IntN(m.burst)
	m.x.turn(func(t *Turn) {
		for range n {
			size := m.r.IntN(40)
			switch m.r.IntN(30) {
			case 0, 1, 2, 3:
				size = sharedBodySize + m.r.IntN(1000)
			case 4:
				if m.r.IntN(4) == 0 {
					size = bodyChunk - 2 + m.r.IntN(2*bodyChunk)
				}
			}
			m.publishOne(t, size, m.r.IntN(3) > 0, QoS(1+m.r.IntN(2)))
		}
	})
}

func (m *model) publishOne(t *Turn, size int, persistent bool, qos QoS) {
	m.nextID++
	p := fmt.Appendf(nil, "%d.", m.nextID)
	for len(p) < size {
		p = append(p, byte('a'+len(p)%26))
	}
	msg := t.Message()
	msg.Payload, msg.Syntax, msg.QoS, msg.Persistent = slices.Clone(p), SyntaxAMQP, qos, persistent
	to := m.queues
	vh := m.pub.vh
	if one := m.r.IntN(2 * len(m.queues)); one < len(m.queues) && !m.queues[one].session {
		to = m.queues[one : one+1]
		msg.Exchange, msg.Topic = vh.Exchange(defaultExchange), []byte(to[0].name)
	} else {
		msg.Exchange, msg.Topic = vh.Exchange(fanoutExchange), []byte("any")
	}
	m.note("publish %d: %d bytes, persistent %v, QoS %d, to %d queues", m.nextID, len(p), persistent, qos, len(to))
	if wait, err := m.pub.Publish(t, msg); wait != nil || err != nil {
		m.fatalf("publish: wait %v, %v", wait != nil, err)
	}
	clear(msg.Payload) // as the next read overwrites the buffer
	for _, mq := range to {
		mq.list = append(mq.list, &modelEntry{
			id: m.nextID, payload: p, durable: persistent, qos: qos, pending: persistent && mq.held(),
		})
	}
}

func (mq *modelQueue) consume() {
	limit := int32(0)
	if mq.m.r.IntN(6) > 0 {
		limit = int32(1 + mq.m.r.IntN(12))
	}
	s := &modelSink{q: mq, limit: limit, room: mq.m.r.IntN(4) > 0}
	mq.sinks = append(mq.sinks, s)
	mq.m.note("%s: consume, limit %d, room %v", mq.name, limit, s.room)
	mq.m.x.turn(func(t *Turn) { s.c = mq.q.consume(t, s, ConsumerOptions{QoS: ExactlyOnce, Limit: limit}) })
}

func (mq *modelQueue) cancel(s *modelSink) {
	mq.m.note("%s: cancel with %d out", mq.name, len(s.out))
	mq.m.x.turn(func(t *Turn) { s.c.Cancel(t) })
	mq.sinks = slices.DeleteFunc(mq.sinks, func(o *modelSink) bool { return o == s })
	for _, e := range s.out {
		e.by = nil
		if e.received && !mq.session {
			mq.remove(e) // nobody is left to complete it
		}
	}
}

func (mq *modelQueue) remove(e *modelEntry) {
	mq.list = slices.DeleteFunc(mq.list, func(o *modelEntry) bool { return o == e })
}

// settle settles one delivery in some way.
func (mq *modelQueue) settle(s *modelSink) {
	m := mq.m
	i := 0
	if m.r.IntN(3) == 0 { // clients settle in order as a rule
		i = m.r.IntN(len(s.out))
	}
	e := s.out[i]
	o := Outcome(m.r.IntN(4))
	if m.r.IntN(2) == 0 {
		o = Accepted
	}
	want := Done
	switch {
	case o == Received && e.qos != ExactlyOnce,
		o == Accepted && e.qos == ExactlyOnce && !e.received,
		o == Released && e.received:
		want = Mismatch
	case o == Received && e.received:
		want = Again
	}
	m.note("%s: settle message %d, outcome %d, want %d", mq.name, e.id, o, want)
	var got Settled
	m.x.turn(func(t *Turn) { got = s.c.Settle(t, e.ord, e.qos, o) })
	if got != want {
		m.fatalf("%s: settle of message %d with %d says %d, want %d", mq.name, e.id, o, got, want)
	}
	switch {
	case want != Done:
		return
	case o == Received:
		e.received = true
		return
	case o == Released:
		e.by = nil
	default:
		mq.remove(e)
	}
	s.out = slices.Delete(s.out, i, i+1)
}

// settleAll has a consumer finish all it has, in any order: the queue hands out
// the next only between turns.
func (mq *modelQueue) settleAll(s *modelSink) {
	m := mq.m
	mq.mu.Lock()
	room := s.room
	s.room = false
	mq.mu.Unlock()
	m.r.Shuffle(len(s.out), func(i, j int) { s.out[i], s.out[j] = s.out[j], s.out[i] })
	m.note("%s: settle all %d of a consumer", mq.name, len(s.out))
	m.x.turn(func(t *Turn) {
		for _, e := range s.out {
			o := Rejected
			if e.received {
				o = Accepted
			}
			if st := s.c.Settle(t, e.ord, e.qos, o); st != Done {
				m.fatalf("%s: settle of message %d says %d", mq.name, e.id, st)
			}
			mq.remove(e)
		}
	})
	s.out = nil
	mq.mu.Lock()
	s.room = room
	mq.mu.Unlock()
	m.x.turn(func(t *Turn) { s.c.Resume(t) })
}

// settleWrong tries what must not succeed.
func (mq *modelQueue) settleWrong(s *modelSink) {
	e := s.out[mq.m.r.IntN(len(s.out))]
	mq.m.x.turn(func(t *Turn) {
		if st := s.c.Settle(t, e.ord, 3-e.qos, Accepted); st != Mismatch {
			mq.m.fatalf("%s: settle with another QoS says %d", mq.name, st)
		}
		if st := s.c.Settle(t, mq.lastOrd+1000, e.qos, Accepted); st != NotFound {
			mq.m.fatalf("%s: settle of what was never sent says %d", mq.name, st)
		}
		for _, o := range mq.sinks {
			if o != s {
				if st := o.c.Settle(t, e.ord, e.qos, Rejected); st != NotFound {
					mq.m.fatalf("%s: settle of another consumer's delivery says %d", mq.name, st)
				}
			}
		}
	})
}
