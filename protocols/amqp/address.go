package amqp

import (
	"strings"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// replyTo is what stands for the queue that takes the replies to a channel's
// requests, in basic.consume and in the property reply-to.
const replyTo = "amq.rabbitmq.reply-to"

// orLast returns the name of a queue in a method; no name is that of the queue
// declared last on the channel.
func (ch *channel) orLast(name string) (string, error) {
	if name == "" {
		name = ch.queue
	}
	if name == "" {
		return "", soft(frame.NotFound, "no previously declared queue")
	}
	return name, nil
}

// queueNamed finds the queue that a method names. See orLast.
func (ch *channel) queueNamed(name string) (*core.Queue, error) {
	name, err := ch.orLast(name)
	if err != nil {
		return nil, err
	}
	q := ch.c.vh.Queue(name)
	if q == nil {
		return nil, ch.noQueue(name)
	}
	return q, ch.free(q)
}

// readable is queueNamed for who wants what is in the queue.
func (ch *channel) readable(name string) (*core.Queue, core.Wait, error) {
	q, err := ch.queueNamed(name)
	if err != nil {
		return nil, nil, err
	}
	wait, err := ch.may(core.ActionRead, core.ResourceQueue, q.Name())
	return q, wait, err
}

func (ch *channel) noQueue(name string) error {
	return soft(frame.NotFound, "no queue '%s' in vhost '%s'", name, ch.c.vh.Name())
}

// free says whether the connection may touch the queue at all.
func (ch *channel) free(q *core.Queue) error {
	if owner := q.Owner(); owner != nil && owner != ch.c.who {
		return ch.locked(q)
	}
	return nil
}

func (ch *channel) locked(q *core.Queue) error {
	return soft(frame.ResourceLocked, "cannot obtain exclusive access to locked queue '%s' in vhost '%s'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.",
		q.Name(), ch.c.vh.Name())
}

func (ch *channel) exchangeNamed(name string) (*core.Exchange, error) {
	x := ch.c.vh.Exchange(name)
	if x == nil {
		return nil, ch.noExchange(name)
	}
	return x, nil
}

func (ch *channel) noExchange(name string) error {
	return soft(frame.NotFound, "no exchange '%s' in vhost '%s'", name, ch.c.vh.Name())
}

// clean removes what no name may have.
func clean(name []byte) string { return lineBreaks.Replace(string(name)) }

var lineBreaks = strings.NewReplacer("\r", "", "\n", "")

// may asks whether the client may do something to a queue or an exchange.
func (ch *channel) may(a core.Action, r core.Resource, name string) (core.Wait, error) {
	ok, w := ch.c.a.bus.Allowed(ch.c.who, core.Right{Action: a, Resource: r, Syntax: core.SyntaxAMQP, Address: []byte(name)})
	if ok || w != nil {
		return w, nil
	}
	return nil, ch.accessRefused(a, r, name)
}

func (ch *channel) accessRefused(a core.Action, r core.Resource, name string) error {
	kind := "queue"
	if r == core.ResourceExchange {
		if kind = "exchange"; name == "" {
			name = "amq.default"
		}
	}
	return soft(frame.AccessRefused, "%s access to %s '%s' in vhost '%s' refused for user '%s'", actionText(a), kind, name, ch.c.vh.Name(), ch.c.who.User)
}

// mayTopic asks whether the client may send messages with a key to an exchange,
// or have those with keys that it matches.
func (ch *channel) mayTopic(a core.Action, exchange, key string) (core.Wait, error) {
	ok, w := ch.c.a.bus.Allowed(ch.c.who, core.Right{Action: a, Exchange: exchange, Syntax: core.SyntaxAMQP, Address: []byte(key)})
	if ok || w != nil {
		return w, nil
	}
	return nil, ch.topicRefused(exchange, key)
}

func (ch *channel) topicRefused(exchange, key string) error {
	return soft(frame.AccessRefused, "access to topic '%s' in exchange '%s' in vhost '%s' refused for user '%s'", key, exchange, ch.c.vh.Name(), ch.c.who.User)
}

// mayBind asks whether the client may have messages with such keys.
func (ch *channel) mayBind(x *core.Exchange, key string) (core.Wait, error) {
	if x.Options().Type != core.Topic {
		return nil, nil
	}
	return ch.mayTopic(core.ActionSubscribe, x.Name(), key)
}

func actionText(a core.Action) string {
	switch a {
	case core.ActionConfigure:
		return "configure"
	case core.ActionWrite:
		return "write"
	}
	return "read"
}

// mayDie asks whether the client may publish where it wants dead letters to go.
func (ch *channel) mayDie(d *core.DeadLetter) (core.Wait, error) {
	if !d.HasKey {
		return nil, nil // each message keeps a key that somebody was allowed to use
	}
	return ch.mayTopic(core.ActionPublish, d.Exchange, d.Key)
}
