package transport

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
)

// TestWait: while a connection waits it is not read, others are, and what it
// has sent is fed in order afterwards.
func TestWait(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		c, h := b.dial(addr)
		other, _ := b.dial(addr)
		c.send(frame('e', "a"), frame('w', "b"), frame('e', "c"), frame('e', "half")[:5])
		c.want("a")
		wait(t, "waiting", func() bool { return h.waits.Load() == 1 && h.paused() })
		feeds := h.feeds.Load()
		received, _ := b.srv.Traffic()

		c.send([]byte("alf"), frame('e', "d"))
		noise := strings.Repeat("noise", 1000)
		for range 20 { // there is time to read what must not be read
			other.send(frame('e', noise))
			other.want(noise)
		}
		now, _ := b.srv.Traffic()
		if n := now - received - 20*uint64(len(frame('e', noise))); n != 0 {
			t.Errorf("%d bytes were read meanwhile", n)
		}
		if n := h.feeds.Load() - feeds; n != 0 {
			t.Errorf("it was fed %d times meanwhile", n)
		}
		b.pass <- struct{}{}
		c.want("bchalfd")
		c.send(frame('w', "again"))
		b.pass <- struct{}{}
		c.want("again")
	})
}

// TestWaitKick: the end does not wait for a Wait; its context ends.
func TestWaitKick(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('w', "never"))
		wait(t, "waiting", func() bool { return h.waits.Load() == 1 })
		h.conn.Kick(errBad)
		h.ended(errBad)
		c.wantEOF()
		wait(t, "the Wait has ended", func() bool { return h.stopped.Load() == 1 })
	})
}

// TestWaitKickHangup: a connection that was ended while it waited is let go when
// its peer closes, and not only after the linger time.
func TestWaitKickHangup(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('w', "never"), frame('e', "unread"))
		wait(t, "waiting", func() bool { return h.waits.Load() == 1 && h.paused() })
		c.send(frame('e', "more"))
		h.inside(func(t *core.Turn, c *Conn) {
			c.end(t, errBad)
			c.run.arm(c, -1) // it would let go in the end
		})
		h.ended(errBad)
		c.wantEOF()
		c.Close()
		wait(t, "the connection is let go", func() bool { return b.srv.Open() == 0 })
	})
}

// TestWaitHangup: nobody waits for a client that has gone.
func TestWaitHangup(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		if b.srv.cfg.Poller == "goroutine" {
			t.Skip("the reader pauses, and nobody else looks at the socket")
		}
		c, h := b.dial(b.listen())
		c.send(frame('w', "never"))
		wait(t, "waiting", func() bool { return h.waits.Load() == 1 })
		c.Close()
		wait(t, "the Wait has ended", func() bool { return h.stopped.Load() == 1 })
		h.ended(io.EOF)
	})
}

// TestWaitEndRace: whatever ends a connection at the moment when a Wait is over,
// Closed is called once.
func TestWaitEndRace(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		for range 50 {
			c, h := b.dial(addr)
			c.send(frame('w', "x"))
			wait(t, "waiting", func() bool { return h.waits.Load() == 1 })
			go h.conn.Kick(errBad)
			select {
			case b.pass <- struct{}{}:
			case err := <-h.closed:
				h.closed <- err
			}
			h.ended(errBad)
			got, err := io.ReadAll(c)
			if s := string(got); err != nil || s != "" && s != "x" {
				t.Fatalf("got %q, %v", got, err)
			}
			c.Close()
			wait(t, "let go", func() bool { return b.srv.Open() == 0 })
			if len(h.closed) != 0 {
				t.Fatalf("closed again: %v", <-h.closed)
			}
		}
	})
}

// TestWaitShutdown: the server does not wait for a Wait either.
func TestWaitShutdown(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('w', "never"))
		wait(t, "waiting", func() bool { return h.waits.Load() == 1 })
		go func() {
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}()
		b.close()
		h.ended(core.ErrShutdown)
		if h.stopped.Load() != 1 {
			t.Error("the Wait has not ended")
		}
		if errors.Is(b.srv.ctx.Err(), nil) {
			t.Error("the context of the server has not ended")
		}
	})
}
