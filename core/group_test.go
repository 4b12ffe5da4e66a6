package core

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestGroupGetsOneCopy: each group gets each message once, whatever its members
// are, beside those who subscribe for themselves.
func TestGroupGetsOneCopy(t *testing.T) {
	for qos := range QoS(3) {
		x := newBox(t)
		groups := map[string][]*client{}
		for _, g := range []string{"one", "two"} {
			for i := range 3 {
				c := x.connect(fmt.Sprint(g, i))
				c.subscribe("$share/"+g+"/a/#", QoS(2))
				groups[g] = append(groups[g], c)
			}
		}
		alone := x.connect("alone")
		alone.subscribe("a/#", ExactlyOnce)
		groups["alone"] = []*client{alone}
		pub := x.connect("pub")
		var want []string
		for i := range 30 {
			pub.publish("a/b", fmt.Sprintf("%02d", i), qos)
			want = append(want, fmt.Sprintf("%02d", i))
		}
		x.settle()
		for name, members := range groups {
			var all []string
			for _, c := range members {
				got := texts(c.take())
				if len(got) != 30/len(members) {
					t.Errorf("QoS %d, %s: a member got %d", qos, name, len(got))
				}
				all = append(all, got...)
			}
			if slices.Sort(all); !slices.Equal(all, want) {
				t.Errorf("QoS %d, %s: got %q", qos, name, all)
			}
		}
		if n := x.Groups(); n != 2 {
			t.Errorf("%d groups", n)
		}
	}
}

// TestGroupMemberLeaves: what a member has not settled goes to another, before
// what came later, in its order and marked.
func TestGroupMemberLeaves(t *testing.T) {
	for _, how := range []string{"broken", "goodbye", "unsubscribe"} {
		t.Run(how, func(t *testing.T) {
			x := newBox(t)
			first, pub := x.connect("first"), x.connect("pub")
			first.subscribe("$share/g/a", AtLeastOnce)
			second := x.connect("second")
			second.room = 0
			second.subscribe("$share/g/a", AtLeastOnce)
			for i := range 6 {
				pub.publish("a", fmt.Sprint(i), AtLeastOnce)
			}
			x.settle()
			got := first.take()
			if s := strings.Join(texts(got), ""); s != "012345" {
				t.Fatalf("the first got %q", s)
			}
			first.accept(got[1], got[4])
			switch how {
			case "broken":
				first.close(false)
			case "goodbye":
				first.close(true)
			default:
				first.feed(0, func(tn *Turn) {
					if err := first.s.Unsubscribe(tn, "$share/g/a"); err != nil {
						t.Error(err)
					}
				})
			}
			pub.publish("a", "6", AtLeastOnce)
			second.sink.Lock()
			second.room = -1
			second.sink.Unlock()
			x.turn(func(t *Turn) { second.s.subs.list[0].consumer.Resume(t) })
			x.settle()
			rest := second.take()
			if s := strings.Join(texts(rest), ""); s != "02356" {
				t.Errorf("the second got %q", s)
			}
			for _, d := range rest {
				if again := string(d.Msg.Payload) != "6"; d.Redelivered != again {
					t.Errorf("%s is marked %v", d.Msg.Payload, d.Redelivered)
				}
			}
		})
	}
}

// TestGroupQoS0: a message at QoS 0 goes to a member that is connected and has
// room, or is dropped and counted.
func TestGroupQoS0(t *testing.T) {
	x := newBox(t)
	away, full, live := x.connect("away", persistent), x.connect("full"), x.connect("live")
	for _, c := range []*client{away, full, live} {
		c.subscribe("$share/g/a", AtLeastOnce)
	}
	away.close(true)
	full.sink.Lock()
	full.room = 0
	full.sink.Unlock()
	pub := x.connect("pub")
	for range 10 {
		pub.publish("a", "x", AtMostOnce)
	}
	if n := len(live.take()); n != 10 {
		t.Errorf("the live member got %d of 10", n)
	}
	live.close(true)
	pub.publish("a", "x", AtMostOnce)
	if n := x.Stats().Dropped[DropNoRoom]; n != 1 {
		t.Errorf("%d drops are counted", n)
	}
}

