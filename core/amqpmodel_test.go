package core

import (
	"cmp"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/narumq/naru/core/props"
)

// The model of declared queues knows a vhost as lists of copies. Every operation
// is done on the bus and on the lists; then the bus comes to rest, and each queue
// must hold the same copies in the same order, with the same history, and have
// lent the same ones to consumers that were entitled to them.
//
// Where two copies come to one queue in one step, as dead letters of several
// queues do, their order is the engine's to choose, and the model takes it over.
type amqpModel struct {
	t       *testing.T
	r       *rand.Rand
	x       *box
	vh      *VHost
	pub     *Publisher
	queues  map[string]*amqpQueue
	x2q     map[string]map[string]bool // exchange: "key queue"
	x2x     map[string]map[string]bool // exchange: "key exchange"
	owner   *Principal
	step    int
	nextSeq int
	nextID  int
	trace   []string
	loose   bool            // more than one outcome of this step is right
	adopted int             // steps whose outcome was the engine's to choose
	died    [4]int          // by reason, for the log
	told    []*amqpConsumer // whose queue has gone in this step
	others  []*amqpConsumer // that have stopped, and have something

	mu  sync.Mutex
	log []amqpDelivery // guarded by mu: since the last step
}

// A modelDeath is an element of x-death.
type modelDeath struct {
	queue string
	why   Death
	n     int
}

// An amqpCopy is a message in a queue.
type amqpCopy struct {
	id, seq, step int
	key, exchange string
	cc            []string
	persistent    bool
	prio          int
	expires       int64
	failures      int
	size          int64
	deaths        []modelDeath // the latest first
	by            *amqpConsumer
	sent          bool // was with a consumer
	unsure        bool // whether it was
	ord           uint64
	from          *Consumer // to settle it with
}

func (c *amqpCopy) String() string {
	by := ""
	if c.by != nil {
		by = fmt.Sprintf(" with %d", c.by.no)
	}
	return fmt.Sprintf("%d p%d f%d e%d %v%s", c.id, c.prio, c.failures, c.expires, c.deaths, by)
}

type amqpQueue struct {
	m         *amqpModel
	name      string
	o         QueueOptions
	q         *Queue
	list      []*amqpCopy // in order: priority, then seq
	handing   []*amqpCopy // due to be delivered in this step
	consumers []*amqpConsumer
	active    *amqpConsumer // the first, and when it goes the one in front
	used      int64
	arrived   int           // in this step
	got       []*amqpCopy   // what a get must have brought,
	getting   *amqpConsumer // and to whom
}

// An amqpConsumer is a consumer in the model and the sink of the real one.
type amqpConsumer struct {
	no                int
	mq                *amqpQueue
	c                 *Consumer
	noAck             bool
	limit             int
	priority          int32
	out               []*amqpCopy
	exclusive, getter bool
	told              bool // guarded by m.mu: that the queue is gone
}

type amqpDelivery struct {
	to *amqpConsumer
	d  Delivery
}

func (s *amqpConsumer) Deliver(_ *Turn, d Delivery) Verdict {
	s.mq.m.mu.Lock()
	defer s.mq.m.mu.Unlock()
	d.Msg = d.Msg.keep()
	s.mq.m.log = append(s.mq.m.log, amqpDelivery{s, d})
	return Taken
}

func (s *amqpConsumer) Cancelled(*Turn, *Consumer) {
	s.mq.m.mu.Lock()
	defer s.mq.m.mu.Unlock()
	s.told = true
}

func (m *amqpModel) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func (m *amqpModel) fatalf(format string, args ...any) {
	m.t.Helper()
	from := max(0, len(m.trace)-60)
	for i, s := range m.trace[from:] {
		m.t.Logf("%4d %s", from+i, s)
	}
	for _, n := range m.names() {
		o := m.queues[n].o
		m.t.Logf("queue %s: %+v, dead letters %+v", n, o, o.DeadLetter)
	}
	m.t.Fatalf("step %d: %s", m.step, fmt.Sprintf(format, args...))
}

var modelQueues = []string{"a", "b", "c", "d", "e"}

