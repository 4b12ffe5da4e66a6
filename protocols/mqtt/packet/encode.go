package packet

import "encoding/binary"

// ConnectCode is the return code of a CONNACK.
type ConnectCode byte

const (
	Accepted           ConnectCode = 0
	BadProtocolVersion ConnectCode = 1
	IdentifierRejected ConnectCode = 2
	ServerUnavailable  ConnectCode = 3
	BadCredentials     ConnectCode = 4
	NotAuthorized      ConnectCode = 5
)

// SubscribeFailure is the return code of a SUBACK for a refused filter.
const SubscribeFailure = 0x80

// AppendConnack appends a CONNACK. present must be false unless code is
// Accepted. [MQTT-3.2.2-4]
func AppendConnack(b []byte, present bool, code ConnectCode) []byte {
	flags := byte(0)
	if present {
		flags = 1
	}
	return append(b, byte(CONNACK)<<4, 2, flags, byte(code))
}

// PublishSize is the length of the whole PUBLISH that AppendPublish makes.
func PublishSize(topic, payload int, qos byte) int {
	n := publishLength(topic, payload, qos)
	size := 2
	for l := n; l >= 0x80; l >>= 7 {
		size++
	}
	return size + n
}

func publishLength(topic, payload int, qos byte) int {
	n := 2 + topic + payload
	if qos > 0 {
		n += 2
	}
	return n
}

// AppendPublishHead appends all of a PUBLISH but its payload.
func AppendPublishHead(b []byte, topic []byte, payload int, qos byte, retain, dup bool, id uint16) []byte {
	flags := qos << 1
	if retain {
		flags |= 1
	}
	if dup && qos > 0 {
		flags |= 8
	}
	b = AppendHeader(b, PUBLISH, flags, publishLength(len(topic), payload, qos))
	b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
	b = append(b, topic...)
	if qos > 0 {
		b = binary.BigEndian.AppendUint16(b, id)
	}
	return b
}

// AppendID appends a packet that is only an id: PUBACK, PUBREC, PUBREL,
// PUBCOMP or UNSUBACK.
func AppendID(b []byte, t Type, id uint16) []byte {
	return append(b, byte(t)<<4|wantFlags[t], 2, byte(id>>8), byte(id))
}

// AppendSubackHead appends all of a SUBACK but its n return codes.
func AppendSubackHead(b []byte, id uint16, n int) []byte {
	b = AppendHeader(b, SUBACK, 0, 2+n)
	return binary.BigEndian.AppendUint16(b, id)
}

// AppendPingresp appends a PINGRESP.
func AppendPingresp(b []byte) []byte { return append(b, byte(PINGRESP)<<4, 0) }
