package pebblestore

import (
	"sync"
	"time"
)

// linger is how long batches that nobody waits for wait for company. The rest
// of the 100 ms that the contract allows is for the write.
const linger = 50 * time.Millisecond

// A commit is a batch on its way.
type commit struct {
	batch batch
	done  func(error)
}

// An inbox takes commits from anybody, without blocking, and gives the
// committer all that have come.
type inbox struct {
	wake chan struct{} // one slot: look again

	mu struct {
		sync.Mutex
		commits []commit
		size    int
		urgent  bool // a done waits
		closed  bool
	}
}

// put says whether the inbox was still open.
func (in *inbox) put(c commit) bool {
	in.mu.Lock()
	if in.mu.closed {
		in.mu.Unlock()
		return false
	}
	in.mu.commits = append(in.mu.commits, c)
	in.mu.size += c.batch.Size()
	// The first one starts the committer's clock, later ones hurry it.
	ring := len(in.mu.commits) == 1
	if !in.mu.urgent && (c.done != nil || in.mu.size >= maxGroup) {
		in.mu.urgent, ring = true, true
	}
	in.mu.Unlock()
	if ring {
		in.ring()
	}
	return true
}

func (in *inbox) ring() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

func (in *inbox) close() {
	in.mu.Lock()
	in.mu.closed = true
	in.mu.Unlock()
	in.ring()
}

// take waits for commits and swaps all of them for the empty slice spare. It
// returns none when the inbox is closed and empty.
func (in *inbox) take(spare []commit) []commit {
	var clock <-chan time.Time
	for late := false; ; {
		in.mu.Lock()
		n := len(in.mu.commits)
		if in.mu.urgent || in.mu.closed || late && n > 0 {
			list := in.mu.commits
			in.mu.commits, in.mu.size, in.mu.urgent = spare, 0, false
			in.mu.Unlock()
			return list
		}
		in.mu.Unlock()
		if n > 0 && clock == nil {
			t := time.NewTimer(linger)
			defer t.Stop()
			clock = t.C
		}
		select {
		case <-in.wake:
		case <-clock:
			late = true
		}
	}
}
