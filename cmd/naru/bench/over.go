package bench

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// An Over is what MQTT goes over.
type Over string

// What MQTT can go over.
const (
	TCP Over = "" // nothing but TCP
	TLS Over = "tls"
	WS  Over = "ws"
	WSS Over = "wss"
)

// Overs lists them all.
func Overs() []Over { return []Over{TCP, TLS, WS, WSS} }

func (o Over) String() string {
	if o == TCP {
		return "tcp"
	}
	return string(o)
}

// ParseOver is the opposite of String.
func ParseOver(text string) (Over, error) {
	for _, o := range Overs() {
		if o.String() == text {
			return o, nil
		}
	}
	return TCP, fmt.Errorf("%q: MQTT goes over tcp, tls, ws or wss", text)
}

// A channel is a socket, with what stands between it and a client's packets.
type channel interface {
	// read and write return errAgain where they would have to wait.
	read(b []byte) (int, error)
	write(b []byte) (int, error)
	// more says that there is more to read than the socket shows.
	more() bool
	// held says that something was taken by write and has not left.
	held() bool
}

func (socket) more() bool { return false }
func (socket) held() bool { return false }

// open puts the layers onto a connected socket. Their handshakes are done one
// after the other, each to its end: they are not what is measured.
func open(s socket, over Over) (channel, error) {
	if over == TCP {
		return s, nil
	}
	bottom := &bottom{socket: s, waits: true}
	defer func() { bottom.waits = false }()
	var c channel = bottom
	if over == TLS || over == WSS {
		conn := tls.Client(bottom, &tls.Config{InsecureSkipVerify: true, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS12})
		if err := conn.Handshake(); err != nil {
			return nil, fmt.Errorf("TLS handshake: %w", err)
		}
		c = &tlsLayer{bottom: bottom, conn: conn}
	}
	if over == WS || over == WSS {
		w := &wsLayer{channel: c}
		if err := w.upgrade(); err != nil {
			return nil, fmt.Errorf("WebSocket handshake: %w", err)
		}
		c = w
	}
	return c, nil
}

// A bottom takes all that it is given and keeps what the socket does not take.
// It is a net.Conn for crypto/tls, to which it is a connection whose reads time
// out at once, but for the time of a handshake.
type bottom struct {
	socket
	out    []byte
	waits  bool // for the socket, instead of errAgain
	corked bool // write only gathers
}

func (b *bottom) write(p []byte) (int, error) {
	if b.out = append(b.out, p...); b.corked {
		return len(p), nil
	}
	return len(p), b.flush()
}

func (b *bottom) flush() error {
	for len(b.out) > 0 {
		n, err := b.socket.write(b.out)
		if err == errAgain && b.waits {
			err = b.await(true)
		}
		if err != nil && err != errAgain {
			return err
		}
		if b.out = b.out[:copy(b.out, b.out[n:])]; n == 0 && !b.waits {
			return nil
		}
	}
	return nil
}

func (b *bottom) read(p []byte) (int, error) {
	for {
		n, err := b.socket.read(p)
		if err != errAgain || !b.waits {
			if n == 0 && err == nil {
				err = io.EOF
			}
			return n, err
		}
		if err := b.await(false); err != nil {
			return 0, err
		}
	}
}

func (b *bottom) held() bool { return len(b.out) > 0 }

// notNow is errAgain as crypto/tls understands it.
type notNow struct{}

func (notNow) Error() string   { return "nothing to read" }
func (notNow) Timeout() bool   { return true }
func (notNow) Temporary() bool { return true }

func (b *bottom) Read(p []byte) (int, error) {
	n, err := b.read(p)
	if err == errAgain {
		err = notNow{}
	}
	return n, err
}

func (b *bottom) Write(p []byte) (int, error)    { return b.write(p) }
func (*bottom) Close() error                     { return nil } // the client closes the socket
func (*bottom) LocalAddr() net.Addr              { return nil }
func (*bottom) RemoteAddr() net.Addr             { return nil }
func (*bottom) SetDeadline(time.Time) error      { return nil }
func (*bottom) SetReadDeadline(time.Time) error  { return nil }
func (*bottom) SetWriteDeadline(time.Time) error { return nil }

// A tlsLayer is TLS over a bottom.
type tlsLayer struct {
	*bottom
	conn *tls.Conn
	full bool // the last read left something behind, perhaps
}

