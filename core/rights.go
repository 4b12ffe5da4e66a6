package core

import (
	"bytes"
	"context"
	"fmt"
	"sync"
)

// A Principal is an identity with the answers that an authorizer gave about
// it. Every connection has one, and every session: an offline session's rights
// are asked for as well.
type Principal struct {
	Identity
	session *Session
	since   int64 // unix milliseconds at which the session was opened

	mu      sync.Mutex
	epoch   uint64            // guarded by mu: of the answers
	answers map[question]bool // guarded by mu; only for authorizers that may block
}

type question struct {
	action   Action
	resource Resource
	syntax   Syntax
	exchange string
	address  string
}

// maxAnswers bounds the answers remembered for one principal. Of more, half are
// forgotten: what is asked in one go must not push itself out.
const maxAnswers = 1024

type permission uint8

const (
	unknown permission = iota // must be asked outside Feed
	allowed
	denied
)

// NewPrincipal returns a principal for an identity.
func NewPrincipal(id Identity) *Principal { return &Principal{Identity: id} }

// may answers from memory, if it can.
func (b *Bus) may(p *Principal, r Right) permission {
	if b.unrestricted.Load() {
		return allowed
	}
	if b.authorizeInline {
		ok, err := b.authorizer.Authorize(context.Background(), &p.Identity, r)
		if ok && err == nil {
			return allowed
		}
		return denied
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch != b.rightsEpoch.Load() {
		return unknown
	}
	ok, known := p.answers[question{r.Action, r.Resource, r.Syntax, r.Exchange, string(r.Address)}]
	switch {
	case !known:
		return unknown
	case ok:
		return allowed
	}
	return denied
}

// Allowed says whether who may do this. A Wait means that the authorizer must be
// asked first: ask again when it is over.
func (b *Bus) Allowed(who *Principal, r Right) (ok bool, w Wait) {
	switch b.may(who, r) {
	case allowed:
		return true, nil
	case denied:
		return false, nil
	}
	r.Address = bytes.Clone(r.Address)
	return false, b.askAll([]*Principal{who}, r)
}

// ask asks the authorizer and remembers the answer. It may block.
func (b *Bus) ask(ctx context.Context, p *Principal, r Right) {
	epoch := b.rightsEpoch.Load()
	ok, err := b.authorizer.Authorize(ctx, &p.Identity, r)
	if err != nil {
		ok = false
		if ctx.Err() != nil {
			return
		}
		b.emit(AuthorizerFailed{Identity: &p.Identity, Err: fmt.Errorf("ask for %q: %w", r.Address, err)})
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch != epoch {
		p.answers, p.epoch = nil, epoch
	}
	if len(p.answers) >= maxAnswers {
		for q := range p.answers {
			if delete(p.answers, q); len(p.answers) <= maxAnswers/2 {
				break
			}
		}
	}
	if p.answers == nil {
		p.answers = make(map[question]bool)
	}
	p.answers[question{r.Action, r.Resource, r.Syntax, r.Exchange, string(r.Address)}] = ok
}

// askAll returns a Wait that asks about several principals.
func (b *Bus) askAll(who []*Principal, r Right) Wait {
	return func(ctx context.Context) {
		for _, p := range who {
			if ctx.Err() != nil {
				return
			}
			b.ask(ctx, p, r)
		}
	}
}

// RevokeRights voids every remembered answer and every cached route. Call it
// when users or rules have changed; the next message on every path is checked
// anew.
func (b *Bus) RevokeRights() {
	b.unrestricted.Store(isUnrestricted(b.authorizer))
	b.rightsEpoch.Add(1)
}

func isUnrestricted(a Authorizer) bool {
	u, ok := a.(Unrestricting)
	return a == nil || ok && u.Unrestricted()
}

// receiveRight is the right to have a kept message, to which the address belongs.
func receiveRight(m *Message) Right {
	return Right{Action: ActionReceive, Exchange: m.Exchange.name, Syntax: m.Syntax, Address: m.Topic}
}

// permitsLocked says whether the consumer may have the entry. Entries of a
// session that were routed under the present rights have been checked then;
// those from before (a restart, a change) are checked now, and deliveries to
// the members of a group always.
//
// A named queue is a thing of its own, as in AMQP: who may consume it may have
// what is in it, wherever that came from. RabbitMQ asks for the right to read
// the queue at basic.consume and never looks at the routing keys. A session
// takes up its $queue subscriptions again by itself, and stays connected when
// rights change; so that right is asked for at each delivery, from memory.
func (q *Queue) permitsLocked(t *Turn, c *Consumer, e *entry) permission {
	b := t.bus
	if b.unrestricted.Load() || q.kind == KindNamed && c.opt.Identity.session == nil {
		return allowed
	}
	if q.kind == KindSession {
		if epoch := b.rightsEpoch.Load(); q.rights.epoch != epoch {
			q.rights.epoch, q.rights.clean = epoch, q.next
		}
		if e.ord >= q.rights.clean {
			return allowed
		}
	}
	var r Right
	if q.kind == KindNamed {
		r = subscribeRight(queuePrefix + q.name)
	} else {
		r = receiveRight(e.msg)
	}
	p := b.may(c.opt.Identity, r)
	if p == unknown && !c.paused {
		c.paused = true
		b.spawn(func(ctx context.Context) {
			b.ask(ctx, c.opt.Identity, r)
			if ctx.Err() != nil {
				return // and it would be asked without end
			}
			t := b.NewTurn()
			c.Resume(t)
			t.End()
		})
	}
	return p
}
