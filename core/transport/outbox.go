package transport

import (
	"errors"
	"sync"

	"github.com/narumq/naru/core"
)

// errAgain is what a socket answers that has no room.
var errAgain = errors.New("try again")

// A socket is where an outbox writes to.
type socket interface {
	// write writes as much as goes without blocking; it returns errAgain when
	// the rest must wait for writable.
	write(bufs [][]byte) (int, error)
	// finish tells the peer that nothing more will come.
	finish()
	// release gives the descriptor back. It is called once, when nobody writes
	// or reads any more.
	release()
}

// An Outbox holds the encoded bytes that a client has not taken yet. Its lock
// is the out lock of the connection: the adapter's out-half is guarded by it
// too. Begin, End, AppendRef and Room are called under it.
type Outbox struct {
	conn *Conn
	sock socket

	mu       sync.Mutex // guards what follows
	sealed   []chunk    // full buffers, oldest first
	buf      []byte     // being filled
	size     int        // bytes in all, with those being written
	replies  int32      // at most so many of them are replies
	touched  bool       // in the list of a turn that will flush
	writing  bool       // somebody writes, with the lock let go
	blocked  bool       // the socket has no room
	edge     bool       // the socket has had room since the last attempt
	refused  bool       // somebody was told that there is no room
	closing  bool       // nothing more will be appended
	finished bool       // the peer has been told so
	dead     bool       // the socket is gone; bytes are thrown away
	closed   bool       // nobody reads from the socket any more: it may be released
	freed    bool       // the socket has been released
	leaving  bool       // the peer has closed its side and waits for the end of ours
}

// A chunk is a sealed buffer, or a reference to bytes that never change.
type chunk struct {
	b      []byte
	pooled bool
}

// Lock takes the out lock.
func (o *Outbox) Lock() { o.mu.Lock() }

// Unlock lets go of the out lock.
func (o *Outbox) Unlock() { o.mu.Unlock() }

// Room says whether n more bytes may be appended. If not, the handler's Drained
// is called when there is room again.
func (o *Outbox) Room(n int) bool {
	if o.dead || o.closing {
		return false
	}
	if o.size == 0 || o.size+n <= o.conn.srv.limits().OutboxSize {
		return true
	}
	o.refused = true
	return false
}

// Begin returns a buffer to append at most n bytes to, for End.
func (o *Outbox) Begin(n int) []byte {
	switch {
	case o.buf == nil:
		o.buf = getBuffer(n)
	case cap(o.buf)-len(o.buf) >= n:
	case cap(o.buf) == smallBuffer && len(o.buf)+n <= bigBuffer:
		b := append(getBuffer(bigBuffer), o.buf...)
		putBuffer(o.buf)
		o.buf = b
	default:
		o.seal()
		if n < smallBuffer {
			n = bigBuffer // much is on its way
		}
		o.buf = getBuffer(n)
	}
	return o.buf
}

func (o *Outbox) seal() {
	if len(o.buf) > 0 {
		o.sealed = append(o.sealed, chunk{o.buf, true})
	} else if o.buf != nil {
		putBuffer(o.buf)
	}
	o.buf = nil
}

// End takes the buffer that Begin gave, with what has been appended.
func (o *Outbox) End(t *core.Turn, b []byte) {
	n := len(b) - len(o.buf)
	o.buf = b
	o.added(t, n)
}

// AppendRef appends bytes that will never change. Large ones are not copied.
func (o *Outbox) AppendRef(t *core.Turn, b []byte) {
	if len(b) < byReference {
		o.End(t, append(o.Begin(len(b)), b...))
		return
	}
	o.seal()
	o.sealed = append(o.sealed, chunk{b, false})
	o.added(t, len(b))
}

func (o *Outbox) added(t *core.Turn, n int) {
	o.size += n
	if !o.touched {
		o.touched = true
		t.Touch(o, n)
	} else {
		t.Appended(n)
	}
}

// AppendReply appends encoded replies. The bound does not hold for them: a
// client that does not read its replies is not read either.
func (o *Outbox) AppendReply(t *core.Turn, b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.dead || o.closing {
		return
	}
	o.replies += int32(len(b))
	o.End(t, append(o.Begin(len(b)), b...))
}

// unread says whether the client leaves more replies unread than it should.
// Deliveries do not count: a client may well write for a while before it reads.
func (o *Outbox) unread() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.unreadLocked()
}

func (o *Outbox) unreadLocked() bool {
	return int(o.replies) > o.conn.srv.limits().OutboxSize && !o.dead
}

// refuseUnread is unread, and has the handler told when there is room.
func (o *Outbox) refuseUnread() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	unread := o.unreadLocked()
	o.refused = o.refused || unread
	return unread
}

