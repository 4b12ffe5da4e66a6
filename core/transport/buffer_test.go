package transport

import (
	"strings"
	"sync/atomic"
	"testing"
)

// TestBufferSizes: a buffer has the room that was asked for, and goes back to the
// pool it came from.
func TestBufferSizes(t *testing.T) {
	for _, s := range []struct{ n, want int }{
		{0, smallBuffer}, {smallBuffer, smallBuffer}, {smallBuffer + 1, bigBuffer}, {bigBuffer, bigBuffer},
		{bigBuffer + 1, bigBuffer + 1},
	} {
		b := getBuffer(s.n)
		if len(b) != 0 || cap(b) != s.want {
			t.Errorf("for %d bytes: %d bytes in %d, want 0 in %d", s.n, len(b), cap(b), s.want)
		}
		putBuffer(b)
	}
	putBuffer(nil)
}

// TestBuffersReturned counts the buffers that are made while others could be used
// again: a connection that gives its buffers back needs few. A pool may lose
// some to the garbage collector, and loses a quarter on purpose with -race.
func TestBuffersReturned(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		var made atomic.Int64
		defer func(small, big func() any) { smallBuffers.New, bigBuffers.New = small, big }(smallBuffers.New, bigBuffers.New)
		for _, pool := range []struct{ new *func() any }{{&smallBuffers.New}, {&bigBuffers.New}} {
			fresh := *pool.new
			*pool.new = func() any {
				made.Add(1)
				return fresh()
			}
		}
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('l', number(0)))
		c.want(number(0))
		const rounds = 1000
		for _, s := range []struct {
			name, body string
		}{{"small", "x"}, {"large", strings.Repeat("x", smallBuffer+1)}} {
			made.Store(0)
			for range rounds {
				c.send(frame('e', s.body)) // a buffer for the reply, and one to read, with goroutines
				c.want(s.body)
			}
			if n := made.Load(); n > rounds*3/4 {
				t.Errorf("%s: %d buffers were made for %d messages", s.name, n, rounds)
			}
		}
		c.send(frame('q', ""))
		c.wantEOF()
		c.Close()
		h.ended(nil)
		b.close() // nobody uses the pools any more
	})
}
