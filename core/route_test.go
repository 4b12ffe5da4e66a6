package core

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// matchesAMQP is the rule of AMQP for binding keys, word for word, with the one
// of MQTT for what begins with '$'.
func matchesAMQP(pattern, key string) bool {
	if strings.HasPrefix(key, "$") && (strings.HasPrefix(pattern, "*") || strings.HasPrefix(pattern, "#")) {
		return false
	}
	var rec func(p, k []string) bool
	rec = func(p, k []string) bool {
		switch {
		case len(p) == 0:
			return len(k) == 0
		case p[0] == "#":
			return rec(p[1:], k) || len(k) > 0 && rec(p, k[1:])
		}
		return len(k) > 0 && (p[0] == "*" || p[0] == k[0]) && rec(p[1:], k[1:])
	}
	return rec(strings.Split(pattern, "."), strings.Split(key, "."))
}

// routeModel keeps bindings in maps and compares what publishers that remember
// routes reach.
type routeModel struct {
	t       *testing.T
	x       *box
	rnd     *rand.Rand
	clients []*client
	subs    []map[string]QoS // of each client, by filter
	queues  []*Queue
	bound   []map[string]Syntax // of each queue, by pattern
	pubs    []*client
}

func newRouteModel(t *testing.T, seed uint64) *routeModel {
	m := &routeModel{t: t, x: newBox(t), rnd: rand.New(rand.NewPCG(seed, 3))}
	for i := range 8 {
		m.clients = append(m.clients, m.x.connect(fmt.Sprint("c", i)))
		m.subs = append(m.subs, map[string]QoS{})
	}
	for i := range 3 {
		m.x.turn(func(tn *Turn) {
			q, err := m.x.VHost("/").DeclareQueue(tn, fmt.Sprint("q", i), QueueOptions{})
			if err != nil {
				t.Fatal(err)
			}
			m.queues = append(m.queues, q)
		})
		m.bound = append(m.bound, map[string]Syntax{})
	}
	for i := range 3 {
		m.pubs = append(m.pubs, m.x.connect(fmt.Sprint("p", i)))
	}
	return m
}

var routeLevels = []string{"a", "b", "cc", ""}

func (m *routeModel) levels(of []string) []string {
	var l []string
	for range 1 + m.rnd.IntN(3) {
		l = append(l, of[m.rnd.IntN(len(of))])
	}
	return l
}

func (m *routeModel) topic(sep string) string {
	if m.rnd.IntN(8) == 0 {
		return "$x" + sep + strings.Join(m.levels(routeLevels), sep)
	}
	return "t" + sep[:m.rnd.IntN(2)] + strings.Join(m.levels(routeLevels), sep)
}

func (m *routeModel) filter() string {
	l := m.levels([]string{"a", "b", "cc", "", "+", "+"})
	if m.rnd.IntN(2) == 0 {
		l = append([]string{"t"}, l...)
	}
	if m.rnd.IntN(3) == 0 {
		l = append(l, "#")
	}
	if s := strings.Join(l, "/"); s != "" {
		return s
	}
	return "t"
}

func (m *routeModel) pattern() string {
	l := m.levels([]string{"a", "b", "cc", "*", "#"})
	if strings.Join(l, "") == "###" { // more than a key may have
		l = l[:2]
	}
	if m.rnd.IntN(2) == 0 {
		l = append([]string{"t"}, l...)
	}
	return strings.Join(l, ".")
}

