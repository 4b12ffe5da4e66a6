package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A door is what a listener and its connections share.
type door struct {
	address string
	most    int64 // connections, 0: any number
	named   bool  // no anonymous clients

	open   atomic.Int64
	turned atomic.Int64 // refused for most since it was last told
}

// enter counts a connection, or turns it away. d may be nil.
func (s *Server) enter(d *door) bool {
	if n, most := s.open.Add(1), s.limits().MaxConnections; most > 0 && n > int64(most) {
		s.open.Add(-1)
		s.turned.Add(1)
		return false
	}
	if d == nil {
		return true
	}
	if n := d.open.Add(1); d.most > 0 && n > d.most {
		d.turned.Add(1)
		s.exit(d)
		return false
	}
	return true
}

// exit is called once for each enter that has returned true.
func (s *Server) exit(d *door) {
	s.open.Add(-1)
	if d != nil {
		d.open.Add(-1)
	}
}

// tellDoors logs whom listeners have turned away.
func (s *Server) tellDoors() {
	s.mu.Lock()
	doors := s.doors
	s.mu.Unlock()
	for _, d := range doors {
		if k := d.turned.Swap(0); k > 0 {
			s.log.Warn("connections refused: max_connections of the listener is reached",
				"listener", d.address, "count", k, "max_connections", d.most)
		}
	}
}

// handshakeBytes bounds what a client may send until its TLS handshake is over:
// crypto/tls would gather a certificate of 256 KiB.
const handshakeBytes = 64 << 10

// An entrance takes connections that cannot be served as they come: it reads the
// PROXY header and does the TLS handshake, each in a goroutine of its own that
// has AuthTimeout for it.
type entrance struct {
	srv   *Server
	ln    net.Listener
	door  *door
	keys  *keyring // nil: no TLS
	proxy bool
	timed bool // the time for the handshake is part of that for the login
	// pass takes what is ready, in the end with its tls.Conn.
	pass func(*Wire, *tlsConn)
}

func (s *Server) newEntrance(lc ListenConfig) (*entrance, error) {
	if err := lc.Validate(); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", lc.Address, err)
	}
	e := &entrance{srv: s, proxy: lc.ProxyProtocol, door: &door{
		address: lc.Address, most: int64(lc.MaxConnections), named: lc.Anonymous != nil && !*lc.Anonymous,
	}}
	var err error
	if lc.TLS != nil { // before the socket is open
		if e.keys, err = newKeyring(lc.Address, *lc.TLS, s.log); err != nil {
			return nil, fmt.Errorf("listen on %s: tls: %w", lc.Address, err)
		}
	}
	if e.ln, err = s.bind(lc); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doors = append(s.doors, e.door)
	if e.keys != nil {
		s.keyrings = append(s.keyrings, e.keys)
	}
	return e, nil
}

// ReloadCertificates reads the certificates and keys of all listeners again. Of
// a listener where something is wrong with them, the old ones stay in force.
func (s *Server) ReloadCertificates() error {
	s.mu.Lock()
	keyrings := s.keyrings
	s.mu.Unlock()
	var errs []error
	for _, k := range keyrings {
		errs = append(errs, k.reload())
	}
	return errors.Join(errs...)
}

// take is called by the loop that accepts, and does not wait for the client.
func (e *entrance) take(nc net.Conn) {
	s := e.srv
	if !s.enter(e.door) {
		nc.Close()
		return
	}
	w, err := newWire(nc)
	if err != nil { // it is closed already
		s.exit(e.door)
		nc.Close()
		return
	}
	w.srv, w.door = s, e.door
	if e.timed {
		w.since = s.now()
	}
	if _, ok := nc.(*net.UnixConn); ok {
		w.peer = thisMachine
	}
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.wires[w] = struct{}{}
	}
	s.mu.Unlock()
	switch {
	case closed:
		w.Close()
	case e.keys == nil && !e.proxy:
		e.pass(w, nil)
	default:
		s.spawned.Add(1)
		go e.greet(w)
	}
}

// greet does what comes before the protocol.
func (e *entrance) greet(w *Wire) {
	defer e.srv.spawned.Done()
	deadline := time.Now().Add(e.srv.limits().AuthTimeout)
	_ = w.SetDeadline(deadline) // reading finds out if it is closed
	if e.proxy {
		if err := readProxyHeader(w); err != nil {
			e.refuse(w, "no PROXY header", err)
			return
		}
	}
	var tc *tlsConn
	if e.keys != nil {
		tc = newTLSConn(w, e.keys)
		if err := tc.Handshake(); err != nil {
			e.refuse(w, "TLS handshake failed", err)
			return
		}
		tc.wire.left = -1
		e.keys.identify(w, tc.ConnectionState())
	}
	_ = w.SetDeadline(time.Time{})
	e.pass(w, tc)
}

// refuse closes a connection. What the client was told last, such as what is
// wrong with its certificate, gets a moment to arrive: closing a socket with
// something unread in it would be a reset, which may overtake it.
func (e *entrance) refuse(w *Wire, what string, err error) {
	defer w.Close()
	peer := w.RemoteAddr().String()
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
		// Somebody looks whether the port is open or wants to be in the way, or
		// the server closes.
		e.srv.log.Debug(what, "listener", e.door.address, "peer", peer, "err", err)
		return
	}
	e.srv.log.Info(what, "listener", e.door.address, "peer", peer, "err", err)
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok && e.keys != nil {
		_ = half.CloseWrite()
		_ = w.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, w.Conn, handshakeBytes) // until the client closes
	}
}

// forgetWire is called when a wire is served, or closed.
func (s *Server) forgetWire(w *Wire) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.wires, w)
}

// An acceptQueue gives connections to whoever calls Accept.
type acceptQueue struct {
	net.Listener
	ready chan net.Conn
	done  chan struct{} // closed by Close
	once  sync.Once
}

func (q *acceptQueue) put(w *Wire, tc *tlsConn) {
	var c net.Conn = w
	if tc != nil {
		c = tc.Conn
	}
	select {
	case q.ready <- c:
	case <-q.done:
		w.Close()
	}
}

// Accept waits for a connection.
func (q *acceptQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.ready:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close stops listening.
func (q *acceptQueue) Close() error {
	err := net.ErrClosed
	q.once.Do(func() {
		close(q.done)
		err = q.Listener.Close()
	})
	return err
}
