package tasks

import (
	"sync/atomic"
	"testing"
)

func TestGroup(t *testing.T) {
	var g Group
	g.Wait() // nobody
	var over atomic.Int64
	const n = 100
	for range n {
		g.Add(1)
		go func() {
			g.Add(1) // sets another in motion
			go func() {
				over.Add(1)
				g.Done()
			}()
			g.Done()
		}()
	}
	g.Wait()
	if over.Load() != n {
		t.Errorf("%d of %d are over", over.Load(), n)
	}
}

// Growing from nothing while somebody waits is what a WaitGroup does not bear.
func TestGroupGrowsWhileWaitedFor(t *testing.T) {
	for range 100 {
		var g Group
		g.Add(1)
		waited := make(chan struct{})
		go func() {
			g.Wait()
			close(waited)
		}()
		go func() {
			g.Add(1)
			g.Done()
		}()
		g.Done()
		<-waited
	}
}
