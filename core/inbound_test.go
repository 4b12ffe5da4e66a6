package core

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// publishOnce is a QoS 2 PUBLISH of the client; the reply stands for PUBREC.
func (c *client) publishOnce(t *testing.T, topic, payload string, id uint16) {
	t.Helper()
	err := c.feedRetry(fmt.Sprintf("publish %d,", id), func(t *Turn) (Wait, error) {
		m := t.Message()
		m.Exchange, m.Topic, m.Payload = c.pub.vh.topics, []byte(topic), []byte(payload)
		m.QoS, m.Persistent = ExactlyOnce, true
		return c.s.PublishOnce(t, c.pub, m, id, 10)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// release is a PUBREL; the reply stands for PUBCOMP.
func (c *client) release(id uint16) {
	_ = c.feedRetry(fmt.Sprintf("release %d,", id), func(t *Turn) (Wait, error) {
		c.s.Release(t, id)
		return nil, nil
	})
}

// TestPublishOnce: a message is published once for each id, until the id is
// released.
func TestPublishOnce(t *testing.T) {
	for _, opt := range []connectOption{persistent, func(*SessionRequest) {}} {
		x := newBox(t)
		sub, c := x.connect("sub"), x.connect("c", opt)
		sub.subscribe("a", ExactlyOnce)
		for _, p := range []string{"one", "one", "one"} {
			c.publishOnce(t, "a", p, 7)
		}
		c.publishOnce(t, "a", "other", 8)
		if !c.s.Knows(7) || !c.s.Knows(8) || c.s.Knows(9) {
			t.Error("ids that are not released are not known")
		}
		c.release(7)
		c.release(7)
		if c.s.Knows(7) {
			t.Error("a released id is known")
		}
		c.publishOnce(t, "a", "two", 7)
		x.settle()
		if got := texts(sub.take()); !slices.Equal(got, []string{"one", "other", "two"}) {
			t.Errorf("got %q", got)
		}
		want := "publish 7,publish 7,publish 7,publish 8,release 7,release 7,publish 7,"
		if got := c.out.String(); got != want {
			t.Errorf("replies %q", got)
		}
	}
}

func TestPublishOnceLimit(t *testing.T) {
	x := newBox(t)
	sub, c := x.connect("sub"), x.connect("c", persistent)
	sub.subscribe("a", ExactlyOnce)
	for id := range uint16(10) {
		c.publishOnce(t, "a", "x", id+1)
	}
	x.turn(func(tn *Turn) {
		m := tn.Message()
		m.Exchange, m.Topic, m.QoS = c.pub.vh.topics, []byte("a"), ExactlyOnce
		if _, err := c.s.PublishOnce(tn, c.pub, m, 11, 10); err == nil {
			t.Error("the eleventh of ten is taken")
		}
		m = tn.Message()
		m.Exchange, m.Topic, m.QoS = c.pub.vh.topics, []byte("a"), ExactlyOnce
		if _, err := c.s.PublishOnce(tn, c.pub, m, 10, 10); err != nil {
			t.Errorf("one that is known: %v", err)
		}
	})
	x.settle()
	if n := len(sub.take()); n != 10 {
		t.Errorf("%d messages", n)
	}
}

// TestExactlyOnceOverCrash crashes at every moment of a QoS 2 publish and has
// the client do what the protocol says: send again whatever it has no reply
// for. The message is there once, and the id is free in the end.
func TestExactlyOnceOverCrash(t *testing.T) {
	x := newBox(t)
	sub, c := x.connect("sub", persistent), x.connect("c", persistent)
	sub.subscribe("a", ExactlyOnce)
	x.settle()
	resend := func(what string, from int) func(y *box, n int) {
		return func(y *box, n int) {
			again, sub := y.connect("c", persistent), y.connect("sub", persistent)
			if from == 0 { // no PUBREC came
				again.publishOnce(t, "a", "one", 7)
			}
			again.release(7)
			again.publishOnce(t, "a", "two", 7)
			again.release(7)
			y.settle()
			if got := texts(sub.take()); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("%s, %d commits done: got %q", what, n, got)
			}
			if again.s.Knows(7) {
				t.Errorf("%s, %d commits done: the id is not free", what, n)
			}
		}
	}
	x.hold(true)
	c.publishOnce(t, "a", "one", 7)
	x.workersIdle()
	if got := c.out.String(); got != "" {
		t.Fatalf("replies %q before anything is on disk", got)
	}
	x.crashes(resend("publish", 0))
	x.hold(false)
	x.settle()

	x.hold(true)
	c.release(7)
	x.workersIdle()
	if got := c.out.String(); got != "publish 7," {
		t.Fatalf("replies %q before the release is on disk", got)
	}
	if x.shards[0].waiting() == 0 {
		t.Fatal("a release writes nothing")
	}
	x.crashes(resend("release", 1))
}

// TestResentBeforeCommit: a client that comes back and sends again what is on
// its way to disk is answered with that commit, and not earlier.
func TestResentBeforeCommit(t *testing.T) {
	x := newBox(t)
	sub, c := x.connect("sub"), x.connect("c", persistent)
	sub.subscribe("a", ExactlyOnce)
	x.settle()
	x.hold(true)
	c.publishOnce(t, "a", "one", 7)
	c.close(false)
	again := x.connect("c", persistent)
	again.publishOnce(t, "a", "one", 7)
	x.workersIdle()
	if got := again.out.String(); got != "" {
		t.Errorf("replies %q before the commit", got)
	}
	x.hold(false)
	x.settle()
	if got := again.out.String(); !strings.HasPrefix(got, "publish 7,") {
		t.Errorf("replies %q after it", got)
	}
	if got := texts(sub.take()); !slices.Equal(got, []string{"one"}) {
		t.Errorf("got %q", got)
	}
}
