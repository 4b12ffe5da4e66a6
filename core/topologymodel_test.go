package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/narumq/naru/core/props"
)

// topology is what a vhost should be, in the plainest form.
type topology struct {
	exchanges map[string]modelExchange
	queues    map[string]bool // durable?
	bindings  map[modelBinding]bool
}

type modelExchange struct {
	ExchangeOptions
	used bool
}

type modelBinding struct {
	from, to string
	exchange bool // the destination is one
	key      string
	syntax   Syntax
	args     string // a table
}

func (tp *topology) clone() *topology {
	return &topology{maps.Clone(tp.exchanges), maps.Clone(tp.queues), maps.Clone(tp.bindings)}
}

// removeExchange removes one with its bindings, and those that go along.
func (tp *topology) removeExchange(name string) {
	delete(tp.exchanges, name)
	for b := range tp.bindings {
		if b.from == name {
			delete(tp.bindings, b)
		}
	}
	for b := range tp.bindings {
		if b.exchange && b.to == name {
			tp.unbind(b)
		}
	}
}

func (tp *topology) removeQueue(name string) {
	delete(tp.queues, name)
	for b := range tp.bindings {
		if !b.exchange && b.to == name {
			tp.unbind(b)
		}
	}
}

func (tp *topology) unbind(b modelBinding) {
	if _, ok := tp.bindings[b]; !ok {
		return
	}
	delete(tp.bindings, b)
	tp.unused(b.from)
}

func (tp *topology) unused(name string) {
	if x, ok := tp.exchanges[name]; ok && x.AutoDelete && x.used && !tp.bound(name) {
		tp.removeExchange(name)
	}
}

func (tp *topology) bound(from string) bool {
	for b := range tp.bindings {
		if b.from == from {
			return true
		}
	}
	return false
}

// restarted is what outlives a restart.
func (tp *topology) restarted() *topology {
	n := tp.clone()
	maps.DeleteFunc(n.queues, func(_ string, durable bool) bool { return !durable })
	maps.DeleteFunc(n.exchanges, func(_ string, x modelExchange) bool { return !x.Durable })
	maps.DeleteFunc(n.bindings, func(b modelBinding, _ bool) bool { return !n.finds(b) })
	for name := range maps.Clone(n.exchanges) {
		n.unused(name)
	}
	return n
}

func (tp *topology) finds(b modelBinding) bool {
	_, from := tp.exchanges[b.from]
	_, to := tp.queues[b.to]
	if b.exchange {
		_, to = tp.exchanges[b.to]
	}
	return from && to
}

// headerValue is what the model has for values: integers of any width are one
// kind.
func headerValue(v props.Value) string {
	switch {
	case v.Kind() == props.KindVoid:
		return "void"
	case v.IsInt():
		return fmt.Sprint("int ", v.Int64())
	case v.IsFloat():
		return fmt.Sprint("float ", v.Float64())
	}
	return "text " + string(v.Bytes())
}

// matchesHeaders is the rule of headers exchanges, field for field.
func matchesHeaders(args, headers props.Table) bool {
	rule := "all"
	if v, ok := args.Get("x-match"); ok {
		rule = string(v.Bytes())
	}
	of, hits := 0, 0
	for it := args.Iter(); it.Next(); {
		key := string(it.Key())
		if key == "x-match" || strings.HasPrefix(key, "x-") && !strings.HasSuffix(rule, "-with-x") {
			continue
		}
		of++
		v, ok := headers.Get(key)
		if want := headerValue(it.Value()); ok && (want == "void" || want == headerValue(v)) {
			hits++
		}
	}
	if strings.HasPrefix(rule, "any") {
		return hits > 0
	}
	return hits == of
}

func (tp *topology) matches(b modelBinding, keys []string, headers props.Table) bool {
	switch tp.exchanges[b.from].Type {
	case Fanout:
		return true
	case Headers:
		return matchesHeaders(props.Table(b.args), headers)
	}
	return slices.ContainsFunc(keys, func(k string) bool {
		switch {
		case tp.exchanges[b.from].Type == Direct:
			return b.key == k
		case b.syntax == SyntaxMQTT:
			return matches(b.key, strings.ReplaceAll(k, ".", "/"))
		}
		return matchesAMQP(b.key, k)
	})
}

