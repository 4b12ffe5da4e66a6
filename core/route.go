package core

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/narumq/naru/core/internal/topic"
)

// A target is a queue that a route leads to, once, at the highest QoS of the
// bindings that match.
type target struct {
	q   *Queue
	qos QoS
}

// A route is the resolved way of one address through one exchange. It is
// immutable and shared by all publishers; it holds for as long as no binding
// that may concern it, and no right, has changed.
type route struct {
	ex      *Exchange
	syntax  Syntax
	address string
	epoch   uint64 // rights epoch
	gens    [4]*atomic.Uint64
	sum     uint64
	targets []target
	further *further // of one that does not end at ex
	illegal bool     // no legal topic name: MQTT subscribers were left out
	once    bool     // for one message, in memory that serves the next one
}

func (r *route) valid(epoch uint64) bool {
	return r.epoch == epoch && r.gens[0].Load()+r.gens[1].Load()+r.gens[2].Load()+r.gens[3].Load() == r.sum
}

// holds is valid for a route of any kind.
func (r *route) holds(epoch uint64) bool { return r.valid(epoch) || r.further.valid(epoch) }

func (r *route) is(m *Message) bool {
	return r.ex == m.Exchange && r.syntax == m.Syntax && r.address == string(m.Topic)
}

// routeCache is shared by all publishers of an exchange. It is bounded by the
// targets and addresses it holds; when a shard is full, some of its routes go.
type routeCache struct {
	shards []routeShard // a power of two
}

func (c *routeCache) init(many bool) {
	n := 4
	if many {
		n = 64
	}
	c.shards = make([]routeShard, n)
}

func (c *routeCache) shard(hash uint64) *routeShard {
	return &c.shards[hash&uint64(len(c.shards)-1)]
}

type routeShard struct {
	mu     sync.RWMutex
	routes map[routeKey]*route // guarded by mu
	weight int                 // guarded by mu
}

type routeKey struct {
	syntax  Syntax
	address string
}

const (
	routeShardWeight = 32 << 10 // in one shard, by the size of a target
	routeWeight      = 8        // what a route weighs beside its targets and address
	targetSize       = 16       // bytes

	// A publisher does not pin routes of addresses longer than this, but the
	// last: it must not take memory with addresses that nobody else uses.
	maxPinned = 1024
)

func (r *route) weight() int {
	w := len(r.targets) + routeWeight + len(r.address)/targetSize
	if r.further != nil {
		w += routeWeight + (len(r.further.gens)+len(r.further.seen)+len(r.further.choosy))/2
	}
	return w
}

func (c *routeCache) get(m *Message, hash uint64, epoch uint64) *route {
	s := c.shard(hash)
	s.mu.RLock()
	r := s.routes[routeKey{m.Syntax, string(m.Topic)}]
	s.mu.RUnlock()
	if r != nil && r.holds(epoch) {
		return r
	}
	return nil
}

func (c *routeCache) put(r *route, hash uint64) {
	s := c.shard(hash)
	w := r.weight()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.routes == nil {
		s.routes = make(map[routeKey]*route)
	}
	key := routeKey{r.syntax, r.address}
	if old := s.routes[key]; old != nil {
		s.weight -= old.weight()
	}
	for k, o := range s.routes {
		if s.weight+w <= routeShardWeight {
			break
		}
		if k != key {
			delete(s.routes, k)
			s.weight -= o.weight()
		}
	}
	s.routes[key] = r
	s.weight += w
}

