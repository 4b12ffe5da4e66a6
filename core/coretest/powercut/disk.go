// Package powercut is what the power-cut tests of stores and adapters share: a
// disk in memory that can lose its power at any moment, and the lives of a
// broker through which it does so.
package powercut

import (
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A Disk is Pebble's crashable file system, with a mistake of that removed: its
// ReuseForWrite and its Lock take a read lock twice, which never ends when
// CrashClone comes in between. It is safe for concurrent use.
type Disk struct {
	*vfs.MemFS
	slow bool
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{MemFS: vfs.NewCrashableMem()} }

// NewSlowDisk returns an empty disk on which syncing a log takes time, so that
// the power can fail meanwhile.
func NewSlowDisk() *Disk { return &Disk{MemFS: vfs.NewCrashableMem(), slow: true} }

// Lock has nobody to keep out.
func (d *Disk) Lock(name string) (io.Closer, error) {
	return d.MemFS.Create(name, vfs.WriteCategoryUnspecified)
}

// ReuseForWrite renames a file and opens it.
func (d *Disk) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(from, to); err != nil {
		return nil, err
	}
	f, err := d.OpenReadWrite(to, c)
	return d.log(to, f, err)
}

// Create creates a file.
func (d *Disk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.MemFS.Create(name, c)
	return d.log(name, f, err)
}

func (d *Disk) log(name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil || !d.slow || !strings.HasSuffix(name, ".log") {
		return f, err
	}
	return slowFile{f}, nil
}

type slowFile struct{ vfs.File }

func (f slowFile) Sync() error {
	pause()
	return f.File.Sync()
}

func (f slowFile) SyncData() error {
	pause()
	return f.File.SyncData()
}

// pause takes the time that a disk needs, as a rule little.
func pause() { time.Sleep(time.Duration(rand.IntN(100<<rand.IntN(4))) * time.Microsecond) }

// Cut returns what is left when the power goes: all that was synced, and some
// share of the blocks and directory entries that were not. The disk itself goes
// on, for those who have not noticed.
func (d *Disk) Cut(r *rand.Rand) *Disk {
	return d.CutShare(r, []int{0, 20, 50, 80, 100}[r.IntN(5)])
}

// CutShare is Cut with the share, in percent.
func (d *Disk) CutShare(r *rand.Rand, percent int) *Disk {
	return &Disk{d.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: r}), d.slow}
}

// CutSoon cuts the power after a while, mostly a short one, as when it fails
// again while a broker starts. The channel gives what is left.
func (d *Disk) CutSoon(r *rand.Rand) <-chan *Disk {
	left := make(chan *Disk)
	go func() {
		for range rand.IntN(1 << rand.IntN(14)) {
			runtime.Gosched()
		}
		left <- d.Cut(r)
	}()
	return left
}
