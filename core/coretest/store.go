package coretest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
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

func testDoneOrder(t *testing.T, s core.Shard) {
	const n = 3000
	var order []int // appended to by dones: they do not overlap
	last := make(chan error, 1)
	for i := range n {
		b := s.NewBatch()
		if i%3 > 0 { // empty ones have their place too
			b.Set(fmt.Appendf(nil, "k%d", i), nil)
		}
		s.Commit(b, func(err error) {
			order = append(order, i)
			if i == n-1 {
				last <- err
			}
		})
	}
	await(t, last)
	if len(order) != n || !slices.IsSorted(order) {
		t.Errorf("%d dones of %d, in order: %v", len(order), n, slices.IsSorted(order))
	}
}

// testDoneElsewhere: Commit does not call done itself, so that the caller may
// hold locks that done takes.
func testDoneElsewhere(t *testing.T, s core.Shard) {
	var mu sync.Mutex
	called := 0
	done := make(chan error, 1)
	mu.Lock()
	for range 100 {
		b := s.NewBatch()
		set(b, "k")
		s.Commit(b, func(error) {
			mu.Lock()
			defer mu.Unlock()
			called++
		})
	}
	s.Commit(s.NewBatch(), func(err error) { done <- err })
	mu.Unlock()
	await(t, done)
	mu.Lock()
	defer mu.Unlock()
	if called != 100 {
		t.Errorf("%d of 100 dones were called", called)
	}
}

func testDoneCommits(t *testing.T, s core.Shard) {
	const n = 1000
	last := make(chan error, 1)
	var next func(error)
	i := 0
	next = func(err error) {
		if i == n || err != nil {
			last <- err
			return
		}
		b := s.NewBatch()
		b.Set([]byte("n"), fmt.Append(nil, i))
		i++
		s.Commit(b, next)
	}
	next(nil)
	await(t, last)
	if v := get(t, s, "n"); string(v) != fmt.Sprint(n-1) {
		t.Errorf("after a chain of %d commits n is %s", n, v)
	}
}

func testVisible(t *testing.T, s core.Shard) {
	const n = 300
	errs := make(chan error, n)
	for i := range n {
		b := s.NewBatch()
		b.Set(fmt.Appendf(nil, "k%d", i), []byte{1})
		b.Set([]byte("last"), binary.BigEndian.AppendUint64(nil, uint64(i)))
		s.Commit(b, func(err error) {
			if err == nil {
				var found bool
				found, err = s.Get(fmt.Appendf(nil, "k%d", i), func([]byte) {})
				if !found {
					err = errors.Join(err, fmt.Errorf("batch %d is not visible in its own done", i))
				}
			}
			errs <- err
		})
	}
	for range n {
		await(t, errs)
	}
}

// testAtomic: a scan sees a batch whole or not at all.
func testAtomic(t *testing.T, s core.Shard) {
	const n, width = 2000, 8
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if ps := scan(t, s, "a", "b"); len(ps) != 0 && (len(ps) != width || ps[0].v != ps[width-1].v) {
					t.Errorf("half a batch is visible: %v", ps)
					return
				}
			}
		})
	}
	last := make(chan error, 1)
	for i := range n {
		b := s.NewBatch()
		if i%5 == 0 {
			b.DeleteRange([]byte("a"), []byte("b"))
		} else {
			for w := range width {
				b.Set(fmt.Appendf(nil, "a%d", w), fmt.Append(nil, i))
			}
		}
		s.Commit(b, func(err error) {
			if i == n-1 {
				last <- err
			}
		})
		if i%100 == 0 {
			flush(t, s)
		}
	}
	await(t, last)
	close(stop)
	wg.Wait()
}

// testCommitters: many goroutines, each with its own order, and readers who
// never see less than what done has told.
func testCommitters(t *testing.T, s core.Shard) {
	const committers, n = 8, 400
	var told [committers]atomic.Int64
	key := func(c int) []byte { return []byte{'c', byte('0' + c)} }
	stop := make(chan struct{})
	var readers, writers, dones sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var seen [committers]int64
			for i := 0; ; i = (i + 1) % committers {
				select {
				case <-stop:
					return
				default:
				}
				atLeast := told[i].Load()
				now := int64(0)
				if v := get(t, s, string(key(i))); v != nil {
					now = int64(binary.BigEndian.Uint64(v))
				}
				if now < atLeast || now < seen[i] {
					t.Errorf("committer %d: read %d after %d, when done had told %d", i, now, seen[i], atLeast)
					return
				}
				seen[i] = now
			}
		})
	}
	for c := range committers {
		dones.Add(n)
		writers.Go(func() {
			for i := int64(1); i <= n; i++ {
				b := s.NewBatch()
				b.Set(key(c), binary.BigEndian.AppendUint64(nil, uint64(i)))
				b.Set(binary.BigEndian.AppendUint64([]byte{'m', byte(c)}, uint64(i)), make([]byte, 100))
				s.Commit(b, func(err error) {
					defer dones.Done()
					if before := told[c].Swap(i); err != nil || before != i-1 {
						t.Errorf("committer %d: done of %d after that of %d: %v", c, i, before, err)
					}
				})
			}
		})
	}
	writers.Wait()
	dones.Wait()
	close(stop)
	readers.Wait()
	for c := range committers {
		if got := len(scan(t, s, string([]byte{'m', byte(c)}), string([]byte{'m', byte(c + 1)}))); got != n {
			t.Errorf("committer %d: %d of %d batches are there", c, got, n)
		}
	}
}

// eventually waits for what no done tells.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); {
		if time.Now().After(end) {
			t.Fatalf("it never happens that %s", what)
		}
		time.Sleep(time.Millisecond) // there is nothing to wait on: that is what is tested
	}
}

