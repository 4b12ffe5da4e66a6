package props

import (
	"encoding/binary"
	"math"
)

// Kind is the type of a field value, as the octet on the wire.
type Kind byte

const (
	KindNone     Kind = 0   // there is no such field
	KindLongStr  Kind = 'S' // any bytes, mostly text
	KindBytes    Kind = 'x'
	KindInt8     Kind = 'b'
	KindUint8    Kind = 'B'
	KindInt16    Kind = 's'
	KindUint16   Kind = 'u'
	KindInt32    Kind = 'I'
	KindUint32   Kind = 'i'
	KindInt64    Kind = 'l'
	KindUint64   Kind = 'L' // read as an int64
	KindFloat32  Kind = 'f'
	KindFloat64  Kind = 'd'
	KindDecimal  Kind = 'D'
	KindTime     Kind = 'T' // seconds since 1970
	KindBool     Kind = 't'
	KindTable    Kind = 'F'
	KindArray    Kind = 'A'
	KindVoid     Kind = 'V'
	variableSize      = -1
	unknownKind       = -2
)

// size is how many bytes a value of the kind has, variableSize if a length of
// four bytes says so, unknownKind if there is no such kind.
func (k Kind) size() int {
	switch k {
	case KindVoid:
		return 0
	case KindInt8, KindUint8, KindBool:
		return 1
	case KindInt16, KindUint16:
		return 2
	case KindInt32, KindUint32, KindFloat32:
		return 4
	case KindDecimal:
		return 5
	case KindInt64, KindUint64, KindFloat64, KindTime:
		return 8
	case KindLongStr, KindBytes, KindTable, KindArray:
		return variableSize
	}
	return unknownKind
}

// String returns the name that RabbitMQ has for the kind in its reply texts.
func (k Kind) String() string {
	switch k {
	case KindNone:
		return "none"
	case KindLongStr:
		return "longstr"
	case KindBytes:
		return "binary"
	case KindInt8:
		return "byte"
	case KindUint8:
		return "unsignedbyte"
	case KindInt16:
		return "short"
	case KindUint16:
		return "unsignedshort"
	case KindInt32:
		return "signedint"
	case KindUint32:
		return "unsignedint"
	case KindInt64, KindUint64:
		return "long"
	}
	return k.otherName()
}

func (k Kind) otherName() string {
	switch k {
	case KindFloat32:
		return "float"
	case KindFloat64:
		return "double"
	case KindDecimal:
		return "decimal"
	case KindTime:
		return "timestamp"
	case KindBool:
		return "bool"
	case KindTable:
		return "table"
	case KindArray:
		return "array"
	case KindVoid:
		return "void"
	}
	return "unknown"
}

// A Value is one value of a table or an array. The zero Value is of KindNone.
// Whoever asks for what it is not gets zero.
type Value struct {
	kind Kind
	b    []byte // without the length before it
}

// Kind returns the type.
func (v Value) Kind() Kind { return v.kind }

// IsInt says whether it is an integer of any width.
func (v Value) IsInt() bool {
	switch v.kind {
	case KindInt8, KindUint8, KindInt16, KindUint16, KindInt32, KindUint32, KindInt64, KindUint64:
		return true
	}
	return false
}

// IsFloat says whether it is a float or a double.
func (v Value) IsFloat() bool { return v.kind == KindFloat32 || v.kind == KindFloat64 }

// Int64 returns an integer or a timestamp.
func (v Value) Int64() int64 {
	switch v.kind {
	case KindInt8:
		return int64(int8(v.b[0]))
	case KindUint8:
		return int64(v.b[0])
	case KindInt16:
		return int64(int16(binary.BigEndian.Uint16(v.b)))
	case KindUint16:
		return int64(binary.BigEndian.Uint16(v.b))
	case KindInt32:
		return int64(int32(binary.BigEndian.Uint32(v.b)))
	case KindUint32:
		return int64(binary.BigEndian.Uint32(v.b))
	case KindInt64, KindUint64, KindTime:
		return int64(binary.BigEndian.Uint64(v.b))
	}
	return 0
}

// Float64 returns a float or a double.
func (v Value) Float64() float64 {
	switch v.kind {
	case KindFloat32:
		return float64(math.Float32frombits(binary.BigEndian.Uint32(v.b)))
	case KindFloat64:
		return math.Float64frombits(binary.BigEndian.Uint64(v.b))
	}
	return 0
}

// Bool returns a bool.
func (v Value) Bool() bool { return v.kind == KindBool && v.b[0] != 0 }

// Decimal returns a decimal: value / 10^scale.
func (v Value) Decimal() (scale uint8, value uint32) {
	if v.kind != KindDecimal {
		return 0, 0
	}
	return v.b[0], binary.BigEndian.Uint32(v.b[1:])
}

// Bytes returns a long string or a binary.
func (v Value) Bytes() []byte {
	if v.kind == KindLongStr || v.kind == KindBytes {
		return v.b
	}
	return nil
}

// Table returns a table.
func (v Value) Table() Table {
	if v.kind == KindTable {
		return v.b
	}
	return nil
}

// Array returns an array.
func (v Value) Array() Array {
	if v.kind == KindArray {
		return v.b
	}
	return nil
}

// readValue takes a value, type octet first, from b. What is in a table or an
// array is not looked at.
func readValue(b []byte) (v Value, rest []byte, err error) {
	if len(b) == 0 {
		return v, nil, ErrTable
	}
	k := Kind(b[0])
	b = b[1:]
	n := k.size()
	switch n {
	case unknownKind:
		return v, nil, ErrFieldType
	case variableSize:
		if len(b) < 4 {
			return v, nil, ErrTable
		}
		n, b = Length(b), b[4:]
	}
	if len(b) < n {
		return v, nil, ErrTable
	}
	return Value{k, b[:n:n]}, b[n:], nil
}

// appendValue appends a value, type octet first. One that does not exist
// becomes void.
func appendValue(b []byte, v Value) []byte {
	if v.kind == KindNone {
		return append(b, byte(KindVoid))
	}
	b = append(b, byte(v.kind))
	if v.kind.size() == variableSize {
		return AppendLong(b, v.b)
	}
	return append(b, v.b...)
}

// Raw returns the bytes of the value as they are on the wire, without type and
// length.
func (v Value) Raw() []byte { return v.b }