// resolve walks the bindings. It returns a Wait if the rights of a subscriber
// must be asked for outside.
func (x *Exchange) resolve(t *Turn, m *Message, epoch uint64) (*route, Wait) {
	r := &route{ex: x, syntax: m.Syntax, address: string(m.Topic), epoch: epoch}
	r.gens = x.gens.of(hashLevels(m.Topic))
	if x.typ.chooses() {
		return x.resolveFurther(t, m, r)
	}
	c, exit := collector{}, false
	x.mu.RLock()
	for _, p := range r.gens {
		r.sum += p.Load()
	}
	r.illegal = x.queues.match(m.Syntax, m.Topic, c.add)
	if x.exits != nil {
		x.exits.match(m.Syntax, m.Topic, func(e *exits) { exit = exit || len(*e) > 0 })
	}
	x.mu.RUnlock()
	if exit || len(c.targets) == 0 && x.alternate() != "" {
		return x.resolveFurther(t, m, r)
	}
	r.targets = c.targets
	if w := r.permit(t, m); w != nil {
		return nil, w
	}
	return r, nil
}

// filter leaves out sessions that may not receive this address.
func (r *route) filter(b *Bus, m *Message) Wait {
	var ask []*Principal
	right := Right{Action: ActionReceive, Exchange: r.ex.name, Syntax: r.syntax, Address: m.Topic}
	kept := r.targets[:0]
	for _, tg := range r.targets {
		if tg.q.kind == KindSession {
			who := tg.q.session.principal()
			switch b.may(who, right) {
			case denied:
				continue
			case unknown:
				ask = append(ask, who)
			}
		}
		kept = append(kept, tg)
	}
	r.targets = kept
	if ask == nil {
		return nil
	}
	right.Address = bytes.Clone(m.Topic)
	return b.askAll(ask, right)
}

// A collector gathers targets, one for each queue at the highest QoS.
type collector struct {
	targets []target
	seen    map[*Queue]int
}

const linearTargets = 16

func (c *collector) add(l *leaf) {
	if len(c.targets) == 0 { // a queue stands in a leaf once
		if cap(c.targets) < len(l.subs) {
			c.targets = make([]target, 0, len(l.subs))
		}
		for i := range l.subs {
			c.targets = append(c.targets, target{l.subs[i].q, l.subs[i].qos})
		}
		return
	}
	c.expect(len(l.subs))
	for _, s := range l.subs {
		c.one(s)
	}
}

// addOne is add for a single queue.
func (c *collector) addOne(s sub) {
	c.expect(1)
	c.one(s)
}

// expect has many targets be found by an index.
func (c *collector) expect(more int) {
	if c.seen == nil && len(c.targets)+more > linearTargets {
		c.seen = make(map[*Queue]int, len(c.targets)+more)
		for i := range c.targets {
			c.seen[c.targets[i].q] = i
		}
	}
}

func (c *collector) one(s sub) {
	if i := c.find(s.q); i >= 0 {
		c.targets[i].qos = max(c.targets[i].qos, s.qos)
		return
	}
	if c.seen != nil {
		c.seen[s.q] = len(c.targets)
	}
	c.targets = append(c.targets, target{s.q, s.qos})
}

func (c *collector) find(q *Queue) int {
	if c.seen != nil {
		if i, ok := c.seen[q]; ok {
			return i
		}
		return -1
	}
	for i := range c.targets {
		if c.targets[i].q == q {
			return i
		}
	}
	return -1
}

// A Publisher publishes for one connection (or channel). It remembers routes;
// it is not safe for concurrent use.
type Publisher struct {
	vh       *VHost
	who      *Principal
	internal bool // the broker itself: no rights, no alarms, may write to $SYS
	granted  bool // the rights to what is routed now are known
	protocol Protocol
	last     *route
	cache    *publisherCache
	// intercepted is what the interceptors made of the message that is fed
	// again.
	intercepted *intercepted
}

type intercepted struct {
	m   *Message
	err error
}

const routeSlots = 64

type publisherCache struct {
	routes    [routeSlots]*route
	following *following // once it was needed
}

// NewPublisher returns a publisher that acts for who. It may be copied before
// its first use.
func (vh *VHost) NewPublisher(who *Principal) *Publisher {
	return &Publisher{vh: vh, who: who, protocol: ProtocolOf(&who.Identity)}
}

