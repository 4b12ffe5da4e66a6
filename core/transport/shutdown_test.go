package transport

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

// drain reads a client to its end and closes, like a client that is well.
func drain(c *client) <-chan []byte {
	done := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(c) // what is missing, the test finds out
		c.Close()
		done <- b
	}()
	return done
}

// TestClose ends every connection with ErrShutdown, and may be called again, by
// several at once.
func TestClose(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 3 })
		addr := b.listen()
		var handlers []*probe
		var ends []<-chan []byte
		for range 20 {
			c, h := b.dial(addr)
			c.send(frame('e', "hello"))
			c.want("hello")
			handlers = append(handlers, h)
			ends = append(ends, drain(c))
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() { b.close() })
		}
		wg.Wait()
		b.close()
		for i, h := range handlers {
			h.ended(core.ErrShutdown)
			if len(h.closed) != 0 {
				t.Errorf("connection %d was closed twice", i)
			}
			if rest := <-ends[i]; len(rest) > 0 {
				t.Errorf("connection %d got %s", i, short(rest))
			}
		}
		if _, err := b.srv.Listen(ListenConfig{Address: "127.0.0.1:0"}, b.handler); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Listen after Close: %v", err)
		}
		if nc, err := net.DialTimeout("tcp", addr.String(), patience); err == nil {
			nc.Close()
			t.Error("the listener is still there")
		}
	})
}

// TestCloseDrains: what waits in outboxes goes out, if it is taken in time.
func TestCloseDrains(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		const size = 12 << 20 // more than sockets hold
		c.send(frame('b', number(size)))
		wait(t, "the socket is full", func() bool { return h.full() })
		closed := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			closed <- b.srv.Close(ctx)
		}()
		h.ended(core.ErrShutdown)
		h.lingerOn()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, pattern(size)) {
			t.Errorf("got %d of %d bytes, %v", len(got), size, err)
		}
		c.Close()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

func (p *probe) full() bool {
	o := p.conn.Out()
	o.Lock()
	defer o.Unlock()
	return o.blocked
}

// TestCloseDeadline: clients that take nothing and do not close are let go when
// the context ends.
func TestCloseDeadline(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		slow, h := b.dial(addr)
		slow.send(frame('b', number(12<<20)))
		wait(t, "the socket is full", func() bool { return h.full() })
		idle, h2 := b.dial(addr)
		h2.inside(func(_ *core.Turn, c *Conn) {}) // it is served
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = b.srv.Close(ctx)
		}()
		select {
		case <-closed:
		case <-time.After(patience):
			t.Error("Close waits for clients that do not close")
			slow.Close()
			idle.Close()
			<-closed
		}
		h.ended(core.ErrShutdown)
		h2.ended(core.ErrShutdown)
	})
}

// TestCloseAccept closes while clients arrive: each handler that was made sees
// its end.
func TestCloseAccept(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		for range 20 {
			b := newBox(t, driver, func(o *boxOptions) { o.Loops = 2 })
			addr := b.listen()
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for range 20 {
						nc, err := net.Dial("tcp", addr.String())
						if err != nil {
							return
						}
						_, _ = nc.Write(frame('e', "x")) // may be too late
						_, _ = io.Copy(io.Discard, nc)
						nc.Close()
					}
				})
			}
			first := b.next()
			if err := b.srv.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			wg.Wait()
			close(b.probes)
			first.ended(core.ErrShutdown)
			for h := range b.probes {
				if len(h.closed) != 1 {
					t.Fatalf("Closed was called %d times", len(h.closed))
				}
			}
			b.probes = nil
			b.close()
		}
	})
}

// TestBornKicked: a connection may be kicked while its handler is being made.
func TestBornKicked(t *testing.T) {
	kick := func(c *Conn) { c.Kick(errBad) }
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.born = kick })
		c, h := b.dial(b.listen())
		h.ended(errBad)
		c.wantEOF()
	})
	t.Run("pipe", func(t *testing.T) {
		b := newBox(t, func(o *boxOptions) { o.born = kick })
		p, h := b.pipe()
		h.ended(errBad)
		wait(t, "the end", p.Over)
	})
}
