package frame

import "github.com/narumq/naru/core/props"

// Qos is a decoded basic.qos.
type Qos struct {
	PrefetchSize  uint32
	PrefetchCount uint16
	Global        bool
}

// Decode decodes the arguments.
func (m *Qos) Decode(b []byte) error {
	a := args{b: b}
	m.PrefetchSize = a.uint32()
	m.PrefetchCount = a.uint16()
	m.Global = a.uint8()&1 != 0
	return a.end()
}

// Consume is a decoded basic.consume.
type Consume struct {
	Queue     []byte
	Tag       []byte
	NoLocal   bool
	NoAck     bool
	Exclusive bool
	NoWait    bool
	Arguments props.Table
}

// Decode decodes the arguments.
func (m *Consume) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	m.Tag = a.short()
	bits := a.uint8()
	m.NoLocal, m.NoAck = bits&1 != 0, bits&2 != 0
	m.Exclusive, m.NoWait = bits&4 != 0, bits&8 != 0
	m.Arguments = a.table()
	return a.end()
}

// Cancel is a decoded basic.cancel.
type Cancel struct {
	Tag    []byte
	NoWait bool
}

// Decode decodes the arguments.
func (m *Cancel) Decode(b []byte) error {
	a := args{b: b}
	m.Tag = a.short()
	m.NoWait = a.uint8()&1 != 0
	return a.end()
}

// CancelOK is a decoded basic.cancel-ok, with which some clients answer a
// basic.cancel of ours although it asks for no answer.
type CancelOK struct {
	Tag []byte
}

// Decode decodes the arguments.
func (m *CancelOK) Decode(b []byte) error {
	a := args{b: b}
	m.Tag = a.short()
	return a.end()
}

// Publish is a decoded basic.publish. A content header follows it.
type Publish struct {
	Exchange   []byte
	RoutingKey []byte
	Mandatory  bool
	Immediate  bool
}

// Decode decodes the arguments.
func (m *Publish) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Exchange = a.short()
	m.RoutingKey = a.short()
	bits := a.uint8()
	m.Mandatory, m.Immediate = bits&1 != 0, bits&2 != 0
	return a.end()
}

// Get is a decoded basic.get.
type Get struct {
	Queue []byte
	NoAck bool
}

// Decode decodes the arguments.
func (m *Get) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Queue = a.short()
	m.NoAck = a.uint8()&1 != 0
	return a.end()
}

// Ack is a decoded basic.ack.
type Ack struct {
	Tag      uint64
	Multiple bool
}

// Decode decodes the arguments.
func (m *Ack) Decode(b []byte) error {
	a := args{b: b}
	m.Tag = a.uint64()
	m.Multiple = a.uint8()&1 != 0
	return a.end()
}

// Reject is a decoded basic.reject.
type Reject struct {
	Tag     uint64
	Requeue bool
}

// Decode decodes the arguments.
func (m *Reject) Decode(b []byte) error {
	a := args{b: b}
	m.Tag = a.uint64()
	m.Requeue = a.uint8()&1 != 0
	return a.end()
}

// Nack is a decoded basic.nack.
type Nack struct {
	Tag      uint64
	Multiple bool
	Requeue  bool
}

// Decode decodes the arguments.
func (m *Nack) Decode(b []byte) error {
	a := args{b: b}
	m.Tag = a.uint64()
	bits := a.uint8()
	m.Multiple, m.Requeue = bits&1 != 0, bits&2 != 0
	return a.end()
}

// Recover is a decoded basic.recover or basic.recover-async.
type Recover struct {
	Requeue bool
}

// Decode decodes the arguments.
func (m *Recover) Decode(b []byte) error {
	a := args{b: b}
	m.Requeue = a.uint8()&1 != 0
	return a.end()
}
