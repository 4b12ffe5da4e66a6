package core

import (
	"sync"
	"sync/atomic"
)

// Stats are counters of a turn, added to those of the bus at its end.
type Stats struct {
	Received      [3]uint64 // messages published, by QoS
	Sent          [3]uint64 // messages delivered, by QoS
	PacketsIn     uint64    // of any kind, as the protocol counts them
	PacketsOut    uint64
	ReceivedBytes uint64 // of payload
	SentBytes     uint64
	Dropped       [dropReasons]uint64
	Rejected      uint64 // refused by a full queue
	// Unrepresentable counts messages that were not delivered to MQTT because
	// their address is no legal topic name.
	Unrepresentable uint64
}

type busStats struct {
	received, sent  [3]atomic.Uint64
	packetsIn       atomic.Uint64
	packetsOut      atomic.Uint64
	receivedBytes   atomic.Uint64
	sentBytes       atomic.Uint64
	dropped         [dropReasons]atomic.Uint64
	rejected        atomic.Uint64
	unrepresentable atomic.Uint64
}

func (s *Stats) addTo(b *busStats) {
	move := func(from *uint64, to *atomic.Uint64) {
		if *from != 0 {
			to.Add(*from)
			*from = 0
		}
	}
	for i := range s.Received {
		move(&s.Received[i], &b.received[i])
		move(&s.Sent[i], &b.sent[i])
	}
	for i := range s.Dropped {
		move(&s.Dropped[i], &b.dropped[i])
	}
	move(&s.PacketsIn, &b.packetsIn)
	move(&s.PacketsOut, &b.packetsOut)
	move(&s.ReceivedBytes, &b.receivedBytes)
	move(&s.SentBytes, &b.sentBytes)
	move(&s.Rejected, &b.rejected)
	move(&s.Unrepresentable, &b.unrepresentable)
}

// Stats returns the counters since the start.
func (b *Bus) Stats() Stats {
	var s Stats
	for i := range s.Received {
		s.Received[i], s.Sent[i] = b.stats.received[i].Load(), b.stats.sent[i].Load()
	}
	for i := range s.Dropped {
		s.Dropped[i] = b.stats.dropped[i].Load()
	}
	s.PacketsIn, s.PacketsOut = b.stats.packetsIn.Load(), b.stats.packetsOut.Load()
	s.ReceivedBytes, s.SentBytes = b.stats.receivedBytes.Load(), b.stats.sentBytes.Load()
	s.Rejected, s.Unrepresentable = b.stats.rejected.Load(), b.stats.unrepresentable.Load()
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
