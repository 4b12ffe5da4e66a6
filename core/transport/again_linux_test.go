package transport

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/narumq/naru/core"
)

// TestAgainOnce: a peer that sends faster than it is fed has one share of each
// round, however long it does so.
func TestAgainOnce(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.Poller = "epoll" })
	c, h := b.dial(b.listen())
	c.send(frame('l', number(0)))
	c.want(number(0))
	control(t, h.conn, func(fd int) { // room for more than one share
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20); err != nil {
			t.Error(err)
		}
	})
	h.inside(func(*core.Turn, *Conn) { h.onFeed = func() { time.Sleep(time.Millisecond) } }) // slower than the peer
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		much := bytes.Repeat(frame('s', string(pattern(996))), 2_000)
		for range 20 {
			if _, err := c.Write(much); err != nil {
				return
			}
		}
	}()
	most, seen := 0, 0
	for over := false; !over; {
		select {
		case <-flood:
			over = true
		default:
		}
		h.inside(func(_ *core.Turn, c *Conn) {
			l := c.run.(*polledConn).loop
			most = max(most, len(l.again))
			seen += len(l.again)
		})
	}
	if most > 1 || seen == 0 {
		t.Errorf("one connection is up to %d times on the list of those to read again, seen %d times", most, seen)
	}
	c.Close()
}
