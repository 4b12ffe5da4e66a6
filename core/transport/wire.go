package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Wire is the socket below a layer that transforms bytes: TLS, WebSocket. It
// is an ordinary net.Conn for handshakes. When a server has adopted it, writes
// never block: what the socket does not take is kept, and the outbox above
// gives no more until that has gone. So a layer need not know how to write in
// parts, and its lock is never held for long.
type Wire struct {
	net.Conn // *net.TCPConn or *net.UnixConn
	inlet
	head []byte // read already, and not yet given to the layer; owned by who reads

	// of a wire that the server has accepted; set before anybody else has it
	srv       *Server
	door      *door
	since     int64          // of the server's clock: the time to log in runs from here; 0: from the handler's start
	peer      netip.AddrPort // the real one
	proxied   bool           // peer is what a proxy told
	certified bool           // a certificate says who the client is
	user      string         // who that is, "" for nobody
	shut      atomic.Bool    // Close has been called

	mu struct {
		sync.Mutex
		conn    *Conn  // nil until adopted
		rest    []byte // what the socket has not taken
		corked  bool   // more comes at once
		waiting bool   // a goroutine waits for room
		ending  bool   // nothing will be written behind rest
		err     error  // the socket has failed
	}
}

// maxRest is what a layer may leave unwritten. A server writes 64 KiB at a time
// and nothing while there is a rest; above that only answers of the layer
// itself can get, to a peer that asks and does not read.
const maxRest = 1 << 20

var errUnread = errors.New("the peer asks and does not read the answers")

// newWire makes a wire of a TCP or Unix socket.
func newWire(c net.Conn) (*Wire, error) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil, fmt.Errorf("%T has no descriptor", c)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Wire{Conn: c, inlet: inlet{raw: raw}, peer: addrPort(c.RemoteAddr())}, nil
}

// RemoteAddr is the address of the real peer.
func (w *Wire) RemoteAddr() net.Addr {
	if w.proxied {
		return net.TCPAddrFromAddrPort(w.peer)
	}
	return w.Conn.RemoteAddr()
}

// Close closes the socket.
func (w *Wire) Close() error {
	err := w.Conn.Close()
	if w.door != nil && w.shut.CompareAndSwap(false, true) {
		w.srv.forgetWire(w)
		w.srv.exit(w.door)
	}
	return err
}

// Read is called by the layer above, and waits.
func (w *Wire) Read(p []byte) (int, error) {
	if len(w.head) > 0 {
		return w.readHead(p), nil
	}
	return w.Conn.Read(p)
}

func (w *Wire) readHead(p []byte) int {
	n := copy(p, w.head)
	if w.head = w.head[n:]; len(w.head) == 0 {
		w.head = nil
	}
	return n
}

// TryRead reads what is there, and returns ErrNothing if there is nothing.
func (w *Wire) TryRead(p []byte) (n int, err error) {
	if len(w.head) > 0 {
		return w.readHead(p), nil
	}
	if e := w.raw.Read(func(fd uintptr) bool {
		n, err = readFD(int(fd), p)
		return true
	}); e != nil {
		return 0, e
	}
	return n, err
}

// Await waits until there is something to read.
func (w *Wire) Await() error {
	if len(w.head) > 0 {
		return nil
	}
	return w.await()
}

// adopt has writes go through without blocking from now on.
func (w *Wire) adopt(c *Conn) error {
	w.mu.Lock()
	w.mu.conn = c
	w.mu.Unlock()
	c.srv.forgetWire(w)
	return w.Conn.SetDeadline(time.Time{}) // those of the handshake
}

// SetWriteDeadline does nothing once writes do not block.
func (w *Wire) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.conn != nil {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}

// Write is called by the layer above.
func (w *Wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	if w.mu.conn == nil {
		w.mu.Unlock()
		return w.Conn.Write(p)
	}
	defer w.mu.Unlock()
	if w.mu.err != nil {
		return 0, w.mu.err
	}
	if len(w.mu.rest)+len(p) > maxRest {
		w.mu.conn.Kick(errUnread) // crypto/tls would tell nobody of a failed answer
		return 0, errUnread
	}
	w.mu.rest = append(w.mu.rest, p...)
	if err := w.flushLocked(); err != nil && !errors.Is(err, errAgain) {
		return 0, err
	}
	return len(p), nil
}

// cork gathers what is written until uncork, which returns errAgain if the
// socket did not take it all: the outbox is told when it has.
func (w *Wire) cork() {
	w.mu.Lock()
	w.mu.corked = true
	w.mu.Unlock()
}

func (w *Wire) uncork() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.corked = false
	return w.flushLocked()
}

// cause is why the connection ends.
func (w *Wire) cause() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if p := w.mu.conn.kick.Load(); p != nil {
		return *p
	}
	return nil
}

// full says whether there is a rest.
func (w *Wire) full() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.mu.rest) > 0
}

// finish tells the peer that nothing more will come, when the rest has gone.
func (w *Wire) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.ending = true
	_ = w.flushLocked() // who reads finds out what has become of the socket
}

// flushLocked writes the rest, or what the socket takes of it. A goroutine
// waits for room for as long as there is a rest.
func (w *Wire) flushLocked() error {
	if w.mu.err != nil {
		return w.mu.err
	}
	if w.mu.corked {
		return nil
	}
	if w.mu.waiting {
		return errAgain
	}
	if err := w.tryLocked(); !errors.Is(err, errAgain) {
		return err
	}
	w.mu.waiting = true
	w.mu.conn.srv.spawned.Add(1)
	go w.awaitRoom(w.mu.conn)
	return errAgain
}

func (w *Wire) tryLocked() error {
	var n int
	var err error
	if len(w.mu.rest) > 0 {
		if e := w.raw.Write(func(fd uintptr) bool {
			n, err = writeFD(int(fd), [][]byte{w.mu.rest})
			return true
		}); e != nil {
			err = e
		}
	}
	switch w.mu.rest = w.mu.rest[n:]; {
	case errors.Is(err, errAgain):
		return err
	case err != nil:
		w.mu.err, w.mu.rest = err, nil
		return err
	}
	if cap(w.mu.rest) > smallBuffer { // what is idle should hold nothing
		w.mu.rest = nil
	}
	if w.mu.ending {
		w.mu.ending = false
		if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // the peer may have gone already; the reader finds that out
		}
	}
	return nil
}

// awaitRoom waits until the socket has taken the rest.
func (w *Wire) awaitRoom(c *Conn) {
	defer c.srv.spawned.Done()
	for again := true; again; {
		err := w.raw.Write(func(fd uintptr) bool { return ready(fd, forWriting) })
		w.mu.Lock()
		if err == nil {
			err = w.tryLocked()
		}
		again = errors.Is(err, errAgain)
		w.mu.waiting = again
		w.mu.Unlock()
	}
	// Of an error the outbox hears when it writes next.
	t := c.srv.bus.NewTurn()
	c.out.writable(t)
	t.End()
}
