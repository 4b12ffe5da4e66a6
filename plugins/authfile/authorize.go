package authfile

import (
	"bytes"
	"context"

	"github.com/narumq/naru/core"
)

// Authorize answers from memory and allocates nothing. Whom the policy does not
// know has no rights at all, so removing a user ends theirs; the caller of
// Reload must only tell the bus to ask again.
func (a *Auth) Authorize(_ context.Context, id *core.Identity, r core.Right) (bool, error) {
	p := a.policy.Load()
	g := p.grantOf(id)
	if g == nil || !g.mayEnter(id.VHost) {
		return false, nil
	}
	var v view
	switch r.Syntax {
	case core.SyntaxMQTT:
		v = exact
	case core.SyntaxAMQP:
		v = keyed
	default:
		return false, nil
	}
	if r.Resource > core.ResourceExchange || !g.permissions.allow(p, id, r) {
		return false, nil
	}
	return rulesAllow(&g.rules, &p.common, g.all, id, r, v), nil
}

// rulesAllow answers by the rules; all is for who has none.
func rulesAllow(own, common *ruleset, all bool, id *core.Identity, r core.Right, v view) bool {
	switch r.Action {
	case core.ActionPublish:
		return !denied(own, common, id, r.Address, v) &&
			(all || covered(own.write, id, r.Address, v) || covered(common.write, id, r.Address, v))
	case core.ActionReceive:
		return !denied(own, common, id, r.Address, v) &&
			(all || covered(own.read, id, r.Address, v) || covered(common.read, id, r.Address, v))
	case core.ActionSubscribe:
		if _, ok := ofQueue(r); ok {
			// The name of a queue is no pattern, whatever is in it.
			return !denied(own, common, id, r.Address, exact) &&
				(all || covered(own.read, id, r.Address, exact) || covered(common.read, id, r.Address, exact))
		}
		return !shut(own.deny, id, r) && !shut(common.deny, id, r) &&
			(all || open(own.read, id, r) || open(common.read, id, r))
	case core.ActionConfigure, core.ActionWrite, core.ActionRead:
		return rulesAllowUse(own, common, all, id, r)
	}
	return false
}

// rulesAllowUse answers for queues and exchanges, which rules hardly know: those
// of configure are for names, the others for addresses. So binding an exchange
// needs any right to publish or receive at all. That is no way to a message: what
// is in a queue comes out by the right to read the queue.
func rulesAllowUse(own, common *ruleset, all bool, id *core.Identity, r core.Right) bool {
	name := resourceName(r)
	if r.Action == core.ActionRead && r.Resource == core.ResourceQueue {
		var room [len(queuePrefix) + 255]byte
		r.Action, r.Syntax = core.ActionSubscribe, core.SyntaxMQTT
		r.Address = append(append(room[:0], queuePrefix...), name...)
		return rulesAllow(own, common, all, id, r, exact)
	}
	if denied(own, common, id, name, named) {
		return false
	}
	switch {
	case r.Action == core.ActionConfigure, r.Resource == core.ResourceQueue:
		return all || covered(own.configure, id, name, named) || covered(common.configure, id, name, named)
	case r.Resource != core.ResourceExchange:
		return false
	case r.Action == core.ActionWrite:
		return all || len(own.write)+len(common.write) > 0
	}
	return all || len(own.read)+len(common.read) > 0
}

// queuePrefix is how MQTT names a queue to take from.
const queuePrefix = "$queue/"

// ofQueue says whether the subscription is one of a queue, and of which.
func ofQueue(r core.Right) (name []byte, ok bool) {
	if r.Syntax != core.SyntaxMQTT {
		return nil, false
	}
	return bytes.CutPrefix(r.Address, []byte(queuePrefix))
}

// Unrestricted says that nobody who has been let in needs to be asked about:
// there is no rule, and since the start nobody can have lost a right.
func (a *Auth) Unrestricted() bool {
	p := a.policy.Load()
	if p != a.first || len(p.common.deny) > 0 || p.anonymous != nil && !p.anonymous.all {
		return false
	}
	for _, u := range p.users {
		if !u.all || !u.permissions.unrestricted() {
			return false
		}
	}
	return true
}

// Inline says that Authorize may be called from Feed.
func (a *Auth) Inline() {}

func denied(own, common *ruleset, id *core.Identity, address []byte, v view) bool {
	for _, p := range own.deny {
		if p.refuses(address, id, v) {
			return true
		}
	}
	for _, p := range common.deny {
		if p.refuses(address, id, v) {
			return true
		}
	}
	return false
}

func covered(allow []*pattern, id *core.Identity, address []byte, v view) bool {
	for _, p := range allow {
		if p.matches(address, id, v) {
			return true
		}
	}
	return false
}

// open says whether a subscription could receive anything by these patterns.
// What it does receive is asked for again, message by message, so a filter may
// reach beyond them.
func open(read []*pattern, id *core.Identity, r core.Right) bool {
	var room [256]byte
	for _, p := range read {
		if l, ok := p.fill(id, r.Syntax, room[:0]); ok && l.overlaps(r.Address, r.Syntax) {
			return true
		}
	}
	return false
}

// shut says whether everything that the subscription could receive is denied,
// so that the client hears of it at once. Denials that do so only together are
// not noticed.
func shut(deny []*pattern, id *core.Identity, r core.Right) bool {
	var room [256]byte
	for _, p := range deny {
		if l, ok := p.fill(id, r.Syntax, room[:0]); ok && l.covers(r.Address, r.Syntax) {
			return true
		}
	}
	return false
}

var (
	_ core.Authorizer = (*Auth)(nil)
	_ core.Inline     = (*Auth)(nil)
)
