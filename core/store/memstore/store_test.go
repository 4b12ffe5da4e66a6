package memstore_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/coretest"
	"github.com/narumq/naru/core/store/memstore"
)

func closer(t *testing.T, s *memstore.Store) func() {
	return func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestStore(t *testing.T) {
	coretest.TestStore(t, func(t *testing.T) (core.Shard, func()) {
		s := memstore.New()
		return s, closer(t, s)
	})
}

func TestReopen(t *testing.T) {
	var last *memstore.Store
	coretest.TestReopen(t, func(t *testing.T) (core.Shard, func()) {
		s := memstore.New()
		if last != nil {
			s = memstore.Open(last.Snapshot(nil))
		}
		last = s
		return s, closer(t, s)
	})
}

// contents returns the keys of a snapshot.
func contents(t *testing.T, sn *memstore.Snapshot) string {
	t.Helper()
	s := memstore.Open(sn)
	defer closer(t, s)()
	var ks []string
	if err := s.Scan(nil, []byte("\xff"), func(k, _ []byte) bool {
		ks = append(ks, string(k))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(ks, " ")
}

func set(s *memstore.Store, done func(error), ks ...string) {
	b := s.NewBatch()
	for _, k := range ks {
		b.Set([]byte(k), nil)
	}
	s.Commit(b, done)
}

// The bubble also shows that Close leaves no goroutine behind.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		defer closer(t, s)()
		told := 0
		done := func(err error) {
			if err != nil {
				t.Error(err)
			}
			told++
		}
		set(s, done, "a")
		synctest.Wait()
		s.Hold()
		set(s, done, "b", "c")
		set(s, nil, "d")
		synctest.Wait()
		if told != 1 {
			t.Errorf("%d dones were called while held, want that of before", told)
		}
		if s.Pending() == 0 {
			t.Error("nothing is pending while held")
		}
		if found, _ := s.Get([]byte("b"), func([]byte) {}); found {
			t.Error("what is held is visible")
		}
		sn := s.Snapshot(nil)
		if got := contents(t, sn); got != "a" {
			t.Errorf("durable while held: %q, want a", got)
		}
		s.Release()
		synctest.Wait()
		if told != 2 || s.Pending() != 0 {
			t.Errorf("after Release: %d dones, %d pending", told, s.Pending())
		}
		if got := contents(t, s.Snapshot(nil)); got != "a b c d" {
			t.Errorf("durable after Release: %q", got)
		}
		if got := contents(t, sn); got != "a" {
			t.Errorf("the old snapshot has changed: %q", got)
		}
	})
}

// A crash leaves a prefix of what was held, and each batch whole.
func TestSnapshotPrefix(t *testing.T) {
	s := memstore.New()
	defer closer(t, s)()
	s.Hold()
	want := map[string]bool{"": true}
	var all []string
	for i := range 4 {
		k, l := fmt.Sprintf("%da", i), fmt.Sprintf("%db", i)
		set(s, nil, k, l)
		all = append(all, k, l)
		want[strings.Join(all, " ")] = true
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		got := contents(t, s.Snapshot(r))
		if _, ok := want[got]; !ok {
			t.Fatalf("a crash left %q", got)
		}
		want[got] = false
	}
	for k, never := range want {
		if never {
			t.Errorf("in 200 crashes none left %q", k)
		}
	}
}

func TestCloseHeld(t *testing.T) {
	s := memstore.New()
	s.Hold()
	told := false
	set(s, func(err error) { told = err == nil }, "a")
	if err := s.Close(); err != nil || !told {
		t.Errorf("Close with a held commit: %v, done called: %v", err, told)
	}
	if got := contents(t, s.Snapshot(nil)); got != "a" {
		t.Errorf("it left %q", got)
	}
}
