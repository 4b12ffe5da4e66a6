package core

import (
	"context"
	"fmt"
)

// What an operator may take away. Unlike what Feed does, these operations wait:
// they return when what they have changed is on disk. Who is asked for rights is
// the caller's business.

// durably runs f in a turn of its own and waits until what it has changed is on
// disk, and until the tasks of that lane that were due before have run.
func (b *Bus) durably(ctx context.Context, lane uint64, f func(*Turn)) error {
	done := make(chan struct{})
	t := b.NewTurn()
	f(t)
	t.following().then(lane, func(*Turn) { close(done) })
	t.onSubmitted(func() {}) // there may be nothing to commit
	t.End()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// barrier waits until what has been handed over to the shards is on disk.
func (b *Bus) barrier(ctx context.Context) error {
	return b.durably(ctx, 0, func(t *Turn) {
		for _, s := range b.shards {
			t.part(s)
		}
	})
}

// Kick ends the connection that has this client id, or this name where clients
// have no ids (see ConnectionName), and waits until its session has been let go.
// To the protocol it is a connection that was lost: a will is published. The
// client may connect again. Errors: ErrNotFound.
func (vh *VHost) Kick(ctx context.Context, name string) error {
	// A client id that looks like somebody else's connection shields nobody.
	found := vh.clients.kick(ctx, name)
	reg := vh.sessionShard(name)
	reg.mu.Lock()
	s := reg.m[name]
	switch {
	case s != nil && s.owner != nil:
		s.expelLocked(reg, ErrKicked)(ctx)
	case found:
		reg.mu.Unlock()
	default:
		reg.mu.Unlock()
		return fmt.Errorf("client %q is not connected: %w", name, ErrNotFound)
	}
	return ctx.Err()
}

// DeleteSession removes a session with all it has, after its client has been
// disconnected. A client that is back before that is disconnected again.
// Errors: ErrNotFound.
func (vh *VHost) DeleteSession(ctx context.Context, clientID string) error {
	b := vh.bus
	reg := vh.sessionShard(clientID)
	for expelled := false; ; expelled = true {
		reg.mu.Lock()
		s := reg.m[clientID]
		switch {
		case s == nil && expelled: // a clean one has gone with its connection
			reg.mu.Unlock()
			return b.barrier(ctx)
		case s == nil:
			reg.mu.Unlock()
			return fmt.Errorf("session %q: %w", clientID, ErrNotFound)
		case s.owner != nil:
			s.expelLocked(reg, ErrKicked)(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			continue
		}
		delete(reg.m, clientID)
		b.timers.stop(&s.away.timer)
		reg.mu.Unlock()
		return b.durably(ctx, s.queue.id, s.destroy)
	}
}

// DeleteQueue removes a declared queue with its messages and bindings. Those who
// consume it get nothing more; a session that has subscribed to it takes up
// another queue of that name when it connects the next time. Errors: ErrNotFound.
func (vh *VHost) DeleteQueue(ctx context.Context, name string) error {
	q := vh.Queue(name)
	if q == nil || q.kind != KindNamed {
		if q != nil {
			return fmt.Errorf("queue %q is a shared subscription and goes with its last member; as a declared queue: %w", name, ErrNotFound)
		}
		return fmt.Errorf("queue %q: %w", name, ErrNotFound)
	}
	return vh.bus.durably(ctx, q.id, func(t *Turn) {
		_, _ = vh.Drop(t, q, false, false) // it may have gone by itself meanwhile
	})
}

func (q *Queue) isDeleted() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deleted
}

// DeleteRetained clears the topics that match a filter, without telling those
// who have subscribed to them, and returns how many there were. Errors:
// ErrBadAddress.
func (vh *VHost) DeleteRetained(ctx context.Context, filter string) (deleted int, err error) {
	if err := vh.topics.validPattern(SyntaxMQTT, filter); err != nil {
		return 0, err
	}
	for after, more := "", true; more; {
		if err := ctx.Err(); err != nil {
			return deleted, err
		}
		var nodes []*retainedNode
		nodes, after, more = vh.retained.page(filter, after)
		err := vh.bus.durably(ctx, 0, func(t *Turn) {
			for _, n := range nodes {
				m := t.Message()
				m.Exchange, m.Topic, m.QoS, m.Retain = vh.topics, []byte(topicOfKey(n.key)), AtLeastOnce, true
				vh.retained.set(t, m)
			}
		})
		if err != nil {
			return deleted, err
		}
		deleted += len(nodes)
	}
	return deleted, nil
}
