package core

import (
	"bytes"
	"context"
)

// Publish takes a message into the bus: it validates the address, asks for the
// right, has interceptors look, retains, routes and enqueues, in this order and
// nowhere else. When it returns nil the message is accepted and the
// acknowledgement may be put into the replies of the turn, whose gate holds it
// until every durable queue that the message reached has it on disk.
//
// m may be borrowed (see Message). Exchange, Topic, Payload, Syntax, QoS,
// Retain and Persistent are the caller's; the rest is set here. A Wait means
// that nothing has happened yet: publish the same message again when it is
// over. Errors: ErrBadAddress, ErrNotAuthorized, ErrQuota (a queue refused it:
// do not acknowledge), or what an interceptor said.
func (p *Publisher) Publish(t *Turn, m *Message) (Wait, error) {
	r, wait, err := p.admit(t, m)
	switch {
	case wait != nil:
	case err == nil:
		p.accept(t, r, m)
	case r != nil:
		r.deadLetterRefused(t, m)
	}
	return wait, err
}

// A Prepared message has been admitted and waits to be published, as part of a
// transaction.
type Prepared struct {
	p     *Publisher
	r     *route
	m     *Message
	epoch uint64 // rights epoch in which it was admitted
}

// Message returns the message.
func (pr *Prepared) Message() *Message { return pr.m }

// Prepare does all of Publish that may wait or refuse, and nothing else. The
// message is kept.
func (p *Publisher) Prepare(t *Turn, m *Message) (Prepared, Wait, error) {
	r, wait, err := p.admit(t, m)
	if wait != nil || err != nil {
		return Prepared{}, wait, err
	}
	k := m.keep()
	k.Keys = make([][]byte, len(m.Keys))
	for i, key := range m.Keys {
		k.Keys[i] = bytes.Clone(key)
	}
	return Prepared{p, r.kept(), k, t.bus.rightsEpoch.Load()}, nil, nil
}

// Refresh has the message go where the bindings of this moment lead. After that,
// Publish in the same turn neither waits nor fails.
func (pr *Prepared) Refresh(t *Turn) (Wait, error) {
	epoch := t.bus.rightsEpoch.Load()
	pr.p.granted = pr.epoch == epoch // or a transaction would ask all of its rights again
	r, wait, err := pr.p.route(t, pr.m)
	pr.p.granted = false
	if wait == nil && err == nil {
		pr.r = r.kept()
		if t.bus.rejecting.Load() && r.refuses(pr.m) {
			t.Stats.Rejected++
			err = ErrQuota
		}
	}
	return wait, err
}

// Publish is the rest of Publish.
func (pr *Prepared) Publish(t *Turn) { pr.p.accept(t, pr.r, pr.m) }

// admit validates, asks for rights, has interceptors look, and finds the way. With
// an error the way is that on which a queue has refused the message.
func (p *Publisher) admit(t *Turn, m *Message) (*route, Wait, error) {
	b := t.bus
	if !p.internal && b.alarms.active.Load() != 0 {
		return nil, b.alarms.wait, nil
	}
	r, wait, err := p.route(t, m)
	if wait != nil || err != nil {
		if err != nil {
			p.intercepted = nil // of this message, not of the next
		}
		return nil, wait, err
	}
	if len(b.interceptors) > 0 && !p.internal {
		if wait, err = p.intercept(t, m); wait != nil || err != nil {
			return nil, wait, err
		}
		if r.once || len(m.Keys) > 0 || !r.is(m) { // its way may be another now
			if r, wait, err = p.route(t, m); wait != nil || err != nil {
				if wait != nil {
					p.intercepted = &intercepted{m: m.keep()}
				}
				return nil, wait, err
			}
		}
	}
	if b.rejecting.Load() && r.refuses(m) {
		t.Stats.Rejected++
		m.Stored.abortUnused(t)
		return r, nil, ErrQuota
	}
	return r, nil, nil
}

// accept retains and distributes what has been admitted.
func (p *Publisher) accept(t *Turn, r *route, m *Message) {
	m.Published = t.Now
	m.Routed = len(r.targets) > 0
	in := t.Stats.Of(p.protocol)
	in.Received[m.QoS]++
	in.ReceivedBytes[m.QoS] += uint64(len(m.Payload))
	if m.Retain {
		p.vh.retained.set(t, m)
	}
	if r.illegal {
		t.Stats.Unrepresentable++
	}
	r.distribute(t, m)
}