// TestGroupGoes: the queue of a group goes with its last member, and not with
// its last connection.
func TestGroupGoes(t *testing.T) {
	const name = "$share/g/a/#"
	x := newBox(t)
	clean, kept := x.connect("clean"), x.connect("kept", persistent)
	clean.subscribe(name, AtLeastOnce)
	kept.subscribe(name, ExactlyOnce)
	pub := x.connect("pub")
	kept.close(true)
	clean.close(true)
	pub.publish("a/b", "1", AtLeastOnce)
	x.settle()
	for what, y := range map[string]*box{"now": x, "after a crash": x.crash()} {
		if q := y.VHost("/").Queue(name); q == nil || q.Info().Ready != 1 || !q.Info().Durable {
			t.Fatalf("%s: the group of an absent member is gone, or empty", what)
		}
		kept := y.connect("kept", persistent)
		if got := kept.payloads(1); got[0] != "1" {
			t.Errorf("%s: got %q", what, got)
		}
		kept.feed(0, func(tn *Turn) {
			if err := kept.s.Unsubscribe(tn, name); err != nil {
				t.Error(err)
			}
		})
		y.settle()
		if y.VHost("/").Queue(name) != nil || y.Groups() != 0 || y.Gauges().Bindings != 0 {
			t.Errorf("%s: the group is there without members", what)
		}
		z := y.crash()
		if n, _ := z.Stored(); z.Groups() != 0 || n != 0 {
			t.Errorf("%s, after another crash: %d groups, %d messages", what, z.Groups(), n)
		}
		again := y.connect("again")
		again.subscribe(name, AtLeastOnce)
		y.connect("pub2").publish("a/b", "2", AtLeastOnce)
		if got := again.payloads(1); !slices.Equal(got, []string{"2"}) {
			t.Errorf("%s: a new group has %q", what, got)
		}
	}
}

// TestGroupOfTransients: a group without persistent members leaves nothing
// behind.
func TestGroupOfTransients(t *testing.T) {
	x := newBox(t)
	a := x.connect("a")
	a.subscribe("$share/g/a", AtLeastOnce)
	x.settle()
	if y := x.crash(); y.Groups() != 0 {
		t.Error("it is there after a crash")
	}
	a.close(true)
	if x.Groups() != 0 {
		t.Error("it is there after its member has gone")
	}
}

// TestDeliveryTimeout: a consumer that settles nothing is closed, and another
// gets what it had; one that settles, or has nothing, is left alone.
func TestDeliveryTimeout(t *testing.T) {
	x := newBox(t)
	lazy, busy, idle := x.connect("lazy"), x.connect("busy"), x.connect("idle")
	idle.subscribe("$share/other/b", AtLeastOnce)
	lazy.subscribe("$share/g/a", AtLeastOnce)
	pub := x.connect("pub")
	pub.publish("a", "1", AtLeastOnce)
	busy.subscribe("$share/g/a", AtLeastOnce)
	for range 4 {
		pub.publish("a", "2", AtLeastOnce)
	}
	x.settle()
	had := busy.take()
	if len(had) < 2 {
		t.Fatalf("busy got %d", len(had))
	}
	limit := x.limits.Load().DeliveryTimeout.Milliseconds()
	later := func(ms int64, do func(*Turn)) {
		x.turn(func(t *Turn) {
			t.Now += ms
			do(t)
		})
	}
	later(limit/2, func(tn *Turn) { had[0].Consumer.Settle(tn, had[0].Ordinal, AtLeastOnce, Accepted) })
	later(limit/2, x.checkConsumers)
	select {
	case <-lazy.gone:
		t.Fatal("closed too early")
	default:
	}
	later(limit+int64(time.Minute/time.Millisecond), x.checkConsumers)
	select {
	case <-lazy.gone:
	case <-time.After(20 * time.Second): // it is closed by a goroutine
		t.Fatal("not closed")
	}
	x.settle()
	if got := texts(busy.take()); !slices.Contains(got, "1") {
		t.Errorf("busy got %q", got)
	}
	for _, c := range []*client{busy, idle} {
		select {
		case <-c.gone:
			t.Errorf("%s was closed", c.s.ClientID())
		default:
		}
	}
}

