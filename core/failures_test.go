package core

import (
	"fmt"
	"testing"
)

// counted is a queue that shows how often its deliveries have failed.
var counted = QueueOptions{Durable: true, Quorum: true, DeliveryLimit: 2}

func (k *taker) cancel() { k.x.turn(func(t *Turn) { k.c.Cancel(t) }) }

// failed takes n messages and says how often each has failed before.
func (k *taker) failed(n int) (failures []int, ds []Delivery) {
	k.x.t.Helper()
	for len(ds) < n {
		ds = append(ds, k.take()...)
	}
	for _, d := range ds {
		failures = append(failures, d.Failures)
	}
	return failures, ds
}

// TestFailuresSurviveARestart: what has failed too often is over, whenever the
// broker was restarted meanwhile.
func TestFailuresSurviveARestart(t *testing.T) {
	x := newBox(t)
	x.named("q", counted)
	x.fill("q", 0, 2, true)
	for life := range 3 {
		k := x.taker(x.VHost("/").Queue("q"), 2)
		failures, ds := k.failed(2)
		if got, want := fmt.Sprint(failures), fmt.Sprint([]int{life, 0}); got != want {
			t.Errorf("life %d: failures %v, want %v", life, got, want)
		}
		if life == 2 {
			k.settle(Accepted, ds[1])
		} else {
			k.settle(Released, ds[1]) // which is no failure
		}
		x.turn(func(tn *Turn) { k.c.Stop(tn) })
		k.settle(Failed, ds[0])
		x.rest(nil)
		if life < 2 {
			x = x.crash()
		}
	}
	if i := x.VHost("/").Queue("q").Info(); i.Ready+i.Unsettled != 0 {
		t.Errorf("it has failed three times, and is there: %+v", i)
	}
	if left := x.leftBehind(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestFailuresLeaveMemory: a message that is paged out, and one that is transient,
// knows how often it has failed when it is back.
func TestFailuresLeaveMemory(t *testing.T) {
	for _, persistent := range []bool{true, false} {
		t.Run(fmt.Sprintf("persistent=%v", persistent), func(t *testing.T) {
			x := newBox(t)
			q := x.named("q", counted)
			x.fill("q", 0, 10, persistent)
			for round := range 2 {
				k := x.taker(q, 0)
				failures, ds := k.failed(10)
				if got, want := fmt.Sprint(failures), fmt.Sprint([]int{0, round, 0, round, 0, round, 0, round, 0, round}); got != want {
					t.Errorf("round %d: failures %v, want %v", round, got, want)
				}
				x.turn(func(tn *Turn) { k.c.Stop(tn) })
				for i, d := range ds {
					k.settle([...]Outcome{Released, Failed}[i%2], d)
				}
				k.cancel()
				x.rest(nil)
				for range 2 { // what is transient is written at first
					q.trim(x)
					x.rest(nil)
				}
				if i := q.Info(); i.InMemory != 0 || i.Ready != 10 {
					t.Fatalf("round %d: not paged out: %+v", round, i)
				}
			}
		})
	}
}

// TestFailuresAreOnDiskBeforeTheyLeaveMemory: what kills its consumers is counted also
// when memory is short and the next consumer is there before the disk is.
func TestFailuresAreOnDiskBeforeTheyLeaveMemory(t *testing.T) {
	for _, persistent := range []bool{true, false} {
		x := newBox(t)
		q := x.named("q", counted)
		x.fill("q", 0, 1, persistent)
		x.rest(nil)
		if !persistent { // it is on disk without being durable
			q.trim(x)
			x.rest(nil)
		}
		for life := range 3 {
			k := x.taker(q, 0)
			if failures, _ := k.failed(1); failures[0] != life {
				t.Errorf("persistent %v: it has failed %d times, want %d", persistent, failures[0], life)
			}
			x.hold(true)
			x.turn(func(tn *Turn) {
				k.c.Cancel(tn)
				q.mu.Lock()
				q.trimLocked(tn) // as Cancel does when memory is short
				q.mu.Unlock()
			})
			k = x.taker(q, 1)
			x.workersIdle()
			x.workersIdle()
			x.turn(func(tn *Turn) { k.c.Stop(tn) })
			if life < 2 {
				k.settle(Released, k.take()...)
			}
			x.hold(false)
			x.rest(nil)
		}
		if i := q.Info(); i.Ready+i.Unsettled != 0 {
			t.Errorf("persistent %v: it has failed three times, and is there: %+v", persistent, i)
		}
		if left := x.leftBehind(); len(left) > 0 {
			t.Errorf("persistent %v: left behind: %q", persistent, left)
		}
	}
}

// TestFailuresAreMany: a limit that is no small number is one all the same.
func TestFailuresAreMany(t *testing.T) {
	x := newBox(t)
	o := counted
	o.DeliveryLimit = 300
	x.named("q", o)
	x.fill("q", 0, 1, true)
	for second, life := range []int{260, 41} {
		k := x.taker(x.VHost("/").Queue("q"), 1)
		for n := range life {
			failures, ds := k.failed(1)
			if want := second*260 + n; failures[0] != want {
				t.Fatalf("it has failed %d times, want %d", failures[0], want)
			}
			if n == life-1 {
				x.turn(func(tn *Turn) { k.c.Stop(tn) })
			}
			k.settle(Failed, ds...)
		}
		x.rest(nil)
		if left := x.VHost("/").Queue("q").Info().Ready; left != int64(1-second) {
			t.Fatalf("%d messages after %d failures", left, second*260+life)
		}
		x = x.crash()
	}
}

// TestFailuresGoWithTheirEntries: however entries go, nothing about them stays.
func TestFailuresGoWithTheirEntries(t *testing.T) {
	for name, end := range map[string]func(x *box, q *Queue){
		"accepted": func(x *box, q *Queue) {
			k := x.taker(q, 0)
			_, ds := k.failed(20)
			k.settle(Accepted, ds...)
		},
		"purged": func(x *box, q *Queue) { x.purge(q, 20) },
		"purged on disk": func(x *box, q *Queue) {
			q.trim(x)
			x.purge(q, 20)
		},
		"deleted": func(x *box, q *Queue) {
			if err := x.VHost("/").DeleteQueue(x.t.Context(), "q"); err != nil {
				x.t.Fatal(err)
			}
		},
		"dead-lettered": func(x *box, q *Queue) {
			k := x.taker(q, 0)
			_, ds := k.failed(20)
			k.settle(Rejected, ds...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBox(t)
			o := counted
			o.DeadLetter = &DeadLetter{Key: "nobody", HasKey: true}
			q := x.named("q", o)
			x.fill("q", 0, 20, true)
			k := x.taker(q, 0)
			_, ds := k.failed(20)
			x.turn(func(tn *Turn) { k.c.Stop(tn) })
			k.settle(Failed, ds...)
			k.cancel()
			x.rest(nil)
			if n := len(x.keys(keyFailures)); n != 20 {
				t.Fatalf("%d of 20 are counted on disk", n)
			}
			end(x, q)
			if left := x.leftBehind(); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			y := x.crash()
			if left := y.leftBehind(); len(left) > 0 {
				t.Errorf("left behind after a restart: %q", left)
			}
		})
	}
}

// TestFailuresOfNobody: where nobody asks how often deliveries have failed, nothing
// is written for it.
func TestFailuresOfNobody(t *testing.T) {
	x := newBox(t)
	q := x.named("q", QueueOptions{Durable: true})
	x.fill("q", 0, 1, true)
	k := x.taker(q, 0)
	for range 3 {
		k.settle(Failed, k.take()...)
	}
	x.rest(nil)
	if n := len(x.keys(keyFailures)); n != 0 {
		t.Errorf("%d records", n)
	}
}

// TestFailuresAreStray: records of failures that a crash has left behind are
// removed at the start.
func TestFailuresAreStray(t *testing.T) {
	x := newBox(t)
	q := x.named("q", counted)
	x.fill("q", 0, 3, true)
	k := x.taker(q, 0)
	_, ds := k.failed(3)
	k.settle(Accepted, ds[:2]...)
	x.rest(nil)
	x.turn(func(tn *Turn) {
		p := tn.part(q.sh)
		p.batch.Set(failuresKey(q.id, ds[0].Ordinal), []byte{1}) // of one that is gone
		p.batch.Set(failuresKey(q.id, ds[2].Ordinal), []byte{2})
		p.batch.Set(failuresKey(q.id+1, 0), []byte{1}) // of a queue that is gone
	})
	x.rest(nil)
	y := x.crash()
	y.rest(nil)
	if n := len(y.keys(keyFailures)); n != 1 {
		t.Errorf("%d records, 1 message", n)
	}
	if failures, _ := y.taker(y.VHost("/").Queue("q"), 0).failed(1); failures[0] != 2 {
		t.Errorf("failed %d times, want 2", failures[0])
	}
}
