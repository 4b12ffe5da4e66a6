package core

import (
	"fmt"
	"testing"
)

func TestReviewedManyKeys(t *testing.T) {
	rules := &rulebook{rule: anything}
	x := newBox(t, withRules(rules))
	x.named("q", QueueOptions{})
	p := x.publisher()
	n := 0
	for {
		var wait Wait
		x.turn(func(tt *Turn) {
			m := tt.Message()
			m.Exchange, m.Topic, m.Syntax, m.Payload = p.vh.Exchange(defaultExchange), []byte("q"), SyntaxAMQP, []byte("x")
			for i := range 300 {
				m.Keys = append(m.Keys, []byte(fmt.Sprint("k", i)))
			}
			wait, _ = p.Publish(tt, m)
		})
		if wait == nil {
			break
		}
		wait(t.Context())
		if n++; n > 3000 {
			t.Fatalf("asked %d times, and no end", n)
		}
	}
	t.Log(n)
}

func TestReviewedTryNowRights(t *testing.T) {
	rules := &rulebook{rule: anything}
	x := newBox(t, withRules(quickRules{rules}))
	q := x.named("q", QueueOptions{})
	x.turn(func(tt *Turn) { x.VHost("/").BindQueue(tt, q, "amq.topic", "x", SyntaxMQTT) })
	c, p := x.connect("c"), x.connect("p")
	c.subscribe("$queue/q", 1)
	p.publish("x", "1", 0)
	x.settle()
	t.Log(texts(c.take()))
	rules.set(refuse("c subscribe $queue/q"))
	x.RevokeRights()
	p.publish("x", "2", 0)
	x.settle()
	c.sink.Lock()
	defer c.sink.Unlock()
	if len(c.got) > 0 {
		t.Errorf("got %v without the right", texts(c.got))
	}
}

func TestReviewedExpiresPrio(t *testing.T) {
	x := newBox(t)
	var q *Queue
	x.turn(func(tt *Turn) { q, _, _ = x.VHost("/").Declare(tt, "q", QueueOptions{MaxPriority: 3, Expires: 1000}) })
	p := x.publisher()
	k := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	g := q.Getter(k, ConsumerOptions{QoS: AtMostOnce})
	tt := x.NewTurn()
	now := tt.Now
	for range 5 {
		p.prio(tt, "q", "x", 2, false)
	}
	tt.Now = now + 900
	got, _ := g.Get(tt)
	t.Log(got)
	tt.Now = now + 1100
	q.disuseDue(tt)
	tt.End()
	if q.isDeleted() {
		t.Errorf("deleted 200 ms after basic.get")
	}
}

func TestReviewedGetGroup(t *testing.T) {
	rules := &rulebook{rule: func(id *Identity, r Right) (bool, error) {
		return !(id.ClientID == "p" && r.Action == ActionReceive), nil
	}}
	x := newBox(t, withRules(quickRules{rules}))
	m := x.connect("m", persistent)
	m.subscribe("$share/g/x", 1)
	m.close(true)
	x.settle()
	q := x.VHost("/").Queue("$share/g/x")
	pub := x.connect("w")
	pub.publish("x", "1", 1)
	pub.publish("x", "2", 1)
	x.settle()
	t.Logf("%+v", q.Info())
	who := NewPrincipal(Identity{VHost: "/", ClientID: "p", Protocol: "amqp"})
	k := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	g := q.Getter(k, ConsumerOptions{QoS: AtLeastOnce, Identity: who})
	x.turn(func(tt *Turn) {
		if got, _ := g.Get(tt); got {
			t.Error("got without the right")
		}
	})
	x.turn(func(tt *Turn) { g.Cancel(tt); q.Consume(tt, k, ConsumerOptions{QoS: AtLeastOnce, Identity: who}) })
	x.settle()
	if i := q.Info(); i.Ready != 2 || len(k.got) != 0 {
		t.Errorf("after consume without the right: %+v, %d came", i, len(k.got))
	}
}

func TestReviewedSACPrio(t *testing.T) {
	x := newBox(t)
	var q *Queue
	x.turn(func(tt *Turn) {
		q, _, _ = x.VHost("/").Declare(tt, "q", QueueOptions{MaxPriority: 3, SingleActive: true})
	})
	p := x.publisher()
	a := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	b := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	x.turn(func(tt *Turn) { q.Consume(tt, a, ConsumerOptions{QoS: AtLeastOnce}) })
	x.turn(func(tt *Turn) { p.prio(tt, "q", "0a", 0, false); p.prio(tt, "q", "0b", 0, false) })
	x.turn(func(tt *Turn) { q.Consume(tt, b, ConsumerOptions{QoS: AtLeastOnce, Priority: 5}) })
	x.turn(func(tt *Turn) { p.prio(tt, "q", "0c", 0, false); p.prio(tt, "q", "2", 2, false) })
	x.settle()
	t.Log(texts(a.got), texts(b.got))
	if len(a.got) > 0 && len(b.got) > 0 {
		t.Error("two are active")
	}
}
