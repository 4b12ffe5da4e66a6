package core

import "sync"

// A group is a shared subscription: the queue $share/group/filter, bound by
// the filter, whose consumers are its members that are connected. Persistent
// members belong to it while they are away. It goes with its last member.
type group struct {
	q       *Queue
	pattern string

	mu      sync.Mutex
	members map[*Session]QoS // guarded by mu
	over    bool             // guarded by mu: the last member has gone
}

// joinGroup makes s a member, or changes the QoS of its membership. The group
// becomes durable with its first persistent member.
func (vh *VHost) joinGroup(t *Turn, s *Session, name, pattern string, qos QoS) *Queue {
	for {
		g := vh.groupNamed(name, pattern)
		g.mu.Lock()
		if g.over { // its last member went just now; a new one is made
			g.mu.Unlock()
			continue
		}
		g.members[s] = qos
		highest := g.highestLocked()
		vh.topics.bind(g.q, SyntaxMQTT, pattern, highest)
		if !s.clean {
			g.q.becomeDurable(t)
		}
		g.mu.Unlock()
		return g.q
	}
}

func (vh *VHost) groupNamed(name, pattern string) *group {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if q := vh.queues[name]; q != nil {
		return q.group
	}
	q := &Queue{}
	vh.initQueue(q, KindGroup, name, false)
	q.group = &group{q: q, pattern: pattern, members: make(map[*Session]QoS)}
	vh.queues[name] = q
	return q.group
}

func (g *group) highestLocked() QoS {
	var highest QoS
	for _, qos := range g.members {
		highest = max(highest, qos)
	}
	return highest
}

// leave ends a membership; the last one ends the group.
func (g *group) leave(t *Turn, s *Session) {
	vh := g.q.vh
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, ok := g.members[s]; !ok {
		return
	}
	delete(g.members, s)
	if len(g.members) > 0 {
		vh.topics.bind(g.q, SyntaxMQTT, g.pattern, g.highestLocked())
		return
	}
	g.over = true
	vh.topics.unbind(g.q, SyntaxMQTT, g.pattern)
	vh.mu.Lock()
	if vh.queues[g.q.name] == g.q {
		delete(vh.queues, g.q.name)
	}
	vh.mu.Unlock()
	g.q.destroy(t)
}

// sendDirect sends a QoS 0 message to one member that is connected and has
// room. If the rights of members must be asked for outside, the message waits
// in the queue for the answer; groups have no limits that could refuse it.
func (g *group) sendDirect(t *Turn, m *Message) {
	if g.offerDirect(t, m) == unknown {
		g.q.enqueue(t, m, AtMostOnce, 0, nil)
	}
}

// offerDirect is unknown if nobody took the message and somebody may be
// allowed to.
func (g *group) offerDirect(t *Turn, m *Message) permission {
	q := g.q
	q.mu.Lock()
	defer q.mu.Unlock()
	asking := false
	right := Right{Action: ActionReceive, Exchange: m.Exchange.name, Syntax: m.Syntax, Address: m.Topic}
	for range q.consumers {
		if int(q.turnTo) >= len(q.consumers) {
			q.turnTo = 0
		}
		c := q.consumers[q.turnTo]
		q.turnTo++
		switch t.bus.may(c.opt.Identity, right) {
		case unknown:
			asking = true
			continue
		case denied:
			continue
		}
		if c.sink.Deliver(t, Delivery{Msg: m}) != Refused {
			return allowed
		}
	}
	if asking {
		return unknown
	}
	if len(q.consumers) > 0 {
		t.dropped(q, DropNoRoom, AtMostOnce, len(m.Payload))
	}
	return denied
}

// becomeDurable writes the record of a transient queue and those of the
// entries it has, so that all of it survives from the commit of this turn on.
func (q *Queue) becomeDurable(t *Turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.durable || q.deleted {
		return
	}
	q.durable = true
	q.diskless.Store(false)
	t.scratch = (&queueRecord{kind: q.kind, vhost: q.vh.name, name: q.name, limits: q.limits.value()}).append(t.scratch[:0])
	p := t.promise(q.sh)
	p.batch.Set(queueKey(q.id), t.scratch)
	p.touch(q).head = q.lowestLocked()
	for _, r := range q.rings() {
		for i := 0; i < r.n; i++ {
			e := r.at(i)
			if e.state != entryReady && e.state != entrySent || e.msg == nil || !e.msg.Persistent {
				continue
			}
			e.flags |= flagDurable | flagSpilling
			tc := p.awaits(q, e.ord)
			tc.count++
			tc.bytes += int64(e.size)
			t.scratch = appendEntry(t.scratch[:0], e, e.msg, nil)
			p.batch.Set(p.entry(q.id, e.ord), t.scratch)
		}
	}
}
