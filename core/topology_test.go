package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/narumq/naru/core/props"
)

// exchange declares an exchange.
func (x *box) exchange(name string, o ExchangeOptions) *Exchange {
	x.t.Helper()
	var e *Exchange
	x.turn(func(t *Turn) {
		var err error
		if e, _, err = x.VHost("/").DeclareExchange(t, name, o); err != nil {
			x.t.Fatal(err)
		}
	})
	return e
}

func (x *box) deleteExchange(name string) {
	x.t.Helper()
	x.turn(func(t *Turn) {
		if err := x.VHost("/").DeleteExchange(t, x.VHost("/").Exchange(name), false); err != nil {
			x.t.Fatal(err)
		}
	})
}

// send publishes a message to an exchange and returns which of the queues got
// it.
func (x *box) send(p *Publisher, exchange *Exchange, key string, queues []*Queue, change ...func(*Message)) []string {
	x.t.Helper()
	before := make([]int64, len(queues))
	for i, q := range queues {
		before[i] = q.Info().Ready
	}
	x.turn(func(t *Turn) {
		m := t.Message()
		m.Exchange, m.Topic, m.Syntax, m.Payload, m.QoS = exchange, []byte(key), SyntaxAMQP, []byte(key), AtLeastOnce
		for _, f := range change {
			f(m)
		}
		if wait, err := p.Publish(t, m); wait != nil || err != nil {
			x.t.Fatalf("publish to %q: %v", exchange.name, err)
		}
	})
	got := []string{}
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

func withHeaders(h props.Table) func(*Message) {
	p := props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: h})
	return func(m *Message) { m.Props = p }
}

func TestExchangeTypeNames(t *testing.T) {
	for typ, name := range map[ExchangeType]string{
		Direct: "direct", Fanout: "fanout", Topic: "topic", Headers: "headers",
		ConsistentHash: "x-consistent-hash", Random: "x-random",
	} {
		if got, ok := ParseExchangeType(name); !ok || got != typ || typ.String() != name {
			t.Errorf("%q: %v, %v", name, got, ok)
		}
	}
	if _, ok := ParseExchangeType("x-delayed"); ok {
		t.Error("a type that is not there is known")
	}
}

// TestExchangesSurvive: what is durable at both ends is there after a crash, with
// everything it was declared with; nothing else is.
func TestExchangesSurvive(t *testing.T) {
	for _, n := range []int{1, 4} {
		var shards []*testShard
		for range n {
			shards = append(shards, newTestShard())
		}
		x := openBox(t, shards)
		o := ExchangeOptions{Type: Topic, Durable: true, Internal: true, Alternate: "alt", Arguments: props.AddStr(nil, "alternate-exchange", "alt")}
		d := x.exchange("durable", o)
		e := x.exchange("end", ExchangeOptions{Type: Fanout, Durable: true})
		tr := x.exchange("transient", ExchangeOptions{Type: Fanout})
		q, tq := x.declare("q", true), x.declare("tq", false)
		args := props.AddInt64(nil, "n", 1)
		for _, s := range []BindingSpec{
			{Source: d, Queue: q, Key: "a.*", Syntax: SyntaxAMQP},
			{Source: d, Queue: q, Key: "a.*", Syntax: SyntaxAMQP, Arguments: args},
			{Source: d, Queue: q, Key: "a/+", Syntax: SyntaxMQTT},
			{Source: d, Exchange: e, Key: "b.#", Syntax: SyntaxAMQP, Arguments: args},
			{Source: d, Exchange: e, Key: "gone", Syntax: SyntaxAMQP},
			{Source: e, Queue: q},
			{Source: d, Queue: tq, Key: "a.*", Syntax: SyntaxAMQP},
			{Source: tr, Queue: q},
			{Source: d, Exchange: tr, Key: "#", Syntax: SyntaxAMQP},
			{Source: tr, Exchange: e},
		} {
			x.bind(s)
			x.bind(s) // once more is once
		}
		x.unbind(BindingSpec{Source: d, Exchange: e, Key: "gone", Syntax: SyntaxAMQP})
		x.settle()
		y := x.crash().crash()
		vh := y.VHost("/")
		if vh.Exchange("transient") != nil {
			t.Error("a transient exchange has outlived a crash")
		}
		got := vh.Exchange("durable").Options()
		if got.Type != o.Type || !got.Durable || !got.Internal || got.AutoDelete || got.Alternate != "alt" || string(got.Arguments) != string(o.Arguments) {
			t.Errorf("options after a crash: %+v", got)
		}
		expectLines(t, fmt.Sprint(n, " shards: bindings"), lines(slices.Collect(y.Bindings("/")), func(b BindingInfo) string {
			return fmt.Sprintln(b.Exchange, b.Destination, b.Queue, b.Key, b.Syntax, b.Arguments)
		}), " queue q q amqp \n", "durable queue q a.* amqp \n", "durable queue q a.* amqp n=1\n", "durable queue q a/+ mqtt \n",
			"durable exchange end b.# amqp n=1\n", "end queue q  mqtt \n")
		// The exchange is unknown to the old world, so a transient one of that
		// name does not get what the former one had.
		y.exchange("transient", ExchangeOptions{Type: Fanout, Durable: true})
		y.settle()
		z := y.crash()
		if got := z.reach("transient", "", z.VHost("/").Queue("q")); len(got) != 0 {
			t.Errorf("a new exchange has the bindings of a former one: %v", got)
		}
		z.turn(func(t *Turn) {
			if err := z.VHost("/").DeleteExchange(t, z.VHost("/").Exchange("durable"), false); err != nil {
				z.t.Error(err)
			}
		})
		z.settle()
		z = z.crash()
		z.exchange("durable", o)
		z.settle()
		z = z.crash()
		if n := len(z.VHost("/").Exchange("durable").out.list); n != 0 {
			t.Errorf("an exchange that was deleted is back with %d bindings", n)
		}
	}
}

