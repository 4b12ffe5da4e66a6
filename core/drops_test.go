package core

import (
	"testing"
	"testing/synctest"
	"time"
)

func speaks(protocol string) connectOption {
	return func(r *SessionRequest) {
		r.Principal = NewPrincipal(Identity{VHost: "/", ClientID: r.ClientID, Protocol: protocol, Anonymous: true})
	}
}

// TestDropsByProtocol: what is dropped is counted for the protocol of its
// receiver, the QoS it would have had, and the reason, and nowhere else.
func TestDropsByProtocol(t *testing.T) {
	one := QueueLimits{MaxLength: 1}
	letters := func(to string) *DeadLetter { return &DeadLetter{Key: to, HasKey: true} }
	book := &rulebook{rule: anything}
	for _, c := range []struct {
		name     string
		drop     func(x *box, pub *client)
		protocol Protocol
		qos      QoS
		why      DropReason
		want     Drops
	}{
		{"no room", func(x *box, pub *client) {
			full := x.connect("full", speaks("mqtt"))
			full.room = 0
			full.subscribe("a", AtMostOnce)
			pub.publish("a", "xyz", AtMostOnce)
			pub.publish("a", "xy", ExactlyOnce)
		}, ProtocolMQTT, AtMostOnce, DropNoRoom, Drops{2, 5}},
		{"no room, another protocol", func(x *box, pub *client) {
			full := x.connect("full", speaks("stomp"))
			full.room = 0
			full.subscribe("a", AtLeastOnce)
			pub.publish("a", "", AtMostOnce)
		}, ProtocolSTOMP, AtMostOnce, DropNoRoom, Drops{1, 0}},
		{"no room in a group", func(x *box, pub *client) {
			full := x.connect("full", speaks("mqtt"))
			full.room = 0
			full.subscribe("$share/g/a", ExactlyOnce)
			pub.publish("a", "xyz", AtMostOnce)
		}, ProtocolMQTT, AtMostOnce, DropNoRoom, Drops{1, 3}},
		{"queue full, QoS 1", func(x *box, pub *client) {
			away := x.connect("away", persistent, limits(one), speaks("mqtt"))
			away.subscribe("a", AtLeastOnce)
			away.close(true)
			for _, payload := range []string{"1", "22", "333", "4444"} { // which stays
				pub.publish("a", payload, ExactlyOnce)
				x.settle()
			}
		}, ProtocolMQTT, AtLeastOnce, DropOverflow, Drops{3, 6}},
		{"queue full, QoS 2, after a crash", func(x *box, pub *client) {
			away := x.connect("away", persistent, limits(one), speaks("mqtt"))
			away.subscribe("a", ExactlyOnce)
			away.close(true)
			pub.publish("a", "22", ExactlyOnce)
			x.settle()
			y := x.crash()
			*x = *y
			y.connect("pub").publish("a", "333", ExactlyOnce)
			y.settle()
		}, ProtocolMQTT, ExactlyOnce, DropOverflow, Drops{1, 2}},
		{"queue full, named", func(x *box, _ *client) {
			x.named("q", QueueOptions{Limits: one})
			x.fill("q", 0, 5, false)
		}, ProtocolInternal, AtLeastOnce, DropOverflow, Drops{4, 320}},
		{"queue full, but dead-lettered", func(x *box, _ *client) {
			x.named("dead", QueueOptions{})
			x.named("q", QueueOptions{Limits: one, DeadLetter: letters("dead")})
			x.fill("q", 0, 5, false)
		}, ProtocolInternal, AtLeastOnce, DropOverflow, Drops{}},
		{"queue full, dead letters to nobody", func(x *box, _ *client) {
			x.named("q", QueueOptions{Limits: one, DeadLetter: letters("nobody")})
			x.fill("q", 0, 5, false)
		}, ProtocolInternal, AtLeastOnce, DropOverflow, Drops{4, 320}},
		{"queue full, dead letters to one that is full", func(x *box, _ *client) {
			full := one
			full.Overflow = RejectPublish
			x.named("dead", QueueOptions{Limits: full})
			x.named("q", QueueOptions{Limits: one, DeadLetter: letters("dead")})
			x.fill("q", 0, 5, false)
		}, ProtocolInternal, AtLeastOnce, DropOverflow, Drops{3, 240}},
		{"expired, but dead-lettered", func(x *box, _ *client) {
			x.named("dead", QueueOptions{})
			x.named("q", QueueOptions{Limits: QueueLimits{TTL: 1000}, DeadLetter: letters("dead")})
			x.fill("q", 0, 5, false)
			time.Sleep(2 * time.Second) // by the clock of the bubble
		}, ProtocolInternal, AtLeastOnce, DropExpired, Drops{}},
		{"expired, no such dead letter exchange", func(x *box, _ *client) {
			x.named("q", QueueOptions{Limits: QueueLimits{TTL: 1000}, DeadLetter: &DeadLetter{Exchange: "none"}})
			x.fill("q", 0, 5, true)
			time.Sleep(2 * time.Second) // by the clock of the bubble
		}, ProtocolInternal, AtLeastOnce, DropExpired, Drops{5, 400}},
		{"expired", func(x *box, pub *client) {
			away := x.connect("away", persistent, limits(QueueLimits{TTL: 1000}), speaks("mqtt"))
			away.subscribe("a", ExactlyOnce)
			away.close(true)
			pub.publish("a", "xyz", ExactlyOnce)
			x.settle()
			time.Sleep(2 * time.Second) // by the clock of the bubble
			x.connect("away", persistent, speaks("mqtt"))
		}, ProtocolMQTT, ExactlyOnce, DropExpired, Drops{1, 3}},
		{"not authorized", func(x *box, pub *client) {
			sub := x.connect("sub", speaks("amqp"))
			sub.subscribe("a", ExactlyOnce)
			sub.room = 0 // so that it waits in the queue
			pub.publish("a", "xyz", AtLeastOnce)
			book.set(refuse("sub receive a"))
			x.RevokeRights()
			x.settle()
			sub.sink.Lock()
			sub.room = -1
			sub.sink.Unlock()
			x.turn(func(tn *Turn) { sub.s.consumer.Resume(tn) })
		}, ProtocolAMQP, AtLeastOnce, DropNotAuthorized, Drops{1, 3}},
		{"retained, and the queue is full", func(x *box, pub *client) {
			x.turn(func(tn *Turn) { pub.publishIn(tn, "a", "xyz", AtLeastOnce, true) })
			l := one
			l.Overflow = RejectPublish
			sub := x.connect("sub", limits(l), speaks("mqtt"))
			sub.room = 0
			sub.subscribe("b", AtLeastOnce)
			pub.publish("b", "fills it", AtLeastOnce)
			sub.subscribe("a", AtLeastOnce)
		}, ProtocolMQTT, AtLeastOnce, DropOverflow, Drops{1, 3}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				book.set(anything)
				x := newBox(t, withRules(quickRules{book}))
				c.drop(x, x.connect("pub", speaks("mqtt")))
				x.settle()
				s := x.Stats()
				for p := range Protocols {
					for qos, byReason := range s.Protocols[p].Dropped {
						for why, got := range byReason {
							want := Drops{}
							if p == c.protocol && QoS(qos) == c.qos && DropReason(why) == c.why {
								want = c.want
							}
							if got != want {
								t.Errorf("%v, QoS %d, %v: %+v are counted, want %+v", p, qos, DropReason(why), got, want)
							}
						}
					}
				}
				if got := s.Traffic.Dropped[c.qos][c.why]; got != c.want {
					t.Errorf("all protocols together: %+v, want %+v", got, c.want)
				}
				if n := s.Dropped[c.why]; n != c.want.Messages {
					t.Errorf("all QoS together: %d, want %d", n, c.want.Messages)
				}
			})
		})
	}
}

