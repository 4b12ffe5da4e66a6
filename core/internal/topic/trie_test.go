package topic

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"unsafe"
)

// randomOf joins up to six of the levels.
func randomOf(r *rand.Rand, levels []string, y Syntax) string {
	s := make([]string, r.IntN(7))
	for i := range s {
		s[i] = levels[r.IntN(len(levels))]
	}
	return strings.Join(s, string(y.Separator))
}

// The trie against a set of filters, over random changes.
func TestTrieModel(t *testing.T) {
	// Longer than a word of a set, and than a set on the stack.
	long := []string{strings.Repeat("long", 10), strings.Repeat("longer", 20)}
	// Enough for a node to have more children than fit in a slice.
	var many []string
	for i := range 20 {
		many = append(many, fmt.Sprint("l", i))
	}
	for _, y := range []Syntax{MQTT, AMQP} {
		words := []string{"a", "b", "", "$x", "a" + string(y.One)}
		alphabets := [][]string{
			append(words, string(y.One), string(y.Many)),
			append(many, string(y.One), string(y.Many)),
			append(long, string(y.One), string(y.Many)),
		}
		for seed := range uint64(6) {
			levels := alphabets[seed%3]
			t.Run(fmt.Sprintf("%c/seed %d", y.Separator, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 0))
				trie, model := New[string](y), map[string]bool{}
				for step := range 1500 {
					filter := randomOf(r, levels, y)
					leaf := trie.Get(filter)
					if (leaf != nil) != model[filter] || leaf != nil && *leaf != filter {
						t.Fatalf("Get(%q) = %v, present %v", filter, leaf, model[filter])
					}
					puts := 80 // in 100; so that the trie grows and shrinks
					if step%500 > 300 {
						puts = 20
					}
					if r.IntN(100) < puts {
						put := trie.Put(filter)
						if leaf != nil && put != leaf {
							t.Fatalf("Put(%q) made another leaf", filter)
						}
						if leaf == nil && *put != "" {
							t.Fatalf("Put(%q) made a leaf that is not zero: %q", filter, *put)
						}
						*put, model[filter] = filter, true
					} else {
						if victims := slices.Sorted(maps.Keys(model)); r.IntN(2) == 0 && len(victims) > 0 {
							filter = victims[r.IntN(len(victims))]
						}
						trie.Delete(filter)
						delete(model, filter)
					}
					compare(t, trie, model, randomOf(r, levels, y))
				}
				walked := map[string]bool{}
				trie.Walk(func(filter string, leaf *string) bool {
					if *leaf != filter || walked[filter] {
						t.Fatalf("Walk: %q with the leaf of %q, seen before: %v", filter, *leaf, walked[filter])
					}
					walked[filter] = true
					return true
				})
				if !maps.Equal(walked, model) {
					t.Fatalf("Walk saw %d filters of %d", len(walked), len(model))
				}
				for filter := range model {
					trie.Delete(filter)
				}
				checkEmpty(t, trie)
			})
		}
	}
}

func TestWalkStops(t *testing.T) {
	trie := New[int](AMQP)
	for _, f := range []string{"x", "y", "#", "*", "a.#", "*.a", "#.a", "b.*", "c.*.d"} {
		trie.Put(f)
	}
	for stop := 1; stop <= trie.Len(); stop++ {
		calls := 0
		trie.Walk(func(string, *int) bool { calls++; return calls < stop })
		if calls != stop {
			t.Errorf("%d calls, want %d", calls, stop)
		}
	}
}

// Readers share a trie; the race detector sees if one of them writes.
func TestConcurrentReaders(t *testing.T) {
	trie := New[int](AMQP)
	for i := range 100 {
		trie.Put(fmt.Sprintf("#.%d.*.#", i))
		trie.Put(fmt.Sprintf("a.%d.#", i))
		trie.Put(fmt.Sprintf("a.%d", i))
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for i := range 100 {
				n, address := 0, fmt.Sprintf("a.%d", i)
				trie.Match([]byte(address), func(*int) { n++ })
				if n != 2 || trie.Get(address) == nil || trie.Len() != 300 {
					t.Errorf("%q: %d leaves, want 2", address, n)
				}
			}
			trie.Walk(func(string, *int) bool { return true })
		})
	}
	readers.Wait()
}

// Children move into a map and back, and none is lost.
func TestNodeManyChildren(t *testing.T) {
	trie := New[string](MQTT)
	model := map[string]bool{}
	for i := range 50 {
		f := fmt.Sprintf("a/%d/+", i)
		*trie.Put(f), model[f] = f, true
		compare(t, trie, model, "a/7/x")
	}
	if n := trie.root.child("a"); n.lots == nil || n.few != nil {
		t.Error("50 children are still a slice")
	}
	for i := range 49 {
		f := fmt.Sprintf("a/%d/+", i)
		trie.Delete(f)
		delete(model, f)
		compare(t, trie, model, "a/49/x")
		compare(t, trie, model, fmt.Sprintf("a/%d/x", i+1))
	}
	if n := trie.root.child("a"); n.lots != nil || len(n.few) != 1 {
		t.Error("one child is still in a map")
	}
}

func TestDeleteKeepsOthers(t *testing.T) {
	for _, others := range [][]string{
		{"a/+/c"}, {"a/+"}, {"a/#"}, {"a/+/c/#"}, {"a/+/+"}, {"a/+/c/d/e"}, {"+/+/c/d"}, {"#", "+"},
	} {
		trie, model := New[string](MQTT), map[string]bool{}
		for _, f := range others {
			*trie.Put(f), model[f] = f, true
		}
		*trie.Put("a/+/c/d") = "a/+/c/d"
		trie.Delete("a/+/c/d")
		trie.Delete("a/+/c/d") // not there any more
		trie.Delete("a/+/x/d") // never was
		for _, address := range []string{"a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"} {
			compare(t, trie, model, address)
		}
		for _, f := range others {
			trie.Delete(f)
		}
		checkEmpty(t, trie)
	}
}

// The node of a short level must not keep the long filter it came with.
func TestLongFilterIsNotPinned(t *testing.T) {
	trie := New[int](MQTT)
	for _, test := range []struct {
		filter string
		shared bool
	}{
		{"a/+/short", true},
		{"b/+/" + strings.Repeat("long", 1000), false},
	} {
		trie.Put(test.filter)
		for _, e := range trie.root.few {
			if e.level == test.filter[:1] && (unsafe.StringData(e.level) == unsafe.StringData(test.filter)) != test.shared {
				t.Errorf("filter of %d bytes: shared %v", len(test.filter), !test.shared)
			}
		}
	}
}

func TestZeroCost(t *testing.T) {
	trie := New[int](MQTT)
	trie.Match([]byte("a"), func(*int) { t.Error("called") })
	trie.Walk(func(string, *int) bool { t.Error("called"); return true })
	trie.Delete("a")
	trie.Delete("a/+")
	if trie.Get("a") != nil || trie.Get("#") != nil || trie.Len() != 0 {
		t.Error("an empty trie has filters")
	}
}