// refuses says whether a queue has no room and rather refuses the message. It
// is asked of all before any gets the message: what is not acknowledged comes
// again, and must not reach anybody twice.
func (r *route) refuses(m *Message) bool {
	for i := range r.targets {
		tg := &r.targets[i]
		if min(m.QoS, tg.qos) > AtMostOnce || tg.q.kind == KindNamed {
			if tg.q.refuses(m) {
				return true
			}
		}
	}
	return false
}

// distribute hands the message to every target of the route.
func (r *route) distribute(t *Turn, m *Message) {
	apart := r.bodies(t, m)
	for i := range r.targets {
		if i&63 == 63 {
			t.relieve()
		}
		tg := &r.targets[i]
		qos := min(m.QoS, tg.qos)
		switch {
		case tg.q.kind == KindNamed:
			qos = max(m.QoS, AtLeastOnce) // its consumers settle everything
		case qos == AtMostOnce:
			tg.q.sendDirect(t, m)
			continue
		}
		var sb *sharedBody
		if apart != nil {
			sb = apart[tg.q.sh.index]
		}
		tg.q.enqueue(t, m, qos, 0, sb)
	}
	for _, sb := range apart {
		if sb != nil {
			sb.write(t, m.Payload)
		}
	}
	m.Stored.abortUnused(t)
}

// bodies decides where the payload is stored apart: in each shard where several
// durable queues get it, or where it is large.
func (r *route) bodies(t *Turn, m *Message) []*sharedBody {
	if !m.Persistent || len(m.Payload) < sharedBodySize || m.QoS == AtMostOnce && len(r.targets) < 2 {
		return nil
	}
	var apart []*sharedBody
	for _, s := range t.bus.shards {
		n := 0
		for i := range r.targets {
			tg := &r.targets[i]
			if tg.q.sh == s && tg.storesApart() {
				n++
				if n > 1 {
					break
				}
			}
		}
		if n > 1 || n == 1 && len(m.Payload) > bodyChunk {
			if apart == nil {
				apart = make([]*sharedBody, len(t.bus.shards))
			}
			sb := m.Stored.of(s)
			if sb == nil {
				sb = s.newSharedBody()
			}
			k := m.keep()
			sb.body.next = k.body
			k.body = &sb.body
			apart[s.index] = sb
		}
	}
	return apart
}

// storesApart says whether the target keeps persistent messages on disk.
func (tg *target) storesApart() bool {
	return !tg.q.diskless.Load() && (tg.qos > AtMostOnce || tg.q.kind == KindNamed)
}

// sendDirect sends a QoS 0 message to the connection of a session, or to a live
// member of a group. There is no queue: it is taken or dropped.
func (q *Queue) sendDirect(t *Turn, m *Message) {
	if q.kind == KindGroup {
		q.group.sendDirect(t, m)
		return
	}
	ds := q.session.direct.Load()
	if ds == nil {
		return
	}
	if ds.sink.Deliver(t, Delivery{Msg: m}) == Refused {
		t.dropped(q, DropNoRoom, AtMostOnce, len(m.Payload))
	}
}

// intercept has every interceptor look at the message. Those that may block do
// so outside Feed, on a kept copy, whose result is taken up when the message is
// published again.
func (p *Publisher) intercept(t *Turn, m *Message) (Wait, error) {
	if d := p.intercepted; d != nil {
		p.intercepted = nil
		if d.err != nil {
			return nil, d.err
		}
		*m = Message{
			Exchange: d.m.Exchange, Topic: d.m.Topic, Payload: d.m.Payload, Syntax: d.m.Syntax, QoS: d.m.QoS,
			Retain: d.m.Retain, Persistent: d.m.Persistent, Expires: d.m.Expires, Owned: true,
			Props: d.m.Props, Priority: d.m.Priority, Keys: m.Keys,
		}
		return nil, nil
	}
	if t.bus.interceptInline {
		return nil, t.bus.interceptAll(context.Background(), &p.who.Identity, m)
	}
	b := t.bus
	work := *m.keep()
	work.kept, m.kept = nil, nil
	return func(ctx context.Context) {
		if err := b.interceptAll(ctx, &p.who.Identity, &work); ctx.Err() == nil {
			p.intercepted = &intercepted{&work, err}
		}
	}, nil
}

func (b *Bus) interceptAll(ctx context.Context, id *Identity, m *Message) error {
	for _, i := range b.interceptors {
		if err := i.Intercept(ctx, id, m); err != nil {
			return err
		}
	}
	return nil
}
