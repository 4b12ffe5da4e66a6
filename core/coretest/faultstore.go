package coretest

import (
	"sync"
	"time"

	"github.com/narumq/naru/core"
)

// A Fault is a shard that misbehaves when told to: it fails, is slow, or
// stalls. It also keeps its callers honest: what Get and Scan lend is
// overwritten when the call is over, so that whoever keeps it finds out.
//
// Commits pass through a queue, in which they wait while they are held or
// delayed; behind it is the real shard. So what waits is neither durable nor
// visible, as on a slow disk.
type Fault struct {
	core.Shard

	mu struct {
		sync.Mutex
		queue   []faulty
		pending int64
		commits int           // so far
		failAt  int           // this commit and all after it fail; 0: none
		err     error         // with this
		delay   time.Duration // of commits
		held    bool
		closed  bool
	}
	wake chan struct{} // one slot: look again
	wg   sync.WaitGroup
}

type faulty struct {
	batch core.Batch
	size  int64
	done  func(error)
	due   time.Time
	err   error // not nil: do not commit, say this
}

// NewFault wraps a shard. Until it is told otherwise it behaves. Close it
// before the shard.
func NewFault(s core.Shard) *Fault {
	f := &Fault{Shard: s, wake: make(chan struct{}, 1)}
	f.wg.Go(f.run)
	return f
}

// FailAfter has the next n commits succeed and everything after them fail with
// err, for ever.
func (f *Fault) FailAfter(n int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.failAt, f.mu.err = f.mu.commits+n+1, err
}

// Delay has each commit that comes from now on begin d later.
func (f *Fault) Delay(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.delay = d
}

// Hold has commits wait until Release.
func (f *Fault) Hold() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.held = true
}

// Release ends Hold.
func (f *Fault) Release() {
	f.mu.Lock()
	f.mu.held = false
	f.mu.Unlock()
	f.ring()
}

// Commits is the number of commits so far, failed ones included.
func (f *Fault) Commits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.commits
}

func (f *Fault) ring() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Commit passes a batch on when its time has come, or fails.
func (f *Fault) Commit(b core.Batch, done func(error)) {
	f.mu.Lock()
	if f.mu.closed {
		f.mu.Unlock()
		f.Shard.Commit(b, done)
		return
	}
	f.mu.commits++
	c := faulty{batch: b, size: int64(b.Size()), done: done, due: time.Now().Add(f.mu.delay)}
	if f.mu.failAt > 0 && f.mu.commits >= f.mu.failAt {
		c.err = f.mu.err
	}
	f.mu.pending += c.size
	f.mu.queue = append(f.mu.queue, c)
	f.mu.Unlock()
	f.ring()
}

// Pending counts what waits here too.
func (f *Fault) Pending() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.pending + f.Shard.Pending()
}

// run passes commits on, one by one.
func (f *Fault) run() {
	for {
		c, wait, ok := f.next()
		switch {
		case ok:
			f.pass(c)
		case wait == 0:
			return
		case wait < 0:
			<-f.wake
		default:
			t := time.NewTimer(wait)
			select {
			case <-f.wake:
			case <-t.C:
			}
			t.Stop()
		}
	}
}

// next takes the next commit that is due. If there is none it says how long to
// wait: 0 for the end, less for until something changes.
func (f *Fault) next() (c faulty, wait time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.mu.queue) == 0 {
		if f.mu.closed {
			return faulty{}, 0, false
		}
		return faulty{}, -1, false
	}
	c = f.mu.queue[0]
	if !f.mu.closed {
		if f.mu.held {
			return faulty{}, -1, false
		}
		if wait = time.Until(c.due); wait > 0 {
			return faulty{}, wait, false
		}
	}
	f.mu.queue[0] = faulty{}
	f.mu.queue = f.mu.queue[1:]
	return c, 0, true
}

// pass keeps the lock, so that no byte is missing from Pending, or in it twice,
// between here and the shard.
func (f *Fault) pass(c faulty) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.pending -= c.size
	switch {
	case c.err == nil:
		f.Shard.Commit(c.batch, c.done)
	case c.done != nil:
		// Behind the dones of what succeeded before.
		f.Shard.Commit(f.Shard.NewBatch(), func(error) { c.done(c.err) })
	}
}

// Get lends the value for the time of the call, and not longer.
func (f *Fault) Get(key []byte, use func(value []byte)) (bool, error) {
	return f.Shard.Get(key, func(v []byte) {
		lent := lend(v)
		use(lent)
		scribble(lent)
	})
}

// Scan lends keys and values, and not longer than each call.
func (f *Fault) Scan(lo, hi []byte, use func(key, value []byte) bool) error {
	return f.Shard.Scan(lo, hi, func(k, v []byte) bool {
		k, v = lend(k), lend(v)
		more := use(k, v)
		scribble(k)
		scribble(v)
		return more
	})
}

func lend(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

func scribble(b []byte) {
	for i := range b {
		b[i] = 0xdb
	}
}

// Close passes on all that waits, held or not, and ends; nobody may be
// committing any more. The shard stays open.
func (f *Fault) Close() {
	f.mu.Lock()
	f.mu.closed = true
	f.mu.Unlock()
	f.ring()
	f.wg.Wait()
}

var _ core.Shard = (*Fault)(nil)
