package pebblestore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/narumq/naru/core"
)

// A Store is a core.Shard on Pebble.
type Store struct {
	opt  Options
	db   *pebble.DB
	view view

	inbox   inbox
	outbox  outbox
	pending atomic.Int64
	failure atomic.Pointer[error]
	failed  chan struct{} // closed when there is a failure

	groups chan *group // from the committer to the writer
	wrote  chan error  // and back

	stop     chan struct{} // ends syncLoop
	wg       sync.WaitGroup
	inPebble sync.WaitGroup // those who may never come back after a failure
	closing  sync.Once
	closed   error // what Close answers

	count struct{ commits, groups, bytes, busy atomic.Int64 }
}

// Open opens the store in dir, which is made if it is not there.
func Open(dir string, o Options) (*Store, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := &Store{
		opt: o, stop: make(chan struct{}), failed: make(chan struct{}),
		groups: make(chan *group), wrote: make(chan error, 1),
	}
	s.inbox.wake = make(chan struct{}, 1)
	s.outbox.init()

	l := &logger{Logger: o.Logger, fail: s.fail}
	l.opening.Store(true)
	p := o.pebble(l)
	d := &disk{FS: p.FS, fail: s.fail}
	p.FS = d
	db, err := pebble.Open(dir, p)
	l.opening.Store(false)
	if isLocked(err) {
		return nil, fmt.Errorf("open store %s: it is in use by another process: %w", dir, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	d.arm()
	s.db, s.view.db = db, db
	s.wg.Go(s.commitLoop)
	s.wg.Go(s.outbox.run)
	s.inPebble.Go(s.writeLoop)
	if o.Sync == SyncInterval {
		s.inPebble.Go(s.syncLoop)
	}
	return s, nil
}

// isLocked recognises the error of a lock that is taken. Pebble has no name
// for it: it is that of fcntl, or a text when this process itself has it.
func isLocked(err error) bool {
	return errors.Is(err, syscall.EAGAIN) ||
		err != nil && strings.Contains(err.Error(), "lock held by current process")
}

// NewBatch returns an empty batch.
func (s *Store) NewBatch() core.Batch { return batch{s.db.NewBatch()} }

// Commit hands a batch over. See core.Shard. After Close it calls done at once
// with ErrClosed.
func (s *Store) Commit(b core.Batch, done func(error)) {
	c := commit{b.(batch), done}
	size := int64(c.batch.Size())
	s.pending.Add(size)
	if !s.inbox.put(c) {
		s.pending.Add(-size)
		if done != nil {
			done(ErrClosed)
		}
	}
}

// Pending is the number of bytes committed but not yet durable.
func (s *Store) Pending() int64 { return s.pending.Load() }

// commitLoop forms groups, has them written one after the other, and passes
// their dones on.
func (s *Store) commitLoop() {
	defer s.outbox.close()
	defer close(s.groups)
	var list []commit
	for {
		list = s.inbox.take(list[:0])
		if len(list) == 0 {
			return
		}
		for rest := list; len(rest) > 0; {
			g := nextGroup(rest)
			err := s.write(&g)
			s.pending.Add(int64(-g.size))
			s.outbox.put(g.commits, err)
			rest = rest[len(g.commits):]
		}
		if s.broken() != nil {
			list = nil // the writer may be sitting on a part of it
			continue
		}
		clear(list)
		if cap(list) > keepList {
			list = nil
		}
	}
}

// write makes a group durable. A group without changes is so already, because
// all before it are.
func (s *Store) write(g *group) error {
	if err := s.broken(); err != nil {
		return err
	}
	if g.changes > 0 {
		began := time.Now()
		s.groups <- g
		select {
		case err := <-s.wrote:
			if err != nil {
				s.fail(fmt.Errorf("commit: %w", err))
				return s.broken()
			}
		case <-s.failed: // by something else, such as a flush that the writer waits for
			return s.broken()
		}
		s.count.groups.Add(1)
		s.count.bytes.Add(int64(g.size))
		s.count.busy.Add(int64(time.Since(began)))
	}
	s.count.commits.Add(int64(len(g.commits)))
	return nil
}

// writeLoop is the only one that changes what Pebble has. It is apart from the
// committer because a broken Pebble may not let it go again, and the dones must
// hear of that.
func (s *Store) writeLoop() {
	for g := range s.groups {
		s.wrote <- s.apply(g)
	}
}

func (s *Store) apply(g *group) (err error) {
	defer func() {
		// Where Pebble cannot return an error it panics, for one when the log
		// was found broken before.
		if r := recover(); r != nil {
			err = fmt.Errorf("pebble: %v", r)
		}
	}()
	all, err := g.merge(s.db)
	if err != nil {
		return err
	}
	how := pebble.NoSync
	if s.opt.Sync == SyncAlways {
		how = pebble.Sync
		if err := s.view.freeze(); err != nil {
			return err
		}
	}
	if err := s.db.Apply(all, how); err != nil {
		return err
	}
	if err := s.broken(); err != nil { // a failed write of the log is told to the logger alone
		return err
	}
	for _, c := range g.commits {
		if c.batch.pb != all {
			_ = c.batch.pb.Close()
		}
	}
	_ = all.Close()
	return s.view.thaw()
}

// syncLoop syncs from time to time, beside the committer, so that no done
// waits for the disk.
func (s *Store) syncLoop() {
	tick := time.NewTicker(s.opt.Interval)
	defer tick.Stop()
	synced := int64(0)
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		n := s.count.groups.Load()
		if n == synced || s.broken() != nil {
			continue
		}
		if err := s.db.LogData(nil, pebble.Sync); err != nil {
			s.fail(fmt.Errorf("sync: %w", err))
		}
		synced = n
	}
}

// fail notes the first error. It may be called with locks of Pebble held.
func (s *Store) fail(err error) {
	err = fmt.Errorf("store: %w", err)
	if !s.failure.CompareAndSwap(nil, &err) {
		return
	}
	close(s.failed)
	if s.opt.Fail != nil {
		s.outbox.call(s.opt.Fail, err)
	}
}

// broken returns the error after which there is nothing more.
func (s *Store) broken() error {
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// Get reads one key.
func (s *Store) Get(key []byte, f func(value []byte)) (found bool, err error) {
	it, err := s.view.iter(nil, nil)
	if err != nil {
		return false, fmt.Errorf("get: %w", err)
	}
	defer func() { err = errors.Join(err, s.view.drop(it)) }()
	if len(key) == 0 { // would be the first of all, and has no prefix to look for
		if !it.First() || len(it.Key()) > 0 {
			return false, it.Error()
		}
	} else if !it.SeekPrefixGE(key) {
		return false, it.Error()
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return false, fmt.Errorf("get: %w", err)
	}
	f(v)
	return true, nil
}

// Scan goes through [lo, hi) in order until f returns false.
func (s *Store) Scan(lo, hi []byte, f func(key, value []byte) bool) (err error) {
	it, err := s.view.iter(lo, hi)
	if err != nil {
		return fmt.Errorf("scan: %w", err)
	}
	defer func() { err = errors.Join(err, s.view.drop(it)) }()
	for ok := it.First(); ok; ok = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("scan: %w", err)
		}
		if !f(it.Key(), v) {
			return nil
		}
	}
	return it.Error()
}

// Backup writes a copy of the store to dir, which must not exist yet. It is
// the state of one moment, with everything whose done was called before, and
// can be opened as a store. On the same file system it takes hardly any space.
func (s *Store) Backup(dir string) error {
	if err := s.view.enter(); err != nil {
		return fmt.Errorf("back up to %s: %w", dir, err)
	}
	defer s.view.leave()
	if err := s.broken(); err != nil {
		return fmt.Errorf("back up to %s: %w", dir, err)
	}
	if err := s.db.Checkpoint(dir, pebble.WithFlushedWAL()); err != nil {
		return fmt.Errorf("back up to %s: %w", dir, err)
	}
	return nil
}

// Close writes what was committed, waits for its dones and for readers, and
// closes the files. It must not be called from a done. After a failure the
// files are left to the end of the process: Pebble may be holding its locks.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.inbox.close()
		close(s.stop)
		s.wg.Wait()
		if s.broken() == nil {
			s.inPebble.Wait()
		}
		s.view.close()
		if s.broken() == nil {
			if err := s.db.Close(); err != nil {
				s.fail(fmt.Errorf("close: %w", err))
			}
		}
		s.closed = s.broken()
	})
	return s.closed
}

var _ core.Shard = (*Store)(nil)
