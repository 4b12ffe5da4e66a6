package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// A logger is what Pebble tells its news to.
type logger struct {
	*slog.Logger
	fail    func(error)
	opening atomic.Bool
	noSpace atomic.Int64 // when it was last told, unix nanoseconds
}

// tellNoSpace is how often a full disk is told.
const tellNoSpace = 10 * time.Second

func (l *logger) Infof(format string, args ...any) {
	if l.Enabled(context.Background(), slog.LevelDebug) {
		l.Debug("pebble", "text", fmt.Sprintf(format, args...))
	}
}

func (l *logger) Errorf(format string, args ...any) {
	l.Error("pebble", "text", fmt.Sprintf(format, args...))
}

// Fatalf must not return, Pebble says: a flush that could not write the
// manifest must not go on to delete the log. Nor may it end the process: that
// is for whoever listens to Fail. So it ends the goroutine, except in two
// places that are known to return the error instead: while the store is
// opened, and when a commit has failed, where our own committer waits.
func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if l.opening.Load() {
		l.Error("pebble", "text", err.Error())
		return
	}
	l.fail(err)
	if !strings.HasPrefix(format, "pebble: fatal commit error") {
		runtime.Goexit()
	}
}

func (l *logger) listener() *pebble.EventListener {
	return &pebble.EventListener{
		BackgroundError: l.background,
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			l.fail(fmt.Errorf("damaged file %s: %w", i.Path, i.Details)) // its String has stack traces
		},
		DiskSlow: func(i pebble.DiskSlowInfo) { l.Warn("the disk is slow", "what", i.String()) },
		WriteStallBegin: func(i pebble.WriteStallBeginInfo) {
			l.Warn("the store cannot keep up and holds writes back", "why", i.Reason)
		},
		WriteStallEnd: func() { l.Info("the store takes writes again") },
	}
}

// background hears of a flush or compaction that failed. Pebble tries again.
// That is right for a full disk, since nothing was lost and space may come;
// with anything else the disk has told that it cannot be trusted. A log that is
// on the same disk must not be filled by it.
func (l *logger) background(err error) {
	if errors.Is(err, syscall.ENOSPC) {
		now, last := time.Now().UnixNano(), l.noSpace.Load()
		if now-last > int64(tellNoSpace) && l.noSpace.CompareAndSwap(last, now) {
			l.Error("no space for the store", "error", err.Error())
		}
		return
	}
	l.fail(fmt.Errorf("background work: %w", err))
}

var _ pebble.Logger = (*logger)(nil)
