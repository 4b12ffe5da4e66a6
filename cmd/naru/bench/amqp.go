package bench

import (
	"encoding/binary"
	"fmt"
	"strings"
	"time"
)

// A Protocol is what publishers and consumers speak.
type Protocol string

// The protocols.
const (
	MQTT       Protocol = ""          // on both sides
	AMQP       Protocol = "amqp"      // on both sides
	MQTTToAMQP Protocol = "mqtt-amqp" // MQTT publishers, AMQP consumers
)

// Protocols lists them all.
func Protocols() []Protocol { return []Protocol{MQTT, AMQP, MQTTToAMQP} }

func (p Protocol) String() string {
	if p == MQTT {
		return "mqtt"
	}
	return string(p)
}

// ParseProtocol is the opposite of String.
func ParseProtocol(text string) (Protocol, error) {
	for _, p := range Protocols() {
		if p.String() == text {
			return p, nil
		}
	}
	return MQTT, fmt.Errorf("%q: the protocol is mqtt, amqp or mqtt-amqp", text)
}

// prefetch is how many deliveries a consumer may have that it has not
// acknowledged.
const prefetch = 64

// A peer091 is what a client needs to speak AMQP 0-9-1 instead of MQTT, on one
// channel. What it consumes it acknowledges once for each read, all of it
// together: that is what a client that takes care of its throughput does.
type peer091 struct {
	user, password string
	queue          string // consumed from; "" for a publisher
	binding        string // key in amq.topic, "" for none
	durable        bool
	confirms       bool

	awaited uint32 // the method whose arrival means that the client is up
	key     []byte // of the delivery that is arriving
	size    uint64 // of its body; the body comes next
	tag     uint64 // of the last delivery
	settled uint64 // the last tag that is acknowledged
}

// peer091 is a peer that logs in as the target wants it.
func (r *rig) peer091() *peer091 {
	return &peer091{user: r.target.User, password: r.target.Password}
}

// routingKey is an MQTT topic as AMQP has it.
func routingKey(topic string) string { return strings.ReplaceAll(topic, "/", ".") }

// takeFrames is take for AMQP.
func (c *client) takeFrames(b []byte, now time.Duration) {
	for c.stage != closed {
		f, n, err := cutFrame(b, len(c.loop.buf))
		if n == 0 && err == nil {
			break
		}
		if err == nil {
			err = c.handleFrame(f, now)
		}
		if err != nil {
			c.fail(err)
			return
		}
		b = b[n:]
	}
	c.rest = append(c.rest[:0], b...)
	if p := c.amqp; p.tag > p.settled && c.stage == up {
		c.out = appendAMQPAck(c.out, p.tag, p.tag-p.settled > 1)
		p.settled = p.tag
		c.touch()
	}
}

func (c *client) handleFrame(f amqpFrame, now time.Duration) error {
	p := c.amqp
	switch f.kind {
	case frameBeat:
		return nil
	case frameHeader:
		if len(f.payload) < 12 {
			return errFrame
		}
		p.size = binary.BigEndian.Uint64(f.payload[4:])
		return nil
	case frameBody:
		if c.receiver == nil || uint64(len(f.payload)) != p.size {
			return fmt.Errorf("body: %w", errSurprise)
		}
		c.receiver.deliver(p.key, f.payload, now)
		return nil
	}
	if f.kind != frameMethod || len(f.payload) < 4 {
		return errFrame
	}
	method, args := binary.BigEndian.Uint32(f.payload), f.payload[4:]
	switch method {
	case basicDeliver:
		tag, key, err := delivery(args)
		p.tag, p.key = tag, append(p.key[:0], key...)
		return err
	case basicAck:
		if len(args) < 9 || c.flow == nil {
			return fmt.Errorf("basic.ack: %w", errSurprise)
		}
		return c.flow.confirmed(binary.BigEndian.Uint64(args), args[8]&1 != 0, now)
	}
	return c.handshake(method, args, now)
}

// handshake takes the methods on the way up and out.
func (c *client) handshake(method uint32, args []byte, now time.Duration) error {
	p := c.amqp
	switch method {
	case connectionStart:
		c.say(0, connectionStartOK, func(b []byte) []byte {
			mechanism, response := "ANONYMOUS", ""
			if p.user != "" {
				mechanism, response = "PLAIN", "\x00"+p.user+"\x00"+p.password
			}
			b = appendLong(b, "") // no properties
			b = appendShort(b, mechanism)
			b = appendLong(b, response)
			return appendShort(b, "en_US")
		})
	case connectionTune:
		if len(args) < 8 {
			return errFrame
		}
		c.say(0, connectionTuneOK, func(b []byte) []byte {
			return append(append(b, args[:6]...), 0, 0) // no heartbeats
		})
		c.say(0, connectionOpen, func(b []byte) []byte { return append(appendShort(b, "/"), 0, 0) })
	case connectionOpenOK:
		c.prepare()
	case connectionClose, channelClose:
		if len(args) < 3 {
			return errFrame
		}
		return fmt.Errorf("closed by the broker: %q", args[3:min(len(args), 3+int(args[2]))])
	case connectionCloseOK:
		c.close()
	case channelOpenOK, queueDeclareOK, queueBindOK, basicQosOK, confirmSelectOK, basicConsumeOK, queueDeleteOK:
		if method == p.awaited {
			p.awaited = 0
			c.arrive(now)
		}
	default:
		return fmt.Errorf("method %d.%d: %w", method>>16, method&0xffff, errSurprise)
	}
	return nil
}

// prepare opens the channel and what the client needs on it, all in one write.
func (c *client) prepare() {
	p := c.amqp
	c.say(1, channelOpen, func(b []byte) []byte { return append(b, 0) })
	p.awaited = channelOpenOK
	if p.confirms {
		c.say(1, confirmSelect, func(b []byte) []byte { return append(b, 0) })
		p.awaited = confirmSelectOK
	}
	if p.queue == "" {
		return
	}
	c.say(1, queueDeclare, func(b []byte) []byte {
		flags := byte(0)
		if p.durable {
			flags = 2
		}
		return append(appendShort(append(b, 0, 0), p.queue), flags, 0, 0, 0, 0)
	})
	if p.binding != "" {
		c.say(1, queueBind, func(b []byte) []byte {
			b = appendShort(append(b, 0, 0), p.queue)
			b = appendShort(appendShort(b, "amq.topic"), p.binding)
			return append(b, 0, 0, 0, 0, 0)
		})
	}
	c.say(1, basicQos, func(b []byte) []byte { return append(b, 0, 0, 0, 0, 0, prefetch, 0) })
	c.say(1, basicConsume, func(b []byte) []byte {
		b = appendShort(append(b, 0, 0), p.queue)
		return append(appendShort(b, ""), 0, 0, 0, 0, 0)
	})
	p.awaited = basicConsumeOK
}

// say appends a method to the outbox.
func (c *client) say(channel uint16, method uint32, args func([]byte) []byte) {
	c.out = appendMethod(c.out, channel, method, args)
	c.touch()
}

// farewell deletes the queue and closes the connection.
func (c *client) farewell() {
	if q := c.amqp.queue; q != "" {
		c.say(1, queueDelete, func(b []byte) []byte { return append(appendShort(append(b, 0, 0), q), 0) })
	}
	c.say(0, connectionClose, func(b []byte) []byte { return append(appendShort(append(b, 0, 200), "bye"), 0, 0, 0, 0) })
}
