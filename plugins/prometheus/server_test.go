package prometheus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	prom "github.com/prometheus/client_golang/prometheus"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
)

// box is a server on a real bus.
type box struct {
	*Server
	bus    *core.Bus
	events *Events
	ready  error
}

func newBox(t *testing.T, cfg Config) *box {
	t.Helper()
	b := &box{events: new(Events)}
	store := memstore.New()
	var err error
	b.bus, err = core.Open(core.Options{
		Config: core.DefaultConfig(), Shards: []core.Shard{store}, Listeners: []core.Listener{b.events.Listen},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.bus.Close(); store.Close() })
	fsync := prom.NewHistogram(prom.HistogramOpts{Buckets: []float64{1e6, 1.1e6, 2e6}})
	fsync.Observe(1.05e6)
	b.Server = New(cfg, Sources{
		Version: "test", Bus: b.bus, Events: b.events, Ready: func() error { return b.ready },
		Sockets: func() (int64, uint64, uint64, uint64) { return 3, 7, 1000, 2000 },
		Store:   func() Store { return Store{Commits: 5, Fsync: fsync} },
	}, slog.New(slog.DiscardHandler))
	return b
}

func (b *box) get(t *testing.T, path string) (int, string) {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = "127.0.0.1:15692"
	w := httptest.NewRecorder()
	b.http.Handler.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// want checks lines of /metrics.
func (b *box) want(t *testing.T, lines ...string) {
	t.Helper()
	code, body := b.get(t, "/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d\n%s", code, body)
	}
	have := strings.Split(body, "\n")
	for _, l := range lines {
		if !slices.Contains(have, l) {
			name, _, _ := strings.Cut(l, "{")
			name, _, _ = strings.Cut(name, " ")
			t.Errorf("/metrics has not %q, but\n%s", l, strings.Join(grep(have, name), "\n"))
		}
	}
}

func grep(lines []string, what string) (found []string) {
	for _, l := range lines {
		if strings.HasPrefix(l, what) {
			found = append(found, l)
		}
	}
	return found
}

func who(protocol string) *core.Identity {
	return &core.Identity{Protocol: protocol, VHost: "/", User: "u", ClientID: "c", Peer: netip.MustParseAddrPort("192.0.2.1:5")}
}

