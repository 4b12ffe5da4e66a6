package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// A changer is an interceptor that does to a message what a test says.
type changer struct {
	mu   sync.Mutex
	do   func(*Message) error // guarded by mu
	seen []string             // guarded by mu
}

func (c *changer) Intercept(_ context.Context, id *Identity, m *Message) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, fmt.Sprintf("%s %s %s", id.ClientID, m.Topic, m.Payload))
	return c.do(m)
}

func (c *changer) calls() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.seen)
}

// quickChanger is a changer that is called in place.
type quickChanger struct{ *changer }

func (quickChanger) Inline() {}

func leave(*Message) error { return nil }

// bothWays runs f with an interceptor that is called in place and with one that
// is called outside Feed.
func bothWays(t *testing.T, do func(*Message) error, f func(t *testing.T, x *box, c *changer), change ...func(*Options)) {
	for _, kind := range []string{"quick", "slow"} {
		t.Run(kind, func(t *testing.T) {
			c := &changer{do: do}
			var i Interceptor = c
			if kind == "quick" {
				i = quickChanger{c}
			}
			f(t, newBox(t, append(change, func(o *Options) { o.Interceptors = append(o.Interceptors, i) })...), c)
		})
	}
}

func TestInterceptorChangesMessage(t *testing.T) {
	bothWays(t, func(m *Message) error {
		m.Payload = append([]byte("seen "), m.Payload...)
		m.Topic = append([]byte("new/"), m.Topic...)
		m.QoS = AtLeastOnce
		return nil
	}, func(t *testing.T, x *box, c *changer) {
		sub, pub := x.connect("sub"), x.connect("pub")
		sub.subscribe("#", ExactlyOnce)
		for _, qos := range []QoS{AtMostOnce, AtLeastOnce, ExactlyOnce} {
			if err := pub.tryPublish("a/x", "m", qos, true); err != nil {
				t.Fatal(err)
			}
			got := sub.take()
			if len(got) != 1 || string(got[0].Msg.Topic) != "new/a/x" || string(got[0].Msg.Payload) != "seen m" || got[0].QoS != AtLeastOnce {
				t.Fatalf("published at %d: got %+v", qos, got)
			}
		}
		if n := len(c.calls()); n != 3 {
			t.Errorf("called %d times for 3 messages", n)
		}
		late := x.connect("late")
		late.subscribe("new/#", AtLeastOnce)
		if got := late.payloads(1); !slices.Equal(got, []string{"seen m"}) {
			t.Errorf("retained is %q", got)
		}
	})
}

func TestInterceptorRefuses(t *testing.T) {
	no := fmt.Errorf("%w: no such thing", ErrQuota)
	bothWays(t, func(m *Message) error {
		if string(m.Payload) == "bad" {
			return no
		}
		return nil
	}, func(t *testing.T, x *box, c *changer) {
		sub, pub := x.connect("sub"), x.connect("pub")
		sub.subscribe("#", ExactlyOnce)
		for i, p := range []string{"good", "bad", "bad", "good"} {
			err := pub.tryPublish("a/x", p, QoS(i%3), true)
			if bad := p == "bad"; bad != errors.Is(err, no) || !bad && err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
		if got := texts(sub.take()); !slices.Equal(got, []string{"good", "good"}) {
			t.Errorf("got %q", got)
		}
	})
}

// TestInterceptorOrder: each sees what the one before it made of the message,
// and the rights are those of the address that was published.
func TestInterceptorOrder(t *testing.T) {
	book := &rulebook{rule: anything}
	add := func(s string) *changer {
		return &changer{do: func(m *Message) error {
			m.Payload = append(m.Payload[:len(m.Payload):len(m.Payload)], s...)
			return nil
		}}
	}
	first, second := add("1"), add("2")
	x := newBox(t, withRules(quickRules{book}), func(o *Options) { o.Interceptors = []Interceptor{quickChanger{first}, second} })
	sub, pub := x.connect("sub"), x.connect("pub")
	sub.subscribe("#", ExactlyOnce)
	if err := pub.tryPublish("a", "0", AtLeastOnce, false); err != nil {
		t.Fatal(err)
	}
	if got := texts(sub.take()); !slices.Equal(got, []string{"012"}) {
		t.Errorf("got %q", got)
	}
	book.set(refuse("pub publish a"))
	x.RevokeRights()
	if err := pub.tryPublish("a", "no", AtLeastOnce, false); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("publish: %v", err)
	}
	if n := len(first.calls()); n != 1 {
		t.Errorf("an interceptor saw a message that its publisher may not publish")
	}
}

// TestInterceptorMayNotSmuggle: the address that an interceptor sends a message
// to needs the right of the publisher as well.
func TestInterceptorMayNotSmuggle(t *testing.T) {
	for _, slowRules := range []bool{false, true} {
		book := &rulebook{rule: refuse("pub publish new")}
		var a Authorizer = quickRules{book}
		if slowRules {
			a = book
		}
		bothWays(t, func(m *Message) error {
			m.Topic = []byte("new")
			return nil
		}, func(t *testing.T, x *box, c *changer) {
			sub, pub := x.connect("sub"), x.connect("pub")
			if err := sub.trySubscribe("#", ExactlyOnce); err != nil {
				t.Fatal(err)
			}
			if err := pub.tryPublish("a", "x", AtLeastOnce, false); !errors.Is(err, ErrNotAuthorized) {
				t.Errorf("publish: %v", err)
			}
			if got := sub.take(); len(got) != 0 {
				t.Errorf("got %d", len(got))
			}
		}, withRules(a))
	}
}

