package amqp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A scanner reads the rest of a script's line.
type scanner struct{ rest string }

func (s *scanner) space() { s.rest = strings.TrimLeft(s.rest, " \t") }

func (s *scanner) done() bool {
	s.space()
	return s.rest == "" || strings.HasPrefix(s.rest, "# ")
}

// accept takes what comes next if it is that.
func (s *scanner) accept(what string) bool {
	rest, ok := strings.CutPrefix(s.rest, what)
	if ok {
		s.rest = rest
	}
	return ok
}

// word takes a name: of a method, an argument, a key.
func (s *scanner) word() string {
	s.space()
	n := strings.IndexFunc(s.rest, func(r rune) bool { return strings.ContainsRune(" \t=|{}[]'", r) })
	if n < 0 {
		n = len(s.rest)
	}
	w := s.rest[:n]
	s.rest = s.rest[n:]
	return w
}

// quoted takes a text in quotes.
func (s *scanner) quoted() (string, error) {
	var b strings.Builder
	in := s.rest[1:]
	for {
		i := strings.IndexAny(in, `'\`)
		if i < 0 {
			return "", errors.New("a text without end")
		}
		b.WriteString(in[:i])
		if in[i] == '\'' {
			s.rest = in[i+1:]
			break
		}
		switch {
		case strings.HasPrefix(in[i:], `\x`) && len(in) >= i+4:
			c, err := strconv.ParseUint(in[i+2:i+4], 16, 8)
			if err != nil {
				return "", err
			}
			b.WriteByte(byte(c))
			in = in[i+4:]
		case len(in) > i+1:
			b.WriteByte(in[i+1])
			in = in[i+2:]
		default:
			return "", errors.New("a text without end")
		}
	}
	if s.accept("*") {
		n, err := strconv.Atoi(s.word())
		if err != nil {
			return "", err
		}
		return strings.Repeat(b.String(), n), nil
	}
	if !strings.HasPrefix(s.rest, "'") {
		return b.String(), nil
	}
	more, err := s.quoted() // texts that touch are one
	return b.String() + more, err
}

// bytes takes the rest of the line: hex and texts.
func (s *scanner) bytes() ([]byte, error) {
	var out []byte
	for !s.done() {
		if s.rest[0] == '\'' {
			t, err := s.quoted()
			if err != nil {
				return nil, err
			}
			out = append(out, t...)
			continue
		}
		b, err := hex.DecodeString(s.word())
		if err != nil {
			return nil, err
		}
		if len(b) == 0 {
			return nil, fmt.Errorf("%q is neither hex nor text", s.rest)
		}
		out = append(out, b...)
	}
	return out, nil
}

// value takes a value or a pattern.
func (s *scanner) value() (v Value, err error) {
	s.space()
	if s.rest == "" {
		return v, errors.New("a value is missing")
	}
	switch c := s.rest[0]; {
	case c == '\'':
		v.Kind = 'S'
		v.Text, err = s.quoted()
		v.Open = s.accept("...")
		return v, err
	case c == '{':
		return s.table()
	case c == '[':
		return s.list()
	case len(s.rest) > 1 && s.rest[1] == ':' && strings.ContainsRune("SxIiluLsbBtTdfDFA", rune(c)):
		s.rest = s.rest[2:]
		return s.typed(c)
	}
	w := s.word()
	switch {
	case w == "_" || w == "V":
		return Value{Kind: w[0]}, nil
	case strings.HasPrefix(w, "$"):
		return Value{Kind: '$', Text: w[1:]}, nil
	}
	v.Kind = 'I'
	v.Num, err = strconv.ParseInt(w, 0, 64)
	return v, err
}

// typed takes a value behind a type, as in l:5.
func (s *scanner) typed(kind byte) (v Value, err error) {
	v.Kind = kind
	if kind == 'S' || kind == 'x' {
		v.Text, err = s.quoted()
		return v, err
	}
	w := s.word()
	switch kind {
	case 't':
		v = bit(w == "true")
		if w != "true" && w != "false" {
			err = fmt.Errorf("t:%s", w)
		}
	case 'd', 'f':
		v.Float, err = strconv.ParseFloat(w, 64)
	case 'D':
		scale, digits, _ := strings.Cut(w, "/")
		n, errScale := strconv.ParseUint(scale, 10, 8)
		v.Scale = byte(n)
		v.Num, err = strconv.ParseInt(digits, 10, 64)
		err = errors.Join(err, errScale)
	default:
		v.Num, err = strconv.ParseInt(w, 0, 64)
	}
	return v, err
}

func (s *scanner) table() (v Value, err error) {
	v = table()
	s.rest = s.rest[1:]
	for {
		s.space()
		if s.accept("}") {
			break
		}
		if s.accept("...") {
			v.Open = true
			continue
		}
		var f Field
		if strings.HasPrefix(s.rest, "'") {
			f.Name, err = s.quoted()
		} else {
			f.Name = s.word()
		}
		if err != nil || !s.accept("=") {
			return v, fmt.Errorf("a table at %q", s.rest)
		}
		if f.Value, err = s.value(); err != nil {
			return v, err
		}
		v.Fields = append(v.Fields, f)
	}
	slices.SortStableFunc(v.Fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

func (s *scanner) list() (v Value, err error) {
	v.Kind = 'A'
	s.rest = s.rest[1:]
	for {
		s.space()
		if s.accept("]") {
			return v, nil
		}
		e, err := s.value()
		if err != nil {
			return v, err
		}
		v.List = append(v.List, e)
	}
}

// args takes arguments up to "|", "->" or the end of the line. A bit is set by
// its name alone.
func (s *scanner) args(known []Arg, what string) (map[string]Value, error) {
	out := map[string]Value{}
	for {
		if s.done() || strings.HasPrefix(s.rest, "|") || strings.HasPrefix(s.rest, "->") {
			return out, nil
		}
		name := s.word()
		i := slices.IndexFunc(known, func(a Arg) bool { return a.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%s has no %q", what, name)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s twice", name)
		}
		if known[i].Type == "bit" && !strings.HasPrefix(s.rest, "=") {
			out[name] = bit(true)
			continue
		}
		if !s.accept("=") {
			return nil, fmt.Errorf("%s lacks a value", name)
		}
		v, err := s.value()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if v.Kind != '_' && v.Kind != '$' && v.Kind != argKinds[known[i].Type] {
			return nil, fmt.Errorf("%s cannot be %s", name, v)
		}
		out[name] = v
	}
}

// argKinds is the kind of value by the type of an argument.
var argKinds = map[string]byte{
	"bit": 't', "octet": 'I', "short": 'I', "long": 'I', "longlong": 'I',
	"shortstr": 'S', "longstr": 'S', "table": 'F',
}

// command takes a method with its arguments and, after "|" each, properties
// and body.
func (s *scanner) command() (*Command, error) {
	name := s.word()
	m := methods[name]
	if m == nil {
		return nil, fmt.Errorf("there is no method %q", name)
	}
	c := &Command{Method: m}
	var err error
	if c.Args, err = s.args(m.Fields, name); err != nil {
		return nil, err
	}
	if !m.Content() {
		return c, nil
	}
	if !s.accept("|") {
		return nil, fmt.Errorf("%s lacks | properties | body", name)
	}
	if s.space(); s.accept("_") {
		c.AnyProps = true
	} else if c.Props, err = s.args(properties, "a content"); err != nil {
		return nil, err
	}
	if s.space(); !s.accept("|") {
		return nil, fmt.Errorf("%s lacks | body", name)
	}
	if s.space(); s.accept("_") {
		c.AnyBody = true
		return c, nil
	}
	c.Body, err = s.bytes()
	return c, err
}
