package pebblestore

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/coretest"
)

// small has memtables so small that every test fills many: tables, compactions
// and used logs take part.
func small(fs vfs.FS) Options { return Options{FS: fs, MemTableSize: 64 << 10, CacheSize: 1 << 20} }

func open(t testing.TB, dir string, o Options) (*Store, func()) {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
}

func TestStore(t *testing.T) {
	for _, c := range []struct {
		name string
		opt  func() Options
	}{
		{"disk", func() Options { return Options{} }},
		{"small", func() Options { return small(vfs.NewMem()) }},
		{"interval", func() Options { return Options{Sync: SyncInterval, Interval: time.Millisecond} }},
		{"os", func() Options { return Options{FS: vfs.NewMem(), Sync: SyncOS} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			if underRace && c.name != "small" {
				t.Skip("Pebble checks itself in race builds, which takes minutes")
			}
			t.Parallel()
			coretest.TestStore(t, func(t *testing.T) (core.Shard, func()) { return open(t, t.TempDir(), c.opt()) })
		})
	}
}

func TestReopen(t *testing.T) {
	for _, sync := range []string{SyncAlways, SyncInterval, SyncOS} {
		t.Run(sync, func(t *testing.T) {
			if underRace && sync != SyncAlways {
				t.Skip("Pebble checks itself in race builds, which takes minutes")
			}
			dir := t.TempDir()
			coretest.TestReopen(t, func(t *testing.T) (core.Shard, func()) { return open(t, dir, Options{Sync: sync}) })
		})
	}
	t.Run("small", func(t *testing.T) {
		fs := vfs.NewMem()
		coretest.TestReopen(t, func(t *testing.T) (core.Shard, func()) { return open(t, "store", small(fs)) })
	})
}

// write commits one key and waits.
func write(t testing.TB, s *Store, key string) {
	t.Helper()
	b := s.NewBatch()
	b.Set([]byte(key), []byte(key))
	done := make(chan error)
	s.Commit(b, func(err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatalf("commit %q: %v", key, err)
	}
}

func keys(t testing.TB, s *Store) string {
	t.Helper()
	var ks []string
	if err := s.Scan(nil, []byte("\xff"), func(k, _ []byte) bool {
		ks = append(ks, string(k))
		return true
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(ks, " ")
}

// A batch without done is on disk 100 ms later, and until then nobody sees it.
// One with a done takes it along. The bubble also shows that Close leaves no
// goroutine behind.
func TestLinger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewCrashableMem()
		s, closeStore := open(t, "store", Options{FS: fs})
		durable := func() string {
			after, closeAfter := open(t, "store", Options{FS: fs.CrashClone(vfs.CrashCloneCfg{})})
			defer closeAfter()
			return keys(t, after)
		}
		b := s.NewBatch()
		b.Set([]byte("a"), nil)
		s.Commit(b, nil)
		time.Sleep(20 * time.Millisecond)
		if got := keys(t, s) + durable(); got != "" || s.Pending() == 0 {
			t.Errorf("20 ms later %q is there and %d bytes are pending", got, s.Pending())
		}
		time.Sleep(80 * time.Millisecond)
		if v, d := keys(t, s), durable(); v != "a" || d != "a" || s.Pending() != 0 {
			t.Errorf("100 ms later %q is visible, %q durable, %d bytes pending", v, d, s.Pending())
		}

		before := s.Metrics().Groups
		b = s.NewBatch()
		b.Set([]byte("b"), nil)
		s.Commit(b, nil)
		began := time.Now()
		write(t, s, "c")
		if got := durable(); got != "a b c" || time.Since(began) != 0 || s.Metrics().Groups != before+1 {
			t.Errorf("%q is durable after %v and %d syncs", got, time.Since(began), s.Metrics().Groups-before)
		}

		// Too much to wait for company.
		for range 5 {
			b = s.NewBatch()
			b.Set([]byte("d"), make([]byte, 1<<20))
			s.Commit(b, nil)
		}
		synctest.Wait()
		if got := durable(); got != "a b c d" || time.Since(began) != 0 {
			t.Errorf("%q is durable after 5 MiB and %v", got, time.Since(began))
		}
		closeStore()
	})
}

// A slowSync stops whoever syncs the log, until it is let go.
type slowSync struct {
	vfs.FS
	begun chan struct{}
	end   chan struct{}
}

func (f *slowSync) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	if err == nil && filepath.Ext(name) == ".log" {
		file = &slowFile{file, f}
	}
	return file, err
}

type slowFile struct {
	vfs.File
	fs *slowSync
}

func (f *slowFile) SyncData() error {
	f.fs.begun <- struct{}{}
	<-f.fs.end
	return f.File.SyncData()
}

