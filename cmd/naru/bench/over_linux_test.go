package bench

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a connection whose one end is a socket of the load and whose other end
// plays the broker.
func pair(t *testing.T) (socket, net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.SetNonblock(fds[0], true)
	}
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[1]), "broker")
	other, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	t.Cleanup(func() { other.Close(); syscall.Close(fds[0]) })
	return socket(fds[0]), other
}

// readable waits until there is something to read, for long if it must be.
func readable(s socket) bool {
	p, err := newPoller()
	if err != nil || p.add(s, 0, false) != nil {
		return false
	}
	defer p.close()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if events, err := p.wait(time.Second); err != nil || len(events) > 0 {
			return err == nil
		}
	}
	return false
}

// serverFrame is a frame as a broker sends it.
func serverFrame(payload []byte) []byte {
	head := []byte{0x82}
	switch n := len(payload); {
	case n < 126:
		head = append(head, byte(n))
	case n < 1<<16:
		head = append(head, 126, byte(n>>8), byte(n))
	default:
		head = append(head, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(head, payload...)
}

// However frames are cut, their payloads come out, and nothing else.
func TestFramesCut(t *testing.T) {
	var stream, want []byte
	for _, n := range []int{5, 0, 125, 126, 1, 65535, 65536, 300} {
		payload := pattern(n, n)
		stream, want = append(stream, serverFrame(payload)...), append(want, payload...)
	}
	for _, piece := range []int{1, 2, 3, 7, 10, 1000, len(stream)} {
		s, broker := pair(t)
		w := &wsLayer{channel: &bottom{socket: s}}
		var got []byte
		buf := make([]byte, 64<<10)
		for rest := stream; len(rest) > 0; {
			n := min(piece, len(rest), 32<<10)
			if _, err := broker.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			n, err := w.read(buf)
			if err != nil && err != errAgain {
				t.Fatal(err)
			}
			got = append(got, buf[:n]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("in pieces of %d: %d bytes, want these %d", piece, len(got), len(want))
		}
		if _, err := w.read(buf); err != errAgain {
			t.Errorf("in pieces of %d: then %v", piece, err)
		}
	}
}

// A broker that closes, in words or without, and what it must not send.
func TestFrameEnds(t *testing.T) {
	for _, test := range []struct {
		bytes string
		want  error
	}{{"\x88\x02\x03\xe8", io.EOF}, {"", io.EOF}, {"\x89\x00", errSurprise}} {
		s, broker := pair(t)
		if _, err := broker.Write([]byte(test.bytes)); err != nil {
			t.Fatal(err)
		}
		broker.Close()
		w := &wsLayer{channel: &bottom{socket: s}}
		if _, err := w.read(make([]byte, 100)); !errors.Is(err, test.want) {
			t.Errorf("%x: %v, want %v", test.bytes, err, test.want)
		}
	}
}

// What a full socket does not take leaves when it has room, as one frame.
func TestFrameHeld(t *testing.T) {
	s, broker := pair(t)
	poll, err := newPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer poll.close()
	l := &loop{poll: poll, buf: make([]byte, 64<<10)}
	c := &client{loop: l, sock: s, stage: up, via: &wsLayer{channel: &bottom{socket: s}}}
	l.clients = []*client{c}
	if err := poll.add(s, 0, false); err != nil {
		t.Fatal(err)
	}
	want := pattern(1, 4<<20)
	c.out = append(c.out, want...)
	c.flush()
	if !c.blocked || !c.via.held() || len(c.out) != 0 {
		t.Fatalf("blocked %v, held %v, %d bytes are left", c.blocked, c.via.held(), len(c.out))
	}
	got := make(chan []byte)
	go func() {
		b := make([]byte, 10+4+len(want))
		_, _ = io.ReadFull(broker, b) // what is missing shows
		got <- b
	}()
	for end := time.Now().Add(20 * time.Second); c.blocked && time.Now().Before(end); {
		events, err := poll.wait(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			c.serve(e)
			l.flush()
		}
	}
	if l.failure != nil || c.blocked {
		t.Fatalf("blocked %v, %v", c.blocked, l.failure)
	}
	b := <-got
	if head := []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0}; !bytes.Equal(b[:14], head) || !bytes.Equal(b[14:], want) {
		t.Errorf("the frame begins with % x, want % x, or is altered", b[:14], head)
	}
}

// What TLS has read ahead is not waited for.
func TestRecordsAhead(t *testing.T) {
	dir := t.TempDir()
	cert, key, err := WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	s, broker := pair(t)
	want := pattern(1, 300<<10)
	served := make(chan error, 1)
	go func() {
		conn := tls.Server(broker, &tls.Config{Certificates: []tls.Certificate{certificate}})
		_, err := conn.Write(want)
		served <- err
	}()
	c, err := open(s, TLS)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	buf := make([]byte, maxRecord+100) // nearly full after any record
	for len(got) < len(want) {
		if !c.more() && !readable(s) {
			t.Fatalf("%d of %d bytes, then nothing", len(got), len(want))
		}
		n, err := c.read(buf)
		if err != nil && err != errAgain {
			t.Fatal(err)
		}
		got = append(got, buf[:n]...)
	}
	if err := <-served; err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v, or the bytes are others", err)
	}
}
