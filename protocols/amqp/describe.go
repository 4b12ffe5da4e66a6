package amqp

import (
	"errors"
	"fmt"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// What operators see of a connection. They ask from other goroutines than that
// which feeds it, so what they see is guarded by the out lock; what Feed alone
// changes, and reads without it, it changes under it.

// Kick ends the connection. See core.Client.
func (c *conn) Kick(cause error) { c.tc.Kick(cause) }

// Info describes the connection. See core.Client.
func (c *conn) Info() core.ConnectionInfo {
	i := core.DescribeConnection(&c.who.Identity, time.UnixMilli(c.opened))
	i.Name, i.Label, i.Clean = c.name, c.client.name, true
	o := c.tc.Out()
	o.Lock()
	defer o.Unlock()
	if c.blocked {
		i.State = "blocked"
	}
	i.Channels = len(c.channels)
	for _, ch := range c.channels {
		i.InFlight += int64(ch.out.outstanding)
	}
	return i
}

// Channels describes the channels. See core.Client.
func (c *conn) Channels() []core.ChannelInfo {
	o := c.tc.Out()
	o.Lock()
	defer o.Unlock()
	all := make([]core.ChannelInfo, 0, len(c.channels))
	for n, ch := range c.channels {
		i := core.ChannelInfo{
			VHost: c.vh.Name(), Connection: c.name, Number: int(n), User: c.who.User, Anonymous: c.who.Anonymous, Protocol: "amqp",
			State: "running", Mode: "plain", Consumers: len(ch.out.consumers), Unacked: int64(ch.out.outstanding),
			Unconfirmed: ch.confirms.unconfirmed(), Prefetch: int(ch.prefetch), Total: ch.out.limit,
		}
		if ch.closing {
			i.State = "closing"
		}
		switch {
		case ch.confirms.on:
			i.Mode = "confirm"
		case ch.tx != nil:
			i.Mode = "transaction"
		}
		all = append(all, i)
	}
	return all
}

// ConsumerName tells where the consumer is. See core.NamedSink.
func (k *consumer) ConsumerName() (connection string, channel int, tag string) {
	return k.ch.c.name, int(k.ch.n), k.tag
}

// named gives the connection the name that operators know it by.
func (c *conn) named() string {
	name := core.ConnectionName(c.tc.Peer(), c.listener.Address)
	if !c.tc.Peer().IsValid() { // many have the same two ends
		name += fmt.Sprintf(" #%d", c.a.nameless.Add(1))
	}
	return name
}

// lastWords tells a client that the broker ends the connection, if it was the
// broker. (AMQP 1.4.2.10)
func (c *conn) lastWords(t *core.Turn, cause error) {
	var why string
	switch {
	case errors.Is(cause, core.ErrShutdown):
		why = "broker forced connection closure with reason 'shutdown'"
	case errors.Is(cause, core.ErrKicked):
		why = core.ErrKicked.Error()
	default:
		return
	}
	if c.phase > awaitsProtocol {
		f := failure{code: frame.ConnectionForced, text: why}
		c.reply(t, frame.AppendConnectionClose(*t.Replies(), f.code, f.Error(), 0))
	}
}

var (
	_ core.Client    = (*conn)(nil)
	_ core.NamedSink = (*consumer)(nil)
)
