package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func expiry(d time.Duration) connectOption { return func(r *SessionRequest) { r.Expiry = d } }

func limits(l QueueLimits) connectOption { return func(r *SessionRequest) { r.Limits = l.shared() } }

// open asks for a session without starting it.
func (x *box) open(t *Turn, id string, opts ...connectOption) (s *Session, present bool, w Wait, err error) {
	r := SessionRequest{
		Principal: NewPrincipal(Identity{VHost: "/", ClientID: id, Protocol: "test"}),
		ClientID:  id, Clean: true, Owner: nobody{},
	}
	for _, o := range opts {
		o(&r)
	}
	return x.VHost("/").OpenSession(t, r)
}

// nobody is an owner that lets nobody else in.
type nobody struct{}

func (nobody) Kick(error) {}

// TestSessionPresent: only a session that was persistent before and is wanted
// so now is resumed.
func TestSessionPresent(t *testing.T) {
	for _, first := range []bool{true, false} {
		for _, second := range []bool{true, false} {
			t.Run(fmt.Sprintf("clean %v, then %v", first, second), func(t *testing.T) {
				x := newBox(t)
				opt := func(clean bool) connectOption { return func(r *SessionRequest) { r.Clean = clean } }
				c := x.connect("c", opt(first))
				c.subscribe("a", AtLeastOnce)
				pub := x.connect("pub")
				x.settle()
				c.close(true)
				pub.publish("a", "1", AtLeastOnce)
				x.settle()
				var present bool
				x.turn(func(tn *Turn) {
					s, p, wait, err := x.open(tn, "c", opt(second))
					if wait != nil || err != nil {
						t.Fatalf("wait %v, %v", wait != nil, err)
					}
					present = p
					c.s, c.got = s, nil
					s.Start(tn, c, 10, 65535)
				})
				x.settle()
				want := !first && !second
				got := texts(c.take())
				if present != want || (len(got) == 1) != want || (c.s.Subscriptions() == 1) != want {
					t.Errorf("present %v, %d subscriptions, got %q", present, c.s.Subscriptions(), got)
				}
				if n := x.Gauges().Sessions; n != 2 {
					t.Errorf("%d sessions are counted", n)
				}
				if b := x.Gauges().Bindings; (b == 1) != want {
					t.Errorf("%d bindings are counted", b)
				}
			})
		}
	}
}

func TestForeignSession(t *testing.T) {
	x := newBox(t)
	user := func(name string) connectOption {
		return func(r *SessionRequest) {
			r.Principal = NewPrincipal(Identity{User: name, VHost: "/", ClientID: r.ClientID})
		}
	}
	x.connect("c", persistent, user("ann")).close(true)
	x.settle()
	for name, y := range map[string]*box{"now": x, "after a crash": x.crash()} {
		for _, clean := range []bool{true, false} {
			y.turn(func(tn *Turn) {
				_, _, _, err := y.open(tn, "c", user("bob"), func(r *SessionRequest) { r.Clean = clean })
				if !errors.Is(err, ErrIdentifier) {
					t.Errorf("%s, clean %v: %v", name, clean, err)
				}
			})
		}
		y.connect("c", persistent, user("ann")).close(true)
	}
}

// TestTakeover: the old connection is told why, and the new one goes on when
// the old one has let go.
func TestTakeover(t *testing.T) {
	x := newBox(t)
	sub := x.connect("c", persistent)
	sub.subscribe("a", AtLeastOnce)
	pub := x.connect("pub")
	pub.publish("a", "1", AtLeastOnce)
	x.settle()
	first := sub.take()
	if len(first) != 1 {
		t.Fatalf("got %d", len(first))
	}
	again := x.connect("c", persistent)
	<-sub.gone
	got := again.take()
	if len(got) != 1 || got[0].Ordinal != first[0].Ordinal || !got[0].Redelivered {
		t.Errorf("the second connection got %+v", got)
	}
	x.turn(func(tn *Turn) {
		if st := first[0].Consumer.Settle(tn, first[0].Ordinal, AtLeastOnce, Accepted); st != NotFound {
			t.Errorf("the first connection settles for the second: %v", st)
		}
	})
	pub.publish("a", "2", AtLeastOnce)
	x.settle()
	if a, b := texts(sub.take()), texts(again.take()); len(a) != 0 || !slices.Equal(b, []string{"2"}) {
		t.Errorf("then the first got %q, the second %q", a, b)
	}
}

