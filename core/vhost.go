package core

import (
	"hash/fnv"
	"sync"
	"sync/atomic"
)

// A VHost is a namespace of exchanges, queues, sessions, retained messages and
// rights.
type VHost struct {
	bus  *Bus
	name string

	topics   *Exchange // amq.topic, where MQTT lives
	retained retainedStore
	sessions [64]sessionShard
	clients  clientList

	// named counts the exchanges that have come and gone. It is changed under mu.
	named atomic.Uint64
	gone  atomic.Pointer[Exchange] // see exchangeNamed

	mu        sync.RWMutex            // guards what follows
	exchanges map[string]*Exchange    // by name
	queues    map[string]*Queue       // named queues and groups, by name
	declared  int                     // of them that are named
	bound     map[*Queue]*bindingSet  // of named queues, without that to the default exchange
	owned     map[*Principal][]*Queue // exclusive queues
}

func newVHost(b *Bus, name string) *VHost {
	vh := &VHost{
		bus: b, name: name, queues: make(map[string]*Queue), bound: make(map[*Queue]*bindingSet),
		owned: make(map[*Principal][]*Queue), exchanges: make(map[string]*Exchange),
	}
	for _, p := range [...]struct {
		name string
		typ  ExchangeType
	}{
		{defaultExchange, Direct}, {directExchange, Direct}, {fanoutExchange, Fanout}, {topicExchange, Topic},
		{headersExchange, Headers}, {matchExchange, Headers}, {traceExchange, Topic},
	} {
		vh.exchanges[p.name] = newExchange(vh, p.name, ExchangeOptions{Type: p.typ, Durable: true, Internal: p.name == traceExchange})
	}
	vh.topics = vh.exchanges[topicExchange]
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
// keeps the name. The last such exchange is kept for the next message.
func (vh *VHost) exchangeNamed(name string) *Exchange {
	if x := vh.Exchange(name); x != nil {
		return x
	}
	x := vh.gone.Load()
	if x == nil || x.name != name {
		x = newExchange(vh, name, ExchangeOptions{Type: Fanout})
		vh.gone.Store(x)
	}
	return x
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
		q.far.wake()
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
	for _, kind := range [...]byte{keyEntry, keyFailures, keyBinding, keyInbound, keyProgress} {
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
