package amqp

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"strings"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// queueMethod handles the methods of class queue.
func (ch *channel) queueMethod(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	switch m {
	case frame.MethodQueueDeclare:
		return ch.declareQueue(t, args)
	case frame.MethodQueueBind:
		return ch.bindQueue(t, args)
	case frame.MethodQueueUnbind:
		return ch.unbindQueue(t, args)
	case frame.MethodQueuePurge:
		return ch.purgeQueue(t, args)
	case frame.MethodQueueDelete:
		return ch.deleteQueue(t, args)
	}
	return nil, hard(frame.CommandInvalid, "%v is for servers to send", m)
}

// declareQueue handles queue.declare. (AMQP 1.7.2.1)
func (ch *channel) declareQueue(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.QueueDeclare
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	name := clean(p.Queue)
	if name == replyTo { // whoever asks is told that it is there
		ch.queue = name
		if !p.NoWait {
			ch.reply(t, frame.AppendQueueDeclareOK(ch.ready(t), ch.n, name, 0, 1))
		}
		return nil, nil
	}
	var q *core.Queue
	var wait core.Wait
	var err error
	if p.Passive {
		q, wait, err = ch.passiveQueue(t, name)
	} else {
		q, wait, err = ch.activeQueue(t, name, &p)
	}
	if wait != nil || err != nil {
		return wait, err
	}
	ch.queue = q.Name()
	if !p.NoWait {
		i := q.Info()
		ch.reply(t, frame.AppendQueueDeclareOK(ch.ready(t), ch.n, q.Name(), count(i.Ready), uint32(i.Consumers)))
	}
	return nil, nil
}

// count is a number of messages as AMQP can write it.
func count(n int64) uint32 { return uint32(min(max(n, 0), math.MaxUint32)) }

func (ch *channel) passiveQueue(t *core.Turn, name string) (*core.Queue, core.Wait, error) {
	if name == "" {
		if name = ch.queue; name == "" {
			return nil, nil, ch.noQueue("")
		}
	}
	if w, err := ch.mayAny(core.ResourceQueue, name); w != nil || err != nil {
		return nil, w, err
	}
	q := ch.c.vh.Queue(name)
	if q == nil {
		return nil, nil, ch.noQueue(name)
	}
	q.Touch(t)
	if isReplyQueue(name) { // whoever replies may look whether somebody is there
		return q, nil, nil
	}
	return q, nil, ch.free(q)
}

func isReplyQueue(name string) bool { return strings.HasPrefix(name, replyTo+".") }

func (ch *channel) activeQueue(t *core.Turn, name string, p *frame.QueueDeclare) (*core.Queue, core.Wait, error) {
	made := name == ""
	if made {
		prefix := "amq.gen-"
		if v, ok := p.Arguments.Get("x-name-prefix"); ok {
			switch prefix = clean(v.Bytes()); {
			case len(prefix) > 64:
				return nil, nil, soft(frame.PreconditionFailed, "x-name-prefix is longer than 64 bytes")
			case strings.HasPrefix(prefix, "amq."):
				return nil, nil, soft(frame.AccessRefused, "x-name-prefix '%s' contains reserved prefix 'amq.*'", prefix)
			}
		}
		name = prefix + rand.Text()[:22]
	} else if isReplyQueue(name) {
		return ch.passiveQueue(t, name)
	}
	if w, err := ch.may(core.ActionConfigure, core.ResourceQueue, name); w != nil || err != nil {
		return nil, w, err
	}
	q := ch.c.vh.Queue(name)
	if q != nil {
		if err := ch.sameOwner(q, p.Exclusive); err != nil {
			return nil, nil, err
		}
	}
	o, err := ch.queueOptions(name, p)
	if err != nil {
		return nil, nil, err
	}
	if q == nil {
		if !made && strings.HasPrefix(name, "amq.") {
			return nil, nil, soft(frame.AccessRefused, "queue name '%s' contains reserved prefix 'amq.*'", name)
		}
		if made && o.Quorum {
			return nil, nil, soft(frame.PreconditionFailed, "server-named queue cannot be of type quorum")
		}
		if d := o.DeadLetter; d != nil {
			if w, err := ch.mayLeadTo(core.ResourceQueue, name, d.Exchange); w != nil || err != nil {
				return nil, w, err
			}
			if w, err := ch.mayDie(d); w != nil || err != nil {
				return nil, w, err
			}
		}
		created := false
		q, created, err = ch.c.vh.Declare(t, name, o)
		var limit *core.LimitError
		if errors.As(err, &limit) {
			err = soft(frame.PreconditionFailed, "cannot declare queue '%s': queue limit in vhost '%s' (%d) is reached", name, ch.c.vh.Name(), limit.Limit)
		}
		if err != nil || created {
			return q, nil, err
		}
		if err := ch.sameOwner(q, p.Exclusive); err != nil { // somebody was faster
			return nil, nil, err
		}
	}
	q.Touch(t)
	return q, nil, ch.sameQueue(q, p)
}

