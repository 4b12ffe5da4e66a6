package bench

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBucketsAreContiguous(t *testing.T) {
	for i := range len(latency{}.buckets) - 1 {
		if got := bucket(low(i)); got != i {
			t.Fatalf("bucket(low(%d)) is %d", i, got)
		}
		if got := bucket(low(i+1) - 1); got != i {
			t.Fatalf("the largest value of bucket %d falls into %d", i, got)
		}
	}
	var l latency
	l.record(math.MaxInt64) // must not fall off the end
	l.record(-1)
	if got := l.quantile(1); got != math.MaxInt64 {
		t.Errorf("largest duration comes back as %d", got)
	}
}

func TestQuantile(t *testing.T) {
	var l latency
	if got := l.quantile(0.5); got != 0 {
		t.Errorf("empty: %v", got)
	}
	random := rand.New(rand.NewPCG(1, 1))
	all := make([]time.Duration, 10_000)
	for i := range all {
		all[i] = time.Duration(math.Exp(random.Float64() * 20)) // 1 ns to 485 ms
		l.record(all[i])
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
		want := float64(all[int(q*float64(len(all)))-1])
		if got := float64(l.quantile(q)); got < want || got > want*1.02+1 {
			t.Errorf("quantile %v: got %v, want %v and at most 2%% more", q, got, want)
		}
	}
}
