package core

import (
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/narumq/naru/core/internal/topic"
)

// ExchangeType decides how an exchange compares keys.
type ExchangeType uint8

const (
	// Direct delivers where the binding key equals the routing key.
	Direct ExchangeType = iota
	// Fanout delivers to every binding.
	Fanout
	// Topic delivers where the binding is a pattern that matches: of MQTT over
	// levels, or of AMQP over words, each in its own syntax.
	Topic
)

func (t ExchangeType) String() string {
	return [...]string{"direct", "fanout", "topic"}[t]
}

// The exchanges every vhost has from the start, as AMQP has them.
const (
	defaultExchange = ""
	directExchange  = "amq.direct"
	fanoutExchange  = "amq.fanout"
	topicExchange   = "amq.topic"
)

// An Exchange holds bindings from keys or patterns to queues.
type Exchange struct {
	vh   *VHost
	name string
	typ  ExchangeType
	opt  ExchangeOptions // never changed
	gens generations

	mu     sync.RWMutex // guards what follows; writers bump gens under it
	mqtt   *topic.Trie[leaf]
	amqp   *topic.Trie[leaf]
	exact  map[string]*leaf // Direct
	all    leaf             // Fanout
	routes routeCache       // has its own locks
}

// A leaf holds the queues bound by one key or pattern.
type leaf struct {
	subs  []sub
	index map[*Queue]int // position in subs, from indexFrom on
}

type sub struct {
	q   *Queue
	qos QoS
}

const indexFrom = 16

func newExchange(vh *VHost, name string, typ ExchangeType) *Exchange {
	x := &Exchange{vh: vh, name: name, typ: typ, opt: ExchangeOptions{Type: typ, Durable: true}}
	switch typ {
	case Topic:
		x.mqtt, x.amqp = topic.New[leaf](topic.MQTT), topic.New[leaf](topic.AMQP)
	case Direct:
		x.exact = make(map[string]*leaf)
	}
	return x
}

// Name returns the exchange's name; the default exchange has the empty one.
func (x *Exchange) Name() string { return x.name }

func (l *leaf) find(q *Queue) int {
	if l.index != nil {
		if i, ok := l.index[q]; ok {
			return i
		}
		return -1
	}
	for i := range l.subs {
		if l.subs[i].q == q {
			return i
		}
	}
	return -1
}

// set adds or changes the binding of q.
func (l *leaf) set(q *Queue, qos QoS) (added bool) {
	if i := l.find(q); i >= 0 {
		l.subs[i].qos = qos
		return false
	}
	l.subs = append(l.subs, sub{q, qos})
	switch {
	case l.index != nil:
		l.index[q] = len(l.subs) - 1
	case len(l.subs) >= indexFrom:
		l.index = make(map[*Queue]int, 2*indexFrom)
		for i := range l.subs {
			l.index[l.subs[i].q] = i
		}
	}
	return true
}

func (l *leaf) remove(q *Queue) (removed bool) {
	i := l.find(q)
	if i < 0 {
		return false
	}
	last := len(l.subs) - 1
	l.subs[i] = l.subs[last]
	l.subs[last] = sub{}
	l.subs = l.subs[:last]
	if l.index != nil {
		delete(l.index, q)
		if i < last {
			l.index[l.subs[i].q] = i
		}
		if last < indexFrom/2 {
			l.index = nil
		}
	}
	return true
}

// bind adds a binding, or changes its QoS. The pattern must be valid.
func (x *Exchange) bind(q *Queue, syn Syntax, pattern string, qos QoS) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var l *leaf
	switch x.typ {
	case Topic:
		l = x.trie(syn).Put(pattern)
	case Direct:
		if l = x.exact[pattern]; l == nil {
			l = new(leaf)
			x.exact[pattern] = l
		}
	case Fanout:
		l = &x.all
	}
	if l.set(q, qos) {
		x.vh.bus.bindings.Add(1)
	}
	x.gens.bump(x.typ, syn, pattern)
}

// unbind removes a binding, if it is there.
func (x *Exchange) unbind(q *Queue, syn Syntax, pattern string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	removed := false
	switch x.typ {
	case Topic:
		if l := x.trie(syn).Get(pattern); l != nil {
			if removed = l.remove(q); len(l.subs) == 0 {
				x.trie(syn).Delete(pattern)
			}
		}
	case Direct:
		if l := x.exact[pattern]; l != nil {
			if removed = l.remove(q); len(l.subs) == 0 {
				delete(x.exact, pattern)
			}
		}
	case Fanout:
		removed = x.all.remove(q)
	}
	if removed {
		x.vh.bus.bindings.Add(-1)
		x.gens.bump(x.typ, syn, pattern)
	}
}

func (x *Exchange) trie(syn Syntax) *topic.Trie[leaf] {
	if syn == SyntaxAMQP {
		return x.amqp
	}
	return x.mqtt
}

// validPattern says whether a pattern can be bound to the exchange.
func (x *Exchange) validPattern(syn Syntax, pattern string) error {
	if x.typ == Topic && syn == SyntaxMQTT && !topic.ValidMQTTFilter([]byte(pattern)) {
		return fmt.Errorf("%w: filter %q", ErrBadAddress, pattern)
	}
	return nil
}

// generations tell cached routes that a binding which may concern them has
// changed. A route remembers the sum of the four counters its address hashes
// to: the exact address, its first two levels, its first level, and one for
// patterns that begin with a wildcard. A change of one subscription thus voids
// the routes of its own address or branch, and those that share a counter with
// it by chance. Levels end at '/' and at '.', so that both syntaxes of an
// address have the same counters.
type generations struct {
	exact [256]atomic.Uint64
	two   [256]atomic.Uint64
	one   [64]atomic.Uint64
	all   atomic.Uint64
}

func (g *generations) bump(typ ExchangeType, syn Syntax, pattern string) {
	if typ == Fanout {
		g.all.Add(1)
		return
	}
	h := hashLevels(pattern)
	if typ == Direct {
		g.exact[h.whole%256].Add(1)
		return
	}
	single, multi := byte('+'), byte('#')
	if syn == SyntaxAMQP {
		single = '*'
	}
	// How many levels before the first wildcard are literal?
	literal, wild, start := 0, false, 0
	for i := 0; i <= len(pattern); i++ {
		if i == len(pattern) || pattern[i] == '/' || pattern[i] == '.' {
			if i-start == 1 && (pattern[start] == single || pattern[start] == multi) {
				wild = true
				break
			}
			literal++
			start = i + 1
		}
	}
	switch {
	case !wild:
		g.exact[h.whole%256].Add(1)
	case literal >= 2:
		g.two[h.two%256].Add(1)
	case literal == 1:
		g.one[h.one%64].Add(1)
	default:
		g.all.Add(1)
	}
}

type levelHashes struct{ one, two, whole uint32 }

// hashLevels hashes the first level, the first two, and the whole address.
func hashLevels[T ~string | ~[]byte](s T) levelHashes {
	const prime = 16777619
	h := uint32(2166136261)
	var l levelHashes
	level := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '/' || c == '.' {
			c = '/'
			level++
			if level == 1 {
				l.one = h
			} else if level == 2 {
				l.two = h
			}
		}
		h = (h ^ uint32(c)) * prime
	}
	l.whole = h
	if level < 1 {
		l.one = h
	}
	if level < 2 {
		l.two = h
	}
	return l
}

var addressSeed = maphash.MakeSeed()
