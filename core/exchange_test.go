package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func (x *box) declare(name string, durable bool) *Queue {
	x.t.Helper()
	var q *Queue
	x.turn(func(t *Turn) {
		var err error
		if q, err = x.VHost("/").DeclareQueue(t, name, QueueOptions{Durable: durable}); err != nil {
			x.t.Fatal(err)
		}
	})
	return q
}

func (x *box) bindQueue(q *Queue, exchange, key string, syn Syntax) {
	x.t.Helper()
	x.turn(func(t *Turn) {
		if err := x.VHost("/").BindQueue(t, q, exchange, key, syn); err != nil {
			x.t.Fatal(err)
		}
	})
}

func (x *box) bind(s BindingSpec) {
	x.t.Helper()
	x.turn(func(t *Turn) {
		if err := x.VHost("/").Bind(t, s); err != nil {
			x.t.Fatal(err)
		}
	})
}

func (x *box) unbind(s BindingSpec) {
	x.t.Helper()
	x.turn(func(t *Turn) {
		if err := x.VHost("/").Unbind(t, s); err != nil {
			x.t.Fatal(err)
		}
	})
}

// reach publishes to an exchange and returns which queues get it.
func (x *box) reach(exchange, key string, queues ...*Queue) []string {
	x.t.Helper()
	before := make([]int64, len(queues))
	for i, q := range queues {
		before[i] = q.Info().Ready
	}
	pub := x.VHost("/").NewPublisher(NewPrincipal(Identity{VHost: "/"}))
	x.turn(func(t *Turn) {
		m := t.Message()
		m.Exchange, m.Topic, m.Syntax = x.VHost("/").Exchange(exchange), []byte(key), SyntaxAMQP
		m.Payload, m.Persistent, m.QoS = []byte(key), true, AtLeastOnce
		if wait, err := pub.Publish(t, m); wait != nil || err != nil {
			x.t.Fatalf("publish to %q: %v", exchange, err)
		}
	})
	var got []string
	for i, q := range queues {
		switch q.Info().Ready - before[i] {
		case 0:
		case 1:
			got = append(got, q.Name())
		default:
			x.t.Errorf("queue %q got more than one copy", q.Name())
		}
	}
	return got
}

func TestPredeclaredExchanges(t *testing.T) {
	x := newBox(t)
	for name, typ := range map[string]ExchangeType{
		"": Direct, "amq.direct": Direct, "amq.fanout": Fanout, "amq.topic": Topic,
		"amq.headers": Headers, "amq.match": Headers, "amq.rabbitmq.trace": Topic,
	} {
		if e := x.VHost("/").Exchange(name); e == nil || e.typ != typ || e.Name() != name {
			t.Errorf("exchange %q is not there as %v", name, typ)
		}
	}
	if x.VHost("/").Exchange("other") != nil {
		t.Error("an exchange that nobody declared is there")
	}
}

// TestExchangeTypes publishes by every key to every kind of exchange, before
// and after a crash.
func TestExchangeTypes(t *testing.T) {
	x := newBox(t)
	a, b := x.declare("a", true), x.declare("b", true)
	x.bindQueue(a, "amq.direct", "k", SyntaxAMQP)
	x.bindQueue(a, "amq.direct", "*", SyntaxAMQP) // no wildcard here
	x.bindQueue(b, "amq.direct", "k", SyntaxAMQP)
	x.bindQueue(a, "amq.fanout", "ignored", SyntaxAMQP)
	x.bindQueue(b, "amq.fanout", "", SyntaxAMQP)
	x.bindQueue(a, "amq.topic", "k.#", SyntaxAMQP)
	x.bindQueue(a, "amq.topic", "k.*", SyntaxAMQP) // one copy, by however many bindings
	x.bindQueue(b, "amq.topic", "+/y", SyntaxMQTT)
	x.settle()
	for what, y := range map[string]*box{"now": x, "after a crash": x.crash()} {
		a, b := y.VHost("/").Queue("a"), y.VHost("/").Queue("b")
		for _, tc := range []struct {
			exchange, key string
			want          []string
		}{
			{"", "a", []string{"a"}},
			{"", "b", []string{"b"}},
			{"", "k", nil},
			{"amq.direct", "k", []string{"a", "b"}},
			{"amq.direct", "*", []string{"a"}},
			{"amq.direct", "x", nil},
			{"amq.direct", "a", nil},
			{"amq.fanout", "k", []string{"a", "b"}},
			{"amq.fanout", "", []string{"a", "b"}},
			{"amq.topic", "k", []string{"a"}},
			{"amq.topic", "k.y", []string{"a", "b"}},
			{"amq.topic", "x.y", []string{"b"}},
			{"amq.topic", "x.y.z", nil},
			{"amq.topic", "ignored", nil},
		} {
			if got := y.reach(tc.exchange, tc.key, a, b); !slices.Equal(got, tc.want) {
				t.Errorf("%s: %q to %q reaches %q, want %q", what, tc.key, tc.exchange, got, tc.want)
			}
		}
	}
}

