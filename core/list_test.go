package core

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines renders a list, sorted.
func lines[T any](all []T, line func(T) string) string {
	var out []string
	for _, v := range all {
		out = append(out, line(v))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func expectLines(t *testing.T, what, got string, want ...string) {
	t.Helper()
	slices.Sort(want)
	if w := strings.Join(want, "\n"); got != w {
		t.Errorf("%s:\n%s\nwant\n%s", what, got, w)
	}
}

// TestLists shows each list for a small world with one of everything.
func TestLists(t *testing.T) {
	x := newBox(t, func(o *Options) { o.VHosts = []string{"other"} })
	q := x.named("jobs", QueueOptions{Durable: true, Limits: QueueLimits{MaxLength: 7, Overflow: RejectPublish}})
	x.bindQueue(q, topicExchange, "jobs/#", SyntaxMQTT)
	x.bindQueue(q, topicExchange, "jobs.*", SyntaxAMQP)
	x.bindQueue(q, topicExchange, "jobs/#", SyntaxMQTT) // twice is once
	x.turn(func(t *Turn) {
		if _, err := x.VHost("other").DeclareQueue(t, "elsewhere", QueueOptions{}); err != nil {
			x.t.Fatal(err)
		}
	})
	before := time.Now().Add(-time.Second)
	live := x.connect("live", func(r *SessionRequest) {
		r.Principal = NewPrincipal(Identity{
			User: "ann", VHost: "/", ClientID: "live", Protocol: "mqtt", Listener: "l1", Peer: netip.MustParseAddrPort("[::1]:99"),
		})
	})
	live.subscribe("a/+", AtLeastOnce)
	live.subscribe("$queue/jobs", AtLeastOnce)
	away := x.connect("away", persistent, func(r *SessionRequest) { r.Expiry = time.Hour })
	away.subscribe("a/#", ExactlyOnce)
	away.subscribe("$share/g/s/+", AtLeastOnce)
	away.close(true)
	x.fill("jobs", 0, 2, true)
	live.publish("a/b", "12345", AtLeastOnce)
	live.publish("s/b", "123", AtLeastOnce)
	live.turnRetain("kept/one", "payload", AtLeastOnce)
	live.turnRetain("$SYS/x", "1", AtMostOnce)
	x.settle()

	expectLines(t, "connections", lines(slices.Collect(x.Connections("")), func(c ConnectionInfo) string {
		if c.Since.Before(before) || c.Since.After(time.Now()) {
			t.Errorf("connected since %v", c.Since)
		}
		return fmt.Sprint(c.VHost, c.ClientID, c.User, c.Anonymous, c.Protocol, c.Listener, c.Peer, c.Clean, c.InFlight)
	}), "/liveannfalsemqttl1[::1]:99true 3")
	expectLines(t, "sessions", lines(slices.Collect(x.Sessions("")), func(s SessionInfo) string {
		if s.Connected != !s.Since.IsZero() || s.Connected != s.Offline.IsZero() || !s.Connected && s.Expires.Sub(s.Offline) != time.Hour {
			t.Errorf("times of %+v", s)
		}
		return fmt.Sprint(s.ClientID, " ", s.User, s.Connected, s.Clean, s.Subscriptions, s.Ready, s.InFlight, s.Bytes, s.InMemory)
	}), "live anntrue true 2 0 1 5 1", "away false false 2 1 0 5 1")
	expectLines(t, "subscriptions", lines(slices.Collect(x.Subscriptions("/")), func(s SubscriptionInfo) string {
		return fmt.Sprintln(s.ClientID, s.Filter, s.QoS, s.Kind, s.Connected)
	}), "live a/+ 1 plain true\n", "live $queue/jobs 1 queue true\n", "away a/# 2 plain false\n", "away $share/g/s/+ 1 shared false\n")
	expectLines(t, "queues", lines(slices.Collect(x.Queues("")), func(q NamedQueueInfo) string {
		return fmt.Sprintln(q.VHost, q.Name, q.Kind, q.Durable, q.Ready, q.InFlight, q.Bytes, q.InMemory, q.Consumers, q.Members, q.MaxLength, q.Overflow)
	}), "/ jobs queue true 0 2 160 2 1 0 7 reject-publish\n", "/ $share/g/s/+ shared true 1 0 3 1 0 1 0 drop-head\n",
		"other elsewhere queue false 0 0 0 0 0 0 0 drop-head\n")
	expectLines(t, "bindings", lines(slices.Collect(x.Bindings("/")), func(b BindingInfo) string {
		return fmt.Sprintln(b.Exchange, b.Key, b.Syntax, b.Queue)
	}), "amq.topic jobs/# mqtt jobs\n", "amq.topic jobs.* amqp jobs\n", " jobs amqp jobs\n", "amq.topic s/+ mqtt $share/g/s/+\n")
	for filter, want := range map[string]string{"": "kept/one 7 1", "kept/+": "kept/one 7 1", "$SYS/#": "$SYS/x 1 0", "other": ""} {
		var got []RetainedInfo
		for r, err := range x.Retained("", filter) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r)
		}
		expectLines(t, "retained "+filter, lines(got, func(r RetainedInfo) string { return fmt.Sprint(r.Topic, " ", r.Bytes, r.QoS) }), want)
	}
	for _, err := range x.Retained("", "a/#/b") {
		if !errors.Is(err, ErrBadAddress) {
			t.Errorf("retained of a bad filter: %v", err)
		}
	}
	if n := len(slices.Collect(x.Sessions("nowhere"))); n != 0 {
		t.Errorf("%d sessions in a vhost that is not there", n)
	}
	y := x.crash() // bindings and subscriptions are listed as before
	expectLines(t, "bindings after a crash", lines(slices.Collect(y.Bindings("/")), func(b BindingInfo) string {
		return fmt.Sprintln(b.Exchange, b.Key, b.Syntax, b.Queue)
	}), "amq.topic jobs/# mqtt jobs\n", "amq.topic jobs.* amqp jobs\n", " jobs amqp jobs\n", "amq.topic s/+ mqtt $share/g/s/+\n")
}

