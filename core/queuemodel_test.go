package core

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// The model knows one queue as a plain list. Every operation is done on the
// bus and on the list; then the bus is left to come to rest, what it has
// delivered meanwhile is taken from the list in order, and the two are compared,
// in memory and on disk.

type modelEntry struct {
	id       int
	payload  []byte
	ord      uint64
	known    bool // ord has been seen
	durable  bool
	pending  bool // its shard held the commit back
	sent     bool // was with a consumer: the next delivery says so
	received bool
	// void: received in a named queue by a consumer that a crash has ended.
	// Nobody completes it, and the queue forgets it when it reads the record.
	void bool
	qos  QoS
	by   *modelSink
}

// size is what the entry counts for in the queue's bytes.
func (e *modelEntry) size() int64 {
	if e.received {
		return 0
	}
	return int64(len(e.payload))
}

type modelSink struct {
	q     *modelQueue
	c     *Consumer
	limit int32
	room  bool // guarded by q.mu
	out   []*modelEntry
}

type modelDelivery struct {
	to *modelSink
	d  Delivery
}

func (s *modelSink) Deliver(_ *Turn, d Delivery) Verdict {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	if !s.room {
		return Refused
	}
	if d.Msg != nil {
		d.Msg = d.Msg.keep()
	}
	s.q.log = append(s.q.log, modelDelivery{s, d})
	return Taken
}

type modelQueue struct {
	m       *model
	name    string
	session bool
	q       *Queue
	list    []*modelEntry // in order
	sinks   []*modelSink
	lastOrd uint64
	disk    [][]modelEntry // see model.disk

	mu  sync.Mutex
	log []modelDelivery // guarded by mu
}

type model struct {
	t      *testing.T
	r      *rand.Rand
	x      *box
	pub    *Publisher
	queues []*modelQueue
	held   []bool // by shard
	// disk tells, for a shard that holds commits back, how many there were after
	// each step since. What a crash leaves is the list as it was after one of
	// those steps: modelQueue.disk.
	disk   [][]int
	nextID int
	trace  []string
	burst  int // messages published in one turn, at most
	config func(*Options)
}

func (m *model) fatalf(format string, args ...any) {
	m.t.Helper()
	from := max(0, len(m.trace)-40)
	for i, s := range m.trace[from:] {
		m.t.Logf("%4d %s", from+i, s)
	}
	m.t.Fatalf(format, args...)
}

