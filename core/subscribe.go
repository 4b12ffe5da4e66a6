package core

import (
	"fmt"
	"strings"
)

const (
	sharePrefix = "$share/"
	queuePrefix = "$queue/"
)

// A subscription of a session: a binding of its own queue, a place in a shared
// group, or a consumer of a named queue.
type subscription struct {
	filter   string // as the client wrote it
	qos      QoS
	from     *Queue // of a group or a named queue
	consumer *Consumer
}

// subscriptions are few as a rule, and many sessions have one.
type subscriptions struct {
	list  []subscription
	index map[string]int // by filter, from indexFrom on
}

func (s *subscriptions) find(filter string) int {
	if s.index != nil {
		if i, ok := s.index[filter]; ok {
			return i
		}
		return -1
	}
	for i := range s.list {
		if s.list[i].filter == filter {
			return i
		}
	}
	return -1
}

func (s *subscriptions) add(sub subscription) *subscription {
	s.list = append(s.list, sub)
	switch {
	case s.index != nil:
		s.index[sub.filter] = len(s.list) - 1
	case len(s.list) >= indexFrom:
		s.index = make(map[string]int, 2*indexFrom)
		for i := range s.list {
			s.index[s.list[i].filter] = i
		}
	}
	return &s.list[len(s.list)-1]
}

func (s *subscriptions) remove(i int) {
	last := len(s.list) - 1
	if s.index != nil {
		delete(s.index, s.list[i].filter)
		if i != last {
			s.index[s.list[last].filter] = i
		}
	}
	s.list[i] = s.list[last]
	s.list[last] = subscription{}
	s.list = s.list[:last]
	if last == 0 {
		*s = subscriptions{}
	}
}

// changeSubs runs f, which changes the subscriptions. The owner, who is the only
// one to do so, reads them without the lock.
func (s *Session) changeSubs(f func()) {
	reg := s.queue.vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	f()
}

// Subscriptions returns the number of subscriptions.
func (s *Session) Subscriptions() int { return len(s.subs.list) }

// Subscribe adds a subscription, or replaces the one with the same filter, and
// has the matching retained messages sent after Subscribed. Filters of the form
// $share/group/filter join a shared subscription; $queue/name consumes from a
// declared queue. The client may be told when the turn is committed. Errors:
// ErrBadAddress, ErrNotAuthorized, ErrNotFound, ErrQuota.
func (s *Session) Subscribe(t *Turn, filter string, qos QoS, limit int) (Wait, error) {
	q := &s.queue
	x := q.vh.topics
	if err := x.validPattern(SyntaxMQTT, filter); err != nil {
		return nil, err
	}
	pattern, group, err := splitFilter(filter)
	if err != nil {
		return nil, err
	}
	if w, err := s.mayRead(t, pattern, group); w != nil || err != nil {
		return w, err
	}
	i := s.subs.find(filter)
	if i < 0 && limit > 0 && len(s.subs.list) >= limit {
		return nil, fmt.Errorf("%w: %d subscriptions", ErrQuota, limit)
	}
	var from *Queue
	switch group {
	case "":
		x.bind(q, SyntaxMQTT, pattern, qos)
	case queuePrefix:
		if from = q.vh.Queue(pattern); from == nil || from.kind != KindNamed {
			return nil, fmt.Errorf("queue %q: %w", pattern, ErrNotFound)
		}
		if err := from.shared(); err != nil {
			return nil, err
		}
	default:
		from = q.vh.joinGroup(t, s, filter, pattern, qos)
	}
	var sub *subscription
	if i < 0 {
		s.changeSubs(func() { sub = s.subs.add(subscription{filter: filter, qos: qos, from: from}) })
	} else {
		sub = &s.subs.list[i]
		sub.stop(t)
		s.changeSubs(func() { sub.qos, sub.from = qos, from })
	}
	var number uint64
	if group == "" && q.vh.retained.any(pattern) {
		number = t.bus.newID()
	}
	if !s.clean {
		t.scratch = (&bindingRecord{qos: qos, replay: number}).append(t.scratch[:0])
		t.promise(q.sh).batch.Set(bindingKey(q.id, topicExchange, SyntaxMQTT, filter, ""), t.scratch)
	}
	if ds := s.direct.Load(); ds != nil && from != nil {
		sub.start(t, s, ds.sink)
	}
	if number != 0 {
		s.addReplay(replay{filter: filter, qos: qos, number: number})
	}
	t.Event(Subscribed{Identity: &s.principal().Identity, Filter: filter, QoS: qos})
	return nil, nil
}

