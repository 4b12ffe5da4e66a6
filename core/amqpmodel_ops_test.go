package core

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/narumq/naru/core/props"
)

// What clients do in the model of declared queues, on the bus and on the lists.

func (m *amqpModel) op() {
	m.step++
	names := m.names()
	m.loose = m.onDisk()
	var mq *amqpQueue
	if len(names) > 0 {
		mq = m.queues[names[m.r.IntN(len(names))]]
	}
	switch k := m.r.IntN(100); {
	case len(names) < 3 || k < 3:
		m.declare()
	case k < 40:
		m.publish()
	case k < 50:
		m.consume(mq)
	case k < 72:
		m.settle()
	case k < 75:
		m.leave(mq)
	case k < 80:
		m.get(mq)
	case k < 85:
		m.bind()
	case k < 90:
		m.advance(1 + m.r.IntN(12))
	case k < 92:
		m.purge(mq)
	case k < 93:
		m.drop(mq)
	case k < 94:
		m.ownerGoes()
	case k < 95:
		m.crash()
	default:
		m.publish()
	}
	m.check()
}

func (m *amqpModel) declare() {
	name := modelQueues[m.r.IntN(len(modelQueues))]
	if m.queues[name] != nil {
		return
	}
	o := QueueOptions{Durable: m.r.IntN(4) > 0, SingleActive: m.r.IntN(4) == 0}
	some := func(n int) bool { return m.r.IntN(n) == 0 }
	if some(3) {
		o.MaxPriority = uint8(1 + m.r.IntN(4))
	}
	if some(3) {
		o.Limits.TTL = int64(100*m.r.IntN(10) + 50)
		if some(5) {
			o.Limits.TTL = AtOnce
		}
	}
	if some(2) {
		o.Limits.MaxLength = int64(1 + m.r.IntN(4))
		if some(6) {
			o.Limits.MaxLength = AtOnce
		}
		o.Limits.Overflow = Overflow(m.r.IntN(3))
	}
	if some(4) {
		o.Limits.MaxBytes = int64(20 + m.r.IntN(60))
		o.Limits.Overflow = Overflow(m.r.IntN(3))
	}
	if some(4) {
		o.Expires = int64(100*(5+m.r.IntN(20)) + 50)
	}
	if m.r.IntN(3) > 0 {
		o.DeadLetter = &DeadLetter{Exchange: []string{"", "dir", "fan", "top", "gone"}[m.r.IntN(5)]}
		if o.DeadLetter.Exchange == "" || some(2) {
			o.DeadLetter.Key, o.DeadLetter.HasKey = modelQueues[m.r.IntN(len(modelQueues))], true
		}
	}
	switch m.r.IntN(5) {
	case 0:
		o.AutoDelete = true
	case 1:
		o.Owner, o.Durable = m.owner, false
	default:
		if some(2) {
			o.DeliveryLimit = int32([]int{AtOnce, 1, 2}[m.r.IntN(3)])
		}
	}
	m.note("declare %s: %+v %+v", name, o, o.DeadLetter)
	mq := &amqpQueue{m: m, name: name, o: o, used: m.now()}
	m.turn(func(t *Turn) {
		var created bool
		var err error
		if mq.q, created, err = m.vh.Declare(t, name, o); err != nil || !created {
			m.fatalf("declare %s: created %v, %v", name, created, err)
		}
	})
	m.queues[name] = mq
}

// amqpKeys are the routing keys: some are names of queues.
var amqpKeys = []string{"a", "b", "c", "d", "e", "k.l", "k.m", "n"}

func (m *amqpModel) key() string {
	if names := m.names(); m.r.IntN(3) > 0 && len(names) > 0 {
		return names[m.r.IntN(len(names))]
	}
	return amqpKeys[m.r.IntN(len(amqpKeys))]
}

