package mqtt

import (
	"fmt"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// subscribe handles SUBSCRIBE: one return code for each filter, in order.
// [MQTT-3.8.4-1] [MQTT-3.8.4-5]
func (c *conn) subscribe(t *core.Turn, body []byte) (core.Wait, error) {
	id, filters, n, err := packet.DecodeFilters(packet.SUBSCRIBE, body)
	if err != nil {
		return nil, malformed(packet.SUBSCRIBE, err)
	}
	codes := make([]byte, 0, 16)
	if c.asking != nil { // go on behind what has been answered
		codes, c.asking = *c.asking, nil
	}
	for i := 0; ; i++ {
		filter, qos, ok := filters.Next()
		if !ok {
			break
		}
		if i < len(codes) {
			continue
		}
		if c.a.conf().tooDeep(filter) {
			codes = append(codes, packet.SubscribeFailure)
			c.refusedSubscribe(t, filter, c.a.conf().errLevels(filter))
			continue
		}
		wait, err := c.session.Subscribe(t, string(filter), core.QoS(qos), c.a.conf().MaxSubscriptions)
		switch {
		case wait != nil:
			answered := codes
			c.asking = &answered
			return wait, nil
		case err == nil:
			codes = append(codes, qos)
		case rowOf(err).subscribe == closes:
			return nil, fmt.Errorf("subscribe to %q: %w", filter, err)
		default:
			codes = append(codes, packet.SubscribeFailure)
			c.refusedSubscribe(t, filter, err)
		}
	}
	c.reply(t, func(b []byte) []byte { return append(packet.AppendSubackHead(b, id, n), codes...) })
	c.session.Subscribed(t)
	return nil, nil
}

// unsubscribe handles UNSUBSCRIBE. [MQTT-3.10.4-4] [MQTT-3.10.4-5]
func (c *conn) unsubscribe(t *core.Turn, body []byte) error {
	id, filters, _, err := packet.DecodeFilters(packet.UNSUBSCRIBE, body)
	if err != nil {
		return malformed(packet.UNSUBSCRIBE, err)
	}
	for {
		filter, _, ok := filters.Next()
		if !ok {
			break
		}
		if err := c.session.Unsubscribe(t, string(filter)); err != nil {
			return fmt.Errorf("unsubscribe from %q: %w", filter, err)
		}
	}
	c.replyID(t, packet.UNSUBACK, id)
	return nil
}
