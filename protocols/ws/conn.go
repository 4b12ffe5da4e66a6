package ws

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
)

// A stream is one WebSocket as a stream of bytes: what messages they come in
// means nothing. See transport.Stream.
//
// What the client does wrong ends the connection by Kick and not by an error of
// Read, so that the closing frame with its code still arrives: whatever the
// client had sent meanwhile is read and thrown away, or else the socket would
// be reset.
type stream struct {
	ws   *websocket.Conn
	br   *bufio.Reader // that ws reads from
	in   *ahead        // that br reads from
	conn *transport.Conn
	text bool // messages are text, as far as they can be
	max  int64

	// owned by the reader
	msg   io.Reader // the message being read, nil between messages
	left  int64     // bytes that it may still have
	whole bool      // all of it has come, so reading it does not wait
	over  bool      // the connection has been kicked
}

// Await waits for the next message, or for the first byte of it.
func (s *stream) Await() error {
	if s.over || s.msg != nil {
		return nil
	}
	_, err := s.br.Peek(1)
	return err
}

// Read returns bytes of the message being read, and of those behind it that
// have come already.
func (s *stream) Read(p []byte) (n int, err error) {
	if s.over {
		return s.drain(p)
	}
	for n < len(p) {
		if s.msg == nil {
			s.whole = s.ready()
			if n > 0 && !s.whole {
				break
			}
			if err := s.next(); err != nil {
				return n, err
			}
		}
		k, err := s.msg.Read(p[n:])
		n += k
		if s.left -= int64(k); s.left < 0 {
			return 0, s.fail(fmt.Errorf("%w: WebSocket message of more than %d bytes", core.ErrTooLarge, s.max))
		}
		switch {
		case errors.Is(err, io.EOF):
			s.msg = nil
			if n == 0 {
				return 0, transport.ErrNothing
			}
		case err != nil:
			return n, s.ended(err)
		case n > 0 && !s.whole:
			return n, nil
		}
	}
	return n, nil
}

// next begins a message.
func (s *stream) next() error {
	kind, r, err := s.ws.NextReader()
	if err != nil {
		return s.ended(err)
	}
	if kind == websocket.TextMessage && !s.text {
		return s.fail(errText)
	}
	s.msg, s.left = r, s.max
	return nil
}

// ready says whether the next message has come as a whole, in one frame.
func (s *stream) ready() bool {
	var h [4]byte
	b, _ := s.br.Peek(min(s.br.Buffered(), len(h)))
	n := copy(h[:], b)
	n += copy(h[n:], s.in.rest)
	if n < 2 || h[0]&0x8f != 0x80|websocket.BinaryMessage && h[0]&0x8f != 0x80|websocket.TextMessage {
		return false
	}
	total := 2 + 4 + int(h[1]&0x7f) // with the mask
	switch h[1] & 0x7f {
	case 126:
		if n < 4 {
			return false
		}
		total = 2 + 2 + 4 + int(binary.BigEndian.Uint16(h[2:]))
	case 127:
		return false // no buffer here holds that much
	}
	return s.br.Buffered()+len(s.in.rest) >= total
}

// ended is called with an error of gorilla.
func (s *stream) ended(err error) error {
	cause, ours := readError(err)
	if !ours {
		return cause
	}
	return s.fail(cause)
}

// fail ends the connection with a closing frame.
func (s *stream) fail(cause error) error {
	s.msg, s.over = nil, true
	s.conn.Kick(cause)
	return transport.ErrNothing
}

// drain throws away what comes when the connection has been kicked.
func (s *stream) drain(p []byte) (int, error) {
	if _, err := s.in.Read(p); err != nil {
		return 0, err
	}
	return 0, transport.ErrNothing
}

// Write sends bytes as one message. Text that is none, because it was cut in
// the middle of a character for example, goes out as binary.
func (s *stream) Write(p []byte) error {
	kind := websocket.BinaryMessage
	if s.text && utf8.Valid(p) {
		kind = websocket.TextMessage
	}
	return s.ws.WriteMessage(kind, p)
}

// Finish sends the closing frame, unless one has been sent already.
func (s *stream) Finish(cause error) {
	// The wire takes it at once, or has failed, which the reader finds out.
	_ = s.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(closeCode(cause), ""), time.Now().Add(time.Second))
}

var _ transport.Stream = (*stream)(nil)
