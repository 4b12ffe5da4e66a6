package coretest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

// TestStore checks that a store keeps the contract of core.Shard. open returns
// a new, empty store and what closes it, which may be called more than once.
// Run it with -race.
func TestStore(t *testing.T, open func(t *testing.T) (core.Shard, func())) {
	for _, c := range []struct {
		name string
		f    func(*testing.T, core.Shard)
	}{
		{"Keys", testKeys},
		{"Batch", testBatch},
		{"DeleteRange", testDeleteRange},
		{"ScanBounds", testScanBounds},
		{"Nested", testNested},
		{"Copies", testCopies},
		{"DoneOrder", testDoneOrder},
		{"DoneElsewhere", testDoneElsewhere},
		{"DoneCommits", testDoneCommits},
		{"Visible", testVisible},
		{"Atomic", testAtomic},
		{"Committers", testCommitters},
		{"NoDone", testNoDone},
		{"Barrier", testBarrier},
		{"BigValue", testBigValue},
		{"BigBatch", testBigBatch},
		{"ManySmall", testManySmall},
		{"Model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, closeStore := open(t)
			defer closeStore()
			c.f(t, s)
			if !t.Failed() {
				flush(t, s)
				if n := s.Pending(); n != 0 {
					t.Errorf("Pending is %d when nothing is pending", n)
				}
			}
		})
	}
	t.Run("Closed", func(t *testing.T) { testClosed(t, open) })
}

// patience is for what must happen at some time. It is long because the
// machine may be busy.
const patience = 30 * time.Second

// write commits what fill puts into a batch and waits for done.
func write(t testing.TB, s core.Shard, fill func(core.Batch)) {
	t.Helper()
	b := s.NewBatch()
	fill(b)
	done := make(chan error, 1)
	s.Commit(b, func(err error) { done <- err })
	await(t, done)
}

// flush waits until everything committed before is durable.
func flush(t testing.TB, s core.Shard) {
	t.Helper()
	write(t, s, func(core.Batch) {})
}

func await(t testing.TB, done <-chan error) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatalf("done got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("done is not called")
	}
}

// get returns a copy of a value, nil if the key is not there.
func get(t testing.TB, s core.Shard, key string) []byte {
	t.Helper()
	var v []byte
	found, err := s.Get([]byte(key), func(b []byte) { v = append([]byte{}, b...) })
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	if found != (v != nil) {
		t.Fatalf("Get(%q) says found: %v, but the value is %v", key, found, v)
	}
	return v
}

type pair struct{ k, v string }

func scan(t testing.TB, s core.Shard, lo, hi string) []pair {
	t.Helper()
	var all []pair
	err := s.Scan([]byte(lo), []byte(hi), func(k, v []byte) bool {
		all = append(all, pair{string(k), string(v)})
		return true
	})
	if err != nil {
		t.Fatalf("Scan(%q, %q): %v", lo, hi, err)
	}
	return all
}

func keys(ps []pair) string {
	var b bytes.Buffer
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.k)
	}
	return b.String()
}

func set(b core.Batch, ks ...string) {
	for _, k := range ks {
		b.Set([]byte(k), []byte(k))
	}
}

func testKeys(t *testing.T, s core.Shard) {
	if v := get(t, s, "a"); v != nil {
		t.Fatalf("an empty store has a value: %q", v)
	}
	if ps := scan(t, s, "", "\xff"); ps != nil {
		t.Fatalf("an empty store has keys: %v", ps)
	}
	write(t, s, func(b core.Batch) { set(b, "a", "ab", "b") })
	for _, k := range []string{"a", "ab", "b"} {
		if v := get(t, s, k); string(v) != k {
			t.Errorf("%q is %q", k, v)
		}
	}
	for _, k := range []string{"", "aa", "abc", "c"} {
		if v := get(t, s, k); v != nil {
			t.Errorf("%q is there: %q", k, v)
		}
	}
	write(t, s, func(b core.Batch) {
		b.Set([]byte("a"), []byte("new"))
		b.Set([]byte("b"), nil)
		b.Delete([]byte("ab"))
		b.Delete([]byte("never there"))
	})
	if v := get(t, s, "a"); string(v) != "new" {
		t.Errorf("a is %q after it was set again", v)
	}
	if v := get(t, s, "ab"); v != nil {
		t.Errorf("ab is there after it was deleted: %q", v)
	}
	if v := get(t, s, "b"); v == nil || len(v) != 0 {
		t.Errorf("b has no value, but is %q (%v)", v, v == nil)
	}
	write(t, s, func(b core.Batch) { set(b, "ab") })
	if v := get(t, s, "ab"); string(v) != "ab" {
		t.Errorf("ab is %q after it was deleted and set again", v)
	}
}

func testBatch(t *testing.T, s core.Shard) {
	b := s.NewBatch()
	if b.Len() != 0 || b.Size() != 0 {
		t.Errorf("a new batch has Len %d and Size %d", b.Len(), b.Size())
	}
	b.Set([]byte("k"), make([]byte, 1000))
	if b.Len() != 1 || b.Size() < 1001 || b.Size() > 1100 {
		t.Errorf("with 1001 bytes in one change: Len %d and Size %d", b.Len(), b.Size())
	}
	b.Delete([]byte("k"))
	b.DeleteRange([]byte("k"), []byte("l"))
	if b.Len() != 3 {
		t.Errorf("three changes, but Len is %d", b.Len())
	}
	done := make(chan error, 1)
	s.Commit(b, func(err error) { done <- err })
	await(t, done)

	// The order inside a batch counts.
	write(t, s, func(b core.Batch) {
		b.Set([]byte("a"), []byte("1"))
		b.Set([]byte("a"), []byte("2"))
		b.Set([]byte("b"), []byte("1"))
		b.Delete([]byte("b"))
		b.Delete([]byte("c"))
		b.Set([]byte("c"), []byte("1"))
	})
	if got := fmt.Sprint(scan(t, s, "a", "z")); got != "[{a 2} {c 1}]" {
		t.Errorf("the last change of a batch must win: %s", got)
	}
}

