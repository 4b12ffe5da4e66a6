package transport

import (
	"crypto/tls"
	"errors"
	"net"
)

// A Stream is a layer over a Wire, such as TLS or WebSocket. Await and Read are
// called by one goroutine, Write and Finish by one other at a time.
type Stream interface {
	// Await waits until Read has something, as far as can be told without a
	// buffer: an idle connection holds none.
	Await() error
	// Read returns bytes of the protocol above, or ErrNothing.
	Read(p []byte) (int, error)
	// Write sends bytes of the protocol above. They may be overwritten after it
	// has returned.
	Write(p []byte) error
	// Finish says in the layer's own way that nothing more will come. cause is
	// why the connection ended, nil if it was in good order.
	Finish(cause error)
}

// ErrNothing is the answer of a Stream that has nothing to read until its wire
// has. Layers that know net.Error take it for a passing one.
var ErrNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string   { return "nothing to read" }
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }

// ServeStream serves a connection whose handshakes are over. It takes the wire,
// which it closes in any case. blocking says that Read may wait.
func (s *Server) ServeStream(w *Wire, st Stream, blocking bool, newHandler func(*Conn) Handler) {
	size := bigBuffer
	if blocking { // while it waits it holds the buffer
		size = smallBuffer
	}
	s.start(&streamLink{Wire: w, stream: st}, size, w.peer, w.door, newHandler)
}

// A streamLink is the link of a connection below whose outbox there is a layer.
type streamLink struct {
	*Wire
	stream Stream
}

func (l *streamLink) adopt(c *Conn) error { return l.Wire.adopt(c) }

func (l *streamLink) await() error { return l.stream.Await() }

func (l *streamLink) read(p []byte) (int, error) { return l.stream.Read(p) }

// write encodes as much as the wire takes. See socket.
func (l *streamLink) write(bufs [][]byte) (n int, err error) {
	scratch := getBuffer(bigBuffer)
	defer putBuffer(scratch)
	for len(bufs) > 0 {
		if l.Wire.full() {
			return n, errAgain
		}
		b := scratch[:0]
		for len(bufs) > 0 && len(b) < bigBuffer {
			k := min(len(bufs[0]), bigBuffer-len(b))
			b = append(b, bufs[0][:k]...)
			if bufs[0] = bufs[0][k:]; len(bufs[0]) == 0 {
				bufs = bufs[1:]
			}
		}
		l.Wire.cork()
		err := l.stream.Write(b)
		if e := l.Wire.uncork(); err == nil && !errors.Is(e, errAgain) {
			err = e
		}
		if err != nil {
			return n, err
		}
		n += len(b)
	}
	return n, nil
}

func (l *streamLink) finish() {
	l.stream.Finish(l.Wire.cause())
	l.Wire.finish()
}

func (l *streamLink) release() { _ = l.Wire.Close() } // nothing is in it that anybody waits for

// plain is the stream that is no layer at all: of a Unix socket, or of one whose
// first bytes were for somebody else.
type plain struct{ *Wire }

func (p plain) Read(b []byte) (int, error) { return p.TryRead(b) }

func (p plain) Write(b []byte) error {
	_, err := p.Wire.Write(b)
	return err
}

func (plain) Finish(error) {}

// Plain returns the stream of a wire without a layer.
func Plain(w *Wire) Stream { return plain{w} }

// StreamOf returns what Accept has given as a stream, for a layer above it that
// reads ahead without waiting. Nothing else may read from it afterwards.
func StreamOf(c net.Conn) Stream {
	switch l := c.(type) {
	case *Wire:
		return Plain(l)
	case *tls.Conn:
		if w, ok := l.NetConn().(*tlsWire); ok {
			return newTLSStream(&tlsConn{l, w})
		}
	}
	return nil
}
