package pebblestore

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A brokenFS fails those operations that match, when it is told to begin.
type brokenFS struct {
	*errorfs.FS
	broken atomic.Bool
	hit    atomic.Bool
}

func newBrokenFS(err error, match func(op errorfs.Op, file string) bool) *brokenFS {
	f := new(brokenFS)
	f.FS = errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !f.broken.Load() || !match(op, filepath.Base(op.Path)) {
			return nil
		}
		f.hit.Store(true)
		return err
	}))
	return f
}

// ReuseForWrite is here because Pebble's own returns a file that never fails.
func (f *brokenFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.ReuseForWrite(from, to, c)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return f.OpenReadWrite(to, c)
}

const patience = 30 * time.Second

// TestFailure: the first error is the last. What was told to be durable stays
// to be read, nothing else is ever seen or told, Fail hears once, and Close
// ends.
func TestFailure(t *testing.T) {
	isManifest := func(file string) bool { return strings.HasPrefix(file, "MANIFEST") }
	for _, c := range []struct {
		name  string
		sync  string
		match func(op errorfs.Op, file string) bool
	}{
		{"log sync", SyncAlways, func(op errorfs.Op, file string) bool {
			return isLog(file) && (op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync)
		}},
		{"log write", SyncAlways, func(op errorfs.Op, file string) bool {
			return isLog(file) && op.Kind == errorfs.OpFileWrite
		}},
		{"log write", SyncOS, func(op errorfs.Op, file string) bool {
			return isLog(file) && op.Kind == errorfs.OpFileWrite
		}},
		{"log sync", SyncInterval, func(op errorfs.Op, file string) bool {
			return isLog(file) && (op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync)
		}},
		{"new log", SyncAlways, func(op errorfs.Op, file string) bool {
			return isLog(file) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		}},
		{"manifest write", SyncAlways, func(op errorfs.Op, file string) bool {
			return isManifest(file) && op.Kind == errorfs.OpFileWrite
		}},
		{"manifest sync", SyncAlways, func(op errorfs.Op, file string) bool {
			return isManifest(file) && op.Kind == errorfs.OpFileSync
		}},
		{"table write", SyncAlways, func(op errorfs.Op, file string) bool {
			return filepath.Ext(file) == ".sst" && op.Kind == errorfs.OpFileWrite
		}},
	} {
		t.Run(c.name+" "+c.sync, func(t *testing.T) {
			t.Parallel()
			testFailure(t, c.sync, c.match)
		})
	}
}

func testFailure(t *testing.T, sync string, match func(errorfs.Op, string) bool) {
	fs := newBrokenFS(syscall.EIO, match)
	o := small(fs)
	o.Sync, o.Interval = sync, 10*time.Millisecond
	failed := make(chan error, 10)
	o.Fail = func(err error) { failed <- err }
	s, err := Open("store", o)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(n int, done func(error)) {
		b := s.NewBatch()
		b.Set(fmt.Appendf(nil, "%09d", n), make([]byte, 1000))
		s.Commit(b, done)
	}
	// Some at a time are under way, so that there are some behind the error.
	told := make(chan error, 8)
	n, good, bad := 0, 0, 0
	for deadline := time.Now().Add(patience); bad < 100; n++ {
		if n == 500 {
			fs.broken.Store(true)
		}
		commit(n, func(err error) { told <- err })
		if n < 8 {
			continue
		}
		var err error
		select {
		case err = <-told:
		case <-time.After(patience):
			t.Fatalf("after %d good and %d bad dones no more come", good, bad)
		}
		switch {
		case err == nil && bad > 0:
			t.Fatalf("done says success after %d errors", bad)
		case err == nil:
			good++
		case !errors.Is(err, syscall.EIO) && !strings.Contains(err.Error(), syscall.EIO.Error()):
			t.Fatalf("done says %v", err)
		default:
			bad++
		}
		if time.Now().After(deadline) {
			t.Fatalf("no error after %d dones; injected: %v", good, fs.hit.Load())
		}
	}
	select {
	case err := <-failed:
		if !strings.Contains(err.Error(), syscall.EIO.Error()) {
			t.Errorf("Fail heard %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Fail did not hear")
	}
	// Under a log that is synced for each group the readers see exactly what
	// was told; without, also what was written after it.
	seen := 0
	if err := s.Scan(nil, []byte("\xff"), func(_, _ []byte) bool { seen++; return true }); err != nil {
		t.Errorf("reading after the failure: %v", err)
	}
	if seen < good || seen > good && sync == SyncAlways && strings.HasPrefix(t.Name(), "TestFailure/log") {
		t.Errorf("%d commits are visible, %d were told to be durable", seen, good)
	}
	if err := s.Backup("backup"); err == nil {
		t.Error("a broken store makes a backup")
	}

	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err == nil {
			t.Error("Close of a broken store is content")
		}
	case <-time.After(patience):
		t.Fatal("Close of a broken store does not end")
	}
	if len(failed) > 0 {
		t.Errorf("Fail heard again: %v", <-failed)
	}
}

// A full disk while tables are written is no failure: what is in the log is
// safe, and Pebble goes on when there is space.
func TestNoSpaceForTables(t *testing.T) {
	fs := newBrokenFS(syscall.ENOSPC, func(op errorfs.Op, file string) bool {
		return filepath.Ext(file) == ".sst" && op.Kind == errorfs.OpCreate
	})
	o := small(fs)
	o.Fail = func(err error) { t.Errorf("Fail hears %v", err) }
	s, closeStore := open(t, "store", o)
	defer closeStore()
	fs.broken.Store(true)
	last := make(chan error, 1)
	const n = 2000 // far more than the memtables hold
	for i := range n {
		b := s.NewBatch()
		b.Set(fmt.Append(nil, i), make([]byte, 1000))
		s.Commit(b, func(err error) {
			if err != nil || i == n-1 {
				last <- err
			}
		})
	}
	for end := time.Now().Add(patience); !fs.hit.Load(); time.Sleep(time.Millisecond) { // Pebble tells nobody
		if time.Now().After(end) {
			t.Fatal("no table was written")
		}
	}
	fs.broken.Store(false)
	select {
	case err := <-last:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("the store does not go on when there is space again")
	}
}

// What a disk says while the store is opened is returned.
func TestOpenFails(t *testing.T) {
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpList} {
		fs := newBrokenFS(syscall.EIO, func(op errorfs.Op, file string) bool { return op.Kind == kind })
		fs.broken.Store(true)
		s, err := Open("store", Options{FS: fs, Fail: func(err error) { t.Errorf("Fail hears %v", err) }})
		if err == nil {
			t.Errorf("operation %v fails and Open succeeds", kind)
			s.Close()
		}
	}
}
