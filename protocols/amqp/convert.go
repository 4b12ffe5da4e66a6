package amqp

import (
	"bytes"
	"unicode/utf8"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// withReplyTo returns the properties with another reply-to.
func withReplyTo(props []byte, name string) []byte {
	var p frame.Properties
	if p.Decode(props) != nil {
		return props // cannot be: they have been looked at
	}
	p.ReplyTo = []byte(name)
	return frame.AppendProperties(nil, &p)
}

// withoutHeader returns the properties without one of the headers.
func withoutHeader(props []byte, name string) []byte {
	var p frame.Properties
	if p.Decode(props) != nil {
		return props
	}
	p.Headers = frame.AppendWithout(nil, p.Headers, name)
	if len(p.Headers) == 0 {
		p.Has &^= frame.HasHeaders
	}
	return frame.AppendProperties(nil, &p)
}

// withHeader returns the properties with a header that is set by the broker.
func withHeader(props []byte, name string, add func(frame.Table) frame.Table) []byte {
	var p frame.Properties
	if len(props) > 0 && p.Decode(props) != nil {
		return props
	}
	p.Has |= frame.HasHeaders
	p.Headers = add(frame.AppendWithout(nil, p.Headers, name))
	return frame.AppendProperties(nil, &p)
}

// The properties of messages that come from a protocol without any: the delivery
// mode is all there is.
var modes = [2][]byte{{0x10, 0, 1}, {0x10, 0, 2}}

// properties returns what is sent of a message's properties.
func properties(d *core.Delivery) []byte {
	m := d.Msg
	props := m.Props
	if props == nil {
		mode := 0
		if m.Persistent {
			mode = 1
		}
		if m.Syntax == core.SyntaxMQTT {
			props = modes[mode]
		} else if m.Persistent {
			props = modes[1]
		}
	}
	if m.Syntax == core.SyntaxMQTT && len(m.Topic) > maxKey {
		props = withHeader(props, topicHeader, func(t frame.Table) frame.Table { return frame.AddStr(t, topicHeader, m.Topic) })
	}
	if d.Failures > 0 && d.Consumer.Queue().Options().Quorum {
		props = withHeader(props, countHeader, func(t frame.Table) frame.Table { return frame.AddInt64(t, countHeader, int64(d.Failures)) })
	}
	return props
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
