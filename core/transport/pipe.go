package transport

import (
	"net/netip"
	"sync"
	"time"

	"github.com/narumq/naru/core"
)

// A Pipe is a connection without a socket, for tests: what is sent is fed on
// the caller's goroutine, and what the broker writes gathers until it is taken.
type Pipe struct {
	conn *Conn

	mu     sync.Mutex // held by whoever feeds the connection
	queued []byte     // guarded by mu: sent while the connection paused
	shared []byte     // guarded by mu: what small reads go into

	out struct {
		sync.Mutex
		b      []byte // guarded
		full   int    // guarded: bytes that are taken until Receive; 0: any
		over   bool   // guarded: the broker has said its last byte
		cut    bool   // guarded: throw away what is written from now on
		signal chan struct{}
	}
}

// NewPipe connects a handler to the caller. The address of the peer is
// loopback.
func (s *Server) NewPipe(newHandler func(*Conn) Handler) *Pipe {
	p := &Pipe{}
	p.out.signal = make(chan struct{}, 1)
	peer := netip.MustParseAddrPort("127.0.0.1:1")
	c := s.newConn(peer, p, p, nil, false)
	if c == nil {
		return nil
	}
	p.conn = c
	p.mu.Lock()
	defer p.mu.Unlock()
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	c.handler = newHandler(c)
	p.arm(c, s.now()+int64(s.limits().AuthTimeout))
	return p
}

// Conn returns the connection.
func (p *Pipe) Conn() *Conn { return p.conn }

// Send feeds bytes as if they had been read. What comes while the connection
// pauses is fed when it goes on.
func (p *Pipe) Send(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.conn.srv.bus.NewTurn()
	p.queued = append(p.queued, b...)
	p.feed(t)
	t.End()
}

func (p *Pipe) feed(t *core.Turn) {
	c := p.conn
	for len(p.queued) > 0 && !c.waiting && !c.ended {
		if p.shared == nil {
			p.shared = make([]byte, bigBuffer)
		}
		buf := c.readBuffer(p.shared)
		n := copy(buf, p.queued)
		p.queued = append(p.queued[:0], p.queued[n:]...)
		c.received(t, buf[:n])
	}
}

// Limit has the pipe take n bytes and no more until they are received, like a
// client that does not read. 0 lifts the limit.
func (p *Pipe) Limit(n int) {
	p.out.Lock()
	p.out.full = n
	p.out.Unlock()
	if n == 0 {
		p.room()
	}
}

// Receive takes what the broker has written.
func (p *Pipe) Receive() []byte {
	p.out.Lock()
	b := p.out.b
	p.out.b = nil
	p.out.Unlock()
	p.room()
	return b
}

// Wait returns when something has been written or the broker has ended the
// connection, or after d; over says that it has.
func (p *Pipe) Wait(d time.Duration) (over bool) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	for {
		p.out.Lock()
		n, over := len(p.out.b), p.out.over
		p.out.Unlock()
		if n > 0 || over {
			return over
		}
		select {
		case <-p.out.signal:
		case <-timeout.C:
			return false
		}
	}
}

// Over says whether the broker has ended the connection.
func (p *Pipe) Over() bool {
	p.out.Lock()
	defer p.out.Unlock()
	return p.out.over
}

// Hangup ends the connection from the client's side.
func (p *Pipe) Hangup(cause error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := p.conn.srv.bus.NewTurn()
	p.conn.gone(t, cause)
	t.End()
}

// Cut throws away what the broker writes from now on, as if the power had
// failed.
func (p *Pipe) Cut() {
	p.out.Lock()
	defer p.out.Unlock()
	p.out.cut = true
}

func (p *Pipe) notify() {
	select {
	case p.out.signal <- struct{}{}:
	default:
	}
}

func (p *Pipe) room() {
	t := p.conn.srv.bus.NewTurn()
	p.conn.out.writable(t)
	t.End()
}

func (p *Pipe) write(bufs [][]byte) (n int, err error) {
	p.out.Lock()
	defer p.out.Unlock()
	for _, b := range bufs {
		take := len(b)
		if p.out.full > 0 {
			take = min(take, max(0, p.out.full-len(p.out.b)))
		}
		if !p.out.cut {
			p.out.b = append(p.out.b, b[:take]...)
		}
		n += take
		if take < len(b) {
			err = errAgain
			break
		}
	}
	p.notify()
	return n, err
}

func (p *Pipe) finish() {
	p.out.Lock()
	p.out.over = true
	p.out.Unlock()
	p.notify()
	p.conn.srv.spawned.Add(1)
	go p.hungUp()
}

// hungUp is the peer's answer to the end: it closes too.
func (p *Pipe) hungUp() {
	defer p.conn.srv.spawned.Done()
	p.Hangup(nil)
}

func (p *Pipe) release() {
	p.out.Lock()
	p.out.over = true
	p.out.Unlock()
	p.notify()
}

func (p *Pipe) post(c *Conn, f func(*core.Turn, *Conn)) {
	c.srv.spawned.Add(1)
	go p.run(c, f)
}

func (p *Pipe) run(c *Conn, f func(*core.Turn, *Conn)) {
	defer c.srv.spawned.Done()
	p.mu.Lock()
	defer p.mu.Unlock()
	t := c.srv.bus.NewTurn()
	f(t, c)
	p.feed(t)
	t.End()
}

func (p *Pipe) hear(t *core.Turn, _ *Conn) (soon bool) {
	p.feed(t)
	return false
}

func (p *Pipe) resume(t *core.Turn, _ *Conn) { p.feed(t) }

func (p *Pipe) arm(c *Conn, at int64) { c.srv.armShared(c, at) }

func (p *Pipe) leave(c *Conn) { c.srv.forget(c) }
