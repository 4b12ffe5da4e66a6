package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MQTT 3.1.1 control packets by their first byte: four bits of type, four of
// flags. Only PUBLISH has flags that vary.
const (
	headConnect    byte = 0x10
	headConnack    byte = 0x20
	headPublish    byte = 0x30
	headPuback     byte = 0x40
	headPubrec     byte = 0x50
	headPubrel     byte = 0x62
	headPubcomp    byte = 0x70
	headSubscribe  byte = 0x82
	headSuback     byte = 0x90
	headPingreq    byte = 0xC0
	headPingresp   byte = 0xD0
	headDisconnect byte = 0xE0
)

var (
	errLength = errors.New("remaining length of more than four bytes")
	errShort  = errors.New("packet ends too early")
)

// A packet is one control packet, its body borrowed from the read buffer.
//
//	+------+-----------------------+--------------------+
//	| head | length, 1 to 4 bytes  | body               |
//	+------+-----------------------+--------------------+
type packet struct {
	head byte
	body []byte
}

// cut takes the first whole packet off b and says how many bytes it had; 0
// means that more must be read first. A packet of more than max bytes is an
// error as soon as its length is known, since it would never fit the buffer.
func cut(b []byte, max int) (packet, int, error) {
	length, shift := 0, 0
	for at := 1; at < len(b); at++ {
		length |= int(b[at]&0x7f) << shift
		if b[at] < 0x80 {
			size := at + 1 + length
			if size > max {
				return packet{}, 0, fmt.Errorf("packet of %d bytes, at most %d fit", size, max)
			}
			if size > len(b) {
				return packet{}, 0, nil
			}
			return packet{head: b[0], body: b[at+1 : size]}, size, nil
		}
		if shift += 7; shift > 21 {
			return packet{}, 0, errLength
		}
	}
	return packet{}, 0, nil
}

// publish takes a PUBLISH apart. The identifier is 0 at QoS 0.
func (p packet) publish() (topic, payload []byte, id uint16, err error) {
	if len(p.body) < 2 {
		return nil, nil, 0, errShort
	}
	at := 2 + int(binary.BigEndian.Uint16(p.body))
	if at > len(p.body) {
		return nil, nil, 0, errShort
	}
	topic = p.body[2:at]
	if p.qos() > 0 {
		if at+2 > len(p.body) {
			return nil, nil, 0, errShort
		}
		id = binary.BigEndian.Uint16(p.body[at:])
		at += 2
	}
	return topic, p.body[at:], id, nil
}

func (p packet) qos() byte { return p.head >> 1 & 3 }

// id is the packet identifier of an acknowledgement, which is all it carries.
func (p packet) id() (uint16, error) {
	if len(p.body) < 2 {
		return 0, errShort
	}
	return binary.BigEndian.Uint16(p.body), nil
}

func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(s)))
	return append(b, s...)
}

// A greeting is what a CONNECT says; a bench client never has a will.
type greeting struct {
	id             string
	user, password string // no user: anonymous
	clean          bool
	keepAlive      uint16 // seconds, 0 for none
}

func (g greeting) append(b []byte) []byte {
	flags, length := byte(0), 10+2+len(g.id)
	if g.clean {
		flags |= 0x02
	}
	if g.user != "" {
		flags |= 0xC0
		length += 2 + len(g.user) + 2 + len(g.password)
	}
	b = appendLength(append(b, headConnect), length)
	b = appendString(b, "MQTT")
	b = append(b, 4, flags) // protocol level 4 is 3.1.1
	b = binary.BigEndian.AppendUint16(b, g.keepAlive)
	b = appendString(b, g.id)
	if g.user != "" {
		b = appendString(b, g.user)
		b = appendString(b, g.password)
	}
	return b
}

func appendSubscribe(b []byte, id uint16, filter string, qos byte) []byte {
	b = appendLength(append(b, headSubscribe), 2+2+len(filter)+1)
	b = binary.BigEndian.AppendUint16(b, id)
	b = appendString(b, filter)
	return append(b, qos)
}

// appendAck writes PUBACK, PUBREC, PUBREL or PUBCOMP.
func appendAck(b []byte, head byte, id uint16) []byte {
	return append(b, head, 2, byte(id>>8), byte(id))
}

// appendPublish writes a PUBLISH. At QoS 0 there is no identifier.
func appendPublish(b []byte, topic string, qos byte, id uint16, payload []byte) []byte {
	length := 2 + len(topic) + len(payload)
	if qos > 0 {
		length += 2
	}
	b = appendLength(append(b, headPublish|qos<<1), length)
	b = appendString(b, topic)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return append(b, payload...)
}