// TestBindingIdentity: arguments are part of what a binding is.
func TestBindingIdentity(t *testing.T) {
	for _, typ := range []ExchangeType{Direct, Fanout, Topic} {
		x := newBox(t)
		e, q, p := x.exchange("e", ExchangeOptions{Type: typ}), x.declare("q", false), x.publisher()
		far := x.exchange("far", ExchangeOptions{Type: Fanout})
		fq := x.declare("fq", false)
		x.bind(BindingSpec{Source: far, Queue: fq})
		queues := []*Queue{q, fq}
		a, b := props.AddInt64(nil, "n", 1), props.AddInt64(nil, "n", 2)
		for _, args := range [][]byte{a, b, nil} {
			x.bind(BindingSpec{Source: e, Queue: q, Key: "k", Syntax: SyntaxAMQP, Arguments: args})
			x.bind(BindingSpec{Source: e, Exchange: far, Key: "k", Syntax: SyntaxAMQP, Arguments: args})
		}
		for _, args := range [][]byte{b, b, nil, a} {
			if got := x.send(p, e, "k", queues); len(got) != 2 {
				t.Errorf("%v: %v while there is a binding", typ, got)
			}
			x.unbind(BindingSpec{Source: e, Queue: q, Key: "k", Syntax: SyntaxAMQP, Arguments: args})
			x.unbind(BindingSpec{Source: e, Exchange: far, Key: "k", Syntax: SyntaxAMQP, Arguments: args})
		}
		if got := x.send(p, e, "k", queues); len(got) != 0 {
			t.Errorf("%v: %v without a binding", typ, got)
		}
		if n := x.Gauges().Bindings; n != 3 { // by name, and far to fq
			t.Errorf("%v: %d bindings are counted", typ, n)
		}
	}
}

// TestAutoDelete: an exchange that was to goes with its last binding, however that
// one goes, and what led to it goes along.
func TestAutoDelete(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	auto := func(name string) *Exchange {
		return x.exchange(name, ExchangeOptions{Type: Fanout, AutoDelete: true, Durable: true})
	}
	gone := func(what string, want bool, names ...string) {
		t.Helper()
		for _, n := range names {
			if (vh.Exchange(n) == nil) != want {
				t.Errorf("%s: %q is gone: %v", what, n, !want)
			}
		}
	}
	a, q, r := auto("a"), x.declare("q", true), x.declare("r", false)
	x.bind(BindingSpec{Source: a, Queue: q})
	x.bind(BindingSpec{Source: a, Queue: r})
	x.unbind(BindingSpec{Source: a, Queue: q, Key: "never bound"})
	x.unbind(BindingSpec{Source: a, Queue: q})
	gone("one is left", false, "a")
	x.unbind(BindingSpec{Source: a, Queue: r})
	gone("unbound", true, "a")

	auto("never")
	one, two, three := auto("one"), auto("two"), auto("three")
	x.bind(BindingSpec{Source: one, Exchange: two})
	x.bind(BindingSpec{Source: two, Exchange: three})
	x.bind(BindingSpec{Source: three, Exchange: three})
	x.bind(BindingSpec{Source: two, Queue: r})
	x.bind(BindingSpec{Source: three, Queue: q})
	x.deleteExchange("three")
	gone("the destination", true, "three")
	gone("another destination is left", false, "one", "two")
	x.turn(func(tn *Turn) {
		if _, err := vh.Drop(tn, r, false, false); err != nil {
			t.Error(err)
		}
	})
	gone("the queue", true, "one", "two")
	if len(vh.bound) != 0 {
		t.Errorf("%d queues are bound by what is gone", len(vh.bound))
	}

	b, s := auto("b"), x.declare("s", false)
	x.bind(BindingSpec{Source: b, Queue: s})
	x.settle()
	y := x.crash()
	vh = y.VHost("/")
	gone("its only queue has not outlived the crash", true, "a", "one", "two", "three", "b")
	gone("nothing was ever bound", false, "never")
	if n := y.crash().VHost("/").Exchange("b"); n != nil {
		t.Error("it is back after another crash")
	}
}

