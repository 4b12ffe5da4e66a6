// Package tasks counts goroutines that somebody must wait for.
package tasks

import "sync"

// A Group is a sync.WaitGroup that may grow while somebody waits, as it does
// when what is being closed sets last things in motion: a WaitGroup forbids
// that once its counter was zero.
type Group struct {
	mu   sync.Mutex
	n    int           // guarded by mu
	idle chan struct{} // guarded by mu: closed when n falls to 0; nil if nobody waits
}

// Add announces n goroutines.
func (g *Group) Add(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.n += n
	if g.n == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// Done says that one is over.
func (g *Group) Done() { g.Add(-1) }

// Wait returns when none was left at some moment.
func (g *Group) Wait() {
	g.mu.Lock()
	if g.n == 0 {
		g.mu.Unlock()
		return
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	<-idle
}
