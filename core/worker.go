package core

import (
	"context"
	"fmt"
	"sync"
)

// A task is something a finished commit sets in motion, or work that must not
// run where it was found: exactly one of its fields is set.
type task struct {
	q      *Queue // entries [lo, hi) are durable
	lo, hi uint64
	seg    *segment
	f      func(*Turn)
}

// A worker runs what finished commits set in motion. All tasks of one queue
// and all of one connection go to the same worker, in order; what has gathered
// while it worked shares one turn.
type worker struct {
	bus  *Bus
	wake chan struct{}

	mu     sync.Mutex
	tasks  []task // guarded by mu
	closed bool   // guarded by mu
}

func newWorker(b *Bus) *worker { return &worker{bus: b, wake: make(chan struct{}, 1)} }

// post never blocks. What is in the mailbox is bounded by what the shards hold
// uncommitted, which is bounded where clients are read.
func (w *worker) post(tk task) {
	w.mu.Lock()
	w.tasks = append(w.tasks, tk)
	first := len(w.tasks) == 1
	w.mu.Unlock()
	if first {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

func (w *worker) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) run() {
	defer w.bus.wg.Done()
	var spare []task
	for range w.wake {
		for {
			w.mu.Lock()
			tasks := w.tasks
			w.tasks = spare[:0]
			closed := w.closed
			w.mu.Unlock()
			if len(tasks) == 0 {
				if closed {
					return
				}
				spare = tasks
				break
			}
			t := w.bus.NewTurn()
			for i := range tasks {
				tasks[i].run(t)
				tasks[i] = task{}
				if t.Full() {
					t.Flush()
				}
			}
			t.End()
			spare = tasks
			if cap(spare) > 1<<16 {
				spare = nil
			}
		}
	}
}

// Alive waits until every worker has done what it had to do, or for ctx. A
// worker that never comes to it hangs, and with it every client.
func (b *Bus) Alive(ctx context.Context) error {
	seen := make(chan struct{}, len(b.workers))
	for _, w := range b.workers {
		w.post(task{f: func(*Turn) { seen <- struct{}{} }})
	}
	for n := range b.workers {
		select {
		case <-seen:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d workers answer: %w", n, len(b.workers), ctx.Err())
		}
	}
	return nil
}

func (tk *task) run(t *Turn) {
	switch {
	case tk.q != nil:
		tk.q.committed(t, tk.lo, tk.hi)
	case tk.seg != nil:
		tk.seg.gate.release(t, tk.seg)
	default:
		tk.f(t)
	}
}
