package bench

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A Kind is a pattern of load.
type Kind string

// The patterns. In each, N is what there are many of.
const (
	Pairs      Kind = "pairs"      // N publishers, each with a subscriber and a topic of its own
	Persistent Kind = "persistent" // pairs whose subscribers have a persistent session
	Paced      Kind = "paced"      // pairs that send at a fixed low rate, one message at a time
	Fanout     Kind = "fanout"     // one publisher, N subscribers
	Fanin      Kind = "fanin"      // N publishers, one subscriber
	Idle       Kind = "idle"       // N connections that do nothing
	Offline    Kind = "offline"    // N persistent sessions that fill while away and are drained after
	Connect    Kind = "connect"    // a storm of N connections
)

// Kinds lists every pattern, in the order of a full run.
func Kinds() []Kind {
	return []Kind{Pairs, Persistent, Paced, Fanout, Fanin, Connect, Offline, Idle}
}

// A Scenario is a pattern of load with its sizes. Start from Defaults; the
// zero Scenario is not valid.
type Scenario struct {
	Kind Kind `json:"kind"`
	// N is the number of pairs, subscribers, publishers, connections or
	// sessions, whatever Kind has many of.
	N int `json:"n"`

	// Protocol is what is spoken. In AMQP, QoS 1 is persistent messages with
	// confirms in durable queues, and QoS 0 transient ones without; consumers
	// acknowledge both.
	Protocol Protocol `json:"protocol,omitempty"`

	// Over is what MQTT goes over.
	Over Over `json:"over,omitempty"`

	// Size of a payload in bytes, of which the first 20 are a header.
	Size int `json:"size,omitempty"`
	// QoS of publishing and of subscribing.
	QoS byte `json:"qos"`
	// Window is how many messages a publisher may have in flight.
	Window int `json:"window,omitempty"`
	// Rate is messages per second of all pairs together (Paced), or connects
	// per second (Connect, where 0 is as fast as the broker takes them).
	Rate int `json:"rate,omitempty"`

	// Messages is how many to publish in all; the whole run is measured. With
	// 0 the scenario runs for Duration instead, after Warmup.
	Messages int64         `json:"messages,omitempty"`
	Duration time.Duration `json:"duration_ns,omitempty"`
	Warmup   time.Duration `json:"warmup_ns,omitempty"`

	// KeepAlive is what CONNECT asks for; 0 is none. Only Idle sends the pings
	// it takes; the others are never silent that long.
	KeepAlive time.Duration `json:"keep_alive_ns,omitempty"`
	// Subscribe gives each connection of Idle and Connect one subscription.
	Subscribe bool `json:"subscribe,omitempty"`
	// Wait is how long Idle waits between its two measurements.
	Wait time.Duration `json:"wait_ns,omitempty"`
	// Churn makes each connection of Connect leave as soon as it is up, so
	// that N is not bounded by the limit of open files.
	Churn bool `json:"churn,omitempty"`

	// Timeout ends a run in which nothing moves any more, with what is missing
	// counted as lost.
	Timeout time.Duration `json:"timeout_ns"`
}

// Defaults returns the scenario of a kind with sensible sizes. An unknown kind
// gets a scenario that does not validate.
func Defaults(kind Kind) Scenario {
	s := Scenario{
		Kind:     kind,
		N:        50,
		Size:     200,
		Window:   64,
		Duration: 5 * time.Second,
		Warmup:   time.Second,
		Timeout:  20 * time.Second,
	}
	switch kind {
	case Persistent:
		s.QoS = 1
	case Paced:
		s.N, s.Rate = 500, 5000
	case Fanout:
		s.N = 500
	case Connect:
		s = Scenario{Kind: kind, N: 5000, Timeout: s.Timeout}
	case Idle:
		s = Scenario{Kind: kind, N: 8000, KeepAlive: 5 * time.Minute, Wait: time.Minute, Timeout: s.Timeout}
	case Offline:
		s.N, s.QoS, s.Messages, s.Duration, s.Warmup = 10, 1, 1_000_000, 0, 0
	}
	return s
}

