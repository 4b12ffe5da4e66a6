package core

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/core/props"
)

// TestBindingKeys: records of format 1 are read, and keys tell all bindings apart.
func TestBindingKeys(t *testing.T) {
	old := append(idKey(keyBinding, 7), "amq.topic\x00\x01a.*"...)
	if k := bindingKey(7, "amq.topic", SyntaxAMQP, "a.*", ""); !bytes.Equal(k, old) {
		t.Errorf("without arguments %q, was %q", k, old)
	}
	if rec, err := decodeBindingRecord([]byte{1, 2, 0}); err != nil || rec != (bindingRecord{syntax: SyntaxAMQP, qos: ExactlyOnce}) {
		t.Errorf("record of format 1: %+v, %v", rec, err)
	}
	seen := map[string]string{}
	for _, exchange := range []string{"", "x", "xy"} {
		for _, key := range []string{"", "k", "kk", strings.Repeat("k", 40)} {
			for _, args := range []string{"", "a", "b", strings.Repeat("b", 1000)} {
				for _, syn := range []Syntax{SyntaxMQTT, SyntaxAMQP} {
					what := fmt.Sprintf("%q %q %.10q %v", exchange, key, args, syn)
					k := bindingKey(7, exchange, syn, key, args)
					if was, ok := seen[string(k)]; ok {
						t.Errorf("%s has the key of %s", what, was)
					}
					seen[string(k)] = what
					if len(k) > 9+len(exchange)+2+len(key)+digestSize {
						t.Errorf("the key of %s has %d bytes", what, len(k))
					}
					if x, got, err := splitBindingKey(k); x != exchange || got != key || err != nil {
						t.Errorf("of %s is read: %q %q %v", what, x, got, err)
					}
				}
			}
		}
	}
	for _, k := range []string{"b12345678x", "b12345678x\x00", "b12345678x\x00\x81short"} {
		if _, _, err := splitBindingKey([]byte(k)); err == nil {
			t.Errorf("%q is read", k)
		}
	}
}

// TestTopologyWaits: what is changed holds at once, and is told when it is on
// disk; whoever finds it as it should be already waits for that too.
func TestTopologyWaits(t *testing.T) {
	var shards []*testShard
	for range 4 {
		shards = append(shards, newTestShard())
	}
	x := openBox(t, shards)
	vh := x.VHost("/")
	q, tq := x.declare("q", true), x.declare("tq", false)
	y := x.exchange("y", ExchangeOptions{Type: Fanout, Durable: true})
	durable := ExchangeOptions{Type: Fanout, Durable: true}
	var e, tr *Exchange
	steps := []struct {
		what  string
		waits bool
		f     func(*Turn) error
	}{
		{"transient", false, func(t *Turn) (err error) { tr, _, err = vh.DeclareExchange(t, "tr", ExchangeOptions{}); return err }},
		{"bind transient", false, func(t *Turn) error { return vh.Bind(t, BindingSpec{Source: tr, Queue: q}) }},
		{"bind to transient", false, func(t *Turn) error { return vh.Bind(t, BindingSpec{Source: y, Queue: tq}) }},
		{"unbind what is not", true, func(t *Turn) error { return vh.Unbind(t, BindingSpec{Source: y, Queue: q, Key: "none"}) }},
		{"delete transient", false, func(t *Turn) error { return vh.DeleteExchange(t, tr, false) }},
		{"declare", true, func(t *Turn) (err error) { e, _, err = vh.DeclareExchange(t, "e", durable); return err }},
		{"declare again", true, func(t *Turn) error { _, _, err := vh.DeclareExchange(t, "e", durable); return err }},
		{"bind", true, func(t *Turn) error { return vh.Bind(t, BindingSpec{Source: e, Queue: q}) }},
		{"bind again", true, func(t *Turn) error { return vh.Bind(t, BindingSpec{Source: e, Queue: q}) }},
		{"bind exchange", true, func(t *Turn) error { return vh.Bind(t, BindingSpec{Source: e, Exchange: y}) }},
		{"bind exchange again", true, func(t *Turn) error { return vh.Bind(t, BindingSpec{Source: e, Exchange: y}) }},
		{"unbind", true, func(t *Turn) error { return vh.Unbind(t, BindingSpec{Source: e, Queue: q}) }},
		{"unbind again", true, func(t *Turn) error { return vh.Unbind(t, BindingSpec{Source: e, Queue: q}) }},
		{"unbind exchange", true, func(t *Turn) error { return vh.Unbind(t, BindingSpec{Source: e, Exchange: y}) }},
		{"delete", true, func(t *Turn) error { return vh.DeleteExchange(t, e, false) }},
	}
	x.settle()
	x.hold(true)
	var clients []*client
	for i, s := range steps {
		c := x.connect(fmt.Sprint("c", i))
		clients = append(clients, c)
		if err := c.feedRetry("ok", func(t *Turn) (Wait, error) { return nil, s.f(t) }); err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
	}
	x.workersIdle()
	for i, s := range steps {
		if told := clients[i].out.String() != ""; told == s.waits {
			t.Errorf("%s: told at once is %v", s.what, told)
		}
	}
	x.hold(false)
	x.settle()
	for i, s := range steps {
		if clients[i].out.String() != "ok" {
			t.Errorf("%s: never told", s.what)
		}
	}
	if z := x.crash().VHost("/"); z.Exchange("e") != nil || z.Exchange("y") == nil {
		t.Error("after a crash e is there or y is not")
	}
}