func (m *amqpModel) publish() {
	m.nextID++
	c := &amqpCopy{id: m.nextID, key: m.key(), persistent: m.r.IntN(3) > 0}
	c.exchange = []string{"", "", "", "dir", "fan", "top"}[m.r.IntN(6)]
	c.prio = c.askedPrio()
	if m.r.IntN(8) == 0 {
		c.cc = []string{m.key()}
	}
	if m.r.IntN(8) == 0 {
		c.expires = m.now() + int64(100*m.r.IntN(8)+50)
	} else if m.r.IntN(20) == 0 {
		c.expires = m.now()
	}
	payload := fmt.Appendf(nil, "%-*d", 5+m.r.IntN(20), c.id)
	c.size = int64(len(payload))
	to := m.route(c.exchange, append([]string{c.key}, c.cc...))
	var refusing []string
	for _, n := range to {
		if mq := m.queues[n]; mq.o.Limits.Overflow.rejects() && mq.full(c) {
			refusing = append(refusing, n)
		}
	}
	m.note("publish %d to %q %q %v, %d bytes, persistent %v, priority %d, expires %d: to %v, refused by %v",
		c.id, c.exchange, c.key, c.cc, c.size, c.persistent, c.prio, c.expires, to, refusing)
	var err error
	m.turn(func(t *Turn) {
		msg := t.Message()
		msg.Exchange, msg.Topic, msg.Syntax, msg.Payload = m.vh.Exchange(c.exchange), []byte(c.key), SyntaxAMQP, payload
		msg.Persistent, msg.Priority, msg.Expires = c.persistent, uint8(c.prio), c.expires
		if c.persistent {
			msg.QoS = AtLeastOnce
		}
		p := props.Properties{Has: props.HasDeliveryMode | props.HasPriority, DeliveryMode: 1, Priority: msg.Priority}
		if c.persistent {
			p.DeliveryMode = 2
		}
		if c.cc != nil {
			var list props.Array
			for _, k := range c.cc {
				msg.Keys = append(msg.Keys, []byte(k))
				list = props.PushStr(list, k)
			}
			p.Has, p.Headers = p.Has|props.HasHeaders, props.AddArray(nil, "CC", list)
		}
		msg.Props = props.AppendProperties(nil, &p)
		var wait Wait
		if wait, err = m.pub.Publish(t, msg); wait != nil {
			m.fatalf("publish waits")
		}
		clear(payload) // as the next read overwrites the buffer
	})
	if len(refusing) == 0 {
		if err != nil {
			m.fatalf("publish %d: %v", c.id, err)
		}
		m.arrive(c, to)
		return
	}
	if !errors.Is(err, ErrQuota) {
		m.fatalf("publish %d: %v, but %v are full", c.id, err, refusing)
	}
	var dying []modelDying
	for _, n := range refusing {
		if mq := m.queues[n]; mq.o.Limits.Overflow == RejectPublishDLX {
			k := *c
			dying = append(dying, modelDying{mq, &k, DiedMaxLength})
		}
	}
	m.bury(dying)
}

func (m *amqpModel) consume(mq *amqpQueue) {
	if len(mq.consumers) >= 3 {
		return
	}
	s := &amqpConsumer{mq: mq, noAck: m.r.IntN(5) == 0, limit: 1 + m.r.IntN(4), priority: int32(m.r.IntN(3) - 1)}
	m.nextSeq++
	s.no = m.nextSeq
	opt := ConsumerOptions{Identity: m.owner, QoS: AtLeastOnce, Limit: int32(s.limit), Priority: s.priority, Exclusive: m.r.IntN(12) == 0}
	if s.noAck || m.r.IntN(5) == 0 {
		opt.Limit, s.limit = 0, 0
	}
	if s.noAck {
		opt.QoS = AtMostOnce
	}
	refused := opt.Exclusive && (len(mq.consumers) > 0 || mq.o.SingleActive) ||
		slices.ContainsFunc(mq.consumers, func(o *amqpConsumer) bool { return o.exclusive })
	s.exclusive = opt.Exclusive
	m.note("%s: consume by %d: limit %d, noAck %v, priority %d, exclusive %v", mq.name, s.no, s.limit, s.noAck, s.priority, opt.Exclusive)
	m.turn(func(t *Turn) {
		var err error
		if s.c, err = mq.q.Consume(t, s, opt); refused != errors.Is(err, ErrInUse) || !refused && err != nil {
			m.fatalf("consume says %v, refused should be %v", err, refused)
		}
	})
	if refused {
		return
	}
	at := len(mq.consumers)
	for at > 0 && mq.consumers[at-1].priority < s.priority {
		at--
	}
	mq.consumers = slices.Insert(mq.consumers, at, s)
	if mq.active == nil {
		mq.active = s
	}
	m.pumped(mq)
}