// newAMQPModel opens a bus in the bubble of the test.
func newAMQPModel(t *testing.T, seed uint64, shards int) *amqpModel {
	m := &amqpModel{t: t, r: rand.New(rand.NewPCG(seed, uint64(shards)+77)), queues: make(map[string]*amqpQueue)}
	var s []*testShard
	for range shards {
		s = append(s, newTestShard())
	}
	m.x = openBox(t, s)
	m.x2q, m.x2x = make(map[string]map[string]bool), make(map[string]map[string]bool)
	m.vh = m.x.VHost("/")
	m.x.turn(func(tn *Turn) {
		for name, typ := range map[string]ExchangeType{"dir": Direct, "fan": Fanout, "top": Topic} {
			o := ExchangeOptions{Type: typ, Durable: true}
			if name == "dir" {
				o.Alternate = "fan"
			}
			if _, _, err := m.vh.DeclareExchange(tn, name, o); err != nil {
				t.Fatal(err)
			}
			m.x2q[name], m.x2x[name] = make(map[string]bool), make(map[string]bool)
		}
	})
	m.join()
	return m
}

// join looks things up after a start.
func (m *amqpModel) join() {
	m.vh = m.x.VHost("/")
	m.owner = NewPrincipal(Identity{VHost: "/", ClientID: "owner", Protocol: "test"})
	m.pub = m.vh.NewPublisher(NewPrincipal(Identity{VHost: "/", ClientID: "pub", Protocol: "test"}))
}

// turn is the box's, and ends in a failure too.
func (m *amqpModel) turn(f func(t *Turn)) {
	t := m.x.NewTurn()
	defer t.End()
	f(t)
}

func (m *amqpModel) now() int64 { return time.Now().UnixMilli() }

// names are the queues that there are, in order.
func (m *amqpModel) names() []string {
	var out []string
	for _, n := range modelQueues {
		if m.queues[n] != nil {
			out = append(out, n)
		}
	}
	return out
}

// route returns the queues that a message gets to.
func (m *amqpModel) route(exchange string, keys []string) []string {
	found := make(map[string]bool)
	seen := make(map[string]bool)
	var visit func(string)
	visit = func(x string) {
		if seen[x] {
			return
		}
		seen[x] = true
		any := false
		for _, key := range keys {
			if x == "" {
				if m.queues[key] != nil {
					found[key] = true
				}
				continue
			}
			for b := range m.x2q[x] {
				k, q, _ := strings.Cut(b, " ")
				if modelMatch(x, k, key) {
					any, found[q] = true, true
				}
			}
			for b := range m.x2x[x] {
				k, to, _ := strings.Cut(b, " ")
				if modelMatch(x, k, key) {
					any = true
					visit(to)
				}
			}
		}
		if !any && x == "dir" {
			visit("fan")
		}
	}
	visit(exchange)
	var out []string
	for _, n := range modelQueues {
		if found[n] {
			out = append(out, n)
		}
	}
	return out
}

// modelMatch compares keys of one or two words.
func modelMatch(x, pattern, key string) bool {
	switch x {
	case "dir":
		return pattern == key
	case "fan":
		return true
	}
	p, k := strings.Split(pattern, "."), strings.Split(key, ".")
	for i, w := range p {
		if w == "#" {
			return true // it is the last
		}
		if i >= len(k) || w != "*" && w != k[i] {
			return false
		}
	}
	return len(p) == len(k)
}

func (mq *amqpQueue) ready() (n int, size int64) {
	for _, c := range mq.list {
		if c.by == nil {
			n++
			size += c.size
		}
	}
	return n, size
}

// room is how many more the consumers of the queue take now, those that are being
// handed out counted.
func (mq *amqpQueue) room() int {
	n := -len(mq.handing)
	for _, s := range mq.consumers {
		if mq.o.SingleActive && s != mq.active {
			continue
		}
		if s.limit == 0 {
			return 1 << 20
		}
		n += max(0, s.limit-len(s.out))
	}
	return n
}

func (mq *amqpQueue) exceeded(n int, size int64) bool {
	l := mq.o.Limits
	return l.MaxLength != 0 && int64(n) > max(l.MaxLength, 0) || l.MaxBytes != 0 && size > max(l.MaxBytes, 0)
}

