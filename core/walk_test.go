package core

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/narumq/naru/core/props"
)

// TestExchangeCircle: bindings in a circle lead each message once to each queue.
func TestExchangeCircle(t *testing.T) {
	x := newBox(t)
	var ring []*Exchange
	var queues []*Queue
	want := []string{}
	for i := range 20 { // more than are looked through one by one
		ring = append(ring, x.exchange(fmt.Sprint("e", i), ExchangeOptions{Type: []ExchangeType{Fanout, Direct, Topic, Headers}[i%4]}))
		queues = append(queues, x.declare(fmt.Sprintf("q%02d", i), false))
		want = append(want, queues[i].name)
	}
	for i, e := range ring {
		x.bind(BindingSpec{Source: e, Exchange: ring[(i+1)%len(ring)], Key: "k", Syntax: SyntaxAMQP})
		x.bind(BindingSpec{Source: e, Exchange: e, Key: "k", Syntax: SyntaxAMQP})
		x.bind(BindingSpec{Source: e, Queue: queues[i], Key: "k", Syntax: SyntaxAMQP})
		x.bind(BindingSpec{Source: e, Queue: queues[0], Key: "k", Syntax: SyntaxAMQP})
	}
	p := x.publisher()
	for _, e := range ring {
		for range 2 {
			if got := x.send(p, e, "k", queues); !slices.Equal(got, want) {
				t.Fatalf("by %q to %q", e.name, got)
			}
		}
	}
	x.unbind(BindingSpec{Source: ring[6], Exchange: ring[7], Key: "k", Syntax: SyntaxAMQP})
	if got := x.send(p, ring[5], "k", queues); !slices.Equal(got, []string{"q00", "q05", "q06"}) {
		t.Errorf("the circle is open: %q", got)
	}
}

// TestAlternate: where an exchange finds nothing its alternate is tried, wherever
// on the way that is, and whenever it comes and goes.
func TestAlternate(t *testing.T) {
	x := newBox(t)
	a := x.exchange("a", ExchangeOptions{Type: Direct, Alternate: "b"})
	q, r, s := x.declare("q", false), x.declare("r", false), x.declare("s", false)
	queues := []*Queue{q, r, s}
	x.bind(BindingSpec{Source: a, Queue: q, Key: "known", Syntax: SyntaxAMQP})
	p := x.publisher()
	expect := func(what string, from *Exchange, key string, want ...string) {
		t.Helper()
		for range 2 { // the second by a route that is remembered
			if got := x.send(p, from, key, queues); !slices.Equal(got, append([]string{}, want...)) {
				t.Errorf("%s: %q gets to %q, want %q", what, key, got, want)
			}
		}
	}
	expect("no alternate yet", a, "new")
	b := x.exchange("b", ExchangeOptions{Type: Topic, Alternate: "c"})
	expect("an empty one", a, "new")
	x.bind(BindingSpec{Source: b, Queue: r, Key: "new", Syntax: SyntaxAMQP})
	expect("bound", a, "new", "r")
	expect("not needed", a, "known", "q")
	expect("not found there either", a, "other")
	c := x.exchange("c", ExchangeOptions{Type: Fanout, Alternate: "a"}) // in a circle
	expect("nothing on all of the way", a, "other")
	x.bind(BindingSpec{Source: c, Queue: s})
	expect("the alternate of the alternate", a, "other", "s")
	x.deleteExchange("b")
	expect("the alternate has gone", a, "new")
	x.exchange("b", ExchangeOptions{Type: Direct, Alternate: "c"})
	expect("another by its name", a, "new", "s")

	// On the way over another exchange, which has found something.
	f := x.exchange("f", ExchangeOptions{Type: Fanout})
	x.bind(BindingSpec{Source: f, Exchange: a})
	x.bind(BindingSpec{Source: f, Queue: q})
	expect("in a chain", f, "new", "q", "s")
	expect("in a chain, not needed", f, "known", "q")
	// That it leads to an exchange is a route too.
	g := x.exchange("g", ExchangeOptions{Type: Fanout, Alternate: "c"})
	x.bind(BindingSpec{Source: g, Exchange: x.exchange("empty", ExchangeOptions{Type: Fanout})})
	expect("an exchange was found", g, "k")
}

