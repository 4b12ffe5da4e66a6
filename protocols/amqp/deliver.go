package amqp

import (
	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// outHalf is what a connection knows of those it had to refuse. It is guarded by
// the out lock.
type outHalf struct {
	paused []*core.Consumer
}

// channelOut is what a channel has promised its client. It is guarded by the out
// lock.
type channelOut struct {
	consumers   map[string]*consumer // by tag
	first       uint64               // delivery tag of lent[0]
	lent        []lent               // deliveries in the order of their tags
	outstanding int                  // of them that are not acknowledged
	limit       int                  // of outstanding, for all consumers together; 0: none
	over        bool                 // the channel has ended
}

// lent is a delivery. Without a consumer it has been acknowledged, or asked for no
// acknowledgement.
type lent struct {
	from *core.Consumer
	ord  uint64
	tx   bool // acknowledged in a transaction that is open
}

// A consumer is the sink of a core.Consumer.
type consumer struct {
	ch    *channel
	tag   string
	noAck bool
	core  *core.Consumer // set before begun

	begun bool // guarded by the out lock: consume-ok has left
}

// Deliver encodes what a queue lends. See core.Sink.
func (k *consumer) Deliver(t *core.Turn, d core.Delivery) core.Verdict {
	ch := k.ch
	c := ch.c
	o := c.tc.Out()
	o.Lock()
	defer o.Unlock()
	if !k.begun || ch.out.over {
		return core.Refused // until it begins; for ever
	}
	if !k.noAck && ch.out.limit > 0 && ch.out.outstanding >= ch.out.limit {
		return c.out.refuseLocked(d.Consumer)
	}
	var room [maxKey]byte
	key, raw := routingKey(d.Msg, &room), properties(&d)
	exchange := d.Msg.Exchange.Name()
	head := frame.Overhead + 4 + 1 + len(k.tag) + 8 + 1 + 1 + len(exchange) + 1 + len(key) + frame.HeaderFrameSize(raw)
	size := head + frame.BodyFramesSize(len(d.Msg.Payload), c.frameMax)
	if !o.Room(size) {
		return c.out.refuseLocked(d.Consumer)
	}
	tag := ch.out.lend(&d, k.noAck)
	b := frame.AppendBasicDeliver(begin(o, d.Msg, head, size), ch.n, k.tag, tag, d.Redelivered, exchange, key)
	b = frame.AppendHeaderFrame(b, ch.n, uint64(len(d.Msg.Payload)), raw)
	c.appendBody(t, o, b, ch.n, d.Msg)
	out := t.Stats.Of(core.ProtocolAMQP)
	out.PacketsOut++
	out.Sent[d.QoS]++
	out.SentBytes[d.QoS] += uint64(len(d.Msg.Payload))
	return core.Taken
}

// byReference is the size from which on a body is worth buffers of its own in a
// write.
const byReference = 16 << 10

func begin(o *transport.Outbox, m *core.Message, head, size int) []byte {
	if m.Owned && len(m.Payload) >= byReference {
		return o.Begin(head)
	}
	return o.Begin(size)
}

// appendBody ends what was begun with the body. A large one that never changes is
// not copied.
func (c *conn) appendBody(t *core.Turn, o *transport.Outbox, b []byte, n uint16, m *core.Message) {
	if !m.Owned || len(m.Payload) < byReference {
		o.End(t, frame.AppendBodyFrames(b, n, m.Payload, c.frameMax))
		return
	}
	o.End(t, b)
	for rest, most := m.Payload, int(c.frameMax)-frame.Overhead; len(rest) > 0; {
		part := rest[:min(len(rest), most)]
		rest = rest[len(part):]
		o.End(t, frame.AppendHeader(o.Begin(frame.HeaderSize), frame.FrameBody, n, uint32(len(part))))
		o.AppendRef(t, part)
		o.End(t, append(o.Begin(1), frame.EndOctet))
	}
}

// lend gives a delivery its tag.
func (h *channelOut) lend(d *core.Delivery, noAck bool) uint64 {
	tag := h.first + uint64(len(h.lent))
	switch {
	case !noAck:
		h.lent = append(h.lent, lent{from: d.Consumer, ord: d.Ordinal})
		h.outstanding++
	case len(h.lent) > 0:
		h.lent = append(h.lent, lent{})
	default:
		h.first++
	}
	return tag
}

// refuseLocked notes who is to be asked again when there is room.
func (h *outHalf) refuseLocked(from *core.Consumer) core.Verdict {
	for _, p := range h.paused {
		if p == from {
			return core.Refused
		}
	}
	h.paused = append(h.paused, from)
	return core.Refused
}

// resumeLocked has who was refused asked again, at the end of the turn.
func (h *outHalf) resumeLocked(t *core.Turn) {
	if len(h.paused) == 0 {
		return
	}
	paused := h.paused
	h.paused = nil
	t.Do(func(t *core.Turn) {
		for _, p := range paused {
			p.Resume(t)
		}
	})
}

// Cancelled tells the client that a consumer's queue is gone. See
// core.CancelledSink.
func (k *consumer) Cancelled(t *core.Turn, _ *core.Consumer) {
	ch := k.ch
	o := ch.c.tc.Out()
	o.Lock()
	known := ch.out.consumers[k.tag] == k
	if known {
		delete(ch.out.consumers, k.tag)
	}
	o.Unlock()
	if known && ch.c.client.consumerCancelNotify {
		o.AppendReply(t, frame.AppendBasicCancel(nil, ch.n, k.tag))
	}
}

// A getter is the sink of basic.get. It answers in the replies of the Feed that
// asks.
type getter struct {
	ch    *channel
	noAck bool
}

// Deliver encodes basic.get-ok. See core.Sink.
func (g *getter) Deliver(t *core.Turn, d core.Delivery) core.Verdict {
	ch := g.ch
	c := ch.c
	o := c.tc.Out()
	o.Lock()
	tag := ch.out.lend(&d, g.noAck)
	o.Unlock()
	var room [maxKey]byte
	b := frame.AppendBasicGetOK(ch.ready(t), ch.n, tag, d.Redelivered, d.Msg.Exchange.Name(), routingKey(d.Msg, &room), uint32(d.Left))
	b = frame.AppendHeaderFrame(b, ch.n, uint64(len(d.Msg.Payload)), properties(&d))
	ch.reply(t, frame.AppendBodyFrames(b, ch.n, d.Msg.Payload, c.frameMax))
	out := t.Stats.Of(core.ProtocolAMQP)
	out.Sent[d.QoS]++
	out.SentBytes[d.QoS] += uint64(len(d.Msg.Payload))
	return core.Taken
}