func TestTopologyErrors(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	e, q := x.exchange("e", ExchangeOptions{Type: Topic}), x.declare("q", false)
	h, c := x.exchange("h", ExchangeOptions{Type: Headers}), x.exchange("c", ExchangeOptions{Type: ConsistentHash})
	if again, created, err := func() (e *Exchange, created bool, err error) {
		x.turn(func(tn *Turn) { e, created, err = vh.DeclareExchange(tn, "e", ExchangeOptions{Type: Fanout}) })
		return
	}(); again != e || created || err != nil {
		t.Errorf("declared again: %v, %v", created, err)
	}
	for name, want := range map[string]error{
		string(make([]byte, 256)): ErrBadAddress, "a\x00b": ErrBadAddress, "amq.new": ErrNotAuthorized,
	} {
		x.turn(func(tn *Turn) {
			if _, _, err := vh.DeclareExchange(tn, name, ExchangeOptions{}); !errors.Is(err, want) {
				t.Errorf("declare %q: %v", name, err)
			}
		})
	}
	xm := func(v string) []byte { return props.AddStr(nil, "x-match", v) }
	for _, tc := range []struct {
		s    BindingSpec
		want error
	}{
		{BindingSpec{Source: vh.Exchange(""), Queue: q, Key: "k"}, ErrBadAddress},
		{BindingSpec{Source: e, Exchange: vh.Exchange(""), Key: "k"}, ErrBadAddress},
		{BindingSpec{Source: e, Queue: q, Key: "a.#.#.#", Syntax: SyntaxAMQP}, ErrBadAddress},
		{BindingSpec{Source: e, Queue: q, Key: "a.#.#", Syntax: SyntaxAMQP}, nil},
		{BindingSpec{Source: e, Queue: q, Key: "a.##.#.x#.#", Syntax: SyntaxAMQP}, nil},
		{BindingSpec{Source: e, Queue: q, Key: "a/#/b", Syntax: SyntaxMQTT}, ErrBadAddress},
		{BindingSpec{Source: h, Queue: q, Arguments: xm("some")}, ErrBadAddress},
		{BindingSpec{Source: h, Queue: q, Arguments: props.AddInt32(nil, "x-match", 1)}, ErrBadAddress},
		{BindingSpec{Source: h, Queue: q, Arguments: []byte("damaged")}, ErrBadAddress},
		{BindingSpec{Source: h, Queue: q, Arguments: xm("any-with-x")}, nil},
		{BindingSpec{Source: c, Queue: q, Key: "0"}, ErrBadAddress},
		{BindingSpec{Source: c, Queue: q, Key: "1.5"}, ErrBadAddress},
		{BindingSpec{Source: c, Queue: q, Key: ""}, ErrBadAddress},
		{BindingSpec{Source: c, Queue: q, Key: "1000001"}, ErrBadAddress},
		{BindingSpec{Source: c, Queue: q, Key: "1000000"}, nil},
	} {
		x.turn(func(tn *Turn) {
			if err := vh.Bind(tn, tc.s); !errors.Is(err, tc.want) {
				t.Errorf("bind %q to %q by %q with %q: %v", q.name, tc.s.Source.name, tc.s.Key, tc.s.Arguments, err)
			}
		})
	}
	x.turn(func(tn *Turn) {
		if err := vh.DeleteExchange(tn, e, true); !errors.Is(err, ErrInUse) {
			t.Errorf("delete one that is bound, if unused: %v", err)
		}
		if err := vh.DeleteExchange(tn, vh.Exchange("amq.direct"), false); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("delete amq.direct: %v", err)
		}
		if err := vh.DeleteExchange(tn, e, false); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"delete": vh.DeleteExchange(tn, e, false),
			"bind":   vh.Bind(tn, BindingSpec{Source: e, Queue: q, Key: "k", Syntax: SyntaxAMQP}),
			"unbind": vh.Unbind(tn, BindingSpec{Source: h, Exchange: e}),
		} {
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("%s with one that has gone: %v", what, err)
			}
		}
		trace := tn.Message()
		trace.Exchange, trace.Syntax = vh.Exchange(traceExchange), SyntaxAMQP
		if _, err := x.publisher().Publish(tn, trace); !errors.Is(err, ErrNotAuthorized) {
			t.Errorf("a client publishes to an internal exchange: %v", err)
		}
		if _, err := vh.NewInternalPublisher().Publish(tn, trace); err != nil {
			t.Errorf("the broker publishes to an internal exchange: %v", err)
		}
	})
}