// Pebble shows what is in memory; we only what is on disk.
func TestNotVisibleBeforeDurable(t *testing.T) {
	fs := &slowSync{vfs.NewMem(), make(chan struct{}), make(chan struct{})}
	s, closeStore := open(t, "store", Options{FS: fs})
	commit := func(key string) chan error {
		b := s.NewBatch()
		b.DeleteRange(nil, []byte("\xff"))
		b.Set([]byte(key), []byte(key))
		done := make(chan error, 1)
		s.Commit(b, func(err error) { done <- err })
		return done
	}
	let := func(done chan error) {
		fs.end <- struct{}{}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	first := commit("a")
	<-fs.begun
	if got := keys(t, s); got != "" {
		t.Errorf("%q is visible during the sync", got)
	}
	let(first)
	if got := keys(t, s); got != "a" {
		t.Errorf("%q is visible after the sync", got)
	}
	second := commit("b")
	<-fs.begun
	if got := keys(t, s); got != "a" {
		t.Errorf("%q is visible during the second sync", got)
	}
	if found, err := s.Get([]byte("b"), func([]byte) {}); found || err != nil {
		t.Errorf("Get finds b during its sync: %v, %v", found, err)
	}
	if found, err := s.Get([]byte("a"), func([]byte) {}); !found || err != nil {
		t.Errorf("Get does not find a before its removal is durable: %v, %v", found, err)
	}
	third, fourth := commit("c"), commit("d") // gather
	if s.Pending() == 0 {
		t.Error("nothing is pending during a sync")
	}
	let(second)
	<-fs.begun
	if got := keys(t, s); got != "b" {
		t.Errorf("%q is visible during the third sync", got)
	}
	let(third)
	if err := <-fourth; err != nil { // in the same sync
		t.Fatal(err)
	}
	if m := s.Metrics(); m.Groups != 3 || m.Commits != 4 || m.Bytes == 0 || m.Pebble == nil {
		t.Errorf("metrics: %+v", m)
	}
	go func() { // Close syncs once more
		for range fs.begun {
			fs.end <- struct{}{}
		}
	}()
	closeStore()
	close(fs.begun)
}

func TestGroup(t *testing.T) {
	s, closeStore := open(t, "store", Options{FS: vfs.NewMem()})
	defer closeStore()
	var list []commit
	add := func(sizes ...int) {
		list = nil
		for _, n := range sizes {
			b := s.NewBatch().(batch)
			if n > 0 {
				b.Set([]byte("k"), make([]byte, n))
			}
			list = append(list, commit{batch: b})
		}
	}
	for _, c := range []struct {
		sizes []int
		want  int
	}{
		{[]int{0}, 1},
		{[]int{1, 1, 0, 1}, 4},
		{[]int{maxGroup / 2, maxGroup / 2, 1}, 1}, // with their keys two are too many
		{[]int{maxGroup / 3, maxGroup / 3, 1, maxGroup / 2}, 3},
		{[]int{maxGroup * 2, 1}, 1},
		{[]int{1, maxGroup * 2}, 1},
		{[]int{0, maxGroup * 2, 0, 1}, 1},
	} {
		add(c.sizes...)
		if g := nextGroup(list); len(g.commits) != c.want {
			t.Errorf("of batches with %v bytes a group takes %d, want %d", c.sizes, len(g.commits), c.want)
		}
	}
}

func TestBackup(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []string{SyncAlways, SyncOS} {
		s, closeStore := open(t, filepath.Join(dir, mode), Options{Sync: mode})
		write(t, s, "a")
		write(t, s, "b")
		to := filepath.Join(dir, mode+".backup")
		if err := s.Backup(to); err != nil {
			t.Fatal(err)
		}
		write(t, s, "c")
		if err := s.Backup(to); err == nil {
			t.Error("a backup overwrites another")
		}
		b, closeBackup := open(t, to, Options{})
		if got := keys(t, b); got != "a b" {
			t.Errorf("the backup has %q", got)
		}
		write(t, b, "d") // and is a store of its own
		closeBackup()
		if got := keys(t, s); got != "a b c" {
			t.Errorf("the store has %q", got)
		}
		closeStore()
		if err := s.Backup(filepath.Join(dir, "late")); err == nil {
			t.Error("a closed store makes a backup")
		}
		if m := s.Metrics(); m.Pebble != nil || m.Commits == 0 {
			t.Errorf("metrics of a closed store: %+v", m)
		}
	}
}

const lockedDir = "NARU_TEST_LOCKED_DIR"

func TestLock(t *testing.T) {
	if dir := os.Getenv(lockedDir); dir != "" { // the other process
		_, err := Open(dir, Options{})
		fmt.Println("open says:", err)
		return
	}
	dir := t.TempDir()
	_, closeStore := open(t, dir, Options{})
	defer closeStore()
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second Open in this process: %v", err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestLock$", "-test.v")
	cmd.Env = append(os.Environ(), lockedDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "open says: open store " + dir + ": it is in use by another process"
	if !strings.Contains(string(out), want) {
		t.Errorf("another process does not hear %q, but %s", want, out)
	}
}

func TestOptions(t *testing.T) {
	if _, err := Open(t.TempDir(), Options{Sync: "sometimes"}); err == nil || !strings.Contains(err.Error(), `"sometimes"`) {
		t.Errorf("sync: sometimes: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, Options{}); err == nil || strings.Contains(err.Error(), "in use") {
		t.Errorf("a file for a directory: %v", err)
	}
	var log bytes.Buffer
	s, closeStore := open(t, t.TempDir(), Options{
		Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	write(t, s, "a")
	closeStore()
	if log.Len() > 0 {
		t.Errorf("a store without troubles logs: %s", log.String())
	}
}
