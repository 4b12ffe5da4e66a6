package coretest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

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
