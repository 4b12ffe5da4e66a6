package authfile

import (
	"bytes"
	"strings"

	"github.com/narumq/naru/core"
)

// A pattern is the topic filter of a rule, cut at its wildcards and
// placeholders. Every token but + is text of which the bytes are known when the
// question is, and + can only be one level: so matching walks the address once,
// from left to right, and never goes back. A trailing # is no token but tail.
//
//	a/b/+/dev-%c/#   ->   "a/b/"  +  "/dev-"  %c   tail
type pattern struct {
	tokens       []token
	tail         bool // ends with #: more levels may follow, or none
	dollar       bool // begins with $, and so may match what does
	placeholders bool
	dots         bool // there is a '.' in the text
}

type token struct {
	kind tokenKind
	text string
}

type tokenKind uint8

const (
	literal  tokenKind = iota // text; separators are part of it
	anyLevel                  // +
	clientID                  // %c
	userName                  // %u
)

// maxLevels of a pattern, those that dots make included: see levels.
const maxLevels = 63

func compilePattern(text string) (*pattern, error) {
	if err := checkPattern(text); err != nil {
		return nil, err
	}
	p := &pattern{dollar: text[0] == '$', dots: strings.Contains(text, ".")}
	if text == "#" {
		p.tail = true
		return p, nil
	}
	text, p.tail = strings.CutSuffix(text, "/#")
	start := 0
	flush := func(end int) {
		// The first level of "/#" is empty, which is not the same as none.
		if end > start || text == "" {
			p.tokens = append(p.tokens, token{kind: literal, text: text[start:end]})
		}
	}
	for i := 0; i < len(text); i++ {
		kind, size := literal, 0
		switch {
		case text[i] == '+':
			kind, size = anyLevel, 1
		case strings.HasPrefix(text[i:], "%c"):
			kind, size = clientID, 2
		case strings.HasPrefix(text[i:], "%u"):
			kind, size = userName, 2
		default:
			continue
		}
		flush(i)
		p.tokens = append(p.tokens, token{kind: kind})
		p.placeholders = p.placeholders || kind != anyLevel
		start = i + size
		i = start - 1
	}
	flush(len(text))
	return p, nil
}

// A view is how an address and a pattern are compared.
type view uint8

const (
	exact  view = iota // MQTT: byte for byte
	keyed              // AMQP: a '.' of the address counts as '/'
	named              // a name: a '.' of it satisfies '/' as well as '.'
	folded             // for deny: '.' and '/' are the same, wherever they stand
)

// matches says whether the pattern covers the address, for this identity. A
// placeholder whose value cannot be one level of the view matches nothing, but
// for folded, where it is text like any other.
func (p *pattern) matches(address []byte, id *core.Identity, v view) bool {
	if len(address) == 0 {
		return len(p.tokens) == 0 // no levels: only # takes none
	}
	if address[0] == '$' && !p.dollar && !(v == folded && p.leadsWithValue()) {
		return false
	}
	at := 0
	for i := range p.tokens {
		t := &p.tokens[i]
		if t.kind == anyLevel {
			at = v.levelEnd(address, at)
			continue
		}
		text := t.text
		if t.kind != literal {
			text = t.kind.value(id)
			if v != folded && !v.isLevel(text) {
				return false
			}
		}
		if !v.hasPrefix(address[at:], text) {
			return false
		}
		at += len(text)
	}
	if at == len(address) {
		return true
	}
	return p.tail && (len(p.tokens) == 0 || v.separates(address[at]))
}

// refuses is matches for deny: in the view of the address, and folded where
// that can make a difference.
func (p *pattern) refuses(address []byte, id *core.Identity, v view) bool {
	if p.matches(address, id, v) {
		return true
	}
	if p.dots || p.placeholders || v == exact && hasDot(address) {
		return p.matches(address, id, folded)
	}
	return false
}

func (p *pattern) leadsWithValue() bool {
	return len(p.tokens) > 0 && p.tokens[0].kind >= clientID
}

// value is what the placeholder stands for.
func (k tokenKind) value(id *core.Identity) string {
	switch {
	case k == clientID:
		return clientIDOf(id)
	case id.Anonymous:
		return ""
	}
	return id.User
}

// clientIDOf is the id of an MQTT client. What others give is only a label: nobody
// else is kept from using it.
func clientIDOf(id *core.Identity) string {
	if id.Protocol == "" || id.Protocol == "mqtt" {
		return id.ClientID
	}
	return ""
}

// isLevel says whether a value can stand for a level, or a part of one.
func (v view) isLevel(value string) bool {
	for i := range len(value) {
		if c := value[i]; c == 0 || v.separates(c) {
			return false
		}
	}
	return value != ""
}

func (v view) separates(c byte) bool { return c == '/' || c == '.' && v != exact }

// levelEnd returns where the level that begins at the offset ends.
func (v view) levelEnd(address []byte, at int) int {
	for at < len(address) && !v.separates(address[at]) {
		at++
	}
	return at
}

func (v view) hasPrefix(address []byte, text string) bool {
	if len(address) < len(text) {
		return false
	}
	if v == exact {
		return string(address[:len(text)]) == text
	}
	for i := range len(text) {
		a, b := address[i], text[i]
		switch {
		case v == named && a == b:
			continue
		case v == folded && b == '.':
			b = '/'
		}
		if a == '.' {
			a = '/'
		}
		if a != b {
			return false
		}
	}
	return true
}

func hasDot(address []byte) bool { return bytes.IndexByte(address, '.') >= 0 }
