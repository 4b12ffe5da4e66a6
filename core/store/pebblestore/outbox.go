package pebblestore

import "sync"

// A result is a done with what it is to be told.
type result struct {
	done func(error)
	err  error
}

// An outbox calls the dones in order, in a goroutine of its own, so that the
// next group is written meanwhile.
type outbox struct {
	ready sync.Cond

	mu struct {
		sync.Mutex
		results []result
		closed  bool
	}
}

func (out *outbox) init() { out.ready.L = &out.mu }

func (out *outbox) put(list []commit, err error) {
	out.mu.Lock()
	for i := range list {
		if list[i].done != nil {
			out.mu.results = append(out.mu.results, result{list[i].done, err})
		}
	}
	out.mu.Unlock()
	out.ready.Signal()
}

func (out *outbox) call(f func(error), err error) {
	out.mu.Lock()
	out.mu.results = append(out.mu.results, result{f, err})
	out.mu.Unlock()
	out.ready.Signal()
}

func (out *outbox) close() {
	out.mu.Lock()
	out.mu.closed = true
	out.mu.Unlock()
	out.ready.Signal()
}

// keepList is the longest list that is used again.
const keepList = 64 << 10

// run calls dones until the outbox is closed and empty.
func (out *outbox) run() {
	var list []result
	for {
		out.mu.Lock()
		for len(out.mu.results) == 0 && !out.mu.closed {
			out.ready.Wait()
		}
		list, out.mu.results = out.mu.results, list[:0]
		out.mu.Unlock()
		if len(list) == 0 {
			return
		}
		for i := range list {
			list[i].done(list[i].err)
		}
		clear(list)
		if cap(list) > keepList {
			list = nil
		}
	}
}
