package mqtt

import (
	"bytes"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// message fills the turn's message from a PUBLISH; it is borrowed from the read
// buffer.
func (c *conn) message(t *core.Turn, p *packet.Publish) *core.Message {
	m := t.Message()
	m.Exchange = c.pub.VHost().Topics()
	m.Topic, m.Payload = p.Topic, p.Payload
	m.Syntax = core.SyntaxMQTT
	m.QoS, m.Retain = core.QoS(p.QoS), p.Retain
	m.Persistent = p.QoS > 0
	m.Owned = c.tc.Owned()
	return m
}

// willMessage makes a message of its own from the will in a CONNECT.
func willMessage(p *packet.Connect) *core.Message {
	return &core.Message{
		Topic: bytes.Clone(p.WillTopic), Payload: bytes.Clone(p.WillPayload), Syntax: core.SyntaxMQTT,
		QoS: core.QoS(p.WillQoS), Retain: p.WillRetain, Persistent: p.WillQoS > 0, Owned: true,
	}
}

// appendPublish encodes a delivery into the outbox, whose lock is held and
// which has room. Large payloads that never change are not copied.
func (c *conn) appendPublish(t *core.Turn, d *core.Delivery, size int, id uint16) {
	o := c.tc.Out()
	m := d.Msg
	qos := byte(d.QoS)
	if m.Owned && len(m.Payload) >= byReference {
		b := packet.AppendPublishHead(o.Begin(size-len(m.Payload)), m.Topic, len(m.Payload), qos, d.Retain, d.Redelivered, id)
		asTopic(m, b, qos)
		o.End(t, b)
		o.AppendRef(t, m.Payload)
		return
	}
	b := packet.AppendPublishHead(o.Begin(size), m.Topic, len(m.Payload), qos, d.Retain, d.Redelivered, id)
	asTopic(m, b, qos)
	o.End(t, append(b, m.Payload...))
}

// asTopic turns the routing key at the end of a head into a topic, if it is one:
// words become levels. The bus has seen to it that the topic is legal.
func asTopic(m *core.Message, head []byte, qos byte) {
	if m.Syntax == core.SyntaxMQTT {
		return
	}
	end := len(head)
	if qos > 0 {
		end -= 2 // the packet id
	}
	for i := end - len(m.Topic); i < end; i++ {
		if head[i] == '.' {
			head[i] = '/'
		}
	}
}

// byReference is the size from which on a payload is worth a buffer of its own
// in a write.
const byReference = 16 << 10
