package ws

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// FuzzHandshake sends bytes to a new connection. Whatever they are, the broker
// answers in HTTP or not at all, ends the connection, and lives.
func FuzzHandshake(f *testing.F) {
	for _, s := range []string{
		upgradeHead + "Sec-WebSocket-Protocol: mqtt\r\n\r\n",
		upgradeHead + "Sec-WebSocket-Protocol: mqtt, ,,v10.stomp\r\nSec-WebSocket-Protocol: x\r\n\r\n",
		upgradeHead + "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate; x=\"\\\r\n\r\n",
		upgradeHead + "Origin: http://[::1\r\nOrigin: \r\nSec-WebSocket-Protocol: mqtt\r\n\r\n\x82\x80",
		strings.Replace(upgradeHead, "localhost", "[", 1) + "Origin: null\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n",
		strings.Replace(upgradeHead, "13", "8", 1) + "\r\n",
		"GET /page.js HTTP/1.0\r\nRange: bytes=9-1,0-0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n5\r\nab",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "\x16\x03\x01\x00\x05hello",
	} {
		f.Add([]byte(s))
	}
	b := newBox(f, func(o *boxOptions) { o.Compression = true })
	f.Fuzz(func(t *testing.T, data []byte) {
		got, _ := b.exchange(t, data)
		if len(got) > 0 && !strings.HasPrefix(string(got), "HTTP/1.") {
			t.Fatalf("answered with %q", got)
		}
		if strings.HasPrefix(string(got), "HTTP/1.1 101 ") != (strings.Contains(string(got), "Sec-WebSocket-Protocol: mqtt")) {
			t.Fatalf("an upgrade without its sub-protocol: %q", got)
		}
		if strings.Contains(string(got), "HTTP/1.1 500") {
			t.Fatalf("it fails: %q", got)
		}
	})
}

// FuzzFrames sends bytes to a WebSocket with compression. What comes back are
// whole frames of the kinds that a server sends, and a closing frame is last.
func FuzzFrames(f *testing.F) {
	login := frame(0x82, connectPacket("fuzz"))
	for _, s := range [][]byte{
		login, append(login, frame(0x82, raw("c0 00 e0 00"))...), frame(0x81, raw("c0 00")),
		append(frame(0x02, raw("10 11")), frame(0x80, raw("0004'MQTT'04 02 003c 0005'abcde'"))...),
		frame(0xc2, raw("ffff")), frame(0xc2, raw("4a 4c 04 00")), frame(0x89, []byte("ping")), frame(0x88, raw("03e8")),
		raw("82 ff ffffffffffffffff"), raw("82 ff 00000000ffffffff 00000000 00"), raw("82 fe 0001 00000000 10"),
		frame(0x42, nil), frame(0x88, raw("00")), raw("82 02 c0 00"), append(frame(0x02, nil), frame(0x02, nil)...),
	} {
		f.Add(s)
	}
	b := newBox(f, func(o *boxOptions) { o.Compression, o.MaxMessageSize = true, 1<<20 })
	head := []byte(upgradeHead + "Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := b.exchange(t, append(head[:len(head):len(head)], data...))
		_, frames, ok := strings.Cut(string(got), "\r\n\r\n")
		if !ok {
			t.Fatalf("no upgrade: %q", got)
		}
		for over := false; len(frames) > 0; {
			size, whole := frameSize(frames)
			if !whole && err != nil {
				return // the broker had closed before all was sent to it
			}
			if !whole || over {
				t.Fatalf("no frame, or one behind the end: %x", frames)
			}
			switch frames[0] {
			case 0x82, 0xc2, 0x8a:
			case 0x88:
				over = true
			default:
				t.Fatalf("a frame that no server sends: %x", frames)
			}
			frames = frames[size:]
		}
	})
}

// frameSize returns the size of the first frame, and whether all of it is there.
func frameSize(b string) (size int, whole bool) {
	if len(b) < 4 {
		return len(b), len(b) > 1 && len(b) == 2+int(b[1])
	}
	switch size = 2 + int(b[1]); b[1] {
	case 126:
		size = 4 + int(b[2])<<8 + int(b[3])
	case 127: // more than this test makes the broker say
		return 0, false
	}
	return size, size <= len(b)
}

// exchange sends bytes, ends its half, and returns all that comes back until
// the broker ends its own, with the error if that was a reset.
func (b *box) exchange(t *testing.T, data []byte) ([]byte, error) {
	nc, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(patience))
	if _, err := nc.Write(data); err == nil { // otherwise closed already
		_ = nc.(*net.TCPConn).CloseWrite()
	}
	got, err := io.ReadAll(nc)
	if e, ok := err.(net.Error); ok && e.Timeout() {
		t.Fatalf("the connection does not end after %q", data)
	}
	return got, err
}
