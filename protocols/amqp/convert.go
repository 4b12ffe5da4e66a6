package amqp

import (
	"bytes"
	"unicode/utf8"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
)

// withReplyTo returns the properties with another reply-to.
func withReplyTo(raw []byte, name string) []byte {
	var p props.Properties
	if p.Decode(raw) != nil {
		return raw // cannot be: they have been looked at
	}
	p.ReplyTo = []byte(name)
	return props.AppendProperties(nil, &p)
}

// withoutHeader returns the properties without one of the headers.
func withoutHeader(raw []byte, name string) []byte {
	var p props.Properties
	if p.Decode(raw) != nil {
		return raw
	}
	p.Headers = props.AppendWithout(nil, p.Headers, name)
	return props.AppendProperties(nil, &p)
}

// withHeader returns the properties with a header that is set by the broker.
func withHeader(raw []byte, name string, add func(props.Table) props.Table) []byte {
	var p props.Properties
	if len(raw) > 0 && p.Decode(raw) != nil {
		return raw
	}
	p.Has |= props.HasHeaders
	p.Headers = add(props.AppendWithout(nil, p.Headers, name))
	return props.AppendProperties(nil, &p)
}

// The properties of messages that come from a protocol without any: the delivery
// mode is all there is.
var modes = [2][]byte{{0x10, 0, 1}, {0x10, 0, 2}}

// properties returns what is sent of a message's properties.
func properties(d *core.Delivery) []byte {
	m := d.Msg
	raw := m.Props
	if raw == nil {
		mode := 0
		if m.Persistent {
			mode = 1
		}
		if m.Syntax == core.SyntaxMQTT {
			raw = modes[mode]
		} else if m.Persistent {
			raw = modes[1]
		}
	}
	if m.Syntax == core.SyntaxMQTT && len(m.Topic) > maxKey {
		raw = withHeader(raw, topicHeader, func(t props.Table) props.Table { return props.AddStr(t, topicHeader, m.Topic) })
	}
	if d.Failures > 0 && d.Consumer.Queue().Options().Quorum {
		raw = withHeader(raw, countHeader, func(t props.Table) props.Table { return props.AddInt64(t, countHeader, int64(d.Failures)) })
	}
	return raw
}

const (
	maxKey      = 255
	topicHeader = "x-mqtt-topic"     // the whole topic of MQTT, where the key had to be cut
	countHeader = "x-delivery-count" // how often the delivery has failed
)

// routingKey writes a message's address as a routing key.
func routingKey(m *core.Message, room *[maxKey]byte) []byte {
	if m.Syntax == core.SyntaxAMQP {
		return m.Topic
	}
	n := copy(room[:], m.Topic)
	if n < len(m.Topic) { // not in the middle of a character
		for n > 0 && !utf8.RuneStart(m.Topic[n]) {
			n--
		}
	}
	key := room[:n]
	for i := bytes.IndexByte(key, '/'); i >= 0 && i < n; i++ {
		if key[i] == '/' {
			key[i] = '.'
		}
	}
	return key
}
