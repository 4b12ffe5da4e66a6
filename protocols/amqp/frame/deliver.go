package frame

import (
	"encoding/binary"

	"github.com/narumq/naru/core/props"
)

// Names, keys and tags that are longer than a short string can be are cut at
// 255 bytes: the receiver sees a wrong name, but never wrong frames. Whoever
// makes names longer than that checks them before.

// AppendBasicQosOK appends a basic.qos-ok.
func AppendBasicQosOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodBasicQosOK)
}

// AppendBasicConsumeOK appends a basic.consume-ok.
func AppendBasicConsumeOK[T props.Text](b []byte, channel uint16, tag T) []byte {
	start := len(b)
	return end(props.AppendShort(begin(b, channel, MethodBasicConsumeOK), tag), start)
}

// AppendBasicCancel appends the basic.cancel by which a server says that a
// consumer is gone. It asks for no answer.
func AppendBasicCancel[T props.Text](b []byte, channel uint16, tag T) []byte {
	start := len(b)
	return end(append(props.AppendShort(begin(b, channel, MethodBasicCancel), tag), 1), start)
}

// AppendBasicCancelOK appends a basic.cancel-ok.
func AppendBasicCancelOK[T props.Text](b []byte, channel uint16, tag T) []byte {
	start := len(b)
	return end(props.AppendShort(begin(b, channel, MethodBasicCancelOK), tag), start)
}

// AppendBasicReturn appends a basic.return, which the content follows.
func AppendBasicReturn[T, E, K props.Text](b []byte, channel uint16, code Code, text T, exchange E, key K) []byte {
	start := len(b)
	b = begin(b, channel, MethodBasicReturn)
	b = binary.BigEndian.AppendUint16(b, uint16(code))
	b = props.AppendShort(b, text)
	b = props.AppendShort(b, exchange)
	b = props.AppendShort(b, key)
	return end(b, start)
}

// AppendBasicDeliver appends a basic.deliver, which the content follows.
func AppendBasicDeliver[T, E, K props.Text](b []byte, channel uint16, tag T, delivery uint64, redelivered bool, exchange E, key K) []byte {
	start := len(b)
	b = props.AppendShort(begin(b, channel, MethodBasicDeliver), tag)
	b = binary.BigEndian.AppendUint64(b, delivery)
	b = append(b, bit(redelivered, 0))
	b = props.AppendShort(b, exchange)
	b = props.AppendShort(b, key)
	return end(b, start)
}

// AppendBasicGetOK appends a basic.get-ok, which the content follows. messages
// is how many are still ready.
func AppendBasicGetOK[E, K props.Text](b []byte, channel uint16, delivery uint64, redelivered bool, exchange E, key K, messages uint32) []byte {
	start := len(b)
	b = begin(b, channel, MethodBasicGetOK)
	b = binary.BigEndian.AppendUint64(b, delivery)
	b = append(b, bit(redelivered, 0))
	b = props.AppendShort(b, exchange)
	b = props.AppendShort(b, key)
	b = binary.BigEndian.AppendUint32(b, messages)
	return end(b, start)
}

// AppendBasicGetEmpty appends a basic.get-empty.
func AppendBasicGetEmpty(b []byte, channel uint16) []byte {
	start := len(b)
	return end(append(begin(b, channel, MethodBasicGetEmpty), 0), start)
}

// AppendBasicAck appends the basic.ack that confirms publishes.
func AppendBasicAck(b []byte, channel uint16, delivery uint64, multiple bool) []byte {
	start := len(b)
	b = begin(b, channel, MethodBasicAck)
	b = binary.BigEndian.AppendUint64(b, delivery)
	return end(append(b, bit(multiple, 0)), start)
}

// AppendBasicNack appends the basic.nack that refuses publishes.
func AppendBasicNack(b []byte, channel uint16, delivery uint64, multiple bool) []byte {
	start := len(b)
	b = begin(b, channel, MethodBasicNack)
	b = binary.BigEndian.AppendUint64(b, delivery)
	return end(append(b, bit(multiple, 0)), start)
}

// AppendBasicRecoverOK appends a basic.recover-ok.
func AppendBasicRecoverOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodBasicRecoverOK)
}
