package core

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// A Protocol is what a client speaks, for counting: a small fixed set, whatever
// clients may claim.
type Protocol uint8

const (
	ProtocolInternal Protocol = iota // the broker itself
	ProtocolMQTT
	ProtocolAMQP
	ProtocolSTOMP
	Protocols // how many there are
)

func (p Protocol) String() string { return [...]string{"internal", "mqtt", "amqp", "stomp"}[p] }

// ProtocolOf returns the protocol of an identity. What is none of the others is
// internal.
func ProtocolOf(id *Identity) Protocol {
	for p := ProtocolMQTT; p < Protocols; p++ {
		if p.String() == id.Protocol {
			return p
		}
	}
	return ProtocolInternal
}

// Traffic is what one protocol has taken and given.
type Traffic struct {
	Received      [3]uint64 // messages published, by QoS
	Sent          [3]uint64 // messages delivered, by QoS
	ReceivedBytes [3]uint64 // of payload, by QoS
	SentBytes     [3]uint64
	PacketsIn     uint64 // of any kind, as the protocol counts them
	PacketsOut    uint64
	// Dropped are messages that were to be delivered, by the QoS they would have
	// had, and the reason. What a named queue drops had no receiver yet: it is
	// counted as the broker's own.
	Dropped [3][dropReasons]Drops
}

// Drops are messages that were dropped, and the bytes of their payloads.
type Drops struct{ Messages, Bytes uint64 }

// Counts are what a turn gathers, added to those of the bus at its end.
type Counts struct {
	protocols [Protocols]Traffic
	used      uint8 // a bit for each protocol that has something
	drops     uint8 // a bit for each that has dropped something

	Rejected uint64 // refused by a full queue
	// Unrepresentable counts messages that were not delivered to MQTT because
	// their address is no legal topic name.
	Unrepresentable uint64

	confirms latencies
}

// Of returns where the traffic of a protocol is counted.
func (s *Counts) Of(p Protocol) *Traffic {
	s.used |= 1 << p
	return &s.protocols[p]
}

// Stats are the counters of a bus since its start.
type Stats struct {
	Traffic         // of all protocols together
	Protocols       [Protocols]Traffic
	Dropped         [dropReasons]uint64 // of all protocols and QoS together
	Rejected        uint64
	Unrepresentable uint64
	Confirms        Histogram // from the read that brought a message to the moment its reply may leave
}

type trafficStats struct {
	received, sent           [3]atomic.Uint64
	receivedBytes, sentBytes [3]atomic.Uint64
	packetsIn, packetsOut    atomic.Uint64
	dropped                  [3][dropReasons]struct{ messages, bytes atomic.Uint64 }
}

type busStats struct {
	protocols       [Protocols]trafficStats
	rejected        atomic.Uint64
	unrepresentable atomic.Uint64
	confirms        latencyStats
}

// move adds what has gathered to a counter of the bus. Most of it is nothing,
// and costs no atomic operation.
func move(from *uint64, to *atomic.Uint64) {
	if *from != 0 {
		to.Add(*from)
		*from = 0
	}
}

func (s *Counts) addTo(b *busStats) {
	for s.used != 0 {
		p := bits.TrailingZeros8(s.used)
		s.used &= s.used - 1
		s.protocols[p].addTo(&b.protocols[p])
	}
	for s.drops != 0 {
		p := bits.TrailingZeros8(s.drops)
		s.drops &= s.drops - 1
		s.protocols[p].addDropsTo(&b.protocols[p])
	}
	move(&s.Rejected, &b.rejected)
	move(&s.Unrepresentable, &b.unrepresentable)
	if s.confirms.used != 0 {
		s.confirms.addTo(&b.confirms)
	}
}

func (s *Traffic) addTo(b *trafficStats) {
	for i := range s.Received {
		if s.Received[i] != 0 {
			move(&s.Received[i], &b.received[i])
			move(&s.ReceivedBytes[i], &b.receivedBytes[i])
		}
		if s.Sent[i] != 0 {
			move(&s.Sent[i], &b.sent[i])
			move(&s.SentBytes[i], &b.sentBytes[i])
		}
	}
	move(&s.PacketsIn, &b.packetsIn)
	move(&s.PacketsOut, &b.packetsOut)
}