// route returns the queues that a message gets to.
func (tp *topology) route(exchange string, keys []string, headers props.Table) (queues map[string]bool, topics bool) {
	queues, seen := map[string]bool{}, map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		if _, ok := tp.exchanges[name]; !ok || seen[name] {
			return
		}
		seen[name] = true
		found := false
		for b := range tp.bindings {
			if b.from == name && tp.matches(b, keys, headers) {
				found = true
				if b.exchange {
					visit(b.to)
				} else {
					queues[b.to] = true
				}
			}
		}
		if name == topicExchange { // the session that has subscribed
			for _, k := range keys {
				found = found || matches(modelFilter, strings.ReplaceAll(k, ".", "/"))
			}
		}
		if a := tp.exchanges[name].Alternate; !found && a != "" {
			visit(a)
		}
	}
	visit(exchange)
	return queues, seen[topicExchange]
}

const modelFilter = "a/+"

// topologyModel changes a bus and the model alike.
type topologyModel struct {
	t    *testing.T
	rnd  *rand.Rand
	x    *box
	now  *topology
	been []*topology // since all was on disk last: what would be left of it
	pubs []*Publisher
	sub  *client
}

func newTopologyModel(t *testing.T, seed uint64, n int) *topologyModel {
	var shards []*testShard
	for range n {
		shards = append(shards, newTestShard())
	}
	m := &topologyModel{t: t, rnd: rand.New(rand.NewPCG(seed, uint64(n))), x: openBox(t, shards)}
	m.now = &topology{map[string]modelExchange{}, map[string]bool{}, map[modelBinding]bool{}}
	m.now.exchanges[topicExchange] = modelExchange{ExchangeOptions{Type: Topic, Durable: true}, true}
	m.opened()
	return m
}

