package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
)

// A tlsConn is a connection with TLS over a wire.
type tlsConn struct {
	*tls.Conn
	wire *tlsWire
}

func newTLSConn(w *Wire, k *keyring) *tlsConn {
	below := &tlsWire{Wire: w, left: handshakeBytes}
	return &tlsConn{Conn: tls.Server(below, k.base), wire: below}
}

// A tlsWire is what crypto/tls reads from and writes to: a wire that waits, and
// in the hands of a tlsStream one that does not.
type tlsWire struct {
	*Wire
	left    int // bytes that may be read until the handshake is over; -1: it is
	eager   bool
	ahead   []byte // of the pool, while a Read runs or the wire's head is in it
	emptied bool   // the socket was, in this Read
}

var errLongHandshake = errors.New("the client sends too much in its handshake")

// NetConn returns the wire below. See WireOf.
func (l *tlsWire) NetConn() net.Conn { return l.Wire }

func (l *tlsWire) Read(p []byte) (int, error) {
	if l.eager {
		return l.readEager(p)
	}
	if l.left == 0 {
		return 0, errLongHandshake
	}
	if l.left > 0 && len(p) > l.left {
		p = p[:l.left]
	}
	n, err := l.Wire.Read(p)
	if l.left > 0 {
		l.left -= n
	}
	return n, err
}

// readEager reads from the buffer, and the buffer from the socket without
// waiting. crypto/tls asks for some hundred bytes at a time.
func (l *tlsWire) readEager(p []byte) (int, error) {
	if len(l.head) == 0 {
		if l.emptied {
			return 0, ErrNothing
		}
		n, err := l.TryRead(l.ahead)
		if err != nil {
			return 0, err
		}
		l.emptied = n < len(l.ahead)
		l.head = l.ahead[:n]
	}
	return l.readHead(p), nil
}

// A tlsStream is TLS as a layer over a wire. crypto/tls does not mind a Read that
// finds nothing: ErrNothing is temporary, and the next Read goes on where this
// one stopped. So while nothing comes a connection holds no buffer of ours.
//
// It answers the client without being asked, when that updates its keys; the
// wire bounds what a client can ask for that does not read.
type tlsStream struct {
	*tlsConn
	drained bool // the last Read found nothing; owned by who reads
}

func newTLSStream(c *tlsConn) *tlsStream {
	c.wire.eager = true
	return &tlsStream{tlsConn: c}
}

// Await waits for the wire when there is nothing left above it.
func (s *tlsStream) Await() error {
	if !s.drained {
		return nil
	}
	return s.wire.Await()
}

// Read fills p as far as it can be filled now: what was sent in many records is
// fed at once.
func (s *tlsStream) Read(p []byte) (n int, err error) {
	l := s.wire
	if l.ahead == nil {
		l.ahead = getBuffer(bigBuffer)[:bigBuffer]
	}
	l.emptied, s.drained = false, false
	for n < len(p) && err == nil {
		var k int
		k, err = s.Conn.Read(p[n:])
		n += k
	}
	if len(l.head) == 0 {
		putBuffer(l.ahead)
		l.ahead = nil
	}
	switch {
	case errors.Is(err, ErrNothing):
		s.drained = true
		if n > 0 {
			err = nil
		}
	case errors.Is(err, io.ErrUnexpectedEOF):
		// Many clients close without a close_notify. The protocols above know
		// where their packets end, so nothing can be cut off unseen.
		err = io.EOF
	case err != nil && n > 0:
		err = nil // it is told again
	}
	return n, err
}

// Write encrypts and sends; it does not wait, because the wire does not.
func (s *tlsStream) Write(p []byte) error {
	_, err := s.Conn.Write(p)
	return err
}

// Finish sends a close_notify.
func (s *tlsStream) Finish(error) { _ = s.CloseWrite() } // the socket may be gone
