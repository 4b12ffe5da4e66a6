package transport

import (
	"bytes"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

// deaf runs f while nothing of a connection is read: its event loop is busy with
// another connection, or its goroutine is held.
func (b *box) deaf(h *probe, c *client, other *probe, f func()) {
	if _, ok := h.conn.run.(*goConn); ok {
		h.inside(func(*core.Turn, *Conn) { f() })
		return
	}
	busy, done := make(chan struct{}), make(chan struct{})
	other.inside(func(*core.Turn, *Conn) {
		other.onFeed = func() {
			other.onFeed = nil
			close(busy)
			<-done
		}
	})
	c.send(frame('s', ""))
	<-busy
	f()
	close(done)
}

// TestTakenOverHeard: what a client sent before it connected anew is heard, as
// far as it has arrived; whoever is kicked for another reason is not.
func TestTakenOverHeard(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		oc, other := b.dial(addr)
		for _, s := range []struct{ kick, ends error }{
			{core.ErrTakenOver, nil}, {core.ErrKicked, core.ErrKicked},
		} {
			c, h := b.dial(addr)
			b.deaf(h, oc, other, func() {
				c.send(frame('e', "last words"), frame('q', "goodbye"))
				h.conn.Kick(s.kick)
			})
			h.ended(s.ends)
			if s.ends == nil {
				c.want("last wordsgoodbye")
			}
			c.wantEOF()
		}

		c, h := b.dial(addr)
		c.send(frame('e', "half a frame")[:9])
		wait(t, "it is read", func() bool { return h.feeds.Load() > 0 })
		h.conn.Kick(core.ErrTakenOver)
		h.ended(core.ErrTakenOver)
		c.wantEOF()
	})
}

// TestTakenOverHeardOut: a goodbye is heard behind much else, and behind what
// waits for the disk.
func TestTakenOverHeardOut(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Unconfirmed = 20_000 })
		addr := b.listen()
		oc, other := b.dial(addr)
		c, h := b.dial(addr)
		c.send(frame('l', number(0)))
		c.want(number(0))
		c.send(bytes.Repeat(frame('s', string(pattern(996))), 20_000), frame('e', "warm")) // the kernel widens its buffers
		c.want("warm")
		much := append(bytes.Repeat(frame('s', string(pattern(996))), 400), frame('q', "goodbye")...)
		b.deaf(h, oc, other, func() {
			c.send(much)
			// As if it had waited for long before, which does not count.
			cause := core.ErrTakenOver
			h.conn.kick.Store(&cause)
			h.conn.hearOut(core.ErrTakenOver, 0, 1000)
		})
		h.ended(nil)

		c, h = b.dial(addr)
		c.send(frame('l', number(0)))
		c.want(number(0))
		b.st.Hold()
		c.send(frame('p', string(pattern(30_000))))
		wait(t, "it waits for the disk", h.paused)
		c.send(frame('q', "goodbye"))
		h.conn.Kick(core.ErrTakenOver)
		h.inside(func(*core.Turn, *Conn) {}) // the kick has been looked at
		b.st.Release()
		h.ended(nil)
	})
}

// TestTakenOverStuck: who waits for the disk for long is not heard out.
func TestTakenOverStuck(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Unconfirmed = 20_000 })
		c, h := b.dial(b.listen())
		c.send(frame('l', number(0)))
		c.want(number(0))
		b.st.Hold()
		t.Cleanup(b.st.Release) // before the bus is closed
		c.send(frame('p', string(pattern(30_000))))
		wait(t, "it waits for the disk", h.paused)
		c.send(frame('q', "goodbye"))
		h.conn.Kick(core.ErrTakenOver)
		h.ended(core.ErrTakenOver)
	})
}

// TestLoginHeard: who has asked to be let in in time is, and nobody else.
func TestLoginHeard(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.AuthTimeout = time.Hour })
		addr := b.listen()
		oc, other := b.dial(addr)
		c, h := b.dial(addr)
		drip, d := b.dial(addr)
		const limit = 200 * time.Millisecond
		for _, p := range []*probe{h, d} {
			p.inside(func(_ *core.Turn, c *Conn) { c.run.arm(c, b.srv.now()+int64(limit)) })
		}
		b.deaf(h, oc, other, func() {
			c.send(frame('l', number(0)))
			drip.send(frame('l', number(0))[:1])
			time.Sleep(2 * limit) // the time is over
		})
		c.want(number(0))
		d.ended(core.ErrKeepAlive)
		c.send(frame('e', "served"))
		c.want("served")
	})
}

// TestLoginHeardWaits: a login that was read late has time for its verdict.
func TestLoginHeardWaits(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('w', "let me in"))
		wait(t, "it waits", h.paused)
		for i := range hearTries + 1 {
			var ended bool
			h.inside(func(t *core.Turn, c *Conn) {
				c.lastRead = c.srv.now() // it has been read just now
				c.tick(t)
				ended = c.ended
			})
			if ended != (i == hearTries) {
				t.Fatalf("ended is %v after its time was over %d times", ended, i+1)
			}
		}
		h.ended(core.ErrKeepAlive)
	})
}

// TestSilenceOfOurs: who did say something is not silent because nobody
// listened.
func TestSilenceOfOurs(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		oc, other := b.dial(addr)
		c, h := b.dial(addr)
		const silence = 200
		c.send(frame('l', number(silence)))
		c.want(number(silence))
		b.deaf(h, oc, other, func() {
			c.send(frame('e', "alive"))
			time.Sleep(2 * silence * time.Millisecond) // the silence is over
		})
		c.want("alive")
		h.ended(core.ErrKeepAlive)
	})
}