// NewInternalPublisher returns a publisher for the broker itself: it needs no
// rights, is held back by no alarm and may write under $SYS.
func (vh *VHost) NewInternalPublisher() *Publisher {
	return &Publisher{vh: vh, internal: true, who: NewPrincipal(Identity{VHost: vh.name, Protocol: "internal"})}
}

// VHost returns where the publisher publishes.
func (p *Publisher) VHost() *VHost { return p.vh }

// Forget gives back the memory of remembered routes, for idle connections.
func (p *Publisher) Forget() { p.last, p.cache = nil, nil }

// route validates the address, asks for the right to publish and resolves. A
// route that is marked so is good until the next call only.
func (p *Publisher) route(t *Turn, m *Message) (*route, Wait, error) {
	epoch := t.bus.rightsEpoch.Load()
	if last := p.last; last != nil && last.is(m) && last.valid(epoch) && len(m.Keys) == 0 {
		return last, nil, nil
	}
	return p.find(t, m, epoch)
}

// find is route for what is not the same as before.
func (p *Publisher) find(t *Turn, m *Message, epoch uint64) (*route, Wait, error) {
	if len(m.Keys) > 0 {
		return p.followKeys(t, m)
	}
	hash := maphash.Bytes(addressSeed, m.Topic)
	slot := &p.last
	if p.last != nil && !p.last.is(m) {
		if p.cache == nil {
			p.cache = new(publisherCache)
		}
		slot = &p.cache.routes[hash%routeSlots]
	}
	if r := *slot; r != nil && r.is(m) {
		if r.valid(epoch) {
			return r, nil, nil
		}
		if r.further.valid(epoch) {
			return p.follow(t, m, r)
		}
	}
	if w, err := p.mayPublish(t, m); w != nil || err != nil {
		return nil, w, err
	}
	r := m.Exchange.routes.get(m, hash, epoch)
	if r == nil {
		var w Wait
		if r, w = m.Exchange.resolve(t, m, epoch); w != nil {
			return nil, w, nil
		}
		m.Exchange.routes.put(r, hash)
	}
	if slot == &p.last || len(r.address) <= maxPinned {
		*slot = r
	}
	if r.further != nil {
		return p.follow(t, m, r)
	}
	return r, nil, nil
}

// mayPublish validates the address and asks for the right to publish there.
func (p *Publisher) mayPublish(t *Turn, m *Message) (Wait, error) {
	if err := p.check(m); err != nil || p.internal || p.granted {
		return nil, err
	}
	right := Right{Action: ActionPublish, Exchange: m.Exchange.name, Syntax: m.Syntax, Address: m.Topic}
	switch t.bus.may(p.who, right) {
	case denied:
		return nil, fmt.Errorf("publish to %q: %w", m.Topic, ErrNotAuthorized)
	case unknown:
		right.Address = bytes.Clone(m.Topic)
		return t.bus.askAll([]*Principal{p.who}, right), nil
	}
	return nil, nil
}

// underSys says whether an address is the broker's own.
func underSys(address []byte) bool {
	return bytes.HasPrefix(address, []byte("$SYS")) && (len(address) == 4 || address[4] == '/' || address[4] == '.')
}

// check refuses addresses that are no legal destination.
func (p *Publisher) check(m *Message) error {
	if m.Syntax == SyntaxMQTT && !topic.ValidMQTTTopic(m.Topic) {
		return fmt.Errorf("%w: topic %q", ErrBadAddress, m.Topic)
	}
	if p.internal {
		return nil
	}
	if m.Exchange.opt.Internal {
		return fmt.Errorf("publish to exchange %q, which is internal: %w", m.Exchange.name, ErrNotAuthorized)
	}
	if underSys(m.Topic) {
		return fmt.Errorf("publish to %q: %w", m.Topic, ErrNotAuthorized)
	}
	return nil
}
