package amqp

import (
	"errors"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A channel is one of the conversations on a connection. Its fields are owned by
// Feed, those of out by the out lock.
type channel struct {
	c       *conn
	n       uint16
	pub     core.Publisher
	closing bool // we have closed it, and wait for close-ok; changed under the out lock

	queue    string         // declared last
	exchange *core.Exchange // published to last
	prefetch uint16         // of consumers that begin; changed under the out lock
	content  content
	confirms confirms
	tx       *transaction // nil unless transactional; set under the out lock
	getters  map[*core.Queue]*core.Consumer
	stopped  []*core.Consumer // cancelled, and with something that is not acknowledged
	replies  *core.Queue      // behind amq.rabbitmq.reply-to, of this channel's consumer
	asking   asking

	out channelOut
}

// asking is what must survive a Wait in the middle of a method.
type asking struct {
	done  bool
	count int64
	err   error
}

// openChannel handles channel.open on a number that is free.
func (c *conn) openChannel(t *core.Turn, n uint16, args []byte) error {
	var p frame.ChannelOpen
	if err := p.Decode(args); err != nil {
		return err
	}
	if len(c.channels) >= c.most {
		return bare(frame.NotAllowed, "number of channels opened (%d) has reached the negotiated channel_max (%d)", len(c.channels), c.most)
	}
	var limit *core.LimitError
	if err := c.a.bus.OpenChannel(c.who); errors.As(err, &limit) {
		return bare(frame.NotAllowed, "number of channels opened for user '%s' has reached the maximum allowed user limit of (%d)", c.who.User, limit.Limit)
	} else if err != nil {
		return err
	}
	ch := &channel{c: c, n: n, pub: *c.vh.NewPublisher(c.who), prefetch: uint16(c.a.conf().DefaultPrefetch)}
	o := c.tc.Out()
	o.Lock()
	if c.channels == nil {
		c.channels = make(map[uint16]*channel)
	}
	c.channels[n] = ch
	o.Unlock()
	c.reply(t, frame.AppendChannelOpenOK(*t.Replies(), n))
	return nil
}

// methodFrame acts on a method of an open channel.
func (ch *channel) methodFrame(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	switch m.Class() {
	case frame.ClassBasic:
		return ch.basic(t, m, args)
	case frame.ClassQueue:
		return ch.queueMethod(t, m, args)
	case frame.ClassExchange:
		return ch.exchangeMethod(t, m, args)
	case frame.ClassConfirm:
		return nil, ch.confirmSelect(t, m, args)
	case frame.ClassTx:
		return ch.txMethod(t, m, args)
	}
	switch m {
	case frame.MethodChannelOpen:
		return nil, hard(frame.ChannelError, "second 'channel.open' seen")
	case frame.MethodChannelClose:
		return nil, ch.close(t, args)
	case frame.MethodChannelFlow:
		var p frame.ChannelFlow
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		if !p.Active {
			return nil, hard(frame.NotImplemented, "active=false")
		}
		ch.reply(t, frame.AppendChannelFlowOK(*t.Replies(), ch.n, true))
		return nil, nil
	case frame.MethodChannelFlowOK, frame.MethodChannelCloseOK:
		return nil, nil
	case frame.MethodAccessRequest:
		var p frame.AccessRequest
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		ch.reply(t, frame.AppendAccessRequestOK(*t.Replies(), ch.n))
		return nil, nil
	}
	return nil, hard(frame.CommandInvalid, "unimplemented method")
}

// reply takes what an encoder has appended to the replies. What the channel has
// to confirm goes first: encoders get the replies by ready.
func (ch *channel) reply(t *core.Turn, b []byte) { ch.c.reply(t, b) }

// ready returns the replies, after what the channel has to confirm.
func (ch *channel) ready(t *core.Turn) []byte {
	ch.confirmNow(t)
	return *t.Replies()
}

// close handles channel.close.
func (ch *channel) close(t *core.Turn, args []byte) error {
	var p frame.Close
	if err := p.Decode(args); err != nil {
		return err
	}
	ch.end(t)
	ch.c.forget(ch)
	ch.reply(t, frame.AppendChannelCloseOK(ch.ready(t), ch.n))
	return nil
}

// closeChannel ends a channel for a failure. Its number is free again when the
// client has agreed.
func (c *conn) closeChannel(t *core.Turn, ch *channel, f *failure) {
	ch.end(t)
	o := c.tc.Out()
	o.Lock()
	ch.closing = true
	o.Unlock()
	ch.content = content{}
	c.a.log.Warn("channel closed", "user", c.who.User, "peer", c.tc.Peer(), "channel", ch.n, "method", c.method, "cause", f)
	c.reply(t, frame.AppendChannelClose(ch.ready(t), ch.n, f.code, f.Error(), c.method))
}

// afterClose ignores what a client sent before it heard that the channel is
// closed.
func (c *conn) afterClose(t *core.Turn, ch *channel, m frame.Method) {
	switch m {
	case frame.MethodChannelClose: // at the same time: its answer to ours is still to come
		c.reply(t, frame.AppendChannelCloseOK(*t.Replies(), ch.n))
		c.forget(ch)
		if c.late == nil {
			c.late = make(map[uint16]struct{})
		}
		c.late[ch.n] = struct{}{}
	case frame.MethodChannelCloseOK:
		c.forget(ch)
	}
}

func (c *conn) forget(ch *channel) {
	o := c.tc.Out()
	o.Lock()
	delete(c.channels, ch.n)
	o.Unlock()
	c.a.bus.CloseChannels(c.who, 1)
	if c.last == ch {
		c.last = nil
	}
}

// end gives back all that the channel has: consumers, and what is not
// acknowledged.
func (ch *channel) end(t *core.Turn) {
	o := ch.c.tc.Out()
	o.Lock()
	consumers := ch.out.consumers
	ch.out.consumers = nil
	ch.out.over = true
	ch.out.lent, ch.out.outstanding, ch.out.got, ch.out.paused = nil, 0, 0, nil
	ch.c.out.leave(ch)
	o.Unlock()
	for _, k := range consumers {
		if k.core != nil {
			k.core.Cancel(t)
		}
	}
	for _, k := range ch.stopped {
		k.Cancel(t)
	}
	ch.stopped = nil
	for _, g := range ch.getters {
		g.Cancel(t)
	}
	ch.getters = nil
	if ch.tx != nil {
		*ch.tx = transaction{}
	}
	if ch.replies != nil {
		_, _ = ch.c.vh.Drop(t, ch.replies, false, false) // it may have gone with its consumer
		ch.replies = nil
	}
}

func (ch *channel) quiet() {
	ch.pub.Forget()
	ch.exchange = nil
	ch.content.quiet()
}
