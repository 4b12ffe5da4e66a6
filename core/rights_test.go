package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A rulebook is an authorizer whose rule a test may change. It remembers what
// it was asked.
type rulebook struct {
	mu    sync.Mutex
	rule  func(id *Identity, r Right) (bool, error) // guarded by mu
	asked []string                                  // guarded by mu
}

func (b *rulebook) Authorize(ctx context.Context, id *Identity, r Right) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, spell(id, r))
	return b.rule(id, r)
}

func (b *rulebook) set(rule func(id *Identity, r Right) (bool, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rule = rule
}

func (b *rulebook) was(q string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.asked, q)
}

var actionNames = [...]string{"publish", "receive", "subscribe", "configure"}

func spell(id *Identity, r Right) string {
	return fmt.Sprintf("%s %s %s", id.ClientID, actionNames[r.Action], r.Address)
}

// quickRules is a rulebook that is asked in place.
type quickRules struct{ *rulebook }

func (quickRules) Inline() {}

func anything(*Identity, Right) (bool, error) { return true, nil }

// refuse denies the one thing, and allows everything else.
func refuse(what string) func(*Identity, Right) (bool, error) {
	return func(id *Identity, r Right) (bool, error) { return spell(id, r) != what, nil }
}

func withRules(a Authorizer) func(*Options) { return func(o *Options) { o.Authorizer = a } }

// forbidden fails the test for any error but ErrNotAuthorized, and tells
// whether it was one.
func forbidden(t *testing.T, err error) bool {
	t.Helper()
	if err != nil && !errors.Is(err, ErrNotAuthorized) {
		t.Fatal(err)
	}
	return err != nil
}

func (c *client) trySubscribe(filter string, qos QoS) error {
	return c.feedRetry("", func(t *Turn) (Wait, error) {
		w, err := c.s.Subscribe(t, filter, qos, 0)
		if w == nil && err == nil {
			c.s.Subscribed(t)
		}
		return w, err
	})
}

func (c *client) tryPublish(topic, payload string, qos QoS, retain bool) error {
	return c.x.retry(func(t *Turn) (Wait, error) {
		m := t.Message()
		m.Exchange = c.pub.vh.topics
		m.Topic, m.Payload, m.QoS, m.Persistent, m.Retain = []byte(topic), []byte(payload), qos, qos > 0, retain
		return c.pub.Publish(t, m)
	})
}

// A rightsPath is a way on which the message "x" of "pub", at the address a/x,
// gets to "sub". The message "end" behind it, at a/end, always may.
type rightsPath struct {
	name  string
	needs []string // rights without which x does not come
	// run publishes and returns who receives. meanwhile is called when x has
	// been published and not delivered, if there is such a moment.
	run func(t *testing.T, x *box, meanwhile func()) *client
	// late: meanwhile is called.
	late bool
}

func publishBoth(t *testing.T, c *client, qos QoS, retain bool) {
	for _, m := range []string{"x", "end"} {
		forbidden(t, c.tryPublish("a/"+m, m, qos, retain))
	}
}

func livePath(filter string, qos QoS) func(*testing.T, *box, func()) *client {
	return func(t *testing.T, x *box, _ func()) *client {
		sub, pub := x.connect("sub"), x.connect("pub")
		forbidden(t, sub.trySubscribe(filter, qos))
		publishBoth(t, pub, qos, false)
		return sub
	}
}

// awayPath publishes while the subscriber is away, and resumes it.
func awayPath(filter string, qos QoS) func(*testing.T, *box, func()) *client {
	return func(t *testing.T, x *box, meanwhile func()) *client {
		sub, pub := x.connect("sub", persistent), x.connect("pub")
		forbidden(t, sub.trySubscribe(filter, qos))
		sub.close(true)
		publishBoth(t, pub, qos, false)
		x.settle()
		meanwhile()
		return x.connect("sub", persistent)
	}
}

func retainedPath(qos QoS) func(*testing.T, *box, func()) *client {
	return func(t *testing.T, x *box, meanwhile func()) *client {
		sub, pub := x.connect("sub"), x.connect("pub")
		publishBoth(t, pub, qos, true)
		meanwhile()
		forbidden(t, sub.trySubscribe("a/#", qos))
		return sub
	}
}