// full says whether one message more is too much.
func (mq *amqpQueue) full(c *amqpCopy) bool {
	n, size := mq.ready()
	if n == 0 && mq.room() > 0 && mq.o.MaxPriority == 0 {
		return false
	}
	return mq.exceeded(n+1, size+c.size)
}

// oldest is the first copy to be dropped, or nil.
func (mq *amqpQueue) oldest() *amqpCopy {
	var o *amqpCopy
	for _, c := range mq.list {
		if c.by == nil && (o == nil || c.prio < o.prio || c.prio == o.prio && c.seq < o.seq) {
			o = c
		}
	}
	return o
}

// next is the copy to be delivered next, or nil.
func (mq *amqpQueue) next() *amqpCopy {
	for _, c := range mq.list {
		if c.by == nil {
			return c
		}
	}
	return nil
}

func (mq *amqpQueue) remove(c *amqpCopy) {
	mq.list = slices.DeleteFunc(mq.list, func(o *amqpCopy) bool { return o == c })
}

func (mq *amqpQueue) sort() {
	slices.SortStableFunc(mq.list, func(a, b *amqpCopy) int {
		return cmp.Or(cmp.Compare(b.prio, a.prio), cmp.Compare(a.seq, b.seq))
	})
}

type modelDying struct {
	mq  *amqpQueue
	c   *amqpCopy
	why Death
}

// arrive puts copies into queues, and what follows from that.
func (m *amqpModel) arrive(c *amqpCopy, to []string) {
	var dying []modelDying
	m.put(c, to, &dying)
	m.bury(dying)
}

func (m *amqpModel) put(c *amqpCopy, to []string, dying *[]modelDying) {
	for _, name := range to {
		mq := m.queues[name]
		k := *c
		k.step = m.step
		m.nextSeq++
		k.seq = m.nextSeq
		k.prio = min(k.prio, int(mq.o.MaxPriority))
		if ttl := mq.o.Limits.TTL; ttl != 0 && (k.expires == 0 || k.expires > m.now()+max(ttl, 0)) {
			k.expires = m.now() + max(ttl, 0)
		}
		_, size := mq.ready()
		if mq.arrived++; mq.arrived > 1 || k.expires != 0 && k.expires <= m.now() && mq.exceeded(len(mq.list)+1, size+k.size) {
			m.loose = true // it may take the place of another before it is seen to have expired
		}
		if k.expires != 0 && k.expires <= m.now() && mq.room() > 0 {
			k.expires = 0 // it is taken at once
		}
		lanes := mq.o.MaxPriority > 0
		if mq.o.Limits.Overflow == DropHead && !lanes {
			for o := mq.oldest(); o != nil && mq.full(&k); o = mq.oldest() {
				mq.remove(o)
				*dying = append(*dying, modelDying{mq, o, DiedMaxLength})
			}
		}
		mq.list = append(mq.list, &k)
		mq.sort()
		mq.pump(dying)
		if n, size := mq.ready(); mq.o.Limits.Overflow == DropHead && lanes && mq.exceeded(n, size) {
			mq.expire(dying) // what is dead must not cost one that lives
		}
		if mq.o.Limits.Overflow == DropHead {
			for n, size := mq.ready(); n > 0 && mq.exceeded(n, size); n, size = mq.ready() {
				o := mq.oldest()
				mq.remove(o)
				*dying = append(*dying, modelDying{mq, o, DiedMaxLength})
				if next := mq.oldest(); next != nil && next.expires != 0 && next.expires <= m.now() {
					m.loose = true // it may be seen now or later that it has expired
				}
			}
		}
	}
}

// pump hands out what consumers have room for, and removes what has expired at
// the head of each priority.
func (mq *amqpQueue) pump(dying *[]modelDying) {
	now := mq.m.now()
	for {
		c := mq.next()
		if c == nil {
			return
		}
		if len(mq.consumers) > 0 && c.expires != 0 && c.expires <= now {
			mq.remove(c)
			*dying = append(*dying, modelDying{mq, c, DiedExpired})
			continue
		}
		if mq.room() <= 0 {
			break
		}
		mq.remove(c)
		mq.handing = append(mq.handing, c)
	}
	if len(mq.consumers) > 0 {
		mq.expire(dying)
	}
}

