package ws

import (
	"bufio"
	"errors"
	"net"
	"sync"

	"github.com/narumq/naru/core/transport"
)

// aheadSize is how much is read from a socket at once.
const aheadSize = 16 << 10

var aheads = sync.Pool{New: func() any { return new([aheadSize]byte) }}

// An ahead is the connection below gorilla/websocket. It reads more than it is
// asked for, so that many small frames cost one system call, and holds a buffer
// only while there is something in it: not while it waits.
type ahead struct {
	net.Conn
	below transport.Stream // Conn, as it is read

	// owned by the reader
	buf  *[aheadSize]byte // from the pool; nil if nothing is in it
	rest []byte           // what has been read, of buf
}

// newAhead takes over a connection, of which something may have been read.
func newAhead(nc net.Conn, read *bufio.Reader) *ahead {
	a := &ahead{Conn: nc, below: transport.StreamOf(nc)}
	if n := read.Buffered(); n > 0 { // at most the 4 KiB that net/http reads at once
		b, _ := read.Peek(n)
		a.rest = append([]byte(nil), b...)
	}
	return a
}

// NetConn returns the connection below. See transport.WireOf.
func (a *ahead) NetConn() net.Conn { return a.Conn }

// Read waits until there is something.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if err := a.below.Await(); err != nil {
			return 0, err
		}
		if n, err := a.readNow(p); n > 0 || err != nil && !errors.Is(err, transport.ErrNothing) {
			return n, err
		}
	}
	n := copy(p, a.rest)
	if a.rest = a.rest[n:]; len(a.rest) == 0 {
		a.drop()
	}
	return n, nil
}

// readNow reads what is there: into rest, or if p is large straight into it.
func (a *ahead) readNow(p []byte) (int, error) {
	if len(p) >= aheadSize {
		return a.below.Read(p)
	}
	a.buf = aheads.Get().(*[aheadSize]byte)
	n, err := a.below.Read(a.buf[:])
	if a.rest = a.buf[:n]; n == 0 {
		a.drop()
	}
	return 0, err
}

func (a *ahead) drop() {
	if a.rest = nil; a.buf != nil {
		aheads.Put(a.buf)
		a.buf = nil
	}
}
