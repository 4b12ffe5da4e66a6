package props

import (
	"encoding/binary"
	"math"
	"unicode/utf8"
)

// Text is what the appending functions take for strings.
type Text interface{ ~string | ~[]byte }

// MaxShort is how many bytes a short string can have.
const MaxShort = 255

// cut returns how many bytes of s fit into a short string. It does not cut
// through a character, nor ever wrap the length: a longer one would shift all
// that follows it.
func cut[S Text](s S) int {
	if len(s) <= MaxShort {
		return len(s)
	}
	n := MaxShort
	for n > MaxShort-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	if !utf8.RuneStart(s[n]) {
		return MaxShort // not text
	}
	return n
}

// Length reads the four bytes that are the length of a long string, a table or
// an array. One that an int32 cannot hold is longer than whatever it is in, and
// stays so where an int has 32 bits.
func Length(b []byte) int { return int(min(binary.BigEndian.Uint32(b), math.MaxInt32)) }

// AppendShort appends a short string, cut to 255 bytes. [AMQP 4.2.5.3]
func AppendShort[S Text](b []byte, s S) []byte {
	n := cut(s)
	b = append(b, byte(n))
	return append(b, s[:n]...)
}

// AppendLong appends a long string. [AMQP 4.2.5.3]
func AppendLong[S Text](b []byte, s S) []byte {
	n := min(uint64(len(s)), math.MaxUint32)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	return append(b, s[:n]...)
}

func bit(v bool) byte {
	if v {
		return 1
	}
	return 0
}
