package core

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// getter is a taker that is served only when it asks.
func (x *box) getter(q *Queue, o ConsumerOptions) *taker {
	k := &taker{x: x, q: q, noted: make(chan struct{}, 1)}
	k.c = q.Getter(k, o)
	return k
}

func (k *taker) get() (got bool) {
	k.x.t.Helper()
	if err := k.x.retry(func(t *Turn) (w Wait, err error) {
		got, w = k.c.Get(t)
		return w, nil
	}); err != nil {
		k.x.t.Fatal(err)
	}
	return got
}

// TestGetIsAUse: a queue that expires without use lives on for whoever asks it, in
// whichever lane it has something, or nothing.
func TestGetIsAUse(t *testing.T) {
	for _, priorities := range []uint8{0, 3} {
		synctest.Test(t, func(t *testing.T) {
			x := newBox(t)
			q := x.named("q", QueueOptions{MaxPriority: priorities, Expires: 1000})
			x.fillLane("q", 2, false, "1")
			k := x.getter(q, ConsumerOptions{QoS: AtMostOnce})
			for i := range 3 {
				time.Sleep(900 * time.Millisecond) // by the clock of the bubble
				if got := k.get(); got != (i == 0) || q.isDeleted() {
					t.Errorf("priorities %d, get %d: got is %v, deleted is %v", priorities, i, got, q.isDeleted())
				}
			}
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if !q.isDeleted() {
				t.Errorf("priorities %d: it is there though nobody asks", priorities)
			}
		})
	}
}

// TestGetFromGroup: who may not receive the messages of a group gets none of them, by
// asking or as a consumer, and they wait for one who may.
func TestGetFromGroup(t *testing.T) {
	for who, want := range map[string][]string{"p": nil, "other": {"1", "2"}} {
		for _, quick := range []bool{true, false} { // the answer is there, or must be waited for
			book := &rulebook{rule: refuse("p receive x")}
			var a Authorizer = book
			if quick {
				a = quickRules{book}
			}
			x := newBox(t, withRules(a))
			member := x.connect("member", persistent)
			if err := member.trySubscribe("$share/g/x", AtLeastOnce); err != nil {
				t.Fatal(err)
			}
			member.close(true)
			pub := x.connect("pub")
			for _, payload := range []string{"1", "2"} {
				if err := pub.tryPublish("x", payload, AtLeastOnce, false); err != nil {
					t.Fatal(err)
				}
			}
			x.settle()
			q := x.VHost("/").Queue("$share/g/x")
			o := ConsumerOptions{QoS: AtLeastOnce, Identity: NewPrincipal(Identity{VHost: "/", ClientID: who})}
			k := x.getter(q, o)
			if got := k.get(); got != (want != nil) {
				t.Errorf("%s, quick %v: get says %v", who, quick, got)
			}
			all := append(k.now(), x.takerWith(q, o).now()...)
			if i := q.Info(); !slices.Equal(all, want) || int(i.Ready) != 2-len(want) {
				t.Errorf("%s, quick %v: got %q, left %+v", who, quick, all, i)
			}
		}
	}
}