func (s *Traffic) addDropsTo(b *trafficStats) {
	for qos := range s.Dropped {
		for why := range s.Dropped[qos] {
			from, to := &s.Dropped[qos][why], &b.dropped[qos][why]
			move(&from.Messages, &to.messages)
			move(&from.Bytes, &to.bytes)
		}
	}
}

// drop counts a message that was not delivered to a receiver of the protocol.
func (s *Counts) drop(p Protocol, qos QoS, why DropReason, size int) {
	s.drops |= 1 << p
	d := &s.protocols[p].Dropped[qos][why]
	d.Messages++
	d.Bytes += uint64(size)
}

// protocol returns what the receivers of a queue speak, for counting. Only MQTT
// has shared subscriptions; whoever will take from a named queue is not known.
func (q *Queue) protocol() Protocol {
	switch q.kind {
	case KindSession:
		return ProtocolOf(&q.session.principal().Identity)
	case KindGroup:
		return ProtocolMQTT
	}
	return ProtocolInternal
}

func (b *trafficStats) load() (s Traffic) {
	for i := range s.Received {
		s.Received[i], s.Sent[i] = b.received[i].Load(), b.sent[i].Load()
		s.ReceivedBytes[i], s.SentBytes[i] = b.receivedBytes[i].Load(), b.sentBytes[i].Load()
	}
	s.PacketsIn, s.PacketsOut = b.packetsIn.Load(), b.packetsOut.Load()
	for qos := range s.Dropped {
		for why := range s.Dropped[qos] {
			d := &b.dropped[qos][why]
			s.Dropped[qos][why] = Drops{d.messages.Load(), d.bytes.Load()}
		}
	}
	return s
}

func (s *Traffic) add(o *Traffic) {
	for i := range s.Received {
		s.Received[i] += o.Received[i]
		s.Sent[i] += o.Sent[i]
		s.ReceivedBytes[i] += o.ReceivedBytes[i]
		s.SentBytes[i] += o.SentBytes[i]
		for why, d := range o.Dropped[i] {
			s.Dropped[i][why].Messages += d.Messages
			s.Dropped[i][why].Bytes += d.Bytes
		}
	}
	s.PacketsIn += o.PacketsIn
	s.PacketsOut += o.PacketsOut
}

// Stats returns the counters since the start.
func (b *Bus) Stats() Stats {
	var s Stats
	for p := range s.Protocols {
		s.Protocols[p] = b.stats.protocols[p].load()
		s.add(&s.Protocols[p])
	}
	for _, byReason := range s.Traffic.Dropped {
		for why, d := range byReason {
			s.Dropped[why] += d.Messages
		}
	}
	s.Rejected, s.Unrepresentable = b.stats.rejected.Load(), b.stats.unrepresentable.Load()
	s.Confirms = b.stats.confirms.load()
	return s
}

// dropLog gathers drops, so that a flood of them becomes one event for each
// queue and reason in a while.
type dropLog struct {
	mu     sync.Mutex
	counts map[dropKey]int64 // guarded by mu; at most maxDropKeys
	other  int64             // guarded by mu: what found no place
}

type dropKey struct {
	vhost, queue string
	why          DropReason
}

const maxDropKeys = 256

func (d *dropLog) add(q *Queue, why DropReason, n int64) {
	k := dropKey{q.vh.name, q.name, why}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.counts[k]; !ok && len(d.counts) >= maxDropKeys {
		d.other += n
		return
	}
	if d.counts == nil {
		d.counts = make(map[dropKey]int64)
	}
	d.counts[k] += n
}

// tell emits what has gathered.
func (d *dropLog) tell(b *Bus) {
	d.mu.Lock()
	counts, other := d.counts, d.other
	d.counts, d.other = nil, 0
	d.mu.Unlock()
	for k, n := range counts {
		b.emit(Dropped{VHost: k.vhost, Queue: k.queue, Reason: k.why, Count: n})
	}
	if other > 0 {
		b.emit(Dropped{Queue: "(others)", Count: other})
	}
}
