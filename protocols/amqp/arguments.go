package amqp

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// An argument is one of those that queue.declare knows.
type argument struct {
	name  string
	types queueTypes // that it is for
	apply func(*queueArguments, props.Value) error
}

type queueTypes uint8

const (
	classic queueTypes = 1 << iota
	quorum
	stream
	anyType = classic | quorum | stream
)

// queueArguments are what a declaration says.
type queueArguments struct {
	core.QueueOptions
	kind queueTypes
}

const maxMillis = int64(maxTTL)

// arguments are those that RabbitMQ knows. What they say of machines, versions
// and memory has no meaning here, and is checked all the same.
var arguments = []argument{
	{"x-queue-type", anyType, nil}, // looked at first
	{"x-message-ttl", classic | quorum, func(q *queueArguments, v props.Value) error {
		n, err := integer(v, 0, maxMillis)
		if q.Limits.TTL = n; n == 0 {
			q.Limits.TTL = core.AtOnce
		}
		return err
	}},
	{"x-expires", classic | quorum, func(q *queueArguments, v props.Value) (err error) {
		q.Expires, err = integer(v, 1, maxMillis)
		return err
	}},
	{"x-max-length", classic | quorum, func(q *queueArguments, v props.Value) error {
		n, err := integer(v, 0, math.MaxInt64)
		if q.Limits.MaxLength = n; n == 0 {
			q.Limits.MaxLength = core.AtOnce
		}
		return err
	}},
	{"x-max-length-bytes", anyType, func(q *queueArguments, v props.Value) error {
		n, err := integer(v, 0, math.MaxInt64)
		if q.Limits.MaxBytes = n; n == 0 {
			q.Limits.MaxBytes = core.AtOnce
		}
		return err
	}},
	{"x-overflow", classic | quorum, func(q *queueArguments, v props.Value) error {
		s, err := oneOf(v, "drop-head", "reject-publish", "reject-publish-dlx")
		switch s {
		case "reject-publish":
			q.Limits.Overflow = core.RejectPublish
		case "reject-publish-dlx":
			if q.Limits.Overflow = core.RejectPublishDLX; q.kind == quorum { // which RabbitMQ does not have
				q.Limits.Overflow = core.DropHead
			}
		}
		return err
	}},
	{"x-dead-letter-exchange", classic | quorum, func(q *queueArguments, v props.Value) error {
		q.deadLetter().Exchange = string(v.Bytes())
		return text(v)
	}},
	{"x-dead-letter-routing-key", classic | quorum, func(q *queueArguments, v props.Value) error {
		if q.DeadLetter == nil { // the exchange comes before it, if at all
			return fmt.Errorf("routing_key_but_no_dlx_defined")
		}
		q.DeadLetter.Key, q.DeadLetter.HasKey = string(v.Bytes()), true
		return text(v)
	}},
	{"x-dead-letter-strategy", quorum, func(_ *queueArguments, v props.Value) error {
		_, err := oneOf(v, "at-most-once", "at-least-once")
		return err
	}},
	{"x-max-priority", classic, func(q *queueArguments, v props.Value) error {
		n, err := integer(v, 0, 255)
		q.MaxPriority = uint8(n)
		return err
	}},
	{"x-single-active-consumer", classic | quorum, func(q *queueArguments, v props.Value) error {
		q.SingleActive = v.Bool()
		return kind(v, props.KindBool)
	}},
	{"x-delivery-limit", quorum, func(q *queueArguments, v props.Value) error {
		n, err := integer(v, math.MinInt64, math.MaxInt64)
		switch {
		case n < 0:
			q.DeliveryLimit = 0
		case n == 0:
			q.DeliveryLimit = core.AtOnce
		default:
			q.DeliveryLimit = int32(min(n, math.MaxInt32))
		}
		return err
	}},
	{"x-queue-mode", classic, among("default", "lazy")},
	{"x-queue-version", classic, within(2, 2)},
	{"x-queue-master-locator", classic, anyText},
	{"x-queue-leader-locator", anyType, among("client-local", "balanced")},
	{"x-quorum-initial-group-size", quorum, within(1, math.MaxInt64)},
	{"x-quorum-target-group-size", quorum, within(1, math.MaxInt64)},
	{"x-max-in-memory-length", quorum, within(0, math.MaxInt64)},
	{"x-max-in-memory-bytes", quorum, within(0, math.MaxInt64)},
	{"x-consumer-timeout", quorum, within(0, math.MaxInt64)},
	{"x-consumer-disconnected-timeout", quorum, within(0, math.MaxInt64)},
	{"x-delayed-retry-type", quorum, anyText},
	{"x-delayed-retry-min", quorum, within(0, math.MaxInt64)},
	{"x-delayed-retry-max", quorum, within(0, math.MaxInt64)},
	{"x-member-placement-tag", quorum, anyText},
	{"x-max-age", stream, anyText},
	{"x-stream-max-segment-size-bytes", stream, within(0, math.MaxInt64)},
	{"x-stream-filter-size-bytes", stream, within(0, math.MaxInt64)},
	{"x-initial-cluster-size", stream, within(1, math.MaxInt64)},
}