func (m *amqpModel) pumped(mq *amqpQueue) {
	var dying []modelDying
	mq.pump(&dying)
	m.bury(dying)
}

// holders are the consumers that have something.
func (m *amqpModel) holders() []*amqpConsumer {
	var out []*amqpConsumer
	for _, n := range m.names() {
		for _, s := range m.queues[n].consumers {
			if len(s.out) > 0 {
				out = append(out, s)
			}
		}
	}
	for _, s := range m.others {
		if len(s.out) > 0 {
			out = append(out, s)
		}
	}
	return out
}

// settle settles one or several deliveries of a consumer in one turn.
func (m *amqpModel) settle() {
	hs := m.holders()
	if len(hs) == 0 {
		return
	}
	s := hs[m.r.IntN(len(hs))]
	n := 1
	if m.r.IntN(3) == 0 {
		n = 1 + m.r.IntN(len(s.out))
	}
	at := m.r.IntN(len(s.out) - n + 1)
	list := slices.Clone(s.out[at : at+n])
	o := []Outcome{Accepted, Accepted, Rejected, Released, Failed}[m.r.IntN(5)]
	gone := m.queues[s.mq.name] != s.mq
	var ids []int
	for _, c := range list {
		ids = append(ids, c.id)
	}
	m.note("%s: consumer %d settles %v with %d", s.mq.name, s.no, ids, o)
	if s.mq.o.MaxPriority > 0 && (o == Rejected || o == Failed) || n > 1 {
		m.loose = true // what follows each is done together
	}
	var dying []modelDying
	m.turn(func(t *Turn) {
		for _, c := range list {
			st := c.from.Settle(t, c.ord, AtLeastOnce, o)
			if gone && st != NotFound || !gone && st != Done {
				m.fatalf("settle of %d says %d, the queue is gone: %v", c.id, st, gone)
			}
			if o == Released || o == Failed {
				continue // it may have come again
			}
			if again := c.from.Settle(t, c.ord, AtLeastOnce, Accepted); again != NotFound {
				m.fatalf("settled again: %d", again)
			}
		}
	})
	for _, c := range list {
		s.out = slices.DeleteFunc(s.out, func(k *amqpCopy) bool { return k == c })
		if gone {
			continue
		}
		c.by = nil
		switch {
		case o == Failed && s.mq.failed(c):
			s.mq.remove(c)
			dying = append(dying, modelDying{s.mq, c, DiedDeliveryLimit})
		case o == Accepted:
			s.mq.remove(c)
		case o == Rejected:
			s.mq.remove(c)
			dying = append(dying, modelDying{s.mq, c, DiedRejected})
		}
		s.mq.pump(&dying)
		if len(s.mq.consumers) == 0 {
			before := len(dying)
			s.mq.expire(&dying)
			m.loose = m.loose || s.mq.o.MaxPriority > 0 && len(dying) > before // of other priorities, in a moment
		}
	}
	m.bury(dying)
}

// failed counts, and says whether that was one too many.
func (mq *amqpQueue) failed(c *amqpCopy) bool {
	c.failures++
	return mq.o.DeliveryLimit != 0 && c.failures > int(max(mq.o.DeliveryLimit, 0))
}

// leave stops or cancels a consumer.
func (m *amqpModel) leave(mq *amqpQueue) {
	if len(mq.consumers) == 0 {
		return
	}
	s := mq.consumers[m.r.IntN(len(mq.consumers))]
	stop := m.r.IntN(2) == 0
	m.note("%s: consumer %d leaves, stop %v", mq.name, s.no, stop)
	if stop {
		m.others = append(m.others, s)
		m.turn(func(t *Turn) { s.c.Stop(t) })
	} else {
		m.turn(func(t *Turn) { s.c.Cancel(t) })
	}
	mq.consumers = slices.DeleteFunc(mq.consumers, func(o *amqpConsumer) bool { return o == s })
	if mq.active == s {
		if mq.active = nil; len(mq.consumers) > 0 {
			mq.active = mq.consumers[0]
		}
	}
	var dying []modelDying
	if !stop {
		m.back(s, &dying)
	}
	if len(mq.consumers) == 0 {
		mq.used = m.now()
		if mq.o.AutoDelete {
			m.loose = true // whether what it gives back expires before the queue goes
			m.forget(mq)
			return
		}
		if !stop {
			mq.expire(&dying)
		}
	}
	mq.pump(&dying)
	if len(dying) > 1 {
		m.loose = true
	}
	m.bury(dying)
}