// TestDropOfWhatFailedTooOften: what goes because it has failed too often is counted,
// and what a consumer has rejected is not.
func TestDropOfWhatFailedTooOften(t *testing.T) {
	for outcome, want := range map[Outcome]uint64{Failed: 3, Rejected: 0} {
		x := newBox(t)
		q := x.named("q", QueueOptions{DeliveryLimit: AtOnce})
		x.fill("q", 0, 3, false)
		k := x.taker(q, 3)
		k.settle(outcome, k.take()...)
		x.settle()
		if s := x.Stats(); s.Dropped[DropDeliveryLimit] != want || s.Dropped != [dropReasons]uint64{DropDeliveryLimit: want} {
			t.Errorf("outcome %d: %v are counted, want %d", outcome, s.Dropped, want)
		}
		if i := q.Info(); i.Ready+i.Unsettled != 0 {
			t.Errorf("outcome %d: there are still messages: %+v", outcome, i)
		}
	}
}

// TestDropsOfTwoProtocols: one turn that drops for two counts for both.
func TestDropsOfTwoProtocols(t *testing.T) {
	x := newBox(t)
	for _, protocol := range []string{"mqtt", "stomp"} {
		full := x.connect(protocol, speaks(protocol))
		full.room = 0
		full.subscribe("a", AtMostOnce)
	}
	x.connect("pub").publish("a", "xyz", AtMostOnce)
	s := x.Stats()
	for _, p := range []Protocol{ProtocolMQTT, ProtocolSTOMP} {
		if d := s.Protocols[p].Dropped[AtMostOnce][DropNoRoom]; d != (Drops{1, 3}) {
			t.Errorf("%v: %+v", p, d)
		}
	}
}

// TestDropsCostNothing: a flood that nobody takes allocates nothing.
func TestDropsCostNothing(t *testing.T) {
	x := newBox(t)
	full := x.connect("full", speaks("mqtt"))
	full.room = 0
	full.subscribe("a", AtMostOnce)
	tn := x.NewTurn()
	defer tn.End()
	m := Message{Payload: []byte("x")}
	if n := testing.AllocsPerRun(100, func() { full.s.queue.sendDirect(tn, &m) }); n != 0 {
		t.Errorf("a drop allocates %v times", n)
	}
}