// replayPath has a retained replay interrupted, and resumes it.
func replayPath(t *testing.T, x *box, meanwhile func()) *client {
	sub, pub := x.connect("sub", persistent), x.connect("pub")
	publishBoth(t, pub, AtMostOnce, true)
	sub.sink.Lock()
	sub.room = 0
	sub.sink.Unlock()
	forbidden(t, sub.trySubscribe("a/#", AtMostOnce))
	x.settle()
	sub.close(true)
	meanwhile()
	return x.connect("sub", persistent)
}

func willPath(t *testing.T, x *box, meanwhile func()) *client {
	sub := x.connect("sub")
	forbidden(t, sub.trySubscribe("a/#", AtLeastOnce))
	var dying []*client
	for _, m := range []string{"x", "end"} {
		id := map[string]string{"x": "pub", "end": "other"}[m]
		dying = append(dying, x.connect(id, withWill(x, "a/"+m, m, AtLeastOnce)))
	}
	meanwhile()
	for _, c := range dying {
		c.close(false)
		x.settle()
	}
	return sub
}

func withWill(x *box, topic, payload string, qos QoS) connectOption {
	return func(r *SessionRequest) {
		r.Will = &Message{
			Exchange: x.VHost("/").Topics(), Topic: []byte(topic), Payload: []byte(payload),
			QoS: qos, Persistent: qos > 0, Owned: true,
		}
	}
}

