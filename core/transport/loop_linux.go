package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/internal/wheel"
)

// canPoll says whether there are event loops here.
const canPoll = true

// A loop is an event loop: one goroutine that waits for the descriptors of many
// connections, reads what is there and feeds it, all that was ready at once in
// one turn. It owns its connections' in-halves, timers and descriptors.
//
// Descriptors are registered once, edge-triggered for both directions, so that
// neither a pause nor a full socket costs a system call. They are not known to
// Go's own poller.
//
// See docs/adr/0001-descriptor-owner.md for the measurements behind it.
type loop struct {
	srv   *Server
	epoll int
	event int // eventfd that wakes the loop

	// owned by run
	conns   []*Conn // by descriptor
	wheel   *wheel.Wheel[*Conn]
	again   []*Conn // have more to read than they were given time for, each once
	spare   []*Conn // memory for again
	buf     []byte
	busy    bool               // several events came at once: there may be more
	yielded int64              // when it last gave up its processor, of the server's clock
	serving map[int]*listening // by descriptor

	mail struct {
		sync.Mutex
		list   []posted // guarded
		awake  bool     // guarded: the loop has been woken and not looked yet
		closed bool     // guarded
	}
	done chan struct{}
}

type posted struct {
	c *Conn
	f func(*core.Turn, *Conn)
	g func(*core.Turn) // instead of f
}

type listening struct {
	ln   *net.TCPListener // kept so that it is not collected, and its descriptor closed
	fd   int
	door *door
	new  func(*Conn) Handler
	// failing: the last attempt to accept failed, and the next has its time.
	failing bool
}

const (
	maxEvents = 128
	// A connection is read so many times in a row; then others have their turn.
	maxReads = 4
	// A goroutine that has not been scheduled for 10 ms is one that hogs its
	// processor, to Go's monitor, and loses that whenever it is seen waiting. A loop
	// that has lost it must be given another after each wait.
	yieldTime = 8 * time.Millisecond
)

func (s *Server) startLoops() error {
	n := s.cfg.Loops
	if n == 0 {
		n = runtime.GOMAXPROCS(0)
	}
	for range n {
		l, err := newLoop(s)
		if err != nil {
			return err
		}
		s.loops = append(s.loops, l)
	}
	for _, l := range s.loops {
		go l.run()
	}
	return nil
}

func newLoop(s *Server) (*loop, error) {
	l := &loop{
		srv: s, wheel: wheel.New[*Conn](50*time.Millisecond, s.now()), buf: make([]byte, bigBuffer),
		serving: make(map[int]*listening), done: make(chan struct{}),
	}
	var err error
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if l.event, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err := l.watch(l.event, unix.EPOLLIN|unix.EPOLLET); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *loop) watch(fd int, events uint32) error {
	ev := unix.EpollEvent{Events: events, Fd: int32(fd)}
	if err := unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return fmt.Errorf("watch descriptor: %w", err)
	}
	return nil
}

// wait returns how many events are there. Under load it looks without waiting first:
// there always are some then, and the scheduler need not know of the call.
func (l *loop) wait(events []unix.EpollEvent, timeout int) (int, error) {
	if l.busy || timeout == 0 {
		n, _, e := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll),
			uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
		switch {
		case e == 0 && n > 0:
			return int(n), nil
		case timeout == 0:
			return 0, nil
		}
	}
	if now := l.srv.now(); now-l.yielded >= int64(yieldTime) {
		l.yielded = now
		runtime.Gosched()
	}
	k, err := unix.EpollWait(l.epoll, events, timeout)
	if errors.Is(err, syscall.EINTR) {
		return 0, nil
	}
	l.busy = k > 1
	return max(k, 0), err
}

func (l *loop) run() {
	defer close(l.done)
	events := make([]unix.EpollEvent, maxEvents)
	for {
		n, err := l.wait(events, l.timeout())
		if err != nil {
			l.srv.bus.Fatal(fmt.Errorf("epoll: %w", err))
			return
		}
		again := l.again
		l.again = l.spare[:0]
		t := l.srv.bus.NewTurn()
		for i := range events[:n] {
			l.handle(t, &events[i])
			if t.Full() {
				t.Flush()
			}
		}
		l.readAgain(t, again)
		l.wheel.Advance(l.srv.now(), func(w *wheel.Timer[*Conn]) { w.Owner.tick(t) })
		closed := l.readMail(t)
		t.End()
		if closed {
			l.release()
			return
		}
	}
}

