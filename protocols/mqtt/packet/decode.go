package packet

import (
	"encoding/binary"
	"unicode/utf8"
)

// field takes a length-prefixed field from b. ok is false if b is too short.
func field(b []byte) (v, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b)-2 < n {
		return nil, nil, false
	}
	return b[2 : 2+n : 2+n], b[2+n:], true
}

// text takes a field that must be a string. [MQTT-1.5.3-1] [MQTT-1.5.3-2]
func text(b []byte) (v, rest []byte, err error) {
	v, rest, ok := field(b)
	if !ok {
		return nil, nil, ErrShort
	}
	if !validText(v) {
		return nil, nil, ErrString
	}
	return v, rest, nil
}

// validText says whether v is well-formed UTF-8 without U+0000. Surrogates are
// not well-formed.
func validText(v []byte) bool {
	for _, c := range v {
		if c == 0 {
			return false
		}
	}
	return utf8.Valid(v)
}

// Connect is a decoded CONNECT.
type Connect struct {
	Level       byte // 3 for MQTT 3.1, 4 for 3.1.1
	Unknown     bool // of another level: nothing else is decoded
	Clean       bool
	KeepAlive   uint16 // seconds
	ClientID    []byte
	HasWill     bool
	WillQoS     byte
	WillRetain  bool
	WillTopic   []byte // not checked for wildcards here
	WillPayload []byte
	HasUser     bool
	User        []byte
	HasPassword bool
	Password    []byte
}

// Decode decodes the body of a CONNECT. Of a level that is not known, only the
// level is decoded: the answer is CONNACK 1.
func (c *Connect) Decode(body []byte) error {
	*c = Connect{}
	name, b, ok := field(body)
	if !ok {
		return ErrShort
	}
	if len(b) < 1 {
		return ErrShort
	}
	c.Level = b[0]
	switch string(name) {
	case "MQTT":
		c.Unknown = c.Level != 4
	case "MQIsdp":
		c.Unknown = c.Level != 3
	default:
		return ErrProtocol // [MQTT-3.1.2-1]
	}
	if c.Unknown {
		return nil
	}
	if len(b) < 4 {
		return ErrShort
	}
	flags := b[1]
	c.KeepAlive = binary.BigEndian.Uint16(b[2:])
	c.Clean = flags&0x02 != 0
	c.HasWill = flags&0x04 != 0
	c.WillQoS = flags >> 3 & 3
	c.WillRetain = flags&0x20 != 0
	c.HasPassword = flags&0x40 != 0
	c.HasUser = flags&0x80 != 0
	switch {
	case flags&1 != 0: // [MQTT-3.1.2-3]
		return ErrFlags
	case !c.HasWill && (c.WillQoS != 0 || c.WillRetain): // [MQTT-3.1.2-11] [MQTT-3.1.2-13] [MQTT-3.1.2-15]
		return ErrConnect
	case c.WillQoS == 3: // [MQTT-3.1.2-14]
		return ErrQoS
	case c.HasPassword && !c.HasUser: // [MQTT-3.1.2-22]
		return ErrConnect
	}
	return c.decodePayload(b[4:])
}

func (c *Connect) decodePayload(b []byte) (err error) {
	if c.ClientID, b, err = text(b); err != nil {
		return err
	}
	var ok bool
	if c.HasWill {
		if c.WillTopic, b, err = text(b); err != nil {
			return err
		}
		if c.WillPayload, b, ok = field(b); !ok {
			return ErrShort
		}
	}
	if c.Level == 3 && len(b) == 0 {
		// MQTT 3.1 lets a client leave out what its flags announce.
		c.HasUser, c.HasPassword = false, false
	}
	if c.HasUser {
		if c.User, b, err = text(b); err != nil {
			return err
		}
	}
	if c.HasPassword {
		if c.Password, b, ok = field(b); !ok {
			return ErrShort
		}
	}
	if len(b) != 0 {
		return ErrLong
	}
	return nil
}

// Publish is a decoded PUBLISH. The topic is not checked: see the bus.
type Publish struct {
	Dup     bool
	QoS     byte
	Retain  bool
	ID      uint16 // 0 at QoS 0
	Topic   []byte
	Payload []byte
}

// Decode decodes the body of a PUBLISH.
func (p *Publish) Decode(flags byte, body []byte) error {
	p.Dup, p.QoS, p.Retain, p.ID = flags&8 != 0, flags>>1&3, flags&1 != 0, 0
	var ok bool
	if p.Topic, p.Payload, ok = field(body); !ok {
		return ErrShort
	}
	if p.QoS > 0 {
		if len(p.Payload) < 2 {
			return ErrShort
		}
		if p.ID = binary.BigEndian.Uint16(p.Payload); p.ID == 0 {
			return ErrID // [MQTT-2.3.1-1]
		}
		p.Payload = p.Payload[2:]
	}
	return nil
}

// DecodeID decodes the body of PUBACK, PUBREC, PUBREL and PUBCOMP.
func DecodeID(body []byte) (uint16, error) {
	switch {
	case len(body) < 2:
		return 0, ErrShort
	case len(body) > 2:
		return 0, ErrLong
	}
	id := binary.BigEndian.Uint16(body)
	if id == 0 {
		return 0, ErrID
	}
	return id, nil
}

// Filters goes through the payload of a SUBSCRIBE or UNSUBSCRIBE.
type Filters struct {
	rest []byte
	qos  bool
}

// MaxFilters is how many filters one packet may have. The standard knows no
// limit, but each filter costs far more than its four bytes, and a packet is
// worked off in one go.
const MaxFilters = 65536

// DecodeFilters decodes the packet id of a SUBSCRIBE or UNSUBSCRIBE and checks
// the form of all that follows, so that Next cannot fail.
func DecodeFilters(t Type, body []byte) (id uint16, f Filters, n int, err error) {
	if len(body) < 2 {
		return 0, f, 0, ErrShort
	}
	if id = binary.BigEndian.Uint16(body); id == 0 {
		return 0, f, 0, ErrID
	}
	f = Filters{rest: body[2:], qos: t == SUBSCRIBE}
	for b := f.rest; len(b) > 0; n++ {
		if n == MaxFilters {
			return 0, f, 0, ErrFilters
		}
		var v []byte
		if v, b, err = text(b); err != nil {
			return 0, f, 0, err
		}
		if len(v) == 0 {
			return 0, f, 0, ErrNoFilter // [MQTT-4.7.3-1]
		}
		if f.qos {
			switch {
			case len(b) == 0:
				return 0, f, 0, ErrShort
			case b[0] == 3:
				return 0, f, 0, ErrQoS
			case b[0] > 3:
				return 0, f, 0, ErrFlags // [MQTT-3.8.3-4]
			}
			b = b[1:]
		}
	}
	if n == 0 {
		return 0, f, 0, ErrNoFilter // [MQTT-3.8.3-3] [MQTT-3.10.3-2]
	}
	return id, f, n, nil
}

// Next returns the next filter and its QoS.
func (f *Filters) Next() (filter []byte, qos byte, ok bool) {
	if len(f.rest) == 0 {
		return nil, 0, false
	}
	filter, f.rest, _ = field(f.rest)
	if f.qos {
		qos, f.rest = f.rest[0], f.rest[1:]
	}
	return filter, qos, true
}
