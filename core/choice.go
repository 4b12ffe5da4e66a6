package core

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/narumq/naru/core/props"
)

// A choice is a binding of an exchange whose way depends on the message.
type choice struct {
	queue    *Queue
	exchange *Exchange
	match    *headerMatch // Headers
	weight   float64      // ConsistentHash
	seed     uint64       // ConsistentHash: of the destination
}

// A headerMatch is what a binding asks of the headers of a message.
type headerMatch struct {
	any    bool // one of the fields is enough
	fields []field
}

type field struct {
	key   []byte
	value props.Value
}

// maxWeight bounds the weight of a binding. A weight costs nothing, but above
// this the smallest would have no share at all.
const maxWeight = 1_000_000

// choice makes of a binding what its exchange chooses by. Errors: ErrBadAddress.
func (b *binding) choice() (choice, error) {
	c := choice{queue: b.queue, exchange: b.exchange}
	var err error
	switch b.from.typ {
	case Headers:
		c.match, err = newHeaderMatch(b.arguments)
	case ConsistentHash:
		var w int
		if w, err = strconv.Atoi(b.key); err != nil || w < 1 || w > maxWeight {
			return c, fmt.Errorf("%w: weight %q: a number from 1 to %d is needed", ErrBadAddress, b.key, maxWeight)
		}
		// The same for all bindings of a destination: one that is bound again
		// with another weight keeps what it had.
		h := fnv.New64a()
		if b.queue != nil {
			h.Write([]byte("q" + b.queue.name))
		} else {
			h.Write([]byte("x" + b.exchange.name))
		}
		c.weight, c.seed = float64(w), h.Sum64()
	}
	return c, err
}

// newHeaderMatch reads the arguments of a binding of a headers exchange.
func newHeaderMatch(arguments string) (*headerMatch, error) {
	t := props.Table(arguments)
	if err := t.Validate(); err != nil {
		return nil, fmt.Errorf("%w: arguments: %w", ErrBadAddress, err)
	}
	m, withX := &headerMatch{}, false
	if v, ok := t.Get("x-match"); ok {
		switch s := string(v.Bytes()); {
		case v.Kind() != props.KindLongStr:
			return nil, fmt.Errorf("%w: x-match is no text", ErrBadAddress)
		case s == "all", s == "any", s == "all-with-x", s == "any-with-x":
			m.any, withX = strings.HasPrefix(s, "any"), strings.HasSuffix(s, "-with-x")
		default:
			return nil, fmt.Errorf("%w: x-match %q", ErrBadAddress, s)
		}
	}
	for it := t.Iter(); it.Next(); {
		k := it.Key()
		if string(k) == "x-match" || !withX && bytes.HasPrefix(k, []byte("x-")) {
			continue
		}
		m.fields = append(m.fields, field{k, it.Value()})
	}
	return m, nil
}

// matches says whether the headers are what the binding asks for.
func (h *headerMatch) matches(headers []field) bool {
	for i := range h.fields {
		f := &h.fields[i]
		v := find(headers, f.key)
		ok := v != nil && (f.value.Kind() == props.KindVoid || props.MatchValue(f.value, *v))
		if ok == h.any {
			return ok
		}
	}
	return !h.any
}

const linearFields = 8

// readHeaders returns the headers of a message, for find.
func readHeaders(to []field, m *Message) []field {
	to = to[:0]
	for it := props.HeadersOf(m.Props).Iter(); it.Next(); {
		to = append(to, field{it.Key(), it.Value()})
	}
	if len(to) > linearFields { // of equal keys the first counts
		slices.SortStableFunc(to, func(a, b field) int { return bytes.Compare(a.key, b.key) })
	}
	return to
}

func find(headers []field, key []byte) *props.Value {
	if len(headers) > linearFields {
		i, ok := slices.BinarySearchFunc(headers, key, func(f field, key []byte) int { return bytes.Compare(f.key, key) })
		if ok {
			return &headers[i].value
		}
		return nil
	}
	for i := range headers {
		if bytes.Equal(headers[i].key, key) {
			return &headers[i].value
		}
	}
	return nil
}

