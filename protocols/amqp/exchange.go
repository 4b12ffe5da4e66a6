package amqp

import (
	"errors"
	"fmt"
	"strings"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// exchangeMethod handles the methods of class exchange.
func (ch *channel) exchangeMethod(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	switch m {
	case frame.MethodExchangeDeclare:
		return ch.declareExchange(t, args)
	case frame.MethodExchangeDelete:
		return ch.deleteExchange(t, args)
	case frame.MethodExchangeBind, frame.MethodExchangeUnbind:
		return ch.bindExchange(t, m, args)
	}
	return nil, hard(frame.CommandInvalid, "%v is for servers to send", m)
}

// declareExchange handles exchange.declare. (AMQP 1.6.2.1)
func (ch *channel) declareExchange(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.ExchangeDeclare
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	name := clean(p.Exchange)
	var wait core.Wait
	var err error
	if p.Passive {
		wait, err = ch.passiveExchange(name)
	} else {
		wait, err = ch.activeExchange(t, name, &p)
	}
	if wait == nil && err == nil && !p.NoWait {
		ch.reply(t, frame.AppendExchangeDeclareOK(ch.ready(t), ch.n))
	}
	return wait, err
}

func (ch *channel) passiveExchange(name string) (core.Wait, error) {
	if name == "" {
		return nil, ch.defaultRefused()
	}
	if w, err := ch.mayAny(core.ResourceExchange, name); w != nil || err != nil {
		return w, err
	}
	_, err := ch.exchangeNamed(name)
	return nil, err
}

// mayAny asks whether the client has any right to what is named.
func (ch *channel) mayAny(r core.Resource, name string) (wait core.Wait, err error) {
	for _, a := range [...]core.Action{core.ActionConfigure, core.ActionWrite, core.ActionRead} {
		if wait, err = ch.may(a, r, name); wait != nil || err == nil {
			return wait, nil
		}
	}
	return nil, err
}

func (ch *channel) defaultRefused() error {
	return soft(frame.AccessRefused, "operation not permitted on the default exchange")
}

func (ch *channel) activeExchange(t *core.Turn, name string, p *frame.ExchangeDeclare) (core.Wait, error) {
	typ, ok := core.ParseExchangeType(string(p.Type))
	if !ok {
		return nil, soft(frame.PreconditionFailed, "unknown exchange type '%s'", p.Type)
	}
	if name == "" {
		return nil, ch.defaultRefused()
	}
	o := core.ExchangeOptions{Type: typ, Durable: p.Durable, AutoDelete: p.AutoDelete, Internal: p.Internal, Arguments: cloneTable(p.Arguments)}
	if v, ok := p.Arguments.Get("alternate-exchange"); ok {
		if v.Kind() != props.KindLongStr {
			return nil, soft(frame.PreconditionFailed, "invalid type '%v' for arg 'alternate-exchange' in exchange '%s' in vhost '%s'", v.Kind(), name, ch.c.vh.Name())
		}
		o.Alternate = string(v.Bytes())
	}
	if w, err := ch.may(core.ActionConfigure, core.ResourceExchange, name); w != nil || err != nil {
		return w, err
	}
	x := ch.c.vh.Exchange(name)
	if x == nil {
		if strings.HasPrefix(name, "amq.") {
			return nil, soft(frame.AccessRefused, "exchange name '%s' contains reserved prefix 'amq.*'", name)
		}
		if o.Alternate != "" {
			if w, err := ch.mayLeadTo(core.ResourceExchange, name, o.Alternate); w != nil || err != nil {
				return w, err
			}
		}
	}
	if x == nil || !x.Predeclared() { // what is there may not be on disk yet: the answer waits
		var err error
		if x, _, err = ch.c.vh.DeclareExchange(t, name, o); err != nil {
			return nil, err
		}
	}
	return nil, ch.sameExchange(x, o)
}

// mayLeadTo asks for what declaring something with an alternate or dead letter
// exchange needs.
func (ch *channel) mayLeadTo(r core.Resource, name, to string) (core.Wait, error) {
	if w, err := ch.may(core.ActionRead, r, name); w != nil || err != nil {
		return w, err
	}
	return ch.may(core.ActionWrite, core.ResourceExchange, to)
}

// sameExchange says what is different in another declaration.
func (ch *channel) sameExchange(x *core.Exchange, o core.ExchangeOptions) error {
	is := x.Options()
	different := func(what string, received, current any) error {
		return soft(frame.PreconditionFailed, "inequivalent arg '%s' for exchange '%s' in vhost '%s': received '%v' but current is '%v'",
			what, x.Name(), ch.c.vh.Name(), received, current)
	}
	switch {
	case is.Type != o.Type:
		return different("type", o.Type, is.Type)
	case is.Durable != o.Durable:
		return different("durable", o.Durable, is.Durable)
	case is.AutoDelete != o.AutoDelete:
		return different("auto_delete", o.AutoDelete, is.AutoDelete)
	case is.Internal != o.Internal:
		return different("internal", o.Internal, is.Internal)
	case is.Alternate != o.Alternate:
		return soft(frame.PreconditionFailed, "inequivalent arg 'alternate-exchange' for exchange '%s' in vhost '%s': received %s but current is %s",
			x.Name(), ch.c.vh.Name(), textValue(o.Alternate), textValue(is.Alternate))
	}
	return nil
}

func textValue(v string) string {
	if v == "" {
		return "none"
	}
	return fmt.Sprintf("the value '%s' of type 'longstr'", v)
}

// deleteExchange handles exchange.delete. (AMQP 1.6.2.3)
func (ch *channel) deleteExchange(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.ExchangeDelete
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	name := clean(p.Exchange)
	if name == "" {
		return nil, ch.defaultRefused()
	}
	if w, err := ch.may(core.ActionConfigure, core.ResourceExchange, name); w != nil || err != nil {
		return w, err
	}
	x := ch.c.vh.Exchange(name)
	switch {
	case x == nil && strings.HasPrefix(name, "amq."), x != nil && x.Predeclared():
		return nil, soft(frame.AccessRefused, "deletion of system exchange '%s' in vhost '%s' not allowed", name, ch.c.vh.Name())
	case x != nil:
		err := ch.c.vh.DeleteExchange(t, x, p.IfUnused)
		if errors.Is(err, core.ErrInUse) {
			return nil, soft(frame.PreconditionFailed, "exchange '%s' in vhost '%s' in use", name, ch.c.vh.Name())
		}
		if err != nil && !errors.Is(err, core.ErrNotFound) {
			return nil, err
		}
	}
	if !p.NoWait {
		ch.reply(t, frame.AppendExchangeDeleteOK(ch.ready(t), ch.n))
	}
	return nil, nil
}

// bindExchange handles exchange.bind and exchange.unbind.
func (ch *channel) bindExchange(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	var p frame.ExchangeBind
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	destination, source := clean(p.Destination), clean(p.Source)
	if destination == "" || source == "" {
		return nil, ch.defaultRefused()
	}
	if w, err := ch.may(core.ActionWrite, core.ResourceExchange, destination); w != nil || err != nil {
		return w, err
	}
	if w, err := ch.may(core.ActionRead, core.ResourceExchange, source); w != nil || err != nil {
		return w, err
	}
	add := m == frame.MethodExchangeBind
	to, err := ch.exchangeNamed(destination)
	if err != nil && add {
		return nil, err
	}
	from, err := ch.exchangeNamed(source)
	if err != nil && add {
		return nil, err
	}
	if from != nil && to != nil {
		b := core.BindingSpec{Source: from, Exchange: to, Key: string(p.RoutingKey), Syntax: core.SyntaxAMQP, Arguments: canonical(p.Arguments)}
		if wait, err := ch.bind(t, add, b); wait != nil || err != nil {
			return wait, err
		}
	}
	switch {
	case p.NoWait:
	case add:
		ch.reply(t, frame.AppendExchangeBindOK(ch.ready(t), ch.n))
	default:
		ch.reply(t, frame.AppendExchangeUnbindOK(ch.ready(t), ch.n))
	}
	return nil, nil
}

// bind adds or removes a binding.
func (ch *channel) bind(t *core.Turn, add bool, b core.BindingSpec) (core.Wait, error) {
	if w, err := ch.mayBind(b.Source, b.Key); w != nil || err != nil {
		return w, err
	}
	if add {
		err := ch.c.vh.Bind(t, b)
		if errors.Is(err, core.ErrBadAddress) && b.Source.Options().Type == core.Headers {
			err = soft(frame.PreconditionFailed, "Invalid x-match field value or type: %v", err)
		}
		return nil, err
	}
	err := ch.c.vh.Unbind(t, b)
	if errors.Is(err, core.ErrNotFound) {
		err = nil // it is gone, which is what was asked for
	}
	return nil, err
}
