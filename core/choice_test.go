package core

import (
	"fmt"
	"math"
	"testing"

	"github.com/narumq/naru/core/props"
)

// TestHeadersExchange has each rule of headers exchanges.
func TestHeadersExchange(t *testing.T) {
	x := newBox(t)
	h, p := x.VHost("/").Exchange(headersExchange), x.publisher()
	xm := func(v string) props.Table { return props.AddStr(nil, "x-match", v) }
	one := props.AddInt32(nil, "n", 5)
	var many props.Table
	for i := range 30 {
		many = props.AddInt32(many, fmt.Sprint("k", (i*7)%30), int32(i))
	}
	many = props.AddStr(props.AddStr(many, "n", "first"), "n", "second")
	for _, tc := range []struct {
		binding, headers props.Table
		want             bool
	}{
		{nil, nil, true},
		{nil, one, true},
		{xm("all"), one, true},
		{xm("any"), one, false},
		{xm("any-with-x"), one, false},
		{one, nil, false},
		{one, one, true},
		{one, props.AddInt64(nil, "n", 5), true},
		{one, props.AddFloat64(nil, "n", 5), false},
		{one, props.AddStr(nil, "n", "5"), false},
		{one, props.AddInt32(nil, "N", 5), false},
		{props.AddVoid(nil, "n"), one, true},
		{props.AddVoid(nil, "n"), props.AddVoid(nil, "n"), true},
		{props.AddVoid(nil, "other"), one, false},
		{one, props.AddVoid(nil, "n"), false},
		{props.AddStr(xm("all"), "a", "b"), props.AddStr(one, "a", "b"), true},
		{props.AddStr(props.AddInt64(xm("all"), "n", 5), "a", "c"), props.AddStr(one, "a", "b"), false},
		{props.AddStr(props.AddInt64(xm("any"), "n", 5), "a", "c"), props.AddStr(one, "a", "b"), true},
		{props.AddStr(props.AddInt64(xm("any"), "n", 6), "a", "c"), props.AddStr(one, "a", "b"), false},
		{props.AddStr(xm("all"), "x-a", "b"), nil, true}, // ignored
		{props.AddStr(xm("any"), "x-a", "b"), props.AddStr(nil, "x-a", "b"), false},
		{props.AddStr(xm("all-with-x"), "x-a", "b"), nil, false},
		{props.AddStr(xm("all-with-x"), "x-a", "b"), props.AddStr(nil, "x-a", "b"), true},
		{props.AddStr(xm("any-with-x"), "x-a", "b"), props.AddStr(nil, "x-a", "b"), true},
		{props.AddStr(nil, "n", "first"), many, true},
		{props.AddStr(nil, "n", "second"), many, false}, // of two the first counts
		{props.AddInt64(props.AddInt64(nil, "k0", 0), "k7", 1), many, true},
		{props.AddVoid(nil, "k30"), many, false},
		{props.AddVoid(nil, "\x00"), many, false},
		{props.AddTable(nil, "t", one), props.AddTable(nil, "t", props.AddInt64(nil, "n", 5)), true},
	} {
		q := x.declare("q", false)
		x.bind(BindingSpec{Source: h, Queue: q, Key: "ignored", Arguments: tc.binding})
		for range 2 {
			if got := x.send(p, h, "k", []*Queue{q}, withHeaders(tc.headers)); (len(got) == 1) != tc.want {
				t.Errorf("%q matches %q: %v", tc.binding, tc.headers, !tc.want)
			}
		}
		if tc.headers == nil {
			if got := x.send(p, h, "k", []*Queue{q}); (len(got) == 1) != tc.want {
				t.Errorf("%q matches a message without properties: %v", tc.binding, !tc.want)
			}
		}
		x.unbind(BindingSpec{Source: h, Queue: q, Key: "ignored", Arguments: tc.binding})
		if got := x.send(p, h, "k", []*Queue{q}, withHeaders(tc.headers)); len(got) != 0 {
			t.Errorf("%q matches when it has gone", tc.binding)
		}
	}
}