// TestBindingsVoidRoutes binds and unbinds between messages of one publisher,
// on every kind of exchange.
func TestBindingsVoidRoutes(t *testing.T) {
	for _, exchange := range []string{"amq.direct", "amq.fanout", "amq.topic"} {
		x := newBox(t)
		a := x.declare("a", false)
		ex := x.VHost("/").Exchange(exchange)
		pub := x.VHost("/").NewPublisher(NewPrincipal(Identity{VHost: "/"}))
		publish := func(want int64) {
			t.Helper()
			before := a.Info().Ready
			x.turn(func(tn *Turn) {
				m := tn.Message()
				m.Exchange, m.Topic, m.Syntax, m.QoS = ex, []byte("k"), SyntaxAMQP, AtLeastOnce
				if wait, err := pub.Publish(tn, m); wait != nil || err != nil {
					t.Fatal(err)
				}
			})
			if got := a.Info().Ready - before; got != want {
				t.Errorf("%s: %d copies, want %d", exchange, got, want)
			}
		}
		publish(0)
		x.bindQueue(a, exchange, "k", SyntaxAMQP)
		publish(1)
		x.bindQueue(a, exchange, "k", SyntaxAMQP) // once more
		publish(1)
		x.unbind(BindingSpec{Source: ex, Queue: a, Key: "k", Syntax: SyntaxAMQP})
		publish(0)
		x.unbind(BindingSpec{Source: ex, Queue: a, Key: "k", Syntax: SyntaxAMQP})
		publish(0)
	}
}

func TestDeclareQueue(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	q := x.declare("q", true)
	if x.declare("q", true) != q {
		t.Error("declared anew, it is another")
	}
	x.turn(func(tn *Turn) {
		if _, err := vh.DeclareQueue(tn, "q", QueueOptions{}); !errors.Is(err, ErrExists) {
			t.Errorf("with other properties: %v", err)
		}
		for _, name := range []string{"", "$share/g/a", string(make([]byte, 256))} {
			if _, err := vh.DeclareQueue(tn, name, QueueOptions{}); !errors.Is(err, ErrBadAddress) {
				t.Errorf("%q: %v", name, err)
			}
		}
		for _, tc := range []struct {
			exchange, key string
			syn           Syntax
			want          error
		}{
			{"none", "k", SyntaxAMQP, ErrNotFound},
			{"", "k", SyntaxAMQP, ErrBadAddress},
			{"amq.topic", "a/#/b", SyntaxMQTT, ErrBadAddress},
			{"amq.topic", "a.#.b", SyntaxAMQP, nil},
		} {
			if err := vh.BindQueue(tn, q, tc.exchange, tc.key, tc.syn); !errors.Is(err, tc.want) {
				t.Errorf("bind to %q by %q: %v", tc.exchange, tc.key, err)
			}
		}
	})
}

// TestDeclareWaits: what is declared and bound works at once, is told when it
// is on disk, and a transient queue needs no disk and is not there after a
// crash.
func TestDeclareWaits(t *testing.T) {
	x := newBox(t)
	c := x.connect("c")
	x.hold(true)
	for _, durable := range []bool{true, false} {
		name := fmt.Sprint("durable ", durable)
		before := c.out.String()
		err := c.feedRetry("ok", func(tn *Turn) (Wait, error) {
			q, err := x.VHost("/").DeclareQueue(tn, name, QueueOptions{Durable: durable})
			if err == nil {
				err = x.VHost("/").BindQueue(tn, q, "amq.direct", "k", SyntaxAMQP)
			}
			return nil, err
		})
		if err != nil {
			t.Fatal(err)
		}
		x.workersIdle()
		if c.out.String() != before {
			t.Errorf("%s: told before the disk has it, or what was before it", name)
		}
		q := x.VHost("/").Queue(name)
		if got := x.reach("amq.direct", "k", q); len(got) != 1 {
			t.Errorf("%s: not bound at once", name)
		}
	}
	x.hold(false)
	x.settle()
	if got := c.out.String(); got != "okok" {
		t.Errorf("told %q", got)
	}
	y := x.crash()
	if y.VHost("/").Queue("durable true") == nil || y.VHost("/").Queue("durable false") != nil {
		t.Error("the durable queue is not there after a crash, or the other is")
	}
	if got := y.reach("amq.direct", "k", y.VHost("/").Queue("durable true")); len(got) != 1 {
		t.Error("its binding is not there after a crash")
	}
}

// TestVHostsAreApart: exchanges, sessions and retained messages of one vhost
// are not those of another, also after a crash.
func TestVHostsAreApart(t *testing.T) {
	two := func(o *Options) { o.VHosts = []string{"two"} }
	x := newBox(t, two)
	c := x.connect("c", persistent)
	c.subscribe("a", AtLeastOnce)
	x.settle()
	for what, y := range map[string]*box{"now": x, "after a crash": x.crash(two)} {
		other := y.VHost("two")
		pub := other.NewPublisher(NewPrincipal(Identity{VHost: "two"}))
		y.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Topic, m.Payload, m.QoS, m.Persistent, m.Retain = other.Topics(), []byte("a"), []byte("x"), AtLeastOnce, true, true
			if wait, err := pub.Publish(tn, m); wait != nil || err != nil {
				t.Fatal(err)
			}
		})
		y.settle()
		if n, _ := y.Stored(); n != 0 || other.Session("c") != nil || other.Queue("q") != nil || len(y.found("#")) != 0 {
			t.Errorf("%s: something of one vhost is in the other", what)
		}
	}
}