// back returns what a consumer has to its place.
func (m *amqpModel) back(s *amqpConsumer, dying *[]modelDying) {
	for _, c := range s.out {
		c.by = nil
		if s.mq.failed(c) {
			s.mq.remove(c)
			*dying = append(*dying, modelDying{s.mq, c, DiedDeliveryLimit})
		}
	}
	s.out = nil
}

func (m *amqpModel) get(mq *amqpQueue) {
	s := &amqpConsumer{mq: mq, noAck: m.r.IntN(2) == 0, getter: true}
	m.nextSeq++
	s.no = m.nextSeq
	opt := ConsumerOptions{Identity: m.owner, QoS: AtLeastOnce}
	if s.noAck {
		opt.QoS = AtMostOnce
	}
	s.c = mq.q.Getter(s, opt)
	m.note("%s: get by %d, noAck %v", mq.name, s.no, s.noAck)
	var got bool
	if err := m.x.retry(func(t *Turn) (w Wait, err error) {
		got, w = s.c.Get(t)
		return w, nil
	}); err != nil {
		m.fatalf("get: %v", err)
	}
	mq.used = m.now()
	var dying []modelDying
	mq.expire(&dying)
	if mq.o.MaxPriority > 0 && len(dying) > 0 {
		m.loose = true // of lower priorities nobody has looked
	}
	c := mq.next()
	if got != (c != nil) && m.loose {
		m.others = append(m.others, s)
		return
	}
	if got != (c != nil) {
		m.fatalf("%s: get says %v, next is %v", mq.name, got, c)
	}
	m.others = append(m.others, s)
	if c != nil {
		mq.remove(c)
		mq.got = append(mq.got, c)
		mq.getting = s
		mq.expire(&dying)
	}
	m.bury(dying)
}

func (m *amqpModel) bind() {
	from := []string{"dir", "fan", "top"}[m.r.IntN(3)]
	key := m.key()
	if from == "top" {
		key = []string{"#", "k.*", "k.#", "*", "a", "k.m"}[m.r.IntN(6)]
	}
	add := m.r.IntN(3) > 0
	b := BindingSpec{Source: m.vh.Exchange(from), Key: key, Syntax: SyntaxAMQP}
	set, to := m.x2q[from], ""
	if names := m.names(); m.r.IntN(4) > 0 {
		to = names[m.r.IntN(len(names))]
		b.Queue = m.queues[to].q
	} else {
		to = []string{"dir", "fan", "top"}[m.r.IntN(3)]
		b.Exchange, set = m.vh.Exchange(to), m.x2x[from]
	}
	m.note("bind %v: %s %s %s", add, from, key, to)
	m.turn(func(t *Turn) {
		var err error
		if add {
			err = m.vh.Bind(t, b)
		} else {
			err = m.vh.Unbind(t, b)
		}
		if err != nil {
			m.fatalf("bind: %v", err)
		}
	})
	if add {
		set[key+" "+to] = true
	} else {
		delete(set, key+" "+to)
	}
}

// advance lets time pass, and looks after each tick of the bus.
func (m *amqpModel) advance(ticks int) {
	m.note("%d ticks", ticks)
	for range ticks - 1 {
		m.tick()
		m.check()
		m.step++
		m.loose = m.onDisk()
	}
	m.tick()
}

