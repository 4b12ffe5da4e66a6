package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/internal/wheel"
)

// A Handler is the protocol state machine of one connection. Feed, Quiet and
// Closed are called by one goroutine at a time, and are the only ones that touch
// the in-half; Drained is called by any, and touches the out-half alone.
type Handler interface {
	// Feed parses the whole packets at the beginning of data and never waits.
	// data is valid only during the call. It may return before it has consumed
	// all whole packets, and is called again with the rest.
	Feed(t *core.Turn, data []byte) Result
	// Drained: the outbox refused something and has room again.
	Drained(t *core.Turn)
	// Quiet: nothing has been read for a while; memory that can be had again
	// should go.
	Quiet()
	// Closed is the last call. cause is nil if Feed asked for the end without
	// one, io.EOF if the peer closed.
	Closed(t *core.Turn, cause error)
}

// A Result is what Feed has come to.
type Result struct {
	Consumed int
	// Need is the length, from the first byte not consumed, without which
	// feeding again is in vain; 0 is any more.
	Need int
	// Whole is the length of the packet that is being read, 0: not known.
	Whole int
	// Held is the number of bytes, not consumed, that wait for a commit.
	Held int
	// Wait is what must happen before feeding goes on.
	Wait core.Wait
	// End closes the connection, when what is in the outbox has gone out.
	End   bool
	Cause error
}

// A Conn is one connection. Its exported methods may be called from Feed; Kick
// from anywhere.
type Conn struct {
	srv     *Server
	handler Handler
	out     Outbox
	gate    core.Gate
	peer    netip.AddrPort
	door    *door // by which it came, nil if by none
	started int64 // of the server's clock

	// in-half: owned by whoever feeds
	pend      []byte        // read and not consumed
	need      int32         // bytes without which feeding is in vain
	whole     int32         // bytes of the packet that is being read
	limit     int32         // bytes of a packet that may be buffered, 0: as many as the handler needs
	beat      int32         // milliseconds between calls of the handler's Beat, 0: none
	silence   time.Duration // longest pause between reads, 0: any
	lastRead  int64         // nanoseconds of the server's clock
	hears     int8          // how often it was past its longest pause, and about to be read
	quiet     bool          // nothing was read since the last look
	loggedIn  bool
	waiting   bool // for a Wait, for commits or for the outbox
	stopWait  context.CancelFunc
	hungUp    bool // the peer has sent its last byte
	ended     bool // Closed has been called
	lingering bool
	owned     bool // pend is a buffer of its own, never reused

	timer wheel.Timer[*Conn]
	kick  atomic.Pointer[error] // why it must end; the first reason counts

	run runner
}

// A runner is how a connection gets its turn: an event loop, or a goroutine.
type runner interface {
	// post has f run where the connection is fed, soon. It never blocks.
	post(c *Conn, f func(*core.Turn, *Conn))
	// arm sets the connection's timer, in nanoseconds of the server's clock.
	arm(c *Conn, at int64)
	// hear takes what has arrived and was not read yet. soon says that there is
	// something, and that somebody else is about to take it.
	hear(t *core.Turn, c *Conn) (soon bool)
	// resume reads again after a pause.
	resume(t *core.Turn, c *Conn)
	// leave forgets the connection, before its socket is released.
	leave(c *Conn)
}

// Out returns the outbox.
func (c *Conn) Out() *Outbox { return &c.out }

// Gate returns what holds the replies of the connection back.
func (c *Conn) Gate() *core.Gate { return &c.gate }

// Peer returns the address of the peer.
func (c *Conn) Peer() netip.AddrPort { return c.peer }

// Admits says what is wrong with how a client wants to log in, before anybody is
// asked who it is: a listener may take none without a user name or a certificate.
func (c *Conn) Admits(cred *core.Credentials) error {
	if c.door != nil && c.door.named && !cred.HasUser && !cred.HasCertificate {
		return fmt.Errorf("%w: anonymous clients are not let in at this listener", core.ErrBadCredentials)
	}
	return nil
}

// CertificateUser returns the user whom the client's certificate names. ok says
// that this certificate decides who the client is; an empty name with it is
// nobody's.
func (c *Conn) CertificateUser() (name string, ok bool) {
	if w := c.wire(); w != nil {
		return w.user, w.certified
	}
	return "", false
}

