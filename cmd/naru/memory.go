package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// memory gives back what the heap does not need when the node has fallen quiet:
// a hundred thousand connections that were made in a rush leave as much garbage
// as they need themselves, and nothing would collect it before the next rush.
// It is a plugin, so that it starts and stops with the rest.
type memory struct {
	traffic func() (received, sent uint64)
	stop    context.CancelFunc
	done    chan struct{}
}

const (
	memoryTick  = 5 * time.Second
	quietTicks  = 3         // in a row
	quietBytes  = 256 << 10 // of traffic in a tick that still count as quiet
	spareMemory = 4 << 20   // not worth a collection
	restTicks   = 12        // between two collections
)

func (m *memory) Name() string { return "memory" }

func (m *memory) Start(context.Context) error {
	ctx, cancel := context.WithCancel(context.Background())
	m.stop, m.done = cancel, make(chan struct{})
	go m.run(ctx)
	return nil
}

func (m *memory) Stop(context.Context) error {
	m.stop()
	<-m.done
	return nil
}

func (m *memory) run(ctx context.Context) {
	defer close(m.done)
	tick := time.NewTicker(memoryTick)
	defer tick.Stop()
	var before, collected uint64
	quiet, rest := 0, 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		in, out := m.traffic()
		if in+out-before > quietBytes {
			quiet = 0
		} else {
			quiet++
		}
		before = in + out
		rest--
		if quiet >= quietTicks && rest <= 0 && heap() > collected+spareMemory {
			debug.FreeOSMemory()
			collected = heap()
			rest = restTicks
		}
	}
}

// heap returns the memory that the Go heap holds from the system.
func heap() (held uint64) {
	s := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(s)
	for i := range s {
		held += s[i].Value.Uint64()
	}
	return held
}