func testNoDone(t *testing.T, s core.Shard) {
	// Alone they become durable too.
	for i := range 100 {
		b := s.NewBatch()
		b.Set(fmt.Appendf(nil, "a%02d", i), nil)
		s.Commit(b, nil)
	}
	eventually(t, "batches without done become visible", func() bool { return len(scan(t, s, "a", "b")) == 100 })
	eventually(t, "Pending goes to 0", func() bool { return s.Pending() == 0 })

	// They keep their place in the order.
	for i := range 200 {
		b := s.NewBatch()
		b.Set([]byte("b"), fmt.Append(nil, i))
		b.Set(fmt.Appendf(nil, "b%03d", i), nil)
		if i%10 < 9 {
			s.Commit(b, nil)
			continue
		}
		done := make(chan error, 1)
		s.Commit(b, func(err error) { done <- err })
		await(t, done)
		if v := get(t, s, "b"); string(v) != fmt.Sprint(i) {
			t.Fatalf("after batch %d b is %s", i, v)
		}
		if got := len(scan(t, s, "b0", "c")); got != i+1 {
			t.Fatalf("after batch %d there are %d keys of batches", i, got)
		}
	}
}

// testBarrier: the done of an empty batch tells that everything before it is
// durable.
func testBarrier(t *testing.T, s core.Shard) {
	flush(t, s) // nothing before it
	for i := range 50 {
		for k := range 20 {
			b := s.NewBatch()
			b.Set(fmt.Appendf(nil, "%d %d", i, k), make([]byte, 50))
			s.Commit(b, nil)
		}
		if i%2 == 0 { // also when somebody else's done came first
			b := s.NewBatch()
			s.Commit(b, func(error) {})
		}
		flush(t, s)
		if n := s.Pending(); n != 0 {
			t.Fatalf("Pending is %d after a barrier", n)
		}
		if got := len(scan(t, s, fmt.Sprintf("%d ", i), fmt.Sprintf("%d!", i))); got != 20 {
			t.Fatalf("%d of 20 batches are visible after a barrier", got)
		}
	}
}

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 0))
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

func testBigValue(t *testing.T, s core.Shard) {
	big := noise(10<<20, 1)
	done := make(chan error, 4)
	for i := range 4 {
		b := s.NewBatch()
		if i == 1 {
			b.Set([]byte("big"), big)
		} else {
			b.Set(fmt.Appendf(nil, "small%d", i), nil)
		}
		s.Commit(b, func(err error) { done <- err })
	}
	for range 4 {
		await(t, done)
	}
	if v := get(t, s, "big"); !bytes.Equal(v, big) {
		t.Errorf("a value of %d bytes came back different (%d)", len(big), len(v))
	}
	write(t, s, func(b core.Batch) { b.Delete([]byte("big")) })
	if got := keys(scan(t, s, "a", "z")); got != "small0 small2 small3" {
		t.Errorf("there is %q", got)
	}
}

func testBigBatch(t *testing.T, s core.Shard) {
	const n, size = 80, 256 << 10 // 20 MiB
	write(t, s, func(b core.Batch) {
		for i := range n {
			b.Set([]byte{'y', byte(i)}, noise(size, uint64(i)))
		}
	})
	i := 0
	err := s.Scan([]byte("y"), []byte("z"), func(k, v []byte) bool {
		if k[1] != byte(i) || !bytes.Equal(v, noise(size, uint64(i))) {
			t.Errorf("chunk %d: key %q, %d bytes", i, k, len(v))
		}
		i++
		return true
	})
	if err != nil || i != n {
		t.Errorf("%d of %d chunks: %v", i, n, err)
	}
	write(t, s, func(b core.Batch) { b.DeleteRange([]byte("y"), []byte("z")) })
	if ps := scan(t, s, "a", "z"); ps != nil {
		t.Errorf("%d keys are left", len(ps))
	}
}

func testManySmall(t *testing.T, s core.Shard) {
	const n = 20_000
	var called atomic.Int64
	last := make(chan error, 1)
	for i := range n {
		b := s.NewBatch()
		b.Set(binary.BigEndian.AppendUint64([]byte("m"), uint64(i)), []byte("x"))
		s.Commit(b, func(err error) {
			if called.Add(1) == n {
				last <- err
			}
		})
		if p := s.Pending(); p < 0 {
			t.Fatalf("Pending is %d", p)
		}
	}
	await(t, last)
	if got := len(scan(t, s, "m", "n")); got != n {
		t.Errorf("%d of %d", got, n)
	}
}

func testClosed(t *testing.T, open func(t *testing.T) (core.Shard, func())) {
	s, closeStore := open(t)
	defer closeStore()
	const n = 500
	var called atomic.Int64
	for i := range n {
		b := s.NewBatch()
		b.Set(fmt.Appendf(nil, "%d", i), nil)
		s.Commit(b, func(err error) {
			if err == nil {
				called.Add(1)
			}
		})
	}
	closeStore()
	if got := called.Load(); got != n {
		t.Errorf("close did not wait: %d of %d dones were called", got, n)
	}
	closeStore()

	got := make(chan error, 1)
	s.Commit(s.NewBatch(), func(err error) { got <- err })
	select {
	case err := <-got:
		if err == nil {
			t.Error("a commit to a closed store succeeded")
		}
	case <-time.After(patience):
		t.Error("a commit to a closed store never hears")
	}
	s.Commit(s.NewBatch(), nil)
	if _, err := s.Get([]byte("0"), func([]byte) {}); err == nil {
		t.Error("a closed store answers Get")
	}
	if err := s.Scan(nil, []byte("\xff"), func(_, _ []byte) bool { return true }); err == nil {
		t.Error("a closed store answers Scan")
	}
}