// wire returns the wire below a layer, nil if there is none.
func (c *Conn) wire() *Wire {
	if g, ok := c.run.(*goConn); ok {
		if l, ok := g.link.(*streamLink); ok {
			return l.Wire
		}
	}
	return nil
}

// Age returns the time since the connection was accepted.
func (c *Conn) Age() time.Duration { return time.Duration(c.srv.now() - c.started) }

// Owned says that the data of the present Feed will never be overwritten.
func (c *Conn) Owned() bool { return c.owned }

// LoggedIn lifts the limits that hold before login. silence is the longest
// pause between reads from now on, 0: any.
func (c *Conn) LoggedIn(silence time.Duration) {
	c.loggedIn, c.limit, c.silence, c.hears = true, 0, silence, 0
	c.armSilence()
}

// A Beater is a Handler that has something to do from time to time. Beat is
// called by whoever calls Feed, and while that waits.
type Beater interface{ Beat(t *core.Turn) }

// Beat has the handler's Beat called at least this often, 0: never.
func (c *Conn) Beat(every time.Duration) {
	c.beat = int32(min(every.Milliseconds(), math.MaxInt32))
	c.armSilence()
}

// Kick ends the connection, soon and from any goroutine. The first cause is
// kept. A client that has connected anew is heard out: what it sent before, a
// goodbye as a rule, may have arrived and not been read.
func (c *Conn) Kick(cause error) {
	switch {
	case !c.kick.CompareAndSwap(nil, &cause):
	case heardOut(cause):
		c.hearOut(cause, 0, 0)
	default:
		c.run.post(c, func(t *core.Turn, c *Conn) { c.end(t, cause) })
	}
}

func heardOut(cause error) bool { return errors.Is(cause, core.ErrTakenOver) }

// hearOut ends the connection when all that has arrived is read, or after a while:
// a tenth of a second for what is to be read, a second for the disk or an answer
// about rights, and no time for what may last.
func (c *Conn) hearOut(cause error, tries, waits int) {
	const most = 100
	c.run.post(c, func(t *core.Turn, c *Conn) {
		if c.ended {
			return
		}
		over, pause := !c.run.hear(t, c) || tries >= most, time.Millisecond
		if c.waiting {
			over, pause = waits >= most || t.Bus().Alarmed() || c.out.unread(), 10*time.Millisecond
			waits++
		} else {
			tries++
		}
		if c.ended || over {
			c.end(t, cause)
			return
		}
		c.srv.spawned.Add(1)
		time.AfterFunc(pause, func() {
			defer c.srv.spawned.Done()
			c.hearOut(cause, tries, waits)
		})
	})
}

// Ending says that the connection is about to be ended, by Kick or with the server.
// It may be called from anywhere.
func (c *Conn) Ending() bool { return c.srv.ending.Load() || c.kick.Load() != nil }

// fail is called by the outbox when the socket has failed.
func (c *Conn) fail(err error) { c.Kick(fmt.Errorf("write: %w", err)) }

func (c *Conn) drained(t *core.Turn) {
	c.handler.Drained(t)
	c.run.post(c, func(t *core.Turn, c *Conn) {
		if c.waiting && c.stopWait == nil {
			c.unwait(t)
		}
	})
}

// process feeds data, which begins with what was left over. It is called with
// everything read so far and keeps what is not consumed.
func (c *Conn) process(t *core.Turn, data []byte) {
	for len(data) > 0 && len(data) >= int(c.need) && !c.waiting && !c.ended {
		if cause := c.kick.Load(); cause != nil && !heardOut(*cause) {
			c.end(t, *cause)
			return
		}
		if t.Full() { // of what others have set in motion; Feed would do nothing
			t.Flush()
		}
		c.gate.Begin(t)
		fed := data
		if c.limit > 0 && len(fed) > int(c.limit) { // a first packet that is larger is not seen whole
			fed = fed[:c.limit]
		}
		r := c.handler.Feed(t, fed)
		c.gate.EndFeed(t, r.Consumed+r.Held)
		data = data[r.Consumed:]
		c.need, c.whole = int32(r.Need), int32(max(r.Need, r.Whole))
		if r.End {
			c.end(t, r.Cause)
			return
		}
		// Behind a packet that waits there may be others: their bytes do not count.
		first := max(int(c.whole), len(data))
		if c.limit > 0 && r.Consumed == 0 && r.Wait == nil && first > int(c.limit) {
			c.end(t, fmt.Errorf("%w: %d bytes before login, limit %d", core.ErrTooLarge, first, c.limit))
			return
		}
		if r.Wait != nil {
			t.Flush() // what it waits for may be in this very turn
			c.wait(r.Wait)
			break
		}
		c.hold(t)
		if r.Consumed == 0 {
			break
		}
	}
	c.keep(data)
}

