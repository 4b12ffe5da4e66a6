package core

import (
	"sync"
	"testing"
)

type moverSink struct {
	mu  sync.Mutex
	got []string
}

func (m *moverSink) Deliver(_ *Turn, d Delivery) Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.got = append(m.got, string(d.Msg.Payload))
	if d.QoS == ExactlyOnce {
		return MoveFirst
	}
	return Taken
}
func (m *moverSink) NotMoved(*Turn) {}

func TestReviewedMoveLanes(t *testing.T) {
	x := newBox(t)
	var q *Queue
	x.turn(func(tt *Turn) { q, _, _ = x.VHost("/").Declare(tt, "q", QueueOptions{MaxPriority: 3}) })
	c := x.connect("c", persistent)
	p := x.publisher()
	k := &moverSink{}
	x.turn(func(tt *Turn) {
		q.Consume(tt, k, ConsumerOptions{Identity: c.s.principal(), QoS: ExactlyOnce, Limit: 1})
	})
	x.turn(func(tt *Turn) {
		m := tt.Message()
		m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(defaultExchange), []byte("q"), SyntaxAMQP
		m.Payload, m.QoS = []byte("qos2"), ExactlyOnce
		p.Publish(tt, m)
		p.prio(tt, "q", "high", 3, false)
	})
	x.settle()
	k.mu.Lock()
	defer k.mu.Unlock()
	t.Logf("%v %+v", k.got, q.Info())
	if len(k.got) != 2 {
		t.Error("the other lane waits although there is credit")
	}
}

func TestReviewedOwnerLater(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	q := x.named("q", QueueOptions{})
	c := x.connect("c", persistent)
	c.subscribe("$queue/q", 1)
	c.close(true)
	x.settle()
	who := NewPrincipal(Identity{VHost: "/", Protocol: "amqp"})
	x.turn(func(tt *Turn) {
		vh.Drop(tt, q, false, false)
		q, _, _ = vh.Declare(tt, "q", QueueOptions{Owner: who})
	})
	x.settle()
	x.connect("c", persistent)
	if n := q.Info().Consumers; n != 0 {
		t.Errorf("%d consumers of another's exclusive queue", n)
	}
}

func TestReviewedRedeliveredAfterRestart(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	p := x.publisher()
	k := x.taker(q, 0)
	x.turn(func(tt *Turn) { p.to(tt, "q", "1", true) })
	x.settle()
	t.Log(texts(k.take()))
	y := x.crash()
	k2 := y.taker(y.VHost("/").Queue("q"), 0)
	d := k2.take()
	t.Log(d[0].Redelivered)
	if !d[0].Redelivered {
		t.Error("sent before the crash, and not marked")
	}
}
