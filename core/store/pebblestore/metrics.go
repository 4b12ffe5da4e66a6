package pebblestore

import (
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Metrics are what a store has done since it was opened.
type Metrics struct {
	Commits int64         // batches made durable
	Groups  int64         // writes that took; Commits/Groups shared one
	Bytes   int64         // of the batches
	Busy    time.Duration // spent in those writes, syncs included
	Pending int64         // bytes that wait

	DiskBytes int64           // the size of all files
	Pebble    *pebble.Metrics // nil when the store is closed
}

// Metrics returns the present figures.
func (s *Store) Metrics() Metrics {
	m := Metrics{
		Commits: s.count.commits.Load(),
		Groups:  s.count.groups.Load(),
		Bytes:   s.count.bytes.Load(),
		Busy:    time.Duration(s.count.busy.Load()),
		Pending: s.pending.Load(),
	}
	if s.view.enter() == nil {
		defer s.view.leave()
		m.Pebble = s.db.Metrics()
		m.DiskBytes = int64(m.Pebble.DiskSpaceUsage())
	}
	return m
}
