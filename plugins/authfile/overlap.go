package authfile

import (
	"bytes"
	"math/bits"

	"github.com/narumq/naru/core"
)

// A subscription is judged before there is a topic: by what the pattern of a
// rule and the filter have in common. Both sides are then read as levels, the
// pattern with its placeholders filled in. For an AMQP filter the dots of the
// pattern and of its values separate as well: the filter will be matched with
// the keys that MQTT topics become, and those have them. What is allowed too
// much by this is refused when a message is delivered.

// levels is a pattern with its placeholders filled in.
type levels struct {
	list [maxLevels][]byte
	n    int
	tail bool
}

// wildLevel stands for +. Neither a pattern nor a value can contain it.
var wildLevel = []byte{0}

// fill cuts the pattern into levels, which live in buf. ok is false for a
// pattern that cannot match any topic for this identity. The levels are returned
// by value, and not written through a pointer, so that buf can stay on the stack.
func (p *pattern) fill(id *core.Identity, syn core.Syntax, buf []byte) (l levels, ok bool) {
	for i := range p.tokens {
		t := &p.tokens[i]
		switch t.kind {
		case literal:
			buf = append(buf, t.text...)
		case anyLevel:
			buf = append(buf, wildLevel...)
		default:
			value := t.kind.value(id)
			if !exact.isLevel(value) || i == 0 && value[0] == '$' {
				return levels{}, false
			}
			buf = append(buf, value...)
		}
	}
	l.tail = p.tail
	if len(p.tokens) == 0 {
		return l, true
	}
	for at := 0; at <= len(buf); l.n++ {
		if l.n == maxLevels {
			return levels{}, false
		}
		end := levelEnd(buf, at, syn)
		l.list[l.n] = buf[at:end]
		at = end + 1
	}
	return l, true
}

func levelEnd(b []byte, at int, syn core.Syntax) int {
	if syn == core.SyntaxAMQP {
		return keyed.levelEnd(b, at)
	}
	return exact.levelEnd(b, at)
}

func (l *levels) wild(i int) bool { return bytes.Equal(l.list[i], wildLevel) }

type levelKind uint8

const (
	one  levelKind = iota // a level with these bytes
	some                  // any level
	many                  // any number of levels, none included
)

// cutFilter takes the level that begins at the offset off a filter. What AMQP
// takes for a literal because it has a '/' may pass for a wildcard here; that
// can only allow more subscriptions, and deny fewer.
func cutFilter(filter []byte, at int, syn core.Syntax) (level []byte, kind levelKind, next int) {
	end := levelEnd(filter, at, syn)
	level = filter[at:end]
	if len(level) == 1 {
		switch c := level[0]; {
		case c == '+' && syn == core.SyntaxMQTT, c == '*' && syn == core.SyntaxAMQP:
			kind = some
		case c == '#' && (end == len(filter) || syn == core.SyntaxAMQP):
			kind = many
		}
	}
	return level, kind, end + 1
}

// overlaps says whether there is a topic that both match.
//
// It keeps the set of all counts of levels of the pattern that the filter may
// have used up so far, one bit for each: wildcards on either side then need no
// going back, however many there are.
func (l *levels) overlaps(filter []byte, syn core.Syntax) bool {
	if l.apart(filter, syn) {
		return false
	}
	all := uint64(1) << l.n // the bit that says: all of them
	used := uint64(1)
	for at := 0; at <= len(filter) && len(filter) > 0; {
		if l.tail && used&all != 0 {
			return true
		}
		var level []byte
		var kind levelKind
		level, kind, at = cutFilter(filter, at, syn)
		var next uint64
		if kind == many {
			lowest := used & -used
			next = (all<<1 - 1) &^ (lowest - 1)
		} else {
			for u := used &^ all; u != 0; u &= u - 1 {
				i := bits.TrailingZeros64(u)
				if kind == some || l.wild(i) || bytes.Equal(l.list[i], level) {
					next |= 1 << (i + 1)
				}
			}
		}
		if used = next; used == 0 {
			return false
		}
	}
	return used&all != 0
}

// covers says whether every topic that the filter matches is matched by the
// pattern too.
func (l *levels) covers(filter []byte, syn core.Syntax) bool {
	if l.apart(filter, syn) {
		return false
	}
	i := 0
	for at := 0; at <= len(filter) && len(filter) > 0; i++ {
		if i == l.n {
			return l.tail
		}
		var level []byte
		var kind levelKind
		level, kind, at = cutFilter(filter, at, syn)
		if kind == many || !l.wild(i) && (kind == some || !bytes.Equal(l.list[i], level)) {
			return false
		}
	}
	return i == l.n
}

// apart says whether one side begins with $ and the other with a wildcard.
func (l *levels) apart(filter []byte, syn core.Syntax) bool {
	if len(filter) == 0 {
		return false
	}
	if filter[0] == '$' {
		return l.n == 0 || l.wild(0)
	}
	_, kind, _ := cutFilter(filter, 0, syn)
	return kind != one && l.n > 0 && len(l.list[0]) > 0 && l.list[0][0] == '$'
}
