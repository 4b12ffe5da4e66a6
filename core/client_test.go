package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A line is a Client: a connection without a session.
type line struct {
	who      Identity
	channels []ChannelInfo
	kicked   chan error
}

func (l *line) Kick(cause error) { l.kicked <- cause }

func (l *line) Info() ConnectionInfo {
	i := DescribeConnection(&l.who, time.UnixMilli(1))
	i.Channels = len(l.channels)
	return i
}

func (l *line) Channels() []ChannelInfo { return l.channels }

func newLine(vhost, peer string, channels ...int) *line {
	l := &line{who: Identity{VHost: vhost, Protocol: "amqp", User: "ann", Listener: "l"}, kicked: make(chan error, 1)}
	if peer != "" {
		l.who.Peer = netip.MustParseAddrPort(peer)
	}
	for _, n := range channels {
		l.channels = append(l.channels, ChannelInfo{VHost: vhost, Connection: peer, Number: n})
	}
	return l
}

// TestClients: connections without sessions are listed beside the others, as long
// as they are attached, each in its vhost.
func TestClients(t *testing.T) {
	x := newBox(t, func(o *Options) { o.VHosts = []string{"other"} })
	x.connect("mqtt")
	a, b := newLine("/", "10.0.0.1:1", 3, 1, 2), newLine("other", "", 7)
	leaveA, leaveB := x.VHost("/").Attach(a), x.VHost("other").Attach(b)
	names := func(vhost string) string {
		return lines(slices.Collect(x.Connections(vhost)), func(c ConnectionInfo) string {
			return fmt.Sprintln(c.VHost, c.Name, c.Protocol, c.State, c.Channels)
		})
	}
	const mqtt, first, second = "/ mqtt test running 0\n", "/ 10.0.0.1:1 -> l amqp running 3\n", "other local -> l amqp running 1\n"
	expectLines(t, "all", names(""), mqtt, first, second)
	expectLines(t, "other", names("other"), second)
	expectLines(t, "channels", lines(slices.Collect(x.Channels("")), func(c ChannelInfo) string { return fmt.Sprint(c.Number) }),
		"1", "2", "3", "7")
	var sorted []int
	for c := range x.Channels("/") {
		if sorted = append(sorted, c.Number); len(sorted) == 2 {
			break // whoever reads it may stop
		}
	}
	if !slices.Equal(sorted, []int{1, 2}) {
		t.Errorf("channels of one connection: %v", sorted)
	}
	if n := x.ChannelCounts(); n[ProtocolAMQP] != 4 || n[ProtocolMQTT] != 0 {
		t.Errorf("channels are counted as %v", n)
	}
	leaveA()
	expectLines(t, "without the first", names(""), mqtt, second)
	leaveB()
	if n := x.ChannelCounts(); n[ProtocolAMQP] != 0 {
		t.Errorf("channels of nobody: %v", n)
	}
}

// TestKickClient: a connection is kicked by its name, even where an MQTT client has
// taken it for its id.
func TestKickClient(t *testing.T) {
	x := newBox(t)
	vh := x.VHost("/")
	a, b := newLine("/", "10.0.0.1:1"), newLine("/", "10.0.0.1:2")
	leave := vh.Attach(a)
	defer vh.Attach(b)()
	if err := vh.Kick(t.Context(), "10.0.0.1:3 -> l"); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody is kicked: %v", err)
	}
	gone := make(chan error, 1)
	go kickIt(t.Context(), vh, "10.0.0.1:1 -> l", gone)
	if cause := soon(t, a.kicked); !errors.Is(cause, ErrKicked) {
		t.Errorf("kicked because of %v", cause)
	}
	leave()
	if err := soon(t, gone); err != nil {
		t.Error(err)
	}
	if err := vh.Kick(t.Context(), "10.0.0.1:1 -> l"); !errors.Is(err, ErrNotFound) {
		t.Errorf("who is gone is kicked: %v", err)
	}

	leave = vh.Attach(a)
	same := x.connect("10.0.0.1:1 -> l")
	go kickIt(t.Context(), vh, "10.0.0.1:1 -> l", gone)
	soon(t, a.kicked)
	leave()
	soon(t, same.gone)
	if err := soon(t, gone); err != nil {
		t.Error(err)
	}
	if len(b.kicked) > 0 {
		t.Error("another connection is kicked as well")
	}
}

// TestKickWaits: Kick returns when the connection has let go, and not before.
func TestKickWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vh, a, over := &VHost{name: "/"}, newLine("/", "10.0.0.1:1"), make(chan bool, 1)
		leave := vh.Attach(a)
		go func() { over <- vh.clients.kick(t.Context(), "10.0.0.1:1 -> l") }()
		<-a.kicked
		synctest.Wait()
		if len(over) > 0 {
			t.Error("Kick is over before the connection has let go")
		}
		leave()
		if !<-over {
			t.Error("nobody was found")
		}
	})
}

// soon receives what must come.
func soon[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not come")
	}
	return v
}

func kickIt(ctx context.Context, vh *VHost, name string, done chan<- error) {
	done <- vh.Kick(ctx, name)
}

// A tagged is a taker whose name operators know.
type tagged struct {
	*taker
	tag string
}

func (k tagged) ConsumerName() (string, int, string) { return "here", 5, k.tag }

