package pebblestore

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A disk is the file system that Pebble is given. After the first error of the
// log nothing is written to it any more, so that what is found at the next
// start is what a loss of power at that moment would have left.
//
// Where Pebble cannot go on with its log it panics with its locks held, which
// no recover survives. So it is not told: fail hears the error, the log takes
// everything from there on and writes nothing, and since the store is broken
// by then nothing of that is ever called durable.
type disk struct {
	vfs.FS
	fail   func(error)
	armed  atomic.Bool // the store is open; before, errors are returned
	broken atomic.Bool
}

// retryNoSpace is how long a table waits for space.
const retryNoSpace = 200 * time.Millisecond

var errBroken = errors.New("not written: the log has failed before")

// arm has errors of the log be the end of writing from here on.
func (d *disk) arm() { d.armed.Store(true) }

// stop ends writing.
func (d *disk) stop(err error) {
	if d.broken.CompareAndSwap(false, true) {
		d.fail(err)
	}
}

func isLog(name string) bool { return filepath.Ext(name) == ".log" }

// log runs an operation on the log, or lets it seem so.
func (d *disk) log(what, name string, op func() error) error {
	if d.broken.Load() {
		return nil
	}
	err := op()
	if err == nil || !d.armed.Load() {
		return err
	}
	d.stop(fmt.Errorf("%s %s: %w", what, name, err))
	return nil
}

// file is where the log goes, or seems to.
func (d *disk) file(what, name string, open func() (vfs.File, error)) (f vfs.File, err error) {
	err = d.log(what, name, func() (err error) { f, err = open(); return err })
	if err != nil {
		return nil, err
	}
	if d.broken.Load() {
		if f, err = vfs.NewMem().Create("log", vfs.WriteCategoryUnspecified); err != nil {
			return nil, err
		}
	}
	return logFile{f, d, name}, nil
}

func (d *disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if isLog(name) {
		return d.file("create", name, func() (vfs.File, error) { return d.FS.Create(name, c) })
	}
	if d.broken.Load() {
		return nil, errBroken
	}
	f, err := d.FS.Create(name, c)
	return d.guard(f, err)
}

func (d *disk) ReuseForWrite(from, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.file("reuse", name, func() (vfs.File, error) { return d.FS.ReuseForWrite(from, name, c) })
}

// OpenDir: a log counts as made when its directory has been synced.
func (d *disk) OpenDir(name string) (vfs.File, error) {
	return d.file("open", name, func() (vfs.File, error) { return d.FS.OpenDir(name) })
}

func (d *disk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	if d.broken.Load() {
		return nil, errBroken
	}
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return d.guard(f, err)
}

func (d *disk) guard(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return plainFile{f, d}, nil
}

func (d *disk) Link(from, to string) error {
	if d.broken.Load() {
		return errBroken
	}
	return d.FS.Link(from, to)
}

func (d *disk) Rename(from, to string) error {
	if d.broken.Load() {
		return errBroken
	}
	return d.FS.Rename(from, to)
}

func (d *disk) Remove(name string) error {
	if d.broken.Load() {
		return errBroken
	}
	return d.FS.Remove(name)
}

func (d *disk) RemoveAll(name string) error {
	if d.broken.Load() {
		return errBroken
	}
	return d.FS.RemoveAll(name)
}

// Unwrap returns the file system below.
func (d *disk) Unwrap() vfs.FS { return d.FS }

// A logFile is one of the log, or a directory.
type logFile struct {
	vfs.File
	d    *disk
	name string
}

func (f logFile) Write(p []byte) (int, error) {
	return len(p), f.d.log("write", f.name, func() error { _, err := f.File.Write(p); return err })
}

func (f logFile) WriteAt(p []byte, at int64) (int, error) {
	return len(p), f.d.log("write", f.name, func() error { _, err := f.File.WriteAt(p, at); return err })
}

func (f logFile) Preallocate(at, n int64) error {
	return f.d.log("allocate", f.name, func() error { return f.File.Preallocate(at, n) })
}

func (f logFile) Sync() error { return f.d.log("sync", f.name, f.File.Sync) }

func (f logFile) SyncData() error { return f.d.log("sync", f.name, f.File.SyncData) }

func (f logFile) SyncTo(n int64) (full bool, err error) {
	err = f.d.log("sync", f.name, func() (err error) { full, err = f.File.SyncTo(n); return err })
	return full, err
}

func (f logFile) Close() error {
	err := f.File.Close()
	return f.d.log("close", f.name, func() error { return err })
}

// A plainFile is any other that is written. Pebble knows what to do with its
// errors, but not to wait before it tries again: on a full disk it would write
// the same table hundreds of times a second.
type plainFile struct {
	vfs.File
	d *disk
}

func (f plainFile) Write(p []byte) (int, error) {
	if f.d.broken.Load() {
		return 0, errBroken
	}
	n, err := f.File.Write(p)
	if errors.Is(err, syscall.ENOSPC) && f.d.armed.Load() {
		time.Sleep(retryNoSpace)
	}
	return n, err
}

func (f plainFile) Sync() error {
	if f.d.broken.Load() {
		return errBroken
	}
	return f.File.Sync()
}

func (f plainFile) SyncData() error {
	if f.d.broken.Load() {
		return errBroken
	}
	return f.File.SyncData()
}

var _ vfs.FS = (*disk)(nil)
