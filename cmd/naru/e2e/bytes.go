package e2e

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// A Pattern is what an expression of a script stands for: bytes, some of them
// known only when the script runs. Bytes to send are a Pattern without
// wildcards whose captures are bound.
type Pattern []element

// An element is a run of literal bytes, one arbitrary byte, or a captured
// value. Its size is known at parse time, so that lengths can be computed over
// it before the value is.
type element struct {
	kind    elementKind
	literal []byte
	name    string // of a capture
	size    int
}

type elementKind uint8

const (
	literalBytes elementKind = iota
	anyByte
	capture
)

// Size is the number of bytes the pattern matches.
func (p Pattern) Size() int {
	n := 0
	for _, e := range p {
		n += e.size
	}
	return n
}

// Match compares data with the beginning of the pattern. It reports whether
// all of data agrees and whether the pattern is complete; captures met for the
// first time go to vars. Incomplete data that agrees is (true, false).
func (p Pattern) Match(data []byte, vars map[string][]byte) (agrees, complete bool) {
	for _, e := range p {
		want := e.literal
		if e.kind == capture {
			want = vars[e.name]
		}
		have := data[:min(len(data), e.size)]
		switch {
		case e.kind == anyByte:
		case want != nil:
			if string(want[:len(have)]) != string(have) {
				return false, false
			}
		case len(have) == e.size:
			vars[e.name] = append([]byte(nil), have...)
		}
		if len(have) < e.size {
			return true, false
		}
		data = data[e.size:]
	}
	return true, true
}

// Bytes is the pattern with its captures filled in, for sending.
func (p Pattern) Bytes(vars map[string][]byte) ([]byte, error) {
	var out []byte
	for _, e := range p {
		switch e.kind {
		case literalBytes:
			out = append(out, e.literal...)
		case capture:
			v, bound := vars[e.name]
			if !bound {
				return nil, fmt.Errorf("$%s has not been captured yet", e.name)
			}
			out = append(out, v...)
		case anyByte:
			return nil, fmt.Errorf("?? cannot be sent")
		}
	}
	return out, nil
}

// An exprParser reads one byte expression. sizes remembers how long each
// capture of the script is.
type exprParser struct {
	text  string
	pos   int
	sizes map[string]int
}

// parseBytes parses a whole expression.
func parseBytes(text string, sizes map[string]int) (Pattern, error) {
	p := &exprParser{text: text, sizes: sizes}
	pat, err := p.sequence(false)
	if err != nil {
		return nil, fmt.Errorf("%w at column %d of %q", err, p.pos+1, text)
	}
	return pat, nil
}

// sequence parses items up to the end of the text or, inside parentheses, up
// to the closing one.
func (p *exprParser) sequence(inner bool) (Pattern, error) {
	var out Pattern
	for {
		p.space()
		if p.pos == len(p.text) {
			if inner {
				return nil, fmt.Errorf("missing )")
			}
			return out, nil
		}
		if p.text[p.pos] == ')' {
			if !inner {
				return nil, fmt.Errorf("unexpected )")
			}
			p.pos++
			return out, nil
		}
		item, err := p.item()
		if err != nil {
			return nil, err
		}
		times, err := p.times()
		if err != nil {
			return nil, err
		}
		out = append(out, repeated(item, times)...)
	}
}

func (p *exprParser) item() (Pattern, error) {
	rest := p.text[p.pos:]
	switch {
	case rest[0] == '\'':
		return p.quoted()
	case strings.HasPrefix(rest, "??"):
		p.pos += 2
		return Pattern{{kind: anyByte, size: 1}}, nil
	case rest[0] == '$':
		return p.variable()
	case rest[0] == '(':
		p.pos++
		return p.sequence(true)
	case strings.HasPrefix(rest, "@len("):
		p.pos += len("@len(")
		inner, err := p.sequence(true)
		if err != nil {
			return nil, err
		}
		return append(literal(remainingLength(inner.Size())), inner...), nil
	case strings.HasPrefix(rest, "@str("):
		p.pos += len("@str(")
		inner, err := p.sequence(true)
		if err != nil {
			return nil, err
		}
		n := inner.Size()
		if n > 0xffff {
			return nil, fmt.Errorf("@str of %d bytes", n)
		}
		return append(literal([]byte{byte(n >> 8), byte(n)}), inner...), nil
	}
	return p.hex()
}

// times parses an optional "*N" after an item.
func (p *exprParser) times() (int, error) {
	if p.pos == len(p.text) || p.text[p.pos] != '*' {
		return 1, nil
	}
	p.pos++
	digits := p.run(isDigit)
	n, err := strconv.Atoi(digits)
	if err != nil || n > 1<<22 {
		return 0, fmt.Errorf("bad repetition %q", digits)
	}
	return n, nil
}

func (p *exprParser) quoted() (Pattern, error) {
	var out []byte
	for p.pos++; p.pos < len(p.text); p.pos++ {
		switch c := p.text[p.pos]; {
		case c == '\'':
			p.pos++
			return literal(out), nil
		case c == '\\' && p.pos+1 < len(p.text):
			p.pos++
			out = append(out, p.text[p.pos])
		default:
			out = append(out, c)
		}
	}
	return nil, fmt.Errorf("missing '")
}

func (p *exprParser) variable() (Pattern, error) {
	p.pos++
	name := p.run(isWord)
	if name == "" {
		return nil, fmt.Errorf("a name must follow $")
	}
	size, known := p.sizes[name]
	if p.pos < len(p.text) && p.text[p.pos] == ':' {
		p.pos++
		n, err := strconv.Atoi(p.run(isDigit))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("bad size of $%s", name)
		}
		if known && size != n {
			return nil, fmt.Errorf("$%s has two sizes", name)
		}
		p.sizes[name], size, known = n, n, true
	}
	if !known {
		return nil, fmt.Errorf("$%s needs a size where it is captured, such as $%s:2", name, name)
	}
	return Pattern{{kind: capture, name: name, size: size}}, nil
}

func (p *exprParser) hex() (Pattern, error) {
	digits := p.run(isHex)
	if digits == "" {
		return nil, fmt.Errorf("unexpected %q", p.text[p.pos])
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("%q is not whole bytes", digits)
	}
	return literal(b), nil
}

func (p *exprParser) space() { p.run(func(c byte) bool { return c == ' ' || c == '\t' }) }

// run takes the longest run of bytes that satisfy is.
func (p *exprParser) run(is func(byte) bool) string {
	start := p.pos
	for p.pos < len(p.text) && is(p.text[p.pos]) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isHex(c byte) bool   { return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' }
func isWord(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

// repeated keeps a repeated literal in one element: 'x'*65535 is one run.
func repeated(item Pattern, times int) Pattern {
	if len(item) == 1 && item[0].kind == literalBytes {
		return literal(bytes.Repeat(item[0].literal, times))
	}
	var out Pattern
	for range times {
		out = append(out, item...)
	}
	return out
}

func literal(b []byte) Pattern {
	if len(b) == 0 {
		return nil
	}
	return Pattern{{literal: b, size: len(b)}}
}

// remainingLength is the variable-length encoding of MQTT: seven bits a byte,
// the lowest first, the top bit for "more follows".
func remainingLength(n int) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