func testDeleteRange(t *testing.T, s core.Shard) {
	all := func(b core.Batch) { set(b, "a", "b", "b\x00", "c", "d", "e") }
	for _, c := range []struct {
		name string
		fill func(core.Batch)
		want string
	}{
		{"from lo up to hi", func(b core.Batch) { b.DeleteRange([]byte("b"), []byte("d")) }, "a d e"},
		{"between keys", func(b core.Batch) { b.DeleteRange([]byte("aa"), []byte("bb")) }, "a c d e"},
		{"one key", func(b core.Batch) { b.DeleteRange([]byte("b"), []byte("b\x00")) }, "a b\x00 c d e"},
		{"nothing there", func(b core.Batch) { b.DeleteRange([]byte("x"), []byte("y")) }, "a b b\x00 c d e"},
		{"empty", func(b core.Batch) { b.DeleteRange([]byte("b"), []byte("b")) }, "a b b\x00 c d e"},
		{"inverted", func(b core.Batch) { b.DeleteRange([]byte("d"), []byte("b")) }, "a b b\x00 c d e"},
		{"everything", func(b core.Batch) { b.DeleteRange(nil, []byte("\xff")) }, ""},
		{"not what comes later in the batch", func(b core.Batch) {
			set(b, "bb")
			b.DeleteRange([]byte("b"), []byte("d"))
			set(b, "c", "cc")
		}, "a c cc d e"},
		{"twice, overlapping", func(b core.Batch) {
			b.DeleteRange([]byte("a"), []byte("c"))
			set(b, "b")
			b.DeleteRange([]byte("b"), []byte("e"))
			set(b, "d")
		}, "d e"},
	} {
		write(t, s, func(b core.Batch) {
			b.DeleteRange(nil, []byte("\xff"))
			all(b)
		})
		write(t, s, c.fill)
		if got := keys(scan(t, s, "", "\xff")); got != c.want {
			t.Errorf("%s: %q is left, want %q", c.name, got, c.want)
		}
	}
}

func testScanBounds(t *testing.T, s core.Shard) {
	// In the order of the bytes, not of any language.
	list := []string{"\x00", "A", "a", "a\x00", "a\x00b", "aa", "a\xff", "b", "b\x01\xff", "\x80", "\xfe\xff"}
	write(t, s, func(b core.Batch) {
		for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(list)) {
			set(b, list[i])
		}
	})
	bounds := append([]string{"\x01", "ab", "c", "\xff"}, list...)
	for _, lo := range bounds {
		for _, hi := range bounds {
			var want []pair
			for _, k := range list {
				if k >= lo && k < hi {
					want = append(want, pair{k, k})
				}
			}
			if got := scan(t, s, lo, hi); !slices.Equal(got, want) {
				t.Errorf("Scan(%q, %q) = %q, want %q", lo, hi, keys(got), keys(want))
			}
		}
	}
	for stop := 1; stop <= len(list); stop++ {
		n := 0
		err := s.Scan(nil, []byte("\xff"), func(k, _ []byte) bool {
			if string(k) != list[n] {
				t.Errorf("key %d is %q, want %q", n, k, list[n])
			}
			n++
			return n < stop
		})
		if err != nil || n != stop {
			t.Errorf("a scan that was stopped after %d keys saw %d: %v", stop, n, err)
		}
	}
}

// testNested: what is called back may use the store.
func testNested(t *testing.T, s core.Shard) {
	write(t, s, func(b core.Batch) { set(b, "a", "b", "c") })
	done := make(chan error, 3)
	n := 0
	err := s.Scan([]byte("a"), []byte("z"), func(k, _ []byte) bool {
		if v := get(t, s, string(k)); string(v) != string(k) {
			t.Errorf("%q is %q inside of a scan", k, v)
		}
		// The deletes below are seen as soon as they are durable.
		if got := keys(scan(t, s, "a", "c")); n == 0 && got != "a b" {
			t.Errorf("a scan inside of a scan sees %q", got)
		}
		b := s.NewBatch()
		b.Delete(k)
		s.Commit(b, func(err error) { done <- err })
		n++
		return true
	})
	if err != nil || n != 3 {
		t.Errorf("a scan during which its keys are deleted saw %d of 3: %v", n, err)
	}
	for range n {
		await(t, done)
	}
	if ps := scan(t, s, "a", "z"); ps != nil {
		t.Errorf("%v are left", ps)
	}
}

// testCopies: a batch does not keep what it was given.
func testCopies(t *testing.T, s core.Shard) {
	b := s.NewBatch()
	k, v := []byte("key"), []byte("value")
	b.Set(k, v)
	copy(k, "dog")
	b.Set(k, v)
	b.Delete(k)
	copy(k, "abc")
	copy(v, "xxxxx")
	b.DeleteRange(k, v)
	copy(k, "zzz")
	copy(v, "zzzzz")
	b.Set(k, v)
	done := make(chan error, 1)
	s.Commit(b, func(err error) { done <- err })
	copy(v, "yyyyy")
	await(t, done)
	if got := fmt.Sprint(scan(t, s, "a", "~")); got != "[{zzz zzzzz}]" {
		t.Errorf("a batch changed with the caller's slices: %s", got)
	}
}
