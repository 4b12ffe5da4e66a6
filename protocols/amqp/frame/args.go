package frame

import (
	"encoding/binary"
	"github.com/narumq/naru/core/props"
	"unicode/utf8"
)

// args takes the arguments of a method one after the other. The first that is
// malformed is kept; after it all are zero.
type args struct {
	b   []byte
	err error
}

func (a *args) fail(err error) {
	if a.err == nil {
		a.err = err
	}
	a.b = nil
}

// take takes n bytes, or returns nil.
func (a *args) take(n int) []byte {
	if len(a.b) < n {
		a.fail(ErrShort)
		return nil
	}
	v := a.b[:n:n]
	a.b = a.b[n:]
	return v
}

func (a *args) uint8() uint8 {
	if v := a.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (a *args) uint16() uint16 {
	if v := a.take(2); v != nil {
		return binary.BigEndian.Uint16(v)
	}
	return 0
}

func (a *args) uint32() uint32 {
	if v := a.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

func (a *args) uint64() uint64 {
	if v := a.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// short takes a short string. [AMQP 4.2.5.3]
func (a *args) short() []byte {
	if len(a.b) == 0 {
		a.fail(ErrShort)
		return nil
	}
	n := 1 + int(a.b[0])
	if len(a.b) < n {
		a.fail(ErrShort)
		return nil
	}
	v := a.b[1:n:n]
	if !utf8.Valid(v) {
		a.fail(ErrString)
		return nil
	}
	a.b = a.b[n:]
	return v
}

// long takes a long string, which is any bytes.
func (a *args) long() []byte {
	if v := a.take(4); v != nil {
		return a.take(props.Length(v))
	}
	return nil
}

// table takes a field table and checks it whole.
func (a *args) table() props.Table {
	t := props.Table(a.long())
	if a.err == nil {
		if err := t.Validate(); err != nil {
			a.fail(&Error{FrameError, err.Error()})
			return nil
		}
	}
	return t
}

// end says what went wrong, or that there is more than the arguments.
func (a *args) end() error {
	if a.err == nil && len(a.b) != 0 {
		return ErrLong
	}
	return a.err
}

// DecodeEmpty decodes the arguments of a method that has none.
func DecodeEmpty(b []byte) error {
	if len(b) != 0 {
		return ErrLong
	}
	return nil
}

// begin appends the header of a method frame, whose size end fills in, and the
// ids of the method.
func begin(b []byte, channel uint16, m Method) []byte {
	b = AppendHeader(b, FrameMethod, channel, 0)
	return binary.BigEndian.AppendUint32(b, uint32(m))
}

// end fills in the size of the frame that starts at start and closes it.
func end(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start+3:], uint32(len(b)-start-HeaderSize))
	return append(b, EndOctet)
}

// appendEmpty appends a method without arguments.
func appendEmpty(b []byte, channel uint16, m Method) []byte {
	return end(begin(b, channel, m), len(b))
}

func bit(v bool, n uint) byte {
	if v {
		return 1 << n
	}
	return 0
}
