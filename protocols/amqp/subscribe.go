package amqp

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// basic handles the methods of class basic.
func (ch *channel) basic(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	switch m {
	case frame.MethodBasicPublish:
		return nil, ch.publish(args)
	case frame.MethodBasicAck:
		var p frame.Ack
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		return nil, ch.settle(t, p.Tag, p.Multiple, core.Accepted)
	case frame.MethodBasicReject:
		var p frame.Reject
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		outcome := core.Rejected
		if p.Requeue { // unlike nack, which just gives back
			outcome = core.Failed
		}
		return nil, ch.settle(t, p.Tag, false, outcome)
	case frame.MethodBasicNack:
		var p frame.Nack
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		outcome := core.Rejected
		if p.Requeue {
			outcome = core.Released
		}
		return nil, ch.settle(t, p.Tag, p.Multiple, outcome)
	case frame.MethodBasicGet:
		return ch.get(t, args)
	case frame.MethodBasicConsume:
		return ch.consume(t, args)
	case frame.MethodBasicCancel:
		return nil, ch.cancel(t, args)
	case frame.MethodBasicCancelOK:
		var p frame.CancelOK
		return nil, p.Decode(args)
	case frame.MethodBasicQos:
		return nil, ch.qos(t, args)
	case frame.MethodBasicRecover, frame.MethodBasicRecoverAsync:
		return nil, ch.recover(t, m, args)
	}
	return nil, hard(frame.CommandInvalid, "%v is for servers to send", m)
}

// qos handles basic.qos. (AMQP 1.8.3.1)
func (ch *channel) qos(t *core.Turn, args []byte) error {
	var p frame.Qos
	if err := p.Decode(args); err != nil {
		return err
	}
	if p.PrefetchSize != 0 {
		return hard(frame.NotImplemented, "prefetch_size!=0 (%d)", p.PrefetchSize)
	}
	if p.Global {
		o := ch.c.tc.Out()
		o.Lock()
		ch.out.limit = int(p.PrefetchCount)
		ch.out.resumeLocked(t)
		o.Unlock()
	} else {
		o := ch.c.tc.Out()
		o.Lock()
		ch.prefetch = p.PrefetchCount
		o.Unlock()
	}
	ch.reply(t, frame.AppendBasicQosOK(ch.ready(t), ch.n))
	return nil
}