// TestAlternateOfKeys: the alternate is not for a key that finds nothing where
// another key of the message finds something.
func TestAlternateOfKeys(t *testing.T) {
	x := newBox(t)
	a := x.exchange("a", ExchangeOptions{Type: Direct, Alternate: "b"})
	b := x.exchange("b", ExchangeOptions{Type: Fanout})
	q, r := x.declare("q", false), x.declare("r", false)
	x.bind(BindingSpec{Source: a, Queue: q, Key: "k", Syntax: SyntaxAMQP})
	x.bind(BindingSpec{Source: b, Queue: r})
	p := x.publisher()
	for keys, want := range map[[2]string]string{{"k", "other"}: "q", {"other", "k"}: "q", {"k", "k"}: "q", {"other", "other"}: "r"} {
		got := x.send(p, a, keys[0], []*Queue{q, r}, func(m *Message) { m.Keys = [][]byte{[]byte(keys[1])} })
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%q: %q, want %q", keys, got, want)
		}
	}
}

// TestKeys: a message with further keys goes where any of them leads, once, and
// each of them is asked about.
func TestKeys(t *testing.T) {
	book := &rulebook{rule: anything}
	x := newBox(t, withRules(quickRules{book}))
	e := x.VHost("/").Exchange(topicExchange)
	var queues []*Queue
	for i := range 40 {
		queues = append(queues, x.declare(fmt.Sprintf("q%02d", i), false))
		x.bind(BindingSpec{Source: e, Queue: queues[i], Key: fmt.Sprintf("k%d.#", i/2), Syntax: SyntaxAMQP})
		x.bind(BindingSpec{Source: e, Queue: queues[i], Key: "all.#", Syntax: SyntaxAMQP})
	}
	p := x.publisher()
	keys := func(k ...string) func(*Message) {
		return func(m *Message) {
			for _, k := range k {
				m.Keys = append(m.Keys, []byte(k))
			}
		}
	}
	for range 2 {
		if got := x.send(p, e, "k0", queues, keys("k1.x", "k0", "none")); !slices.Equal(got, []string{"q00", "q01", "q02", "q03"}) {
			t.Errorf("got to %q", got)
		}
		if got := x.send(p, e, "none", queues, keys("k5", "all")); len(got) != 40 {
			t.Errorf("got to %d", len(got))
		}
		if got := x.send(p, e, "none", queues); len(got) != 0 { // what was before it is forgotten
			t.Errorf("without further keys to %q", got)
		}
	}
	book.set(refuse("p publish k1"))
	x.RevokeRights()
	x.turn(func(tn *Turn) {
		for _, k := range [][]string{{"k0", "k1"}, {"k1", "k0"}, {"k0", "k0", "k1"}} {
			m := tn.Message()
			m.Exchange, m.Topic, m.Syntax, m.QoS = e, []byte(k[0]), SyntaxAMQP, AtLeastOnce
			keys(k[1:]...)(m)
			if wait, err := p.Publish(tn, m); wait != nil || !errors.Is(err, ErrNotAuthorized) || string(m.Topic) != k[0] {
				t.Errorf("%q: %v, and its key is %q", k, err, m.Topic)
			}
		}
	})
}

