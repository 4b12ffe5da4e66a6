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

// A BindingSpec leads from an exchange to a queue or to another exchange.
type BindingSpec struct {
	Source    *Exchange
	Queue     *Queue    // the destination,
	Exchange  *Exchange // or this
	Key       string
	Syntax    Syntax
	Arguments []byte // part of what the binding is, beside both ends and key; nil: none
}

// Options returns how the exchange was declared.
func (x *Exchange) Options() ExchangeOptions { return x.opt }

// Predeclared says whether the exchange is there from the start, and stays.
func (x *Exchange) Predeclared() bool {
	return x.name == defaultExchange || strings.HasPrefix(x.name, "amq.")
}

// DeclareExchange makes an exchange, or returns the one that is there as it is.
// The caller may tell of it when the turn is committed. Errors: ErrBadAddress.
func (vh *VHost) DeclareExchange(t *Turn, name string, o ExchangeOptions) (x *Exchange, created bool, err error) {
	if name == "" || len(name) > 255 {
		return nil, false, fmt.Errorf("%w: exchange %q", ErrBadAddress, name)
	}
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if x = vh.exchanges[name]; x != nil {
		return x, false, nil
	}
	x = newExchange(vh, name, o.Type)
	x.opt = o
	vh.exchanges[name] = x
	return x, true, nil
}

// DeleteExchange removes an exchange with its bindings. Errors: ErrInUse,
// ErrNotFound if it has gone already.
func (vh *VHost) DeleteExchange(t *Turn, x *Exchange, ifUnused bool) error {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if vh.exchanges[x.name] != x {
		return fmt.Errorf("exchange %q: %w", x.name, ErrNotFound)
	}
	delete(vh.exchanges, x.name)
	return nil
}

// Bind adds a binding; one that is there already stays as it is. Errors:
// ErrNotFound if either end has gone, ErrBadAddress.
func (vh *VHost) Bind(t *Turn, b BindingSpec) error {
	return vh.BindQueue(t, b.Queue, b.Source.name, b.Key, b.Syntax)
}

// Unbind removes a binding, if it is there.
func (vh *VHost) Unbind(t *Turn, b BindingSpec) error {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	d := binding{b.Source.name, b.Key, b.Syntax}
	if i := slices.Index(vh.bound[b.Queue], d); i >= 0 {
		b.Source.unbind(b.Queue, b.Syntax, b.Key)
		vh.bound[b.Queue] = slices.Delete(vh.bound[b.Queue], i, i+1)
		t.promise(b.Queue.sh).batch.Delete(bindingKey(b.Queue.id, b.Source.name, b.Syntax, b.Key))
	}
	return nil
}

// ParseExchangeType finds an exchange type by the name it has in AMQP.
func ParseExchangeType(name string) (ExchangeType, bool) {
	for t := Direct; t <= Topic; t++ {
		if t.String() == name {
			return t, true
		}
	}
	return 0, false
}
