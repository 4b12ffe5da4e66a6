package pebblestore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Lock takes the lock of a store without opening it, so that nobody else does
// until unlock. It fails if a process has the store open.
func Lock(dir string) (unlock func() error, err error) {
	l, err := pebble.LockDirectory(dir, vfs.Default)
	if isLocked(err) {
		return nil, fmt.Errorf("store %s is in use by another process: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("lock store %s: %w", dir, err)
	}
	return l.Close, nil
}
