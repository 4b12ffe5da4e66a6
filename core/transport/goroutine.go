package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/narumq/naru/core"
)

// goConn serves a connection by a goroutine of its own, on Go's poller: where
// there is no epoll, and for sockets that are not plain TCP.
type goConn struct {
	conn *Conn
	nc   *net.TCPConn
	raw  syscall.RawConn

	mu   sync.Mutex    // held by whoever feeds the connection
	wake chan struct{} // tells a paused reader to go on
}

func (s *Server) accept(ln net.Listener, newHandler func(*Conn) Handler) {
	defer s.spawned.Done()
	pause := time.Duration(0)
	for {
		nc, err := ln.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			// Out of descriptors, as a rule: those who are here are served on.
			if pause == 0 {
				s.log.Error("accept failed, and is tried again", "err", err)
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
				return
			}
			continue
		}
		pause = 0
		s.serve(nc.(*net.TCPConn), newHandler)
	}
}

// serve starts the goroutine of a connection.
func (s *Server) serve(nc *net.TCPConn, newHandler func(*Conn) Handler) {
	raw, err := nc.SyscallConn()
	if err != nil { // it is closed already
		nc.Close()
		return
	}
	g := &goConn{nc: nc, raw: raw, wake: make(chan struct{}, 1)}
	c := s.newConn(addrPort(nc.RemoteAddr()), g, g)
	if c == nil {
		nc.Close()
		return
	}
	g.conn = c
	// Whoever kicks it from now on comes after its handler is there.
	g.mu.Lock()
	defer g.mu.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.open.Add(-1)
		nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.handler = newHandler(c)
	g.arm(c, s.now()+int64(s.cfg.AuthTimeout))
	s.spawned.Add(1)
	go g.read(c)
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// read is the goroutine of a connection: it reads and feeds until the end.
func (g *goConn) read(c *Conn) {
	defer c.srv.spawned.Done()
	for {
		// A pooled buffer is held while there is something to read, and not
		// while waiting for it.
		if err := g.await(); err != nil {
			g.gone(c, err)
			return
		}
		shared := getBuffer(bigBuffer)
		g.mu.Lock()
		buf := c.readBuffer(shared[:bigBuffer])
		g.mu.Unlock()
		n, err := g.nc.Read(buf)
		g.mu.Lock()
		if n > 0 && !c.ended {
			t := c.srv.bus.NewTurn()
			c.received(t, buf[:n])
			t.End()
		}
		paused := c.waiting && !c.ended
		g.mu.Unlock()
		putBuffer(shared)
		if err != nil {
			g.gone(c, err)
			return
		}
		if paused {
			<-g.wake
		}
	}
}

// await waits until there is something to read.
func (g *goConn) await() error {
	return g.raw.Read(func(fd uintptr) bool { return ready(fd, forReading) })
}

// write writes without blocking. If the socket is full, a goroutine waits until
// it has room, for as long as there is something to write.
func (g *goConn) write(bufs [][]byte) (n int, err error) {
	e := g.raw.Write(func(fd uintptr) bool {
		n, err = writeFD(int(fd), bufs)
		return true
	})
	if err == nil {
		err = e
	}
	if errors.Is(err, errAgain) {
		g.conn.srv.spawned.Add(1)
		go g.awaitRoom()
	}
	return n, err
}

func (g *goConn) awaitRoom() {
	c := g.conn
	defer c.srv.spawned.Done()
	if err := g.raw.Write(func(fd uintptr) bool { return ready(fd, forWriting) }); err != nil {
		return // closed meanwhile
	}
	t := c.srv.bus.NewTurn()
	c.out.writable(t)
	t.End()
}

func (g *goConn) finish() {
	// The peer may have gone already; the reader finds that out.
	_ = g.nc.CloseWrite()
}

func (g *goConn) release() {
	_ = g.nc.Close() // nothing is in it that anybody waits for
}

func (g *goConn) gone(c *Conn, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := c.srv.bus.NewTurn()
	c.gone(t, readCause(err))
	t.End()
}

func readCause(err error) error {
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	return err
}

func (g *goConn) post(c *Conn, f func(*core.Turn, *Conn)) {
	c.srv.spawned.Add(1)
	go g.run(c, f)
}

// run is a posted call.
func (g *goConn) run(c *Conn, f func(*core.Turn, *Conn)) {
	defer c.srv.spawned.Done()
	g.mu.Lock()
	defer g.mu.Unlock()
	t := c.srv.bus.NewTurn()
	f(t, c)
	t.End()
	if c.ended {
		g.resume(t, c)
	}
}

func (g *goConn) resume(*core.Turn, *Conn) {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *goConn) arm(c *Conn, at int64) { c.srv.armShared(c, at) }

func (g *goConn) leave(c *Conn) { c.srv.forget(c) }