func (m *model) note(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func newModel(t *testing.T, seed uint64, shards int, budget int64) *model {
	m := &model{t: t, r: rand.New(rand.NewPCG(seed, uint64(shards))), held: make([]bool, shards)}
	m.disk = make([][]int, shards)
	m.burst = []int{20, 2, 60}[seed%3]
	m.config = func(o *Options) { o.QueueMemory = budget }
	var s []*testShard
	for range shards {
		s = append(s, newTestShard())
	}
	m.x = openBox(t, s, m.config)
	vh := m.x.VHost("/")
	m.x.turn(func(t *Turn) {
		for _, name := range []string{"one", "two", "three"} {
			q, err := vh.DeclareQueue(t, name, QueueOptions{Durable: true})
			if err == nil {
				err = vh.BindQueue(t, q, fanoutExchange, "", SyntaxAMQP)
			}
			if err != nil {
				m.t.Fatal(err)
			}
			m.queues = append(m.queues, &modelQueue{m: m, name: name})
		}
		for _, id := range []string{"sa", "sb"} {
			who := NewPrincipal(Identity{VHost: "/", ClientID: id, Protocol: "test", Anonymous: true})
			se, _, _, err := vh.OpenSession(t, SessionRequest{Principal: who, ClientID: id, Owner: &client{}})
			if err != nil {
				m.t.Fatal(err)
			}
			if err := vh.BindQueue(t, &se.queue, fanoutExchange, "", SyntaxAMQP); err != nil {
				m.t.Fatal(err)
			}
			m.queues = append(m.queues, &modelQueue{m: m, name: id, session: true})
		}
	})
	m.x.settle()
	m.find()
	return m
}

// find looks the queues up after a start. A binding of a session to the fanout
// exchange is not made by any protocol, so recovery does not know it.
func (m *model) find() {
	vh := m.x.VHost("/")
	m.pub = vh.NewPublisher(NewPrincipal(Identity{VHost: "/", ClientID: "pub", Protocol: "test"}))
	for _, mq := range m.queues {
		if mq.session {
			mq.q = vh.Session(mq.name).Queue()
		} else {
			mq.q = vh.Queue(mq.name)
		}
	}
}

func (mq *modelQueue) held() bool { return mq.m.held[mq.q.sh.index] }

// step lets the bus come to rest and compares.
func (m *model) step() {
	m.t.Helper()
	m.x.rest(m.held)
	for _, mq := range m.queues {
		mq.absorb()
		mq.compare()
	}
	m.compareMemory()
	m.snapshot()
}

// snapshot notes what a crash would leave if it found the commits on disk that
// wait now.
func (m *model) snapshot() {
	for i, h := range m.held {
		if h {
			m.disk[i] = append(m.disk[i], m.x.shards[i].waiting())
		}
	}
	for _, mq := range m.queues {
		if mq.held() {
			var list []modelEntry
			for _, e := range mq.list {
				list = append(list, *e)
			}
			mq.disk = append(mq.disk, list)
		}
	}
}

// next is the entry that a consumer with credit must get now.
func (mq *modelQueue) next() *modelEntry {
	for _, e := range mq.list {
		if e.pending {
			return nil // nothing passes one that is not on disk
		}
		if e.by == nil && !e.void {
			return e
		}
	}
	return nil
}

// absorb takes from the list what the bus has delivered.
func (mq *modelQueue) absorb() {
	m := mq.m
	m.t.Helper()
	mq.mu.Lock()
	log := mq.log
	mq.log = nil
	mq.mu.Unlock()
	for _, l := range log {
		e := mq.next()
		d := l.d
		switch {
		case e == nil:
			m.fatalf("%s: delivered ordinal %d (%.20q), nothing was due", mq.name, d.Ordinal, payloadOf(d))
		case d.Released != e.received:
			m.fatalf("%s: message %d (ordinal %d, received is %v) was due, delivered is ordinal %d %.20q, released is %v",
				mq.name, e.id, e.ord, e.received, d.Ordinal, payloadOf(d), d.Released)
		case !e.received && !bytes.Equal(d.Msg.Payload, e.payload):
			m.fatalf("%s: delivered %.20q of %d bytes (ordinal %d), message %d of %d bytes was due",
				mq.name, d.Msg.Payload, len(d.Msg.Payload), d.Ordinal, e.id, len(e.payload))
		case d.Redelivered != e.sent:
			m.fatalf("%s: message %d: redelivered is %v, want %v", mq.name, e.id, d.Redelivered, e.sent)
		case e.known && d.Ordinal != e.ord:
			m.fatalf("%s: message %d had ordinal %d, now %d", mq.name, e.id, e.ord, d.Ordinal)
		case !e.known && !e.sent && d.Ordinal < mq.lastOrd:
			m.fatalf("%s: message %d has ordinal %d, after %d", mq.name, e.id, d.Ordinal, mq.lastOrd)
		case l.to.limit > 0 && len(l.to.out) >= int(l.to.limit):
			m.fatalf("%s: a consumer got more than its limit of %d", mq.name, l.to.limit)
		case d.QoS != e.qos:
			m.fatalf("%s: message %d delivered at QoS %d, want %d", mq.name, e.id, d.QoS, e.qos)
		}
		e.ord, e.known, e.sent, e.by = d.Ordinal, true, true, l.to
		mq.lastOrd = max(mq.lastOrd, d.Ordinal)
		l.to.out = append(l.to.out, e)
	}
	if e := mq.next(); e != nil {
		for _, s := range mq.sinks {
			if s.room && (s.limit == 0 || len(s.out) < int(s.limit)) {
				m.fatalf("%s: message %d waits and a consumer has credit: %+v", mq.name, e.id, mq.q.Info())
			}
		}
	}
}

func payloadOf(d Delivery) []byte {
	if d.Msg == nil {
		return nil
	}
	return d.Msg.Payload
}

// compare looks at the counts in memory and, unless commits are held back, at
// the records.
func (mq *modelQueue) compare() {
	m := mq.m
	m.t.Helper()
	var count, unsettled, size, durable, durableBytes, void int64
	for _, e := range mq.list {
		if e.void {
			void++
			continue
		}
		count++
		size += e.size()
		if e.by != nil {
			unsettled++
		}
		if e.durable {
			durable++
			durableBytes += e.size()
		}
	}
	info := mq.q.Info()
	if void > 0 { // forgotten, or still to be
		void = min(max(info.Ready-(count-unsettled), 0), void)
		durable += void
	}
	if info.Ready != count-unsettled+void || info.Unsettled != unsettled || info.Bytes != size {
		m.fatalf("%s: ready %d unsettled %d bytes %d, want %d, %d and %d",
			mq.name, info.Ready, info.Unsettled, info.Bytes, count-unsettled+void, unsettled, size)
	}
	if problem := mq.q.inconsistent(); problem != "" {
		m.fatalf("%s: %s", mq.name, problem)
	}
	if mq.held() {
		return
	}
	var c counters
	_, err := mq.q.sh.store.Get(counterKey(mq.q.id), func(v []byte) {
		var bad error
		if c, bad = decodeCounters(v); bad != nil {
			m.fatalf("%s: %v", mq.name, bad)
		}
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if c.count != durable || c.bytes != durableBytes {
		m.fatalf("%s: the record says %d messages of %d bytes, want %d of %d", mq.name, c.count, c.bytes, durable, durableBytes)
	}
	records := int64(0)
	err = mq.q.sh.store.Scan(entryKey(mq.q.id, c.head), entryKey(mq.q.id, c.next), func(_, v []byte) bool {
		if v[1]&(1<<2) != 0 {
			records++
		}
		return true
	})
	if err != nil {
		m.t.Fatal(err)
	}
	if records != durable {
		m.fatalf("%s: %d durable records from %d to %d, want %d", mq.name, records, c.head, c.next, durable)
	}
}

func (m *model) compareMemory() {
	m.t.Helper()
	if want, got := m.x.heldBytes(), m.x.memory.Load(); want != got {
		// Housekeeping may be trimming at this very moment.
		m.x.rest(m.held)
		if want, got = m.x.heldBytes(), m.x.memory.Load(); want != got {
			m.fatalf("queues hold %d bytes, the budget counts %d", want, got)
		}
	}
}

// hold has one shard keep commits back, or let them go.
func (m *model) hold(i int) {
	m.held[i] = !m.held[i]
	m.note("shard %d: hold %v", i, m.held[i])
	m.disk[i] = nil
	for _, mq := range m.queues {
		if mq.q.sh.index == i {
			mq.disk = nil
			for _, e := range mq.list {
				e.pending = false
			}
		}
	}
	m.x.shards[i].hold(m.held[i])
}

// crash goes on with what is on disk.
func (m *model) crash() {
	old := m.x
	at := make([]int, len(m.held))
	var shards []*testShard
	for i, s := range old.shards {
		if !m.held[i] {
			shards = append(shards, s.fork())
			continue
		}
		at[i] = m.r.IntN(len(m.disk[i]))
		shards = append(shards, s.forkAt(m.disk[i][at[i]]))
		m.note("shard %d: crash with %d of %d commits", i, m.disk[i][at[i]], s.waiting())
	}
	m.note("crash")
	m.x = openBox(m.t, shards, m.config)
	old.stop()
	for _, mq := range m.queues {
		if mq.held() {
			mq.list = nil
			for _, e := range mq.disk[at[mq.q.sh.index]] {
				mq.list = append(mq.list, &e)
			}
		}
		mq.disk, mq.sinks, mq.log, mq.lastOrd = nil, nil, nil, 0
		mq.list = slices.DeleteFunc(mq.list, func(e *modelEntry) bool { return !e.durable })
		for _, e := range mq.list {
			e.void = e.received && !mq.session
			e.by, e.pending, e.sent = nil, false, true // nobody knows what was sent
		}
	}
	clear(m.held)
	m.find()
	for _, mq := range m.queues {
		if mq.session {
			m.pub.vh.Exchange(fanoutExchange).bind(mq.q, SyntaxAMQP, "", ExactlyOnce)
		}
	}
}

func (m *model) op() {
	mq := m.queues[m.r.IntN(len(m.queues))]
	var s *modelSink
	if len(mq.sinks) > 0 {
		s = mq.sinks[m.r.IntN(len(mq.sinks))]
	}
	switch k := m.r.IntN(100); {
	case k < 20:
		m.publish()
	case k < 30:
		if len(mq.sinks) == 0 || !mq.session && len(mq.sinks) < 3 {
			mq.consume()
		}
	case k < 70:
		if s != nil && len(s.out) > 0 {
			mq.settle(s)
		}
	case k < 85:
		if s != nil && len(s.out) > 0 {
			mq.settleAll(s)
		}
	case k < 89:
		if s != nil && len(s.out) > 0 {
			mq.settleWrong(s)
		}
	case k < 92:
		if s != nil {
			mq.cancel(s)
		}
	case k < 95:
		if s != nil {
			mq.mu.Lock()
			s.room = !s.room
			mq.mu.Unlock()
			m.note("%s: room %v", mq.name, s.room)
			m.x.turn(func(t *Turn) { s.c.Resume(t) })
		}
	case k < 99:
		m.hold(m.r.IntN(len(m.held)))
	default:
		m.crash()
	}
	m.step()
}

// drain empties every queue and looks for what is left behind.
func (m *model) drain() {
	for i, h := range m.held {
		if h {
			m.hold(i)
		}
	}
	m.step()
	for _, mq := range m.queues {
		for len(mq.sinks) > 0 {
			mq.cancel(mq.sinks[0])
			m.step()
		}
		s := &modelSink{q: mq, limit: 50, room: true}
		mq.sinks = append(mq.sinks, s)
		m.x.turn(func(t *Turn) { s.c = mq.q.consume(t, s, ConsumerOptions{QoS: ExactlyOnce, Limit: s.limit}) })
		m.step()
		for len(s.out) > 0 {
			mq.settleAll(s)
			m.step()
		}
		mq.list = slices.DeleteFunc(mq.list, func(e *modelEntry) bool { return e.void })
		mq.compare()
		if len(mq.list) > 0 {
			m.fatalf("%s: %d messages never came, the first is %d", mq.name, len(mq.list), mq.list[0].id)
		}
	}
	if left := m.x.leftBehind(); len(left) > 0 {
		m.fatalf("all queues are empty, but %d keys are left: %q", len(left), left[:min(len(left), 5)])
	}
	if n := m.x.memory.Load(); n != 0 {
		m.fatalf("all queues are empty, but %d bytes are counted", n)
	}
}

func TestQueueModel(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for _, budget := range []int64{1 << 10, 20 << 10, 1 << 30} {
			for seed := range uint64(*modelSeeds) {
				t.Run(fmt.Sprintf("shards=%d/budget=%d/seed=%d", shards, budget, seed), func(t *testing.T) {
					m := newModel(t, seed, shards, budget)
					for range 200 {
						m.op()
					}
					m.drain()
				})
			}
		}
	}
}

var modelSeeds = flag.Int("modelseeds", 3, "how many random runs the model of the queue makes of each kind")
