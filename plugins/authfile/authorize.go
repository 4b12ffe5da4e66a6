package authfile

import (
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
	own, common := &g.rules, &p.common
	switch r.Action {
	case core.ActionPublish:
		return !denied(own, common, id, r.Address, v) &&
			(g.all || covered(own.write, id, r.Address, v) || covered(common.write, id, r.Address, v)), nil
	case core.ActionReceive:
		return !denied(own, common, id, r.Address, v) &&
			(g.all || covered(own.read, id, r.Address, v) || covered(common.read, id, r.Address, v)), nil
	case core.ActionConfigure:
		return !denied(own, common, id, r.Address, named) &&
			(g.all || covered(own.configure, id, r.Address, named) || covered(common.configure, id, r.Address, named)), nil
	case core.ActionSubscribe:
		return !shut(own.deny, id, r) && !shut(common.deny, id, r) &&
			(g.all || open(own.read, id, r) || open(common.read, id, r)), nil
	}
	return false, nil
}

// Unrestricted says that nobody who has been let in needs to be asked about:
// there is no rule, and since the start nobody can have lost a right.
func (a *Auth) Unrestricted() bool {
	p := a.policy.Load()
	if p != a.first || len(p.common.deny) > 0 || p.anonymous != nil && !p.anonymous.all {
		return false
	}
	for _, u := range p.users {
		if !u.all {
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
