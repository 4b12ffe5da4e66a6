package pebblestore

import (
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// ErrClosed is the answer of a store that was closed.
var ErrClosed = errors.New("the store is closed")

// A view decides what readers see: what is durable, and nothing else.
//
// Pebble shows a batch as soon as it is in memory, which is before it is on
// disk. So while a group is being written, readers get clones of an iterator
// from before it. It costs 1 us for each group. (A pebble.Snapshot would do the
// same, but closing the oldest snapshot has Pebble look for compactions under
// its main lock, and wait for a manifest that is just being written.) Between
// groups there is nothing to hide and nothing is held.
type view struct {
	db *pebble.DB

	mu struct {
		sync.Mutex
		before *pebble.Iterator // while a group is being written
		closed bool
	}
	users sync.WaitGroup // grows only under mu
}

// freeze fixes what readers see. Only the committer calls it.
func (v *view) freeze() error {
	// Nothing is read through this iterator. Without point keys it need not
	// look into any table.
	it, err := v.db.NewIter(&pebble.IterOptions{KeyTypes: pebble.IterKeyTypeRangesOnly})
	if err != nil {
		return err
	}
	v.mu.Lock()
	v.mu.before = it
	v.mu.Unlock()
	return nil
}

// thaw lets readers see everything.
func (v *view) thaw() error {
	v.mu.Lock()
	it := v.mu.before
	v.mu.before = nil
	v.mu.Unlock()
	if it == nil {
		return nil
	}
	return it.Close()
}

// iter returns an iterator over [lo, hi). The caller gives it to drop.
func (v *view) iter(lo, hi []byte) (*pebble.Iterator, error) {
	if len(lo) == 0 {
		lo = nil // Pebble's own checks in race builds do not bear an empty one
	}
	o := &pebble.IterOptions{LowerBound: lo, UpperBound: hi}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mu.closed {
		return nil, ErrClosed
	}
	var it *pebble.Iterator
	var err error
	// Under the lock: no group may begin between the look at before and the
	// moment at which the new iterator has its place in time.
	if v.mu.before != nil {
		it, err = v.mu.before.Clone(pebble.CloneOptions{IterOptions: o})
	} else {
		it, err = v.db.NewIter(o)
	}
	if err != nil {
		return nil, err
	}
	v.users.Add(1)
	return it, nil
}

func (v *view) drop(it *pebble.Iterator) error {
	defer v.users.Done()
	return it.Close()
}

// enter keeps the store open until leave.
func (v *view) enter() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mu.closed {
		return ErrClosed
	}
	v.users.Add(1)
	return nil
}

func (v *view) leave() { v.users.Done() }

// close refuses new users and waits for those that are there.
func (v *view) close() {
	v.mu.Lock()
	v.mu.closed = true
	v.mu.Unlock()
	v.users.Wait()
}