// maxRecord is the payload of a TLS record.
const maxRecord = 16 << 10

func (t *tlsLayer) read(p []byte) (n int, err error) {
	for t.full = false; ; {
		k, err := t.conn.Read(p[n:])
		n += k
		switch {
		case errors.Is(err, notNow{}) && n == 0:
			return 0, errAgain
		case errors.Is(err, notNow{}):
			return n, nil
		case err != nil && n == 0:
			return 0, err
		case err != nil: // comes again
			return n, nil
		}
		if len(p)-n < maxRecord {
			t.full = true
			return n, nil
		}
	}
}

func (t *tlsLayer) write(p []byte) (int, error) {
	if err := t.flush(); err != nil || t.held() || len(p) == 0 {
		return 0, err
	}
	t.corked = true
	n, err := t.conn.Write(p)
	t.corked = false
	return n, errors.Join(err, t.flush())
}

func (t *tlsLayer) more() bool { return t.full }

// A wsLayer is WebSocket, each write a frame, over a bottom or TLS. It masks
// with zeros, which is legal and costs the client nothing; the broker must do
// its part all the same.
type wsLayer struct {
	channel
	head []byte // the torn head of a frame
	left uint64 // bytes of the present frame
	buf  []byte // for the frame being written
}

func (w *wsLayer) upgrade() error {
	request := "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if _, err := w.channel.write([]byte(request)); err != nil {
		return err
	}
	var answer []byte
	for one := make([]byte, 1); !bytes.HasSuffix(answer, []byte("\r\n\r\n")); {
		n, err := w.channel.read(one)
		if err != nil && err != errAgain {
			return err
		}
		if answer = append(answer, one[:n]...); len(answer) > 4<<10 {
			return errors.New("the answer does not end")
		}
	}
	if line, _, _ := strings.Cut(string(answer), "\r\n"); !strings.HasPrefix(line, "HTTP/1.1 101 ") {
		return fmt.Errorf("the broker answers %q", line)
	}
	return nil
}

func (w *wsLayer) write(p []byte) (int, error) {
	if len(p) == 0 || w.held() {
		return w.channel.write(nil)
	}
	w.buf = append(w.buf[:0], 0x82)
	switch n := len(p); {
	case n < 126:
		w.buf = append(w.buf, 0x80|byte(n))
	case n < 1<<16:
		w.buf = append(w.buf, 0x80|126, byte(n>>8), byte(n))
	default:
		w.buf = append(w.buf, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	w.buf = append(append(w.buf, 0, 0, 0, 0), p...)
	_, err := w.channel.write(w.buf)
	return len(p), err
}

// read takes the heads of frames out of what it has read, in place.
func (w *wsLayer) read(p []byte) (int, error) {
	torn := copy(p, w.head)
	n, err := w.channel.read(p[torn:])
	if err != nil {
		return 0, err
	}
	w.head = w.head[:0]
	in, out := p[:torn+n], 0
	for len(in) > 0 {
		if w.left == 0 {
			size, payload, kind, ok := frameHead(in)
			if !ok {
				w.head = append(w.head, in...)
				break
			}
			if kind == 8 {
				return 0, io.EOF
			}
			if kind > 2 {
				return 0, fmt.Errorf("WebSocket frame of kind %d: %w", kind, errSurprise)
			}
			in, w.left = in[size:], payload
			continue
		}
		k := int(min(w.left, uint64(len(in))))
		copy(p[out:], in[:k])
		in, out, w.left = in[k:], out+k, w.left-uint64(k)
	}
	if out == 0 {
		return 0, errAgain
	}
	return out, nil
}

// frameHead reads the head of a frame of a server. ok is false if it is torn.
func frameHead(b []byte) (size int, payload uint64, kind byte, ok bool) {
	if len(b) < 2 {
		return 0, 0, 0, false
	}
	kind, payload = b[0]&0x0f, uint64(b[1]&0x7f)
	extra := 0
	switch payload {
	case 126:
		extra = 2
	case 127:
		extra = 8
	}
	if len(b) < 2+extra {
		return 0, 0, 0, false
	}
	if extra > 0 {
		payload = 0
		for _, v := range b[2 : 2+extra] {
			payload = payload<<8 | uint64(v)
		}
	}
	return 2 + extra, payload, kind, true
}
