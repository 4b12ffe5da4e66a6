package authfile

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/narumq/naru/core"
)

// maxPattern is the longest regular expression, in bytes.
const maxPattern = 1024

// A nameMatcher is a regular expression for names. The zero value matches none.
type nameMatcher struct {
	all bool
	re  *regexp.Regexp
}

// nothing are the two ways to write that nothing is allowed. As an expression ^$
// would match the empty key.
func nothing(text string) bool { return text == "" || text == "^$" }

func compileNames(text string) (nameMatcher, error) {
	switch {
	case nothing(text):
		return nameMatcher{}, nil
	case text == ".*":
		return nameMatcher{all: true}, nil
	}
	re, err := compileRegex(text)
	return nameMatcher{re: re}, err
}

func compileRegex(text string) (*regexp.Regexp, error) {
	if len(text) > maxPattern {
		return nil, fmt.Errorf("the expression has %d bytes, more than %d", len(text), maxPattern)
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%q is no regular expression: %w", text, err)
	}
	return re, nil
}

func (m nameMatcher) matches(name []byte) bool { return m.all || m.re != nil && m.re.Match(name) }

func (m nameMatcher) matchesText(name string) bool {
	return m.all || m.re != nil && m.re.MatchString(name)
}

// A keyMatcher is a regular expression for routing keys, with the placeholders
// of RabbitMQ. What they stand for is literal by construction: each must stand
// where a letter could (see checkPlaces), and is put in quoted and as one group.
//
// The user and the vhost are known when the policy is made. The client id is
// not: with {client_id} there is one expression for each, made when it is first
// needed and kept in the policy, up to a bound.
type keyMatcher struct {
	nameMatcher
	parts []string // what stands before, between and behind {client_id}, if it is there
}

const (
	userNameMark = "{username}"
	vhostMark    = "{vhost}"
	clientIDMark = "{client_id}"
)

func compileKeys(text, user, vhost string) (keyMatcher, error) {
	if nothing(text) {
		return keyMatcher{}, nil
	}
	if len(text) > maxPattern {
		return keyMatcher{}, fmt.Errorf("the expression has %d bytes, more than %d", len(text), maxPattern)
	}
	pieces := cutMarks(text)
	if err := checkPlaces(text, pieces); err != nil {
		return keyMatcher{}, err
	}
	parts := []string{""}
	for _, p := range pieces {
		last := &parts[len(parts)-1]
		value := ""
		switch p.mark {
		case userNameMark:
			value = user
		case vhostMark:
			value = vhost
		case clientIDMark:
			parts = append(parts, "")
			continue
		default:
			*last += p.text
			continue
		}
		if wild(value) {
			return keyMatcher{}, nil // it would stand for other users in a pattern to bind with
		}
		*last += quote(value)
	}
	if len(parts) > 1 {
		return keyMatcher{parts: parts}, nil
	}
	if parts[0] == ".*" {
		return keyMatcher{nameMatcher: nameMatcher{all: true}}, nil
	}
	re, err := regexp.Compile(parts[0])
	if err != nil {
		return keyMatcher{}, fmt.Errorf("%q is no regular expression: %w", text, err)
	}
	return keyMatcher{nameMatcher: nameMatcher{re: re}}, nil
}

// quote is a value as part of an expression. Case counts in it, whatever the
// expression says of itself.
func quote(value string) string { return "(?-i:" + regexp.QuoteMeta(value) + ")" }

// wild says whether a value could be read as a wildcard where it stands in a
// pattern for keys.
func wild(value string) bool { return strings.ContainsAny(value, "*#") }

// A piece of an expression is either text or a placeholder.
type piece struct{ text, mark string }

// cutMarks cuts an expression at its placeholders. A brace that is escaped
// begins none.
func cutMarks(text string) []piece {
	var pieces []piece
	start := 0
	for i := 0; i < len(text); {
		if text[i] == '\\' {
			i += 2
			continue
		}
		mark := ""
		for _, m := range [...]string{userNameMark, vhostMark, clientIDMark} {
			if strings.HasPrefix(text[i:], m) {
				mark = m
			}
		}
		if mark == "" {
			i++
			continue
		}
		pieces = append(pieces, piece{text: text[start:i]}, piece{mark: mark})
		i += len(mark)
		start = i
	}
	return append(pieces, piece{text: text[start:]})
}