// mayRead asks whether the client may receive anything by this filter.
func (s *Session) mayRead(t *Turn, pattern, group string) (Wait, error) {
	address := pattern
	if group == queuePrefix {
		address = queuePrefix + pattern
	}
	r := subscribeRight(address)
	switch t.bus.may(s.principal(), r) {
	case denied:
		return nil, fmt.Errorf("subscribe to %q: %w", address, ErrNotAuthorized)
	case unknown:
		return t.bus.askAll([]*Principal{s.principal()}, r), nil
	}
	return nil, nil
}

func subscribeRight(address string) Right {
	return Right{Action: ActionSubscribe, Exchange: topicExchange, Syntax: SyntaxMQTT, Address: []byte(address)}
}

// splitFilter takes a filter apart. group is "" for a plain filter, the prefix
// itself for a named queue.
func splitFilter(filter string) (pattern, group string, err error) {
	switch {
	case strings.HasPrefix(filter, queuePrefix):
		if pattern = filter[len(queuePrefix):]; pattern == "" {
			return "", "", fmt.Errorf("queue in %q: %w", filter, ErrNotFound)
		}
		return pattern, queuePrefix, nil
	case strings.HasPrefix(filter, sharePrefix):
		group, pattern, ok := strings.Cut(filter[len(sharePrefix):], "/")
		if !ok || group == "" || pattern == "" || strings.ContainsAny(group, "+#") {
			return "", "", fmt.Errorf("group and filter in %q: %w", filter, ErrNotFound)
		}
		return pattern, group, nil
	}
	return filter, "", nil
}

// Unsubscribe removes a subscription, if it is there. Errors: ErrBadAddress.
func (s *Session) Unsubscribe(t *Turn, filter string) error {
	if err := s.queue.vh.topics.validPattern(SyntaxMQTT, filter); err != nil {
		return err
	}
	i := s.subs.find(filter)
	if i < 0 {
		return nil
	}
	sub := &s.subs.list[i]
	sub.stop(t)
	sub.leave(t, s)
	s.changeSubs(func() { s.subs.remove(i) })
	s.replayList().remove(filter)
	if !s.clean {
		p := t.promise(s.queue.sh)
		p.batch.Delete(bindingKey(s.queue.id, topicExchange, SyntaxMQTT, filter, ""))
		p.batch.Delete(progressKey(s.queue.id, filter))
	}
	t.Event(Unsubscribed{Identity: &s.principal().Identity, Filter: filter})
	return nil
}

// start consumes from the group or queue of the subscription, for a client
// that is connected.
func (sub *subscription) start(t *Turn, s *Session, sink Sink) {
	if name, ok := strings.CutPrefix(sub.filter, queuePrefix); ok && (sub.from == nil || sub.from.isDeleted()) {
		// Declared since the session was recovered or the queue deleted, if at all.
		sub.from = nil
		if q := s.queue.vh.Queue(name); q != nil && q.kind == KindNamed {
			sub.from = q
		}
	}
	if sub.from == nil {
		return
	}
	c, err := sub.from.Consume(t, sink, ConsumerOptions{Identity: s.principal(), QoS: sub.qos, Limit: s.limit})
	if err == nil { // it may have gone, or have become another's, since it was looked at
		sub.consumer = c
	}
}

func (sub *subscription) stop(t *Turn) {
	if sub.consumer != nil {
		sub.consumer.Cancel(t)
		sub.consumer = nil
	}
}

// leave removes what the subscription has bound.
func (sub *subscription) leave(t *Turn, s *Session) {
	pattern, _, err := splitFilter(sub.filter)
	switch {
	case err != nil: // cannot be: it was checked on the way in
	case strings.HasPrefix(sub.filter, queuePrefix):
	case sub.from == nil:
		s.queue.vh.topics.unbind(&s.queue, SyntaxMQTT, pattern)
	case sub.from.kind == KindGroup:
		sub.from.group.leave(t, s)
	}
}