// hold stops reading while too much of what the client has sent is not on disk,
// or too much that it was sent is not taken.
func (c *Conn) hold(t *core.Turn) {
	if c.waiting {
		return
	}
	mark := c.srv.limits().Unconfirmed
	if t.Bus().Backlogged() {
		mark = 0
	}
	if held := c.gate.Held(); held > mark {
		// What waits may be in this very turn.
		t.Flush()
		if c.gate.WhenBelow(mark/2, c.wake) {
			c.waiting = true
			return
		}
	}
	if c.out.unread() {
		t.Flush()
		c.waiting = c.out.refuseUnread()
	}
}

func (c *Conn) wake() {
	c.run.post(c, func(t *core.Turn, c *Conn) {
		if c.waiting && c.stopWait == nil {
			c.unwait(t)
		}
	})
}

// wait runs w in a goroutine and goes on when it is over.
func (c *Conn) wait(w core.Wait) {
	ctx, cancel := context.WithCancel(c.srv.ctx)
	c.waiting, c.stopWait = true, cancel
	c.srv.spawned.Add(1)
	go func() {
		defer c.srv.spawned.Done()
		w(ctx)
		cancel()
		c.run.post(c, func(t *core.Turn, c *Conn) {
			c.stopWait = nil
			c.unwait(t)
		})
	}()
}

// unwait feeds what was kept and reads again.
func (c *Conn) unwait(t *core.Turn) {
	c.waiting = false
	if c.ended {
		return
	}
	c.lastRead = c.srv.now() // the pause was ours
	c.quiet = false
	if c.srv.ctx.Err() != nil {
		c.end(t, core.ErrShutdown)
		return
	}
	pend := c.pend
	c.process(t, pend)
	if !c.ended && !c.waiting {
		c.run.resume(t, c)
	}
}

// keep holds on to what is not consumed: in a buffer of the right size, that
// grows with what arrives and not with what is announced.
func (c *Conn) keep(rest []byte) {
	switch {
	case c.ended || len(rest) == 0:
		c.pend, c.owned = nil, false
	case len(c.pend) > 0 && cap(c.pend) > 0 && &rest[len(rest)-1] == &c.pend[len(c.pend)-1]:
		if len(rest) == len(c.pend) {
			return // nothing was consumed
		}
		if !c.owned {
			c.pend = c.pend[:copy(c.pend, rest)]
			return
		}
		// Packets in front of rest may have been kept by reference.
		c.pend, c.owned = append([]byte(nil), rest...), false
	default:
		c.pend, c.owned = append([]byte(nil), rest...), false
	}
}

// ownBuffer is the size from which on a partly read packet is read on into a
// buffer of its own.
const ownBuffer = 32 << 10

// readBuffer returns where to read to: behind what is left over, if a large
// packet is being read; otherwise shared.
func (c *Conn) readBuffer(shared []byte) []byte {
	whole := int(c.whole)
	if whole <= ownBuffer || len(c.pend) == 0 || len(c.pend) >= whole {
		return shared
	}
	if cap(c.pend)-len(c.pend) < min(smallBuffer, whole-len(c.pend)) {
		// Memory grows with what arrives and not with what is announced.
		grown := make([]byte, len(c.pend), min(whole, max(2*len(c.pend), bigBuffer)))
		copy(grown, c.pend)
		c.pend = grown
	}
	c.owned = true
	return c.pend[len(c.pend):min(cap(c.pend), whole)]
}

// received takes what has been read into buf, which readBuffer gave.
func (c *Conn) received(t *core.Turn, buf []byte) {
	c.lastRead = c.srv.now()
	c.quiet = false
	if c.loggedIn {
		c.hears = 0
	}
	c.srv.received.Add(uint64(len(buf)))
	switch {
	case c.owned && len(c.pend) > 0:
		c.pend = c.pend[:len(c.pend)+len(buf)]
		c.process(t, c.pend)
	case len(c.pend) > 0:
		c.pend = append(c.pend, buf...)
		c.process(t, c.pend)
	default:
		c.process(t, buf)
		if poison {
			for i := range buf {
				buf[i] = 0xdb
			}
		}
	}
}

