package frame

import "encoding/binary"

// Type is the type of a frame.
type Type uint8

const (
	FrameMethod    Type = 1
	FrameHeader    Type = 2
	FrameBody      Type = 3
	FrameHeartbeat Type = 8
)

const (
	HeaderSize  = 7              // of the type, the channel and the size
	Overhead    = HeaderSize + 1 // what a frame has beside its payload
	EndOctet    = 0xCE           // ends every frame
	MinFrameMax = 4096           // no peer may ask for less
)

// The protocol headers that are understood; the second is that of 0-9, which
// is the same protocol. A client with any other is sent Protocol and dropped.
const (
	Protocol   = "AMQP\x00\x00\x09\x01"
	Protocol09 = "AMQP\x01\x01\x00\x09"
)

// ReadProtocol reads the first 8 bytes of a connection. more says that what is
// there may still become a protocol header that is understood.
func ReadProtocol(b []byte) (ok, more bool) {
	n := min(len(b), len(Protocol))
	if string(b[:n]) != Protocol[:n] && string(b[:n]) != Protocol09[:n] {
		return false, false
	}
	return n == len(Protocol), n < len(Protocol)
}

// A Header is what a frame begins with.
//
//	type 1 | channel 2 | size 4 | payload | 0xCE
type Header struct {
	Type    Type
	Channel uint16
	Size    uint32 // of the payload
}

// Total is the length of the whole frame.
func (h Header) Total() int { return Overhead + int(h.Size) }

// ReadHeader reads the header of a frame. more says that b ends before the
// header does. A type that does not exist is an error before the rest is there.
func ReadHeader(b []byte) (h Header, more bool, err error) {
	if len(b) == 0 {
		return h, true, nil
	}
	switch h.Type = Type(b[0]); h.Type {
	case FrameMethod, FrameHeader, FrameBody, FrameHeartbeat:
	default:
		return h, false, ErrType
	}
	if len(b) < HeaderSize {
		return h, true, nil
	}
	h.Channel = binary.BigEndian.Uint16(b[1:])
	h.Size = binary.BigEndian.Uint32(b[3:])
	return h, false, nil
}

// Check says whether a frame is legal where frameMax was negotiated; it is
// called before its payload is waited for. A payload may be frameMax-8 bytes;
// as in RabbitMQ, the few bytes more that some clients send are let pass.
func (h Header) Check(frameMax uint32) error {
	if h.Type == FrameHeartbeat {
		if h.Channel != 0 {
			return ErrHeartbeat
		}
		if h.Size != 0 {
			return ErrSize
		}
	}
	if h.Size > frameMax {
		return ErrSize
	}
	return nil
}

// Payload returns what is between the header and the end octet of b, which has
// the whole frame, and checks that the octet is where the size says.
func (h Header) Payload(b []byte) ([]byte, error) {
	n := h.Total() - 1
	if len(b) <= n {
		return nil, ErrShort
	}
	if b[n] != EndOctet {
		return nil, ErrEnd
	}
	return b[HeaderSize:n:n], nil
}

// AppendHeader appends the header of a frame whose payload and end octet the
// caller writes.
func AppendHeader(b []byte, t Type, channel uint16, size uint32) []byte {
	return append(b, byte(t), byte(channel>>8), byte(channel),
		byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// AppendHeartbeat appends a heartbeat.
func AppendHeartbeat(b []byte) []byte {
	return append(AppendHeader(b, FrameHeartbeat, 0, 0), EndOctet)
}
