package core

import (
	"fmt"
	"testing"
	"time"
)

func (p *Publisher) prio(t *Turn, queue, payload string, prio uint8, persistent bool) error {
	m := t.Message()
	m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(defaultExchange), []byte(queue), SyntaxAMQP
	m.Payload, m.QoS, m.Persistent, m.Priority = []byte(payload), AtLeastOnce, persistent, prio
	_, err := p.Publish(t, m)
	return err
}

// D: bytes limit with dead letters
func TestReviewedBytesDLX(t *testing.T) {
	x := newBox(t)
	d := x.named("dead", QueueOptions{})
	q := x.named("q", QueueOptions{Limits: QueueLimits{MaxBytes: 1000}, DeadLetter: &DeadLetter{Key: "dead", HasKey: true}})
	p := x.publisher()
	for i := range 11 {
		x.turn(func(tt *Turn) { p.to(tt, "q", fmt.Sprintf("%-100d", i), false) })
	}
	x.settle()
	t.Logf("q %+v dead %+v", q.Info(), d.Info())
	if q.Info().Ready != 10 {
		t.Errorf("ready %d want 10", q.Info().Ready)
	}
}

// D2: bytes limit counts unsettled
func TestReviewedBytesUnacked(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Limits: QueueLimits{MaxBytes: 1000}})
	p := x.publisher()
	k := x.taker(q, 20)
	for i := range 25 {
		x.turn(func(tt *Turn) { p.to(tt, "q", fmt.Sprintf("%-100d", i), false) })
	}
	x.settle()
	_ = k
	t.Logf("q %+v", q.Info())
	if q.Info().Ready != 5 {
		t.Errorf("ready %d want 5", q.Info().Ready)
	}
}

// C
func TestReviewedRejectDLXCycle(t *testing.T) {
	x := newBox(t)
	x.named("q", QueueOptions{Limits: QueueLimits{MaxLength: 1, Overflow: RejectPublishDLX}, DeadLetter: &DeadLetter{Key: "q", HasKey: true}})
	p := x.publisher()
	done := make(chan struct{})
	go func() {
		for i := range 2 {
			x.turn(func(tt *Turn) { p.to(tt, "q", fmt.Sprint(i), false) })
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(3 * time.Second):
		panic("endless")
	}
}

// B
func TestReviewedPrioMQTT(t *testing.T) {
	x := newBox(t)
	x.named("q", QueueOptions{MaxPriority: 5})
	c := x.connect("c")
	c.subscribe("$queue/q", 1)
	p := x.publisher()
	x.turn(func(tt *Turn) { p.prio(tt, "q", "hi", 3, false) })
	t.Log(texts(c.take()))
}

// lane lost
func TestReviewedLaneLost(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true, MaxPriority: 5})
	x.settle()
	a, b := x.publisher(), x.publisher()
	ta := x.NewTurn()
	a.prio(ta, "q", "a", 3, true) // makes the lane; not handed over yet
	x.turn(func(tt *Turn) { b.prio(tt, "q", "b", 3, true) })
	x.Sync() // b is confirmed now
	_ = q
	y := x.crash()
	t.Logf("after the crash: %+v", y.VHost("/").Queue("q").Info())
	if y.VHost("/").Queue("q").Info().Ready != 1 {
		t.Errorf("confirmed message lost")
	}
	ta.End()
}

// lane orphan
func TestReviewedLaneOrphan(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true, MaxPriority: 5})
	x.settle()
	a := x.publisher()
	ta := x.NewTurn()
	a.prio(ta, "q", "a", 3, true)
	x.turn(func(tt *Turn) { x.VHost("/").Drop(tt, q, false, false) })
	ta.End()
	x.settle()
	x.crash()
}

// declare lost / resurrected
func TestReviewedDeclareLost(t *testing.T) {
	x := newBox(t)
	ta := x.NewTurn()
	x.VHost("/").Declare(ta, "q", QueueOptions{Durable: true})
	b := x.publisher()
	x.turn(func(tt *Turn) { b.to(tt, "q", "b", true) })
	x.Sync()
	y := x.crash()
	if y.VHost("/").Queue("q") == nil {
		t.Errorf("queue with a confirmed message lost")
	}
	ta.End()
}

func TestReviewedDeclareZombie(t *testing.T) {
	x := newBox(t)
	ta := x.NewTurn()
	q, _, _ := x.VHost("/").Declare(ta, "q", QueueOptions{Durable: true})
	x.turn(func(tt *Turn) { x.VHost("/").Drop(tt, q, false, false) })
	ta.End()
	x.settle()
	y := x.crash()
	if y.VHost("/").Queue("q") != nil {
		t.Errorf("deleted queue is back")
	}
}

// $SYS by dead letter
func TestReviewedSys(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Limits: QueueLimits{MaxLength: 1}, DeadLetter: &DeadLetter{Exchange: "amq.topic", Key: "$SYS.broker.version", HasKey: true}})
	_ = q
	c := x.connect("c")
	c.subscribe("$SYS/#", 1)
	p := x.publisher()
	for range 2 {
		x.turn(func(tt *Turn) { p.to(tt, "q", "fake", false) })
	}
	x.settle()
	if got := texts(c.take()); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// TTL 0 burst
func TestReviewedTTL0(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true, Limits: QueueLimits{TTL: AtOnce}})
	x.taker(q, 1)
	p := x.publisher()
	x.turn(func(tt *Turn) {
		for i := range 10 {
			p.to(tt, "q", fmt.Sprint(i), true)
		}
	})
	x.settle()
	time.Sleep(500 * time.Millisecond)
	x.settle()
	if q.Info().Ready != 0 {
		t.Errorf("%+v", q.Info())
	}
}
