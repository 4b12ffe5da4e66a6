package transport

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
)

// TestEndReply: the last reply arrives, then the end, and no reset, although
// the client has sent more than was read.
func TestEndReply(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		for _, s := range []struct {
			command byte
			cause   error
		}{{'q', nil}, {'x', errBad}} {
			c, h := b.dial(addr)
			c.send(frame('e', "first"), frame(s.command, "goodbye"), bytes.Repeat(frame('e', "never"), 50_000))
			h.ended(s.cause)
			h.lingerOn()
			c.send(frame('e', "what comes later is thrown away"))
			c.want("firstgoodbye")
			c.wantEOF()
			c.Close()
			wait(t, "it is let go", func() bool { return b.srv.Open() == 0 })
			if n := h.feeds.Load(); n != 1 {
				t.Errorf("fed %d times, want once", n)
			}
		}
	})
}

// TestEndLargeReply: the end comes behind what the socket could not take at
// once.
func TestEndLargeReply(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		const size = 12 << 20
		c.send(frame('b', number(size)), frame('q', "goodbye"))
		h.ended(nil)
		h.lingerOn()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, append(bytes.Clone(pattern(size)), "goodbye"...)) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	})
}

// TestEndCommit: the end waits for the commit that the goodbye has caused, even
// if the client has closed its side by then.
func TestEndCommit(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		other, _ := b.dial(addr)
		for _, halfClose := range []bool{false, true} {
			c, h := b.dial(addr)
			b.st.Hold()
			c.send(frame('p', "on disk"), frame('q', "goodbye"))
			h.ended(nil)
			if halfClose {
				if err := c.CloseWrite(); err != nil {
					t.Fatal(err)
				}
			}
			for range 20 { // there is time to see it
				other.send(frame('e', "x"))
				other.want("x")
			}
			h.lingerOn()
			b.st.Release()
			c.want("on diskgoodbye")
			c.wantEOF()
			c.Close()
			wait(t, "it is let go", func() bool { return b.srv.Open() == 1 })
		}
	})
}

// TestKick: the first cause is kept, from whichever goroutine, and Closed is
// called once.
func TestKick(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 2 })
		addr := b.listen()
		for range 30 {
			c, h := b.dial(addr)
			h.inside(func(_ *core.Turn, c *Conn) {
				c.Kick(core.ErrTakenOver)
				c.Kick(errBad)
			})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { h.conn.Kick(errBad) })
			}
			wg.Wait()
			h.ended(core.ErrTakenOver)
			c.wantEOF()
			c.Close()
			wait(t, "it is let go", func() bool { return b.srv.Open() == 0 })
			h.conn.Kick(errBad) // nobody is there any more
			if len(h.closed) != 0 {
				t.Fatalf("closed again: %v", <-h.closed)
			}
		}
	})
}

// TestKickSlow: a client that takes nothing is let go after the linger time.
func TestKickSlow(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('b', number(12<<20)))
		wait(t, "the socket is full", h.full)
		h.conn.Kick(core.ErrSlow)
		h.ended(core.ErrSlow)
		wait(t, "it is let go", func() bool { return b.srv.Open() == 0 })
		out := h.conn.Out()
		out.Lock()
		defer out.Unlock()
		if out.size != 0 || len(out.sealed) != 0 || out.buf != nil {
			t.Errorf("%d bytes are kept", out.size)
		}
		if out.Room(1) {
			t.Error("there is room in the outbox of a connection that has gone")
		}
	})
}

// TestHangup: a client that goes ends its connection with io.EOF, and one that
// resets it with what the socket said.
func TestHangup(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		c, h := b.dial(addr)
		c.send(frame('s', "x"))
		c.Close()
		h.ended(io.EOF)

		c, h = b.dial(addr)
		if err := c.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		c.Close()
		select {
		case err := <-h.closed:
			if err == nil || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "reset") {
				t.Errorf("a reset gives %v", err)
			}
		case <-b.probes:
			t.Error("a connection of nobody")
		}
		wait(t, "both are let go", func() bool { return b.srv.Open() == 0 })
	})
}

// TestKickInDelivery: a delivery runs under the out lock, and may find out that
// its connection, or the one that it came from, must end.
func TestKickInDelivery(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 2 })
		addr := b.listen()
		for round := range 30 {
			c1, h1 := b.dial(addr)
			c2, h2 := b.dial(addr)
			var wg sync.WaitGroup
			deliver := func(to, from *probe) {
				to.inside(func(tn *core.Turn, _ *Conn) {
					to.deliver(tn, []byte("last"), false)
					out := to.conn.Out()
					out.Lock()
					defer out.Unlock()
					to.conn.Kick(core.ErrSlow)
					if round%2 == 0 {
						from.conn.Kick(core.ErrSlow)
					} else {
						tn.Do(func(*core.Turn) { from.conn.Kick(core.ErrSlow) })
					}
				})
			}
			wg.Go(func() { deliver(h1, h2) })
			wg.Go(func() { deliver(h2, h1) })
			wg.Wait()
			h1.ended(core.ErrSlow)
			h2.ended(core.ErrSlow)
			for _, c := range []*client{c1, c2} {
				got, err := io.ReadAll(c)
				if s := string(got); err != nil || s != "last" && s != "" {
					t.Fatalf("got %q, %v", got, err)
				}
				c.Close()
			}
		}
	})
}

// TestEndRace: the client goes, somebody kicks, somebody delivers and the
// handler ends, all at once.
func TestEndRace(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 2 })
		addr := b.listen()
		for round := range 60 {
			c, h := b.dial(addr)
			var wg sync.WaitGroup
			wg.Go(func() { h.conn.Kick(core.ErrSlow) })
			wg.Go(func() { b.turn(func(t *core.Turn) { h.deliver(t, pattern(100_000), true) }) })
			wg.Go(func() { _, _ = c.Write(frame('x', "goodbye")) }) // may come too late
			if round%2 == 0 {
				wg.Go(func() { c.Close() })
			}
			wg.Wait()
			c.Close()
			select {
			case err := <-h.closed:
				if err == nil {
					t.Error("closed without a cause")
				}
			case <-t.Context().Done():
			}
			wait(t, "it is let go", func() bool { return b.srv.Open() == 0 })
			if len(h.closed) != 0 {
				t.Fatalf("closed again: %v", <-h.closed)
			}
		}
	})
}