// readArguments reads the arguments that an exchange itself looks at. Errors:
// ErrBadAddress.
func (x *Exchange) readArguments() error {
	if x.typ != ConsistentHash {
		return nil
	}
	t := props.Table(x.opt.Arguments)
	if err := t.Validate(); err != nil {
		return fmt.Errorf("%w: arguments: %w", ErrBadAddress, err)
	}
	header, byHeader := t.Get("hash-header")
	property, byProperty := t.Get("hash-property")
	switch {
	case byHeader && byProperty:
		return fmt.Errorf("%w: hash-header and hash-property exclude each other", ErrBadAddress)
	case byHeader:
		if x.hash.header = header.Bytes(); len(x.hash.header) == 0 {
			return fmt.Errorf("%w: hash-header names no header", ErrBadAddress)
		}
	case byProperty:
		x.hash.property = string(property.Bytes())
		switch x.hash.property {
		case "message_id", "correlation_id", "timestamp":
		default:
			return fmt.Errorf("%w: hash-property %q", ErrBadAddress, x.hash.property)
		}
	}
	return nil
}

// hashOn is what a consistent hash exchange looks at; nothing: the routing key.
type hashOn struct {
	header   []byte
	property string
}

// hashOf returns the hash of what the exchange looks at. It is the same on every
// node and after every restart, and for a key of MQTT and of AMQP.
func (x *Exchange) hashOf(m *Message, headers []field) uint64 {
	h := uint64(14695981039346656037)
	add := func(b []byte, slash bool) {
		for _, c := range b {
			if slash && c == '/' {
				c = '.'
			}
			h = (h ^ uint64(c)) * 1099511628211
		}
	}
	number := func(n uint64) {
		for ; n != 0; n >>= 8 {
			h = (h ^ n&255) * 1099511628211
		}
	}
	switch {
	case x.hash.header != nil:
		if v := find(headers, x.hash.header); v != nil {
			if v.IsInt() || v.Kind() == props.KindTime {
				number(uint64(v.Int64()))
			} else {
				add(v.Raw(), false)
			}
		}
	case x.hash.property != "":
		var p props.Properties
		if len(m.Props) == 0 || p.Decode(m.Props) != nil {
			break
		}
		switch x.hash.property {
		case "message_id":
			add(p.MessageID, false)
		case "correlation_id":
			add(p.CorrelationID, false)
		default:
			number(p.Timestamp)
		}
	default:
		add(m.Topic, m.Syntax == SyntaxMQTT)
	}
	return h
}

// heaviest is rendezvous hashing: each destination draws a number that only it
// and the hash decide, and the best one for its weight wins. When one comes or
// goes, only what it wins or has won moves. [Schindelhauer, Schomaker: Weighted
// Distributed Hash Tables]
func heaviest(choices []choice, hash uint64) *choice {
	best, least := -1, math.Inf(1)
	for i := range choices {
		c := &choices[i]
		draw := (float64(mix(hash^c.seed)>>11) + 0.5) / (1 << 53)
		if d := -math.Log(draw) / c.weight; d < least || d == least && c.seed < choices[best].seed {
			best, least = i, d
		}
	}
	if best < 0 {
		return nil
	}
	return &choices[best]
}

// mix spreads every bit over all (the finalizer of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// choose calls f for the bindings by which a message goes on. The caller holds
// x.mu.
func (x *Exchange) choose(m *Message, headers func() []field, f func(*choice)) {
	if len(x.choices) == 0 {
		return
	}
	switch x.typ {
	case Headers:
		h := headers()
		for i := range x.choices {
			if c := &x.choices[i]; c.match.matches(h) {
				f(c)
			}
		}
	case ConsistentHash:
		var h []field
		if x.hash.header != nil {
			h = headers()
		}
		if c := heaviest(x.choices, x.hashOf(m, h)); c != nil {
			f(c)
		}
	case Random:
		f(&x.choices[rand.IntN(len(x.choices))])
	}
}

func argumentsText(arguments string) string { return props.Table(arguments).String() }
