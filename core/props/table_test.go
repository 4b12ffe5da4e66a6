package props

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// node is a value as the slow parser sees it.
type node struct {
	key  string
	kind byte
	data string // of what is neither table nor array
	sub  []node
}

// parseTable parses a table or an array slowly, recursively and on its own.
func parseTable(b []byte, array bool, depth int, count *int) (out []node, err error) {
	if depth > MaxDepth {
		return nil, ErrDepth
	}
	fixed := map[byte]int{'I': 4, 'D': 5, 'T': 8, 'b': 1, 'B': 1, 's': 2, 'u': 2, 'i': 4, 'l': 8, 'L': 8, 'd': 8, 'f': 4, 't': 1, 'V': 0}
	r := bytes.NewReader(b)
	take := func(n int) (string, bool) {
		if n > r.Len() {
			return "", false
		}
		p := make([]byte, n)
		r.Read(p)
		return string(p), true
	}
	for r.Len() > 0 {
		if *count++; *count > MaxElements {
			return nil, ErrElements
		}
		var n node
		ok := true
		if !array {
			l, _ := r.ReadByte()
			if n.key, ok = take(int(l)); !ok {
				return nil, ErrTable
			}
		}
		if n.kind, err = r.ReadByte(); err != nil {
			return nil, ErrTable
		}
		size, known := fixed[n.kind]
		if !known && !strings.ContainsRune("SxFA", rune(n.kind)) {
			return nil, ErrFieldType
		}
		if !known {
			l, enough := take(4)
			if !enough {
				return nil, ErrTable
			}
			size = int(min(binary.BigEndian.Uint32([]byte(l)), math.MaxInt32))
		}
		if n.data, ok = take(size); !ok {
			return nil, ErrTable
		}
		if n.kind == 'F' || n.kind == 'A' {
			if n.sub, err = parseTable([]byte(n.data), n.kind == 'A', depth+1, count); err != nil {
				return nil, err
			}
			n.data = ""
		}
		out = append(out, n)
	}
	return out, nil
}

// walk goes through a table by its iterators.
func walk(t Table) (out []node, err error) {
	it := t.Iter()
	for it.Next() {
		n, err := walkValue(it.Value())
		if err != nil {
			return nil, err
		}
		n.key = string(it.Key())
		out = append(out, n)
	}
	return out, it.Err()
}

func walkValue(v Value) (n node, err error) {
	n.kind = byte(v.Kind())
	switch v.Kind() {
	case KindTable:
		n.sub, err = walk(v.Table())
	case KindArray:
		it := v.Array().Iter()
		for it.Next() {
			sub, err := walkValue(it.Value())
			if err != nil {
				return n, err
			}
			n.sub = append(n.sub, sub)
		}
		err = it.Err()
	default:
		n.data = string(v.b)
	}
	return n, err
}

// rebuild makes the table again from what its values say.
func rebuild(t Table) Table {
	var out Table
	for it := t.Iter(); it.Next(); {
		v := it.Value()
		switch v.Kind() {
		case KindLongStr:
			out = AddStr(out, it.Key(), v.Bytes())
		case KindBytes:
			out = AddBytes(out, it.Key(), v.Bytes())
		case KindInt32:
			out = AddInt32(out, it.Key(), int32(v.Int64()))
		case KindInt64:
			out = AddInt64(out, it.Key(), v.Int64())
		case KindTime:
			out = AddTime(out, it.Key(), v.Int64())
		case KindTable:
			out = AddTable(out, it.Key(), rebuild(v.Table()))
		case KindArray:
			var a Array
			for ai := v.Array().Iter(); ai.Next(); {
				a = PushValue(a, ai.Value())
			}
			out = AddArray(out, it.Key(), a)
		case KindVoid:
			out = AddVoid(out, it.Key())
		default:
			out = AddValue(out, it.Key(), v)
		}
	}
	return out
}