// wins counts how many of n keys go to each queue, and which to which.
func (x *box) wins(t *testing.T, e *Exchange, queues []*Queue, n int, change func(i int, m *Message)) (count map[string]int, by []string) {
	t.Helper()
	p := x.publisher()
	count = map[string]int{}
	for i := range n {
		got := x.send(p, e, fmt.Sprint("key", i), queues, func(m *Message) {
			if change != nil {
				change(i, m)
			}
		})
		if len(got) != 1 {
			t.Fatalf("%d destinations", len(got))
		}
		count[got[0]]++
		by = append(by, got[0])
	}
	return count, by
}

// TestConsistentHash: each message goes to one destination, by weight, and only
// what must move does when destinations come and go, also over a restart.
func TestConsistentHash(t *testing.T) {
	x := newBox(t)
	e := x.exchange("hash", ExchangeOptions{Type: ConsistentHash, Durable: true})
	var queues []*Queue
	for i := range 4 {
		queues = append(queues, x.declare(fmt.Sprint("q", i), true))
		x.bind(BindingSpec{Source: e, Queue: queues[i], Key: fmt.Sprint(1 + i)})
	}
	const n = 4000
	count, before := x.wins(t, e, queues, n, nil)
	for i := range 4 { // six standard deviations
		share := float64(1+i) / 10
		if got := count[fmt.Sprint("q", i)]; math.Abs(float64(got)-n*share) > 6*math.Sqrt(n*share*(1-share)) {
			t.Errorf("q%d gets %d of %d, its share is %v", i, got, n, share)
		}
	}
	x.settle()
	moved := func(what string, y *box, also ...string) {
		t.Helper()
		var qs []*Queue
		for q := range y.Queues("/") {
			qs = append(qs, y.VHost("/").Queue(q.Name))
		}
		_, now := y.wins(t, y.VHost("/").Exchange("hash"), qs, n, nil)
		other := 0
		for i := range now {
			if now[i] != before[i] {
				other++
				if now[i] != also[0] && before[i] != also[0] {
					t.Fatalf("%s: key %d goes from %q to %q", what, i, before[i], now[i])
				}
			}
		}
		if (other > 0) != (also[0] != "") {
			t.Errorf("%s: %d have moved", what, other)
		}
	}
	moved("after a crash", x.crash(), "")
	x.unbind(BindingSpec{Source: e, Queue: queues[2], Key: "3"})
	moved("one has gone", x, "q2")
	x.bind(BindingSpec{Source: e, Queue: queues[2], Key: "3"})
	moved("it is back", x, "")
	x.bind(BindingSpec{Source: e, Queue: x.declare("more", false), Key: "2"})
	moved("one has come", x, "more")
}

