package core

import (
	"fmt"
	"testing"

	"github.com/narumq/naru/core/props"
)

// benchBus is a bus on one shard in memory.
func benchBus(b *testing.B, change ...func(*Options)) *Bus {
	b.Helper()
	s := newTestShard()
	o := Options{Config: DefaultConfig(), Shards: []Shard{s}, Fail: func(err error) { b.Errorf("the bus failed: %v", err) }}
	for _, f := range change {
		f(&o)
	}
	bus, err := Open(o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		bus.Close()
		s.close()
	})
	return bus
}

// benchRoute routes the topics in turn: as a publisher does, with what it and
// all others remember, and by walking the bindings each time.
func benchRoute(b *testing.B, bus *Bus, topics [][]byte, targets int) {
	vh := bus.VHost("/")
	for _, cached := range []bool{true, false} {
		b.Run(fmt.Sprintf("cache=%v", cached), func(b *testing.B) {
			p := vh.NewPublisher(NewPrincipal(Identity{VHost: "/"}))
			t := bus.NewTurn()
			defer t.End()
			m := t.Message()
			m.Exchange, m.QoS = vh.topics, AtLeastOnce
			epoch := bus.rightsEpoch.Load()
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				m.Topic = topics[i]
				if i++; i == len(topics) {
					i = 0
				}
				var r *route
				var err error
				if cached {
					r, _, err = p.route(t, m)
				} else {
					r, _ = vh.topics.resolve(t, m, epoch)
				}
				if err != nil || len(r.targets) != targets {
					b.Fatalf("%d targets, want %d: %v", len(r.targets), targets, err)
				}
			}
		})
	}
}

func benchQueues(bus *Bus, n int) []*Queue {
	vh := bus.VHost("/")
	qs := make([]*Queue, n)
	for i := range qs {
		qs[i] = &Queue{}
		vh.initQueue(qs[i], KindNamed, fmt.Sprint("q", i), false)
	}
	return qs
}

func BenchmarkRouteExact(b *testing.B) {
	bus := benchBus(b)
	bus.VHost("/").topics.bind(benchQueues(bus, 1)[0], SyntaxMQTT, "site/7/line/3/temperature", AtLeastOnce)
	benchRoute(b, bus, [][]byte{[]byte("site/7/line/3/temperature")}, 1)
}

func BenchmarkRouteOneOf100000(b *testing.B) {
	bus := benchBus(b)
	var topics [][]byte
	for i, q := range benchQueues(bus, 100_000) {
		bus.VHost("/").topics.bind(q, SyntaxMQTT, fmt.Sprintf("site/%d/+/%d/#", i/100, i%100), AtLeastOnce)
		if i%7 == 0 { // more than a publisher remembers
			topics = append(topics, fmt.Appendf(nil, "site/%d/line/%d/temperature", i/100, i%100))
		}
	}
	benchRoute(b, bus, topics, 1)
}

func BenchmarkRoute1000Overlapping(b *testing.B) {
	bus := benchBus(b)
	filters := []string{
		"site/7/line/3/temperature", "#", "site/#", "site/+/line/+/temperature", "+/+/+/+/+",
		"site/7/#", "+/7/line/#", "site/7/line/+/+", "site/7/line/3/+", "site/7/+/3/temperature",
	}
	for i, q := range benchQueues(bus, 1000) {
		for n := range 3 { // each queue by several filters: one copy
			bus.VHost("/").topics.bind(q, SyntaxMQTT, filters[(i+n)%len(filters)], QoS(n))
		}
	}
	benchRoute(b, bus, [][]byte{[]byte("site/7/line/3/temperature")}, 1000)
}

