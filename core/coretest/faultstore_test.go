package coretest_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/coretest"
	"github.com/narumq/naru/core/store/memstore"
)

func TestFaultBehaves(t *testing.T) {
	coretest.TestStore(t, func(t *testing.T) (core.Shard, func()) {
		s := memstore.New()
		f := coretest.NewFault(s)
		return f, func() {
			f.Close()
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A log notes what the dones were told.
type log struct {
	f    *coretest.Fault
	mu   sync.Mutex
	told []string // guarded by mu
}

func (l *log) commit(key string) {
	b := l.f.NewBatch()
	b.Set([]byte(key), []byte(key))
	l.f.Commit(b, func(err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.told = append(l.told, fmt.Sprint(key, " ", err))
	})
}

func (l *log) check(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.told, want) {
		t.Errorf("dones told %q, want %q", l.told, want)
	}
	l.told = nil
}

func withFault(t *testing.T, f func(*testing.T, *log)) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New()
		fault := coretest.NewFault(s)
		f(t, &log{f: fault})
		fault.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFaultFailAfter(t *testing.T) {
	withFault(t, func(t *testing.T, l *log) {
		l.commit("a")
		l.f.FailAfter(2, errors.New("disk on fire"))
		for _, k := range []string{"b", "c", "d", "e"} {
			l.commit(k)
		}
		b := l.f.NewBatch()
		b.Set([]byte("f"), nil)
		l.f.Commit(b, nil)
		l.check(t, "a <nil>", "b <nil>", "c <nil>", "d disk on fire", "e disk on fire")
		n := 0
		if err := l.f.Scan([]byte("a"), []byte("z"), func(_, _ []byte) bool { n++; return true }); err != nil || n != 3 {
			t.Errorf("%d keys are visible, want those of the 3 commits that succeeded: %v", n, err)
		}
		if got := l.f.Commits(); got != 6 {
			t.Errorf("Commits is %d, want 6", got)
		}
	})
}

func TestFaultDelay(t *testing.T) {
	withFault(t, func(t *testing.T, l *log) {
		l.f.Delay(30 * time.Millisecond)
		l.commit("a")
		time.Sleep(10 * time.Millisecond) // of synctest: everything below is exact
		l.commit("b")
		l.f.Delay(0)
		l.commit("c") // not before b
		time.Sleep(20*time.Millisecond - 1)
		l.check(t)
		if l.f.Pending() == 0 {
			t.Error("nothing is pending while two commits wait")
		}
		time.Sleep(time.Nanosecond)
		l.check(t, "a <nil>")
		time.Sleep(10 * time.Millisecond)
		l.check(t, "b <nil>", "c <nil>")
		if n := l.f.Pending(); n != 0 {
			t.Errorf("Pending is %d", n)
		}
	})
}

func TestFaultHold(t *testing.T) {
	withFault(t, func(t *testing.T, l *log) {
		l.f.Hold()
		l.commit("a")
		l.commit("b")
		l.check(t)
		if found, err := l.f.Get([]byte("a"), func([]byte) {}); found || err != nil {
			t.Errorf("what is held is visible: %v, %v", found, err)
		}
		l.f.Release()
		l.check(t, "a <nil>", "b <nil>")
		l.f.Hold()
		l.commit("c") // Close passes it on
	})
}

func TestFaultLends(t *testing.T) {
	withFault(t, func(t *testing.T, l *log) {
		l.commit("a")
		l.check(t, "a <nil>")
		var kept [][]byte
		keep := func(b []byte) { kept = append(kept, b) }
		if _, err := l.f.Get([]byte("a"), keep); err != nil {
			t.Fatal(err)
		}
		if err := l.f.Scan([]byte("a"), []byte("b"), func(k, v []byte) bool { keep(k); keep(v); return true }); err != nil {
			t.Fatal(err)
		}
		for _, b := range kept {
			if string(b) != "\xdb" {
				t.Errorf("a slice that was kept still reads %q", b)
			}
		}
		if found, _ := l.f.Get([]byte("a"), func(v []byte) {
			if string(v) != "a" {
				t.Errorf("the store itself has %q", v)
			}
		}); !found {
			t.Error("a is lost")
		}
	})
}
