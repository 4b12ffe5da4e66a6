package core

import (
	"math"
	"slices"
	"testing"
)

// TestLatency puts times into their buckets: each bound belongs to the next one.
func TestLatency(t *testing.T) {
	var l latencies
	var total latencyStats
	var sum float64
	for _, c := range []struct {
		ns     int64
		bucket int
	}{
		{0, 0}, {-5, 0}, {1, 0}, {1<<16 - 1, 0}, {1 << 16, 1}, {1<<17 - 1, 1}, {1 << 17, 2},
		{1e6, 4}, {1e9, 14}, {1<<34 - 1, 18}, {1 << 34, 19}, {1 << 40, 19}, {math.MaxInt64 / 4, 19},
	} {
		before := total.load()
		l.note(c.ns)
		l.addTo(&total)
		after := total.load()
		after.Counts[c.bucket]--
		if !slices.Equal(before.Counts, after.Counts) {
			t.Errorf("%d ns is not in bucket %d: %v", c.ns, c.bucket, after.Counts)
		}
		if b := after.Bounds; c.bucket < len(b) && float64(c.ns)/1e9 >= b[c.bucket] || c.bucket > 0 && float64(c.ns)/1e9 < b[c.bucket-1] {
			t.Errorf("%d ns is in the bucket up to %v s", c.ns, b[min(c.bucket, len(b)-1)])
		}
		sum += float64(max(c.ns, 1)) / 1e9
		if math.Abs(after.Sum-sum) > 1e-6*sum {
			t.Errorf("the sum is %v, want %v", after.Sum, sum)
		}
	}
	if l != (latencies{}) {
		t.Errorf("something is left: %+v", l)
	}
}

// TestConfirms counts one confirmation for each read whose reply waited for the
// disk, and none for others.
func TestConfirms(t *testing.T) {
	x := newBox(t)
	confirms := func() (n uint64) {
		for _, k := range x.Stats().Confirms.Counts {
			n += k
		}
		return n
	}
	tn := x.NewTurn()
	q, err := x.VHost("/").DeclareQueue(tn, "q", QueueOptions{Durable: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.VHost("/").BindQueue(tn, q, "amq.topic", "a", SyntaxMQTT); err != nil {
		t.Fatal(err)
	}
	tn.End()
	x.Sync()
	before := confirms()
	replies := make(replyChan, 8)
	var g Gate
	g.Init(replies, 3)
	pub := x.VHost("/").NewPublisher(NewPrincipal(Identity{VHost: "/", Protocol: "amqp"}))
	x.hold(true)                                    // so that the second waits too, and for nothing but its turn
	for i, topic := range []string{"a", "b", "a"} { // nothing is bound to b
		tn := x.NewTurn()
		g.Begin(tn)
		for range 5 {
			m := tn.Message()
			m.Exchange, m.Topic, m.Payload, m.QoS, m.Persistent = x.VHost("/").Topics(), []byte(topic), []byte("1234"), AtLeastOnce, true
			if _, err := pub.Publish(tn, m); err != nil {
				t.Fatal(err)
			}
		}
		tn.Reply(byte('0' + i))
		g.EndFeed(tn, 100)
		tn.End()
	}
	x.hold(false)
	for i := range 3 {
		if s := <-replies; s != string(rune('0'+i)) {
			t.Errorf("reply %q, want %d", s, i)
		}
	}
	x.Close() // the turn of the last reply has ended
	if n := confirms() - before; n != 2 {
		t.Errorf("%d confirmations, want one for each of the two reads that reached a durable queue", n)
	}
	s := x.Stats()
	if got := s.Protocols[ProtocolAMQP]; got.Received[1] != 15 || got.ReceivedBytes[1] != 60 || s.Received[1] != 15 {
		t.Errorf("counted for AMQP: %+v, in all: %+v", got, s.Traffic)
	}
	if got := s.Protocols[ProtocolMQTT]; got != (Traffic{}) {
		t.Errorf("counted for MQTT: %+v", got)
	}
}

type replyChan chan string

func (r replyChan) AppendReply(_ *Turn, b []byte) { r <- string(b) }