// consume handles basic.consume. (AMQP 1.8.3.3)
func (ch *channel) consume(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.Consume
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	c := ch.c
	o := c.tc.Out()
	tag := string(p.Tag)
	o.Lock()
	used, consumers := ch.out.consumers[tag] != nil, len(ch.out.consumers)
	o.Unlock()
	switch most := c.a.conf().MaxConsumers; {
	case tag == "":
		tag = "amq.ctag-" + rand.Text()[:22]
	case used:
		return nil, hard(frame.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	case most > 0 && consumers >= most:
		return nil, hard(frame.NotAllowed, "reached maximum (%d) of consumers per channel", most)
	}
	if string(p.Queue) == replyTo {
		return nil, ch.consumeReplies(t, tag, &p)
	}
	q, wait, err := ch.readable(string(p.Queue))
	if wait != nil || err != nil {
		return wait, err
	}
	opt := core.ConsumerOptions{Identity: c.who, QoS: core.AtLeastOnce, Limit: int32(ch.prefetch), Exclusive: p.Exclusive}
	if v, ok := p.Arguments.Get("x-priority"); ok {
		if !v.IsInt() {
			return nil, soft(frame.PreconditionFailed, "invalid arg 'x-priority' for queue '%s' in vhost '%s': unacceptable type '%v'", q.Name(), c.vh.Name(), v.Kind())
		}
		opt.Priority = int32(min(max(v.Int64(), -1<<31), 1<<31-1))
	}
	if p.NoAck {
		opt.QoS, opt.Limit = core.AtMostOnce, 0
	}
	return nil, ch.begin(t, q, tag, opt, &p)
}

// begin attaches a consumer, which is served when consume-ok has left.
func (ch *channel) begin(t *core.Turn, q *core.Queue, tag string, opt core.ConsumerOptions, p *frame.Consume) error {
	o := ch.c.tc.Out()
	k := &consumer{ch: ch, tag: tag, noAck: p.NoAck}
	attached, err := q.Consume(t, k, opt)
	switch {
	case errors.Is(err, core.ErrInUse):
		return soft(frame.AccessRefused, "queue '%s' in vhost '%s' in exclusive use", q.Name(), ch.c.vh.Name())
	case errors.Is(err, core.ErrNotFound):
		return ch.noQueue(q.Name())
	case err != nil:
		return err
	}
	o.Lock()
	k.core = attached
	if ch.out.consumers == nil {
		ch.out.consumers = make(map[string]*consumer)
	}
	ch.out.consumers[tag] = k
	o.Unlock()
	if !p.NoWait {
		ch.reply(t, frame.AppendBasicConsumeOK(ch.ready(t), ch.n, tag))
	}
	t.After(func(t *core.Turn) {
		o.Lock()
		k.begun = true
		over := k.over
		o.Unlock()
		if over { // its queue went before the client knew of it
			k.Cancelled(t, attached)
			return
		}
		attached.Resume(t)
	})
	return nil
}

// consumeReplies makes the queue behind amq.rabbitmq.reply-to, and consumes it.
func (ch *channel) consumeReplies(t *core.Turn, tag string, p *frame.Consume) error {
	switch {
	case !p.NoAck:
		return soft(frame.PreconditionFailed, "reply consumer cannot acknowledge")
	case ch.replies != nil:
		return soft(frame.PreconditionFailed, "reply consumer already set")
	}
	q, _, err := ch.c.vh.Declare(t, replyTo+"."+rand.Text(), core.QueueOptions{Owner: ch.c.who, AutoDelete: true})
	if err != nil {
		return err
	}
	if err := ch.begin(t, q, tag, core.ConsumerOptions{Identity: ch.c.who, QoS: core.AtMostOnce}, p); err != nil {
		return err
	}
	ch.replies = q
	return nil
}

// cancel handles basic.cancel. What the consumer has not acknowledged stays with
// the channel. (AMQP 1.8.3.5)
func (ch *channel) cancel(t *core.Turn, args []byte) error {
	var p frame.Cancel
	if err := p.Decode(args); err != nil {
		return err
	}
	o := ch.c.tc.Out()
	o.Lock()
	k := ch.out.consumers[string(p.Tag)]
	if k != nil {
		delete(ch.out.consumers, k.tag)
	}
	o.Unlock()
	if k != nil {
		k.core.Stop(t)
		o.Lock()
		k.leaveLocked()
		o.Unlock()
		ch.stopped = append(slices.DeleteFunc(ch.stopped, func(c *core.Consumer) bool { return letGo(t, c) }), k.core)
		if ch.replies == k.core.Queue() {
			ch.replies = nil // it goes with its consumer
		}
	}
	if !p.NoWait {
		ch.reply(t, frame.AppendBasicCancelOK(ch.ready(t), ch.n, p.Tag))
	}
	return nil
}

// letGo ends a consumer that gets nothing more and has nothing.
func letGo(t *core.Turn, c *core.Consumer) bool {
	if c.Holds() {
		return false
	}
	c.Cancel(t)
	return true
}

// get handles basic.get. (AMQP 1.8.3.10)
func (ch *channel) get(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.Get
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	q, wait, err := ch.readable(string(p.Queue))
	if wait != nil || err != nil {
		return wait, err
	}
	if o := q.Options(); o.Quorum && o.SingleActive {
		return nil, ch.locked(q)
	}
	from := ch.getters[q]
	if from == nil || p.NoAck {
		opt := core.ConsumerOptions{Identity: ch.c.who, QoS: core.AtLeastOnce}
		if p.NoAck {
			opt.QoS = core.AtMostOnce
		}
		from = q.Getter(&getter{ch: ch, noAck: p.NoAck}, opt)
	}
	got, wait := from.Get(t)
	if wait != nil {
		return wait, nil
	}
	switch {
	case !got:
		ch.reply(t, frame.AppendBasicGetEmpty(ch.ready(t), ch.n))
	case !p.NoAck && ch.getters[q] == nil:
		ch.remember(t, q, from)
	}
	return nil, nil
}

// remember keeps the getter of a queue, which has what the channel has got from
// it. Those that have nothing are forgotten when there are many.
func (ch *channel) remember(t *core.Turn, q *core.Queue, from *core.Consumer) {
	if ch.getters == nil {
		ch.getters = make(map[*core.Queue]*core.Consumer)
	}
	if len(ch.getters) >= 64 {
		maps.DeleteFunc(ch.getters, func(_ *core.Queue, c *core.Consumer) bool { return letGo(t, c) })
	}
	ch.getters[q] = from
}
