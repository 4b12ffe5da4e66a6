package core

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// box is a bus on shards in memory, for tests inside the package.
type box struct {
	*Bus
	t      *testing.T
	shards []*testShard
}

func newBox(t *testing.T, change ...func(*Options)) *box {
	t.Helper()
	return openBox(t, []*testShard{newTestShard()}, change...)
}

func openBox(t *testing.T, shards []*testShard, change ...func(*Options)) *box {
	t.Helper()
	o := Options{Config: DefaultConfig(), Fail: func(err error) { t.Errorf("the bus failed: %v", err) }}
	for _, s := range shards {
		o.Shards = append(o.Shards, s)
	}
	for _, f := range change {
		f(&o)
	}
	b, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	x := &box{Bus: b, t: t, shards: shards}
	t.Cleanup(func() {
		for _, s := range shards {
			s.hold(false)
		}
		b.Close()
		for _, s := range shards {
			s.close()
		}
	})
	return x
}

// crash opens a new bus on what is durable now.
func (x *box) crash(change ...func(*Options)) *box {
	x.t.Helper()
	var shards []*testShard
	for _, s := range x.shards {
		shards = append(shards, s.fork())
	}
	return openBox(x.t, shards, change...)
}

// turn runs f in a turn of its own.
func (x *box) turn(f func(t *Turn)) {
	t := x.NewTurn()
	f(t)
	t.End()
}

// settle waits until all commits are done and their effects have run.
func (x *box) settle() {
	x.Sync()
	for range 3 { // effects may commit once more
		for _, w := range x.workers {
			done := make(chan struct{})
			w.post(task{f: func(*Turn) { close(done) }})
			<-done
		}
		x.Sync()
	}
}

// client is a sink that records what it gets, and takes all of it.
type client struct {
	x    *box
	s    *Session
	pub  *Publisher
	sink sync.Mutex
	got  []Delivery // guarded by sink; messages are kept
	room int        // guarded by sink: deliveries it takes, -1: any number
	gone chan struct{}
}

func (c *client) Deliver(t *Turn, d Delivery) Verdict {
	c.sink.Lock()
	defer c.sink.Unlock()
	if c.room == 0 {
		return Refused
	}
	if c.room > 0 {
		c.room--
	}
	if d.Msg != nil {
		d.Msg = d.Msg.keep()
	}
	c.got = append(c.got, d)
	return Taken
}

func (c *client) Kick(error) {
	go func() {
		c.x.turn(func(t *Turn) { c.s.Close(t, false) })
		close(c.gone)
	}()
}

func (c *client) take() []Delivery {
	c.sink.Lock()
	defer c.sink.Unlock()
	got := c.got
	c.got = nil
	return got
}

// payloads waits until n messages have come and returns their payloads.
func (c *client) payloads(n int) []string {
	c.x.t.Helper()
	var out []string
	deadline := time.Now().Add(10 * time.Second)
	for {
		for _, d := range c.take() {
			if d.Msg != nil {
				out = append(out, string(d.Msg.Payload))
			}
		}
		if len(out) >= n {
			c.x.settle()
			for _, d := range c.take() {
				if d.Msg != nil {
					out = append(out, string(d.Msg.Payload))
				}
			}
			return out
		}
		if time.Now().After(deadline) {
			c.x.t.Fatalf("%d of %d messages came: %q", len(out), n, out)
		}
		c.x.settle()
	}
}

type connectOption func(*SessionRequest)

func persistent(r *SessionRequest) { r.Clean = false }

func (x *box) connect(id string, opts ...connectOption) *client {
	x.t.Helper()
	c := &client{x: x, room: -1, gone: make(chan struct{})}
	vh := x.VHost("/")
	who := NewPrincipal(Identity{VHost: "/", ClientID: id, Protocol: "test", Anonymous: true})
	r := SessionRequest{Principal: who, ClientID: id, Clean: true, Owner: c}
	for _, o := range opts {
		o(&r)
	}
	for {
		var wait Wait
		var err error
		x.turn(func(t *Turn) { c.s, _, wait, err = vh.OpenSession(t, r) })
		if err != nil {
			x.t.Fatal(err)
		}
		if wait == nil {
			break
		}
		wait(x.t.Context())
	}
	c.pub = vh.NewPublisher(who)
	x.turn(func(t *Turn) { c.s.Start(t, c, 100, 65535) })
	return c
}

func (c *client) subscribe(filter string, qos QoS) {
	c.x.t.Helper()
	c.x.turn(func(t *Turn) {
		if wait, err := c.s.Subscribe(t, filter, qos, 0); wait != nil || err != nil {
			c.x.t.Fatalf("subscribe to %q: wait %v, %v", filter, wait != nil, err)
		}
	})
}

func (c *client) publish(topic, payload string, qos QoS) {
	c.x.t.Helper()
	c.x.turn(func(t *Turn) { c.publishIn(t, topic, payload, qos, false) })
}

func (c *client) publishIn(t *Turn, topic, payload string, qos QoS, retain bool) {
	c.x.t.Helper()
	m := t.Message()
	m.Exchange = c.pub.vh.topics
	m.Topic, m.Payload, m.QoS, m.Persistent, m.Retain = []byte(topic), []byte(payload), qos, qos > 0, retain
	if wait, err := c.pub.Publish(t, m); wait != nil || err != nil {
		c.x.t.Fatalf("publish to %q: wait %v, %v", topic, wait != nil, err)
	}
}

func (c *client) close(goodbye bool) {
	c.x.turn(func(t *Turn) { c.s.Close(t, goodbye) })
}

func TestPublishToLiveSubscriber(t *testing.T) {
	x := newBox(t)
	sub, pub := x.connect("sub"), x.connect("pub")
	for qos := range QoS(3) {
		filter := fmt.Sprintf("a/%d/+", qos)
		sub.subscribe(filter, qos)
		for sent := range QoS(3) {
			topic := fmt.Sprintf("a/%d/b", qos)
			pub.publish(topic, "x", sent)
			got := sub.take()
			if len(got) != 1 || string(got[0].Msg.Topic) != topic || got[0].QoS != min(qos, sent) {
				t.Fatalf("published at %d, subscribed at %d: got %+v", sent, qos, got)
			}
			if c := sub.s.Consumer(); sent == 1 && qos >= 1 {
				x.turn(func(t *Turn) {
					if st := c.Settle(t, got[0].Ordinal, AtLeastOnce, Accepted); st != Done {
						x.t.Fatalf("settle: %v", st)
					}
				})
			}
		}
	}
}

func TestDurableSessionSurvivesCrash(t *testing.T) {
	x := newBox(t)
	sub := x.connect("sub", persistent)
	sub.subscribe("q/#", ExactlyOnce)
	x.settle()
	sub.close(true)
	pub := x.connect("pub")
	for i := range 300 {
		pub.publish("q/x", fmt.Sprint(i), QoS(1+i%2))
	}
	x.settle()
	y := x.crash()
	sub = y.connect("sub", persistent)
	got := sub.payloads(100)
	for i, p := range got {
		if p != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p)
		}
	}
}
