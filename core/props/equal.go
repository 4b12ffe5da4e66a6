package props

import (
	"bytes"
	"encoding/binary"
	"math"
	"slices"
)

// EqualValue says whether two values are the same argument: integers of any
// width by value, floats of either width by value, all else by type and value.
// Tables in them must have their fields in the same order, as in RabbitMQ.
func EqualValue(a, b Value) bool { return equal(a, b, MaxDepth) }

// MatchValue compares as the headers exchange does, which ignores types: an
// integer is equal to a timestamp of that number, a binary to a string of
// those bytes. 5 is not 5.0, nor "5".
func MatchValue(a, b Value) bool {
	switch {
	case a.kind == KindTime && b.IsInt(), b.kind == KindTime && a.IsInt():
		return a.Int64() == b.Int64()
	case a.kind == KindBytes && b.kind == KindLongStr, a.kind == KindLongStr && b.kind == KindBytes:
		return bytes.Equal(a.b, b.b)
	}
	return EqualValue(a, b)
}

// equal goes depth levels down; what is deeper than a valid table can be is
// equal to nothing.
func equal(a, b Value, depth int) bool {
	switch {
	case a.IsInt() && b.IsInt():
		return a.Int64() == b.Int64()
	case a.IsFloat() && b.IsFloat():
		return math.Float64bits(a.Float64()) == math.Float64bits(b.Float64())
	case a.kind != b.kind || depth == 0:
		return false
	case a.kind == KindBool:
		return a.Bool() == b.Bool()
	case a.kind == KindTable:
		x, y := a.Table().Iter(), b.Table().Iter()
		for x.Next() {
			if !y.Next() || !bytes.Equal(x.key, y.key) || !equal(x.value, y.value, depth-1) {
				return false
			}
		}
		return !y.Next() && x.err == nil && y.err == nil
	case a.kind == KindArray:
		x, y := a.Array().Iter(), b.Array().Iter()
		for x.Next() {
			if !y.Next() || !equal(x.value, y.value, depth-1) {
				return false
			}
		}
		return !y.Next() && x.err == nil && y.err == nil
	}
	return bytes.Equal(a.b, b.b)
}

// AppendCanonical appends a table that has the same bytes for all tables whose
// fields are equal as EqualValue says, in whatever order they are: sorted by
// key, with integers as int64 and floats as double. The arguments of a binding
// are known by it. It allocates where there is more than one field. t is
// valid; what is malformed in one that is not is left out.
func AppendCanonical(b, t Table) Table {
	type field struct {
		key   []byte
		value Value
	}
	var few [8]field
	fields := few[:0]
	for it := t.Iter(); it.Next(); {
		fields = append(fields, field{it.key, it.value})
	}
	slices.SortStableFunc(fields, func(x, y field) int { return bytes.Compare(x.key, y.key) })
	for _, f := range fields {
		b = appendNormal(AppendShort(b, f.key), f.value, MaxDepth)
	}
	return b
}

// appendNormal appends a value in the one form that all equal ones have.
// Nested tables keep their order.
func appendNormal(b []byte, v Value, depth int) []byte {
	switch {
	case v.IsInt():
		return binary.BigEndian.AppendUint64(append(b, byte(KindInt64)), uint64(v.Int64()))
	case v.IsFloat():
		return binary.BigEndian.AppendUint64(append(b, byte(KindFloat64)), math.Float64bits(v.Float64()))
	case v.kind == KindBool:
		return append(b, byte(KindBool), bit(v.Bool()))
	case v.kind != KindTable && v.kind != KindArray || depth == 0:
		return appendValue(b, v)
	}
	b = append(b, byte(v.kind), 0, 0, 0, 0)
	start := len(b)
	if v.kind == KindTable {
		for it := v.Table().Iter(); it.Next(); {
			b = appendNormal(AppendShort(b, it.key), it.value, depth-1)
		}
	} else {
		for it := v.Array().Iter(); it.Next(); {
			b = appendNormal(b, it.value, depth-1)
		}
	}
	binary.BigEndian.PutUint32(b[start-4:], uint32(len(b)-start))
	return b
}
