package props

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// propertyOrder has the properties of the class basic in the order of the
// spec: s is a short string, t a table, o an octet, q eight bytes.
const propertyOrder = "sstoossssqssss"

// parseProperties reads properties slowly and on its own. values has one for
// each bit; nil where it is not set.
func parseProperties(b []byte) (values [14][]byte, ok bool) {
	if len(b) < 2 || b[1]&3 != 0 {
		return values, false
	}
	flags := uint(b[0])<<8 | uint(b[1])
	b = b[2:]
	for i, c := range propertyOrder {
		if flags>>(15-i)&1 == 0 {
			continue
		}
		n, head := map[rune]int{'o': 1, 'q': 8}[c], 0
		switch {
		case c == 's' && len(b) >= 1:
			n, head = int(b[0]), 1
		case c == 't' && len(b) >= 4:
			n, head = int(min(binary.BigEndian.Uint32(b), math.MaxInt32)), 4
		case c == 's' || c == 't':
			return values, false
		}
		if len(b)-head < n {
			return values, false
		}
		values[i] = append([]byte{}, b[head:head+n]...)
		b = b[head+n:]
		if c == 't' {
			if _, err := parseTable(values[i], false, 1, new(int)); err != nil {
				return values, false
			}
		}
	}
	return values, len(b) == 0
}

// checkProperties compares Scan and Decode with what parseProperties says.
func checkProperties(t *testing.T, b []byte) {
	t.Helper()
	want, ok := parseProperties(b)
	s, err := Scan(b)
	var p Properties
	err2 := p.Decode(b)
	if (err == nil) != ok || (err2 == nil) != ok {
		t.Fatalf("% x: Scan %v, Decode %v, by the spec %v", b, err, err2, ok)
	}
	if !ok {
		if !errors.Is(err, ErrProperties) || !errors.Is(err2, ErrProperties) || !reflect.DeepEqual(s, Summary{}) {
			t.Fatalf("% x: %v, %v, %+v", b, err, err2, s)
		}
		return
	}
	octet := func(b []byte) uint8 {
		if b == nil {
			return 0
		}
		return b[0]
	}
	same := func(name string, got, want []byte) {
		t.Helper()
		if !bytes.Equal(got, want) || (got == nil) != (want == nil) || cap(got) != len(got) {
			t.Fatalf("% x: %s is %q, want %q", b, name, got, want)
		}
	}
	for i, v := range want {
		if has := Flags(1) << (15 - i); (p.Has&has != 0) != (v != nil) || p.Has != s.Has {
			t.Fatalf("% x: has %b and %b", b, p.Has, s.Has)
		}
	}
	for i, v := range [][]byte{p.ContentType, p.ContentEncoding, p.Headers, nil, nil, p.CorrelationID, p.ReplyTo, p.Expiration, p.MessageID, nil, p.Type, p.UserID, p.AppID, p.ClusterID} {
		if propertyOrder[i] == 's' || propertyOrder[i] == 't' {
			same(string(rune('0'+i)), v, want[i])
		}
	}
	same("summary headers", s.Headers, want[2])
	same("summary reply-to", s.ReplyTo, want[6])
	same("summary expiration", s.Expiration, want[7])
	same("summary user-id", s.UserID, want[11])
	if p.DeliveryMode != octet(want[3]) || p.Priority != octet(want[4]) || s.DeliveryMode != p.DeliveryMode || s.Priority != p.Priority || s.Persistent() != (p.DeliveryMode == 2) {
		t.Fatalf("% x: %+v %+v", b, p, s)
	}
	if want[9] != nil && p.Timestamp != binary.BigEndian.Uint64(want[9]) || want[9] == nil && p.Timestamp != 0 {
		t.Fatalf("% x: timestamp %d", b, p.Timestamp)
	}
	if again := AppendProperties(nil, &p); !bytes.Equal(again, b) {
		t.Fatalf("% x is made again as\n% x", b, again)
	}
}

// goProperties is what amqp091-go 1.14.0 sent of a message that has all
// properties but the cluster id.
const goProperties = "fff8 0a'text/plain' 01'e' 00000052 01'hS'00000001'v' 01'nF'0000000b 01'kl'0000000000000001 " +
	"03'arrA'0000001c 'I'00000001 't'01 'V' 'd'3ff8000000000000 'f'40000000 'x'00000001'x' 01'dD'0200000003 01'tT'000000006553f100 " +
	"02 04 01'c' 01'r' 03'100' 01'm' 000000006553f101 02'ty' 05'guest' 01'a'"