// TestRaceForClientID has many connections come with one client id at a time:
// there is one owner at each moment, and a last one.
func TestRaceForClientID(t *testing.T) {
	for _, opt := range []connectOption{persistent, func(*SessionRequest) {}} {
		x := newBox(t)
		var wg sync.WaitGroup
		all := make([]*client, 12)
		for i := range all {
			wg.Add(1)
			go func() {
				defer wg.Done()
				all[i] = x.connect("c", opt)
				all[i].subscribe("a", AtLeastOnce) // unless it has gone
			}()
		}
		wg.Wait()
		owners := 0
		var last *client
		for _, c := range all {
			c.in.Lock()
			if !c.ended {
				owners++
				last = c
			}
			c.in.Unlock()
		}
		if owners != 1 {
			t.Fatalf("%d connections own the session", owners)
		}
		x.connect("pub").publish("a", "x", AtLeastOnce)
		x.settle()
		if got := texts(last.take()); !slices.Equal(got, []string{"x"}) {
			t.Errorf("the last got %q", got)
		}
		if n := x.Gauges().Sessions; n != 2 {
			t.Errorf("%d sessions are counted", n)
		}
		last.close(true)
	}
}

// TestStateRepliesWait: what a reply promises is on disk before it leaves, and
// a crash at any moment before leaves the old state or the new one.
func TestStateRepliesWait(t *testing.T) {
	x := newBox(t)
	c := x.connect("c", persistent)
	c.subscribe("old", AtLeastOnce)
	x.settle()
	for _, st := range []struct {
		name  string
		do    func(t *Turn) (Wait, error)
		found func(y *box) bool // the new state
	}{
		{"subscribe", func(t *Turn) (Wait, error) { return c.s.Subscribe(t, "new", AtLeastOnce, 0) }, subscribedTo("new")},
		{"unsubscribe", func(t *Turn) (Wait, error) { return nil, c.s.Unsubscribe(t, "old") }, func(y *box) bool { return !subscribedTo("old")(y) }},
		{"shared", func(t *Turn) (Wait, error) { return c.s.Subscribe(t, "$share/g/s", AtLeastOnce, 0) }, subscribedTo("s")},
		{"leave", func(t *Turn) (Wait, error) { return nil, c.s.Unsubscribe(t, "$share/g/s") }, func(y *box) bool { return !subscribedTo("s")(y) }},
		{"connect", func(t *Turn) (Wait, error) {
			_, _, w, err := x.open(t, "second", persistent)
			return w, err
		}, func(y *box) bool { return y.VHost("/").Session("second") != nil }},
	} {
		x.hold(true)
		before := c.out.String()
		if err := c.feedRetry(st.name, st.do); err != nil {
			t.Fatal(err)
		}
		x.workersIdle()
		if c.out.String() != before {
			t.Errorf("%s: told before it is on disk", st.name)
		}
		last := x.shards[0].waiting()
		if last == 0 {
			t.Errorf("%s: nothing to write", st.name)
		}
		x.crashes(func(y *box, n int) {
			if n == 0 && st.found(y) || n == last && !st.found(y) {
				t.Errorf("%s: after %d of %d commits: %v", st.name, n, last, st.found(y))
			}
		})
		x.hold(false)
		x.settle()
		if got := strings.TrimPrefix(c.out.String(), before); got != st.name {
			t.Errorf("%s: then told %q", st.name, got)
		}
	}
}

// subscribedTo says that a message to the topic gets to the offline session c,
// itself or through a group.
func subscribedTo(topic string) func(*box) bool {
	return func(y *box) bool {
		before, _ := y.Stored()
		y.connect("probe").publish(topic, "x", AtLeastOnce)
		after, _ := y.Stored()
		return after > before
	}
}

// TestCleanSessionWritesNothing: no reply of a clean session waits for the
// disk.
func TestCleanSessionWritesNothing(t *testing.T) {
	x := newBox(t)
	x.hold(true)
	c := x.connect("c")
	c.subscribe("a", ExactlyOnce)
	c.subscribe("$share/g/a", ExactlyOnce)
	c.publishOnce(t, "a", "x", 1)
	c.release(1)
	if got := c.out.String(); got != "publish 1,release 1," {
		t.Errorf("replies: %q", got)
	}
	c.close(true)
	if n := x.shards[0].waiting(); n != 0 {
		t.Errorf("%d commits", n)
	}
}

