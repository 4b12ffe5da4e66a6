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

// crashes opens a bus for each moment at which a crash would find another
// number of the commits on disk that the only shard holds back, and has f look
// at it. n is the number of them that made it.
func (x *box) crashes(f func(y *box, n int), change ...func(*Options)) {
	x.t.Helper()
	for n := range x.shards[0].waiting() + 1 {
		f(openBox(x.t, []*testShard{x.shards[0].forkAt(n)}, change...), n)
	}
}

func (x *box) hold(on bool) {
	for _, s := range x.shards {
		s.hold(on)
	}
}

// workersIdle waits until the workers have run what was posted to them. Unlike
// settle it waits for no commit.
func (x *box) workersIdle() {
	for _, w := range x.workers {
		done := make(chan struct{})
		w.post(task{f: func(*Turn) { close(done) }})
		<-done
	}
}

// retry does f in turns of their own until it need not wait.
func (x *box) retry(f func(t *Turn) (Wait, error)) error {
	for {
		var wait Wait
		var err error
		x.turn(func(t *Turn) { wait, err = f(t) })
		if wait == nil {
			return err
		}
		wait(x.t.Context())
		if x.t.Context().Err() != nil {
			return x.t.Context().Err()
		}
	}
}

// eventually waits until ok says yes.
func (x *box) eventually(what string, ok func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); x.settle() {
		if time.Now().After(deadline) {
			x.t.Fatalf("it never came to this: %s", what)
		}
	}
}

// eventuallyHeld is eventually while the shards are held.
func (x *box) eventuallyHeld(what string, ok func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); x.workersIdle() {
		if time.Now().After(deadline) {
			x.t.Fatalf("it never came to this: %s", what)
		}
	}
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
	gate Gate
	out  replies

	in    sync.Mutex // only one feeds the connection at a time
	ended bool       // guarded by in: it was kicked
}

// replies gathers what leaves a gate.
type replies struct {
	mu sync.Mutex
	b  []byte // guarded by mu
}

func (r *replies) AppendReply(_ *Turn, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b = append(r.b, b...)
}

func (r *replies) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return string(r.b)
}

// feed runs f as the Feed of the client's connection, behind its gate. The
// client has sent size bytes for it.
func (c *client) feed(size int, f func(t *Turn)) {
	c.in.Lock()
	defer c.in.Unlock()
	if c.ended {
		return
	}
	c.x.turn(func(t *Turn) {
		c.gate.Begin(t)
		f(t)
		c.gate.EndFeed(t, size)
	})
}

// feedRetry is retry behind the gate of the client. reply follows what f did.
func (c *client) feedRetry(reply string, f func(t *Turn) (Wait, error)) error {
	c.x.t.Helper()
	return c.x.retry(func(*Turn) (wait Wait, err error) {
		c.feed(len(reply), func(t *Turn) {
			if wait, err = f(t); wait == nil {
				t.Reply([]byte(reply)...)
			}
		})
		return wait, err
	})
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
		c.in.Lock()
		defer c.in.Unlock()
		if c.ended {
			return
		}
		c.ended = true
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
			c.x.t.Fatalf("%d of %d messages came, the last of them %q", len(out), n, out[max(0, len(out)-3):])
		}
		c.x.settle()
	}
}

type connectOption func(*SessionRequest)

func persistent(r *SessionRequest) { r.Clean = false }

func (x *box) connect(id string, opts ...connectOption) *client {
	x.t.Helper()
	c := &client{x: x, room: -1, gone: make(chan struct{})}
	c.gate.Init(&c.out, uint64(len(id)))
	vh := x.VHost("/")
	who := NewPrincipal(Identity{VHost: "/", ClientID: id, Protocol: "test", Anonymous: true})
	r := SessionRequest{Principal: who, ClientID: id, Clean: true, Owner: c}
	for _, o := range opts {
		o(&r)
	}
	for {
		wait, err := c.connect(vh, r)
		if err != nil {
			x.t.Fatal(err)
		}
		if wait == nil {
			return c
		}
		wait(x.t.Context())
	}
}

func (c *client) connect(vh *VHost, r SessionRequest) (wait Wait, err error) {
	c.in.Lock() // it may be kicked as soon as it has the session
	defer c.in.Unlock()
	c.pub = vh.NewPublisher(r.Principal)
	c.x.turn(func(t *Turn) { c.s, _, wait, err = vh.OpenSession(t, r) })
	if wait == nil && err == nil {
		c.x.turn(func(t *Turn) { c.s.Start(t, c, 100, 65535) })
	}
	return wait, err
}

func (c *client) subscribe(filter string, qos QoS) {
	c.x.t.Helper()
	c.feed(0, func(t *Turn) {
		if wait, err := c.s.Subscribe(t, filter, qos, 0); wait != nil || err != nil {
			c.x.t.Fatalf("subscribe to %q: wait %v, %v", filter, wait != nil, err)
		}
		c.s.Subscribed(t)
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

// accept settles deliveries the way a client does that has got them.
func (c *client) accept(ds ...Delivery) {
	c.x.t.Helper()
	for _, d := range ds {
		if d.QoS == AtMostOnce {
			continue
		}
		c.x.turn(func(t *Turn) {
			if d.QoS == ExactlyOnce && !d.Released {
				d.Consumer.Settle(t, d.Ordinal, d.QoS, Received)
			}
			if st := d.Consumer.Settle(t, d.Ordinal, d.QoS, Accepted); st != Done {
				c.x.t.Errorf("settle %d at QoS %d: %v", d.Ordinal, d.QoS, st)
			}
		})
	}
}

// texts are the payloads of deliveries.
func texts(ds []Delivery) []string {
	out := []string{}
	for _, d := range ds {
		if d.Msg != nil {
			out = append(out, string(d.Msg.Payload))
		}
	}
	return out
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
