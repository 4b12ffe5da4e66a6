package core

import (
	"slices"
	"sync/atomic"
)

// A walk follows a message over the exchanges that it gets to, each once, so
// that circles end. What an exchange finds depends on the message alone, so the
// order in which they are visited changes nothing.
type walk struct {
	m       *Message
	c       collector
	todo    []*Exchange
	seen    []*Exchange
	known   map[*Exchange]struct{} // of seen, from indexFrom on
	illegal bool
	fields  []field // headers of the message,
	read    bool    // if they have been read

	// further is what a route that is remembered depends on. nil: the route serves
	// this message only, and exchanges that choose do.
	further *further
}

// further is what a route has that leads over more than one exchange, or over one
// that chooses by more than the address.
type further struct {
	epoch  uint64 // of rights
	gens   []*atomic.Uint64
	sum    uint64
	seen   []*Exchange
	choosy []*Exchange // of seen: they are asked for each message
}

// valid is route.valid for what lies further.
func (f *further) valid(epoch uint64) bool {
	if f == nil || f.epoch != epoch {
		return false
	}
	sum := uint64(0)
	for _, g := range f.gens {
		sum += g.Load()
	}
	return sum == f.sum
}

func (f *further) depend(g *atomic.Uint64) {
	f.gens = append(f.gens, g)
	f.sum += g.Load()
}

// push has an exchange be visited, unless it has been.
func (w *walk) push(x *Exchange) {
	if w.known == nil && len(w.seen) >= indexFrom {
		w.known = make(map[*Exchange]struct{}, 2*indexFrom)
		for _, s := range w.seen {
			w.known[s] = struct{}{}
		}
	}
	if w.known != nil {
		if _, ok := w.known[x]; ok {
			return
		}
		w.known[x] = struct{}{}
	} else if slices.Contains(w.seen, x) {
		return
	}
	w.seen = append(w.seen, x)
	w.todo = append(w.todo, x)
}

// run visits all exchanges there are to visit.
func (w *walk) run() {
	for len(w.todo) > 0 {
		last := len(w.todo) - 1
		x := w.todo[last]
		w.todo = w.todo[:last]
		w.visit(x)
	}
}

func (w *walk) visit(x *Exchange) {
	if w.further != nil && x.typ.chooses() {
		w.further.choosy = append(w.further.choosy, x)
		return
	}
	found := w.follow(x)
	alternate := x.alternate()
	if found || alternate == "" {
		return
	}
	vh := x.vh
	vh.mu.RLock()
	if w.further != nil {
		w.further.depend(&vh.named)
	}
	a := vh.exchanges[alternate]
	vh.mu.RUnlock()
	if a != nil {
		w.push(a)
	}
}

// follow gathers what the bindings of one exchange lead to. It says whether they
// lead anywhere.
func (w *walk) follow(x *Exchange) (found bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.typ.chooses() {
		x.choose(w.m, w.headers, func(c *choice) {
			found = true
			if c.queue != nil {
				w.c.addOne(sub{q: c.queue, qos: ExactlyOnce})
			} else {
				w.push(c.exchange)
			}
		})
		return found
	}
	if w.further != nil {
		for _, g := range x.gens.of(hashLevels(w.m.Topic)) {
			w.further.depend(g)
		}
	}
	found = w.match(x, w.m.Topic)
	if w.further == nil {
		for _, key := range w.m.Keys {
			found = w.match(x, key) || found
		}
	}
	return found
}

func (w *walk) match(x *Exchange, key []byte) (found bool) {
	illegal := x.queues.match(w.m.Syntax, key, func(l *leaf) {
		found = found || len(l.subs) > 0
		w.c.add(l)
	})
	w.illegal = w.illegal || illegal
	if x.exits != nil {
		x.exits.match(w.m.Syntax, key, func(e *exits) {
			for to := range *e {
				found = true
				w.push(to)
			}
		})
	}
	return found
}

func (w *walk) headers() []field {
	if !w.read {
		w.fields, w.read = readHeaders(w.fields, w.m), true
	}
	return w.fields
}

// reset has the walk begin anew, in the memory it has.
func (w *walk) reset(m *Message) {
	clear(w.c.targets)
	w.c.targets, w.c.seen = w.c.targets[:0], nil
	clear(w.seen)
	*w = walk{m: m, c: w.c, todo: w.todo[:0], seen: w.seen[:0], fields: w.fields[:0]}
}

// resolveFurther is resolve where the way does not end at x.
func (x *Exchange) resolveFurther(t *Turn, m *Message, r *route) (*route, Wait) {
	w := walk{m: m, further: &further{epoch: r.epoch}}
	w.push(x)
	w.run()
	r.targets, r.illegal = w.c.targets, w.illegal
	// It never looks valid to those who know nothing of it.
	r.further, r.epoch = w.further, 0
	if len(w.further.choosy) > 0 {
		w.further.seen = w.seen // the rest is for each message
		return r, nil
	}
	return r, r.permit(t, m)
}

// permit leaves out those who may not receive the message.
func (r *route) permit(t *Turn, m *Message) Wait {
	if t.bus.unrestricted.Load() {
		return nil
	}
	return r.filter(t.bus, m)
}

// A following is what a publisher needs to follow messages one by one. The route
// in it is good until the next one.
type following struct {
	route route
	walk  walk
}

// follow takes up the way where the exchanges are that choose.
func (p *Publisher) follow(t *Turn, m *Message, r *route) (*route, Wait, error) {
	if len(r.further.choosy) == 0 {
		return r, nil, nil
	}
	f := p.following(m)
	f.walk.illegal = r.illegal
	f.walk.c.targets = append(f.walk.c.targets, r.targets...)
	for _, x := range r.further.seen {
		f.walk.push(x)
	}
	f.walk.todo = append(f.walk.todo[:0], r.further.choosy...)
	return f.finish(t, m, r.address)
}

// followKeys routes a message that has further keys. It is never remembered.
func (p *Publisher) followKeys(t *Turn, m *Message) (*route, Wait, error) {
	first := m.Topic
	for i := -1; i < len(m.Keys); i++ {
		if i >= 0 {
			m.Topic = m.Keys[i]
		}
		wait, err := p.mayPublish(t, m)
		m.Topic = first
		if wait != nil || err != nil {
			return nil, wait, err
		}
	}
	f := p.following(m)
	f.walk.push(m.Exchange)
	return f.finish(t, m, string(m.Topic))
}

func (p *Publisher) following(m *Message) *following {
	if p.cache == nil {
		p.cache = new(publisherCache)
	}
	if p.cache.following == nil {
		p.cache.following = new(following)
	}
	f := p.cache.following
	f.walk.reset(m)
	return f
}

func (f *following) finish(t *Turn, m *Message, address string) (*route, Wait, error) {
	w := &f.walk
	w.run()
	w.m = nil // what is borrowed of the message is not held
	clear(w.fields)
	f.route = route{ex: m.Exchange, syntax: m.Syntax, address: address, targets: w.c.targets, illegal: w.illegal, once: true}
	r := &f.route
	if wait := r.permit(t, m); wait != nil {
		return nil, wait, nil
	}
	return r, nil, nil
}

// kept returns a route that stays as it is.
func (r *route) kept() *route {
	if !r.once {
		return r
	}
	k := *r
	k.targets = slices.Clone(r.targets)
	return &k
}
