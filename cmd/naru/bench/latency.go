package bench

import (
	"math/bits"
	"time"
)

// Every power of two is cut into that many buckets, so that a quantile is off
// by less than two per cent.
const bucketBits = 6

// A latency is a histogram of durations, made to be fed a million times a
// second: one shift and one increment, no memory beyond its own.
type latency struct {
	count   int64
	max     time.Duration
	buckets [(64 - bucketBits) << bucketBits]int64
}

func (l *latency) record(d time.Duration) {
	d = max(d, 0)
	l.count++
	l.max = max(l.max, d)
	l.buckets[bucket(uint64(d))]++
}

// bucket maps [0, 64) one to one, and from there on each power of two onto 64
// buckets: the bits after the leading one.
func bucket(v uint64) int {
	shift := bits.Len64(v>>bucketBits) - 1
	if shift < 0 {
		return int(v)
	}
	return (shift+1)<<bucketBits + int(v>>shift) - 1<<bucketBits
}

// low is the smallest value that bucket i takes.
func low(i int) uint64 {
	shift := i>>bucketBits - 1
	if shift < 0 {
		return uint64(i)
	}
	return uint64(i&(1<<bucketBits-1)+1<<bucketBits) << shift
}

// quantile is the value that q of all records (0 to 1) do not exceed, to the
// precision of a bucket; 0 when nothing was recorded.
func (l *latency) quantile(q float64) time.Duration {
	if l.count == 0 {
		return 0
	}
	rank := max(int64(q*float64(l.count)+0.5), 1)
	for i, n := range l.buckets {
		if rank -= n; rank <= 0 {
			return min(time.Duration(low(i+1)-1), l.max)
		}
	}
	return l.max
}