// TestInterceptorCalledOnce: a message that must be fed again, because rights
// for its new address are asked for outside, is not shown a second time.
func TestInterceptorCalledOnce(t *testing.T) {
	bothWays(t, func(m *Message) error {
		m.Topic = append([]byte("new/"), m.Topic...)
		return nil
	}, func(t *testing.T, x *box, c *changer) {
		sub, pub := x.connect("sub"), x.connect("pub")
		if err := sub.trySubscribe("#", ExactlyOnce); err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			if err := pub.tryPublish(fmt.Sprint("a/", i), "x", AtLeastOnce, false); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"pub a/0 x", "pub a/1 x", "pub a/2 x"}
		if got := c.calls(); !slices.Equal(got, want) {
			t.Errorf("called for %q", got)
		}
		if got := sub.take(); len(got) != 3 || string(got[2].Msg.Topic) != "new/a/2" {
			t.Errorf("got %d messages", len(got))
		}
	}, withRules(&rulebook{rule: anything}))
}

// TestInterceptedIsForgotten: what an interceptor made of a message whose right
// was taken away meanwhile is not taken for the next one.
func TestInterceptedIsForgotten(t *testing.T) {
	book := &rulebook{rule: anything}
	c := &changer{do: leave}
	x := newBox(t, withRules(quickRules{book}), func(o *Options) { o.Interceptors = []Interceptor{c} })
	sub, pub := x.connect("sub"), x.connect("pub")
	sub.subscribe("#", AtLeastOnce)
	n := 0
	err := x.retry(func(t *Turn) (Wait, error) {
		if n++; n == 2 {
			book.set(refuse("pub publish a"))
			x.RevokeRights()
		}
		m := t.Message()
		m.Exchange, m.Topic, m.Payload, m.QoS = pub.pub.vh.topics, []byte("a"), []byte("first"), AtLeastOnce
		return pub.pub.Publish(t, m)
	})
	if n != 2 || !errors.Is(err, ErrNotAuthorized) {
		t.Fatalf("fed %d times: %v", n, err)
	}
	if err := pub.tryPublish("b", "second", AtLeastOnce, false); err != nil {
		t.Errorf("the next message: %v", err)
	}
	if got := texts(sub.take()); !slices.Equal(got, []string{"second"}) {
		t.Errorf("got %q", got)
	}
}

// TestCancelledInterceptor: an interceptor that is given up has decided
// nothing.
func TestCancelledInterceptor(t *testing.T) {
	c := &changer{do: leave}
	x := newBox(t, func(o *Options) { o.Interceptors = []Interceptor{c} })
	pub := x.connect("pub")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Topic = pub.pub.vh.topics, []byte("a")
			wait, err := pub.pub.Publish(tn, m)
			if wait == nil {
				t.Fatalf("published: %v", err)
			}
			wait(ctx)
		})
	}
	if n := x.Stats().Received[0]; n != 0 {
		t.Errorf("%d received", n)
	}
}

// TestInterceptedWill: a will goes the way of every message, also when the
// interceptor is called outside, and after a crash.
func TestInterceptedWill(t *testing.T) {
	for _, crash := range []bool{false, true} {
		c := &changer{do: func(m *Message) error {
			m.Payload = append([]byte("seen "), m.Payload...)
			return nil
		}}
		change := func(o *Options) { o.Interceptors = []Interceptor{c} }
		x := newBox(t, change)
		sub := x.connect("sub", persistent)
		sub.subscribe("#", AtLeastOnce)
		x.settle()
		dying := x.connect("dying", withWill(x, "w", "will", AtLeastOnce))
		x.settle()
		if crash {
			sub.close(true)
			x.settle()
			x = x.crash(change)
			sub = x.connect("sub", persistent)
		} else {
			dying.close(false)
		}
		if got := sub.payloads(1); !slices.Equal(got, []string{"seen will"}) {
			t.Errorf("crash %v: got %q", crash, got)
		}
		if n := len(c.calls()); n != 1 {
			t.Errorf("crash %v: called %d times", crash, n)
		}
	}
}

// TestInterceptorLeavesInternalAlone: the broker's own messages are not shown.
func TestInterceptorLeavesInternalAlone(t *testing.T) {
	bothWays(t, func(*Message) error { return ErrQuota }, func(t *testing.T, x *box, c *changer) {
		sub := x.connect("sub")
		sub.subscribe("$SYS/#", AtMostOnce)
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Topic, m.Payload = x.VHost("/").Topics(), []byte("$SYS/a"), []byte("x")
			if wait, err := x.VHost("/").NewInternalPublisher().Publish(tn, m); wait != nil || err != nil {
				t.Fatal(err)
			}
		})
		if got := sub.take(); len(got) != 1 || len(c.calls()) != 0 {
			t.Errorf("got %d, %d shown", len(got), len(c.calls()))
		}
	})
}
