package core

import (
	"fmt"
	"slices"
)

// A BindingSpec leads from an exchange to a queue or to another exchange.
type BindingSpec struct {
	Source    *Exchange
	Queue     *Queue    // the destination,
	Exchange  *Exchange // or this
	Key       string
	Syntax    Syntax
	Arguments []byte // part of what the binding is, beside both ends and key; nil: none
}

// A binding leads from an exchange to a declared queue or to another exchange.
// It is one for each of these combinations.
type binding struct {
	from      *Exchange
	queue     *Queue    // the destination,
	exchange  *Exchange // or this
	key       string
	arguments string
	syntax    Syntax
}

// durable says whether the binding outlives the process.
func (b *binding) durable() bool {
	if !b.from.opt.Durable {
		return false
	}
	if b.queue != nil {
		return b.queue.durable
	}
	return b.exchange.opt.Durable
}

// A bindingSet holds the bindings of one end. Most ends have few.
type bindingSet struct {
	list  []binding
	index map[binding]int // from indexFrom on
}

func (s *bindingSet) find(b *binding) int {
	if s.index != nil {
		if i, ok := s.index[*b]; ok {
			return i
		}
		return -1
	}
	return slices.Index(s.list, *b)
}

func (s *bindingSet) add(b *binding) {
	s.list = append(s.list, *b)
	switch {
	case s.index != nil:
		s.index[*b] = len(s.list) - 1
	case len(s.list) >= indexFrom:
		s.index = make(map[binding]int, 2*indexFrom)
		for i := range s.list {
			s.index[s.list[i]] = i
		}
	}
}

// remove takes a binding out, and has the last one take its place. It returns
// the place, -1 if it is not there.
func (s *bindingSet) remove(b *binding) int {
	i := s.find(b)
	if i < 0 {
		return i
	}
	last := len(s.list) - 1
	if s.index != nil {
		delete(s.index, *b)
		if i < last {
			s.index[s.list[last]] = i
		}
	}
	s.list[i] = s.list[last]
	s.list[last] = binding{}
	s.list = s.list[:last]
	if last < indexFrom/2 {
		s.index = nil
	}
	return i
}

// Bind adds a binding; one that is there already stays as it is. The caller may
// tell of it when the turn is committed. Errors: ErrNotFound if either end has
// gone, ErrBadAddress.
func (vh *VHost) Bind(t *Turn, s BindingSpec) error {
	b, err := s.binding()
	if err != nil {
		return err
	}
	c, err := b.choice()
	if err != nil {
		return err
	}
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if err := vh.findsLocked(&b); err != nil {
		return err
	}
	ch := change{t: t}
	if vh.bindLocked(&b, c) {
		ch.save(&b)
	} else {
		ch.wait(&b)
	}
	ch.commit()
	return nil
}

// Unbind removes a binding, if it is there. Errors: ErrNotFound if either end has
// gone, ErrBadAddress.
func (vh *VHost) Unbind(t *Turn, s BindingSpec) error {
	b, err := s.binding()
	if err != nil {
		return err
	}
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if err := vh.findsLocked(&b); err != nil {
		return err
	}
	ch := change{t: t}
	if vh.unbindLocked(&b) {
		ch.forget(&b)
		vh.unusedLocked(&ch, b.from)
	} else {
		ch.wait(&b)
	}
	ch.commit()
	return nil
}

// BindQueue binds a queue to an exchange by its name. Errors: ErrNotFound,
// ErrBadAddress.
func (vh *VHost) BindQueue(t *Turn, q *Queue, exchange, key string, syn Syntax) error {
	x := vh.Exchange(exchange)
	if x == nil {
		return fmt.Errorf("exchange %q: %w", exchange, ErrNotFound)
	}
	if q.kind == KindNamed {
		return vh.Bind(t, BindingSpec{Source: x, Queue: q, Key: key, Syntax: syn})
	}
	if x.typ > Topic || exchange == defaultExchange {
		return fmt.Errorf("%w: a session is bound to exchange %q", ErrBadAddress, exchange)
	}
	if err := x.validPattern(syn, key); err != nil {
		return err
	}
	x.bind(q, syn, key, ExactlyOnce)
	if !q.diskless.Load() {
		t.scratch = (&bindingRecord{syntax: syn, qos: ExactlyOnce}).append(t.scratch[:0])
		t.promise(q.sh).batch.Set(bindingKey(q.id, exchange, syn, key, ""), t.scratch)
	}
	return nil
}

// binding checks what can be checked without a look at the vhost.
func (s *BindingSpec) binding() (binding, error) {
	b := binding{s.Source, s.Queue, s.Exchange, s.Key, string(s.Arguments), s.Syntax}
	switch {
	case s.Source.name == defaultExchange:
		return b, fmt.Errorf("%w: the default exchange binds queues by their names, and nothing else", ErrBadAddress)
	case s.Exchange != nil && s.Exchange.name == defaultExchange:
		return b, fmt.Errorf("%w: the default exchange cannot be bound", ErrBadAddress)
	case s.Queue != nil && s.Queue.kind != KindNamed:
		return b, fmt.Errorf("%w: %q is no declared queue", ErrBadAddress, s.Queue.name)
	}
	return b, s.Source.validPattern(s.Syntax, s.Key)
}

// findsLocked says whether both ends are there.
func (vh *VHost) findsLocked(b *binding) error {
	for _, x := range [...]*Exchange{b.from, b.exchange} {
		if x != nil && vh.exchanges[x.name] != x {
			return fmt.Errorf("exchange %q: %w", x.name, ErrNotFound)
		}
	}
	if b.queue != nil && vh.queues[b.queue.name] != b.queue {
		return fmt.Errorf("queue %q: %w", b.queue.name, ErrNotFound)
	}
	return nil
}

// bindLocked puts a binding in force.
func (vh *VHost) bindLocked(b *binding, c choice) (added bool) {
	if b.from.out.find(b) >= 0 {
		return false
	}
	b.from.out.add(b)
	if b.queue != nil {
		set := vh.bound[b.queue]
		if set == nil {
			set = new(bindingSet)
			vh.bound[b.queue] = set
		}
		set.add(b)
	} else {
		b.exchange.in.add(b)
	}
	b.from.add(b, c)
	return true
}

// unbindLocked takes a binding out of force.
func (vh *VHost) unbindLocked(b *binding) (removed bool) {
	i := b.from.out.remove(b)
	if i < 0 {
		return false
	}
	if b.queue != nil {
		set := vh.bound[b.queue]
		if set.remove(b); len(set.list) == 0 {
			delete(vh.bound, b.queue)
		}
	} else {
		b.exchange.in.remove(b)
	}
	b.from.remove(b, i)
	return true
}

// unbindQueueLocked removes the bindings of a queue that goes. Their records go
// with the queue's own.
func (vh *VHost) unbindQueueLocked(t *Turn, q *Queue) {
	set := vh.bound[q]
	if set == nil {
		return
	}
	ch := change{t: t}
	for _, b := range slices.Clone(set.list) {
		if vh.unbindLocked(&b) { // not if an exchange has taken it along
			vh.unusedLocked(&ch, b.from)
		}
	}
	ch.commit()
}