const (
	maxSize      = 8 << 20
	maxKeepAlive = 65535 * time.Second
)

// Validate reports everything that is wrong with a scenario.
func (s Scenario) Validate() error {
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf("scenario %s: "+format, append([]any{s.Kind}, args...)...))
		}
	}
	known := false
	for _, k := range Kinds() {
		known = known || k == s.Kind
	}
	if !known {
		return fmt.Errorf("scenario %q: unknown kind", s.Kind)
	}
	check(s.N >= 1, "n is %d, at least 1 is needed", s.N)
	check(s.Timeout > 0, "timeout must be positive")
	check(s.QoS <= 2, "QoS %d does not exist", s.QoS)
	check(s.Rate >= 0, "rate must not be negative")
	check(s.KeepAlive >= 0 && s.KeepAlive <= maxKeepAlive, "keep-alive must be 0 to %v", maxKeepAlive)
	check(s.Wait >= 0, "wait must not be negative")
	check(!s.Churn || s.Kind == Connect, "churn is for connect")
	check(!s.Subscribe || !s.streams(), "subscribe is for idle and connect")
	if s.Protocol != MQTT {
		check(s.Kind == Pairs || s.Kind == Paced, "AMQP is for pairs and paced")
		check(s.QoS <= 1, "AMQP has no QoS 2")
		check(s.Over == TCP, "AMQP goes over TCP here")
		check(s.Size <= maxAMQPSize, "size must be %d bytes at most", maxAMQPSize)
	}
	if s.streams() {
		check(s.Size >= headerSize && s.Size <= maxSize, "size must be %d to %d bytes", headerSize, maxSize)
		check(s.Window >= 1 && s.Window <= idCycle, "window must be 1 to %d", idCycle)
		check(s.Messages >= 0 && s.Duration >= 0 && s.Warmup >= 0, "messages, duration and warm-up must not be negative")
		check(s.Messages > 0 || s.Duration > 0, "messages or duration must be given")
	}
	switch s.Kind {
	case Paced:
		check(s.Rate > 0, "rate must be positive")
	case Persistent, Offline:
		check(s.QoS >= 1, "QoS 1 or 2 is needed")
	}
	if s.Kind == Offline {
		check(s.Messages > 0, "messages must be given")
	}
	return errors.Join(wrong...)
}

// streams is true where messages flow.
func (s Scenario) streams() bool { return s.Kind != Idle && s.Kind != Connect }

// sockets is how many connections the scenario holds open at once.
func (s Scenario) sockets() int {
	switch s.Kind {
	case Pairs, Persistent, Paced:
		return 2 * s.N
	case Fanout, Fanin:
		return s.N + 1
	case Offline:
		return 2 * s.N // while they drain, the publishers are still there
	case Connect:
		if s.Churn {
			return min(s.N, 2*atOnce)
		}
	}
	return s.N
}

// String names the scenario with what makes results comparable: two runs with
// the same string measure the same.
func (s Scenario) String() string {
	var b strings.Builder
	if s.Protocol != MQTT {
		b.WriteString(s.Protocol.String() + " ")
	}
	b.WriteString(string(s.Kind))
	if s.streams() {
		fmt.Fprintf(&b, " qos%d", s.QoS)
	}
	fmt.Fprintf(&b, " %d", s.N)
	if s.streams() {
		fmt.Fprintf(&b, "x%d %dB", s.Window, s.Size)
	}
	if s.Rate > 0 {
		fmt.Fprintf(&b, " %d/s", s.Rate)
	}
	if s.Messages > 0 {
		fmt.Fprintf(&b, " %d messages", s.Messages)
	}
	if s.Subscribe {
		b.WriteString(" subscribed")
	}
	if s.Churn {
		b.WriteString(" churn")
	}
	if s.Over != TCP {
		b.WriteString(" over " + s.Over.String())
	}
	return b.String()
}
