package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The methods of AMQP 0-9-1 that the load needs, class and method in one.
const (
	connectionStart   = 10<<16 | 10
	connectionStartOK = 10<<16 | 11
	connectionTune    = 10<<16 | 30
	connectionTuneOK  = 10<<16 | 31
	connectionOpen    = 10<<16 | 40
	connectionOpenOK  = 10<<16 | 41
	connectionClose   = 10<<16 | 50
	connectionCloseOK = 10<<16 | 51
	channelOpen       = 20<<16 | 10
	channelOpenOK     = 20<<16 | 11
	channelClose      = 20<<16 | 40
	queueDeclare      = 50<<16 | 10
	queueDeclareOK    = 50<<16 | 11
	queueBind         = 50<<16 | 20
	queueBindOK       = 50<<16 | 21
	queueDelete       = 50<<16 | 40
	queueDeleteOK     = 50<<16 | 41
	basicQos          = 60<<16 | 10
	basicQosOK        = 60<<16 | 11
	basicConsume      = 60<<16 | 20
	basicConsumeOK    = 60<<16 | 21
	basicPublish      = 60<<16 | 40
	basicDeliver      = 60<<16 | 60
	basicAck          = 60<<16 | 80
	confirmSelect     = 85<<16 | 10
	confirmSelectOK   = 85<<16 | 11
)

// The types of frames.
const (
	frameMethod = 1
	frameHeader = 2
	frameBody   = 3
	frameBeat   = 8
)

const (
	amqpProtocol  = "AMQP\x00\x00\x09\x01"
	frameOverhead = 8 // of header and end octet
	frameEnd      = 0xCE
	// maxAMQPSize is the largest body that surely goes into one frame.
	maxAMQPSize = 64 << 10
)

var errFrame = errors.New("malformed frame")

// A amqpFrame is one frame, its payload borrowed from the read buffer.
//
//	+------+---------+------+---------+------+
//	| kind | channel | size | payload | 0xCE |
//	|  1   |    2    |  4   |         |      |
//	+------+---------+------+---------+------+
type amqpFrame struct {
	kind    byte
	payload []byte
}

// cutFrame takes the first whole frame off b, like cut.
func cutFrame(b []byte, max int) (amqpFrame, int, error) {
	if len(b) < frameOverhead {
		return amqpFrame{}, 0, nil
	}
	size := frameOverhead + int(binary.BigEndian.Uint32(b[3:]))
	if size > max {
		return amqpFrame{}, 0, fmt.Errorf("frame of %d bytes, at most %d fit", size, max)
	}
	if size > len(b) {
		return amqpFrame{}, 0, nil
	}
	if b[size-1] != frameEnd {
		return amqpFrame{}, 0, errFrame
	}
	return amqpFrame{kind: b[0], payload: b[7 : size-1]}, size, nil
}

// delivery takes the arguments of basic.deliver apart.
func delivery(b []byte) (tag uint64, key []byte, err error) {
	skip := func(n int) {
		if n > len(b) {
			b, err = nil, errFrame
			return
		}
		b = b[n:]
	}
	short := func() int {
		if len(b) == 0 {
			return 0
		}
		return 1 + int(b[0])
	}
	skip(short()) // consumer tag
	if len(b) < 9 {
		return 0, nil, errFrame
	}
	tag = binary.BigEndian.Uint64(b)
	skip(9)
	skip(short()) // exchange
	n := short()
	if n == 0 || n > len(b) {
		return 0, nil, errFrame
	}
	return tag, b[1:n], err
}

// appendMethod appends a method frame on a channel with what args appends.
func appendMethod(b []byte, channel uint16, method uint32, args func([]byte) []byte) []byte {
	start := len(b)
	b = append(b, frameMethod, byte(channel>>8), byte(channel), 0, 0, 0, 0)
	b = binary.BigEndian.AppendUint32(b, method)
	if args != nil {
		b = args(b)
	}
	binary.BigEndian.PutUint32(b[start+3:], uint32(len(b)-start-7))
	return append(b, frameEnd)
}

func appendShort(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendLong(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// appendAMQPPublish appends the three frames of a publish to the exchange that
// has no name, which the queue named by key gets.
func appendAMQPPublish(b []byte, key string, persistent bool, payload []byte) []byte {
	b = appendMethod(b, 1, basicPublish, func(b []byte) []byte {
		b = appendShort(append(b, 0, 0, 0), key)
		return append(b, 0)
	})
	mode := byte(1)
	if persistent {
		mode = 2
	}
	b = append(b, frameHeader, 0, 1, 0, 0, 0, 15, 0, 60, 0, 0)
	b = binary.BigEndian.AppendUint64(b, uint64(len(payload)))
	b = append(b, 0x10, 0, mode, frameEnd)
	b = append(b, frameBody, 0, 1)
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload)))
	b = append(b, payload...)
	return append(b, frameEnd)
}

// appendAMQPAck acknowledges deliveries up to tag, or just that one.
func appendAMQPAck(b []byte, tag uint64, multiple bool) []byte {
	b = append(b, frameMethod, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80)
	b = binary.BigEndian.AppendUint64(b, tag)
	flag := byte(0)
	if multiple {
		flag = 1
	}
	return append(b, flag, frameEnd)
}