// end closes the connection: Closed is called, what is in the outbox goes out,
// and the socket lives on for a moment so that the peer can read it.
func (c *Conn) end(t *core.Turn, cause error) {
	if c.ended {
		return
	}
	c.ended = true
	c.pend = nil
	if c.stopWait != nil {
		c.stopWait()
	}
	c.kick.CompareAndSwap(nil, &cause) // a later kick has nothing to do
	c.gate.Begin(t)
	c.handler.Closed(t, cause)
	if c.hungUp {
		c.srv.left(c)
		c.out.close()
		return
	}
	c.lingering = true
	c.run.arm(c, c.srv.now()+int64(lingerTime))
	// The end is the last reply: it comes after what the client waits for, and
	// when what its goodbye has changed is on disk.
	t.After(c.out.finish)
	c.gate.EndFeed(t, 0)
	if c.waiting {
		// What comes now is thrown away; reading it finds the peer's end.
		c.waiting = false
		c.run.resume(t, c)
	}
}

// lingerTime is how long a socket waits for its peer to read what was said
// last, and close.
const lingerTime = 2 * time.Second

// gone is called when the socket is of no more use.
func (c *Conn) gone(t *core.Turn, cause error) {
	c.hungUp = true
	if !c.ended {
		c.end(t, cause)
		return
	}
	if c.lingering {
		if errors.Is(cause, io.EOF) && c.out.awaited() {
			return
		}
		c.lingering = false
		c.srv.left(c)
		c.out.close()
	}
}

// tick is called when the timer fires.
func (c *Conn) tick(t *core.Turn) {
	switch {
	case c.lingering && !c.out.ended():
		// The end waits for a commit still: who sees the socket close may take
		// what it was about for done.
		c.run.arm(c, c.srv.now()+int64(lingerTime))
		return
	case c.lingering:
		c.gone(t, nil)
		return
	case c.ended:
		return
	case c.loggedIn && c.waiting:
		c.lastRead = c.srv.now() // we did not read
	}
	if (!c.loggedIn || c.silent()) && !c.heard(t) {
		return
	}
	if c.beat > 0 {
		c.handler.(Beater).Beat(t)
	}
	if c.quiet {
		c.handler.Quiet()
	}
	c.quiet = true
	c.armSilence()
}

// heard says whether a connection whose time is over, for its login or for a sign
// of life, goes on: it may have been us who did not listen, because the machine
// was busy, or stood still. If not it is ended, or looked at again soon.
func (c *Conn) heard(t *core.Turn) bool {
	last := c.lastRead
	soon := c.run.hear(t, c) ||
		!c.loggedIn && c.waiting && c.srv.now()-c.lastRead < hearTries*int64(hearTime)
	switch {
	case c.ended:
		return false
	case c.loggedIn && !c.silent():
		return true
	case (soon || c.lastRead != last) && c.hears < hearTries:
		c.hears++
		c.run.arm(c, c.srv.now()+int64(hearTime))
	case c.loggedIn:
		c.end(t, fmt.Errorf("%w: silent for %v", core.ErrKeepAlive, c.silence))
	default:
		c.end(t, fmt.Errorf("%w: no login within %v", core.ErrKeepAlive, c.srv.limits().AuthTimeout))
	}
	return false
}

// silent says whether the client is past its longest pause.
func (c *Conn) silent() bool {
	return c.silence > 0 && c.srv.now()-c.lastRead >= int64(c.silence)
}

// hearTime is how long a reader has to come to what has arrived, and a verdict to
// that on a login that was read late, hearTries times.
const (
	hearTime  = 50 * time.Millisecond
	hearTries = 20
)

// quietTime is how often a connection is looked at that may be silent.
const quietTime = 60 * time.Second

func (c *Conn) armSilence() {
	at := c.srv.now() + int64(quietTime)
	if c.silence > 0 {
		at = min(at, c.lastRead+int64(c.silence))
	}
	if c.beat > 0 {
		at = min(at, c.srv.now()+int64(c.beat)*int64(time.Millisecond))
	}
	c.run.arm(c, at)
}