// expire removes what has expired at the head of each priority. Without consumers
// that happens from time to time.
func (mq *amqpQueue) expire(dying *[]modelDying) {
	now := mq.m.now()
	for prio := range int(mq.o.MaxPriority) + 1 {
		for {
			i := slices.IndexFunc(mq.list, func(c *amqpCopy) bool { return c.by == nil && c.prio == prio })
			if i < 0 || mq.list[i].expires == 0 || mq.list[i].expires > now {
				break
			}
			c := mq.list[i]
			mq.remove(c)
			*dying = append(*dying, modelDying{mq, c, DiedExpired})
		}
	}
}

// bury sends on what has died.
func (m *amqpModel) bury(dying []modelDying) {
	several := false
	for len(dying) > 0 {
		d := dying[0]
		several = several || len(dying) > 1
		dying = dying[1:]
		m.died[d.why]++
		dl := d.mq.o.DeadLetter
		if dl == nil {
			continue
		}
		c := d.c.died(d.mq.name, d.why)
		keys := append([]string{d.c.key}, d.c.cc...)
		if dl.HasKey {
			c.key, c.cc, keys = dl.Key, nil, []string{dl.Key}
		}
		c.exchange = dl.Exchange
		if dl.Exchange != "" && m.x2q[dl.Exchange] == nil {
			continue
		}
		to := m.route(dl.Exchange, keys)
		if d.why != DiedRejected {
			to = slices.DeleteFunc(to, func(n string) bool { return c.circles(n) })
		}
		// A queue that is full and rejects does not get it; the others do.
		to = slices.DeleteFunc(to, func(n string) bool {
			mq := m.queues[n]
			refuses := mq.o.Limits.Overflow.rejects() && mq.full(c)
			m.loose = m.loose || refuses && several // another order, and another is refused
			if refuses && mq.o.Limits.Overflow == RejectPublishDLX {
				dying = append(dying, modelDying{mq, c, DiedMaxLength})
			}
			return refuses
		})
		m.put(c, to, &dying)
	}
}

// died is a copy as it goes to the dead letter exchange.
func (c *amqpCopy) died(queue string, why Death) *amqpCopy {
	k := &amqpCopy{id: c.id, key: c.key, cc: c.cc, persistent: c.persistent, prio: c.askedPrio(), size: c.size}
	first := modelDeath{queue, why, 1}
	for _, d := range c.deaths {
		if d.queue == queue && d.why == why {
			first.n += d.n
		}
	}
	k.deaths = []modelDeath{first}
	for _, d := range c.deaths {
		if d.queue != queue || d.why != why {
			k.deaths = append(k.deaths, d)
		}
	}
	return k
}

// askedPrio is the priority that the publisher gave: it follows from the number.
func (c *amqpCopy) askedPrio() int { return c.id % 4 }

func (c *amqpCopy) circles(queue string) bool {
	for _, d := range c.deaths {
		if d.why == DiedRejected {
			return false
		}
		if d.queue == queue {
			return true
		}
	}
	return false
}

// deathsOf reads x-death.
func deathsOf(msg *Message) []modelDeath {
	var out []modelDeath
	v, _ := props.HeadersOf(msg.Props).Get(deathHeader)
	for it := v.Array().Iter(); it.Next(); {
		d := it.Value().Table()
		queue, _ := d.Get("queue")
		reason, _ := d.Get("reason")
		n, _ := d.Get("count")
		i := slices.Index([]string{"rejected", "expired", "maxlen", "delivery_limit"}, string(reason.Bytes()))
		out = append(out, modelDeath{string(queue.Bytes()), Death(i), int(n.Int64())})
	}
	return out
}

var amqpSeeds = flag.Int("amqpseeds", 30, "how many random runs the model of declared queues makes of each kind")

func TestDeclaredQueueModel(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for seed := range uint64(*amqpSeeds) {
			t.Run(fmt.Sprintf("shards=%d/seed=%d", shards, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newAMQPModel(t, seed, shards)
					for range 400 {
						m.op()
					}
					m.end()
				})
			})
		}
	}
}
