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

// An eventLog gathers events.
type eventLog struct {
	mu  sync.Mutex
	all []Event // guarded by mu
}

func (l *eventLog) listen(o *Options) {
	o.Listeners = append(o.Listeners, func(e Event) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, e)
	})
}

// eventsOf are the events of one kind so far.
func eventsOf[E Event](l *eventLog) []E {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []E
	for _, e := range l.all {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

// TestEventsOnce does everything the core tells of, and compares all that is
// told, in order of its kind.
func TestEventsOnce(t *testing.T) {
	log := new(eventLog)
	x := newBox(t, log.listen)
	if told := eventsOf[Recovered](log); len(told) != 1 || told[0].Sessions != 0 {
		t.Errorf("recovered %+v", told)
	}
	c := x.connect("c", persistent)
	c.subscribe("a/#", AtLeastOnce)
	c.subscribe("a/#", ExactlyOnce) // replaced: told as well
	c.subscribe("$share/g/b", AtLeastOnce)
	for _, f := range []string{"a/#", "a/#", "none"} { // told if it was there
		c.feed(0, func(tn *Turn) {
			if err := c.s.Unsubscribe(tn, f); err != nil {
				t.Error(err)
			}
		})
	}
	if err := c.trySubscribe("#/a", AtMostOnce); err == nil {
		t.Error("a malformed filter is taken")
	}
	compareEvents(t, "subscribed", eventsOf[Subscribed](log), func(e Subscribed) string {
		return fmt.Sprint(e.Identity.ClientID, " ", e.Filter, " ", e.QoS)
	}, "c a/# 1", "c a/# 2", "c $share/g/b 1")
	compareEvents(t, "unsubscribed", eventsOf[Unsubscribed](log), func(e Unsubscribed) string {
		return fmt.Sprint(e.Identity.ClientID, " ", e.Filter)
	}, "c a/#")
	compareEvents(t, "dropped", eventsOf[Dropped](log), nil)
}

func compareEvents[E Event](t *testing.T, what string, got []E, line func(E) string, want ...string) {
	t.Helper()
	var lines []string
	for _, e := range got {
		if line == nil {
			line = func(e E) string { return fmt.Sprintf("%+v", e) }
		}
		lines = append(lines, line(e))
	}
	if !slices.Equal(lines, want) {
		t.Errorf("%s: told %q, want %q", what, lines, want)
	}
}

// TestDropsAreGathered: drops of one queue for one reason become one event, and
// each is told once.
func TestDropsAreGathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(eventLog)
		x := newBox(t, log.listen)
		full := x.connect("full")
		full.grant(0)
		full.subscribe("a", AtMostOnce)
		short := x.connect("short", persistent, limits(QueueLimits{MaxLength: 2}))
		short.subscribe("b", AtLeastOnce)
		short.close(true)
		pub := x.connect("pub")
		for range 50 {
			pub.publish("a", "x", AtMostOnce)
			pub.publish("b", "x", AtLeastOnce)
			x.settle()
		}
		time.Sleep(25 * time.Second) // in the bubble: they are told every ten seconds
		synctest.Wait()
		got := eventsOf[Dropped](log)
		slices.SortFunc(got, func(a, b Dropped) int { return strings.Compare(a.Queue, b.Queue) })
		compareEvents(t, "dropped", got, func(e Dropped) string {
			return fmt.Sprint(e.VHost, " ", e.Queue, " ", e.Reason, " ", e.Count)
		}, "/ full no room 50", "/ short queue full 48")
	})
}

// TestDropsOfManyQueues: what finds no place among the gathered drops is told
// in one sum.
func TestDropsOfManyQueues(t *testing.T) {
	log := new(eventLog)
	x := newBox(t, log.listen)
	for i := range maxDropKeys + 20 {
		q := &Queue{vh: x.VHost("/"), name: fmt.Sprint(i), kind: KindNamed}
		x.turn(func(t *Turn) {
			t.dropped(q, DropNoRoom, AtMostOnce, 1)
			t.dropped(q, DropNoRoom, AtMostOnce, 1)
		})
	}
	x.drops.tell(x.Bus)
	sum, others := int64(0), int64(0)
	for _, e := range eventsOf[Dropped](log) {
		sum += e.Count
		if e.Queue == "(others)" {
			others += e.Count
		}
	}
	if sum != 2*(maxDropKeys+20) || others != 40 {
		t.Errorf("%d are told, %d of them of others", sum, others)
	}
}

// TestRecoveredCounts: what a start has found is told.
func TestRecoveredCounts(t *testing.T) {
	x := newBox(t)
	q := x.declare("q", true)
	x.bindQueue(q, "amq.direct", "k", SyntaxAMQP)
	c := x.connect("c", persistent, withWill(x, "w", "", AtLeastOnce))
	c.subscribe("a", AtLeastOnce)
	c.subscribe("$share/g/b", AtLeastOnce)
	x.connect("transient").subscribe("a", AtLeastOnce)
	pub := x.connect("pub")
	for i := range 3 {
		if err := pub.tryPublish("a", fmt.Sprint(i), AtLeastOnce, true); err != nil {
			t.Fatal(err)
		}
	}
	x.settle()
	log := new(eventLog)
	x.crash(log.listen)
	told := eventsOf[Recovered](log)
	if len(told) != 1 {
		t.Fatalf("told %d times", len(told))
	}
	told[0].Took = 0
	want := Recovered{Sessions: 1, Queues: 2, Bindings: 3, Retained: 1, Wills: 1, Messages: 3}
	if told[0] != want {
		t.Errorf("told %+v, want %+v", told[0], want)
	}
}

// TestDamageIsTold: a record that cannot be read is told with its queue, left
// out, and what is around it is delivered.
func TestDamageIsTold(t *testing.T) {
	x := newBox(t)
	c := x.connect("c", persistent)
	c.subscribe("a", AtLeastOnce)
	c.close(true)
	pub := x.connect("pub")
	for i := range 3 {
		pub.publish("a", fmt.Sprint(i), AtLeastOnce)
	}
	x.settle()
	b := x.shards[0].NewBatch()
	b.Set(entryKey(c.s.queue.id, 1), []byte{99})
	x.shards[0].Commit(b, nil)
	x.settle()
	log := new(eventLog)
	y := x.crash(log.listen)
	if got := y.connect("c", persistent).payloads(2); !slices.Equal(got, []string{"0", "2"}) {
		t.Errorf("got %q", got)
	}
	compareEvents(t, "damaged", eventsOf[StoreDamaged](log), func(e StoreDamaged) string {
		return fmt.Sprint(e.Queue, " ", errors.Is(e.Err, errRecord))
	}, "c true")
}