// everyKind is a table with a value of every kind, as wire bytes, and what
// they say.
const everyKind = "01'SS' 00000002'hi' 01'xx' 00000001 ff 01'bb' 80 01'BB' 80 01'ss' 8000 01'uu' 8000 01'II' 80000000 01'ii' 80000000" +
	"01'll' 8000000000000000 01'LL' 8000000000000000 01'ff' 3fc00000 01'dd' 3ff8000000000000 01'DD' 02 00000003 01'TT' 000000006553f100" +
	"01'tt' 01 01'VV' 01'FF' 00000007 01'kS' 00000000 01'AA' 00000003 't' 00 'V'"

// TestValues reads a value of every kind.
func TestValues(t *testing.T) {
	table := Table(raw(t, everyKind))
	if err := table.Validate(); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"S": `longstr 0 0 false "hi"`, "x": `binary 0 0 false "\xff"`,
		"b": `byte -128 0 false ""`, "B": `unsignedbyte 128 0 false ""`,
		"s": `short -32768 0 false ""`, "u": `unsignedshort 32768 0 false ""`,
		"I": `signedint -2147483648 0 false ""`, "i": `unsignedint 2147483648 0 false ""`,
		"l": `long -9223372036854775808 0 false ""`, "L": `long -9223372036854775808 0 false ""`,
		"f": `float 0 1.5 false ""`, "d": `double 0 1.5 false ""`,
		"D": `decimal 0 0 false ""`, "T": `timestamp 1700000000 0 false ""`,
		"t": `bool 0 0 true ""`, "V": `void 0 0 false ""`, "F": `table 0 0 false ""`, "A": `array 0 0 false ""`,
	}
	n := 0
	for it := table.Iter(); it.Next(); n++ {
		v := it.Value()
		got := fmt.Sprintf("%s %d %v %v %q", v.Kind(), v.Int64(), v.Float64(), v.Bool(), v.Bytes())
		if key := string(it.Key()); got != want[key] || string(v.Kind()) != key {
			t.Errorf("%s is %s, want %s", key, got, want[key])
		}
		if one, ok := table.Get(string(it.Key())); !ok || !EqualValue(one, v) {
			t.Errorf("Get finds another %s", it.Key())
		}
		if ints := strings.Contains("bBsuIilL", string(it.Key())); v.IsInt() != ints {
			t.Errorf("%s is an integer: %v", it.Key(), v.IsInt())
		}
		if v.IsFloat() != strings.Contains("fd", string(it.Key())) {
			t.Errorf("%s is a float: %v", it.Key(), v.IsFloat())
		}
	}
	if n != len(want) {
		t.Errorf("%d values", n)
	}
	decimal, _ := table.Get("D")
	if scale, value := decimal.Decimal(); scale != 2 || value != 3 {
		t.Error(scale, value)
	}
	nested, _ := table.Get("F")
	if v, ok := nested.Table().Get("k"); !ok || v.Kind() != KindLongStr || len(v.Bytes()) != 0 {
		t.Error(v, ok)
	}
	if v, ok := table.Get("nothing"); ok || v.Kind() != KindNone || v.Int64() != 0 || v.Bytes() != nil || v.Table() != nil || v.Array() != nil || v.Bool() {
		t.Error(v, ok)
	}
	if again := rebuild(table); !bytes.Equal(again, table) {
		t.Errorf("% x is made of\n% x", again, table)
	}
	// Every part of it either ends between two fields or is malformed.
	ends := map[int]bool{0: true}
	for it := table.Iter(); it.Next(); {
		ends[len(table)-len(it.rest)] = true
	}
	for i := range table {
		if err := table[:i].Validate(); (err == nil) != ends[i] {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
}

// TestTableErrors has tables that are malformed in one way each.
func TestTableErrors(t *testing.T) {
	for _, test := range []struct {
		name, wire string
		want       error
	}{
		{"key longer than the table", "02'k'", ErrTable},
		{"key to the last byte", "01'k'", ErrTable},
		{"unknown type", "01'kZ'", ErrFieldType},
		{"type 0", "01'k'00", ErrFieldType},
		{"string without its length", "01'kS'000000", ErrTable},
		{"string one byte longer", "01'kS'00000002'a'", ErrTable},
		{"string of 2^32-1", "01'kS'ffffffff'a'", ErrTable},
		{"string of 2^31", "01'kS'80000000'a'", ErrTable},
		{"table one byte longer", "01'kF'00000004 01'aV'", ErrTable},
		{"value longer than its table", "01'kF'00000005 01'aI'0000 0000", ErrTable},
		{"table that ends in a key", "01'kF'00000001 01 01'aV'", ErrTable},
		{"table that ends before the type", "01'kF'00000002 01'a' 'V'", ErrTable},
		{"array with half an integer", "01'kA'00000002 's'00 00", ErrTable},
		{"unknown type in an array", "01'kA'00000001 'z'", ErrFieldType},
		{"array of 2^32-1", "01'kA'ffffffff", ErrTable},
		{"short int64", "01'kl'00000000000000", ErrTable},
		{"empty key", "00'V'", nil},
		{"key of 255", "ff'" + strings.Repeat("k", 255) + "V'", nil},
		{"key that is not text", "02 fffe 'V'", nil},
		{"empty table and array", "01'aF'00000000 01'bA'00000000", nil},
		{"true is 2", "01'at'02", nil},
	} {
		b := raw(t, test.wire)
		if err := Table(b).Validate(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
		if _, err := walk(b); (err == nil) != (test.want == nil) {
			t.Errorf("%s: the iterators say %v", test.name, err)
		}
	}
}

// nest makes a table with depth tables or arrays in one another, itself one of
// them.
func nest(depth int, array bool) Table {
	// Lengths are known from the inside out, so it is written backwards.
	var b Table
	for i := 1; i < depth; i++ {
		switch {
		case !array:
			b = AddTable(nil, "", b)
		case i < depth-1:
			b = Table(AppendLong([]byte{'A'}, b))
		default:
			b = AddArray(nil, "", Array(b))
		}
	}
	return b
}

// TestDepth nests up to the limit, beyond it, and as deep as a frame can hold.
func TestDepth(t *testing.T) {
	for _, array := range []bool{false, true} {
		for depth, want := range map[int]error{2: nil, MaxDepth - 1: nil, MaxDepth: nil, MaxDepth + 1: ErrDepth, 1000: ErrDepth, 5000: ErrDepth} {
			b := nest(depth, array)
			if err := b.Validate(); !errors.Is(err, want) || err == nil && want != nil {
				t.Errorf("depth %d, arrays %v: %v", depth, array, err)
			}
			// Nothing that goes through a table that nobody validated goes deeper
			// than the limit either.
			v := Value{KindTable, b}
			if got := EqualValue(v, v); got != (want == nil) {
				t.Errorf("depth %d, arrays %v: equal to itself: %v", depth, array, got)
			}
			if got := AppendCanonical(nil, b); want == nil && !bytes.Equal(got, b) {
				t.Errorf("depth %d, arrays %v: the canonical form is another", depth, array)
			}
		}
	}
}

// TestElements counts elements up to the limit, nested ones too. In an array
// they can be of one byte.
func TestElements(t *testing.T) {
	for n, want := range map[int]error{MaxElements - 1: nil, MaxElements: ErrElements} {
		b := AddArray(nil, "a", bytes.Repeat([]byte("V"), n))
		if err := b.Validate(); !errors.Is(err, want) || err == nil && want != nil {
			t.Errorf("%d elements in an array: %v", n, err)
		}
	}
	for n, want := range map[int]error{MaxElements: nil, MaxElements + 1: ErrElements} {
		if err := Table(bytes.Repeat([]byte("\x00V"), n)).Validate(); !errors.Is(err, want) || err == nil && want != nil {
			t.Errorf("%d fields: %v", n, err)
		}
	}
}

// TestEqual compares by value: for arguments, and for a headers exchange.
func TestEqual(t *testing.T) {
	for _, test := range []struct {
		a, b         string
		equal, match bool
	}{
		{"'I'00000005", "'l'0000000000000005", true, true},
		{"'b'05", "'u'0005", true, true},
		{"'b'ff", "'l'ffffffffffffffff", true, true},
		{"'B'ff", "'l'ffffffffffffffff", false, false},
		{"'B'ff", "'I'000000ff", true, true},
		{"'L'ffffffffffffffff", "'b'ff", true, true},
		{"'I'00000005", "'d'4014000000000000", false, false},
		{"'I'00000005", "'S'00000001'5'", false, false},
		{"'I'00000001", "'t'01", false, false},
		{"'t'01", "'t'02", true, true},
		{"'t'00", "'t'01", false, false},
		{"'f'3fc00000", "'d'3ff8000000000000", true, true},
		{"'f'3fc00000", "'d'3ff8000000000001", false, false},
		{"'T'0000000000000005", "'I'00000005", false, true},
		{"'B'05", "'T'0000000000000005", false, true},
		{"'T'0000000000000005", "'T'0000000000000006", false, false},
		{"'S'00000001'a'", "'x'00000001'a'", false, true},
		{"'x'00000001'a'", "'S'00000001'b'", false, false},
		{"'S'00000001'a'", "'S'00000001'a'", true, true},
		{"'S'00000001'a'", "'S'00000002'ab'", false, false},
		{"'V'", "'V'", true, true},
		{"'V'", "'S'00000000", false, false},
		{"'D'0100000005", "'D'0100000005", true, true},
		{"'D'0100000005", "'D'0200000005", false, false},
		{"'F'00000004 01'ab'05", "'F'00000005 01'as'0005", true, true},
		{"'F'00000004 01'ab'05", "'F'00000004 01'cb'05", false, false},
		{"'F'00000004 01'ab'05", "'F'00000000", false, false},
		{"'F'00000006 01'aV'01'bV'", "'F'00000006 01'bV'01'aV'", false, false},
		{"'A'00000002'b'05", "'A'00000003'u'0005", true, true},
		{"'A'00000002'b'05", "'A'00000003'b'05'V'", false, false},
		{"'A'00000002'b'05", "'F'00000000", false, false},
	} {
		a, _, err := readValue(raw(t, test.a))
		b, _, err2 := readValue(raw(t, test.b))
		if err != nil || err2 != nil {
			t.Fatal(test.a, err, test.b, err2)
		}
		if EqualValue(a, b) != test.equal || EqualValue(b, a) != test.equal {
			t.Errorf("%s and %s are equal: %v", test.a, test.b, !test.equal)
		}
		if MatchValue(a, b) != test.match || MatchValue(b, a) != test.match {
			t.Errorf("%s and %s match: %v", test.a, test.b, !test.match)
		}
		// The canonical form says the same as EqualValue.
		x, y := AppendCanonical(nil, AddValue(nil, "k", a)), AppendCanonical(nil, AddValue(nil, "k", b))
		if bytes.Equal(x, y) != test.equal {
			t.Errorf("%s and %s are\n% x\n% x", test.a, test.b, x, y)
		}
	}
	if EqualValue(Value{}, Value{KindVoid, nil}) || !EqualValue(Value{}, Value{}) {
		t.Error("no value is not void")
	}
}

// TestCanonical sorts, and keeps what is there twice.
func TestCanonical(t *testing.T) {
	a := AddTable(AddStr(AddInt32(nil, "b", 1), "a", "x"), "c", AddInt32(nil, "z", 2))
	b := AddStr(AddInt64(AddTable(nil, "c", AddInt64(nil, "z", 2)), "b", 1), "a", "x")
	x, y := AppendCanonical([]byte("before"), a), AppendCanonical([]byte("before"), b)
	want := append([]byte("before"), AddTable(AddInt64(AddStr(nil, "a", "x"), "b", 1), "c", AddInt64(nil, "z", 2))...)
	if !bytes.Equal(x, want) || !bytes.Equal(y, want) {
		t.Errorf("%q\n%q, want\n%q", x, y, want)
	}
	if got := AppendCanonical(nil, AddInt32(AddInt32(nil, "a", 2), "a", 1)); !bytes.Equal(got, AddInt64(AddInt64(nil, "a", 2), "a", 1)) {
		t.Errorf("%q", got)
	}
	var many, backwards Table
	for i := range 100 {
		many = AddInt64(many, fmt.Sprintf("%03d", i), 7)
		backwards = AddInt32(backwards, fmt.Sprintf("%03d", 99-i), 7)
	}
	if !bytes.Equal(AppendCanonical(nil, backwards), many) {
		t.Error("a hundred fields are not sorted")
	}
	if got := AppendCanonical(nil, nil); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

// TestWithout takes keys out, and leaves all else as it came.
func TestWithout(t *testing.T) {
	table := Table(raw(t, everyKind))
	if got := AppendWithout(nil, table); !bytes.Equal(got, table) {
		t.Errorf("% x", got)
	}
	if got := AppendWithout([]byte("before"), table, "no", "such"); string(got) != "before"+string(table) {
		t.Errorf("% x", got)
	}
	for it := table.Iter(); it.Next(); {
		got := AppendWithout(nil, table, "no", string(it.Key()))
		if _, ok := got.Get(string(it.Key())); ok || got.Validate() != nil || len(got) >= len(table) {
			t.Errorf("without %s: % x", it.Key(), got)
		}
	}
	twice := AddStr(AddVoid(AddStr(nil, "BCC", "1"), "k"), "BCC", "2")
	got := AddStr(AppendWithout(nil, twice, "BCC"), "BCC", "3")
	if want := AddStr(AddVoid(nil, "k"), "BCC", "3"); !bytes.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// TestAppendToDecoded appends to things that point into a buffer. The buffer
// must not change.
func TestAppendToDecoded(t *testing.T) {
	args := raw(t, "01'aF'00000003 01'bV' 01'cV'")
	before := bytes.Clone(args)
	table := Table(args)
	a, _ := table.Get("a")
	_ = AddStr(a.Table(), "k", "value")
	for it := table.Iter(); it.Next(); {
		_ = append(it.Key(), "xxxxxxxx"...)
	}
	props := raw(t, "a000 01'c' 00000000")
	kept := bytes.Clone(props)
	s, err := Scan(append(props, 0)[:len(props)])
	if err != nil {
		t.Fatal(err)
	}
	_ = AddStr(s.Headers, "k", "value")
	if !bytes.Equal(args, before) || !bytes.Equal(props, kept) {
		t.Error("what was decoded has changed")
	}
}

// TestBuilders has numbers at their borders.
func TestBuilders(t *testing.T) {
	var table Table
	for _, v := range []int64{math.MinInt64, -1, 0, math.MaxInt64} {
		table = AddInt64(table, "l", v)
		table = AddTime(table, "T", v)
		table = AddInt32(table, "I", int32(v))
		table = AddFloat64(table, "d", float64(v))
		table = AddArray(table, "A", PushInt64(nil, v))
		if table.Validate() != nil {
			t.Fatal(v)
		}
		l, _ := table.Get("l")
		at, _ := table.Get("T")
		i, _ := table.Get("I")
		d, _ := table.Get("d")
		a, _ := table.Get("A")
		it := a.Array().Iter()
		if l.Int64() != v || at.Int64() != v || i.Int64() != int64(int32(v)) || d.Float64() != float64(v) || !it.Next() || it.Value().Int64() != v || it.Next() {
			t.Errorf("%d becomes %d %d %d %v", v, l.Int64(), at.Int64(), i.Int64(), d.Float64())
		}
		table = table[:0]
	}
	death := AddArray(nil, "x-death", PushTable(PushStr(nil, "s"), AddStr(nil, "queue", "q")))
	want := "07'x-deathA' 00000017 'S'00000001's' 'F'0000000c 05'queueS'00000001'q'"
	if !bytes.Equal(death, raw(t, want)) {
		t.Errorf("% x", death)
	}
	if got := AddValue(nil, "k", Value{}); !bytes.Equal(got, AddVoid(nil, "k")) {
		t.Errorf("% x", got)
	}
	if got := AddValue(AddBool(nil, "f", false), "k", l0()); got.Validate() != nil {
		t.Errorf("% x", got)
	}
}

func l0() Value { v, _ := AddInt64(nil, "l", 0).Get("l"); return v }