// TestBindingOfFormerExchange: an exchange that was deleted and declared anew does
// not get back a binding whose end did not reach the disk of the queue.
func TestBindingOfFormerExchange(t *testing.T) {
	var shards []*testShard
	for range 4 {
		shards = append(shards, newTestShard())
	}
	x := openBox(t, shards)
	e := x.exchange("e", ExchangeOptions{Type: Fanout, Durable: true})
	var q *Queue
	for i := 0; q == nil || q.sh.index == 0; i++ {
		q = x.declare(fmt.Sprint("q", i), true)
	}
	x.bind(BindingSpec{Source: e, Queue: q})
	x.settle()
	shards[q.sh.index].hold(true)
	x.deleteExchange("e")
	x.exchange("e", ExchangeOptions{Type: Fanout, Durable: true})
	for shards[0].waiting() > 0 {
		x.workersIdle()
	}
	y := x.crash()
	if y.VHost("/").Exchange("e") == nil {
		t.Fatal("the exchange is not there after a crash")
	}
	for range 2 {
		y.settle()
		if n := len(y.VHost("/").bound); n != 0 {
			t.Errorf("the new exchange has the binding of the former one")
		}
		y = y.crash()
	}
}

// TestTopologyOrder: of two turns that change one binding, the one that ends first
// need not be the one that came first.
func TestTopologyOrder(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	s := BindingSpec{Source: x.exchange("e", ExchangeOptions{Type: Fanout, Durable: true}), Queue: x.declare("q", true)}
	for bound := range 2 {
		change := []func(*Turn, BindingSpec) error{vh.Bind, vh.Unbind}
		if bound == 1 {
			x.bind(s)
			slices.Reverse(change)
		}
		first, second := x.NewTurn(), x.NewTurn()
		if err := errors.Join(change[0](first, s), change[1](second, s)); err != nil {
			t.Fatal(err)
		}
		second.End()
		first.End()
		x.settle()
		if now, then := len(s.Source.out.list), len(x.crash().VHost("/").Exchange("e").out.list); now != bound || then != bound {
			t.Errorf("%d bindings, and %d after a crash, want %d", now, then, bound)
		}
	}
}

