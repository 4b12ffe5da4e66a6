package core

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// lasting publishes a message that expires after some milliseconds.
func (p *Publisher) lasting(t *Turn, queue, payload string, qos QoS, after int64, persistent bool) error {
	m := t.Message()
	m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(defaultExchange), []byte(queue), SyntaxAMQP
	m.Payload, m.QoS, m.Persistent = []byte(payload), qos, persistent
	if after > 0 {
		m.Expires = t.Now + after
	}
	_, err := p.Publish(t, m)
	return err
}

// A message expires when its time is over and it has waited all along: the
// queue leaves it out when its turn comes.
func TestExpiry(t *testing.T) {
	for _, persistent := range []bool{true, false} {
		for _, c := range []struct {
			name  string
			ttl   int64   // of the queue
			after []int64 // expiry of each message, 0: none
			wait  time.Duration
			want  []int // which come
		}{
			{"not yet", 0, []int64{1000, 0}, 900 * time.Millisecond, []int{0, 1}},
			{"just now", 0, []int64{1000, 0}, time.Second, []int{1}},
			{"some", 0, []int64{5000, 1000, 0, 2000, 9000}, 3 * time.Second, []int{0, 2, 4}},
			{"by the queue", 1000, []int64{0, 0}, time.Second, nil},
			{"the queue is longer", 5000, []int64{1000, 9000}, 2 * time.Second, []int{1}},
			{"the queue is shorter", 1000, []int64{9000}, 2 * time.Second, nil},
		} {
			t.Run(fmt.Sprintf("persistent=%v/%s", persistent, c.name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					x := newBox(t)
					q := x.named("q", QueueOptions{Durable: true, Limits: QueueLimits{TTL: c.ttl}})
					p := x.publisher()
					var want []string
					x.turn(func(tn *Turn) {
						for i, after := range c.after {
							if err := p.lasting(tn, "q", number(i), AtLeastOnce, after, persistent); err != nil {
								t.Fatal(err)
							}
						}
					})
					for _, i := range c.want {
						want = append(want, number(i))
					}
					x.rest(nil)
					time.Sleep(c.wait) // by the clock of the bubble
					synctest.Wait()    // the timer may be due at this very moment
					k := x.taker(q, 0)
					if got := k.now(); !slices.Equal(got, want) {
						t.Errorf("%q came, want %q", got, want)
					}
					if n := x.Stats().Dropped[DropExpired]; int(n) != len(c.after)-len(c.want) {
						t.Errorf("%d count as expired, want %d", n, len(c.after)-len(c.want))
					}
					if i := q.Info(); i.Ready != 0 || int(i.Unsettled) != len(want) || int(i.Bytes) != 80*len(want) {
						t.Errorf("%+v", i)
					}
					// What has expired is gone from the disk as well.
					if left := x.leftBehind(); len(want) == 0 && len(left) > 0 {
						t.Errorf("left behind: %q", left)
					}
				})
			})
		}
	}
}

// TestNothingMayWait: of a burst for a queue whose time to live is nothing, as much
// stays as its consumers have room for, and no more.
func TestNothingMayWait(t *testing.T) {
	for _, persistent := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			x := newBox(t)
			q := x.named("q", QueueOptions{Durable: true, Limits: QueueLimits{TTL: AtOnce}})
			k := x.taker(q, 2)
			x.fill("q", 0, 10, persistent) // one turn
			x.rest(nil)
			time.Sleep(time.Second) // by the clock of the bubble
			synctest.Wait()
			if got := k.now(); !slices.Equal(got, []string{number(0), number(1)}) {
				t.Errorf("persistent=%v: %q came", persistent, got)
			}
			if n, i := x.Stats().Dropped[DropExpired], q.Info(); n != 8 || i.Ready != 0 || i.Unsettled != 2 {
				t.Errorf("persistent=%v: %d have expired, %+v", persistent, n, i)
			}
		})
	}
}

