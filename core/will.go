package core

import "context"

// A will is on disk from CONNECT on, of clean sessions too, and fires after a
// restart if it had not been forgotten: the connection has ended without a
// goodbye.

type will struct {
	id  uint64 // of its record
	msg *Message
}

func (s *Session) saveWill(t *Turn, m *Message) {
	q := &s.queue
	s.will = &will{t.bus.newID(), m}
	w := willRecord{vhost: q.vh.name, name: q.name, user: s.principal().User, msg: m}
	t.scratch = w.append(t.scratch[:0])
	t.promise(q.sh).batch.Set(willKey(s.will.id), t.scratch)
}

// fireWill publishes the will and removes its record in the same batch.
func (s *Session) fireWill(t *Turn) {
	p := s.queue.vh.NewPublisher(s.principal())
	p.publishWill(t, s.queue.sh, s.will.id, s.will.msg)
}

func (p *Publisher) publishWill(t *Turn, sh *shard, id uint64, m *Message) {
	wait, err := p.Publish(t, m)
	if wait != nil {
		// The record stays on disk until the message is published.
		b := t.bus
		b.spawn(func(ctx context.Context) {
			wait(ctx)
			if ctx.Err() != nil {
				return
			}
			t := b.NewTurn()
			p.publishWill(t, sh, id, m) // the same publisher: it knows what interceptors said
			t.End()
		})
		return
	}
	t.promise(sh).batch.Delete(willKey(id))
	t.Event(WillPublished{Identity: &p.who.Identity, Topic: string(m.Topic), Err: err})
}