// TestPreparedRoutes: messages whose way is found for each of them do not take
// the way of the next one, however long they wait to be published.
func TestPreparedRoutes(t *testing.T) {
	x := newBox(t)
	h := x.VHost("/").Exchange(headersExchange)
	var queues []*Queue
	for i := range 3 {
		queues = append(queues, x.declare(fmt.Sprint("q", i), false))
		x.bind(BindingSpec{Source: h, Queue: queues[i], Arguments: props.AddInt64(nil, "n", int64(i))})
	}
	p := x.publisher()
	x.turn(func(tn *Turn) {
		var all []Prepared
		for i := range 3 {
			m := tn.Message()
			m.Exchange, m.Syntax, m.QoS = h, SyntaxAMQP, AtLeastOnce
			withHeaders(props.AddInt32(nil, "n", int32(i)))(m)
			pr, wait, err := p.Prepare(tn, m)
			if wait != nil || err != nil {
				t.Fatal(err)
			}
			all = append(all, pr)
		}
		for _, again := range []bool{true, false} {
			for i := range all {
				if again {
					if wait, err := all[i].Refresh(tn); wait != nil || err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		for i := range all {
			all[i].Publish(tn)
		}
	})
	for _, q := range queues {
		if n := q.Info().Ready; n != 1 {
			t.Errorf("%d messages in %q", n, q.name)
		}
	}
}

// TestPlainRoutesAllocateNothing: a route that is remembered costs no memory, be
// it plain or over several exchanges; nor does a header that is looked at.
func TestPlainRoutesAllocateNothing(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	q := x.declare("q", false)
	f, g := x.exchange("f", ExchangeOptions{Type: Fanout}), x.exchange("g", ExchangeOptions{Type: Topic, Alternate: "f"})
	x.bind(BindingSpec{Source: f, Queue: q})
	x.bind(BindingSpec{Source: vh.topics, Queue: q, Key: "k.#", Syntax: SyntaxAMQP})
	x.bind(BindingSpec{Source: vh.Exchange(matchExchange), Queue: q, Arguments: props.AddStr(nil, "h", "1")})
	headers := withHeaders(props.AddStr(nil, "h", "1"))
	for _, tc := range []struct {
		what string
		from *Exchange
		far  bool
	}{{"plain", vh.topics, false}, {"default", vh.Exchange(""), false}, {"alternate", g, true}, {"headers", vh.Exchange(matchExchange), true}} {
		p := x.publisher()
		tn := x.NewTurn()
		m := tn.Message()
		m.Exchange, m.Topic, m.Syntax = tc.from, []byte("q"), SyntaxAMQP
		if tc.from == vh.topics {
			m.Topic = []byte("k.q")
		}
		headers(m)
		n := testing.AllocsPerRun(100, func() {
			if r, w, err := p.route(tn, m); w != nil || err != nil || len(r.targets) != 1 || (r.further != nil || r.once) != tc.far {
				t.Fatalf("%s: %+v, %v", tc.what, r, err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", tc.what, n)
		}
		tn.End()
	}
}

// TestInterceptedRoutes: where an interceptor changes what the way depends on, the
// message goes another way.
func TestInterceptedRoutes(t *testing.T) {
	headers := props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: props.AddStr(nil, "to", "b")})
	bothWays(t, func(m *Message) error {
		m.Props = headers
		return nil
	}, func(t *testing.T, x *box, c *changer) {
		h, p := x.VHost("/").Exchange(headersExchange), x.publisher()
		a, b := x.declare("a", false), x.declare("b", false)
		x.bind(BindingSpec{Source: h, Queue: a, Arguments: props.AddStr(nil, "to", "a")})
		x.bind(BindingSpec{Source: h, Queue: b, Arguments: props.AddStr(nil, "to", "b")})
		for n := range int64(3) {
			if err := x.retry(func(tn *Turn) (Wait, error) {
				m := tn.Message()
				m.Exchange, m.Syntax, m.QoS = h, SyntaxAMQP, AtLeastOnce
				withHeaders(props.AddStr(nil, "to", "a"))(m)
				return p.Publish(tn, m)
			}); err != nil {
				t.Fatal(err)
			}
			if got := [2]int64{a.Info().Ready, b.Info().Ready}; got != [2]int64{0, n + 1} {
				t.Errorf("after %d messages there are %v", n+1, got)
			}
		}
	})
	c := &changer{do: func(m *Message) error { m.Keys = [][]byte{[]byte("b")}; return nil }}
	x := newBox(t, func(o *Options) { o.Interceptors = append(o.Interceptors, quickChanger{c}) })
	queues := []*Queue{x.declare("a", false), x.declare("b", false)}
	if got := x.send(x.publisher(), x.VHost("/").Exchange(""), "a", queues); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("with a key that the interceptor has added: %q", got)
	}
}

// TestReceiveRightsOfWalks: who may not receive a message does not, whichever way
// it takes, and asking may take time.
func TestReceiveRightsOfWalks(t *testing.T) {
	for _, quick := range []bool{true, false} {
		book := &rulebook{rule: refuse("denied receive k")}
		var a Authorizer = book
		if quick {
			a = quickRules{book}
		}
		x := newBox(t, withRules(a))
		vh := x.VHost("/")
		var subs []*client
		for _, id := range []string{"denied", "other"} {
			c := x.connect(id)
			if err := c.trySubscribe("#", AtLeastOnce); err != nil {
				t.Fatal(err)
			}
			subs = append(subs, c)
		}
		e := x.exchange("e", ExchangeOptions{Type: Fanout})
		x.bind(BindingSpec{Source: e, Exchange: vh.Topics()})
		x.bind(BindingSpec{Source: vh.Exchange(headersExchange), Exchange: vh.Topics()})
		p := x.publisher()
		for _, from := range []*Exchange{e, vh.Exchange(headersExchange), vh.Topics()} {
			for _, keys := range [][][]byte{nil, {[]byte("other")}} {
				for range 2 {
					if err := x.retry(func(tn *Turn) (Wait, error) {
						m := tn.Message()
						m.Exchange, m.Topic, m.Syntax, m.QoS, m.Keys = from, []byte("k"), SyntaxAMQP, AtLeastOnce, keys
						return p.Publish(tn, m)
					}); err != nil {
						t.Fatal(err)
					}
				}
				x.settle()
				if d, o := subs[0].take(), subs[1].take(); len(d) != 0 || len(o) != 2 {
					t.Errorf("quick %v, by %q with %q: %d to who may not, %d to the other", quick, from.name, keys, len(d), len(o))
				}
			}
		}
	}
}
