package core

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// What reviews have found, so that it does not come back.

// A queue goes while a message is being distributed to it and to others: the
// body that they share stays for the others.
func TestSharedBodyOutlivesAQueue(t *testing.T) {
	x := newBox(t)
	a, b := x.connect("a", persistent), x.connect("b", persistent)
	pub := x.connect("pub")
	x.settle()
	a.close(true)
	b.close(true)
	x.settle()

	p, d := x.NewTurn(), x.NewTurn()
	m := p.Message()
	m.Exchange, m.Topic, m.Payload = pub.pub.vh.topics, []byte("t"), bytes.Repeat([]byte("x"), 1000)
	m.QoS, m.Persistent = AtLeastOnce, true
	r := &route{ex: m.Exchange, targets: []target{{&a.s.queue, 1}, {&b.s.queue, 1}}}
	apart := r.bodies(p, m) // and now distribute, step by step
	a.s.queue.enqueue(p, m, 1, 0, apart[0])
	a.s.queue.destroy(d) // the client of a is back with a clean session, on another loop
	b.s.queue.enqueue(p, m, 1, 0, apart[0])
	apart[0].write(p, m.Payload)
	p.End() // acknowledged from here on
	x.settle()
	d.End()
	x.settle()

	y := x.crash()
	b = y.connect("b", persistent)
	y.eventually("the message arrives", func() bool { return len(b.take()) == 1 })
}

// The sweeper has looked at the queues, and then one becomes durable that had
// no records before.
func TestSweepSeesQueuesThatBecomeDurable(t *testing.T) {
	x := newBox(t)
	c := x.connect("c")
	c.subscribe("$share/g/t", 1)
	known := x.snapshotQueues()
	s := x.connect("s", persistent)
	s.subscribe("$share/g/t", 1)
	c.close(true)
	s.close(true)
	x.connect("pub").publish("t", string(make([]byte, 300<<10)), 1)
	x.settle()
	sh := x.Bus.shards[0]
	lists := 0
	lo, hi := kindRange(keyBody)
	if err := sh.store.Scan(lo, hi, func(k, v []byte) bool {
		if bytes.HasSuffix(k, []byte{0, 0, 0, 0}) {
			lists++
			if live, err := sh.anyLive(known, v); !live || err != nil {
				t.Errorf("the body of an acknowledged message counts as dead (%v)", err)
			}
		}
		return true
	}); err != nil || lists != 1 {
		t.Fatalf("%d bodies, %v", lists, err)
	}
}