// mover is a sink that wants QoS 2 deliveries of others in its own queue, as
// MQTT does.
type mover struct{ *client }

func (m mover) Deliver(t *Turn, d Delivery) Verdict {
	if d.QoS == ExactlyOnce && d.Consumer.Queue() != m.s.Queue() {
		return MoveFirst
	}
	return m.client.Deliver(t, d)
}

// TestMoveFirst: a QoS 2 message of a group is completed with the member that
// it was sent to, over any crash.
func TestMoveFirst(t *testing.T) {
	x := newBox(t)
	c := x.connect("c", persistent)
	c.close(true)
	connect := func(x *box) *client {
		c := &client{x: x, room: -1, gone: make(chan struct{})}
		x.turn(func(tn *Turn) {
			var err error
			if c.s, _, _, err = x.open(tn, "c", persistent, func(r *SessionRequest) { r.Owner = c; r.Principal.Anonymous = true }); err != nil {
				t.Fatal(err)
			}
		})
		x.turn(func(tn *Turn) { c.s.Start(tn, mover{c}, 10, 65535) })
		return c
	}
	c = connect(x)
	c.subscribe("$share/g/a", ExactlyOnce)
	pub := x.connect("pub")
	x.settle()
	pub.publish("a", "1", ExactlyOnce)
	x.settle()
	got := c.take()
	if len(got) != 1 || !got[0].Moved || got[0].Consumer != c.s.Consumer() {
		t.Fatalf("got %+v", got)
	}
	if n := x.VHost("/").Queue("$share/g/a").Info(); n.Ready+n.Unsettled != 0 {
		t.Errorf("%d are left in the group", n.Ready+n.Unsettled)
	}
	x.settle()
	y := x.crash()
	other := y.connect("other")
	other.subscribe("$share/g/a", ExactlyOnce)
	again := connect(y)
	y.eventually("the message", func() bool {
		again.sink.Lock()
		defer again.sink.Unlock()
		return len(again.got) > 0
	})
	if d := again.take(); len(d) != 1 || d[0].Ordinal != got[0].Ordinal || !d[0].Redelivered || len(other.take()) != 0 {
		t.Errorf("after a crash: %+v", d)
	}

	// At no moment is the message nowhere, or twice.
	x.hold(true)
	pub.publish("a", "2", ExactlyOnce)
	x.shards[0].hold(false)
	x.settle()
	c.accept(got...)
	c.accept(c.take()...)
	x.settle()
	if n, _ := x.Stored(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// countingMover counts what did not come.
type countingMover struct {
	mover
	missed *atomic.Int32
}

func (m countingMover) NotMoved(*Turn) { m.missed.Add(1) }

// TestMoveRevoked: a member that asked for a message, and may not have it any
// more when it comes, is told, so that it does not wait for it.
func TestMoveRevoked(t *testing.T) {
	book := &rulebook{rule: anything}
	x := newBox(t, withRules(quickRules{book}))
	c := x.connect("c", persistent)
	missed := new(atomic.Int32)
	m := countingMover{mover{c}, missed}
	c.subscribe("$share/g/a", ExactlyOnce)
	x.turn(func(tn *Turn) {
		c.s.Consumer().Cancel(tn)
		c.s.subs.list[0].stop(tn)
		c.s.Start(tn, m, 10, 65535)
	})
	pub := x.connect("pub")
	x.settle()
	x.hold(true)
	pub.publish("a", "1", ExactlyOnce)
	x.turn(func(tn *Turn) { c.s.subs.list[0].from.committed(tn, 0, 1) }) // as if it were: the move is the second commit
	book.set(refuse("c receive a"))
	x.RevokeRights()
	x.hold(false)
	x.settle()
	if got := c.take(); len(got) != 0 || missed.Load() != 1 {
		t.Errorf("got %+v; told of %d that do not come, not 1", got, missed.Load())
	}
	if n := x.Stats().Dropped[DropNotAuthorized]; n != 1 {
		t.Errorf("%d drops are counted", n)
	}
}

// TestMoveCrashes crashes at each moment between the enqueue in the group and
// the delivery to its member.
func TestMoveCrashes(t *testing.T) {
	x := newBox(t)
	c := x.connect("c", persistent)
	c.subscribe("$share/g/a", ExactlyOnce)
	x.turn(func(tn *Turn) { // from now on it wants to move
		q := c.s.subs.list[0].from
		q.mu.Lock()
		c.s.subs.list[0].consumer.sink = mover{c}
		q.mu.Unlock()
	})
	pub := x.connect("pub")
	x.settle()
	x.hold(true)
	pub.publish("a", "1", ExactlyOnce)
	q := c.s.subs.list[0].from
	x.turn(func(tn *Turn) { q.committed(tn, 0, 1) }) // as if it were: the move is the second commit
	x.crashes(func(y *box, n int) {
		stored, _ := y.Stored()
		if want := int64(min(n, 1)); stored != want {
			t.Errorf("%d commits done: %d copies", n, stored)
		}
	})
}

func TestNamedQueueErrors(t *testing.T) {
	x := newBox(t)
	c := x.connect("c")
	for _, f := range []string{"$queue/none", "$queue/", "$share/g", "$share//a", "$share/g/", "$share/g+/a"} {
		if err := c.trySubscribe(f, AtLeastOnce); err == nil {
			t.Errorf("%q is taken", f)
		}
	}
	c.subscribe("$share/g/a", AtLeastOnce)
	if err := c.trySubscribe("$queue/$share/g/a", AtLeastOnce); err == nil {
		t.Error("a group is taken for a named queue")
	}
}

// TestNamedQueueOfAnother: a session that comes back does not consume what has become
// another's meanwhile.
func TestNamedQueueOfAnother(t *testing.T) {
	for owner, want := range map[*Principal]int{nil: 1, NewPrincipal(Identity{VHost: "/"}): 0} {
		x := newBox(t)
		q := x.named("q", QueueOptions{})
		c := x.connect("c", persistent)
		c.subscribe("$queue/q", AtLeastOnce)
		c.close(true)
		x.turn(func(tn *Turn) {
			if _, err := x.VHost("/").Drop(tn, q, false, false); err != nil {
				t.Fatal(err)
			}
		})
		q = x.named("q", QueueOptions{Owner: owner})
		x.connect("c", persistent)
		if n := q.Info().Consumers; n != want {
			t.Errorf("owned is %v: %d consumers", owner != nil, n)
		}
	}
}

// A shared subscription becomes durable while its messages are being written to disk
// because memory is short: they leave memory when the first of the two records is
// there, and the second does not take them for settled.
func TestGroupBecomesDurableWhileItIsSpilled(t *testing.T) {
	const n = 200
	x := newBox(t)
	full := func(o ...connectOption) *client {
		c := x.connect([]string{"clean", "persistent"}[len(o)], o...)
		c.sink.Lock()
		c.room = 0
		c.sink.Unlock()
		c.subscribe("$share/g/x", AtLeastOnce)
		return c
	}
	c := full()
	pub := x.connect("pub")
	for i := range n {
		pub.publish("x", number(i), AtLeastOnce)
	}
	x.rest(nil)
	q := x.VHost("/").Queue("$share/g/x")
	x.hold(true)
	l := *x.limits.Load()
	l.QueueMemory = 1
	x.limits.Store(&l)
	q.trim(x)
	d := full(persistent)
	x.hold(false)
	x.rest(nil)
	if i := q.Info(); !i.Durable || i.Ready != n || i.InMemory > keepAhead {
		t.Fatalf("%+v", i)
	}
	if got := x.crash().VHost("/").Queue("$share/g/x").Info(); got.Ready != n {
		t.Errorf("after a crash: %+v", got)
	}
	c.close(true)
	d.close(true)
	x.taker(q, 0).expect(0, n, nil)
	x.rest(nil)
	if i := q.Info(); i.Ready+i.Unsettled+i.InMemory != 0 {
		t.Errorf("emptied: %+v", i)
	}
}