// BenchmarkRouteWalk routes over exchanges that lead to others, and over those that
// choose among 100 bindings for each message.
func BenchmarkRouteWalk(b *testing.B) {
	bus := benchBus(b)
	vh := bus.VHost("/")
	t := bus.NewTurn()
	defer t.End()
	declare := func(name string, typ ExchangeType, alternate string) *Exchange {
		x, _, err := vh.DeclareExchange(t, name, ExchangeOptions{Type: typ, Alternate: alternate})
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	bind := func(s BindingSpec) {
		if err := vh.Bind(t, s); err != nil {
			b.Fatal(err)
		}
	}
	from := map[string]*Exchange{
		"chain": declare("chain", Topic, ""), "alternate": declare("alternate", Direct, "end"),
		"headers": declare("headers", Headers, ""), "hash": declare("hash", ConsistentHash, ""), "random": declare("random", Random, ""),
	}
	end, middle := declare("end", Fanout, ""), declare("middle", Direct, "")
	bind(BindingSpec{Source: from["chain"], Exchange: middle, Key: "k.#", Syntax: SyntaxAMQP})
	bind(BindingSpec{Source: middle, Exchange: end, Key: "k.1", Syntax: SyntaxAMQP})
	for i := range 100 {
		q, err := vh.DeclareQueue(t, fmt.Sprint("q", i), QueueOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if i == 0 {
			bind(BindingSpec{Source: end, Queue: q})
		}
		bind(BindingSpec{Source: from["headers"], Queue: q, Arguments: props.AddInt32(nil, "n", int32(i))})
		bind(BindingSpec{Source: from["hash"], Queue: q, Key: "1"})
		bind(BindingSpec{Source: from["random"], Queue: q})
	}
	set := withHeaders(props.AddInt64(props.AddStr(nil, "other", "x"), "n", 77))
	for _, name := range []string{"chain", "alternate", "headers", "hash", "random"} {
		b.Run(name, func(b *testing.B) {
			p := vh.NewPublisher(NewPrincipal(Identity{VHost: "/"}))
			m := t.Message()
			m.Exchange, m.Topic, m.Syntax = from[name], []byte("k.1"), SyntaxAMQP
			set(m)
			b.ReportAllocs()
			for b.Loop() {
				if r, _, err := p.route(t, m); err != nil || len(r.targets) != 1 {
					b.Fatalf("%d targets: %v", len(r.targets), err)
				}
			}
		})
	}
}

// accepter settles what it gets at the end of the turn, as a quick client does.
type accepter struct {
	got []Delivery
	n   int
}

func (a *accepter) Deliver(_ *Turn, d Delivery) Verdict {
	a.n++
	if d.QoS > AtMostOnce {
		d.Msg = nil
		a.got = append(a.got, d)
	}
	return Taken
}

func (a *accepter) settle(t *Turn) {
	for i := range a.got {
		d := &a.got[i]
		d.Consumer.Settle(t, d.Ordinal, d.QoS, Accepted)
	}
	a.got = a.got[:0]
}

// benchDeliver publishes to sessions that are connected, 64 messages a turn.
func benchDeliver(b *testing.B, qos QoS, subscribers int) {
	bus := benchBus(b)
	vh := bus.VHost("/")
	sinks := make([]accepter, subscribers)
	t := bus.NewTurn()
	for i := range sinks {
		id := fmt.Sprint("c", i)
		who := NewPrincipal(Identity{VHost: "/", ClientID: id})
		s, _, _, err := vh.OpenSession(t, SessionRequest{Principal: who, ClientID: id, Clean: true, Owner: &client{}})
		if err == nil {
			_, err = s.Subscribe(t, "site/7/line/3/temperature", qos, 0)
		}
		if err != nil {
			b.Fatal(err)
		}
		s.Start(t, &sinks[i], 100, 65535)
	}
	t.End()
	p := vh.NewPublisher(NewPrincipal(Identity{VHost: "/"}))
	topic, payload := []byte("site/7/line/3/temperature"), make([]byte, 200)
	b.ReportAllocs()
	t = bus.NewTurn()
	n := 0
	for b.Loop() {
		m := t.Message()
		m.Exchange, m.Topic, m.Payload, m.QoS, m.Persistent = vh.topics, topic, payload, qos, qos > 0
		if _, err := p.Publish(t, m); err != nil {
			b.Fatal(err)
		}
		if n++; n%64 == 0 {
			for i := range sinks {
				sinks[i].settle(t)
			}
			t.End()
			t = bus.NewTurn()
		}
	}
	t.End()
	for i := range sinks {
		if sinks[i].n != n {
			b.Fatalf("a subscriber got %d of %d", sinks[i].n, n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n*subscribers), "ns/delivery")
}

func BenchmarkDeliverQoS0(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) { benchDeliver(b, AtMostOnce, n) })
	}
}

func BenchmarkDeliverQoS1(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("subscribers=%d", n), func(b *testing.B) { benchDeliver(b, AtLeastOnce, n) })
	}
}

