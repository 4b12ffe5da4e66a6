package core

import (
	"fmt"
	"slices"
	"strings"
)

// ExchangeOptions say how an exchange is declared.
type ExchangeOptions struct {
	Type       ExchangeType
	Durable    bool
	AutoDelete bool   // it goes with its last binding
	Internal   bool   // clients do not publish to it
	Alternate  string // where messages go that nothing here is bound for; "": nowhere
	// Arguments are the arguments as the declarer wrote them.
	Arguments []byte
}

// DeclareExchange makes an exchange, or returns the one that is there as it is.
// The caller may tell of it when the turn is committed. Errors: ErrBadAddress,
// ErrNotAuthorized for a new one with a reserved name.
func (vh *VHost) DeclareExchange(t *Turn, name string, o ExchangeOptions) (x *Exchange, created bool, err error) {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if x = vh.exchanges[name]; x != nil {
		if x.opt.Durable && !x.Predeclared() {
			t.promise(vh.bus.shards[0]) // whoever made it may not have been told yet
		}
		return x, false, nil
	}
	switch {
	case len(name) > 255 || strings.IndexByte(name, 0) >= 0:
		return nil, false, fmt.Errorf("%w: exchange %q", ErrBadAddress, name)
	case strings.HasPrefix(name, reservedPrefix):
		return nil, false, fmt.Errorf("exchange %q: the prefix %q is reserved: %w", name, reservedPrefix, ErrNotAuthorized)
	}
	o.Arguments = slices.Clone(o.Arguments)
	x = newExchange(vh, name, o)
	x.applyPolicies()
	x.id = vh.bus.newID()
	if err := x.readArguments(); err != nil {
		return nil, false, err
	}
	vh.registerLocked(x)
	if o.Durable {
		ch := change{t: t}
		ch.saveExchange(x)
		ch.commit()
	}
	return x, true, nil
}

// registerLocked has an exchange be found by its name, and by routes that lead
// to it as an alternate.
func (vh *VHost) registerLocked(x *Exchange) {
	vh.exchanges[x.name] = x
	vh.named.Add(1)
}

// DeleteExchange removes an exchange with its bindings. The caller may tell of it
// when the turn is committed. Errors: ErrInUse if it has bindings and is to go
// only without, ErrNotFound if it has gone already, ErrNotAuthorized for one that
// stays.
func (vh *VHost) DeleteExchange(t *Turn, x *Exchange, ifUnused bool) error {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	switch {
	case vh.exchanges[x.name] != x:
		return fmt.Errorf("exchange %q: %w", x.name, ErrNotFound)
	case x.Predeclared():
		return fmt.Errorf("exchange %q is there to stay: %w", x.name, ErrNotAuthorized)
	case ifUnused && len(x.out.list) > 0:
		return fmt.Errorf("exchange %q: %w", x.name, ErrInUse)
	}
	ch := change{t: t}
	vh.removeLocked(&ch, x)
	ch.commit()
	return nil
}

// unusedLocked removes an exchange that was to go with its last binding, if that
// has gone just now.
func (vh *VHost) unusedLocked(ch *change, x *Exchange) {
	if x.opt.AutoDelete && len(x.out.list) == 0 && vh.exchanges[x.name] == x {
		vh.removeLocked(ch, x)
	}
}

// removeLocked removes an exchange, and those that go with it.
func (vh *VHost) removeLocked(ch *change, x *Exchange) {
	delete(vh.exchanges, x.name)
	x.gone.Store(true)
	vh.named.Add(1)
	ch.forgetExchange(x)
	for _, b := range slices.Clone(x.out.list) {
		vh.unbindLocked(&b)
		ch.forget(&b)
	}
	for _, b := range slices.Clone(x.in.list) {
		if vh.unbindLocked(&b) { // not if it has led from x to x
			ch.forget(&b)
			vh.unusedLocked(ch, b.from)
		}
	}
}
