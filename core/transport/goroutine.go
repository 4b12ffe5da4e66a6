package transport

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/narumq/naru/core"
)

// goConn serves a connection by a goroutine of its own, on Go's poller: where
// there is no epoll, and for sockets that are not plain TCP.
type goConn struct {
	link
	conn *Conn
	size int // of the buffer that is read into

	mu   sync.Mutex    // held by whoever feeds the connection
	wake chan struct{} // tells a paused reader to go on
}

// A link is a socket that a goroutine reads.
type link interface {
	socket
	// adopt is called before anything else.
	adopt(c *Conn) error
	// await waits until there is something to read.
	await() error
	// arrived says whether there is something that was not fed: at the socket, or
	// in the hands of who reads. It may be called by anybody.
	arrived() bool
	// read reads it, or returns ErrNothing.
	read(p []byte) (int, error)
}

// accept takes what arrives at a listener until that is closed.
func (s *Server) accept(ln net.Listener, take func(net.Conn)) {
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
		take(nc)
	}
}

// serve serves a plain TCP connection.
func (s *Server) serve(nc *net.TCPConn, d *door, newHandler func(*Conn) Handler) {
	raw, err := nc.SyscallConn()
	if err != nil { // it is closed already
		nc.Close()
		return
	}
	s.start(&tcpLink{nc: nc, inlet: inlet{raw: raw}}, bigBuffer, addrPort(nc.RemoteAddr()), d, newHandler)
}

// start starts the goroutine of a connection.
func (s *Server) start(l link, size int, peer netip.AddrPort, d *door, newHandler func(*Conn) Handler) {
	g := &goConn{link: l, size: size, wake: make(chan struct{}, 1)}
	began, counted := s.now(), false
	if sl, ok := l.(*streamLink); ok {
		counted = sl.Wire.door != nil
		if sl.Wire.since > 0 {
			began = sl.Wire.since
		}
	}
	c := s.newConn(peer, g, g, d, counted)
	if c == nil {
		l.release()
		return
	}
	forsake := func() {
		if !counted {
			s.exit(d)
		}
		l.release()
	}
	g.conn = c
	if err := l.adopt(c); err != nil { // it is closed already
		forsake()
		return
	}
	// Whoever kicks it from now on comes after its handler is there.
	g.mu.Lock()
	defer g.mu.Unlock()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		forsake()
		return
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.handler = newHandler(c)
	g.arm(c, began+int64(s.limits().AuthTimeout))
	s.spawned.Add(1)
	go g.serve(c)
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		p := t.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	return netip.AddrPort{}
}

// serve is the goroutine of a connection: it reads and feeds until the end.
func (g *goConn) serve(c *Conn) {
	defer c.srv.spawned.Done()
	for {
		// A pooled buffer is held while there is something to read, and not
		// while waiting for it.
		if err := g.await(); err != nil {
			g.gone(c, err)
			return
		}
		shared := getBuffer(g.size)
		g.mu.Lock()
		buf := c.readBuffer(shared[:g.size])
		g.mu.Unlock()
		n, err := g.read(buf)
		g.mu.Lock()
		if n > 0 && !c.ended {
			t := c.srv.bus.NewTurn()
			c.received(t, buf[:n])
			t.End()
		}
		paused := c.waiting && !c.ended
		g.mu.Unlock()
		putBuffer(shared)
		if err != nil && !errors.Is(err, ErrNothing) {
			g.gone(c, err)
			return
		}
		if paused {
			<-g.wake
		}
	}
}

// A tcpLink is a plain TCP socket.
type tcpLink struct {
	conn *Conn
	nc   *net.TCPConn
	inlet
}

// An inlet is the reading side of a socket that Go's poller waits for.
type inlet struct {
	raw  syscall.RawConn
	idle atomic.Bool // who reads waits for the socket
}

func (i *inlet) await() error {
	i.idle.Store(true)
	defer i.idle.Store(false)
	return i.raw.Read(func(fd uintptr) bool { return ready(fd, forReading) })
}

// arrived: see link.
func (i *inlet) arrived() (yes bool) {
	if !i.idle.Load() {
		return true
	}
	err := i.raw.Control(func(fd uintptr) { yes = ready(fd, forReading) })
	return yes && err == nil
}

func (l *tcpLink) adopt(c *Conn) error {
	l.conn = c
	return nil
}

func (l *tcpLink) read(p []byte) (int, error) { return l.nc.Read(p) }

// write writes without blocking. If the socket is full, a goroutine waits until
// it has room, for as long as there is something to write.
func (l *tcpLink) write(bufs [][]byte) (n int, err error) {
	e := l.raw.Write(func(fd uintptr) bool {
		n, err = writeFD(int(fd), bufs)
		return true
	})
	if err == nil {
		err = e
	}
	if errors.Is(err, errAgain) {
		l.conn.srv.spawned.Add(1)
		go l.awaitRoom()
	}
	return n, err
}

func (l *tcpLink) awaitRoom() {
	c := l.conn
	defer c.srv.spawned.Done()
	if err := l.raw.Write(func(fd uintptr) bool { return ready(fd, forWriting) }); err != nil {
		return // closed meanwhile
	}
	t := c.srv.bus.NewTurn()
	c.out.writable(t)
	t.End()
}

func (l *tcpLink) finish() {
	// The peer may have gone already; the reader finds that out.
	_ = l.nc.CloseWrite()
}

func (l *tcpLink) release() {
	_ = l.nc.Close() // nothing is in it that anybody waits for
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

func (g *goConn) hear(_ *core.Turn, c *Conn) (soon bool) {
	return !c.waiting && g.arrived()
}

func (g *goConn) resume(*core.Turn, *Conn) {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

func (g *goConn) arm(c *Conn, at int64) { c.srv.armShared(c, at) }

func (g *goConn) leave(c *Conn) { c.srv.forget(c) }