// A sent message does not expire while its consumer has it. When it comes back
// to a queue that others consume, its time counts again.
func TestSentMessagesDoNotExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBox(t)
		q := x.named("q", QueueOptions{Durable: true})
		k := x.taker(q, 2)
		p := x.publisher()
		x.turn(func(tn *Turn) {
			for i := range 4 {
				if err := p.lasting(tn, "q", number(i), AtLeastOnce, 1000, true); err != nil {
					t.Fatal(err)
				}
			}
		})
		x.rest(nil)
		time.Sleep(time.Minute) // by the clock of the bubble
		ds := k.take()
		if len(ds) != 2 || q.Info().Unsettled != 2 {
			t.Fatalf("%d are out", len(ds))
		}
		k.settle(Accepted, ds[0])
		if got := k.now(); len(got) != 0 {
			t.Errorf("%q came after its time", got)
		}
		if i := q.Info(); i.Unsettled != 1 || i.Ready != 0 {
			t.Errorf("%+v", i)
		}
		k.settle(Released, ds[1])
		if got := k.now(); len(got) != 0 || q.Info().Ready != 0 {
			t.Errorf("%q came back after its time: %+v", got, q.Info())
		}
		if left := x.leftBehind(); len(left) != 0 {
			t.Errorf("left behind: %q", left)
		}
	})
}

// What a session has sent is sent again, however late the client comes back:
// it may hold the packet id.
func TestSessionKeepsWhatItHasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBox(t)
		limits := &QueueLimits{TTL: 1000}
		with := func(r *SessionRequest) { r.Clean, r.Limits = false, limits }
		c := x.connect("c", with)
		c.subscribe("a", ExactlyOnce)
		c.sink.Lock()
		c.room = 2
		c.sink.Unlock()
		pub := x.connect("p")
		for i := range 4 {
			pub.publish("a", number(i), QoS(1+i%2))
		}
		x.rest(nil)
		if n := len(c.take()); n != 2 {
			t.Fatalf("%d were sent", n)
		}
		x.turn(func(tn *Turn) {
			if st := c.s.Consumer().Settle(tn, 1, ExactlyOnce, Received); st != Done {
				t.Fatalf("settle says %d", st)
			}
		})
		c.close(false)
		time.Sleep(time.Hour) // by the clock of the bubble
		c = x.connect("c", with)
		x.rest(nil)
		ds := c.take()
		if len(ds) != 2 || !ds[0].Redelivered || string(ds[0].Msg.Payload) != number(0) || !ds[1].Released {
			t.Fatalf("after an hour: %+v", ds)
		}
		c.accept(ds[0])
		x.turn(func(tn *Turn) {
			if st := c.s.Consumer().Settle(tn, 1, ExactlyOnce, Accepted); st != Done {
				t.Fatalf("settle says %d", st)
			}
		})
		x.rest(nil)
		if i := c.s.Queue().Info(); i.Ready+i.Unsettled+i.Bytes != 0 {
			t.Errorf("%+v", i)
		}
	})
}

func TestExpiryOfBacklogOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBox(t, queueMemory(4<<10))
		q := x.named("q", QueueOptions{Durable: true})
		p := x.publisher()
		var want []string
		for i := range 1000 {
			x.turn(func(tn *Turn) {
				if err := p.lasting(tn, "q", number(i), AtLeastOnce, int64(i%3)*1000, true); err != nil {
					t.Fatal(err)
				}
			})
			if i%3 != 1 {
				want = append(want, number(i))
			}
		}
		x.rest(nil)
		if n := q.Info().InMemory; n > 100 {
			t.Fatalf("%d in memory", n)
		}
		time.Sleep(1500 * time.Millisecond) // by the clock of the bubble
		if got := x.taker(q, 0).now(); !slices.Equal(got, want) {
			t.Errorf("%d came, want %d", len(got), len(want))
		}
	})
}
