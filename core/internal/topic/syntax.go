// Package topic decides which filters match an address.
//
// An address is a string cut into levels by a separator; a filter is an
// address in which a level may be a wildcard. MQTT and AMQP write this
// differently and mean nearly the same, so there is one set of rules, with a
// Syntax as its data, and one index of many filters, the Trie.
//
// The rules:
//
//   - The single wildcard stands for exactly one level, which may be empty.
//   - The multi wildcard stands for zero or more levels: a/# matches a.
//   - Levels may be empty: /a, a//b and a/ have two, three and two of them.
//     Only the empty address has none.
//   - A wildcard is one only if it fills its level and stands where the syntax
//     allows it. Everything else is a literal, also what ValidMQTTFilter would
//     refuse, so nothing here can fail.
//   - An address that begins with '$' is matched only by filters whose first
//     level is that literal [MQTT-4.7.2-1]. Naru has this rule in both
//     syntaxes, so that no AMQP binding to # hears $SYS.
package topic

import (
	"bytes"
	"strings"
)

// A Syntax says how filters and addresses are written. It is a value; the two
// in use are MQTT and AMQP.
type Syntax struct {
	Separator byte
	One       byte // the single wildcard
	Many      byte // the multi wildcard
	// Anywhere allows the multi wildcard at any level and any number of
	// times. Otherwise it is one only as the last level.
	Anywhere bool
}

var (
	// MQTT is the syntax of topic names and topic filters.
	MQTT = Syntax{Separator: '/', One: '+', Many: '#'}
	// AMQP is the syntax of routing keys and the binding keys of a topic
	// exchange. Levels are called words there.
	AMQP = Syntax{Separator: '.', One: '*', Many: '#', Anywhere: true}
)

// kind is what a level of a filter stands for.
type kind uint8

const (
	literal kind = iota
	one          // exactly one level
	many         // zero or more levels, and the filter goes on
	tail         // zero or more levels, and the filter ends
)

// level takes apart the filter at the offset of one of its levels. The level
// ends at end, and the next one begins at end+1; end == len(filter) says that
// there is no next one.
func (s Syntax) level(filter string, at int) (k kind, end int) {
	end = s.end(filter, at)
	if end != at+1 {
		return literal, end
	}
	switch filter[at] {
	case s.One:
		return one, end
	case s.Many:
		if end == len(filter) {
			return tail, end
		}
		if s.Anywhere {
			return many, end
		}
	}
	return literal, end
}

// end returns where the level that begins at the offset ends.
func (s Syntax) end(filter string, at int) int {
	if i := strings.IndexByte(filter[at:], s.Separator); i >= 0 {
		return at + i
	}
	return len(filter)
}

// endBytes is end for addresses.
func (s Syntax) endBytes(address []byte, at int) int {
	if i := bytes.IndexByte(address[at:], s.Separator); i >= 0 {
		return at + i
	}
	return len(address)
}

// first returns the offset of the first of the levels in n bytes. An offset
// beyond n means that no level is left; it is where the first one stands in an
// empty address, which has none.
func first(n int) int {
	if n == 0 {
		return 1
	}
	return 0
}

// Wild reports whether a level of the filter is a wildcard, that is, whether
// it can match anything but itself.
func (s Syntax) Wild(filter string) bool {
	if strings.IndexByte(filter, s.One) < 0 && strings.IndexByte(filter, s.Many) < 0 {
		return false
	}
	for at := first(len(filter)); at <= len(filter); {
		k, end := s.level(filter, at)
		if k != literal {
			return true
		}
		at = end + 1
	}
	return false
}