// namedPath binds queue "work" and consumes it; live or as a resumed session.
func namedPath(away bool) func(*testing.T, *box, func()) *client {
	return func(t *testing.T, x *box, meanwhile func()) *client {
		vh := x.VHost("/")
		x.turn(func(tn *Turn) {
			q, err := vh.DeclareQueue(tn, "work", QueueOptions{Durable: true})
			if err == nil {
				err = vh.BindQueue(tn, q, topicExchange, "a/#", SyntaxMQTT)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
		sub, pub := x.connect("sub", persistent), x.connect("pub")
		forbidden(t, sub.trySubscribe("$queue/work", AtLeastOnce))
		if away {
			sub.close(true)
		}
		publishBoth(t, pub, AtLeastOnce, false)
		x.settle()
		if away {
			meanwhile()
			sub = x.connect("sub", persistent)
		}
		return sub
	}
}

var rightsPaths = []rightsPath{
	{"live QoS 0", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, livePath("a/#", AtMostOnce), false},
	{"live QoS 1", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, livePath("a/#", AtLeastOnce), false},
	{"live QoS 2", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, livePath("a/#", ExactlyOnce), false},
	{"shared QoS 0", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, livePath("$share/g/a/#", AtMostOnce), false},
	{"shared QoS 1", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, livePath("$share/g/a/#", AtLeastOnce), false},
	{"shared, away", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, awayPath("$share/g/a/#", AtLeastOnce), true},
	{"away QoS 1", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, awayPath("a/#", AtLeastOnce), true},
	{"away QoS 2", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, awayPath("a/#", ExactlyOnce), true},
	{"retained QoS 0", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, retainedPath(AtMostOnce), true},
	{"retained QoS 1", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, retainedPath(AtLeastOnce), true},
	{"replay, resumed", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, replayPath, true},
	{"will", []string{"pub publish a/x", "sub receive a/x", "sub subscribe a/#"}, willPath, true},
	{"named queue", []string{"pub publish a/x", "sub subscribe $queue/work"}, namedPath(false), false},
	{"named queue, away", []string{"pub publish a/x", "sub subscribe $queue/work"}, namedPath(true), true},
}

// TestRightsOnEveryPath runs every path with every right of it missing, from
// the start or taken away on the way, under an authorizer that is asked in
// place and one that is asked outside.
func TestRightsOnEveryPath(t *testing.T) {
	for _, p := range rightsPaths {
		for _, kind := range []string{"quick", "slow"} {
			for _, missing := range append([]string{"nothing", "sub receive b/y"}, p.needs...) {
				t.Run(strings.Join([]string{p.name, kind, missing}, ", "), func(t *testing.T) {
					runRightsPath(t, p, kind, missing, false)
				})
				if p.late && !strings.HasPrefix(missing, "nothing") {
					t.Run(strings.Join([]string{p.name, kind, missing, "late"}, ", "), func(t *testing.T) {
						runRightsPath(t, p, kind, missing, true)
					})
				}
			}
		}
	}
}

func runRightsPath(t *testing.T, p rightsPath, kind, missing string, late bool) {
	book := &rulebook{rule: anything}
	var a Authorizer = book
	if kind == "quick" {
		a = quickRules{book}
	}
	x := newBox(t, withRules(a))
	if !late {
		book.set(refuse(missing))
	}
	sub := p.run(t, x, func() {
		if late {
			book.set(refuse(missing))
			x.RevokeRights()
		}
	})
	want := []string{"x", "end"}
	if slices.Contains(p.needs, missing) && !spent(p, missing, late) {
		want = []string{"end"}
	}
	if strings.HasPrefix(missing, "sub subscribe") && len(want) == 1 {
		want = []string{} // nothing is subscribed to
	}
	got := sub.payloads(len(want))
	slices.Sort(got) // a walk over retained topics has its own order
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if !late {
		for _, q := range p.needs {
			if !strings.HasPrefix(missing, "sub receive b") && missing != "nothing" {
				continue
			}
			if !book.was(q) {
				t.Errorf("nobody asked: %s", q)
			}
		}
	}
}

// spent says that a right was used before it was taken away: to publish what
// waits already, and to make a subscription. A named queue is consumed anew by
// whoever comes back.
func spent(p rightsPath, missing string, late bool) bool {
	switch {
	case !late || strings.HasPrefix(missing, "sub receive") || strings.Contains(missing, "$queue"):
		return false
	case p.name == "will": // published after that
		return strings.HasPrefix(missing, "sub")
	case strings.HasPrefix(p.name, "retained"): // subscribed after that
		return strings.HasPrefix(missing, "pub")
	}
	return true
}

// TestRevokeWhileConsuming takes a right away between two messages: the next
// one does not come, and given back it does.
func TestRevokeWhileConsuming(t *testing.T) {
	for _, filter := range []string{"a/#", "$share/g/a/#"} {
		for qos := range QoS(3) {
			t.Run(fmt.Sprintf("%s at %d", filter, qos), func(t *testing.T) {
				book := &rulebook{rule: anything}
				x := newBox(t, withRules(quickRules{book}))
				sub, pub := x.connect("sub"), x.connect("pub")
				if err := sub.trySubscribe(filter, qos); err != nil {
					t.Fatal(err)
				}
				for i, rule := range []func(*Identity, Right) (bool, error){anything, refuse("sub receive a/x"), anything} {
					book.set(rule)
					x.RevokeRights()
					for range 3 {
						if err := pub.tryPublish("a/x", fmt.Sprint(i), qos, false); err != nil {
							t.Fatal(err)
						}
					}
				}
				x.settle()
				if got := strings.Join(texts(sub.take()), ""); got != "000222" {
					t.Errorf("got %q", got)
				}
				if n := x.Stats().Dropped[DropNotAuthorized]; n != 3 && filter != "a/#" && qos > 0 {
					t.Errorf("%d drops are counted", n)
				}
			})
		}
	}
}

// TestRevokeKeepsNamedQueue: what a consumer may not have any more waits in the
// queue for one that may, whether it needs a disk or not.
func TestRevokeKeepsNamedQueue(t *testing.T) {
	for _, qos := range []QoS{AtMostOnce, AtLeastOnce} {
		book := &rulebook{rule: anything}
		x := newBox(t, withRules(quickRules{book}))
		sub := namedPath(false)(t, x, nil)
		sub.accept(sub.take()...)
		book.set(refuse("sub subscribe $queue/work"))
		x.RevokeRights()
		pub := x.connect("pub2")
		if err := pub.tryPublish("a/y", "y", qos, false); err != nil {
			t.Fatal(err)
		}
		x.settle()
		if got := texts(sub.take()); len(got) != 0 {
			t.Fatalf("QoS %d: got %q after the right was gone", qos, got)
		}
		other := x.connect("other")
		if err := other.trySubscribe("$queue/work", AtLeastOnce); err != nil {
			t.Fatal(err)
		}
		if got := other.payloads(1); !slices.Equal(got, []string{"y"}) {
			t.Errorf("QoS %d: the other consumer got %q", qos, got)
		}
	}
}

// TestRightsOfManyKeys: the answers about the keys of one message do not push each
// other out, however many others are remembered.
func TestRightsOfManyKeys(t *testing.T) {
	const keys = 300
	x := newBox(t, withRules(&rulebook{rule: anything}))
	q := x.named("q", QueueOptions{})
	p := x.publisher()
	for round := range 2 * maxAnswers / keys {
		asked := 0
		if err := x.retry(func(tn *Turn) (Wait, error) {
			if asked++; asked > 2*keys+2 {
				return nil, errors.New("it asks without end")
			}
			m := tn.Message()
			m.Exchange, m.Topic, m.Syntax = p.vh.Exchange(defaultExchange), []byte("q"), SyntaxAMQP
			for i := range keys {
				m.Keys = append(m.Keys, fmt.Appendf(nil, "%d/%d", round, i))
			}
			return p.Publish(tn, m)
		}); err != nil {
			t.Fatalf("message %d: %v", round, err)
		}
	}
	if n := q.Info().Ready; n != 2*maxAnswers/keys {
		t.Errorf("%d have come", n)
	}
}

// TestResumedCompletionNeedsNoRight: a QoS 2 message that the client has got is
// completed, whatever has become of its rights; one that it has not is not sent
// again.
func TestResumedCompletionNeedsNoRight(t *testing.T) {
	book := &rulebook{rule: anything}
	x := newBox(t, withRules(quickRules{book}))
	sub, pub := x.connect("sub", persistent), x.connect("pub")
	sub.subscribe("a/#", ExactlyOnce)
	pub.publish("a/x", "has", ExactlyOnce)
	pub.publish("a/x", "has not", ExactlyOnce)
	x.settle()
	d := sub.take()
	if len(d) != 2 {
		t.Fatalf("got %d", len(d))
	}
	x.turn(func(t *Turn) { d[0].Consumer.Settle(t, d[0].Ordinal, ExactlyOnce, Received) })
	x.settle()
	book.set(refuse("sub receive a/x"))
	for name, y := range map[string]*box{"crash": x.crash(withRules(quickRules{book})), "resume": x} {
		if name == "resume" {
			x.RevokeRights()
			sub.close(false)
		}
		again := y.connect("sub", persistent)
		y.eventually("the PUBREL", func() bool {
			again.sink.Lock()
			defer again.sink.Unlock()
			return len(again.got) > 0
		})
		got := again.take()
		if len(got) != 1 || !got[0].Released || got[0].Ordinal != d[0].Ordinal {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}

// failing is an authorizer whose back end is down.
func failing(*Identity, Right) (bool, error) { return true, errors.New("no answer") }

func TestAuthorizerErrorDenies(t *testing.T) {
	for _, kind := range []string{"quick", "slow"} {
		t.Run(kind, func(t *testing.T) {
			book := &rulebook{rule: failing}
			var a Authorizer = book
			if kind == "quick" {
				a = quickRules{book}
			}
			log := new(eventLog)
			x := newBox(t, withRules(a), log.listen)
			c := x.connect("c")
			if err := c.tryPublish("a/x", "", AtLeastOnce, false); !errors.Is(err, ErrNotAuthorized) {
				t.Errorf("publish: %v", err)
			}
			if err := c.trySubscribe("a/x", AtLeastOnce); !errors.Is(err, ErrNotAuthorized) {
				t.Errorf("subscribe: %v", err)
			}
			if n := len(eventsOf[AuthorizerFailed](log)); n != 2 && kind == "slow" {
				t.Errorf("%d of 2 failures are told", n)
			}
			book.set(anything)
			x.RevokeRights()
			if err := c.tryPublish("a/x", "", AtLeastOnce, false); err != nil {
				t.Errorf("publish, when the back end works again: %v", err)
			}
		})
	}
}

// stuck is an authorizer that answers when the question is given up.
type stuck struct {
	asked chan struct{}
	on    func(Right) bool
}

func (s *stuck) Authorize(ctx context.Context, _ *Identity, r Right) (bool, error) {
	if !s.on(r) {
		return true, nil
	}
	select {
	case s.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return true, ctx.Err()
}

// TestCancelledQuestion: a question that was given up is not answered, so the
// next one asks again; it is no yes.
func TestCancelledQuestion(t *testing.T) {
	a := &stuck{make(chan struct{}, 1), func(Right) bool { return true }}
	x := newBox(t, withRules(a))
	c := x.connect("c")
	for range 2 {
		var wait Wait
		var err error
		x.turn(func(t *Turn) { wait, err = c.s.Subscribe(t, "a", 0, 0) })
		if wait == nil {
			t.Fatalf("answered at once: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-a.asked
			cancel()
		}()
		wait(ctx)
	}
	if n := c.s.Subscriptions(); n != 0 {
		t.Errorf("%d subscriptions", n)
	}
}

// TestCloseWhileAsking: the bus can be closed while an authorizer that does not
// answer is asked about deliveries.
func TestCloseWhileAsking(t *testing.T) {
	for _, filter := range []string{"$share/g/a/#", "a/#"} {
		t.Run(filter, func(t *testing.T) {
			a := &stuck{make(chan struct{}, 1), func(r Right) bool { return r.Action == ActionReceive }}
			x := newBox(t, withRules(a))
			sub, pub := x.connect("sub"), x.connect("pub")
			if filter == "a/#" { // asked by a replay; elsewhere the publisher would be the one to wait
				if err := pub.tryPublish("a/x", "x", AtMostOnce, true); err != nil {
					t.Fatal(err)
				}
			}
			if err := sub.trySubscribe(filter, AtLeastOnce); err != nil {
				t.Fatal(err)
			}
			if filter != "a/#" {
				if err := pub.tryPublish("a/x", "x", AtLeastOnce, false); err != nil {
					t.Fatal(err)
				}
			}
			<-a.asked
			closed := make(chan struct{})
			go func() {
				x.Close()
				close(closed)
			}()
			select {
			case <-closed:
			case <-time.After(30 * time.Second): // only a bus that hangs takes so long
				t.Fatal("Close hangs")
			}
			if got := sub.take(); len(got) != 0 {
				t.Errorf("got %d messages that nobody allowed", len(got))
			}
		})
	}
}

// TestReplayUnderSlowRights: every topic of a replay is asked about, and no
// answer that comes early is missed.
func TestReplayUnderSlowRights(t *testing.T) {
	const n = 3000
	x := newBox(t, withRules(&rulebook{rule: anything}))
	sub, pub := x.connect("sub"), x.connect("pub")
	for i := range n {
		if err := pub.tryPublish(fmt.Sprintf("a/%04d", i), fmt.Sprint(i), AtMostOnce, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := sub.trySubscribe("a/#", AtMostOnce); err != nil {
		t.Fatal(err)
	}
	for i, p := range sub.payloads(n) {
		if p != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, p)
		}
	}
}

// openDoor is an authorizer that restricts nothing.
type openDoor struct{ t *testing.T }

func (openDoor) Unrestricted() bool { return true }
func (o openDoor) Authorize(context.Context, *Identity, Right) (bool, error) {
	o.t.Error("asked, though nothing is restricted")
	return true, nil
}

// TestNoRulesCostNothing: without rules a publish and its delivery allocate
// nothing and ask nobody.
func TestNoRulesCostNothing(t *testing.T) {
	for name, a := range map[string]Authorizer{"none": nil, "unrestricted": openDoor{t}} {
		t.Run(name, func(t *testing.T) {
			x := newBox(t, withRules(a))
			sub, pub := x.connect("sub"), x.connect("pub")
			sub.subscribe("a/#", AtMostOnce)
			var silent silentSink
			sub.s.direct.Store(&directSink{&silent})
			topic, payload := []byte("a/x"), []byte("x")
			turn := x.NewTurn() // one for all: under -race a pool drops things by chance
			defer turn.End()
			publish := func() {
				m := turn.Message()
				m.Exchange, m.Topic, m.Payload = pub.pub.vh.topics, topic, payload
				if wait, err := pub.pub.Publish(turn, m); wait != nil || err != nil {
					panic(err)
				}
				turn.Flush()
			}
			if allocs := testing.AllocsPerRun(200, publish); allocs >= 1 {
				t.Errorf("%v allocations for each message", allocs)
			}
			if silent.n == 0 {
				t.Error("nothing was delivered")
			}
		})
	}
}

type silentSink struct{ n int }

func (s *silentSink) Deliver(*Turn, Delivery) Verdict {
	s.n++
	return Taken
}