// sameOwner says whether a queue that is there may be declared again by this
// connection, as exclusive as it is.
func (ch *channel) sameOwner(q *core.Queue, exclusive bool) error {
	if owner := q.Owner(); owner != nil && owner != ch.c.who || exclusive != (owner != nil) {
		return ch.locked(q)
	}
	return nil
}

// bindQueue handles queue.bind. (AMQP 1.7.2.3)
func (ch *channel) bindQueue(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.QueueBind
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	wait, err := ch.bound(t, true, p.Queue, p.Exchange, p.RoutingKey, p.Arguments)
	if wait == nil && err == nil && !p.NoWait {
		ch.reply(t, frame.AppendQueueBindOK(ch.ready(t), ch.n))
	}
	return wait, err
}

// unbindQueue handles queue.unbind. (AMQP 1.7.2.5)
func (ch *channel) unbindQueue(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.QueueUnbind
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	wait, err := ch.bound(t, false, p.Queue, p.Exchange, p.RoutingKey, p.Arguments)
	if wait == nil && err == nil {
		ch.reply(t, frame.AppendQueueUnbindOK(ch.ready(t), ch.n))
	}
	return wait, err
}

// bound adds or removes a binding of a queue. With neither queue nor key the name
// of the queue declared last is both.
func (ch *channel) bound(t *core.Turn, add bool, toQueue, fromExchange, routingKey []byte, args props.Table) (core.Wait, error) {
	key := string(routingKey)
	if len(toQueue) == 0 && key == "" {
		key = ch.queue
	}
	queue, err := ch.orLast(clean(toQueue))
	if err != nil {
		return nil, err
	}
	exchange := clean(fromExchange)
	if exchange == "" || queue == replyTo || isReplyQueue(queue) {
		return nil, ch.defaultRefused()
	}
	if w, err := ch.may(core.ActionWrite, core.ResourceQueue, queue); w != nil || err != nil {
		return w, err
	}
	if w, err := ch.may(core.ActionRead, core.ResourceExchange, exchange); w != nil || err != nil {
		return w, err
	}
	vh := ch.c.vh
	if !add && (vh.Queue(queue) == nil || vh.Exchange(exchange) == nil) {
		return nil, nil // there is no such binding, which is what was asked for
	}
	q, err := ch.queueNamed(queue)
	if err != nil {
		return nil, err
	}
	x, err := ch.exchangeNamed(exchange)
	if err != nil {
		return nil, err
	}
	return ch.bind(t, add, core.BindingSpec{Source: x, Queue: q, Key: key, Syntax: core.SyntaxAMQP, Arguments: canonical(args)})
}

// purgeQueue handles queue.purge. (AMQP 1.7.2.7)
func (ch *channel) purgeQueue(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.QueuePurge
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	q, wait, err := ch.readable(string(p.Queue))
	if wait != nil || err != nil {
		return wait, err
	}
	a := &ch.asking
	if !a.done {
		bus := ch.c.a.bus
		return func(ctx context.Context) {
			a.count, a.err = bus.Purge(ctx, q)
			a.done = true
		}, nil
	}
	n, err := a.count, a.err
	*a = asking{}
	if err == nil && !p.NoWait {
		ch.reply(t, frame.AppendQueuePurgeOK(ch.ready(t), ch.n, count(n)))
	}
	return nil, err
}

// deleteQueue handles queue.delete. (AMQP 1.7.2.9)
func (ch *channel) deleteQueue(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.QueueDelete
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	name, err := ch.orLast(clean(p.Queue))
	if err != nil {
		return nil, err
	}
	if w, err := ch.may(core.ActionConfigure, core.ResourceQueue, name); w != nil || err != nil {
		return w, err
	}
	var n int64
	if q := ch.c.vh.Queue(name); q != nil {
		if isReplyQueue(name) {
			return nil, ch.locked(q)
		}
		if q.Info().Kind == core.KindGroup {
			return nil, soft(frame.PreconditionFailed, "queue '%s' in vhost '%s' is a shared subscription of MQTT: it goes with its last member",
				name, ch.c.vh.Name())
		}
		err := ch.free(q)
		if err == nil {
			n, err = ch.c.vh.Drop(t, q, p.IfUnused, p.IfEmpty)
		}
		switch {
		case errors.Is(err, core.ErrInUse):
			return nil, soft(frame.PreconditionFailed, "queue '%s' in vhost '%s' in use", name, ch.c.vh.Name())
		case errors.Is(err, core.ErrNotEmpty):
			return nil, soft(frame.PreconditionFailed, "queue '%s' in vhost '%s' not empty", name, ch.c.vh.Name())
		case err != nil && !errors.Is(err, core.ErrNotFound):
			return nil, err
		}
	}
	if !p.NoWait {
		ch.reply(t, frame.AppendQueueDeleteOK(ch.ready(t), ch.n, count(n)))
	}
	return nil, nil
}
