package bench

import (
	"math/rand/v2"
	"testing"
)

// A sequence must tell the same as a map of all numbers seen.
func TestSequenceAgainstMap(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var s sequence
		seen := make(map[uint64]bool)
		var top uint64 // one above the highest seen
		for range 300 {
			n := top
			if random.IntN(3) == 0 {
				n = random.Uint64N(top + 8)
			}
			want := fresh
			if seen[n] {
				want = repeated
			} else if n < top {
				want = late
			}
			got, skipped := s.see(n)
			if got != want {
				t.Fatalf("seed %d, number %d: got %d, want %d", seed, n, got, want)
			}
			if got == fresh && (skipped != span{top, n}) {
				t.Fatalf("seed %d, number %d: skipped %v, want from %d", seed, n, skipped, top)
			}
			seen[n] = true
			top = max(top, n+1)
		}
		total := top + random.Uint64N(5)
		if got, want := s.missing(total), total-uint64(len(seen)); got != want {
			t.Fatalf("seed %d: %d missing, want %d", seed, got, want)
		}
	}
}