// A session expires and its client is back before that is on disk; then the
// power fails. Of the two records with one client id the younger one counts.
func TestExpiredSessionLeavesNoGhost(t *testing.T) {
	x := newBox(t)
	s := x.connect("s", func(r *SessionRequest) { r.Clean, r.Expiry = false, time.Hour })
	s.subscribe("t", 1)
	x.settle()
	s.close(true)
	x.settle()
	e := x.NewTurn()
	e.Now += (2 * time.Hour).Milliseconds()
	s.s.expire(e) // the turn of housekeeping, which is not over yet
	x.connect("s", persistent)
	x.settle()
	y := x.crash()
	e.End()
	y.connect("pub").publish("t", "x", 1)
	y.settle()
	lo, hi := kindRange(keyEntry)
	if err := y.Bus.shards[0].store.Scan(lo, hi, func(k, _ []byte) bool {
		t.Errorf("entry %x is stored for a session that nobody can reach", k)
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if n := y.Gauges().Sessions; n != 2 {
		t.Errorf("%d sessions, want those of s and pub", n)
	}
}

// The wall clock is set back between arming and firing.
func TestExpiryWithClockSetBack(t *testing.T) {
	x := newBox(t)
	s := x.connect("s", func(r *SessionRequest) { r.Clean, r.Expiry = false, time.Hour })
	s.close(true)
	x.settle()
	a := s.s.away
	x.timers.stop(&a.timer) // as Advance does before it calls
	x.turn(func(t *Turn) {
		t.Now = a.endedAt + a.expiry - 1
		s.s.expire(t)
	})
	if !a.timer.Armed() {
		t.Error("the session will never expire")
	}
}

// A persistent session consumes from a queue that is declared anew at each
// start, which is after the sessions have been recovered.
func TestSubscriptionOfTransientQueueSurvives(t *testing.T) {
	x := newBox(t)
	declare := func(x *box) {
		x.turn(func(turn *Turn) {
			q, err := x.VHost("/").DeclareQueue(turn, "q", QueueOptions{})
			if err == nil {
				err = x.VHost("/").BindQueue(turn, q, "amq.topic", "t", SyntaxMQTT)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	declare(x)
	s := x.connect("s", persistent)
	s.subscribe("$queue/q", 1)
	x.settle()
	s.close(true)
	x.settle()
	y := x.crash()
	declare(y)
	s = y.connect("s", persistent)
	y.connect("pub").publish("t", "x", 1)
	y.eventually("the message arrives", func() bool { return len(s.take()) == 1 })
	if err := s.s.Unsubscribe(y.NewTurn(), "$queue/q"); err != nil {
		t.Error(err)
	}
}

// A message that one queue refuses reaches no other, and is not retained: its
// publisher will send it again.
func TestRefusedByOneReachesNone(t *testing.T) {
	x := newBox(t)
	full := &QueueLimits{MaxLength: 1, Overflow: RejectPublish}
	away := x.connect("away", persistent, func(r *SessionRequest) { r.Limits = full })
	away.subscribe("t", 2)
	here := x.connect("here", persistent)
	here.subscribe("t", 2)
	x.settle()
	away.close(true)
	x.settle()
	pub := x.connect("pub", persistent)
	send := func(id uint16) error {
		return x.retry(func(t *Turn) (Wait, error) {
			m := t.Message()
			m.Exchange, m.Topic, m.Payload = pub.pub.vh.topics, []byte("t"), fmt.Append(nil, id)
			m.QoS, m.Persistent, m.Retain = ExactlyOnce, true, true
			return pub.s.PublishOnce(t, pub.pub, m, id, 10)
		})
	}
	if err := send(1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := send(2); err == nil {
			t.Fatal("a full queue takes a message")
		}
	}
	x.settle()
	if got := texts(here.take()); len(got) != 1 || got[0] != "1" {
		t.Errorf("the other subscriber has %q", got)
	}
	late := x.connect("late")
	late.subscribe("t", 0)
	x.eventually("the retained message comes", func() bool {
		got := texts(late.take())
		return len(got) == 1 && got[0] == "1"
	})
}

// To subscribe costs the same, however much is retained, and to look for what
// matches keeps nobody else waiting.
func TestSubscribeDoesNotSearch(t *testing.T) {
	x := newBox(t)
	pub := x.connect("pub")
	x.turn(func(t *Turn) {
		for i := range 3 * walkBudget {
			pub.publishIn(t, fmt.Sprintf("d%06d/s", i), "x", 0, true)
		}
		pub.publishIn(t, "e/0", "found", 0, true)
	})
	r := &x.VHost("/").retained
	visited, after, walks := 0, "", 0
	for more := true; more; walks++ {
		after = r.walk("+/0", after, func(*retainedNode) bool { visited++; return true })
		more = after != ""
	}
	if visited != 1 || walks < 3 {
		t.Errorf("%d found in %d walks", visited, walks)
	}
	s := x.connect("s")
	s.subscribe("+/0", 0)
	x.eventually("the one that matches comes", func() bool { return len(s.take()) == 1 })
}

// A disk that does not keep up holds back who publishes messages that need no
// disk, too: they are spilled there.
func TestSlowDiskHoldsTransientPublishers(t *testing.T) {
	raised, cleared := make(chan AlarmRaised, 1), make(chan AlarmCleared, 1)
	x := newBox(t, func(o *Options) {
		o.QueueMemory, o.MemoryAlarm = 1<<20, 4<<20
		o.Listeners = append(o.Listeners, func(e Event) {
			switch e := e.(type) {
			case AlarmRaised:
				raised <- e
			case AlarmCleared:
				cleared <- e
			}
		})
	})
	sub := x.connect("sub")
	sub.room = 0 // does not read
	sub.subscribe("t", 1)
	pub := x.connect("pub")
	x.settle()
	x.hold(true)
	var wait Wait
	x.eventuallyHeld("the publisher has to wait", func() bool {
		x.turn(func(turn *Turn) {
			m := turn.Message()
			m.Exchange, m.Topic, m.Payload, m.QoS = pub.pub.vh.topics, []byte("t"), make([]byte, 10000), AtLeastOnce
			var err error
			if wait, err = pub.pub.Publish(turn, m); err != nil {
				t.Fatal(err)
			}
		})
		return wait != nil
	})
	if a := <-raised; a.Alarm != "memory" {
		t.Errorf("alarm %q", a.Alarm)
	}
	x.hold(false)
	wait(t.Context())
	if a := <-cleared; a.Alarm != "memory" {
		t.Errorf("alarm %q", a.Alarm)
	}
}

// After a crash those that may have been sent are within the span of packet ids
// from the first that lives, however long the backlog.
func TestDupIsBoundedAfterACrash(t *testing.T) {
	x := newBox(t)
	s := x.connect("s", persistent)
	x.settle()
	q := &s.s.queue
	x.turn(func(t *Turn) {
		q.mu.Lock()
		defer q.mu.Unlock()
		t.promise(q.sh).touch(q).hi = 3 * maxSpan
	})
	x.settle()
	y := x.crash()
	q = &y.VHost("/").Session("s").queue
	if q.disk.dupBelow != maxSpan || q.next != 3*maxSpan {
		t.Errorf("entries below %d of %d may have been sent", q.disk.dupBelow, q.next)
	}
}

// One pattern bound in both syntaxes is two bindings, after a restart too.
func TestBindingsOfBothSyntaxesSurvive(t *testing.T) {
	x := newBox(t)
	x.turn(func(turn *Turn) {
		vh := x.VHost("/")
		q, err := vh.DeclareQueue(turn, "q", QueueOptions{Durable: true})
		for _, syntax := range []Syntax{SyntaxMQTT, SyntaxAMQP} {
			if err == nil {
				err = vh.BindQueue(turn, q, "amq.topic", "a/#", syntax)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	x.settle()
	routed := func(x *box, syntax Syntax, topic string) int {
		x.turn(func(turn *Turn) {
			m := turn.Message()
			m.Exchange, m.Topic, m.Syntax, m.QoS = x.VHost("/").Topics(), []byte(topic), syntax, AtLeastOnce
			if _, err := x.VHost("/").NewInternalPublisher().Publish(turn, m); err != nil {
				t.Fatal(err)
			}
		})
		return int(x.VHost("/").Queue("q").Info().Ready)
	}
	for _, x := range []*box{x, x.crash()} {
		if n := routed(x, SyntaxMQTT, "a/b"); n != 1 {
			t.Errorf("a/b by MQTT: %d messages", n)
		}
		if n := routed(x, SyntaxAMQP, "a/#"); n != 2 { // the AMQP pattern is one word
			t.Errorf("a/# by AMQP: %d messages", n)
		}
	}
}

// A turn that has only added to what other turns will flush is not full for
// ever: nothing that is fed in it would be parsed.
func TestTurnIsNotFullAfterAFlush(t *testing.T) {
	x := newBox(t)
	turn := x.NewTurn()
	defer turn.End()
	turn.Appended(turnBytes)
	if !turn.Full() {
		t.Fatal("the turn is not full")
	}
	turn.Flush()
	if turn.Full() {
		t.Error("the turn is full after it was flushed")
	}
}

// A topic that is cleared again while its clearing is on its way to disk: who
// clears it the second time must not be told before the first is there.
func TestClearedTwiceIsClearedOnDisk(t *testing.T) {
	x := newBox(t)
	c := x.connect("c")
	for _, first := range []QoS{AtMostOnce, AtLeastOnce} {
		if err := c.tryPublish("a", "kept", AtLeastOnce, true); err != nil {
			t.Fatal(err)
		}
		x.settle()
		x.hold(true)
		x.turn(func(tn *Turn) {
			c.publishIn(tn, "a", "", first, true)
			x.vhosts["/"].retained.flush(tn)
		})
		again := newTold(1)
		x.turn(func(tn *Turn) {
			again.feed(tn, "cleared", func() { c.publishIn(tn, "a", "", AtLeastOnce, true) })
		})
		x.rest([]bool{true})
		if got := again.replies(); len(got) != 0 {
			t.Errorf("first at QoS %d: told %q before it is on disk", first, got)
		}
		x.hold(false)
		x.settle()
		if got := again.replies(); len(got) != 1 {
			t.Errorf("first at QoS %d: told %q in the end", first, got)
		}
		x.vhosts["/"].retained.mu.RLock()
		n := x.vhosts["/"].retained.nodes.Len()
		x.vhosts["/"].retained.mu.RUnlock()
		if n != 0 {
			t.Errorf("first at QoS %d: %d nodes are left", first, n)
		}
	}
}

// A message of a group that moves into a member's own queue, while a later one
// is settled in a turn whose batch is on disk first: its head must not hide the
// message before that is in the other queue.
func TestMovedBehindALaterSettle(t *testing.T) {
	x := newBox(t)
	c := x.connect("c", persistent)
	c.subscribe("$share/g/a", ExactlyOnce)
	x.turn(func(tn *Turn) {
		q := c.s.subs.list[0].from
		q.mu.Lock()
		c.s.subs.list[0].consumer.sink = mover{c}
		q.mu.Unlock()
	})
	pub := x.connect("pub")
	x.settle()
	x.hold(true)
	x.turn(func(tn *Turn) {
		pub.publishIn(tn, "a", "moves", ExactlyOnce, false)
		pub.publishIn(tn, "a", "settled", AtLeastOnce, false)
	})
	x.turn(func(tn *Turn) {
		c.s.subs.list[0].from.committed(tn, 0, 2) // as if they were
		tn.Do(func(*Turn) { c.accept(c.take()...) })
	})
	x.crashes(func(y *box, n int) {
		y.settle()
		if got, want := len(y.keys(keyEntry)), []int{0, 2, 1, 1}[n]; got != want {
			t.Errorf("after %d commits there are %d messages, not %d", n, got, want)
		}
	})
	x.hold(false)
	x.settle()
	if left := c.s.subs.list[0].from.Info(); left.InMemory != 0 {
		t.Errorf("the group has %d entries in memory still", left.InMemory)
	}
}

// A queue that is full refuses a message and sends it to a dead letter exchange
// that leads back to it: that must end. Another queue that the exchange leads to
// gets the message, though the full one refuses it.
func TestRefusedInACircle(t *testing.T) {
	x := newBox(t)
	x.exchange("dlx", ExchangeOptions{Type: Fanout})
	full := x.named("full", QueueOptions{
		Durable: true, DeadLetter: &DeadLetter{Exchange: "dlx"}, Limits: QueueLimits{MaxLength: 1, Overflow: RejectPublishDLX},
	})
	other := x.named("other", QueueOptions{Durable: true})
	for _, q := range []*Queue{full, other} {
		x.bindQueue(q, "dlx", "", SyntaxAMQP)
	}
	p := x.publisher()
	for i := range 3 {
		x.turn(func(tn *Turn) {
			if err := p.to(tn, "full", number(i), true); errors.Is(err, ErrQuota) != (i > 0) {
				t.Fatalf("publish %d: %v", i, err)
			}
		})
	}
	x.rest(nil)
	if n, m := full.Info().Ready, other.Info().Ready; n != 1 || m != 2 {
		t.Errorf("%d and %d messages, want 1 and 2", n, m)
	}
}

// Of a queue with a length limit the oldest goes, though it has been sent before
// and came back.
func TestDropsWhatCameBack(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true, Limits: QueueLimits{MaxLength: 2}})
	k := x.taker(q, 1)
	p := x.publisher()
	publish := func(i int) {
		x.turn(func(tn *Turn) {
			if err := p.to(tn, "q", number(i), true); err != nil {
				t.Fatal(err)
			}
		})
		x.rest(nil)
	}
	for i := range 3 {
		publish(i)
	}
	ds := k.take()
	x.turn(func(tn *Turn) { k.c.Stop(tn) })
	k.settle(Released, ds[0])
	publish(3)
	if got, want := x.taker(q, 0).now(), []string{number(2), number(3)}; !slices.Equal(got, want) {
		t.Errorf("left are %q", got)
	}
}

// Bytes that are lent do not count against the limit of bytes.
func TestLentBytesDoNotCount(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true, Limits: QueueLimits{MaxBytes: 100, Overflow: RejectPublish}})
	k := x.taker(q, 1)
	for i := range 2 {
		x.fill("q", i, i+1, true)
		x.rest(nil)
	}
	if ds := k.take(); len(ds) != 1 || q.Info().Ready != 1 {
		t.Errorf("%d lent, %+v", len(ds), q.Info())
	}
}

// What has an address that is no topic name never reaches a session, by which
// way ever: it is rejected, and does not stand in the way of what follows.
func TestNoTopicNameIsNotDelivered(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		for _, o := range []QueueOptions{{Durable: true}, {Durable: true, SingleActive: true}, {Durable: true, MaxPriority: 3}} {
			x := newBox(t)
			q := x.named("q", o)
			c := x.connect("c")
			c.subscribe("$queue/q", AtLeastOnce)
			c.subscribe("a/#", AtLeastOnce)
			x.bindQueue(q, topicExchange, "a.#", SyntaxAMQP)
			pub := x.VHost("/").NewInternalPublisher()
			for i, key := range []string{"a.1", "a.+", "a.2", "a.\x00", "a.3", "a.\xff"} {
				x.turn(func(tn *Turn) {
					m := tn.Message()
					m.Exchange, m.Syntax, m.Topic, m.Payload = x.VHost("/").Topics(), SyntaxAMQP, []byte(key), []byte(fmt.Sprint(i))
					m.Persistent = persistent
					if persistent {
						m.QoS = AtLeastOnce
					}
					if w, err := pub.Publish(tn, m); w != nil || err != nil {
						t.Fatal(w != nil, err)
					}
				})
			}
			x.settle()
			got := texts(c.take())
			slices.Sort(got)
			if want := []string{"0", "0", "2", "2", "4", "4"}; !slices.Equal(got, want) {
				t.Errorf("persistent %v, %+v: got %q, want %q", persistent, o, got, want)
			}
			if i := q.Info(); i.Ready != 0 || i.Unsettled != 3 {
				t.Errorf("persistent %v, %+v: left %+v", persistent, o, i)
			}
			if n := x.Stats().Unrepresentable; n != 6 { // once by each way
				t.Errorf("persistent %v, %+v: %d are counted", persistent, o, n)
			}
		}
	}
}

// Nor does it go round and round where the queue dead-letters to itself, at once or by
// way of another queue: the turn would never end.
func TestNoTopicNameInACircle(t *testing.T) {
	for _, direct := range []bool{true, false} {
		x := newBox(t)
		x.exchange("dlx", ExchangeOptions{Type: Fanout})
		q := x.named("q", QueueOptions{DeadLetter: &DeadLetter{Exchange: "dlx"}})
		if back := q; !direct {
			x.exchange("back", ExchangeOptions{Type: Fanout})
			x.bindQueue(q, "back", "", SyntaxAMQP)
			back = x.named("waits", QueueOptions{DeadLetter: &DeadLetter{Exchange: "back"}, Limits: QueueLimits{TTL: AtOnce}})
			x.bindQueue(back, "dlx", "", SyntaxAMQP)
		} else {
			x.bindQueue(q, "dlx", "", SyntaxAMQP)
		}
		c := x.connect("c")
		c.subscribe("$queue/q", AtLeastOnce)
		pub := x.VHost("/").NewInternalPublisher()
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Syntax, m.Topic, m.Payload = x.VHost("/").Exchange("dlx"), SyntaxAMQP, []byte("a+b"), []byte("x")
			if _, err := pub.Publish(tn, m); err != nil {
				t.Fatal(err)
			}
		})
		x.settle()
		if got := c.take(); len(got) != 0 || q.Info().Ready != 0 {
			t.Errorf("direct %v: %d came, %+v", direct, len(got), q.Info())
		}
	}
}

// A session consumes a declared queue by the rules of that queue: all its
// priorities, and not at all what belongs to somebody.
func TestSessionConsumesByTheRules(t *testing.T) {
	x := newBox(t)
	owner := NewPrincipal(Identity{VHost: "/"})
	prio := x.named("prio", QueueOptions{Durable: true, MaxPriority: 9})
	x.named("mine", QueueOptions{Owner: owner})
	taken := x.named("taken", QueueOptions{})
	x.turn(func(tn *Turn) {
		if _, err := taken.Consume(tn, &accepter{}, ConsumerOptions{Identity: owner, QoS: AtLeastOnce, Exclusive: true}); err != nil {
			t.Fatal(err)
		}
	})
	c := x.connect("c")
	for _, name := range []string{"mine", "taken"} {
		if err := c.trySubscribe("$queue/"+name, AtLeastOnce); !errors.Is(err, ErrInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
	pub := x.VHost("/").NewInternalPublisher()
	for i := range 10 {
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Syntax, m.Topic, m.Payload = x.VHost("/").Exchange(""), SyntaxAMQP, []byte("prio"), []byte(fmt.Sprint(i))
			m.QoS, m.Persistent, m.Priority, m.Props = AtLeastOnce, true, uint8(i), []byte{8, 0, byte(i)}
			if w, err := pub.Publish(tn, m); w != nil || err != nil {
				t.Fatal(w != nil, err)
			}
		})
	}
	x.settle()
	c.subscribe("$queue/prio", AtLeastOnce)
	x.settle()
	got := c.take()
	if want := []string{"9", "8", "7", "6", "5", "4", "3", "2", "1", "0"}; !slices.Equal(texts(got), want) {
		t.Errorf("got %q, want %q", texts(got), want)
	}
	c.accept(got...)
	x.settle()
	if i := prio.Info(); i.Ready+i.Unsettled != 0 || i.Consumers != 1 {
		t.Errorf("left: %+v", i)
	}
}
