package amqp

import (
	"math"
	"slices"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// waiting are consumers that were refused, each once. It is guarded by the out
// lock.
type waiting []*consumer

// channelOut is what a channel has promised its client. It is guarded by the out
// lock.
type channelOut struct {
	consumers   map[string]*consumer // by tag
	last        uint64               // delivery tag given last
	lent        []lent               // what may be acknowledged, in the order of the tags; with holes
	outstanding int                  // of lent without the holes
	got         int                  // of outstanding, by basic.get
	limit       int                  // of outstanding to all consumers together; 0: none
	paused      waiting              // for less to be outstanding
	over        bool                 // the channel has ended
}

// lent is a delivery. Without a consumer it is a hole: it has been acknowledged.
type lent struct {
	tag  uint64
	from *core.Consumer
	ord  uint64
	tx   bool // acknowledged in a transaction that is open
	got  bool // by basic.get
}

// A consumer is the sink of a core.Consumer.
type consumer struct {
	ch    *channel
	tag   string
	noAck bool
	core  *core.Consumer // set before begun

	// guarded by the out lock
	begun  bool // consume-ok has left
	paused bool // it is among those who wait
	over   bool // its queue is gone
}

// Deliver encodes what a queue lends. See core.Sink.
func (k *consumer) Deliver(t *core.Turn, d core.Delivery) core.Verdict {
	ch := k.ch
	c := ch.c
	o := c.tc.Out()
	o.Lock()
	defer o.Unlock()
	if !k.begun || ch.out.over || c.tc.Ending() {
		return core.Refused // until it begins; for ever
	}
	if !k.noAck && ch.out.fullLocked() {
		return ch.out.paused.refuse(k, &d)
	}
	var room [maxKey]byte
	key, raw := routingKey(d.Msg, &room), properties(&d)
	exchange := d.Msg.Exchange.Name()
	head := frame.Overhead + 4 + 1 + len(k.tag) + 8 + 1 + 1 + len(exchange) + 1 + len(key) + frame.HeaderFrameSize(raw)
	size := head + frame.BodyFramesSize(len(d.Msg.Payload), c.frameMax)
	if !o.Room(size) {
		return c.out.refuse(k, &d)
	}
	tag := ch.out.lend(k.core, &d, k.noAck)
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
	for rest, most := m.Payload, frame.BodyMax(c.frameMax); len(rest) > 0; {
		part := rest[:min(len(rest), most)]
		rest = rest[len(part):]
		o.End(t, frame.AppendHeader(o.Begin(frame.HeaderSize), frame.FrameBody, n, uint32(len(part))))
		o.AppendRef(t, part)
		o.End(t, append(o.Begin(1), frame.EndOctet))
	}
}

// lend gives a delivery its tag. One that comes from no queue (QoS 0, to a member
// of a shared subscription) can be acknowledged like any other, to no effect.
func (h *channelOut) lend(to *core.Consumer, d *core.Delivery, noAck bool) uint64 {
	h.last++
	if noAck {
		return h.last
	}
	l := lent{tag: h.last, from: d.Consumer, ord: d.Ordinal}
	if l.from == nil {
		l.from, l.ord = to, math.MaxUint64
	}
	h.lent = append(h.lent, l)
	h.outstanding++
	return h.last
}

// refuse notes who is to be asked again when there is room. What comes from no
// queue is not offered again.
func (w *waiting) refuse(k *consumer, d *core.Delivery) core.Verdict {
	if d.Consumer != nil && !k.paused {
		k.paused = true
		*w = append(*w, k)
	}
	return core.Refused
}

// resume has who was refused asked again, at the end of the turn.
func (w *waiting) resume(t *core.Turn) {
	if len(*w) == 0 {
		return
	}
	list := *w
	*w = nil
	for _, k := range list {
		k.paused = false
	}
	t.Do(func(t *core.Turn) {
		for _, k := range list {
			k.core.Resume(t)
		}
	})
}

// leave takes those of a channel off.
func (w *waiting) leave(ch *channel) {
	*w = slices.DeleteFunc(*w, func(k *consumer) bool { return k.ch == ch })
}

// leaveLocked takes a consumer that gets nothing more off the lists of those who
// wait.
func (k *consumer) leaveLocked() {
	if !k.paused {
		return
	}
	k.paused = false
	for _, w := range [...]*waiting{&k.ch.out.paused, &k.ch.c.out} {
		*w = slices.DeleteFunc(*w, func(other *consumer) bool { return other == k })
	}
}

// Cancelled tells the client that a consumer's queue is gone. See
// core.CancelledSink.
func (k *consumer) Cancelled(t *core.Turn, _ *core.Consumer) {
	ch := k.ch
	o := ch.c.tc.Out()
	o.Lock()
	k.over = true
	k.leaveLocked()
	known := k.begun && ch.out.consumers[k.tag] == k
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
	tag := ch.out.lend(d.Consumer, &d, g.noAck)
	if !g.noAck {
		ch.out.lent[len(ch.out.lent)-1].got = true
		ch.out.got++
	}
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
