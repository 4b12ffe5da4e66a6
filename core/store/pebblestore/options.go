package pebblestore

import (
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// What Options.Sync may be.
const (
	SyncAlways   = "always"
	SyncInterval = "interval"
	SyncOS       = "os"
)

// Options say how a store works. The zero value is the default.
type Options struct {
	// FS is where the files are. Default: the disk.
	FS vfs.FS

	// Sync says what done means. "always", the default: on disk. "interval":
	// on disk Interval later; what came after the last sync is lost with the
	// machine and also with the process, which keeps the end of the log in its
	// own memory. "os": at the pleasure of the operating system; a process
	// that is killed loses the last 32 KiB, a machine without power about the
	// last half minute. In every mode what is left after a crash is what was
	// committed up to some moment, without gaps.
	Sync string
	// Interval is that of "interval". Default: one second.
	Interval time.Duration

	// CacheSize is memory for tables in memory and for blocks read from disk
	// together. Default: 64 MiB.
	CacheSize int64
	// MemTableSize is how much is gathered in memory before it becomes a table
	// on disk. Two of these are in use, up to four when the disk is slow.
	// Default: 16 MiB.
	MemTableSize int64

	// Logger hears what Pebble has to say. Default: nobody.
	Logger *slog.Logger
	// Fail is called once, with the error after which nothing can be made
	// durable any more; every done gets that error too. It is called like a
	// done and must not block. Default: the dones are enough.
	Fail func(error)
}

// check fills in defaults.
func (o *Options) check() error {
	switch o.Sync {
	case "":
		o.Sync = SyncAlways
	case SyncAlways, SyncInterval, SyncOS:
	default:
		return fmt.Errorf("sync %q: want %s, %s or %s", o.Sync, SyncAlways, SyncInterval, SyncOS)
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.CacheSize <= 0 {
		o.CacheSize = 64 << 20
	}
	if o.MemTableSize <= 0 {
		o.MemTableSize = 16 << 20
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// pebble chooses for queues: nearly everything is written once, in the order
// of the keys of its queue, read never or once from the front, and removed in
// ranges from the front, mostly within seconds. Figures are from BenchmarkHead
// and BenchmarkMessage with 230 bytes a message.
func (o *Options) pebble(l *logger) *pebble.Options {
	p := &pebble.Options{
		FS:            o.FS,
		Logger:        l,
		EventListener: l.listener(),

		// Fixed, so that a new version of Pebble does not change the format
		// behind our back. This one has the log tell a torn end from damage in
		// its middle, and tables a checksum of their footer.
		FormatMajorVersion: pebble.FormatTableFormatV6,

		// A message that is removed before its memtable is full never reaches
		// a table: with a short backlog 0.5 bytes for each message do. More
		// memory did not help (64 MiB: 3.0 us instead of 2.3, its skip list
		// does not fit the caches of the processor), and range deletes, see
		// below, are kept for each memtable.
		MemTableSize: uint64(o.MemTableSize),
		// Writes stop when this many memtables wait for the disk. Admission is
		// the business of the core; this should not be reached.
		MemTableStopWritesThreshold: 4,

		// Level 0 is compacted when a read has to look into this many tables of
		// it. Later is better for data that is about to be removed: from 4 to 8
		// bytes written to tables fall by a quarter, scans slow down by a
		// tenth. At 16 it is a third and a scan waits for a long compaction.
		L0CompactionThreshold: 8,
		L0StopWritesThreshold: 32,

		// Blocks are read in order, so fewer and larger ones are better: scans
		// from disk -20 %, CPU -5 % against 4 KiB. At 32 KiB nothing is gained.
		// Below that one table has one index block.

		// Space that a range delete frees is given back when it reaches a
		// table. A broker that falls silent after a purge should not sit on
		// gigabytes until 16 MiB more have come.
		FlushDelayDeleteRange: time.Minute,

		// What is neither synced nor under way to the disk, where no commit
		// syncs. Elsewhere groups are synced whole, at most 4 MiB at a time.
		WALBytesPerSync: 512 << 10,
		BytesPerSync:    512 << 10,

		CacheSize: o.CacheSize,
		// Of the 20,000 files that a process may have open, clients need most.
		// A table has 2 to 128 MiB: this is some ten gigabytes without opening
		// files again.
		MaxOpenFiles: 500,

		// One compaction, and another when it cannot keep up: the processors
		// are for clients.
		CompactionConcurrencyRange: func() (int, int) { return 1, 1 + runtime.GOMAXPROCS(0)/4 },
	}
	for i := range p.Levels {
		lv := &p.Levels[i]
		lv.BlockSize = 16 << 10
		lv.IndexBlockSize = 64 << 10
		// Halves what is written, for no CPU that could be measured.
		lv.Compression = func() *sstable.CompressionProfile { return sstable.FastestCompression }
		// No bloom filters: the core asks only for keys that are there, or
		// scans.
		lv.FilterPolicy = pebble.NoFilterPolicy
	}
	// Left as they are, on purpose: the log is on and its files are used again
	// (a sync that need not change the file's size takes 145 us instead of
	// 205). Tables are rewritten when a tenth of their blocks is dense with
	// tombstones, and dropped unread when one range delete covers them. Values
	// stay in the tables: apart (Experimental.ValueSeparationPolicy) they cost
	// 5.9 us instead of 3.3. Excising what a range delete covers in part
	// (EnableDeleteOnlyCompactionExcises) changed nothing.
	if o.FS == nil {
		p.WithFSDefaults() // the disk, watched for operations that take long
	}
	return p
}