// TestMetrics: what the bus has counted, and what it has told.
func TestMetrics(t *testing.T) {
	b := newBox(t, DefaultConfig())
	vh := b.bus.VHost("/")
	turn := b.bus.NewTurn()
	q, err := vh.DeclareQueue(turn, "orders", core.QueueOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := vh.BindQueue(turn, q, "amq.topic", "a/+", core.SyntaxMQTT); err != nil {
		t.Fatal(err)
	}
	pub := vh.NewPublisher(core.NewPrincipal(*who("stomp")))
	for range 3 {
		m := turn.Message()
		m.Exchange, m.Topic, m.Payload, m.QoS = vh.Topics(), []byte("a/b"), []byte("12345"), core.AtLeastOnce
		if _, err := pub.Publish(turn, m); err != nil {
			t.Fatal(err)
		}
	}
	sent := turn.Stats.Of(core.ProtocolMQTT)
	sent.Sent[2]++
	sent.SentBytes[2] += 40
	turn.End()
	for _, e := range []core.Event{
		core.Connected{Identity: who("mqtt")}, core.Connected{Identity: who("mqtt")}, core.Connected{Identity: who("amqp")},
		core.Disconnected{Identity: who("mqtt"), Cause: io.EOF}, core.LoginRefused{Identity: who("mqtt")},
		core.PublishRefused{Identity: who("mqtt"), Count: 12}, core.SessionExpired{}, core.WillPublished{Identity: who("mqtt")},
		core.WillPublished{Identity: who("mqtt"), Err: errors.New("no")},
	} {
		b.events.Listen(e)
	}
	b.want(t,
		`naru_messages_received_total{protocol="stomp",qos="1"} 3`, `naru_messages_received_bytes_total{protocol="stomp",qos="1"} 15`,
		`naru_messages_received_total{protocol="mqtt",qos="1"} 0`, `naru_messages_sent_total{protocol="mqtt",qos="2"} 1`,
		`naru_messages_sent_bytes_total{protocol="mqtt",qos="2"} 40`,
		`naru_queues{kind="named"} 1`, `naru_queue_messages_ready{kind="named"} 3`, `naru_queue_bytes{kind="named"} 15`,
		`naru_queue_consumers{kind="named"} 0`, `naru_channels{protocol="amqp"} 0`, `naru_exchanges{type="headers"} 2`,
		`naru_messages_received_total{protocol="amqp",qos="1"} 0`,
		`naru_queue_messages_ready{kind="session"} 0`, `naru_bindings 2`,
		`naru_clients{protocol="mqtt"} 1`, `naru_clients{protocol="amqp"} 1`, `naru_logins_total{protocol="mqtt"} 2`,
		`naru_disconnects_total{how="broken",protocol="mqtt"} 1`, `naru_logins_refused_total{protocol="mqtt"} 1`,
		`naru_publish_refused_total{protocol="mqtt"} 12`, `naru_sessions_expired_total 1`, `naru_wills_published_total 1`,
		`naru_connections 3`, `naru_connections_accepted_total 7`, `naru_network_sent_bytes_total 2000`,
		`naru_alarm{alarm="disk"} 0`, `naru_alarm{alarm="memory"} 0`, `naru_store_commits_total 5`,
		`naru_fsync_seconds_bucket{le="0.001"} 0`, `naru_fsync_seconds_bucket{le="0.002"} 1`, `naru_fsync_seconds_count 1`,
		`naru_fsync_seconds_sum 0.00105`, `naru_info{version="test"} 1`,
	)
	if _, body := b.get(t, "/metrics"); !strings.Contains(body, "go_goroutines ") {
		t.Error("/metrics does not tell of the Go runtime")
	}
}

// TestDropped: what is dropped, by protocol, QoS and reason.
func TestDropped(t *testing.T) {
	b := newBox(t, DefaultConfig())
	vh := b.bus.VHost("/")
	turn := b.bus.NewTurn()
	q, err := vh.DeclareQueue(turn, "short", core.QueueOptions{Limits: core.QueueLimits{MaxLength: 1}})
	if err != nil {
		t.Fatal(err)
	}
	if err := vh.BindQueue(turn, q, "amq.topic", "a", core.SyntaxMQTT); err != nil {
		t.Fatal(err)
	}
	pub := vh.NewPublisher(core.NewPrincipal(*who("mqtt")))
	for range 3 {
		m := turn.Message()
		m.Exchange, m.Topic, m.Payload, m.QoS = vh.Topics(), []byte("a"), []byte("12345"), core.ExactlyOnce
		if _, err := pub.Publish(turn, m); err != nil {
			t.Fatal(err)
		}
	}
	turn.End()
	b.want(t,
		`naru_messages_dropped_total{protocol="internal",qos="2",reason="queue full"} 2`,
		`naru_messages_dropped_bytes_total{protocol="internal",qos="2",reason="queue full"} 10`,
		`naru_messages_dropped_total{protocol="internal",qos="1",reason="queue full"} 0`,
		`naru_messages_dropped_total{protocol="mqtt",qos="2",reason="queue full"} 0`,
		`naru_messages_dropped_total{protocol="mqtt",qos="0",reason="no room"} 0`,
	)
}

// TestReadme: every metric is in the README, and everything there is a metric.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	names := func(re, text string) []string {
		var all []string
		for _, m := range regexp.MustCompile(re).FindAllStringSubmatch(text, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	_, served := newBox(t, DefaultConfig()).get(t, "/metrics")
	have, want := names("`(naru_[a-z_]+)`", string(text)), names(`(?m)^# TYPE (naru_[a-z_]+)`, served)
	if !slices.Equal(have, want) || len(want) < 30 {
		t.Errorf("the README tells of\n%v\nand served are\n%v", have, want)
	}
}

// TestSecurity28Labels: whatever clients call themselves, there are no more
// series than before.
func TestSecurity28Labels(t *testing.T) {
	b := newBox(t, DefaultConfig())
	series := func() (n int) {
		_, body := b.get(t, "/metrics")
		for l := range strings.Lines(body) {
			if strings.HasPrefix(l, "naru_") {
				n++
			}
		}
		return n
	}
	before := series()
	vh := b.bus.VHost("/")
	for i := range 200 {
		name := fmt.Sprintf("evil-%d\n\"}", i)
		id := &core.Identity{Protocol: name, VHost: "/", User: name, ClientID: name}
		for _, e := range []core.Event{
			core.Connected{Identity: id}, core.LoginRefused{Identity: id, Cause: errors.New(name)},
			core.Subscribed{Identity: id, Filter: name}, core.Dropped{Queue: name}, core.Disconnected{Identity: id},
		} {
			b.events.Listen(e)
		}
		turn := b.bus.NewTurn()
		if _, err := vh.DeclareQueue(turn, name, core.QueueOptions{}); err != nil {
			t.Fatal(err)
		}
		m := turn.Message()
		m.Exchange, m.Topic = vh.Topics(), []byte(fmt.Sprintf("evil/%d", i))
		if _, err := vh.NewPublisher(core.NewPrincipal(*id)).Publish(turn, m); err != nil {
			t.Fatal(err)
		}
		turn.End()
	}
	if after := series(); after != before || before < 50 {
		t.Errorf("%d series, %d before", after, before)
	}
	if _, body := b.get(t, "/metrics"); strings.Contains(body, "evil") {
		t.Error("/metrics shows what clients call themselves")
	}
	b.want(t, `naru_queues{kind="named"} 200`, `naru_logins_total{protocol="internal"} 200`, `naru_logins_total{protocol="mqtt"} 0`)
}

// TestHealth: alive and ready are different things.
func TestHealth(t *testing.T) {
	b := newBox(t, DefaultConfig())
	for _, path := range []string{"/", "/healthz", "/readyz"} {
		if code, body := b.get(t, path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	b.ready = errors.New("starting")
	if code, body := b.get(t, "/readyz"); code != 503 || body != "starting\n" {
		t.Errorf("/readyz of a broker that starts: %d %s", code, body)
	}
	if code, _ := b.get(t, "/healthz"); code != 200 {
		t.Errorf("/healthz of a broker that starts: %d", code)
	}
	if code, _ := b.get(t, "/debug/pprof/"); code != 404 {
		t.Errorf("/debug/pprof, which nobody asked for: %d", code)
	}
	if code, _ := b.get(t, "/nothing"); code != 404 {
		t.Errorf("/nothing: %d", code)
	}
}

// TestHealthHangs: a worker that does not come back is noticed.
func TestHealthHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, DefaultConfig())
		release := make(chan struct{})
		turn := b.bus.NewTurn()
		vh := b.bus.VHost("/")
		q, err := vh.DeclareQueue(turn, "q", core.QueueOptions{Durable: true})
		if err != nil {
			t.Fatal(err)
		}
		var g core.Gate
		g.Init(nowhere{}, 1)
		g.Begin(turn)
		m := turn.Message()
		m.Exchange, m.Topic, m.Payload, m.QoS, m.Persistent = vh.Topics(), []byte("a"), []byte("x"), core.AtLeastOnce, true
		if err := vh.BindQueue(turn, q, "amq.topic", "a", core.SyntaxMQTT); err != nil {
			t.Fatal(err)
		}
		if _, err := vh.NewInternalPublisher().Publish(turn, m); err != nil {
			t.Fatal(err)
		}
		turn.After(func(*core.Turn) { <-release }) // runs on the worker
		g.EndFeed(turn, 1)
		turn.End()
		synctest.Wait()
		code, body := b.get(t, "/healthz")
		if code != 503 || !strings.Contains(body, "workers answer") {
			t.Errorf("/healthz of a broker that hangs: %d %s", code, body)
		}
		close(release)
		if code, body := b.get(t, "/healthz"); code != 200 {
			t.Errorf("/healthz of one that hangs no more: %d %s", code, body)
		}
		b.bus.Close()
	})
}