// benchQueue is a durable queue and who publishes to it.
type benchQueue struct {
	b   *testing.B
	bus *Bus
	q   *Queue
	p   *Publisher
}

func newBenchQueue(b *testing.B, change ...func(*Options)) *benchQueue {
	bus := benchBus(b, change...)
	vh := bus.VHost("/")
	t := bus.NewTurn()
	q, err := vh.DeclareQueue(t, "q", QueueOptions{Durable: true})
	if err != nil {
		b.Fatal(err)
	}
	t.End()
	return &benchQueue{b, bus, q, vh.NewPublisher(NewPrincipal(Identity{VHost: "/"}))}
}

// put publishes n messages of 200 bytes, 100 a turn.
func (bq *benchQueue) put(n int) {
	payload := string(make([]byte, 200))
	for n > 0 {
		t := bq.bus.NewTurn()
		for range min(n, 100) {
			if err := bq.p.to(t, "q", payload, true); err != nil {
				bq.b.Fatal(err)
			}
		}
		t.End()
		n -= min(n, 100)
	}
	bq.bus.Sync()
}

// take takes and settles n messages.
func (bq *benchQueue) take(n int) {
	k := &taker{q: bq.q, noted: make(chan struct{}, 1)}
	t := bq.bus.NewTurn()
	k.c = bq.q.consume(t, k, ConsumerOptions{QoS: ExactlyOnce, Limit: 100})
	t.End()
	for n > 0 {
		<-k.noted
		k.mu.Lock()
		ds := k.got
		k.got = nil
		k.mu.Unlock()
		t := bq.bus.NewTurn()
		for _, d := range ds {
			k.c.Settle(t, d.Ordinal, d.QoS, Accepted)
		}
		t.End()
		n -= len(ds)
	}
	t = bq.bus.NewTurn()
	k.c.Cancel(t)
	t.End()
	bq.bus.Sync()
}

// BenchmarkQueueBacklog puts all messages into a durable queue and then takes
// them: in memory, and with nearly all of them on disk meanwhile.
func BenchmarkQueueBacklog(b *testing.B) {
	for _, budget := range []int64{1 << 40, 1 << 20} {
		b.Run(fmt.Sprintf("memory=%d", budget), func(b *testing.B) {
			bq := newBenchQueue(b, queueMemory(budget))
			b.ReportAllocs()
			b.ResetTimer()
			bq.put(b.N)
			bq.take(b.N)
		})
	}
}

// BenchmarkHeadRead reads the first message of a queue, of which a million have
// gone before: what they left must not stand in the way.
func BenchmarkHeadRead(b *testing.B) {
	for _, before := range []int{0, 1_000_000} {
		b.Run(fmt.Sprintf("before=%d", before), func(b *testing.B) {
			bq := newBenchQueue(b, queueMemory(1<<20))
			for n := 0; n < before; n += 50_000 {
				bq.put(50_000)
				bq.take(50_000)
			}
			b.ReportAllocs()
			for b.Loop() {
				bq.put(1)
				t := bq.bus.NewTurn()
				bq.q.mu.Lock()
				bq.q.trimLocked(t) // so that it comes from disk
				bq.q.mu.Unlock()
				t.End()
				bq.take(1)
			}
		})
	}
}

// BenchmarkDropHead publishes to a queue that is at its length limit, while a
// consumer sits on the first messages.
func BenchmarkDropHead(b *testing.B) {
	for _, length := range []int{1000, 50_000} {
		b.Run(fmt.Sprintf("length=%d", length), func(b *testing.B) {
			bus := benchBus(b)
			vh := bus.VHost("/")
			t := bus.NewTurn()
			q, err := vh.DeclareQueue(t, "q", QueueOptions{Limits: QueueLimits{MaxLength: int64(length)}})
			if err != nil {
				b.Fatal(err)
			}
			q.consume(t, &accepter{}, ConsumerOptions{QoS: AtLeastOnce, Limit: 10})
			p := vh.NewPublisher(NewPrincipal(Identity{VHost: "/"}))
			for range length + 10 {
				_ = p.to(t, "q", "x", false)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := p.to(t, "q", "x", false); err != nil {
					b.Fatal(err)
				}
			}
			t.End()
		})
	}
}