// Flush writes without blocking. Only one goroutine writes at a time; what is
// appended meanwhile it takes along.
func (o *Outbox) Flush(t *core.Turn) {
	o.mu.Lock()
	o.touched = false
	o.writeLocked(t)
}

// writable is called when the socket has room again.
func (o *Outbox) writable(t *core.Turn) {
	o.mu.Lock()
	o.edge = true
	if !o.blocked {
		o.mu.Unlock()
		return
	}
	o.blocked = false
	o.writeLocked(t)
}

// writeLocked writes until nothing is left or the socket is full, and lets go
// of the lock.
func (o *Outbox) writeLocked(t *core.Turn) {
	if o.writing || o.blocked || o.dead {
		o.mu.Unlock()
		return
	}
	o.writing = true
	var failed error
	w := writes.Get().(*writeList)
	for o.size > 0 {
		w.chunks = append(w.chunks[:0], o.sealed...)
		if len(o.buf) > 0 {
			w.chunks = append(w.chunks, chunk{o.buf, true})
		}
		o.sealed, o.buf = nil, nil
		o.edge = false
		o.mu.Unlock()

		w.bufs = w.bufs[:0]
		for _, c := range w.chunks {
			w.bufs = append(w.bufs, c.b)
		}
		n, err := o.sock.write(w.bufs)

		o.mu.Lock()
		o.size -= n
		o.conn.srv.sent.Add(uint64(n))
		if rest := consume(w.chunks, n); len(rest) > 0 {
			o.sealed = append(append([]chunk(nil), rest...), o.sealed...)
		}
		o.replies = int32(min(int(o.replies), max(o.size, 0)))
		if err != nil && !errors.Is(err, errAgain) {
			failed = err
			o.throwLocked()
			break
		}
		if err != nil && !o.edge {
			o.blocked = true
			break
		}
	}
	w.recycle()
	if o.closing && o.size == 0 && !o.dead && !o.finished {
		// Still as the one who writes: nobody may release the socket meanwhile.
		o.finished = true
		o.mu.Unlock()
		o.sock.finish()
		o.mu.Lock()
	}
	o.writing = false
	drained := o.refused && !o.dead && !o.closing && o.size <= o.conn.srv.limits().OutboxSize/2
	if drained {
		o.refused = false
	}
	free := o.closed && !o.freed
	if free {
		o.freed = true
	}
	left := o.leaving && (o.finished || o.dead) && !free
	o.mu.Unlock()
	switch {
	case free:
		o.sock.release()
	case left:
		o.conn.run.post(o.conn, func(t *core.Turn, c *Conn) { c.gone(t, nil) })
	case failed != nil:
		o.conn.fail(failed)
	case drained:
		o.conn.drained(t)
	}
}

// A writeList is the scratch of one write.
type writeList struct {
	chunks []chunk
	bufs   [][]byte
}

var writes = sync.Pool{New: func() any { return new(writeList) }}

func (w *writeList) recycle() {
	clear(w.chunks[:cap(w.chunks)])
	clear(w.bufs[:cap(w.bufs)])
	if cap(w.chunks) <= 64 {
		writes.Put(w)
	}
}

// consume drops n written bytes from the front.
func consume(chunks []chunk, n int) []chunk {
	for i := range chunks {
		c := &chunks[i]
		if n < len(c.b) {
			if n > 0 {
				// The front of a pooled buffer is gone: it is no longer what the
				// pool gave.
				c.b, c.pooled = c.b[n:], false
			}
			return chunks[i:]
		}
		n -= len(c.b)
		if c.pooled {
			putBuffer(c.b)
		}
	}
	return nil
}

// throwLocked gives up what has not been written.
func (o *Outbox) throwLocked() {
	o.dead = true
	o.seal()
	o.sealed, o.size = nil, 0
}

// finish lets what is there go out, then tells the peer that it was all.
func (o *Outbox) finish(t *core.Turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closing = true
	if !o.touched && !o.dead {
		o.touched = true
		t.Touch(o, 0)
	}
}

// ended says whether finish has been called, or nothing can be said any more.
func (o *Outbox) ended() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closing || o.dead
}

// awaited says whether there is something that a peer may wait for which has
// closed its side: last replies, or commits before the end. If so, the
// connection is gone as soon as there is no more.
func (o *Outbox) awaited() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leaving = !o.dead && !o.finished && (!o.closing || o.size > 0)
	return o.leaving
}

// close throws away what is left and releases the socket, at once or when
// whoever writes has finished.
func (o *Outbox) close() {
	o.mu.Lock()
	o.closing, o.closed = true, true
	o.throwLocked()
	// Whoever writes now releases it afterwards.
	free := !o.writing && !o.freed
	if free {
		o.freed = true
	}
	o.mu.Unlock()
	if free {
		o.sock.release()
	}
}