// timeout is how long to wait for events, in milliseconds.
func (l *loop) timeout() int {
	if len(l.again) > 0 {
		return 0
	}
	at, ok := l.wheel.Next()
	if !ok {
		return -1
	}
	d := time.Duration(at - l.srv.now())
	if d <= 0 {
		return 0
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

func (l *loop) handle(t *core.Turn, ev *unix.EpollEvent) {
	fd := int(ev.Fd)
	if fd == l.event {
		var b [8]byte
		_, _ = unix.Read(l.event, b[:]) // reset; the mail is read in any case
		return
	}
	if ls := l.serving[fd]; ls != nil {
		if !ls.failing {
			l.accept(ls)
		}
		return
	}
	if fd >= len(l.conns) || l.conns[fd] == nil {
		return // closed earlier in this round
	}
	c := l.conns[fd]
	if ev.Events&unix.EPOLLOUT != 0 {
		c.out.writable(t)
	}
	if ev.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		p := c.run.(*polledConn)
		p.unread = true
		if ev.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
			p.last = true
			if c.stopWait != nil {
				c.stopWait() // nobody will hear what it waits for
			}
		}
		if !p.queued { // or it has two shares of one round
			l.read(t, c)
		}
	}
}

// read reads and feeds until the socket is empty, the connection pauses or has
// had its share.
func (l *loop) read(t *core.Turn, c *Conn) {
	p := c.run.(*polledConn)
	for i := 0; p.unread && !c.waiting; i++ {
		if i == maxReads {
			if !p.queued {
				p.queued = true
				l.again = append(l.again, c)
			}
			return
		}
		buf := c.readBuffer(l.buf)
		if c.ended {
			buf = l.buf // what comes after the end is thrown away
		}
		n, err := syscall.Read(p.fd, buf)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			p.unread = false
			return
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			p.unread = false
			c.gone(t, fmt.Errorf("read: %w", err))
			return
		case n == 0:
			p.unread = false
			c.gone(t, io.EOF)
			return
		}
		if n < len(buf) && !p.last {
			p.unread = false // a short read has emptied the socket
		}
		if !c.ended {
			c.received(t, buf[:n])
		}
		if t.Full() {
			t.Flush()
		}
	}
}

// readAgain reads on where the last round has left off.
func (l *loop) readAgain(t *core.Turn, list []*Conn) {
	for i, c := range list {
		list[i] = nil
		if p := c.run.(*polledConn); !p.closed {
			p.queued = false
			l.read(t, c)
		}
	}
	l.spare = list
}

func (l *loop) readMail(t *core.Turn) (closed bool) {
	l.mail.Lock()
	list := l.mail.list
	l.mail.list, l.mail.awake = nil, false
	closed = l.mail.closed
	l.mail.Unlock()
	for i := range list {
		if list[i].g != nil {
			list[i].g(t)
		} else {
			list[i].f(t, list[i].c)
		}
		if t.Full() {
			t.Flush()
		}
	}
	return closed
}

func (l *loop) send(m posted) {
	l.mail.Lock()
	if l.mail.closed {
		l.mail.Unlock()
		return
	}
	l.mail.list = append(l.mail.list, m)
	first := !l.mail.awake
	l.mail.awake = true
	l.mail.Unlock()
	if first {
		l.wakeUp()
	}
}

func (l *loop) wakeUp() {
	one := [8]byte{1}
	_, _ = unix.Write(l.event, one[:]) // full means that it is awake
}

// polledConn is the descriptor of a connection that a loop owns.
type polledConn struct {
	loop   *loop
	fd     int
	unread bool // there may be something to read
	last   bool // the peer has closed its side: read on to the end
	closed bool
	queued bool // in again
}

func (p *polledConn) post(c *Conn, f func(*core.Turn, *Conn)) { p.loop.send(posted{c: c, f: f}) }

func (p *polledConn) arm(c *Conn, at int64) {
	if at < 0 {
		p.loop.wheel.Stop(&c.timer)
	} else {
		p.loop.wheel.Set(&c.timer, at)
	}
}

func (p *polledConn) hear(t *core.Turn, c *Conn) (soon bool) {
	if p.closed {
		return false
	}
	p.unread = true
	p.loop.read(t, c)
	return p.queued
}

func (p *polledConn) resume(t *core.Turn, c *Conn) { p.loop.read(t, c) }

func (p *polledConn) write(bufs [][]byte) (int, error) { return writeFD(p.fd, bufs) }

func (p *polledConn) finish() { _ = unix.Shutdown(p.fd, unix.SHUT_WR) }

// release closes the descriptor. It may be called by whoever wrote last, when
// the loop has forgotten the connection already (see leave).
func (p *polledConn) release() { _ = unix.Close(p.fd) }