type nowhere struct{}

func (nowhere) AppendReply(*core.Turn, []byte) {}

// TestSecurity15Rebinding: a page elsewhere cannot read this through a browser
// on this machine, and only reading is possible at all.
func TestSecurity15Rebinding(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Pprof = true
	b := newBox(t, cfg)
	for host, want := range map[string]int{
		"127.0.0.1:15692": 200, "localhost:15692": 200, "[::1]:15692": 200, "localhost": 200,
		"evil.example": 421, "evil.example:15692": 421, "localhost.evil.example": 421, "192.0.2.1": 421, "": 421,
	} {
		for _, path := range []string{"/metrics", "/healthz", "/debug/pprof/"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host = host
			w := httptest.NewRecorder()
			b.http.Handler.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s asked of %q: %d, want %d", path, host, w.Code, want)
			}
		}
	}
	r := httptest.NewRequest("POST", "/metrics", nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	b.http.Handler.ServeHTTP(w, r)
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
	if code, _ := b.get(t, "/debug/pprof/cmdline"); code != 404 {
		t.Errorf("pprof shows the command line, which may hold secrets: %d", code)
	}
}

// TestSecurity14Loopback: what other machines reach must be allowed by name.
func TestSecurity14Loopback(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:0": true, "[::1]:0": true, "localhost:0": true, "127.8.8.8:1": true, "[::ffff:127.0.0.1]:0": true,
		"0.0.0.0:0": false, ":0": false, "[::]:0": false, "192.0.2.1:1": false, "broker.example:1": false, "localhost.example:1": false,
		"127.0.0.1": false, "": false, "127.0.0.1:": false,
	} {
		if err := (Config{Address: address}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:1"} {
		if err := (Config{Address: address, AllowRemote: true}).Validate(); err != nil {
			t.Errorf("%q, allowed by name: %v", address, err)
		}
	}
	b := newBox(t, Config{Address: "0.0.0.0:0"})
	if err := b.Start(t.Context()); err == nil {
		b.Stop(t.Context())
		t.Error("it listens for everybody")
	}
}

// TestServe: over a socket, from start to stop, and no connection more than
// there may be.
func TestServe(t *testing.T) {
	b := newBox(t, Config{Address: "127.0.0.1:0"})
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var idle []net.Conn
	for range maxConns + 5 {
		c, err := net.Dial("tcp", b.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	for _, c := range idle {
		c.Close()
	}
	r, err := http.Get("http://" + b.Addrs()[0].String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(r.Body)
	r.Body.Close()
	if err != nil || !regexp.MustCompile(`(?m)^naru_connections 3$`).Match(body) {
		t.Errorf("/metrics: %v\n%.500s", err, body)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := b.Stop(context.Background()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if c, err := net.Dial("tcp", b.Addrs()[0].String()); err == nil {
		c.Close()
		t.Error("it still listens")
	}
}
