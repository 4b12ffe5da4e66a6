package mqtt

import (
	"errors"
	"fmt"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// publish handles PUBLISH. The acknowledgement goes into the replies at once;
// the gate holds it until the message is on disk wherever it must be.
func (c *conn) publish(t *core.Turn, flags byte, body []byte) (wait core.Wait, err error) {
	var p packet.Publish
	if err := p.Decode(flags, body); err != nil {
		return nil, malformed(packet.PUBLISH, err)
	}
	if c.a.conf().tooDeep(p.Topic) {
		return nil, c.a.conf().errLevels(p.Topic)
	}
	m := c.message(t, &p)
	if c.large != nil {
		m.Stored = c.large.body
	}
	if p.QoS == 2 {
		wait, err = c.session.PublishOnce(t, &c.pub, m, p.ID, c.a.conf().MaxInboundQoS2)
	} else {
		wait, err = c.pub.Publish(t, m)
	}
	if wait != nil {
		return wait, nil
	}
	c.large.published(t, err)
	c.large = nil
	if err != nil {
		acknowledge, err := c.refused(t, &p, err)
		if !acknowledge || err != nil {
			return nil, err
		}
	}
	switch p.QoS {
	case 1:
		c.replyID(t, packet.PUBACK, p.ID)
	case 2:
		c.replyID(t, packet.PUBREC, p.ID)
	}
	return nil, nil
}

// refused decides what becomes of a PUBLISH that the bus has not taken. MQTT
// 3.1.1 has no way to say no: the choice is to acknowledge and drop, or to
// close. [MQTT-3.3.5-2]
func (c *conn) refused(t *core.Turn, p *packet.Publish, err error) (acknowledge bool, end error) {
	row := rowOf(err)
	if row.publish == closes || errors.Is(err, core.ErrNotAuthorized) && c.a.conf().DisconnectOnUnauthorized {
		return false, fmt.Errorf("publish to %q: %w", p.Topic, err)
	}
	c.refusedPublish(t, p.Topic, err)
	return row.publish == drops, nil
}

// released handles PUBREL. An id that is not known is answered as well: the
// release has been lost, not the message. [MQTT-4.3.3-2]
func (c *conn) released(t *core.Turn, body []byte) error {
	id, err := packet.DecodeID(body)
	if err != nil {
		return malformed(packet.PUBREL, err)
	}
	c.session.Release(t, id)
	c.replyID(t, packet.PUBCOMP, id)
	return nil
}
