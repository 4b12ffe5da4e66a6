package coretest

import (
	"math/rand/v2"
	"testing"

	"github.com/narumq/naru/core"
)

// TestReopen checks that a store has everything again when it was closed and
// opened. open opens the same store each time, which is empty at first; what
// closes it is called before the next open.
func TestReopen(t *testing.T, open func(t *testing.T) (core.Shard, func())) {
	r := rand.New(rand.NewPCG(3, 3))
	m := Model{}
	big := noise(3<<20, 3)
	for round := range 6 {
		s, closeStore := open(t)
		m.Check(t, r, s)
		if got := get(t, s, "big"); round > 0 && string(got) != string(big) {
			t.Errorf("round %d: a value of %d bytes has %d now", round, len(big), len(got))
		}
		write(t, s, func(b core.Batch) { b.Set([]byte("big"), big) })
		for i := range 200 {
			b := s.NewBatch()
			m.Apply(r, b, r.IntN(20))
			if i%7 == 0 {
				s.Commit(b, nil)
				continue
			}
			s.Commit(b, func(err error) {
				if err != nil {
					t.Errorf("done got %v", err)
				}
			})
		}
		closeStore() // with no flush: that is its business, also for those without done
	}
}