// TestTopologyRace: of changes that several turns make at a time, the disk has
// what memory has. Messages go by meanwhile.
func TestTopologyRace(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	q := x.declare("q", true)
	e := x.exchange("e", ExchangeOptions{Type: Topic, Durable: true})
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(1, uint64(n)))
			p := vh.NewPublisher(NewPrincipal(Identity{VHost: "/"}))
			for range 300 {
				tn := x.NewTurn()
				for range 1 + rnd.IntN(3) {
					s := BindingSpec{Source: e, Queue: q, Key: fmt.Sprint("k", rnd.IntN(3)), Syntax: SyntaxAMQP}
					if rnd.IntN(3) == 0 {
						s.Queue, s.Exchange = nil, vh.Topics()
					}
					var err error
					switch rnd.IntN(6) {
					case 0, 1:
						err = vh.Bind(tn, s)
					case 2, 3:
						err = vh.Unbind(tn, s)
					case 4:
						m := tn.Message()
						m.Exchange, m.Topic, m.Syntax = e, []byte("k1"), SyntaxAMQP
						_, err = p.Publish(tn, m)
					default:
						var a *Exchange
						if a, _, err = vh.DeclareExchange(tn, "a", ExchangeOptions{Type: Fanout, Durable: true, AutoDelete: rnd.IntN(2) == 0}); err == nil {
							_ = vh.Bind(tn, BindingSpec{Source: e, Exchange: a, Key: "k1", Syntax: SyntaxAMQP}) // another may have deleted it
							_ = vh.DeleteExchange(tn, a, rnd.IntN(2) == 0)
						}
					}
					if err != nil {
						t.Error(err)
					}
				}
				tn.End()
			}
		}()
	}
	wg.Wait()
	x.settle()
	list := func(b *box) string {
		return lines(slices.Collect(b.Bindings("/")), func(i BindingInfo) string { return fmt.Sprint(i) }) +
			lines(slices.Collect(b.Exchanges("/")), func(i ExchangeInfo) string { return fmt.Sprint(i) })
	}
	if now, then := list(x), list(x.crash()); now != then {
		t.Errorf("before a crash\n%s\nafter it\n%s", now, then)
	}
}

// TestExchangeList shows exchanges and what leads from them.
func TestExchangeList(t *testing.T) {
	x := newBox(t, func(o *Options) { o.VHosts = []string{"other"} })
	e := x.exchange("e", ExchangeOptions{Type: Headers, AutoDelete: true, Internal: true, Alternate: "alt", Arguments: props.AddInt32(nil, "a", 1)})
	q := x.declare("q", false)
	x.bind(BindingSpec{Source: e, Queue: q, Arguments: props.AddStr(props.AddInt32(nil, "n", 1), "x-match", "any")})
	x.bind(BindingSpec{Source: e, Exchange: x.VHost("/").Topics(), Key: "k", Syntax: SyntaxAMQP})
	x.connect("c").subscribe("$share/g/a", AtMostOnce)
	show := func(i ExchangeInfo) string {
		return fmt.Sprintln(i.VHost, i.Name, i.Type, i.Durable, i.AutoDelete, i.Internal, i.Alternate, i.Bindings, i.Arguments)
	}
	expectLines(t, "exchanges", lines(slices.Collect(x.Exchanges("/")), show),
		"/ e headers false true true alt 2 a=1\n", "/  direct true false false  1 \n", "/ amq.direct direct true false false  0 \n",
		"/ amq.fanout fanout true false false  0 \n", "/ amq.topic topic true false false  1 \n", "/ amq.headers headers true false false  0 \n",
		"/ amq.match headers true false false  0 \n", "/ amq.rabbitmq.trace topic true false true  0 \n")
	if n := len(slices.Collect(x.Exchanges(""))); n != 15 {
		t.Errorf("%d exchanges in both vhosts", n)
	}
	var all []BindingInfo
	for b := range x.Bindings("/") {
		all = append(all, b)
	}
	expectLines(t, "bindings", lines(all, func(b BindingInfo) string {
		j, err := json.Marshal(b)
		if err != nil {
			t.Error(err)
		}
		return string(j)
	}),
		`{"vhost":"/","exchange":"","key":"q","syntax":"amqp","queue":"q","destination_type":"queue"}`,
		`{"vhost":"/","exchange":"amq.topic","key":"a","syntax":"mqtt","queue":"$share/g/a","destination_type":"queue"}`,
		`{"vhost":"/","exchange":"e","key":"","syntax":"mqtt","queue":"q","destination_type":"queue","arguments":"n=1, x-match=\"any\""}`,
		`{"vhost":"/","exchange":"e","key":"k","syntax":"amqp","queue":"amq.topic","destination_type":"exchange"}`)
	for n := range all { // whoever has seen enough stops
		i := 0
		for range x.Bindings("/") {
			if i++; i > n {
				break
			}
		}
	}
}