// TestHashOn: a header or a property can take the place of the key.
func TestHashOn(t *testing.T) {
	x := newBox(t)
	var queues []*Queue
	for i := range 8 {
		queues = append(queues, x.declare(fmt.Sprint("q", i), false))
	}
	for name, tc := range map[string]struct {
		args   props.Table
		change func(i int, m *Message) // has the same in it for every i
		vary   func(i int, m *Message)
	}{
		"header": {
			props.AddStr(nil, "hash-header", "h"),
			func(i int, m *Message) { withHeaders(props.AddStr(nil, "h", "same"))(m) },
			func(i int, m *Message) { withHeaders(props.AddStr(nil, "h", fmt.Sprint(i)))(m) },
		},
		"integer header": {
			props.AddStr(nil, "hash-header", "h"),
			func(i int, m *Message) {
				withHeaders([]props.Table{props.AddInt32(nil, "h", 77), props.AddInt64(nil, "h", 77)}[i%2])(m)
			},
			func(i int, m *Message) { withHeaders(props.AddInt32(nil, "h", int32(i)))(m) },
		},
		"no header": {props.AddStr(nil, "hash-header", "h"), nil, nil},
		"message id": {
			props.AddStr(nil, "hash-property", "message_id"),
			func(i int, m *Message) {
				m.Props = props.AppendProperties(nil, &props.Properties{Has: props.HasMessageID, MessageID: []byte("id")})
			},
			func(i int, m *Message) {
				m.Props = props.AppendProperties(nil, &props.Properties{Has: props.HasMessageID, MessageID: fmt.Append(nil, i)})
			},
		},
		"correlation id": {
			props.AddStr(nil, "hash-property", "correlation_id"),
			func(i int, m *Message) {
				m.Props = props.AppendProperties(nil, &props.Properties{Has: props.HasCorrelationID, CorrelationID: []byte("id")})
			},
			func(i int, m *Message) {
				m.Props = props.AppendProperties(nil, &props.Properties{Has: props.HasCorrelationID, CorrelationID: fmt.Append(nil, i)})
			},
		},
		"timestamp": {
			props.AddStr(nil, "hash-property", "timestamp"),
			func(i int, m *Message) {
				m.Props = props.AppendProperties(nil, &props.Properties{Has: props.HasTimestamp, Timestamp: 1 << 40})
			},
			func(i int, m *Message) {
				m.Props = props.AppendProperties(nil, &props.Properties{Has: props.HasTimestamp, Timestamp: uint64(i)})
			},
		},
	} {
		e := x.exchange(name, ExchangeOptions{Type: ConsistentHash, Arguments: tc.args})
		for _, q := range queues {
			x.bind(BindingSpec{Source: e, Queue: q, Key: "1"})
		}
		if count, _ := x.wins(t, e, queues, 100, tc.change); len(count) != 1 {
			t.Errorf("%s: the same goes to %v", name, count)
		}
		if tc.vary == nil {
			continue
		}
		if count, _ := x.wins(t, e, queues, 400, tc.vary); len(count) != len(queues) {
			t.Errorf("%s: different ones go to %v", name, count)
		}
	}
	x.turn(func(tn *Turn) {
		for _, args := range []props.Table{
			props.AddStr(nil, "hash-property", "reply_to"), props.AddStr(nil, "hash-header", ""), props.AddInt32(nil, "hash-header", 1),
			props.AddStr(props.AddStr(nil, "hash-header", "h"), "hash-property", "timestamp"), props.Table("damaged"),
		} {
			if _, _, err := x.VHost("/").DeclareExchange(tn, "bad", ExchangeOptions{Type: ConsistentHash, Arguments: args}); err == nil {
				t.Errorf("declared with %q", args)
			}
		}
	})
	// A key of MQTT is the same as that of AMQP.
	e := x.exchange("both", ExchangeOptions{Type: ConsistentHash})
	for _, q := range queues {
		x.bind(BindingSpec{Source: e, Queue: q, Key: "1"})
	}
	p := x.publisher()
	for i := range 50 {
		a := x.send(p, e, fmt.Sprint("a.", i), queues)
		b := x.send(p, e, fmt.Sprint("a/", i), queues, func(m *Message) { m.Syntax = SyntaxMQTT })
		if len(a) != 1 || a[0] != b[0] {
			t.Errorf("%d goes to %q and %q", i, a, b)
		}
	}
}

// TestRandomExchange: each message goes by one binding, any of them.
func TestRandomExchange(t *testing.T) {
	x := newBox(t)
	e := x.exchange("random", ExchangeOptions{Type: Random})
	p := x.publisher()
	if got := x.send(p, e, "k", nil); len(got) != 0 {
		t.Error("it leads somewhere without a binding")
	}
	var queues []*Queue
	for i := range 4 {
		queues = append(queues, x.declare(fmt.Sprint("q", i), false))
		x.bind(BindingSpec{Source: e, Queue: queues[i]})
	}
	// That one of four gets nothing of 400 has a chance of 4 in 10^50.
	if count, _ := x.wins(t, e, queues, 400, nil); len(count) != 4 {
		t.Errorf("only %v get something", count)
	}
	x.unbind(BindingSpec{Source: e, Queue: queues[0]})
	if count, _ := x.wins(t, e, queues, 100, nil); count["q0"] != 0 {
		t.Error("what was unbound gets something")
	}
}
