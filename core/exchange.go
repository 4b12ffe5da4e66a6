package core

import (
	"fmt"
	"hash/maphash"
	"strings"
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
	// Headers delivers where the arguments of the binding match the headers of
	// the message.
	Headers
	// ConsistentHash delivers to one binding, always the same one for a key or
	// header; the key of a binding is its weight.
	ConsistentHash
	// Random delivers to one binding at random.
	Random
)

var exchangeTypes = [...]string{"direct", "fanout", "topic", "headers", "x-consistent-hash", "x-random"}

// String returns the name that AMQP has for the type.
func (t ExchangeType) String() string { return exchangeTypes[t] }

// ParseExchangeType returns the type of this name.
func ParseExchangeType(name string) (ExchangeType, bool) {
	for i, n := range exchangeTypes {
		if n == name {
			return ExchangeType(i), true
		}
	}
	return 0, false
}

// chooses says whether the way through an exchange of this type depends on more
// of the message than its address.
func (t ExchangeType) chooses() bool { return t >= Headers }

// The exchanges every vhost has from the start, as AMQP has them.
const (
	defaultExchange = ""
	directExchange  = "amq.direct"
	fanoutExchange  = "amq.fanout"
	topicExchange   = "amq.topic"
	headersExchange = "amq.headers"
	matchExchange   = "amq.match"
	traceExchange   = "amq.rabbitmq.trace"
)

// An Exchange holds bindings from keys or patterns to queues and to other
// exchanges.
type Exchange struct {
	vh    *VHost
	name  string
	typ   ExchangeType
	opt   ExchangeOptions        // never changed
	aside atomic.Pointer[string] // what alternate returns, nil for nothing
	id    uint64                 // of a declared one: not that of another by the same name
	hash  hashOn                 // never changed
	gens  generations
	gone  atomic.Bool // has been removed

	mu      sync.RWMutex // guards what follows; writers bump gens under it
	queues  table[leaf]
	exits   *table[exits] // nil: there are none
	leaving int           // bindings in exits
	choices []choice      // of types that choose
	routes  routeCache    // has its own locks

	// guarded by vh.mu
	out  bindingSet // to declared queues and to exchanges
	in   bindingSet // from exchanges
	used bool       // there has been a binding from it
}

func newExchange(vh *VHost, name string, o ExchangeOptions) *Exchange {
	x := &Exchange{vh: vh, name: name, typ: o.Type, opt: o}
	busy := o.Type == Topic && name == topicExchange || o.Type == Direct && (name == defaultExchange || name == directExchange)
	x.gens.init(busy)
	x.routes.init(busy)
	x.queues = newTable[leaf](o.Type)
	return x
}

// Name returns the exchange's name; the default exchange has the empty one.
func (x *Exchange) Name() string { return x.name }

// Options returns how the exchange was declared.
func (x *Exchange) Options() ExchangeOptions { return x.opt }

// Gone says whether the exchange has been removed. Another may have its name.
func (x *Exchange) Gone() bool { return x.gone.Load() }

// Predeclared says whether the exchange is there from the start, and stays.
func (x *Exchange) Predeclared() bool {
	return x.name == defaultExchange || strings.HasPrefix(x.name, reservedPrefix)
}

const reservedPrefix = "amq."

// bind adds the subscription of q, or changes its QoS. The pattern must be valid.
func (x *Exchange) bind(q *Queue, syn Syntax, pattern string, qos QoS) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.queues.put(syn, pattern).set(q, qos) {
		x.vh.bus.bindings.Add(1)
	}
	x.gens.bump(x.typ, syn, pattern)
}

// unbind removes a subscription, if it is there.
func (x *Exchange) unbind(q *Queue, syn Syntax, pattern string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.leaveLocked(q, syn, pattern)
}

func (x *Exchange) leaveLocked(q *Queue, syn Syntax, pattern string) {
	l := x.queues.get(syn, pattern)
	if l == nil || !l.remove(q) {
		return
	}
	if len(l.subs) == 0 {
		x.queues.drop(syn, pattern)
	}
	x.vh.bus.bindings.Add(-1)
	x.gens.bump(x.typ, syn, pattern)
}

// add puts a binding in force. The caller holds vh.mu, and has put it into out.
func (x *Exchange) add(b *binding, c choice) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.vh.bus.bindings.Add(1)
	switch {
	case x.typ.chooses(): // in the order of out.list
		x.choices = append(x.choices, c)
		return
	case b.queue != nil:
		x.queues.put(b.syntax, b.key).add(b.queue)
	default:
		if x.exits == nil {
			tb := newTable[exits](x.typ)
			x.exits = &tb
		}
		e := x.exits.put(b.syntax, b.key)
		if *e == nil {
			*e = make(exits)
		}
		(*e)[b.exchange]++
		x.leaving++
	}
	x.gens.bump(x.typ, b.syntax, b.key)
}

// remove takes a binding, which was at place i of out, out of force. The caller
// holds vh.mu.
func (x *Exchange) remove(b *binding, i int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.typ.chooses():
		x.vh.bus.bindings.Add(-1)
		last := len(x.choices) - 1
		x.choices[i] = x.choices[last]
		x.choices[last] = choice{}
		x.choices = x.choices[:last]
		return
	case b.queue != nil:
		x.leaveLocked(b.queue, b.syntax, b.key)
		return
	}
	x.vh.bus.bindings.Add(-1)
	e := x.exits.get(b.syntax, b.key)
	if (*e)[b.exchange]--; (*e)[b.exchange] == 0 {
		delete(*e, b.exchange)
		if len(*e) == 0 {
			x.exits.drop(b.syntax, b.key)
		}
	}
	if x.leaving--; x.leaving == 0 {
		x.exits = nil
	}
	x.gens.bump(x.typ, b.syntax, b.key)
}

// validPattern says whether a pattern can be bound to the exchange.
func (x *Exchange) validPattern(syn Syntax, pattern string) error {
	switch {
	case x.typ != Topic:
	case syn == SyntaxMQTT && !topic.ValidMQTTFilter([]byte(pattern)):
		return fmt.Errorf("%w: filter %q", ErrBadAddress, pattern)
	case syn == SyntaxAMQP && multiWords(pattern) > maxMultiWords:
		return fmt.Errorf("%w: more than %d words # in %q", ErrBadAddress, maxMultiWords, pattern)
	}
	return nil
}

// maxMultiWords is how many words of a binding key can stand for any number of
// words, as in RabbitMQ.
const maxMultiWords = 2

func multiWords(pattern string) int {
	if strings.Count(pattern, "#") <= maxMultiWords {
		return 0
	}
	n := 0
	for w := range strings.SplitSeq(pattern, ".") {
		if w == "#" {
			n++
		}
	}
	return n
}

var addressSeed = maphash.MakeSeed()
