package frame

import (
	"encoding/binary"

	"github.com/narumq/naru/core/props"
)

// QueueDeclare is a decoded queue.declare.
type QueueDeclare struct {
	Queue      []byte
	Passive    bool
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	NoWait     bool
	Arguments  props.Table
}

// Decode decodes the arguments.
func (m *QueueDeclare) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	bits := a.uint8()
	m.Passive, m.Durable, m.Exclusive = bits&1 != 0, bits&2 != 0, bits&4 != 0
	m.AutoDelete, m.NoWait = bits&8 != 0, bits&16 != 0
	m.Arguments = a.table()
	return a.end()
}

// QueueBind is a decoded queue.bind.
type QueueBind struct {
	Queue      []byte
	Exchange   []byte
	RoutingKey []byte
	NoWait     bool
	Arguments  props.Table
}

// Decode decodes the arguments.
func (m *QueueBind) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	m.Exchange = a.short()
	m.RoutingKey = a.short()
	m.NoWait = a.uint8()&1 != 0
	m.Arguments = a.table()
	return a.end()
}

// QueueUnbind is a decoded queue.unbind, which always has an answer.
type QueueUnbind struct {
	Queue      []byte
	Exchange   []byte
	RoutingKey []byte
	Arguments  props.Table
}

// Decode decodes the arguments.
func (m *QueueUnbind) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	m.Exchange = a.short()
	m.RoutingKey = a.short()
	m.Arguments = a.table()
	return a.end()
}

// QueuePurge is a decoded queue.purge.
type QueuePurge struct {
	Queue  []byte
	NoWait bool
}

// Decode decodes the arguments.
func (m *QueuePurge) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	m.NoWait = a.uint8()&1 != 0
	return a.end()
}

// QueueDelete is a decoded queue.delete.
type QueueDelete struct {
	Queue    []byte
	IfUnused bool
	IfEmpty  bool
	NoWait   bool
}

// Decode decodes the arguments.
func (m *QueueDelete) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	bits := a.uint8()
	m.IfUnused, m.IfEmpty, m.NoWait = bits&1 != 0, bits&2 != 0, bits&4 != 0
	return a.end()
}

// AppendQueueDeclareOK appends a queue.declare-ok.
func AppendQueueDeclareOK[Q props.Text](b []byte, channel uint16, queue Q, messages, consumers uint32) []byte {
	start := len(b)
	b = props.AppendShort(begin(b, channel, MethodQueueDeclareOK), queue)
	b = binary.BigEndian.AppendUint32(b, messages)
	b = binary.BigEndian.AppendUint32(b, consumers)
	return end(b, start)
}

// AppendQueueBindOK appends a queue.bind-ok.
func AppendQueueBindOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodQueueBindOK)
}

// AppendQueueUnbindOK appends a queue.unbind-ok.
func AppendQueueUnbindOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodQueueUnbindOK)
}

// AppendQueuePurgeOK appends a queue.purge-ok.
func AppendQueuePurgeOK(b []byte, channel uint16, messages uint32) []byte {
	return appendCount(b, channel, MethodQueuePurgeOK, messages)
}

// AppendQueueDeleteOK appends a queue.delete-ok.
func AppendQueueDeleteOK(b []byte, channel uint16, messages uint32) []byte {
	return appendCount(b, channel, MethodQueueDeleteOK, messages)
}

func appendCount(b []byte, channel uint16, m Method, n uint32) []byte {
	start := len(b)
	return end(binary.BigEndian.AppendUint32(begin(b, channel, m), n), start)
}
