package frame

import "github.com/narumq/naru/core/props"

// ExchangeDeclare is a decoded exchange.declare.
type ExchangeDeclare struct {
	Exchange   []byte
	Type       []byte
	Passive    bool
	Durable    bool
	AutoDelete bool
	Internal   bool
	NoWait     bool
	Arguments  props.Table
}

// Decode decodes the arguments.
func (m *ExchangeDeclare) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Exchange = a.short()
	m.Type = a.short()
	bits := a.uint8()
	m.Passive, m.Durable, m.AutoDelete = bits&1 != 0, bits&2 != 0, bits&4 != 0
	m.Internal, m.NoWait = bits&8 != 0, bits&16 != 0
	m.Arguments = a.table()
	return a.end()
}

// ExchangeDelete is a decoded exchange.delete.
type ExchangeDelete struct {
	Exchange []byte
	IfUnused bool
	NoWait   bool
}

// Decode decodes the arguments.
func (m *ExchangeDelete) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Exchange = a.short()
	bits := a.uint8()
	m.IfUnused, m.NoWait = bits&1 != 0, bits&2 != 0
	return a.end()
}

// ExchangeBind is a decoded exchange.bind or exchange.unbind.
type ExchangeBind struct {
	Destination []byte
	Source      []byte
	RoutingKey  []byte
	NoWait      bool
	Arguments   props.Table
}

// Decode decodes the arguments.
func (m *ExchangeBind) Decode(b []byte) error {
	a := args{b: b}
	a.uint16() // ticket
	m.Destination = a.short()
	m.Source = a.short()
	m.RoutingKey = a.short()
	m.NoWait = a.uint8()&1 != 0
	m.Arguments = a.table()
	return a.end()
}

// AppendExchangeDeclareOK appends an exchange.declare-ok.
func AppendExchangeDeclareOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodExchangeDeclareOK)
}

// AppendExchangeDeleteOK appends an exchange.delete-ok.
func AppendExchangeDeleteOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodExchangeDeleteOK)
}

// AppendExchangeBindOK appends an exchange.bind-ok.
func AppendExchangeBindOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodExchangeBindOK)
}

// AppendExchangeUnbindOK appends an exchange.unbind-ok.
func AppendExchangeUnbindOK(b []byte, channel uint16) []byte {
	return appendEmpty(b, channel, MethodExchangeUnbindOK)
}