// turnRetain publishes a retained message.
func (c *client) turnRetain(topic, payload string, qos QoS) {
	c.x.turn(func(t *Turn) {
		if !strings.HasPrefix(topic, "$SYS") {
			c.publishIn(t, topic, payload, qos, true)
			return
		}
		m := t.Message() // clients may not
		m.Exchange, m.Topic, m.Payload, m.QoS = c.pub.vh.topics, []byte(topic), []byte(payload), qos
		c.pub.vh.retained.set(t, m)
	})
}

// TestRetainedPages: a list goes over many pages in order, and whoever reads it
// may stop.
func TestRetainedPages(t *testing.T) {
	x := newBox(t)
	pub := x.connect("pub")
	const total = 3*retainedPage + 5
	for i := range total {
		pub.turnRetain(fmt.Sprintf("r/%05d", i), "x", QoS(i%2))
	}
	for _, topic := range []string{"$SYS/a", "$SYS/b/c", "$foo", "Z", "z"} {
		pub.turnRetain(topic, "x", AtMostOnce)
	}
	pub.turnRetain("r/00000", "", AtLeastOnce)
	for filter, want := range map[string]int{"": total + 2, "r/#": total - 1, "#": total + 1} {
		n, last := 0, ""
		for r, err := range x.Retained("/", filter) {
			if err != nil {
				t.Fatal(err)
			}
			if key := levelKey(r.Topic); key <= last {
				t.Fatalf("%q comes after %q", key, last)
			} else {
				last = key
			}
			n++
		}
		if n != want {
			t.Errorf("filter %q: %d, want %d", filter, n, want)
		}
	}
	for range x.Retained("/", "") {
		break
	}
}

// TestDeleteRetained: topics are cleared on disk as well, silently.
func TestDeleteRetained(t *testing.T) {
	x := newBox(t)
	sub := x.connect("sub")
	sub.subscribe("#", AtLeastOnce)
	pub := x.connect("pub")
	for i := range 2*retainedPage + 3 {
		pub.turnRetain(fmt.Sprint("r/", i), "x", QoS(i%2))
	}
	pub.turnRetain("keep", "x", AtLeastOnce)
	x.settle()
	heard := len(sub.take())
	n, err := x.VHost("/").DeleteRetained(t.Context(), "r/#")
	if err != nil || n != 2*retainedPage+3 {
		t.Fatalf("%d deleted, %v", n, err)
	}
	if _, err := x.VHost("/").DeleteRetained(t.Context(), "r/#/x"); !errors.Is(err, ErrBadAddress) {
		t.Errorf("a bad filter: %v", err)
	}
	x.settle()
	if more := sub.take(); len(more) != 0 {
		t.Errorf("after %d messages the subscriber hears of the deletion: %v", heard, texts(more))
	}
	for _, y := range []*box{x, x.crash()} {
		if g := y.Gauges().Retained; g != 1 {
			t.Errorf("%d retained messages are left, want 1", g)
		}
	}
}

