package core

import (
	"math/bits"
	"sync/atomic"
)

// A Histogram tells how often something took how long.
type Histogram struct {
	Bounds []float64 // upper bounds in seconds, rising; beyond the last is one more bucket
	Counts []uint64  // one more than there are bounds, each on its own
	Sum    float64   // seconds
}

// Latencies are put into buckets by the position of their highest bit, which
// costs no search: the first holds what is below 65.5 us, each further one
// twice as much, the last what is beyond 17 s.
const (
	latencyShift   = 16
	latencyBuckets = 20
)

// latencies are gathered by a turn.
type latencies struct {
	counts [latencyBuckets]uint64
	used   uint32 // a bit for each bucket that has something
	sum    uint64 // nanoseconds
}

func (l *latencies) note(ns int64) {
	ns = max(ns, 1) // so that used is never 0 with a sum
	i := min(bits.Len64(uint64(ns)>>latencyShift), latencyBuckets-1)
	l.counts[i]++
	l.used |= 1 << i
	l.sum += uint64(ns)
}

type latencyStats struct {
	counts [latencyBuckets]atomic.Uint64
	sum    atomic.Uint64
}

func (l *latencies) addTo(b *latencyStats) {
	for ; l.used != 0; l.used &= l.used - 1 {
		i := bits.TrailingZeros32(l.used)
		move(&l.counts[i], &b.counts[i])
	}
	move(&l.sum, &b.sum)
}

func (b *latencyStats) load() Histogram {
	h := Histogram{Bounds: make([]float64, latencyBuckets-1), Counts: make([]uint64, latencyBuckets)}
	for i := range h.Bounds {
		h.Bounds[i] = float64(uint64(1)<<(latencyShift+i)) / 1e9
	}
	for i := range h.Counts {
		h.Counts[i] = b.counts[i].Load()
	}
	h.Sum = float64(b.sum.Load()) / 1e9
	return h
}
