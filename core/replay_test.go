package core

import (
	"fmt"
	"slices"
	"testing"
)

func retain(t *testing.T, x *box, n int, qos QoS) {
	t.Helper()
	c := x.connect("retainer")
	x.turn(func(tn *Turn) {
		for i := range n {
			c.publishIn(tn, fmt.Sprintf("r/%05d", i), fmt.Sprint(i), qos, true)
			if tn.Full() {
				tn.Flush()
			}
		}
	})
	c.close(true)
	x.turn(func(t *Turn) { x.VHost("/").retained.flush(t) })
	x.settle()
}

// grant lets a client take so many more.
func (c *client) grant(n int) {
	c.sink.Lock()
	c.room = n
	c.sink.Unlock()
	c.x.turn(func(t *Turn) {
		c.s.Consumer().Resume(t)
		c.s.Replay(t)
	})
}

// TestSlowReplay sends 50,000 retained messages to a client that takes them bit
// by bit: all come, in order, and what waits for it stays small.
func TestSlowReplay(t *testing.T) {
	for qos, n := range []int{50000, 10000} {
		qos := QoS(qos)
		x := newBox(t)
		retain(t, x, n, qos)
		c := x.connect("c")
		c.grant(0)
		c.subscribe("r/#", AtLeastOnce)
		x.settle()
		next := 0
		for round := 0; next < n; round++ {
			if round > 20*n {
				t.Fatalf("QoS %d: stuck at %d", qos, next)
			}
			if i := c.s.Queue().Info(); i.Ready > replayBacklog {
				t.Fatalf("QoS %d: %d wait in the queue", qos, i.Ready)
			}
			c.grant(500 + round)
			x.workersIdle()
			got := c.take()
			for _, d := range got {
				if s := string(d.Msg.Payload); s != fmt.Sprint(next) || !d.Retain || d.QoS != qos {
					t.Fatalf("QoS %d: number %d is %q, retain %v, QoS %d", qos, next, s, d.Retain, d.QoS)
				}
				next++
			}
			c.accept(got...)
		}
		x.settle()
		if got := c.take(); len(got) != 0 {
			t.Errorf("QoS %d: %d too many", qos, len(got))
		}
	}
}

// TestReplayWaitsForSuback has another replay go on, as an answer of the client
// would, between a SUBSCRIBE and the end of its turn.
func TestReplayWaitsForSuback(t *testing.T) {
	expect := func(what string, ds []Delivery, want ...string) {
		t.Helper()
		if got := texts(ds); !slices.Equal(got, want) {
			t.Errorf("%s: %q, not %q", what, got, want)
		}
	}
	for _, opts := range [][]connectOption{nil, {persistent}} {
		x := newBox(t)
		retain(t, x, 3, AtLeastOnce)
		c := x.connect("c", opts...)
		goOn := func() {
			x.turn(func(t *Turn) { c.s.Replay(t) })
			x.workersIdle()
		}
		c.subscribe("r/00000", AtLeastOnce)
		x.settle()
		expect("the first", c.take(), "0")
		c.feed(0, func(tn *Turn) {
			for _, filter := range []string{"r/00001", "r/00002"} {
				if wait, err := c.s.Subscribe(tn, filter, AtLeastOnce, 0); wait != nil || err != nil {
					t.Fatalf("subscribe: wait %v, %v", wait != nil, err)
				}
			}
		})
		goOn()
		x.settle()
		expect("while rights are asked for", c.take())
		c.feed(0, func(tn *Turn) {
			c.s.Subscribed(tn)
			goOn()
			expect("before SUBACK", c.take())
		})
		x.settle()
		expect("behind SUBACK", c.take(), "1", "2")

		// Whoever never saw SUBACK gets them with the next connection.
		if len(opts) == 0 {
			continue
		}
		c.s.addReplay(replay{filter: "r/00000", qos: AtLeastOnce, number: x.newID()})
		goOn()
		expect("without SUBACK", c.take())
		c.close(false)
		c = x.connect("c", opts...)
		x.settle()
		if got := texts(c.take()); !slices.Contains(got, "0") {
			t.Errorf("after the next CONNECT came %q", got)
		}
	}
}

