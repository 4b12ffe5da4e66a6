package props

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/narumq/naru/core/coretest/octets"
)

// raw makes bytes of hex and of 'text'.
var raw = octets.Of

func headersTable() Table {
	t := AddStr(nil, "x-mqtt-topic", "site/54321/kitchen/temp")
	t = AddInt64(t, "count", 5)
	return AddTable(t, "nested", AddBool(AddStr(nil, "a", "b"), "c", true))
}

// FuzzTable compares Validate and the iterators with the slow parser, and what
// is made of a table with the table.
func FuzzTable(f *testing.F) {
	f.Add(raw(f, everyKind), "F")
	f.Add([]byte(headersTable()), "count")
	f.Add([]byte(nest(MaxDepth, false)), "")
	f.Add([]byte(nest(MaxDepth+1, true)), "")
	for _, s := range []string{"", "01'kS'ffffffff", "01'kF'00000003 01'aV'", "01'kA'00000002 'VV'", "00'Z'", "02'k'", "01'ad'7ff0000000000001 01'af'7fa00000"} {
		f.Add(raw(f, s), "k")
	}
	f.Fuzz(func(t *testing.T, data []byte, key string) {
		table := Table(data[:len(data):len(data)])
		count := 0
		want, wantErr := parseTable(data, false, 1, &count)
		err := table.Validate()
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("% x: %v, want %v", data, err, wantErr)
		}
		if err != nil {
			// Whoever goes through it all the same gets no further than its end.
			_, _ = table.Get(key)
			_ = AppendCanonical(nil, table)
			_ = AppendWithout(nil, table, key)
			if EqualValue(Value{KindTable, table}, Value{KindTable, table}) && !errors.Is(err, ErrElements) {
				if _, e := walk(table); e != nil {
					t.Fatalf("% x: equal to itself, %v", data, err)
				}
			}
			return
		}
		got, err := walk(table)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("% x: %v, %v\nwant %v", data, got, err, want)
		}
		if again := rebuild(table); !bytes.Equal(again, table) {
			t.Fatalf("% x is made again as\n% x", data, again)
		}
		if !EqualValue(Value{KindTable, table}, Value{KindTable, table}) {
			t.Fatalf("% x is not equal to itself", data)
		}
		one := AppendCanonical(nil, table)
		if two := AppendCanonical(nil, one); one.Validate() != nil || !bytes.Equal(one, two) {
			t.Fatalf("% x: % x, and of that % x", data, one, two)
		}
		less := AppendWithout(nil, table, key)
		v, has := table.Get(key)
		if _, still := less.Get(key); still || less.Validate() != nil || has != (len(less) < len(table)) {
			t.Fatalf("% x without %q: % x", data, key, less)
		}
		if len(key) <= MaxShort {
			if w, ok := AddValue(less, key, v).Get(key); !ok || has && !EqualValue(v, w) || !has && w.Kind() != KindVoid {
				t.Fatalf("% x: %q is %v, put back %v", data, key, v, w)
			}
		}
	})
}

// FuzzProperties compares Scan and Decode with the slow parser.
func FuzzProperties(f *testing.F) {
	for _, s := range []string{goProperties, "0000", "1000 02", "8001 0000 01'a'", "0002", "2000 00000003 01'kV'", "0400 01 ff", "0004 00", "fffc"} {
		f.Add(raw(f, s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:len(data):len(data)]
		checkProperties(t, data)
		h := HeadersOf(data)
		if s, err := Scan(data); err == nil && !bytes.Equal(h, s.Headers) {
			t.Fatalf("% x: headers % x, want % x", data, h, s.Headers)
		}
		_ = h.String() // of whatever it is
	})
}