// TestProperties decodes known bytes, each part of them, and with more behind.
func TestProperties(t *testing.T) {
	b := raw(t, goProperties)
	checkProperties(t, b)
	var p Properties
	if err := p.Decode(b); err != nil {
		t.Fatal(err)
	}
	if string(p.ContentType) != "text/plain" || string(p.Expiration) != "100" || p.DeliveryMode != 2 || p.Priority != 4 || string(p.UserID) != "guest" ||
		p.Timestamp != 1_700_000_001 || string(p.Type) != "ty" || string(p.AppID) != "a" || p.Has != ^(HasClusterID|noFlags) {
		t.Errorf("%+v", p)
	}
	if v, _ := p.Headers.Get("t"); v.Int64() != 1_700_000_000 {
		t.Errorf("%+v", v)
	}
	for n := range b {
		checkProperties(t, b[:n])
		if _, err := Scan(b[:n]); err == nil {
			t.Errorf("the first %d bytes are enough", n)
		}
	}
	checkProperties(t, append(bytes.Clone(b), 0))
	if _, err := Scan(append(bytes.Clone(b), 0)); err == nil {
		t.Error("a byte more is let pass")
	}
	for range 20_000 {
		c := bytes.Clone(b)
		for range 1 + rand.IntN(3) {
			c[rand.IntN(len(c))] = byte(rand.Uint32())
		}
		checkProperties(t, c)
	}
}

// TestEachProperty has each alone and each missing.
func TestEachProperty(t *testing.T) {
	all := Properties{
		Has: ^noFlags, ContentType: []byte("ct"), ContentEncoding: []byte("ce"), Headers: AddVoid(nil, "h"), DeliveryMode: 1, Priority: 255,
		CorrelationID: []byte("ci\xff"), ReplyTo: []byte("r"), Expiration: []byte(""), MessageID: []byte(strings.Repeat("m", 255)), Timestamp: 1<<64 - 1,
		Type: []byte("t"), UserID: []byte("u"), AppID: []byte("a"), ClusterID: []byte("c"),
	}
	for i := range 14 {
		for _, has := range []Flags{1 << (15 - i), ^(1 << (15 - i)) &^ noFlags} {
			p := all
			p.Has = has
			b := AppendProperties([]byte("x"), &p)[1:]
			checkProperties(t, b)
			if s, err := Scan(b); err != nil || s.Has != has {
				t.Errorf("%016b: %+v, %v", has, s, err)
			}
		}
	}
	// What is too long is cut, and moves nothing.
	all.AppID = []byte(strings.Repeat("a", 256))
	b := AppendProperties(nil, &all)
	var p Properties
	if err := p.Decode(b); err != nil || len(p.AppID) != 255 || string(p.ClusterID) != "c" {
		t.Errorf("%+v, %v", p, err)
	}
}

// TestContinuation has the bit that announces another word of flags, and the
// one that has no meaning. A client that knows neither would read the rest
// wrong.
func TestContinuation(t *testing.T) {
	for _, wire := range []string{"0001 0000", "8001 0000 01'a'", "8001 01'a'", "0001", "0003 0000", "0002", "8002 01'a'", "0001 0001 0000",
		"0001 00", "0002 00", "0003 00 00", "8001 00 00"} {
		b := raw(t, wire)
		checkProperties(t, b)
		if _, err := Scan(b); !errors.Is(err, ErrProperties) {
			t.Errorf("%s: %v", wire, err)
		}
	}
	// It cannot be written either.
	p := Properties{Has: HasPriority | noFlags, Priority: 1}
	if b := AppendProperties(nil, &p); !bytes.Equal(b, raw(t, "0800 01")) {
		t.Errorf("% x", b)
	}
}

// TestPropertyTables has headers that are malformed, and lie about their
// length.
func TestPropertyTables(t *testing.T) {
	for wire, good := range map[string]bool{
		"2000 00000000":                true,
		"2000 00000003 01'kV'":         true,
		"2000 00000003 01'kZ'":         false,
		"2000 00000002 01'kV'":         false,
		"2000 00000004 01'kV'":         false,
		"2000 ffffffff 01'kV'":         false,
		"2000 80000000":                false,
		"2000 000000":                  false,
		"2000 00000008 01'kF'00000001": false,
		"2000 00000006 01'kS'000000":   false,
	} {
		b := raw(t, wire)
		checkProperties(t, b)
		if _, err := Scan(b); (err == nil) != good {
			t.Errorf("%s: %v", wire, err)
		}
	}
	for depth, good := range map[int]bool{MaxDepth: true, MaxDepth + 1: false, 1000: false} {
		b := AppendLong([]byte{0x20, 0}, nest(depth, false))
		if _, err := Scan(b); (err == nil) != good {
			t.Errorf("headers %d deep: %v", depth, err)
		}
	}
}