// consume attaches a consumer with a name.
func (x *box) consume(q *Queue, tag string, o ConsumerOptions) *Consumer {
	x.t.Helper()
	var c *Consumer
	x.turn(func(t *Turn) {
		var err error
		if c, err = q.Consume(t, tagged{&taker{x: x, q: q, noted: make(chan struct{}, 1)}, tag}, o); err != nil {
			x.t.Fatal(err)
		}
	})
	return c
}

// TestConsumers: every consumer of a queue is listed once, also where the queue
// has lanes, with what it has; of a single active consumer the others wait.
func TestConsumers(t *testing.T) {
	x := newBox(t)
	ann := NewPrincipal(Identity{VHost: "/", User: "ann", ClientID: "me", Protocol: "amqp"})
	acks := ConsumerOptions{Identity: ann, QoS: AtLeastOnce, Limit: 7}
	single := x.named("single", QueueOptions{SingleActive: true})
	first := x.consume(single, "first", acks)
	x.consume(single, "second", acks)
	ranked := x.named("ranked", QueueOptions{MaxPriority: 3})
	high := acks
	high.Priority = 9
	x.consume(ranked, "high", high)
	x.consume(x.named("alone", QueueOptions{}), "only", ConsumerOptions{QoS: AtMostOnce, Exclusive: true})
	member := x.connect("member")
	member.subscribe("$share/g/s/+", AtLeastOnce)
	pub := x.publisher()
	for _, priority := range []uint8{0, 3, 3} {
		x.send(pub, x.VHost("/").Exchange(""), "ranked", nil, func(m *Message) { m.Priority, m.QoS = priority, AtLeastOnce })
	}
	list := func() string {
		return lines(slices.Collect(x.Consumers("/")), func(c ConsumerInfo) string {
			return fmt.Sprintln(c.Queue, c.Connection, c.Channel, c.Tag, c.User, c.Protocol, c.Acks, c.Exclusive, c.Active, c.Priority, c.Prefetch, c.Unacked)
		})
	}
	const (
		share = "$share/g/s/+ member 0   test true false true 0 100 0\n"
		alone = "alone here 5 only   false true true 0 0 0\n"
		rank  = "ranked here 5 high ann amqp true false true 9 7 3\n"
	)
	expectLines(t, "consumers", list(), share, alone, rank,
		"single here 5 first ann amqp true false true 0 7 0\n", "single here 5 second ann amqp true false false 0 7 0\n")
	if d := x.Depths()[KindNamed]; d.Queues != 3 || d.Consumers != 4 {
		t.Errorf("%d queues and %d consumers are counted, want 3 and 4: lanes are none", d.Queues, d.Consumers)
	}
	x.turn(func(t *Turn) { first.Stop(t) })
	expectLines(t, "consumers when the first has gone", list(), share, alone, rank, "single here 5 second ann amqp true false true 0 7 0\n")
}

// TestQueueOptionsListed: what a queue was declared with is listed.
func TestQueueOptionsListed(t *testing.T) {
	x := newBox(t)
	owner := NewPrincipal(Identity{VHost: "/", Listener: "l", Peer: netip.MustParseAddrPort("10.0.0.1:1")})
	x.named("plain", QueueOptions{Durable: true})
	x.named("full", QueueOptions{
		AutoDelete: true, Owner: owner, SingleActive: true, MaxPriority: 4, Expires: 5000, DeliveryLimit: AtOnce, Quorum: true,
		DeadLetter: &DeadLetter{Exchange: "x", Key: "", HasKey: true}, Limits: QueueLimits{MaxLength: AtOnce, TTL: AtOnce},
	})
	x.SetPolicies(NewPolicies([]Policy{policyOf(t, "p", "^other", 0, "max-length-bytes=5 overflow=reject-publish expires=7")}, nil))
	x.named("other", QueueOptions{Limits: QueueLimits{MaxLength: 3}})
	for q := range x.Queues("/") {
		have, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		want := `"type":"classic","durable":true,"ready":0,"in_flight":0,"bytes":0,"in_memory":0,"consumers":0,"members":0,` +
			`"max_length":0,"max_bytes":0,"overflow":"drop-head","auto_delete":false,"exclusive":false,"owner":"","single_active_consumer":false,` +
			`"max_priority":0,"expires_ms":0}`
		switch q.Name {
		case "other":
			want = `"max_length":3,"max_bytes":5,"overflow":"reject-publish","auto_delete":false,"exclusive":false,"owner":"",` +
				`"single_active_consumer":false,"max_priority":0,"expires_ms":7,"policy":"p"}`
		case "full":
			want = `"type":"quorum","durable":false,"ready":0,"in_flight":0,"bytes":0,"in_memory":0,"consumers":0,"members":0,` +
				`"max_length":-1,"max_bytes":0,"overflow":"drop-head","auto_delete":true,"exclusive":true,"owner":"10.0.0.1:1 -\u003e l",` +
				`"single_active_consumer":true,"max_priority":4,"message_ttl_ms":0,"expires_ms":5000,"delivery_limit":0,` +
				`"dead_letter_exchange":"x","dead_letter_routing_key":""}`
		}
		if !strings.HasSuffix(string(have), want) {
			t.Errorf("%s:\n%s, want\n%s", q.Name, have, want)
		}
	}
}
