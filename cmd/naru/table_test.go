package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// hostile is what clients may call themselves.
var hostile = []string{
	"plain", "", "été 日本", "a\x1b[2Jb", "tab\tand\nline", "\u009b31m", "\u202eevil", "\x7f", `back\slash`, `"quoted"`,
	"\xff\xfe", "\U000e0041tag", "\u2028", "emoji \U0001f600", "\u00a0", "a\u200bb",
}

// obeyed says whether a terminal might obey something in the text.
func obeyed(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool {
		return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e || r == 0x200b || r == 0x2028 || r == utf8.RuneError || r >= 0xe0000
	})
}

func TestPrintable(t *testing.T) {
	seen := map[string]string{}
	for _, s := range hostile {
		p := printable(s)
		if obeyed(p) || strings.Contains(p, "\n") {
			t.Errorf("printable(%q) = %q", s, p)
		}
		if other, ok := seen[p]; ok {
			t.Errorf("%q and %q look the same: %q", s, other, p)
		}
		seen[p] = s
	}
	for s, want := range map[string]string{
		"été 日本": "été 日本", "a\x1b[2J": `a\x1b[2J`, `back\slash`: `back\\slash`, "\xff": `\xff`, `"it's"`: `"it's"`,
	} {
		if got := printable(s); got != want {
			t.Errorf("printable(%q) = %s, want %s", s, got, want)
		}
	}
}

// TestSafeJSON: the same JSON, with nothing in it that a terminal might obey.
func TestSafeJSON(t *testing.T) {
	for _, s := range hostile {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var before, after string
		safe := safeJSON(text)
		if json.Unmarshal(text, &before) != nil || json.Unmarshal(safe, &after) != nil || before != after {
			t.Errorf("%q becomes %s, which reads %q", text, safe, after)
		}
		if obeyed(strings.ReplaceAll(string(safe), `\ufffd`, "")) && utf8.ValidString(s) {
			t.Errorf("%q becomes %q", text, safe)
		}
	}
}

type pair struct{ A, B string }

var pairTable = table[pair]{columns: []column[pair]{
	{head: "A", cell: func(p pair) string { return p.A }},
	{head: "NUMBER", cell: func(p pair) string { return p.B }, right: true},
}}

func pairs(n int, then error, make func(i int) pair) func(func(json.RawMessage, error) bool) {
	return func(yield func(json.RawMessage, error) bool) {
		for i := range n {
			raw, _ := json.Marshal(make(i))
			if !yield(raw, nil) {
				return
			}
		}
		if then != nil {
			yield(nil, then)
		}
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	rows := []pair{{"z", "1"}, {"日本", "22"}, {"a\x1b", "333"}}
	if err := pairTable.write(&out, pairs(3, nil, func(i int) pair { return rows[i] })); err != nil {
		t.Fatal(err)
	}
	const want = "A      NUMBER\na\\x1b     333\nz           1\n日本       22\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	out.Reset()
	narrow := pairTable
	narrow.limit = 5
	if err := narrow.write(&out, pairs(1, nil, func(int) pair { return pair{"日本日本日本", "123456"} })); err != nil {
		t.Fatal(err)
	}
	if want := "A      NUMBER\n日本…   1234…\n"; out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

// TestLongTable: a long list is shown whole, in the order in which it comes, and
// what was shown before a list breaks off is followed by the error.
func TestLongTable(t *testing.T) {
	const n = 2*sortedRows + 3
	var out bytes.Buffer
	cut := errors.New("cut")
	err := pairTable.write(&out, pairs(n, cut, func(i int) pair { return pair{fmt.Sprint(n - i), "x"} }))
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	if !errors.Is(err, cut) || len(lines) != n+1 || !strings.HasPrefix(lines[1], fmt.Sprint(n, " ")) || !strings.HasPrefix(lines[n], "1 ") {
		t.Errorf("%d lines, the last %q, %v", len(lines), lines[len(lines)-1], err)
	}
	out.Reset()
	if err := writeArray(&out, pairs(2, cut, func(int) pair { return pair{} })); !errors.Is(err, cut) || json.Valid(out.Bytes()) {
		t.Errorf("an array that was cut off: %v\n%s", err, out.String())
	}
	for n := range 3 {
		out.Reset()
		var all []pair
		if err := writeArray(&out, pairs(n, nil, func(int) pair { return pair{"\u009b", ""} })); err != nil || json.Unmarshal(out.Bytes(), &all) != nil || len(all) != n {
			t.Errorf("an array of %d: %v\n%s", n, err, out.String())
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1<<20 - 1: "1.0 MiB", 3 << 19: "1.5 MiB", 5 << 40: "5.0 TiB",
	} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
