package bench

import (
	"context"
	"fmt"
	"time"
)

const (
	// maxEvents bounds a turn: as many connections are read before what the
	// reads set in motion is written. More would make batches that no real
	// set of clients sends and would show as latency.
	maxEvents = 128

	// atOnce is how many connections are being opened at the same time; some
	// brokers listen with a backlog of 100, and a SYN that falls off comes
	// again only after a second.
	atOnce = 64

	// patience is the longest a turn waits before it looks at the context and
	// at the clock again.
	patience = 50 * time.Millisecond
)

// A loop owns every connection of a run and does all its I/O, in the
// goroutine that calls turn. Nothing here is shared, so nothing is locked.
//
// A turn is: wait, read once from each connection that has something and
// handle every whole packet, let the flows whose credit came back write into
// their connection's outbox, write each touched outbox once.
type loop struct {
	poll    *poller
	to      endpoint
	amqp    endpoint // of the clients that speak AMQP
	over    Over
	born    time.Time
	buf     []byte    // every read goes here; a client keeps only the torn packet at the end
	clients []*client // by slot; nil once closed, and a slot is never used again

	touched []*client // have something in their outbox
	ready   []*flow   // have credit

	up       int  // clients that are through their handshake
	moving   int  // clients on their way up or out
	dropped  int  // closed by the broker though nobody asked
	tolerant bool // a dropped connection is counted and does not end the run

	joined  latency // from dialling to the last answer of the handshake
	in, out int64   // bytes
	failure error   // the first one, which ends the run
}

// newLoop makes a loop whose buffer takes at least one packet of maxPacket.
func newLoop(addr string, over Over, maxPacket int) (*loop, error) {
	to, err := resolve(addr)
	if err != nil {
		return nil, err
	}
	poll, err := newPoller()
	if err != nil {
		return nil, err
	}
	return &loop{
		poll: poll,
		to:   to,
		over: over,
		born: time.Now(),
		buf:  make([]byte, max(256<<10, 2*maxPacket)),
	}, nil
}

// now is the time since the loop was made. Payloads are stamped with it.
func (l *loop) now() time.Duration { return time.Since(l.born) }

// turn waits for events, no longer than wait, and handles them.
func (l *loop) turn(ctx context.Context, wait time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	events, err := l.poll.wait(min(wait, patience))
	if err != nil {
		return err
	}
	for _, e := range events {
		if c := l.clients[e.slot]; c != nil {
			c.serve(e)
		}
	}
	l.flush()
	return l.failure
}

// flush ends the turn. Flows fill first, so that their messages leave in the
// same write as the acknowledgements their connection owes.
func (l *loop) flush() {
	l.fill()
	for _, c := range l.touched {
		c.touched = false
		c.flush()
	}
	l.touched = l.touched[:0]
}

// fill has every flow with credit write into its outbox.
func (l *loop) fill() {
	if len(l.ready) == 0 {
		return
	}
	now := l.now()
	for _, f := range l.ready {
		f.queued = false
		f.fill(now)
	}
	l.ready = l.ready[:0]
}

// until takes turns until done, or until the clock of the loop reaches end
// (0: never).
func (l *loop) until(ctx context.Context, end time.Duration, done func() bool) error {
	for !done() {
		wait := patience
		if end > 0 {
			if wait = end - l.now(); wait <= 0 {
				return nil
			}
		}
		if err := l.turn(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

// raise opens clients, a few at a time, and returns when each has been through
// its handshake. rate bounds how many are begun each second, 0 does not.
func (l *loop) raise(ctx context.Context, clients []*client, rate int, timeout time.Duration) error {
	started, before := 0, l.joined.count
	begin, moved := l.now(), l.now()
	for seen := before; l.joined.count-before < int64(len(clients)); {
		allowed, wait := len(clients), patience
		if rate > 0 {
			due := 1 + int(float64(l.now()-begin)*float64(rate)/float64(time.Second))
			if due < allowed {
				allowed, wait = due, time.Millisecond
			}
		}
		for started < allowed && l.moving < atOnce {
			if err := clients[started].dial(l); err != nil {
				return err
			}
			started++
		}
		if err := l.turn(ctx, wait); err != nil {
			return err
		}
		if l.joined.count != seen {
			seen, moved = l.joined.count, l.now()
		} else if l.now()-moved > timeout {
			return fmt.Errorf("%d of %d connections came up, then none for %v", seen-before, len(clients), timeout)
		}
	}
	return nil
}

// leave disconnects clients in order and waits until the broker has closed
// its side too, so that their sessions are offline when it returns. One that
// the broker keeps open for seconds is cut off.
func (l *loop) leave(ctx context.Context, clients []*client) error {
	for _, c := range clients {
		c.leave()
	}
	l.flush()
	left := func() bool {
		for _, c := range clients {
			if c.stage != closed {
				return false
			}
		}
		return true
	}
	err := l.until(ctx, l.now()+2*time.Second, left)
	for _, c := range clients {
		c.close()
	}
	return err
}

// close ends whatever is still open.
func (l *loop) close() {
	for _, c := range l.clients {
		if c != nil {
			c.close()
		}
	}
	l.poll.close()
}