func (q *queueArguments) deadLetter() *core.DeadLetter {
	if q.DeadLetter == nil {
		q.DeadLetter = &core.DeadLetter{}
	}
	return q.DeadLetter
}

// defaultDeliveryLimit is that of quorum queues.
const defaultDeliveryLimit = 20

// queueOptions says what a declaration means. (AMQP 1.7.2.1)
func (ch *channel) queueOptions(name string, p *frame.QueueDeclare) (core.QueueOptions, error) {
	bad := func(arg string, err error) (core.QueueOptions, error) {
		if v, _ := p.Arguments.Get(arg); arg == "x-dead-letter-exchange" && v.Kind() != props.KindLongStr {
			return core.QueueOptions{}, soft(frame.PreconditionFailed, "invalid type '%v' for arg '%s' in queue '%s' in vhost '%s'", v.Kind(), arg, name, ch.c.vh.Name())
		}
		return core.QueueOptions{}, soft(frame.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s': %v", arg, name, ch.c.vh.Name(), err)
	}
	q := &queueArguments{kind: classic}
	q.Durable, q.AutoDelete, q.Arguments = p.Durable, p.AutoDelete, cloneTable(p.Arguments)
	if p.Exclusive {
		q.Owner = ch.c.who
	}
	if v, ok := p.Arguments.Get("x-queue-type"); ok {
		if err := text(v); err != nil {
			return bad("x-queue-type", err)
		}
		switch string(v.Bytes()) {
		case "classic":
		case "quorum":
			q.kind, q.Quorum, q.DeliveryLimit = quorum, true, defaultDeliveryLimit
		case "stream":
			return core.QueueOptions{}, hard(frame.NotImplemented, "queues of type stream are not there yet (queue '%s' in vhost '%s')", name, ch.c.vh.Name())
		default:
			return bad("x-queue-type", fmt.Errorf("unsupported queue type '%s'", v.Bytes()))
		}
	}
	for _, a := range arguments {
		v, ok := p.Arguments.Get(a.name)
		if !ok || a.apply == nil {
			continue
		}
		if a.types&q.kind == 0 {
			return bad(a.name, fmt.Errorf("not for queues of this type"))
		}
		if err := a.apply(q, v); err != nil {
			return bad(a.name, err)
		}
	}
	if q.kind == quorum {
		for what, wrong := range map[string]bool{"non-durable": !p.Durable, "exclusive-owner": p.Exclusive, "auto-delete": p.AutoDelete} {
			if wrong {
				return core.QueueOptions{}, soft(frame.PreconditionFailed, "invalid property '%s' for queue '%s' in vhost '%s'", what, name, ch.c.vh.Name())
			}
		}
	}
	return q.QueueOptions, nil
}

func integer(v props.Value, least, most int64) (int64, error) {
	if !v.IsInt() {
		return 0, fmt.Errorf("unacceptable type '%v'", v.Kind())
	}
	n := v.Int64()
	if n < least || n > most {
		return 0, fmt.Errorf("%d is not from %d to %d", n, least, most)
	}
	return n, nil
}

func kind(v props.Value, k props.Kind) error {
	if v.Kind() != k {
		return fmt.Errorf("unacceptable type '%v'", v.Kind())
	}
	return nil
}

func text(v props.Value) error { return kind(v, props.KindLongStr) }

func oneOf(v props.Value, words ...string) (string, error) {
	s := string(v.Bytes())
	if err := text(v); err != nil {
		return "", err
	}
	if !slices.Contains(words, s) {
		return "", fmt.Errorf("'%s' is none of %q", s, words)
	}
	return s, nil
}

func within(least, most int64) func(*queueArguments, props.Value) error {
	return func(_ *queueArguments, v props.Value) error {
		_, err := integer(v, least, most)
		return err
	}
}

func among(words ...string) func(*queueArguments, props.Value) error {
	return func(_ *queueArguments, v props.Value) error {
		_, err := oneOf(v, words...)
		return err
	}
}

func anyText(_ *queueArguments, v props.Value) error { return text(v) }

// sameQueue says what is different in another declaration.
func (ch *channel) sameQueue(q *core.Queue, p *frame.QueueDeclare) error {
	is := q.Options()
	different := func(what, received, current string) error {
		return soft(frame.PreconditionFailed, "inequivalent arg '%s' for queue '%s' in vhost '%s': received %s but current is %s",
			what, q.Name(), ch.c.vh.Name(), received, current)
	}
	quoted := func(b bool) string { return "'" + strconv.FormatBool(b) + "'" }
	switch {
	case is.Owner == nil && is.Durable != p.Durable:
		return different("durable", quoted(p.Durable), quoted(is.Durable))
	case is.AutoDelete != p.AutoDelete:
		return different("auto_delete", quoted(p.AutoDelete), quoted(is.AutoDelete))
	}
	current := props.Table(is.Arguments)
	for _, a := range arguments {
		v, ok := p.Arguments.Get(a.name)
		w, has := current.Get(a.name)
		if ok == has && (!ok || props.EqualValue(v, w)) {
			continue
		}
		if a.apply == nil && !(ok && has) && typeOf(v, ok) == typeOf(w, has) {
			continue // no type is classic
		}
		if ok && has {
			return different(a.name, "'"+plainText(v)+"'", "'"+plainText(w)+"'")
		}
		return different(a.name, valueText(v, ok), valueText(w, has))
	}
	return nil
}

func typeOf(v props.Value, ok bool) string {
	if !ok {
		return "classic"
	}
	return string(v.Bytes())
}

func valueText(v props.Value, ok bool) string {
	if !ok {
		return "none"
	}
	return fmt.Sprintf("the value '%s' of type '%v'", plainText(v), v.Kind())
}

func plainText(v props.Value) string {
	switch {
	case v.IsInt():
		return strconv.FormatInt(v.Int64(), 10)
	case v.IsFloat():
		return strconv.FormatFloat(v.Float64(), 'g', -1, 64)
	case v.Kind() == props.KindBool:
		return strconv.FormatBool(v.Bool())
	}
	return string(v.Bytes())
}

func cloneTable(t props.Table) []byte {
	if len(t) == 0 {
		return nil
	}
	return slices.Clone(t)
}

// canonical is how the arguments of a binding are written, so that the same ones
// are the same bytes.
func canonical(t props.Table) []byte {
	if len(t) == 0 {
		return nil
	}
	return props.AppendCanonical(nil, t)
}