// change adds or removes a binding.
func (m *routeModel) change() {
	if m.rnd.IntN(4) == 0 {
		i := m.rnd.IntN(len(m.queues))
		p, syn := m.pattern(), SyntaxAMQP
		if m.rnd.IntN(3) == 0 {
			p, syn = m.filter(), SyntaxMQTT
		}
		if have, ok := m.bound[i][p]; ok && have != syn {
			return
		}
		if m.rnd.IntN(2) == 0 {
			m.x.unbind(BindingSpec{Source: m.x.topicsOf(), Queue: m.queues[i], Key: p, Syntax: syn})
			delete(m.bound[i], p)
			return
		}
		m.x.turn(func(tn *Turn) {
			if err := m.x.VHost("/").BindQueue(tn, m.queues[i], topicExchange, p, syn); err != nil {
				m.t.Fatal(err)
			}
		})
		m.bound[i][p] = syn
		return
	}
	i := m.rnd.IntN(len(m.clients))
	if len(m.subs[i]) > 0 && m.rnd.IntN(2) == 0 {
		for f := range m.subs[i] { // any of them
			m.clients[i].feed(0, func(tn *Turn) {
				if err := m.clients[i].s.Unsubscribe(tn, f); err != nil {
					m.t.Fatal(err)
				}
			})
			delete(m.subs[i], f)
			break
		}
		return
	}
	f, qos := m.filter(), QoS(m.rnd.IntN(3))
	m.clients[i].subscribe(f, qos)
	m.subs[i][f] = qos
}

func (x *box) topicsOf() *Exchange { return x.VHost("/").Topics() }

// publish compares who gets one message.
func (m *routeModel) publish(n int) {
	syn, topic := SyntaxMQTT, m.topic("/")
	if m.rnd.IntN(4) == 0 {
		syn, topic = SyntaxAMQP, m.topic(".")
	}
	qos := QoS(m.rnd.IntN(3))
	before := make([]int64, len(m.queues))
	for i, q := range m.queues {
		before[i] = q.Info().Ready
	}
	p := m.pubs[m.rnd.IntN(len(m.pubs))]
	m.x.turn(func(tn *Turn) {
		msg := tn.Message()
		msg.Exchange, msg.Topic, msg.Syntax, msg.QoS = m.x.topicsOf(), []byte(topic), syn, qos
		if wait, err := p.pub.Publish(tn, msg); wait != nil || err != nil {
			m.t.Fatal(err)
		}
	})
	asMQTT, asAMQP := topic, topic
	if syn == SyntaxAMQP {
		asMQTT = strings.ReplaceAll(topic, ".", "/")
	} else {
		asAMQP = strings.ReplaceAll(topic, "/", ".")
	}
	for i, c := range m.clients {
		want := -1
		for f, q := range m.subs[i] {
			if matches(f, asMQTT) {
				want = max(want, int(min(q, qos)))
			}
		}
		got := c.take()
		if len(got) > 1 || (len(got) == 1) != (want >= 0) || len(got) == 1 && int(got[0].QoS) != want {
			m.t.Fatalf("%d: %q at %d: client %d with %v got %d, want QoS %d", n, topic, qos, i, m.subs[i], len(got), want)
		}
		c.accept(got...)
	}
	for i, q := range m.queues {
		want := int64(0)
		for p, syn := range m.bound[i] {
			if syn == SyntaxMQTT && matches(p, asMQTT) || syn == SyntaxAMQP && matchesAMQP(p, asAMQP) {
				want = 1
			}
		}
		if got := q.Info().Ready - before[i]; got != want {
			m.t.Fatalf("%d: %q: queue %d with %v got %d, want %d", n, topic, i, m.bound[i], got, want)
		}
	}
}

// TestRoutesModel publishes over remembered routes while bindings come and go.
func TestRoutesModel(t *testing.T) {
	for seed := range uint64(6) {
		m := newRouteModel(t, seed)
		for n := range 3000 {
			if m.rnd.IntN(6) == 0 {
				m.change()
			}
			m.publish(n)
			if n%500 == 0 {
				m.pubs[m.rnd.IntN(len(m.pubs))].pub.Forget()
			}
		}
		bindings := 3 // each queue by its name
		for _, s := range m.subs {
			bindings += len(s)
		}
		for _, b := range m.bound {
			bindings += len(b)
		}
		if got := m.x.Gauges().Bindings; got != int64(bindings) {
			t.Errorf("%d bindings are counted, there are %d", got, bindings)
		}
	}
}

