package coretest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/narumq/naru/core"
)

// A Model is the naive store: what a shard must look like.
type Model map[string]string

// Apply puts n random changes into the model and, in the same order, into a
// batch, if there is one. Keys are like those of queues, so that ranges mean
// something; most changes are at the ends, as they are in queues.
func (m Model) Apply(r *rand.Rand, b core.Batch, n int) {
	for range n {
		k := m.key(r)
		switch p := r.IntN(100); {
		case p < 70:
			v := fmt.Sprintf("%x", noise(r.IntN(40)*8, r.Uint64()))
			m[k] = v
			if b != nil {
				b.Set([]byte(k), []byte(v))
			}
		case p < 97:
			delete(m, k)
			if b != nil {
				b.Delete([]byte(k))
			}
		default:
			hi := m.key(r)
			for x := range m {
				if x >= k && x < hi {
					delete(m, x)
				}
			}
			if b != nil {
				b.DeleteRange([]byte(k), []byte(hi))
			}
		}
	}
}

func (Model) key(r *rand.Rand) string {
	return fmt.Sprintf("m%d%04d", r.IntN(3), r.IntN(300))
}

// Check compares the model with all that is in a store, and reads some keys.
func (m Model) Check(t testing.TB, r *rand.Rand, s core.Shard) {
	t.Helper()
	want := make([]pair, 0, len(m))
	for k, v := range m {
		want = append(want, pair{k, v})
	}
	sort.Slice(want, func(i, j int) bool { return want[i].k < want[j].k })
	if got := scan(t, s, "m", "n"); !slices.Equal(got, want) {
		t.Fatalf("the store has %d keys, the model %d; the first difference: %s", len(got), len(want), difference(got, want))
	}
	lo, hi := m.key(r), m.key(r)
	from := sort.Search(len(want), func(i int) bool { return want[i].k >= lo })
	to := max(from, sort.Search(len(want), func(i int) bool { return want[i].k >= hi }))
	if got := scan(t, s, lo, hi); !slices.Equal(got, want[from:to]) {
		t.Fatalf("Scan(%q, %q): %s", lo, hi, difference(got, want[from:to]))
	}
	for range 10 {
		k := m.key(r)
		v, ok := m[k]
		if got := get(t, s, k); ok != (got != nil) || string(got) != v {
			t.Fatalf("%q is %q, want %q (%v)", k, got, v, ok)
		}
	}
}

func difference(got, want []pair) string {
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			return fmt.Sprintf("%q is missing", want[i].k)
		case i >= len(want):
			return fmt.Sprintf("%q is too much", got[i].k)
		case got[i] != want[i]:
			return fmt.Sprintf("%q, want %q", got[i], want[i])
		}
	}
	return "none"
}

func testModel(t *testing.T, s core.Shard) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 7))
		m := Model{}
		write(t, s, func(b core.Batch) { b.DeleteRange([]byte("m"), []byte("n")) })
		for range 60 {
			for range 1 + r.IntN(20) {
				b := s.NewBatch()
				m.Apply(r, b, r.IntN(30))
				if r.IntN(3) == 0 {
					s.Commit(b, nil)
				} else {
					s.Commit(b, func(err error) {
						if err != nil {
							t.Errorf("done got %v", err)
						}
					})
				}
			}
			flush(t, s)
			m.Check(t, r, s)
		}
	}
}
