package packet

import "errors"

// Type is the type of a control packet.
type Type uint8

const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
)

var typeNames = [16]string{
	"reserved 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP",
	"SUBSCRIBE", "SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "reserved 15",
}

func (t Type) String() string { return typeNames[t&15] }

// MaxLength is the largest remaining length there is. [MQTT 2.2.3]
const MaxLength = 268_435_455

// MaxHeader is the largest fixed header.
const MaxHeader = 5

// The ways in which a packet can be malformed. All of them close the
// connection.
var (
	ErrLength   = errors.New("malformed remaining length")
	ErrFlags    = errors.New("reserved flags are set")
	ErrType     = errors.New("reserved packet type")
	ErrShort    = errors.New("packet ends early")
	ErrLong     = errors.New("bytes after the end of the packet")
	ErrString   = errors.New("string is not valid UTF-8, or has U+0000")
	ErrQoS      = errors.New("QoS 3")
	ErrDup      = errors.New("DUP at QoS 0")
	ErrID       = errors.New("packet identifier 0")
	ErrNoFilter = errors.New("no topic filter")
	ErrFilters  = errors.New("too many topic filters")
	ErrProtocol = errors.New("not the MQTT protocol")
	ErrConnect  = errors.New("contradictory CONNECT flags")
)

// A Header is the fixed header of a packet.
type Header struct {
	Type   Type
	Flags  byte
	Length int // of what follows
	Size   int // of the header itself
}

// Total is the length of the whole packet.
func (h Header) Total() int { return h.Size + h.Length }

// ReadHeader reads a fixed header. more says that b ends before the header
// does.
//
//	byte 1   type (4 bits), flags (4 bits)
//	byte 2-5 remaining length, 7 bits each, least significant first
func ReadHeader(b []byte) (h Header, more bool, err error) {
	if len(b) < 2 {
		return h, true, nil
	}
	h = Header{Type: Type(b[0] >> 4), Flags: b[0] & 15}
	if b[1] < 0x80 { // most packets are small
		h.Length, h.Size = int(b[1]), 2
		return h, false, nil
	}
	for i := 1; i <= 4; i++ {
		if i == len(b) {
			return h, true, nil
		}
		h.Length |= int(b[i]&0x7f) << (7 * (i - 1))
		if b[i] < 0x80 {
			// A longer encoding than needed is not forbidden in 3.1.1, as it is
			// in 5; it is read as what it says.
			h.Size = i + 1
			return h, false, nil
		}
	}
	return h, false, ErrLength
}

// flags that a type must have, by [MQTT-2.2.2-1]; PUBLISH uses its own.
var wantFlags = [16]byte{PUBREL: 2, SUBSCRIBE: 2, UNSUBSCRIBE: 2}

// Check says whether type and flags are legal for a packet that a client
// sends. MQTT 3.1 let clients set DUP on what they repeat.
func (h Header) Check(level byte) error {
	switch {
	case h.Type == 0 || h.Type == 15:
		return ErrType
	case h.Type == PUBLISH:
		if h.Flags&6 == 6 {
			return ErrQoS // [MQTT-3.3.1-4]
		}
		if h.Flags&14 == 8 {
			return ErrDup // [MQTT-3.3.1-2]
		}
	case h.Flags != wantFlags[h.Type] && !(level == 3 && h.Flags&^8 == wantFlags[h.Type]):
		return ErrFlags // [MQTT-2.2.2-2]
	}
	return nil
}

// AppendHeader appends a fixed header.
func AppendHeader(b []byte, t Type, flags byte, length int) []byte {
	b = append(b, byte(t)<<4|flags)
	for length >= 0x80 {
		b = append(b, byte(length)|0x80)
		length >>= 7
	}
	return append(b, byte(length))
}
