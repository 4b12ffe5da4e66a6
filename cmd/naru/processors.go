package main

import (
	"runtime"

	"github.com/narumq/naru/core/transport"
)

// processors is how many Go has at the start: GOMAXPROCS, or as many as there are.
var processors = runtime.GOMAXPROCS(0)

// spareProcessor says how many event loops there are, and sees to it that Go's
// scheduler has one processor more than that. A loop that waits for events keeps its
// processor. When all are kept, Go's monitor takes one away within 20 us and wakes a
// thread that finds nothing to do for it; having done so once, it goes on at that
// pace. See docs/adr/0001-descriptor-owner.md. The spare one is idle as a rule.
func spareProcessor(c transport.Config) transport.Config {
	if runtime.GOOS != "linux" || c.Poller == "goroutine" {
		return c
	}
	if c.Loops == 0 {
		c.Loops = processors
	}
	if runtime.GOMAXPROCS(0) <= c.Loops {
		runtime.GOMAXPROCS(c.Loops + 1)
	}
	return c
}
