package core

import (
	"fmt"
	"slices"
	"testing"
)

// TestWillEnds: a will is sent when its connection ends without a goodbye, in
// whatever way, and at no other time.
func TestWillEnds(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(x *box, c *client) *box
		want []string
	}{
		{"goodbye", func(x *box, c *client) *box { c.close(true); return x }, []string{}},
		{"broken", func(x *box, c *client) *box { c.close(false); return x }, []string{"will"}},
		{"taken over", func(x *box, c *client) *box {
			x.connect("c").close(true)
			return x
		}, []string{"will"}},
		{"crash", func(x *box, c *client) *box { return x.crash() }, []string{"will"}},
		{"goodbye, then crash", func(x *box, c *client) *box { c.close(true); x.settle(); return x.crash() }, []string{}},
		{"broken, then crash", func(x *box, c *client) *box { c.close(false); x.settle(); return x.crash() }, []string{"will"}},
		{"two crashes", func(x *box, c *client) *box { y := x.crash(); y.settle(); return y.crash() }, []string{"will"}},
		{"taken over by one with a will, that says goodbye", func(x *box, c *client) *box {
			x.connect("c", withWill(x, "w", "other", AtLeastOnce)).close(true)
			x.settle()
			return x.crash()
		}, []string{"will"}},
		{"taken over by one with a will, then crash", func(x *box, c *client) *box {
			x.connect("c", withWill(x, "w", "other", AtLeastOnce))
			x.settle()
			return x.crash()
		}, []string{"will", "other"}},
	} {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, clean %v", tc.name, clean), func(t *testing.T) {
				x := newBox(t)
				sub := x.connect("sub", persistent)
				sub.subscribe("w", AtLeastOnce)
				x.settle()
				sub.close(true)
				c := x.connect("c", withWill(x, "w", "will", AtLeastOnce), func(r *SessionRequest) { r.Clean = clean })
				x.settle()
				y := tc.end(x, c)
				y.settle()
				got := y.connect("sub", persistent).payloads(len(tc.want))
				if !slices.Equal(got, tc.want) {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		}
	}
}

// TestWillCrashes: whoever has been told that he is connected has a will, and
// whoever has been told goodbye has none, whenever the broker crashes. No crash
// has the will sent twice.
func TestWillCrashes(t *testing.T) {
	x := newBox(t)
	sub := x.connect("sub", persistent)
	sub.subscribe("w", AtLeastOnce)
	sub.close(true)
	x.settle()
	wills := func(y *box) int {
		y.settle()
		n, _ := y.Stored()
		return int(n)
	}
	x.hold(true)
	c := x.connect("c", withWill(x, "w", "will", AtLeastOnce))
	last := x.shards[0].waiting()
	x.crashes(func(y *box, n int) {
		if got := wills(y); got != min(n, 1) {
			t.Errorf("connect, %d of %d commits done: %d wills", n, last, got)
		}
	})
	x.hold(false)
	x.settle()

	x.hold(true)
	c.close(false)
	x.crashes(func(y *box, n int) {
		if got := wills(y); got != 1 {
			t.Errorf("end, %d commits done: %d wills", n, got)
		}
	})
	x.hold(false)
	x.settle()

	c = x.connect("c", withWill(x, "w", "will", AtLeastOnce))
	x.settle()
	x.hold(true)
	c.close(true)
	last = x.shards[0].waiting()
	if last == 0 {
		t.Fatal("a goodbye writes nothing")
	}
	x.crashes(func(y *box, n int) {
		want := 2 // the one before, and this one
		if n == last {
			want = 1
		}
		if got := wills(y); got != want {
			t.Errorf("goodbye, %d of %d commits done: %d wills", n, last, got)
		}
	})
}

// TestWillMessage: a will has the QoS it was given, is retained if it should
// be, also after a crash, and is told.
func TestWillMessage(t *testing.T) {
	for qos := range QoS(3) {
		for _, crash := range []bool{false, true} {
			t.Run(fmt.Sprintf("QoS %d, crash %v", qos, crash), func(t *testing.T) {
				log := new(eventLog)
				x := newBox(t, log.listen)
				sub := x.connect("sub", persistent)
				sub.subscribe("#", ExactlyOnce)
				c := x.connect("c", withWill(x, "w/1", "will", qos), func(r *SessionRequest) { r.Will.Retain = true })
				x.settle()
				if crash {
					sub.close(true)
					x.settle()
					log = new(eventLog)
					x = x.crash(log.listen)
					sub = x.connect("sub", persistent)
				} else {
					c.close(false)
				}
				if qos > 0 || !crash { // nobody was connected when the broker started
					sub.payloadsAt(t, "w/1", "will", qos, false)
				}
				late := x.connect("late")
				late.subscribe("w/+", ExactlyOnce)
				late.payloadsAt(t, "w/1", "will", qos, true)
				told := eventsOf[WillPublished](log)
				if len(told) != 1 || told[0].Topic != "w/1" || told[0].Err != nil || told[0].Identity.ClientID != "c" {
					t.Errorf("told %+v", told)
				}
			})
		}
	}
}

// payloadsAt waits for one delivery and compares all of it.
func (c *client) payloadsAt(t *testing.T, topic, payload string, qos QoS, retain bool) {
	t.Helper()
	var got []Delivery
	c.x.eventually("a delivery", func() bool {
		got = append(got, c.take()...)
		return len(got) > 0
	})
	d := got[0]
	if len(got) != 1 || string(d.Msg.Topic) != topic || string(d.Msg.Payload) != payload || d.QoS != qos || d.Retain != retain {
		t.Errorf("got %d deliveries, %q on %q, QoS %d, retain %v", len(got), d.Msg.Payload, d.Msg.Topic, d.QoS, d.Retain)
	}
}

// TestWillRefused: a will that its client may not publish is told and
// forgotten.
func TestWillRefused(t *testing.T) {
	log := new(eventLog)
	book := &rulebook{rule: refuse("c publish w")}
	x := newBox(t, withRules(book), log.listen)
	x.connect("c", withWill(x, "w", "will", AtLeastOnce)).close(false)
	x.eventually("the event", func() bool { return len(eventsOf[WillPublished](log)) > 0 })
	x.settle()
	if told := eventsOf[WillPublished](log); len(told) != 1 || told[0].Err == nil {
		t.Errorf("told %+v", told)
	}
	log = new(eventLog)
	y := x.crash(log.listen)
	y.settle()
	if told := eventsOf[WillPublished](log); len(told) != 0 {
		t.Errorf("after a crash: told %+v", told)
	}
}
