package memstore

import "math/rand/v2"

// A Snapshot is what was durable at some moment. It does not change and may be
// opened more than once.
type Snapshot struct{ tree *tree }

// Open returns a store that begins with the contents of a snapshot.
func Open(sn *Snapshot) *Store {
	s := new(Store)
	s.wake.L = &s.mu
	s.mu.tree = sn.tree.Copy()
	s.wg.Add(1)
	go s.run()
	return s
}

// Hold has commits gather: when it has returned, nothing becomes durable or
// visible, and no more dones are called than for what is so already.
func (s *Store) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.held = true
}

// Release ends Hold.
func (s *Store) Release() {
	s.mu.Lock()
	s.mu.held = false
	s.mu.Unlock()
	s.wake.Signal()
}

// Snapshot returns what a crash at this moment leaves behind: what is durable,
// and, if r is not nil, a random number of the batches after that, in their
// order and each whole. A disk may have got that far without having said so.
func (s *Store) Snapshot(r *rand.Rand) *Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.mu.tree.Copy()
	if r != nil {
		for _, c := range s.mu.commits[:r.IntN(len(s.mu.commits)+1)] {
			c.batch.apply(t)
		}
	}
	return &Snapshot{t}
}