// checkPlaces makes sure that every placeholder is a thing of its own in the
// expression: not part of a class, or of what is quoted already. Each is
// replaced by two letters that occur nowhere else, and these must come out of
// the parser side by side. They differ from one placeholder to the next, or the
// parser might make one of two.
func checkPlaces(text string, pieces []piece) error {
	const stamp = 0xF0000 // a plane for private use
	var b strings.Builder
	n := 0
	for _, p := range pieces {
		b.WriteString(p.text)
		if p.mark != "" {
			fmt.Fprintf(&b, "(?-i:%c%c)", rune(stamp+2*n), rune(stamp+2*n+1))
			n++
		}
	}
	if n > 0 && strings.Contains(text, `\Q`) {
		return errors.New(`\Q and placeholders do not go together`)
	}
	tree, err := syntax.Parse(b.String(), syntax.Perl)
	if err != nil {
		if _, plain := syntax.Parse(text, syntax.Perl); plain != nil {
			err = plain // told of the text as it was written
		}
		return fmt.Errorf("%q is no regular expression: %w", text, err)
	}
	found := make([]bool, n)
	var walk func(re *syntax.Regexp)
	walk = func(re *syntax.Regexp) {
		if re.Op == syntax.OpLiteral && re.Flags&syntax.FoldCase == 0 {
			for i := 0; i+1 < len(re.Rune); i++ {
				if k := int(re.Rune[i]) - stamp; k >= 0 && k < 2*n && k%2 == 0 && re.Rune[i+1] == re.Rune[i]+1 {
					found[k/2] = true
				}
			}
		}
		for _, sub := range re.Sub {
			walk(sub)
		}
	}
	walk(tree)
	for _, ok := range found {
		if !ok {
			return fmt.Errorf("in %q a placeholder stands where no text can, as in [...]", text)
		}
	}
	return nil
}

// matches holds the key, the topic or the pattern of a question against the
// expression.
func (m *keyMatcher) matches(p *policy, id *core.Identity, r core.Right) bool {
	re := m.re
	switch {
	case m.all:
		return true
	case m.parts != nil:
		if re = p.expressions.of(m, clientIDOf(id)); re == nil {
			return false
		}
	case re == nil:
		return false
	}
	if r.Syntax == core.SyntaxAMQP || !differs(r) {
		return re.Match(r.Address)
	}
	form := forms.Get().(*[]byte)
	*form = appendKey((*form)[:0], r)
	ok := re.Match(*form)
	if cap(*form) <= 1<<12 {
		forms.Put(form)
	}
	return ok
}

// forms are buffers for the keys that topics become: an expression keeps what it
// is given too long for the stack.
var forms = sync.Pool{New: func() any { b := make([]byte, 0, 256); return &b }}

// differs says whether an MQTT address is written differently in AMQP.
func differs(r core.Right) bool {
	for _, c := range r.Address {
		if c == '/' || c == '+' {
			return true
		}
	}
	return false
}

func appendKey(key []byte, r core.Right) []byte {
	for _, c := range r.Address {
		switch {
		case c == '/':
			c = '.'
		case c == '+' && r.Action == core.ActionSubscribe:
			c = '*'
		}
		key = append(key, c)
	}
	return key
}

// Expressions are those with a client id in them, made when needed. There are at
// most maxExpressions: clients come and go, and with them their ids.
type expressions struct {
	mu   sync.RWMutex
	made map[expression]*regexp.Regexp // guarded by mu; nil: it cannot be made
}

type expression struct {
	m        *keyMatcher
	clientID string
}

const (
	maxExpressions = 1024
	maxClientID    = 255 // bytes; no longer one could be part of an AMQP key
)

// of returns the expression for a client, nil if there is none for such an id.
func (e *expressions) of(m *keyMatcher, clientID string) *regexp.Regexp {
	if clientID != "" && !oneWord(clientID) {
		return nil
	}
	key := expression{m, clientID}
	e.mu.RLock()
	re, ok := e.made[key]
	e.mu.RUnlock()
	if ok {
		return re
	}
	value := clientID
	if value == "" { // not an MQTT client: there the mark is text like any other
		value = clientIDMark
	}
	key.clientID = strings.Clone(clientID)
	re, err := regexp.Compile(strings.Join(m.parts, quote(value)))
	if err != nil {
		re = nil // too large with this id
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if first, ok := e.made[key]; ok {
		return first
	}
	if e.made == nil {
		e.made = make(map[expression]*regexp.Regexp)
	}
	for old := range e.made { // any one
		if len(e.made) < maxExpressions {
			break
		}
		delete(e.made, old)
	}
	e.made[key] = re
	return re
}

// oneWord says whether a client id can be one word of a key, or part of one. A
// client chooses its id: with a separator in it, it would choose its place in
// the tree as well, and with a wildcard it would subscribe to those of others.
func oneWord(clientID string) bool {
	return len(clientID) <= maxClientID && utf8.ValidString(clientID) &&
		!strings.ContainsAny(clientID, "./*#\x00")
}