// TestReplayProgress crashes, or goes away, in the midst of a replay: a
// persistent session gets the rest, and nothing that it has settled again.
func TestReplayProgress(t *testing.T) {
	const n = 1000
	for _, crash := range []bool{false, true} {
		for _, qos := range []QoS{AtMostOnce, AtLeastOnce} {
			t.Run(fmt.Sprintf("crash %v, QoS %d", crash, qos), func(t *testing.T) {
				x := newBox(t)
				retain(t, x, n, qos)
				c := x.connect("c", persistent)
				c.grant(300)
				c.subscribe("r/#", AtLeastOnce)
				seen := map[string]int{}
				note := func(ds []Delivery) {
					for _, p := range texts(ds) {
						seen[p]++
					}
				}
				for range 4 { // rounds of settling and going on
					x.settle()
					got := c.take()
					note(got)
					c.accept(got...)
					x.turn(func(t *Turn) { c.s.Replay(t) })
				}
				x.settle()
				first := len(seen)
				if first == 0 || first > 300 {
					t.Fatalf("got %d", first)
				}
				if crash {
					x = x.crash()
				} else {
					c.close(false)
				}
				c = x.connect("c", persistent)
				for range 3 * n {
					if len(seen) == n {
						break
					}
					x.settle()
					got := c.take()
					note(got)
					c.accept(got...)
					x.turn(func(t *Turn) { c.s.Replay(t) })
				}
				twice := 0
				for p, k := range seen {
					if k > 1 {
						twice++
						if qos == AtLeastOnce && !crash {
							t.Errorf("%s came %d times", p, k)
						}
					}
				}
				if len(seen) != n {
					t.Errorf("%d of %d came", len(seen), n)
				}
				// At QoS 0 what was sent in the step that the crash cut short
				// comes again.
				if twice > replayStep {
					t.Errorf("%d came twice", twice)
				}
				x.eventually("the replay is over", func() bool {
					x.turn(func(t *Turn) { c.s.Replay(t) })
					return !c.s.replayList().due.Load()
				})
				x.settle()
				y := x.crash()
				if y.connect("c", persistent).s.replayList().due.Load() {
					t.Error("the replay begins again after another crash")
				}
			})
		}
	}
}

// TestChangesWhileReplaying: what is set before the replay comes to it is sent
// in its new form, what is cleared is not, and live messages go beside.
func TestChangesWhileReplaying(t *testing.T) {
	x := newBox(t)
	retain(t, x, 300, AtMostOnce)
	c, pub := x.connect("c"), x.connect("pub")
	c.grant(10)
	c.subscribe("r/#", AtMostOnce)
	x.settle()
	if got := texts(c.take()); len(got) != 10 || got[9] != "9" {
		t.Fatalf("got %q", got)
	}
	for topic, p := range map[string]string{"r/00200": "new", "r/00201": "", "r/00201/below": "more", "r/00005": "behind"} {
		if err := pub.tryPublish(topic, p, AtMostOnce, true); err != nil {
			t.Fatal(err)
		}
	}
	c.take() // the live copies found no room
	c.grant(-1)
	got := c.payloads(290)
	if len(got) != 290 {
		t.Errorf("%d came", len(got))
	}
	for p, want := range map[string]bool{"new": true, "200": false, "201": false, "more": true, "behind": false, "5": false, "299": true} {
		if slices.Contains(got, p) != want {
			t.Errorf("%q came: %v", p, !want)
		}
	}
}

// TestReplayEnds: a subscription that is removed takes its replay along, and
// one that is made anew begins anew.
func TestReplayEnds(t *testing.T) {
	for _, opt := range []connectOption{persistent, func(*SessionRequest) {}} {
		x := newBox(t)
		retain(t, x, 100, AtMostOnce)
		c := x.connect("c", opt)
		c.grant(10)
		c.subscribe("r/#", AtMostOnce)
		x.settle()
		c.feed(0, func(tn *Turn) {
			if err := c.s.Unsubscribe(tn, "r/#"); err != nil {
				t.Error(err)
			}
		})
		c.grant(-1)
		x.settle()
		if got := c.take(); len(got) != 10 {
			t.Errorf("got %d", len(got))
		}
		c.subscribe("r/#", AtMostOnce)
		if got := c.payloads(100); len(got) != 100 || got[0] != "0" {
			t.Errorf("the second time %d came", len(got))
		}
		c.subscribe("r/#", AtMostOnce)
		if got := c.payloads(100); len(got) != 100 {
			t.Errorf("subscribed once more, %d came", len(got))
		}
	}
}
