package e2e

import (
	"net"
	"sync"
	"time"
)

// A conn is one client connection of a running script. A reader goroutine
// gathers what the broker sends from the first moment on: bytes that nobody
// expects must be noticed, and bytes that precede a reset must not be lost.
type conn struct {
	net  net.Conn
	sent time.Time // when the script last sent something
	mu   struct {
		sync.Mutex
		data   []byte    // received and not yet consumed
		err    error     // why reading ended, nil while it goes on
		closed time.Time // when it ended
	}
	more chan struct{} // one slot: data or err has changed
	done chan struct{} // closed by readLoop when it ends
}

func newConn(n net.Conn) *conn {
	c := &conn{net: n, sent: time.Now(), more: make(chan struct{}, 1), done: make(chan struct{})}
	go c.readLoop()
	return c
}

func (c *conn) readLoop() {
	defer close(c.done)
	buf := make([]byte, 64<<10)
	for {
		n, err := c.net.Read(buf)
		c.mu.Lock()
		c.mu.data = append(c.mu.data, buf[:n]...)
		if err != nil {
			c.mu.err, c.mu.closed = err, time.Now()
		}
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

// unread is what has come and was not consumed, and whether the broker has
// closed.
func (c *conn) unread() (data []byte, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.data[:len(c.mu.data):len(c.mu.data)], c.mu.err != nil
}

func (c *conn) consume(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.data = c.mu.data[n:]
}

// await calls ready with the unread bytes whenever they change, until it says
// yes, reading ends or the deadline passes; the last bytes seen are returned.
func (c *conn) await(deadline time.Time, ready func(data []byte, closed bool) bool) (data []byte, closed bool) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for {
		data, closed = c.unread()
		if ready(data, closed) || closed {
			return data, closed
		}
		select {
		case <-c.more:
		case <-timer.C:
			return c.unread()
		}
	}
}

// closedAfter is how long after our last bytes the broker closed.
func (c *conn) closedAfter() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.closed.Sub(c.sent)
}

// send writes with a time limit. An error is not reported: a broker may close
// while we still write, and whether it should is for the next line to say.
func (c *conn) send(b []byte, patience time.Duration) {
	c.sent = time.Now()
	c.net.SetWriteDeadline(c.sent.Add(patience))
	c.net.Write(b)
}

// end closes from our side and waits for the reader.
func (c *conn) end(reset bool) {
	if tcp, ok := c.net.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0)
	}
	c.net.Close()
	<-c.done
}