func (m *amqpModel) tick() {
	time.Sleep(100 * time.Millisecond) // by the clock of the bubble
	var dying []modelDying
	for _, n := range m.names() {
		m.queues[n].expire(&dying)
	}
	m.bury(dying)
	for _, n := range m.names() {
		mq := m.queues[n]
		if mq.o.Expires > 0 && len(mq.consumers) == 0 && m.now() >= mq.used+mq.o.Expires {
			m.note("%s is unused", n)
			m.loose = m.loose || len(dying) > 0 // which of the two came first
			m.forget(mq)
		}
	}
}

func (m *amqpModel) purge(mq *amqpQueue) {
	n, _ := mq.ready()
	m.note("%s: purge of %d", mq.name, n)
	got, err := m.x.Purge(m.t.Context(), mq.q)
	if err != nil || got != int64(n) {
		m.fatalf("%s: purge says %d, %v; want %d", mq.name, got, err, n)
	}
	mq.list = slices.DeleteFunc(mq.list, func(c *amqpCopy) bool { return c.by == nil })
}

func (m *amqpModel) drop(mq *amqpQueue) {
	unused, empty := m.r.IntN(2) == 0, m.r.IntN(2) == 0
	n, _ := mq.ready()
	var want error
	switch {
	case unused && len(mq.consumers) > 0:
		want = ErrInUse
	case empty && n > 0:
		want = ErrNotEmpty
	}
	m.note("%s: delete, if unused %v, if empty %v", mq.name, unused, empty)
	m.turn(func(t *Turn) {
		ready, err := m.vh.Drop(t, mq.q, unused, empty)
		if !errors.Is(err, want) || want == nil && (err != nil || ready != int64(n)) {
			m.fatalf("%s: drop says %d, %v; want %d, %v", mq.name, ready, err, n, want)
		}
	})
	if want == nil {
		m.forget(mq)
	}
}

// forget removes a queue with its bindings.
func (m *amqpModel) forget(mq *amqpQueue) {
	delete(m.queues, mq.name)
	for _, set := range m.x2q {
		for b := range set {
			if len(b) > len(mq.name) && b[len(b)-len(mq.name)-1:] == " "+mq.name {
				delete(set, b)
			}
		}
	}
	m.others = append(m.others, mq.consumers...) // what they have they may settle, in vain
	m.told = append(m.told, mq.consumers...)
}

func (m *amqpModel) ownerGoes() {
	m.note("the owner goes")
	m.turn(func(t *Turn) { m.vh.DeleteOwned(t, m.owner) })
	for _, n := range m.names() {
		if mq := m.queues[n]; mq.o.Owner == m.owner {
			m.forget(mq)
		}
	}
}

// crash goes on with what is on disk.
func (m *amqpModel) crash() {
	m.note("crash")
	old := m.x
	var shards []*testShard
	for _, s := range old.shards {
		shards = append(shards, s.fork())
	}
	old.stop()
	m.x = openBox(m.t, shards)
	m.join()
	for _, n := range m.names() {
		mq := m.queues[n]
		if !mq.o.Durable {
			m.forget(mq)
			continue
		}
		mq.q = m.vh.Queue(n)
		if mq.q == nil {
			m.fatalf("queue %s is lost", n)
		}
		mq.consumers, mq.active, mq.used = nil, nil, m.now()
		mq.list = slices.DeleteFunc(mq.list, func(c *amqpCopy) bool { return !c.persistent })
		for _, c := range mq.list {
			c.by, c.unsure = nil, true
			if mq.o.DeliveryLimit == 0 {
				c.failures = 0 // nobody counts
			}
			n, size := mq.ready()
			m.loose = m.loose || mq.exceeded(n, size) || c.expires != 0 && c.expires <= m.now() // now, or in a moment
		}
	}
	m.others, m.told = nil, nil
	for _, n := range modelQueues {
		if m.queues[n] == nil && m.vh.Queue(n) != nil {
			m.fatalf("queue %s is there again", n)
		}
	}
}

// onDisk says whether queues are still to read what a crash has left: what drops
// or is handed out meanwhile depends on how far they are.
func (m *amqpModel) onDisk() bool {
	for _, n := range m.names() {
		there := false
		m.queues[n].q.eachLane(func(lane *Queue) bool {
			lane.mu.Lock()
			defer lane.mu.Unlock()
			there = there || lane.far.gap.n > 0
			return true
		})
		if there {
			return true
		}
	}
	return false
}