func (m *topologyModel) opened() {
	m.pubs = []*Publisher{m.x.publisher(), m.x.publisher()}
	m.sub = m.x.connect("sub")
	m.sub.subscribe(modelFilter, AtLeastOnce)
	m.been = []*topology{m.now.restarted()}
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func (m *topologyModel) exchangeName() string {
	if m.rnd.IntN(8) == 0 {
		return topicExchange
	}
	return fmt.Sprint("e", m.rnd.IntN(6))
}

func (m *topologyModel) table(binding bool) props.Table {
	var tb props.Table
	for range m.rnd.IntN(3) {
		key := pick(m.rnd, "h", "i", "x-h")
		switch m.rnd.IntN(6) {
		case 0:
			tb = props.AddInt32(tb, key, 1)
		case 1:
			tb = props.AddInt64(tb, key, 1)
		case 2:
			tb = props.AddStr(tb, key, "1")
		case 3:
			tb = props.AddFloat64(tb, key, 1)
		case 4:
			tb = props.AddInt64(tb, key, 2)
		case 5:
			tb = props.AddVoid(tb, key)
		}
	}
	if !binding {
		for i := range m.rnd.IntN(2) * 10 { // enough of them to be sorted
			tb = props.AddInt32(tb, fmt.Sprint("more", i%7), int32(i))
		}
	} else if m.rnd.IntN(2) == 0 {
		tb = props.AddStr(tb, "x-match", pick(m.rnd, "all", "any", "all-with-x", "any-with-x"))
	}
	return tb
}

func (m *topologyModel) binding() modelBinding {
	b := modelBinding{from: m.exchangeName(), exchange: m.rnd.IntN(3) == 0, syntax: SyntaxAMQP}
	b.key = pick(m.rnd, "a", "b", "a.b", "a.*", "*.b", "#", "a.#")
	if b.to = fmt.Sprint("q", m.rnd.IntN(5)); b.exchange {
		b.to = m.exchangeName()
	}
	if m.rnd.IntN(6) == 0 {
		b.syntax, b.key = SyntaxMQTT, pick(m.rnd, "a/+", "b", "#")
		if m.now.exchanges[b.from].Type == Direct { // compares as AMQP does
			b.key = "a"
		}
	}
	if x, ok := m.now.exchanges[b.from]; ok && x.Type == Headers || m.rnd.IntN(4) == 0 {
		b.args = string(m.table(true))
	}
	return b
}

func (m *topologyModel) spec(b modelBinding) BindingSpec {
	vh := m.x.VHost("/")
	s := BindingSpec{Source: vh.Exchange(b.from), Key: b.key, Syntax: b.syntax, Arguments: []byte(b.args)}
	if b.exchange {
		s.Exchange = vh.Exchange(b.to)
	} else {
		s.Queue = vh.Queue(b.to)
	}
	return s
}

// change does one thing to both.
func (m *topologyModel) change() {
	vh := m.x.VHost("/")
	must := func(f func(*Turn) error) {
		m.t.Helper()
		m.x.turn(func(t *Turn) {
			if err := f(t); err != nil {
				m.t.Fatal(err)
			}
		})
	}
	switch n := m.rnd.IntN(40); {
	case n < 3:
		name := m.exchangeName()
		o := ExchangeOptions{
			Type: pick(m.rnd, Direct, Fanout, Topic, Headers), Durable: m.rnd.IntN(3) > 0, AutoDelete: m.rnd.IntN(3) == 0,
			Alternate: pick(m.rnd, "", m.exchangeName()),
		}
		must(func(t *Turn) error {
			_, created, err := vh.DeclareExchange(t, name, o)
			if _, ok := m.now.exchanges[name]; ok == created {
				m.t.Fatalf("declare %q: created is %v", name, created)
			} else if created {
				m.now.exchanges[name] = modelExchange{o, false}
			}
			return err
		})
	case n < 4:
		if x := vh.Exchange(m.exchangeName()); x != nil && x.name != topicExchange {
			must(func(t *Turn) error { return vh.DeleteExchange(t, x, false) })
			m.now.removeExchange(x.name)
		}
	case n < 7:
		name := fmt.Sprint("q", m.rnd.IntN(5))
		if _, ok := m.now.queues[name]; !ok {
			m.now.queues[name] = m.rnd.IntN(3) > 0
			m.x.declare(name, m.now.queues[name])
		}
	case n < 8:
		if q := vh.Queue(fmt.Sprint("q", m.rnd.IntN(5))); q != nil {
			must(func(t *Turn) error { _, err := vh.Drop(t, q, false, false); return err })
			m.now.removeQueue(q.name)
		}
	case n < 26:
		if b := m.binding(); m.now.finds(b) {
			must(func(t *Turn) error { return vh.Bind(t, m.spec(b)) })
			m.now.bindings[b] = true
			x := m.now.exchanges[b.from]
			x.used = x.used || x.AutoDelete
			m.now.exchanges[b.from] = x
		}
	default:
		for b := range m.now.bindings { // any of them
			must(func(t *Turn) error { return vh.Unbind(t, m.spec(b)) })
			m.now.unbind(b)
			break
		}
	}
	m.been = append(m.been, m.now.restarted())
}

// publish compares who gets one message.
func (m *topologyModel) publish(n int) {
	vh := m.x.VHost("/")
	name := m.exchangeName()
	x := vh.Exchange(name)
	if x == nil {
		return
	}
	var queues []*Queue
	for q := range m.now.queues {
		queues = append(queues, vh.Queue(q))
	}
	keys := []string{pick(m.rnd, "a", "b", "a.b", "c.b", "a.b.c")}
	for m.rnd.IntN(4) == 0 {
		keys = append(keys, pick(m.rnd, "a", "b", "a.b", "c.b", "a.b.c"))
	}
	var headers props.Table
	if m.rnd.IntN(2) == 0 {
		headers = m.table(false)
	}
	var sent *Message
	got := m.x.send(pick(m.rnd, m.pubs...), x, keys[0], queues, func(msg *Message) {
		for _, k := range keys[1:] {
			msg.Keys = append(msg.Keys, []byte(k))
		}
		if headers != nil {
			withHeaders(headers)(msg)
		}
		sent = msg
	})
	want, topics := m.now.route(name, keys, headers)
	slices.Sort(got)
	if !slices.Equal(got, slices.Sorted(maps.Keys(want))) {
		m.t.Fatalf("%d: %q with %v to %q gets to %v, want %v\n%s", n, keys, headers, name, got, slices.Sorted(maps.Keys(want)), m.now)
	}
	topics = topics && slices.ContainsFunc(keys, func(k string) bool { return matches(modelFilter, strings.ReplaceAll(k, ".", "/")) })
	ds := m.sub.take()
	if (len(ds) == 1) != topics || len(ds) > 1 {
		m.t.Fatalf("%d: %q to %q: the session gets %d, want %v\n%s", n, keys, name, len(ds), topics, m.now)
	}
	m.sub.accept(ds...)
	if routed := topics || len(want) > 0; sent.Routed != routed {
		m.t.Fatalf("%d: routed is %v", n, sent.Routed)
	}
}

func (tp *topology) String() string {
	s := fmt.Sprintf("exchanges %+v\nqueues %v\n", tp.exchanges, tp.queues)
	for b := range tp.bindings {
		s += fmt.Sprintf("%+v %s\n", b, props.Table(b.args))
	}
	return s
}

// listed is what the bus says of itself.
func (m *topologyModel) listed() *topology {
	tp := &topology{map[string]modelExchange{}, map[string]bool{}, map[modelBinding]bool{}}
	vh := m.x.VHost("/")
	for e := range m.x.Exchanges("/") {
		if x := vh.Exchange(e.Name); !x.Predeclared() || e.Name == topicExchange {
			tp.exchanges[e.Name] = modelExchange{x.Options(), x.used || e.Name == topicExchange}
		}
		for _, b := range vh.Exchange(e.Name).out.list {
			mb := modelBinding{from: e.Name, key: b.key, syntax: b.syntax, args: b.arguments}
			if mb.exchange = b.exchange != nil; mb.exchange {
				mb.to = b.exchange.name
			} else {
				mb.to = b.queue.name
			}
			tp.bindings[mb] = true
		}
	}
	for q := range m.x.Queues("/") {
		tp.queues[q.Name] = q.Durable
	}
	return tp
}

// crash compares what is there after it: all of what was on disk, or, at any
// moment, what has not changed since.
func (m *topologyModel) crash(settled bool) {
	if settled {
		m.x.hold(false)
		m.x.settle()
		m.been = []*topology{m.now.restarted()}
	}
	m.x = m.x.crash()
	got := m.listed()
	always, ever := m.been[0].clone(), map[modelBinding]bool{}
	for _, tp := range m.been {
		maps.DeleteFunc(always.bindings, func(b modelBinding, _ bool) bool { return !tp.bindings[b] })
		maps.DeleteFunc(always.exchanges, func(e string, _ modelExchange) bool { _, ok := tp.exchanges[e]; return !ok })
		maps.Copy(ever, tp.bindings)
	}
	for b := range got.bindings {
		if !ever[b] || !got.finds(b) {
			m.t.Fatalf("settled %v: %+v is there after a crash", settled, b)
		}
	}
	for b := range always.bindings { // what goes by itself may go as soon as something has changed
		if !got.bindings[b] && !always.exchanges[b.from].AutoDelete && !(b.exchange && always.exchanges[b.to].AutoDelete) {
			m.t.Fatalf("settled %v: %+v is gone after a crash", settled, b)
		}
	}
	for e, x := range always.exchanges {
		if _, ok := got.exchanges[e]; !ok && !x.AutoDelete {
			m.t.Fatalf("settled %v: exchange %q is gone after a crash", settled, e)
		}
	}
	if settled && fmt.Sprint(got.exchanges, got.queues, len(got.bindings)) !=
		fmt.Sprint(m.been[0].exchanges, m.been[0].queues, len(m.been[0].bindings)) {
		m.t.Fatalf("after a crash:\n%s\nwant\n%s", got, m.been[0])
	}
	m.now = got
	m.x.settle()
	m.opened()
}

// TestTopologyModel publishes over random graphs of exchanges that change all the
// time, through crashes.
func TestTopologyModel(t *testing.T) {
	for _, shards := range []int{1, 4} {
		for seed := range uint64(6) {
			m := newTopologyModel(t, seed, shards)
			for n := range 1500 {
				for m.rnd.IntN(3) == 0 {
					m.change()
				}
				m.publish(n)
				switch m.rnd.IntN(300) {
				case 0:
					m.crash(true)
				case 1:
					m.crash(false)
				case 2:
					m.pubs[0].Forget()
				case 3, 4, 5, 6: // part of what follows is not on disk when it crashes
					m.x.shards[m.rnd.IntN(shards)].hold(m.rnd.IntN(2) == 0)
				}
			}
			m.crash(true)
		}
	}
}
