package core

import (
	"bytes"
	"strings"

	"github.com/narumq/naru/core/internal/topic"
)

// A table finds what is bound by the keys or patterns that an address matches.
// Its owner has a lock.
type table[L any] struct {
	mqtt  *topic.Trie[L] // Topic
	amqp  *topic.Trie[L] // Topic
	exact map[string]*L  // Direct
	all   L              // Fanout
}

func newTable[L any](typ ExchangeType) table[L] {
	switch typ {
	case Topic:
		return table[L]{mqtt: topic.New[L](topic.MQTT), amqp: topic.New[L](topic.AMQP)}
	case Direct:
		return table[L]{exact: make(map[string]*L)}
	}
	return table[L]{}
}

func (tb *table[L]) trie(syn Syntax) *topic.Trie[L] {
	if syn == SyntaxAMQP {
		return tb.amqp
	}
	return tb.mqtt
}

// put returns the leaf of a key or pattern, get does if there is one.
func (tb *table[L]) put(syn Syntax, pattern string) *L {
	switch {
	case tb.mqtt != nil:
		return tb.trie(syn).Put(pattern)
	case tb.exact != nil:
		pattern = directKey(syn, pattern)
		l := tb.exact[pattern]
		if l == nil {
			l = new(L)
			tb.exact[pattern] = l
		}
		return l
	}
	return &tb.all
}

func (tb *table[L]) get(syn Syntax, pattern string) *L {
	switch {
	case tb.mqtt != nil:
		return tb.trie(syn).Get(pattern)
	case tb.exact != nil:
		return tb.exact[directKey(syn, pattern)]
	}
	return &tb.all
}

// drop removes a leaf that nothing is in any more.
func (tb *table[L]) drop(syn Syntax, pattern string) {
	switch {
	case tb.mqtt != nil:
		tb.trie(syn).Delete(pattern)
	case tb.exact != nil:
		delete(tb.exact, directKey(syn, pattern))
	}
}

// match calls f for each leaf that an address of m leads to. illegal says that
// it is no legal topic name, and patterns of MQTT were left out.
func (tb *table[L]) match(syn Syntax, address []byte, f func(*L)) (illegal bool) {
	switch {
	case tb.mqtt != nil:
		if tb.mqtt.Len() > 0 {
			if a, ok := mqttForm(syn, address); ok {
				tb.mqtt.Match(a, f)
			} else {
				illegal = true
			}
		}
		if tb.amqp.Len() > 0 {
			tb.amqp.Match(amqpForm(syn, address), f)
		}
	case tb.exact != nil:
		if l := tb.exact[string(amqpForm(syn, address))]; l != nil {
			f(l)
		}
	default:
		f(&tb.all)
	}
	return illegal
}

// mqttForm returns an address as an MQTT topic, and whether it is a legal one.
func mqttForm(syn Syntax, address []byte) ([]byte, bool) {
	if syn == SyntaxMQTT {
		return address, true // validated on the way in
	}
	a := bytes.ReplaceAll(address, []byte{'.'}, []byte{'/'})
	return a, topic.ValidMQTTTopic(a)
}

// amqpForm returns an address as an AMQP routing key.
func amqpForm(syn Syntax, address []byte) []byte {
	if syn == SyntaxAMQP || bytes.IndexByte(address, '/') < 0 {
		return address
	}
	return bytes.ReplaceAll(address, []byte{'/'}, []byte{'.'})
}

// directKey is amqpForm for the key of a binding.
func directKey(syn Syntax, key string) string {
	if syn == SyntaxAMQP {
		return key
	}
	return strings.ReplaceAll(key, "/", ".")
}

// A leaf holds the queues bound by one key or pattern.
type leaf struct {
	subs  []sub
	index map[*Queue]int // position in subs, from indexFrom on
}

// A sub is what leads to one queue: a subscription, or one binding or more, which
// differ in their arguments or in a key that does not count.
type sub struct {
	q    *Queue
	qos  QoS
	more uint32 // bindings beside the first
}

const indexFrom = 16

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

// set adds or changes the subscription of q.
func (l *leaf) set(q *Queue, qos QoS) (added bool) {
	if i := l.find(q); i >= 0 {
		l.subs[i].qos = qos
		return false
	}
	l.subs = append(l.subs, sub{q: q, qos: qos})
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

// add adds one more binding of q.
func (l *leaf) add(q *Queue) {
	if !l.set(q, ExactlyOnce) {
		l.subs[l.find(q)].more++
	}
}

// remove removes a subscription, or one binding.
func (l *leaf) remove(q *Queue) (removed bool) {
	i := l.find(q)
	if i < 0 {
		return false
	}
	if l.subs[i].more > 0 {
		l.subs[i].more--
		return true
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

// exits hold the exchanges bound by one key or pattern, with the number of
// bindings.
type exits map[*Exchange]int