// TestRouteCacheHit: a route is shared between publishers and kept by each, for
// as long as nothing that concerns it changes; other branches may.
func TestRouteCacheHit(t *testing.T) {
	x := newBox(t)
	a, b, sub := x.connect("a"), x.connect("b"), x.connect("sub")
	sub.subscribe("x/y/+", AtMostOnce)
	a.publish("x/y/1", "", AtMostOnce)
	b.publish("x/y/1", "", AtMostOnce)
	r := a.pub.last
	if r == nil || b.pub.last != r {
		t.Fatal("two publishers do not share a route")
	}
	valid := func() bool { return r.valid(x.rightsEpoch.Load()) }
	for _, st := range []struct {
		filter string
		voids  bool
	}{
		{"other", false}, {"other/deep/#", false}, {"x/z/+", false}, {"x/y/2", false},
		{"x/y/1", true}, {"x/y/#", true}, {"x/+/1", true}, {"+/y/1", true}, {"#", true},
	} {
		for _, f := range []func(){
			func() { sub.subscribe(st.filter, AtMostOnce) },
			func() {
				sub.feed(0, func(tn *Turn) {
					if err := sub.s.Unsubscribe(tn, st.filter); err != nil {
						t.Error(err)
					}
				})
			},
		} {
			a.publish("x/y/1", "", AtMostOnce)
			if r = a.pub.last; !valid() {
				t.Fatal("a fresh route is void")
			}
			f()
			if valid() == st.voids {
				t.Errorf("a change of %q: valid %v", st.filter, !st.voids)
			}
		}
	}
	a.publish("x/y/1", "", AtMostOnce)
	r = a.pub.last
	x.RevokeRights()
	if valid() {
		t.Error("valid after a change of rights")
	}
}

// TestRouteCacheBound: however many addresses there are, the routes that are
// remembered stay within their bound, and still lead where they should.
func TestRouteCacheBound(t *testing.T) {
	x := newBox(t)
	sub, pub := x.connect("sub"), x.connect("pub")
	sub.subscribe("#", AtMostOnce)
	var c *routeCache = &x.topicsOf().routes
	r := &route{ex: x.topicsOf(), targets: make([]target, routeShardWeight/3)}
	for i := range 20 { // few of these fit into one shard
		big := *r
		big.address = fmt.Sprint("big", i)
		c.put(&big, 0)
		c.put(&big, 0) // replaced, not counted twice
	}
	for i := range 300 {
		pub.publish(fmt.Sprint("a/", i), fmt.Sprint(i), AtMostOnce)
	}
	for i := range c.shards {
		s := &c.shards[i]
		weight := 0
		for _, r := range s.routes {
			weight += r.weight()
		}
		if weight != s.weight || weight > routeShardWeight {
			t.Errorf("shard %d weighs %d, counted %d", i, weight, s.weight)
		}
	}
	if n := len(sub.take()); n != 300 {
		t.Errorf("%d of 300 came", n)
	}
}

// TestIllegalAddresses: what is no legal destination is refused, and what is no
// legal topic does not get to MQTT.
func TestIllegalAddresses(t *testing.T) {
	x := newBox(t)
	sub, pub := x.connect("sub"), x.connect("pub")
	sub.subscribe("#", AtMostOnce)
	sub.subscribe("$SYS/#", AtMostOnce)
	for _, topic := range []string{"", "a/+", "#", "a\x00b", "\xff", "$SYS", "$SYS/a", "$SYS.a"} {
		if err := pub.tryPublish(topic, "x", AtMostOnce, true); err == nil {
			t.Errorf("%q is taken", topic)
		}
	}
	for _, topic := range []string{"$SYSTEM", "$x", "/", "a//b", "a.b"} {
		if err := pub.tryPublish(topic, "x", AtMostOnce, false); err != nil {
			t.Errorf("%q: %v", topic, err)
		}
	}
	for i, key := range []string{"a.+", "a.#.b", "a\x00b"} {
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Topic, m.Syntax = x.topicsOf(), []byte(key), SyntaxAMQP
			if _, err := pub.pub.Publish(tn, m); err != nil {
				t.Errorf("%q: %v", key, err)
			}
		})
		if n := x.Stats().Unrepresentable; n != uint64(i+1) {
			t.Errorf("%q: %d are counted", key, n)
		}
	}
	if got := len(sub.take()); got != 3 {
		t.Errorf("%d messages came", got)
	}
}
