package props

import (
	"encoding/binary"
	"math"
)

// Tables and arrays are made by appending to them, beginning with nil:
//
//	t := AddStr(nil, "product", "Naru")
//	t = AddTable(t, "capabilities", AddBool(nil, "basic.nack", true))
//
// A key is cut at 255 bytes. To append to a table that was decoded copies it.

func addKey[K Text](t Table, key K, k Kind) Table {
	return append(AppendShort(t, key), byte(k))
}

// AddStr adds a long string.
func AddStr[K, V Text](t Table, key K, v V) Table {
	return AppendLong(addKey(t, key, KindLongStr), v)
}

// AddBytes adds a binary.
func AddBytes[K, V Text](t Table, key K, v V) Table {
	return AppendLong(addKey(t, key, KindBytes), v)
}

// AddBool adds a bool.
func AddBool[K Text](t Table, key K, v bool) Table {
	return append(addKey(t, key, KindBool), bit(v))
}

// AddInt32 adds a 32-bit integer.
func AddInt32[K Text](t Table, key K, v int32) Table {
	return binary.BigEndian.AppendUint32(addKey(t, key, KindInt32), uint32(v))
}

// AddInt64 adds a 64-bit integer.
func AddInt64[K Text](t Table, key K, v int64) Table {
	return binary.BigEndian.AppendUint64(addKey(t, key, KindInt64), uint64(v))
}

// AddFloat64 adds a double.
func AddFloat64[K Text](t Table, key K, v float64) Table {
	return binary.BigEndian.AppendUint64(addKey(t, key, KindFloat64), math.Float64bits(v))
}

// AddTime adds a timestamp, in seconds since 1970.
func AddTime[K Text](t Table, key K, seconds int64) Table {
	return binary.BigEndian.AppendUint64(addKey(t, key, KindTime), uint64(seconds))
}

// AddVoid adds a key without a value.
func AddVoid[K Text](t Table, key K) Table { return addKey(t, key, KindVoid) }

// AddTable adds a table.
func AddTable[K Text](t Table, key K, v Table) Table {
	return AppendLong(addKey(t, key, KindTable), v)
}

// AddArray adds an array.
func AddArray[K Text](t Table, key K, v Array) Table {
	return AppendLong(addKey(t, key, KindArray), v)
}

// AddValue adds a value from another table. One of KindNone becomes void.
func AddValue[K Text](t Table, key K, v Value) Table {
	return appendValue(AppendShort(t, key), v)
}

// PushStr adds a long string to an array.
func PushStr[V Text](a Array, v V) Array { return AppendLong(append(a, byte(KindLongStr)), v) }

// PushInt64 adds a 64-bit integer to an array.
func PushInt64(a Array, v int64) Array {
	return binary.BigEndian.AppendUint64(append(a, byte(KindInt64)), uint64(v))
}

// PushTable adds a table to an array.
func PushTable(a Array, v Table) Array { return AppendLong(append(a, byte(KindTable)), v) }

// PushValue adds a value from elsewhere to an array.
func PushValue(a Array, v Value) Array { return appendValue(a, v) }

// AppendWithout appends to b the fields of t but those whose key is one of
// keys, so that a new value can be added for them.
func AppendWithout(b, t Table, keys ...string) Table {
	rest := t
	for it := t.Iter(); it.Next(); {
		field := rest[:len(rest)-len(it.rest)]
		rest = rest[len(field):]
		if !oneOf(it.key, keys) {
			b = append(b, field...)
		}
	}
	return b
}

func oneOf(key []byte, keys []string) bool {
	for _, k := range keys {
		if string(key) == k {
			return true
		}
	}
	return false
}