// leave has the loop forget the connection; its descriptor may have a new life
// right after.
func (p *polledConn) leave(c *Conn) {
	l := p.loop
	p.closed = true
	if p.fd < len(l.conns) && l.conns[p.fd] == c {
		l.conns[p.fd] = nil
	}
}

// adopt begins to serve an accepted descriptor.
func (l *loop) adopt(t *core.Turn, fd int, peer netip.AddrPort, d *door, newHandler func(*Conn) Handler) {
	p := &polledConn{loop: l, fd: fd}
	c := l.srv.newConn(peer, p, p, d, false)
	if c == nil {
		unix.Close(fd)
		return
	}
	for fd >= len(l.conns) {
		l.conns = append(l.conns, make([]*Conn, max(64, len(l.conns)))...)
	}
	l.conns[fd] = c
	c.handler = newHandler(c)
	p.arm(c, l.srv.now()+int64(l.srv.limits().AuthTimeout))
	err := l.watch(fd, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
	if err != nil {
		c.gone(t, err)
	}
}

// accept takes what waits at a listener and spreads it over the loops.
func (l *loop) accept(ls *listening) {
	s := l.srv
	for {
		fd, sa, err := syscall.Accept4(ls.fd, syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		switch {
		case errors.Is(err, syscall.EAGAIN):
			ls.failing = false
			return
		case errors.Is(err, syscall.EINTR), errors.Is(err, syscall.ECONNABORTED):
			continue
		case err != nil:
			// Out of descriptors, as a rule. The backlog keeps who waits, and the
			// next attempt is made soon.
			if !ls.failing {
				s.log.Error("accept failed, and is tried again", "err", err)
			}
			ls.failing = true
			s.spawned.Add(1)
			time.AfterFunc(100*time.Millisecond, func() {
				defer s.spawned.Done()
				l.send(posted{g: func(*core.Turn) {
					if l.serving[ls.fd] == ls {
						l.accept(ls)
					}
				}})
			})
			return
		}
		to := s.loops[int(s.nextLoop.Add(1))%len(s.loops)]
		peer := sockAddr(sa)
		to.send(posted{g: func(t *core.Turn) { to.adopt(t, fd, peer, ls.door, ls.new) }})
	}
}

func sockAddr(sa syscall.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}

// listen has the loop accept from a listener.
func (l *loop) listen(ln *net.TCPListener, d *door, newHandler func(*Conn) Handler) error {
	raw, err := ln.SyscallConn()
	if err != nil {
		return err
	}
	ls := &listening{ln: ln, door: d, new: newHandler}
	err = raw.Control(func(fd uintptr) {
		ls.fd = int(fd)
		// Accepted sockets inherit it.
		err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(ls.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	})
	if err != nil {
		return err
	}
	// Inherited by what is accepted: a peer that vanished without a word must not
	// hold a descriptor for ever, if its protocol has no keep-alive.
	for _, o := range [...]struct{ level, name, value int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 300},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 60}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 5},
	} {
		if err := unix.SetsockoptInt(ls.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("keep-alive of TCP: %w", err)
		}
	}
	done := make(chan error, 1)
	l.send(posted{g: func(*core.Turn) {
		l.serving[ls.fd] = ls
		// By edges: what cannot be accepted must not wake the loop for ever.
		done <- l.watch(ls.fd, unix.EPOLLIN|unix.EPOLLET)
	}})
	select {
	case err := <-done:
		return err
	case <-l.done: // Close was faster
		return net.ErrClosed
	}
}

// unlisten stops accepting.
func (l *loop) unlisten() {
	done := make(chan struct{})
	l.send(posted{g: func(*core.Turn) {
		for fd := range l.serving {
			_ = unix.EpollCtl(l.epoll, unix.EPOLL_CTL_DEL, fd, nil)
			delete(l.serving, fd)
		}
		close(done)
	}})
	<-done
}

// kickAll ends every connection of the loop.
func (l *loop) kickAll(cause error) {
	l.send(posted{g: func(t *core.Turn) {
		for _, c := range l.conns {
			if c == nil {
				continue
			}
			c.end(t, cause)
			if t.Full() {
				t.Flush()
			}
		}
	}})
}

// close ends the loop and waits for it.
func (l *loop) close() {
	l.mail.Lock()
	first := !l.mail.closed
	l.mail.closed = true
	l.mail.Unlock()
	if first {
		l.wakeUp()
	}
	<-l.done
}

// release closes what is still open when the loop ends.
func (l *loop) release() {
	t := l.srv.bus.NewTurn()
	for _, c := range l.conns {
		if c != nil {
			c.gone(t, core.ErrShutdown)
		}
	}
	t.End()
	unix.Close(l.epoll)
	unix.Close(l.event)
}
