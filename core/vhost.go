package core

import (
	"fmt"
	"hash/fnv"
	"slices"
	"sync"
)

// A VHost is a namespace of exchanges, queues, sessions, retained messages and
// rights.
type VHost struct {
	bus  *Bus
	name string

	topics   *Exchange // amq.topic, where MQTT lives
	retained retainedStore
	sessions [64]sessionShard

	mu        sync.RWMutex            // guards what follows
	exchanges map[string]*Exchange    // by name
	queues    map[string]*Queue       // named queues and groups, by name
	bound     map[*Queue][]binding    // of named queues, without that to the default exchange
	owned     map[*Principal][]*Queue // exclusive queues
}

// A binding leads from an exchange to a queue.
type binding struct {
	exchange, key string
	syntax        Syntax
}

func newVHost(b *Bus, name string) *VHost {
	vh := &VHost{bus: b, name: name, queues: make(map[string]*Queue), bound: make(map[*Queue][]binding), owned: make(map[*Principal][]*Queue)}
	vh.topics = newExchange(vh, topicExchange, Topic)
	vh.exchanges = map[string]*Exchange{
		defaultExchange: newExchange(vh, defaultExchange, Direct),
		directExchange:  newExchange(vh, directExchange, Direct),
		fanoutExchange:  newExchange(vh, fanoutExchange, Fanout),
		topicExchange:   vh.topics,
	}
	vh.retained.vh = vh
	for i := range vh.sessions {
		vh.sessions[i].m = make(map[string]*Session)
	}
	return vh
}

// Name returns the name of the vhost.
func (vh *VHost) Name() string { return vh.name }

// Topics returns amq.topic.
func (vh *VHost) Topics() *Exchange { return vh.topics }

// Exchange returns the exchange of this name, or nil.
func (vh *VHost) Exchange(name string) *Exchange {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return vh.exchanges[name]
}

// exchangeNamed is for messages read from disk: one whose exchange is gone
// keeps the name.
func (vh *VHost) exchangeNamed(name string) *Exchange {
	if x := vh.Exchange(name); x != nil {
		return x
	}
	return &Exchange{vh: vh, name: name, typ: Fanout}
}

// Queue returns the declared queue or group of this name, or nil.
func (vh *VHost) Queue(name string) *Queue {
	vh.mu.RLock()
	defer vh.mu.RUnlock()
	return vh.queues[name]
}

func (vh *VHost) sessionShard(clientID string) *sessionShard {
	h := hashLevels(clientID).whole
	return &vh.sessions[h%uint32(len(vh.sessions))]
}

// Session returns the session of a client id, or nil.
func (vh *VHost) Session(clientID string) *Session {
	reg := vh.sessionShard(clientID)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	return reg.m[clientID]
}

// initQueue sets up a new queue and its place in the store.
func (vh *VHost) initQueue(q *Queue, kind QueueKind, name string, durable bool) {
	q.vh, q.kind, q.name, q.durable = vh, kind, name, durable
	q.far, q.disk = noFar, noDisk
	q.id = vh.bus.newID()
	q.sh = vh.bus.shardOf([...]string{"s", "q", "g"}[kind], vh.name, name)
	q.diskless.Store(!durable)
	q.rights.epoch = vh.bus.rightsEpoch.Load()
}

// BindQueue binds a declared queue to an exchange. Errors: ErrNotFound,
// ErrBadAddress.
func (vh *VHost) BindQueue(t *Turn, q *Queue, exchange, key string, syn Syntax) error {
	x := vh.Exchange(exchange)
	if x == nil {
		return fmt.Errorf("exchange %q: %w", exchange, ErrNotFound)
	}
	if exchange == defaultExchange {
		return fmt.Errorf("%w: the default exchange binds queues by their names", ErrBadAddress)
	}
	if err := x.validPattern(syn, key); err != nil {
		return err
	}
	if !vh.bindQueue(x, q, binding{exchange, key, syn}) {
		return fmt.Errorf("queue %q: %w", q.name, ErrNotFound)
	}
	if !q.diskless.Load() {
		t.scratch = (&bindingRecord{syntax: syn, qos: ExactlyOnce}).append(t.scratch[:0])
		t.promise(q.sh).batch.Set(bindingKey(q.id, exchange, syn, key), t.scratch)
	}
	return nil
}

// bindQueue binds a queue, unless it was a named one that has been deleted.
func (vh *VHost) bindQueue(x *Exchange, q *Queue, b binding) bool {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if q.kind == KindNamed && vh.queues[q.name] != q {
		return false
	}
	x.bind(q, b.syntax, b.key, ExactlyOnce)
	if q.kind == KindNamed && !slices.Contains(vh.bound[q], b) {
		vh.bound[q] = append(vh.bound[q], b)
	}
	return true
}

// destroy empties the queue and removes it from memory and disk. Who refers to
// it has let go.
func (q *Queue) destroy(t *Turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return
	}
	q.deleted = true
	if q.far != noFar {
		q.far.generation++
	}
	var p *part
	if q.durable || q.spilled {
		p = t.promise(q.sh)
	}
	for _, r := range q.rings() {
		for i := 0; i < r.n; i++ {
			e := r.at(i)
			if e.msg == nil {
				continue
			}
			if e.flags&flagBody != 0 {
				e.msg.bodyOn(q.sh).unref(p)
			}
			e.msg.drop(t.bus)
			e.msg = nil
		}
		r.truncate(0)
	}
	q.sh.bodies.orphaned.Add(q.far.gap.n)
	q.count, q.bytes, q.unsettled = 0, 0, 0
	if q.far != noFar {
		q.far.gap, q.far.back = gap{}, nil
	}
	for _, c := range q.consumers {
		c.gone = true
		if told, ok := c.sink.(CancelledSink); ok && (c.credit == nil || c.credit.root == c) {
			t.Do(func(t *Turn) { told.Cancelled(t, c) })
		}
	}
	q.consumers = nil
	q.named.stop(t)
	if p == nil {
		return
	}
	q.diskless.Store(true) // no batch after this one writes the counters
	p.batch.Delete(queueKey(q.id))
	p.batch.Delete(counterKey(q.id))
	for _, kind := range [...]byte{keyEntry, keyBinding, keyInbound, keyProgress} {
		p.batch.DeleteRange(queueRange(kind, q.id))
	}
}

// shardOf says which shard a thing belongs to. The hash is part of the format
// of the store: FNV-1a, 64 bits, over kind, vhost and name with a zero between.
func (b *Bus) shardOf(kind, vhost, name string) *shard {
	if len(b.shards) == 1 {
		return b.shards[0]
	}
	h := fnv.New64a()
	for i, s := range [...]string{kind, vhost, name} {
		if i > 0 {
			h.Write([]byte{0})
		}
		h.Write([]byte(s))
	}
	return b.shards[h.Sum64()%uint64(len(b.shards))]
}
