package memstore

import (
	"errors"
	"fmt"
	"sync"

	"github.com/narumq/naru/core"
)

// ErrClosed is the answer of a store that was closed.
var ErrClosed = errors.New("the store is closed")

type commit struct {
	batch *batch
	done  func(error)
}

// A Store is a core.Shard in memory.
type Store struct {
	mu struct {
		sync.Mutex
		commits []commit // not yet durable
		pending int64
		tree    *tree // what is durable; copied where it is read at length
		held    bool
		closed  bool
	}
	wake sync.Cond // of mu: there may be something to do
	wg   sync.WaitGroup
}

// New returns an empty store.
func New() *Store { return Open(&Snapshot{tree: new(tree)}) }

// NewBatch returns an empty batch.
func (s *Store) NewBatch() core.Batch { return new(batch) }

// Commit hands a batch over. See core.Shard. After Close it calls done at once
// with ErrClosed.
func (s *Store) Commit(b core.Batch, done func(error)) {
	c := commit{b.(*batch), done}
	s.mu.Lock()
	closed := s.mu.closed
	if !closed {
		s.mu.commits = append(s.mu.commits, c)
		s.mu.pending += int64(c.batch.size)
	}
	s.mu.Unlock()
	switch {
	case !closed:
		s.wake.Signal()
	case done != nil:
		done(ErrClosed)
	}
}

// Pending is the number of bytes committed but not yet durable.
func (s *Store) Pending() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.pending
}

// run makes durable what has come, group by group, and calls the dones.
func (s *Store) run() {
	defer s.wg.Done()
	var group []commit
	for {
		s.mu.Lock()
		for (len(s.mu.commits) == 0 || s.mu.held) && !s.mu.closed {
			s.wake.Wait()
		}
		group, s.mu.commits = s.mu.commits, group[:0]
		// One lock for the group: Hold and Snapshot see all of it or nothing.
		for _, c := range group {
			c.batch.apply(s.mu.tree)
			s.mu.pending -= int64(c.batch.size)
		}
		s.mu.Unlock()
		if len(group) == 0 {
			return
		}
		for _, c := range group {
			if c.done != nil {
				c.done(nil)
			}
		}
		clear(group)
	}
}

// Get reads one key.
func (s *Store) Get(key []byte, f func(value []byte)) (found bool, err error) {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return false, fmt.Errorf("get: %w", ErrClosed)
	}
	v, ok := s.mu.tree.Get(string(key))
	s.mu.Unlock()
	if ok {
		f(v)
	}
	return ok, nil
}

// Scan goes through [lo, hi) in order until f returns false.
func (s *Store) Scan(lo, hi []byte, f func(key, value []byte) bool) error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return fmt.Errorf("scan: %w", ErrClosed)
	}
	t := s.mu.tree.Copy() // costs nothing until the next write
	s.mu.Unlock()
	var key []byte
	t.Ascend(string(lo), func(k string, v []byte) bool {
		key = append(key[:0], k...)
		return k < string(hi) && f(key, v)
	})
	return nil
}

// Close makes everything durable that was committed, also what is held, and
// waits for the dones. It must not be called from one.
func (s *Store) Close() error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	s.wake.Signal()
	s.wg.Wait()
	return nil
}

var _ core.Shard = (*Store)(nil)
