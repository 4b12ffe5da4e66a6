package config

import (
	"bufio"
	"fmt"
	"io"
	"reflect"
	"strconv"
	"unicode/utf8"
)

// A Report tells every value that is in force, and where it came from.
type Report struct {
	Values   []Value  // in struct order; lists in order, maps by key
	Warnings []string // what was accepted and is probably not meant

	lines []line
}

// Value is one key of a loaded configuration. A list of scalars is one value,
// as is an empty list or map.
type Value struct {
	Path   string // as --set takes it: mqtt.listeners.0.address
	Value  string // as YAML on one line; "***" for a secret
	Origin string // "default", "naru.yaml:12", "environment NARU_DATA_DIR", "--set"
	Secret bool
}

// A line is one line of Print. Lines that only open a section have no origin.
type line struct{ text, origin string }

// Print writes the configuration as YAML with the origin of each value in a
// comment. Loaded again it gives the same values, except for secrets: their mask
// is recognised and skipped, with a warning.
func (r *Report) Print(w io.Writer) error {
	const widest = 48 // a longer line does not push the comments of all others aside
	width := 0
	for _, l := range r.lines {
		if n := utf8.RuneCountInString(l.text); n <= widest && l.origin != "" {
			width = max(width, n)
		}
	}
	out := bufio.NewWriter(w)
	for _, l := range r.lines {
		if l.origin == "" {
			fmt.Fprintln(out, l.text)
		} else {
			pad := max(width-utf8.RuneCountInString(l.text), 0)
			fmt.Fprintf(out, "%s%*s  # %s\n", l.text, pad, "", printable(l.origin))
		}
	}
	return out.Flush()
}

// printable keeps a line break in a file name from ending its comment.
func printable(s string) string {
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}

func (l *loader) report() *Report {
	r := &Report{Warnings: l.warnings}
	if b := l.block(r, l.root, l.shape, ""); b.inline == "" {
		r.lines = b.lines
	}
	return r
}

// A block is a rendered value: on one line, or on lines of its own.
type block struct {
	inline, origin string
	lines          []line
}

// block renders v and adds its values to r.
func (l *loader) block(r *Report, v reflect.Value, sh *shape, path string) block {
	inner, ok := sh.deref(v)
	var b block
	switch {
	case !ok || sh.flat():
	case sh.kind == kindSection:
		for _, f := range sh.fields {
			b.nest(f.name+":", l.block(r, inner.FieldByIndex(f.index), f.shape, join(path, f.name)))
		}
	case sh.kind == kindMap:
		for _, key := range sortedKeys(inner) {
			b.nest(quote(key)+":", l.block(r, at(inner, key), sh.elem, join(path, key)))
		}
	case sh.kind == kindList:
		for i := range inner.Len() {
			b.item(l.block(r, inner.Index(i), sh.elem, join(path, strconv.Itoa(i))))
		}
	}
	if len(b.lines) > 0 {
		return b
	}
	b.inline, b.origin = sh.flow(v, false), "default"
	if origin, ok := l.origins[path]; ok {
		b.origin = origin
	}
	if path != "" {
		r.Values = append(r.Values, Value{Path: path, Value: b.inline, Origin: b.origin, Secret: sh.secret})
	}
	return b
}

// nest adds a key with its value.
func (b *block) nest(key string, value block) {
	if value.inline != "" {
		b.lines = append(b.lines, line{key + " " + value.inline, value.origin})
		return
	}
	b.lines = append(b.lines, line{text: key})
	for _, l := range value.lines {
		b.lines = append(b.lines, line{"  " + l.text, l.origin})
	}
}

// item adds an element of a list.
func (b *block) item(value block) {
	if value.inline != "" {
		b.lines = append(b.lines, line{"- " + value.inline, value.origin})
		return
	}
	for i, l := range value.lines {
		dash := "  "
		if i == 0 {
			dash = "- "
		}
		b.lines = append(b.lines, line{dash + l.text, l.origin})
	}
}
