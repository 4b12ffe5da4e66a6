package frame

import (
	"encoding/binary"
	"math"
)

// Content is a decoded content header.
//
//	class 2 | weight 2 | body size 8 | flags 2 | properties
type Content struct {
	Class      uint16
	BodySize   uint64
	Properties []byte // flags and values as they came; see Scan
}

// contentHead is what comes before the properties.
const contentHead = 12

// Decode decodes the payload of a header frame. Its properties are not looked
// at.
func (c *Content) Decode(payload []byte) error {
	if len(payload) < contentHead+2 {
		return ErrShort
	}
	if binary.BigEndian.Uint16(payload[2:]) != 0 {
		return ErrWeight
	}
	c.Class = binary.BigEndian.Uint16(payload)
	c.BodySize = binary.BigEndian.Uint64(payload[4:])
	c.Properties = payload[contentHead:len(payload):len(payload)]
	return nil
}

// AppendHeaderFrame appends the content header of a basic message. properties
// are flags and values as in Content; nil is taken for none. A header cannot be
// split into frames: with a large headers table it can be larger than the
// receiver's frame-max, see HeaderFrameSize.
func AppendHeaderFrame(b []byte, channel uint16, bodySize uint64, properties []byte) []byte {
	if len(properties) == 0 {
		properties = noProperties[:]
	}
	b = AppendHeader(b, FrameHeader, channel, uint32(contentHead+len(properties)))
	b = append(b, 0, ClassBasic, 0, 0)
	b = binary.BigEndian.AppendUint64(b, bodySize)
	b = append(b, properties...)
	return append(b, EndOctet)
}

var noProperties [2]byte

// HeaderFrameSize is how many bytes AppendHeaderFrame appends.
func HeaderFrameSize(properties []byte) int {
	return Overhead + contentHead + max(len(properties), len(noProperties))
}

// BodyMax is how much of a body fits into a frame. A frameMax below the least that
// can be negotiated is taken for that.
func BodyMax(frameMax uint32) int {
	return int(min(max(frameMax, MinFrameMax), math.MaxInt32)) - Overhead
}

// AppendBodyFrames appends a body in as many frames as it takes, none for an
// empty one. See BodyMax.
func AppendBodyFrames(b []byte, channel uint16, body []byte, frameMax uint32) []byte {
	for most := BodyMax(frameMax); len(body) > 0; {
		n := min(len(body), most)
		b = AppendHeader(b, FrameBody, channel, uint32(n))
		b = append(b, body[:n]...)
		b = append(b, EndOctet)
		body = body[n:]
	}
	return b
}

// BodyFramesSize is how many bytes AppendBodyFrames appends for a body of n
// bytes.
func BodyFramesSize(n int, frameMax uint32) int {
	most := BodyMax(frameMax)
	frames := n / most
	if n%most != 0 {
		frames++
	}
	return n + frames*Overhead
}
