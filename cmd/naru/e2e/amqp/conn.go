package amqp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// A conn is one connection of a script. A goroutine of its own reads; what has
// come is looked at when the script asks for it.
type conn struct {
	net      net.Conn
	frameMax int
	sent     time.Time // when we wrote last

	mu struct {
		sync.Mutex
		raw    []byte  // not parsed yet
		frames []Frame // parsed, in the order of coming
		err    error   // how reading ended
		news   chan struct{}
	}
}

// smallest is the frame-max before it is negotiated.
const smallest = 4096

func newConn(n net.Conn) *conn {
	c := &conn{net: n, frameMax: smallest, sent: time.Now()}
	c.mu.news = make(chan struct{})
	go c.read()
	return c
}

func (c *conn) read() {
	buf := make([]byte, 64<<10)
	for {
		n, err := c.net.Read(buf)
		c.mu.Lock()
		c.mu.raw = append(c.mu.raw, buf[:n]...)
		c.mu.err = err
		close(c.mu.news)
		c.mu.news = make(chan struct{})
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// write sends. That the broker closes meanwhile is no failure of writing.
func (c *conn) write(b []byte, patience time.Duration) {
	c.net.SetWriteDeadline(time.Now().Add(patience))
	c.net.Write(b)
	c.sent = time.Now()
}

func (c *conn) send(cmd *Command, channel uint16, patience time.Duration) error {
	b, err := cmd.frames(channel, c.frameMax)
	if err != nil {
		return err
	}
	c.write(b, patience)
	return nil
}

var errSilence = errors.New("received nothing")

// await calls look, with the lock held, until it is done or the time is over.
// ended says that no more bytes will come.
func (c *conn) await(until time.Time, look func(ended bool) (done bool, err error)) error {
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	for {
		c.mu.Lock()
		done, err := look(c.mu.err != nil)
		ended, news := c.mu.err, c.mu.news
		c.mu.Unlock()
		if done || err != nil {
			return err
		}
		if ended != nil {
			if errors.Is(ended, io.EOF) {
				return errors.New("the connection was closed")
			}
			return fmt.Errorf("the connection was closed: %w", ended)
		}
		select {
		case <-news:
		case <-timer.C:
			return errSilence
		}
	}
}

// parseLocked turns raw bytes into frames. Heartbeats are dropped, unless
// somebody waits for them.
func (c *conn) parseLocked(heartbeats bool) error {
	for {
		f, rest, ok, err := cutFrame(c.mu.raw)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		c.mu.raw = rest
		c.mu.frames = append(c.mu.frames, f)
	}
	if !heartbeats {
		c.mu.frames = slices.DeleteFunc(c.mu.frames, func(f Frame) bool { return f.Type == frameHeartbeat })
	}
	return nil
}

// next takes the next command that has come on a channel.
func (c *conn) next(channel uint16, until time.Time) (cmd *Command, err error) {
	err = c.await(until, func(bool) (bool, error) {
		if err := c.parseLocked(false); err != nil {
			return false, err
		}
		var n int
		if cmd, n, err = assemble(c.mu.frames, channel); cmd == nil {
			return false, err
		}
		c.mu.frames = slices.DeleteFunc(c.mu.frames, func(f Frame) bool {
			n -= map[bool]int{true: 1}[f.Channel == channel]
			return f.Channel == channel && n >= 0
		})
		return true, nil
	})
	return cmd, err
}

// assemble makes a command of the first frames of a channel, and says of how
// many; the command is nil when frames are missing. It is called for every
// frame that comes, so it copies no body before all of it is there.
func assemble(frames []Frame, channel uint16) (*Command, int, error) {
	var cmd *Command
	var body [][]byte
	n, left := 0, 0
	for _, f := range frames {
		if f.Channel != channel {
			continue
		}
		n++
		var err error
		switch {
		case cmd == nil && f.Type == frameMethod:
			if cmd, err = parseMethod(f.Payload); err == nil && !cmd.Method.Content() {
				return cmd, n, nil
			}
		case cmd != nil && cmd.Props == nil && f.Type == frameHeader:
			left, err = cmd.parseHeader(f.Payload)
		case cmd != nil && cmd.Props != nil && f.Type == frameBody && len(f.Payload) <= left:
			body = append(body, f.Payload)
			left -= len(f.Payload)
		default:
			err = fmt.Errorf("a frame of type %d out of place: %.40x", f.Type, f.Payload)
		}
		if err != nil {
			return nil, 0, err
		}
		if cmd.Props != nil && left == 0 {
			cmd.Body = bytes.Join(body, nil)
			return cmd, n, nil
		}
	}
	return nil, 0, nil
}

// unread tells what has come and was not asked for, "" if nothing.
func (c *conn) unread() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.parseLocked(false); err != nil {
		return err.Error()
	}
	if len(c.mu.frames) > 0 {
		f := c.mu.frames[0]
		cmd, _, err := assemble(c.mu.frames, f.Channel)
		switch {
		case err != nil:
			return err.Error()
		case cmd == nil:
			return fmt.Sprintf("on channel %d the beginning of a content", f.Channel)
		}
		return fmt.Sprintf("on channel %d %s", f.Channel, cmd)
	}
	if len(c.mu.raw) > 0 {
		return fmt.Sprintf("a part of a frame: %.40x", c.mu.raw)
	}
	return ""
}

// end closes from our side and waits for the reading goroutine.
func (c *conn) end() {
	c.net.Close()
	c.await(time.Now().Add(time.Minute), func(ended bool) (bool, error) { return ended, nil })
}
