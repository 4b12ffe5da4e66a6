package mqtt

import (
	"fmt"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// An idSpace divides the packet ids of what the broker sends. Those of the
// session's own queue derive from the ordinal of the entry, so that a message
// has the same id whenever and from wherever it is sent again, without a record
// of its own. What comes from a group or a named queue takes any of the others
// and gives it back with the connection.
type idSpace struct {
	own     int // ids 1 to own: 1 + ordinal mod own
	foreign int // the ids above
}

const (
	ownIDs     = 0xbfff
	foreignIDs = 0x4000
)

var fullSpace = idSpace{own: ownIDs, foreign: foreignIDs}

// outHalf is what is promised to the client about what it is sent. It is
// guarded by the out lock.
type outHalf struct {
	lent   map[uint16]lent // deliveries of groups and named queues, by id
	last   int             // foreign id given last
	moving int             // QoS 2 deliveries on their way into the session's own queue
	paused []*core.Consumer
}

type lent struct {
	consumer *core.Consumer
	ordinal  uint64
}

// Deliver encodes what a queue lends. See core.Sink.
func (c *conn) Deliver(t *core.Turn, d core.Delivery) core.Verdict {
	o := c.tc.Out()
	o.Lock()
	defer o.Unlock()
	if d.Released {
		return c.completeLocked(t, &d)
	}
	size := packet.PublishSize(len(d.Msg.Topic), len(d.Msg.Payload), byte(d.QoS))
	if !o.Room(size) {
		return c.refuseLocked(d.Consumer)
	}
	var id uint16
	if d.QoS > core.AtMostOnce {
		own := d.Consumer.Queue() == c.session.Queue()
		switch {
		case own:
			id = c.a.ids.of(d.Ordinal)
			if d.Moved && c.out.moving > 0 {
				c.out.moving--
				c.out.resumeLocked(t)
			}
		case d.QoS == core.ExactlyOnce && !c.session.Clean():
			if c.out.moving >= c.a.conf().MaxInflight {
				return c.refuseLocked(d.Consumer)
			}
			c.out.moving++
			return core.MoveFirst
		default:
			if id = c.lendLocked(d.Consumer, d.Ordinal); id == 0 {
				return c.refuseLocked(d.Consumer)
			}
		}
	}
	c.appendPublish(t, &d, size, id)
	out := t.Stats.Of(core.ProtocolMQTT)
	out.PacketsOut++
	out.Sent[d.QoS]++
	out.SentBytes[d.QoS] += uint64(len(d.Msg.Payload))
	return core.Taken
}

// completeLocked sends PUBREL once more, for a message that the client of a
// former connection has received.
func (c *conn) completeLocked(t *core.Turn, d *core.Delivery) core.Verdict {
	o := c.tc.Out()
	if !o.Room(4) {
		return c.refuseLocked(d.Consumer)
	}
	o.End(t, packet.AppendID(o.Begin(4), packet.PUBREL, c.a.ids.of(d.Ordinal)))
	t.Stats.Of(core.ProtocolMQTT).PacketsOut++
	return core.Taken
}

// NotMoved: see core.Mover.
func (c *conn) NotMoved(t *core.Turn) {
	o := c.tc.Out()
	o.Lock()
	defer o.Unlock()
	c.out.moving = max(0, c.out.moving-1) // what comes of a former connection was not counted
	c.out.resumeLocked(t)
}

// refuseLocked notes who is to be asked again when there is room.
func (c *conn) refuseLocked(from *core.Consumer) core.Verdict {
	if from == nil {
		return core.Refused
	}
	for _, p := range c.out.paused {
		if p == from {
			return core.Refused
		}
	}
	c.out.paused = append(c.out.paused, from)
	return core.Refused
}

func (s idSpace) of(ordinal uint64) uint16 { return uint16(1 + ordinal%uint64(s.own)) }

// lendLocked takes a free id for a delivery that is not the session's own. It
// returns 0 if there is none.
func (c *conn) lendLocked(from *core.Consumer, ordinal uint64) uint16 {
	s := c.a.ids
	if len(c.out.lent) >= s.foreign {
		return 0
	}
	if c.out.lent == nil {
		c.out.lent = make(map[uint16]lent)
	}
	for {
		c.out.last = (c.out.last + 1) % s.foreign
		id := uint16(s.own + 1 + c.out.last)
		if _, used := c.out.lent[id]; !used {
			c.out.lent[id] = lent{from, ordinal}
			return id
		}
	}
}

// acknowledged handles PUBACK, PUBREC and PUBCOMP.
func (c *conn) acknowledged(t *core.Turn, typ packet.Type, body []byte) error {
	id, err := packet.DecodeID(body)
	if err != nil {
		return malformed(typ, err)
	}
	qos, outcome := core.AtLeastOnce, core.Accepted
	if typ != packet.PUBACK {
		qos = core.ExactlyOnce
	}
	if typ == packet.PUBREC {
		outcome = core.Received
	}
	switch c.settle(t, id, qos, outcome) {
	case core.Mismatch:
		return fmt.Errorf("%w: %v for packet id %d, which waits for another", core.ErrProtocol, typ, id)
	case core.NotFound, core.Again, core.Done:
		// What is not known was settled before a crash could tell, or by a
		// former connection: the client is helped on. [MQTT-4.3.3-1]
	}
	if typ == packet.PUBREC {
		c.replyID(t, packet.PUBREL, id)
	}
	c.session.Replay(t)
	return nil
}

// settle finds the delivery that an id stands for.
func (c *conn) settle(t *core.Turn, id uint16, qos core.QoS, outcome core.Outcome) core.Settled {
	if int(id) <= c.a.ids.own {
		return c.session.Consumer().SettleResidue(t, uint64(id-1), uint64(c.a.ids.own), qos, outcome)
	}
	o := c.tc.Out()
	o.Lock()
	l, ok := c.out.lent[id]
	o.Unlock()
	if !ok {
		return core.NotFound
	}
	st := l.consumer.Settle(t, l.ordinal, qos, outcome)
	if outcome == core.Accepted && st != core.Mismatch {
		o.Lock()
		delete(c.out.lent, id)
		c.out.resumeLocked(t)
		o.Unlock()
	}
	return st
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

// Drained has who was refused asked again. See transport.Handler.
func (c *conn) Drained(t *core.Turn) {
	o := c.tc.Out()
	o.Lock()
	c.out.resumeLocked(t)
	o.Unlock()
	c.session.Replay(t)
}