// TestKick: the connection has ended when the answer comes, the will is out, and
// the session is there for the next one.
func TestKick(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	watch := x.connect("watch")
	watch.subscribe("will", AtLeastOnce)
	x.connect("c", persistent, func(r *SessionRequest) {
		r.Will = (&Message{Exchange: vh.Topics(), Topic: []byte("will"), Payload: []byte("gone"), QoS: AtLeastOnce}).keep()
	})
	if err := vh.Kick(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	if got := watch.payloads(1); !slices.Equal(got, []string{"gone"}) {
		t.Errorf("the will: %q", got)
	}
	for _, id := range []string{"c", "nobody"} {
		if err := vh.Kick(t.Context(), id); !errors.Is(err, ErrNotFound) {
			t.Errorf("kick of %s, who is not connected: %v", id, err)
		}
	}
	if s := vh.Session("c"); s == nil {
		t.Error("the session is gone")
	}
	// One that does not go does not hold the operator up for ever.
	x.connect("stuck", func(r *SessionRequest) { r.Owner = deafOwner{} })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := vh.Kick(ctx, "stuck"); !errors.Is(err, context.Canceled) {
		t.Errorf("kick of a connection that does not end: %v", err)
	}
}

type deafOwner struct{}

func (deafOwner) Kick(error) {}

// TestDeleteSession: connected or not, clean or not, nothing of the session is
// left in memory or on disk when the answer comes, and its client begins anew.
func TestDeleteSession(t *testing.T) {
	for _, connected := range []bool{false, true} {
		for _, clean := range []bool{false, true} {
			if clean && !connected {
				continue
			}
			t.Run(fmt.Sprintf("connected=%v clean=%v", connected, clean), func(t *testing.T) {
				x := newBox(t)
				vh := x.VHost("/")
				c := x.connect("c", func(r *SessionRequest) { r.Clean, r.Expiry = clean, time.Hour })
				c.subscribe("a/+", ExactlyOnce)
				c.subscribe("$share/g/a/+", AtLeastOnce)
				c.publishOnce(t, "b", "x", 7)
				if !connected {
					c.close(true)
				}
				x.connect("pub").publish("a/b", "x", AtLeastOnce)
				if err := vh.DeleteSession(t.Context(), "c"); err != nil {
					t.Fatal(err)
				}
				y := x.crash()
				for kind, left := range map[string]int{
					"on disk": len(y.keys(keyQueue, keyBinding, keyInbound, keyEntry, keyFailures, keyProgress)),
					"bound":   int(x.Gauges().Bindings), "groups": x.Groups(), "sessions on disk": int(y.Gauges().Sessions),
				} {
					if left != 0 {
						t.Errorf("%s: %d are left", kind, left)
					}
				}
				if vh.Session("c") != nil || x.Gauges().Sessions != 1 { // the publisher
					t.Errorf("%d sessions are left", x.Gauges().Sessions)
				}
				if err := vh.DeleteSession(t.Context(), "c"); !errors.Is(err, ErrNotFound) {
					t.Errorf("once more: %v", err)
				}
				again := x.connect("c", persistent)
				if len(again.s.subs.list) != 0 || len(again.take()) != 0 {
					t.Error("the former session is still there")
				}
			})
		}
	}
}

// TestDeleteSessionWaits: no answer before the deletion is on disk.
func TestDeleteSessionWaits(t *testing.T) {
	x := newBox(t)
	x.connect("c", persistent).close(true)
	x.settle()
	x.hold(true)
	answered := make(chan error, 1)
	go func() { answered <- x.VHost("/").DeleteSession(t.Context(), "c") }()
	x.eventuallyHeld("the deletion is handed over", func() bool { return x.shards[0].waiting() > 0 })
	x.workersIdle()
	select {
	case err := <-answered:
		t.Errorf("answered before it was on disk: %v", err)
	default:
	}
	x.hold(false)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestDeleteQueue: the queue goes with all its bindings; whoever consumed it
// settles in vain and finds its successor when it connects again.
func TestDeleteQueue(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	q := x.named("jobs", QueueOptions{Durable: true})
	x.bindQueue(q, topicExchange, "jobs/+", SyntaxMQTT)
	x.bindQueue(q, fanoutExchange, "", SyntaxAMQP)
	x.bindQueue(q, directExchange, "k", SyntaxAMQP)
	c := x.connect("c", persistent)
	c.subscribe("$queue/jobs", AtLeastOnce)
	x.fill("jobs", 0, 3, true)
	var lent []Delivery
	x.eventually("three deliveries", func() bool { lent = append(lent, c.take()...); return len(lent) == 3 })
	if err := vh.DeleteQueue(t.Context(), "jobs"); err != nil {
		t.Fatal(err)
	}
	x.turn(func(t *Turn) {
		if st := lent[0].Consumer.Settle(t, lent[0].Ordinal, AtLeastOnce, Accepted); st != NotFound {
			x.t.Errorf("settle of what was lent: %v", st)
		}
		if err := vh.BindQueue(t, q, topicExchange, "late", SyntaxMQTT); !errors.Is(err, ErrNotFound) {
			x.t.Errorf("bind after the deletion: %v", err)
		}
	})
	if n := x.Gauges().Bindings; n != 0 || len(vh.bound) != 0 {
		t.Errorf("%d bindings are left", n)
	}
	y := x.crash()
	if y.VHost("/").Queue("jobs") != nil || y.Gauges().Bindings != 0 {
		t.Error("the queue comes back after a crash")
	}
	successor := x.named("jobs", QueueOptions{Durable: true})
	x.fill("jobs", 5, 6, true)
	x.settle()
	if got := c.take(); len(got) != 0 {
		t.Errorf("whoever consumed the former queue is sent %q", texts(got))
	}
	c = x.connect("c", persistent)
	if got := c.payloads(1); !slices.Equal(got, []string{number(5)}) {
		t.Errorf("connected again: %q, %+v", got, successor.Info())
	}
	c.subscribe("$share/g/x", AtLeastOnce)
	for _, name := range []string{"nothing", "$share/g/x", "c"} {
		if err := vh.DeleteQueue(t.Context(), name); !errors.Is(err, ErrNotFound) {
			t.Errorf("delete %q: %v", name, err)
		}
	}
}

// TestListsBesideTraffic has lists, kicks and deletions run beside clients that
// come, subscribe and go, several with the same client id: it is for the race
// detector, and nothing may be left in the end.
func TestListsBesideTraffic(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	var clients, lists sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		clients.Go(func() {
			for n := range 60 {
				c := x.connect(fmt.Sprint("c", n%3), func(r *SessionRequest) { r.Clean = n%2 == 0 })
				c.feed(0, func(turn *Turn) { c.s.Subscribe(turn, fmt.Sprint("a/", i), AtLeastOnce, 0) })
				c.feed(0, func(turn *Turn) { c.s.Subscribe(turn, "$share/g/b", AtLeastOnce, 0) })
				c.feed(0, func(turn *Turn) { c.s.Unsubscribe(turn, fmt.Sprint("a/", i)) })
				c.Kick(nil)
				<-c.gone
			}
		})
	}
	lists.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range x.Connections("") {
			}
			for range x.Sessions("") {
			}
			for range x.Subscriptions("") {
			}
			for range x.Queues("") {
			}
			for range x.Bindings("") {
			}
		}
	})
	lists.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			vh.Kick(t.Context(), "c1")
			vh.DeleteSession(t.Context(), "c2")
		}
	})
	clients.Wait()
	close(stop)
	lists.Wait()
	for i := range 3 {
		if err := vh.DeleteSession(t.Context(), fmt.Sprint("c", i)); err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	if g := x.Gauges(); g.Sessions != 0 || g.Bindings != 0 || x.Groups() != 0 {
		t.Errorf("left behind: %+v, %d groups", g, x.Groups())
	}
	if left := x.keys(keyQueue, keyBinding); len(left) != 0 {
		t.Errorf("on disk: %d records", len(left))
	}
}
