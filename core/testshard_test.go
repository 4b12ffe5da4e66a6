package core

import (
	"sync"

	"github.com/tidwall/btree"
)

// testShard is a Shard in memory for tests inside the package, which cannot
// import memstore. Commits are done one by one on a goroutine of its own.
type testShard struct {
	mu      sync.Mutex
	cond    *sync.Cond
	view    btree.Map[string, string] // guarded by mu
	pending []testCommit              // guarded by mu
	held    bool                      // guarded by mu: commits gather
	closed  bool                      // guarded by mu
	commits int                       // guarded by mu
	backlog int64                     // guarded by mu: what Pending answers
	wg      sync.WaitGroup
}

type testCommit struct {
	b    *testBatch
	done func(error)
}

type testOp struct {
	kind byte
	a, b string
}

type testBatch struct {
	ops  []testOp
	size int
}

func (b *testBatch) add(kind byte, a, v []byte) {
	b.ops = append(b.ops, testOp{kind, string(a), string(v)})
	b.size += len(a) + len(v)
}
func (b *testBatch) Set(k, v []byte)           { b.add('s', k, v) }
func (b *testBatch) Delete(k []byte)           { b.add('d', k, nil) }
func (b *testBatch) DeleteRange(lo, hi []byte) { b.add('r', lo, hi) }
func (b *testBatch) Len() int                  { return len(b.ops) }
func (b *testBatch) Size() int                 { return b.size }

func newTestShard() *testShard {
	s := &testShard{}
	s.cond = sync.NewCond(&s.mu)
	s.wg.Add(1)
	go s.run()
	return s
}

func (s *testShard) run() {
	defer s.wg.Done()
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for !s.closed && (len(s.pending) == 0 || s.held) {
			s.cond.Wait()
		}
		if len(s.pending) == 0 && s.closed {
			return
		}
		c := s.pending[0]
		s.pending = s.pending[1:]
		s.apply(c.b)
		s.commits++
		if c.done != nil {
			s.mu.Unlock()
			c.done(nil)
			s.mu.Lock()
		}
	}
}

func (s *testShard) apply(b *testBatch) {
	for _, op := range b.ops {
		switch op.kind {
		case 's':
			s.view.Set(op.a, op.b)
		case 'd':
			s.view.Delete(op.a)
		case 'r':
			var keys []string
			s.view.Ascend(op.a, func(k, _ string) bool {
				if k >= op.b {
					return false
				}
				keys = append(keys, k)
				return true
			})
			for _, k := range keys {
				s.view.Delete(k)
			}
		}
	}
}

func (s *testShard) NewBatch() Batch { return &testBatch{} }

func (s *testShard) Commit(b Batch, done func(error)) {
	s.mu.Lock()
	s.pending = append(s.pending, testCommit{b.(*testBatch), done})
	s.mu.Unlock()
	s.cond.Signal()
}

func (s *testShard) Pending() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.backlog
}

func (s *testShard) Get(key []byte, f func([]byte)) (bool, error) {
	s.mu.Lock()
	v, ok := s.view.Get(string(key))
	s.mu.Unlock()
	if ok {
		f([]byte(v))
	}
	return ok, nil
}

func (s *testShard) Scan(lo, hi []byte, f func(k, v []byte) bool) error {
	s.mu.Lock()
	view := s.view.Copy()
	s.mu.Unlock()
	view.Ascend(string(lo), func(k, v string) bool {
		return k < string(hi) && f([]byte(k), []byte(v))
	})
	return nil
}

func (s *testShard) hold(on bool) {
	s.mu.Lock()
	s.held = on
	s.mu.Unlock()
	s.cond.Signal()
}

// fork returns a shard with what is durable now, as after a crash.
func (s *testShard) fork() *testShard {
	n := newTestShard()
	s.mu.Lock()
	n.view = *s.view.Copy()
	s.mu.Unlock()
	return n
}

// waiting is the number of commits that hold keeps back.
func (s *testShard) waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// forkAt returns a shard as after a crash just when the first n of the commits
// that wait were on disk and nobody had been told.
func (s *testShard) forkAt(n int) *testShard {
	f := newTestShard()
	s.mu.Lock()
	defer s.mu.Unlock()
	f.view = *s.view.Copy()
	for _, c := range s.pending[:n] {
		f.apply(c.b)
	}
	return f
}

func (s *testShard) close() {
	s.mu.Lock()
	s.closed, s.held = true, false
	s.mu.Unlock()
	s.cond.Signal()
	s.wg.Wait()
}