func TestSessionExpiry(t *testing.T) {
	for _, how := range []string{"in time", "late", "never", "late, over a crash", "in time, over a crash"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(eventLog)
				x := newBox(t, log.listen)
				d := 2 * time.Minute
				if how == "never" {
					d = 0
				}
				c := x.connect("c", persistent, expiry(d))
				c.subscribe("a", AtLeastOnce)
				x.settle()
				time.Sleep(2 * d) // in the bubble: connected sessions do not expire
				c.close(false)
				x.connect("pub").publish("a", "x", AtLeastOnce)
				x.settle()
				if strings.HasSuffix(how, "crash") {
					time.Sleep(d / 2)
					log = new(eventLog) // the old bus goes on beside
					x = x.crash(log.listen)
					d /= 2
				}
				time.Sleep(d - 10*time.Second)
				if x.VHost("/").Session("c") == nil {
					t.Fatal("gone too early")
				}
				gone := strings.HasPrefix(how, "late")
				switch {
				case gone:
					time.Sleep(20 * time.Second)
				case how == "never":
					time.Sleep(20 * time.Minute)
				}
				x.settle()
				if (x.VHost("/").Session("c") == nil) != gone {
					t.Fatalf("expired: %v", !gone)
				}
				if n := len(eventsOf[SessionExpired](log)); (n == 1) != gone || n > 1 {
					t.Errorf("%d events", n)
				}
				if n, _ := x.Stored(); (n == 0) != gone {
					t.Errorf("%d messages are stored", n)
				}
				y := x.crash()
				if (y.VHost("/").Session("c") == nil) != gone {
					t.Errorf("after a crash: there %v", gone)
				}
				if !gone {
					if got := y.connect("c", persistent, expiry(d)).payloads(1); got[0] != "x" {
						t.Errorf("got %q", got)
					}
				}
			})
		})
	}
}

// TestExpiryOfResumedSession: who comes back in time stops the clock.
func TestExpiryOfResumedSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBox(t)
		c := x.connect("c", persistent, expiry(2*time.Minute))
		c.close(true)
		time.Sleep(119 * time.Second)
		c = x.connect("c", persistent, expiry(time.Minute))
		time.Sleep(5 * time.Minute)
		if x.VHost("/").Session("c") == nil {
			t.Fatal("expired while a client is connected")
		}
		c.close(true)
		time.Sleep(2 * time.Minute)
		if x.VHost("/").Session("c") != nil {
			t.Error("not expired by the new expiry")
		}
	})
}

func TestOfflineLimits(t *testing.T) {
	for _, tc := range []struct {
		name   string
		limits QueueLimits
		want   []string
		errs   int
	}{
		{"drop head", QueueLimits{MaxLength: 3}, []string{"7", "8", "9"}, 0},
		{"bytes", QueueLimits{MaxBytes: 2}, []string{"8", "9"}, 0},
		{"reject", QueueLimits{MaxLength: 3, Overflow: RejectPublish}, []string{"0", "1", "2"}, 7},
		{"none", QueueLimits{}, strings.Split("0123456789", ""), 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newBox(t)
			c := x.connect("c", persistent, limits(tc.limits))
			c.subscribe("a", AtLeastOnce)
			c.close(true)
			pub := x.connect("pub")
			errs := 0
			for i := range 10 {
				if err := pub.tryPublish("a", fmt.Sprint(i), AtLeastOnce, false); errors.Is(err, ErrQuota) {
					errs++
				} else if err != nil {
					t.Fatal(err)
				}
				x.settle()
			}
			dropped := x.Stats().Dropped[DropOverflow]
			if errs != tc.errs || int(dropped) != 10-len(tc.want)-errs {
				t.Errorf("%d refused, %d dropped", errs, dropped)
			}
			y := x.crash()
			if got := y.connect("c", persistent, limits(tc.limits)).payloads(len(tc.want)); !slices.Equal(got, tc.want) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// A takeover waits until the changes of the old connection are on their way to
// the shard, so that its own come behind them.
func TestTakeoverComesBehindTheOldChanges(t *testing.T) {
	x := newBox(t)
	c := x.connect("c", persistent)
	old := x.NewTurn()
	c.s.Close(old, true)
	open := func() (w Wait) {
		x.turn(func(tn *Turn) {
			who := NewPrincipal(Identity{ClientID: "c", VHost: "/"})
			_, _, wait, err := x.VHost("/").OpenSession(tn, SessionRequest{Principal: who, ClientID: "c", Owner: c})
			if err != nil {
				t.Error(err)
			}
			w = wait
		})
		return w
	}
	wait := open()
	if wait == nil {
		t.Fatal("the session is opened while its old owner has not let go")
	}
	old.End()
	wait(t.Context())
	if open() != nil {
		t.Error("the session cannot be opened after its old owner has let go")
	}
}

// TestOfflineSinceACrash: a session whose client went with the broker is away since
// the start, whether it expires or not.
func TestOfflineSinceACrash(t *testing.T) {
	x := newBox(t)
	x.connect("for ever", persistent)
	x.connect("for an hour", persistent, expiry(time.Hour))
	x.settle()
	before := time.Now().Truncate(time.Millisecond)
	for s := range x.crash().Sessions("") {
		if s.Offline.Before(before) || s.Offline.After(time.Now()) {
			t.Errorf("%s: away since %v", s.ClientID, s.Offline)
		}
	}
}
