package ws

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

func publishPacket(topic string, payload []byte) []byte {
	n := 2 + len(topic) + len(payload)
	b := []byte{0x30}
	for {
		c := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			b = append(b, c|0x80)
			continue
		}
		b = append(b, c)
		break
	}
	b = append(b, byte(len(topic)>>8), byte(len(topic)))
	return append(append(b, topic...), payload...)
}

func subscribePacket(topic string) []byte {
	return append(append([]byte{0x82, byte(5 + len(topic)), 0, 1, 0, byte(len(topic))}, topic...), 0)
}

func TestConversation(t *testing.T) {
	b := newBox(t)
	sub, pub := b.connect("sub"), b.connect("pub", func(d *websocket.Dialer) { d.Subprotocols = []string{"v12.stomp", "mqttv3.1", "mqtt"} })
	if p := pub.Subprotocol(); p != "mqttv3.1" {
		t.Errorf("sub-protocol %q, want the first that is known", p)
	}
	sub.sendHex("82 08 0001 0003'a/b'01")
	sub.want(raw("90 03 0001 01"))
	pub.sendHex("32 09 0003'a/b'0007'hi'")
	pub.want(raw("40 02 0007"))
	sub.want(raw("32 09 0003'a/b'0001'hi'"))
	sub.sendHex("40 02 0001 c0 00")
	sub.want(raw("d0 00"))
	pub.sendHex("e0 00")
	pub.wantClose(websocket.CloseNormalClosure)
}

// TestFrames cuts the same bytes into messages and fragments in many ways, with
// control frames in between, and into reads at every place.
func TestFrames(t *testing.T) {
	b := newBox(t)
	var packets, want []byte
	for i := range 40 {
		p := publishPacket("f", bytes.Repeat([]byte{byte(i)}, i*i*i/9))
		packets, want = append(packets, p...), append(want, p...)
	}
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		var wire []byte
		for rest := packets; len(rest) > 0; {
			opcode := byte(0x02)
			for fin := false; !fin && len(rest) > 0; opcode = 0 {
				k := min(len(rest), r.IntN(1<<r.IntN(16)))
				fin = r.IntN(3) > 0 || k == len(rest)
				first := opcode
				if fin {
					first |= 0x80
				}
				wire = append(wire, frame(first, rest[:k])...)
				rest = rest[k:]
				if r.IntN(8) == 0 {
					wire = append(wire, frame(0x8a, []byte("unasked"))...) // a pong
				}
			}
		}
		c := b.upgrade()
		c.write(frame(0x82, append(connectPacket("frames"), subscribePacket("f")...)))
		c.wantInside(raw("20 02 00 00 90 03 0001 00"))
		done := make(chan struct{})
		go func() {
			defer close(done)
			for len(wire) > 0 {
				k := min(len(wire), 1+r.IntN(1<<r.IntN(15)))
				if _, err := c.Write(wire[:k]); err != nil {
					return // the reader below says more
				}
				wire = wire[k:]
			}
		}()
		c.wantInside(want)
		<-done
		c.Close()
	}
}

// TestReadAhead: frames that come with the request are not lost.
func TestReadAhead(t *testing.T) {
	b := newBox(t)
	c := b.tcp()
	head := upgradeHead + "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
	c.write(append(append([]byte(head), frame(0x82, connectPacket("eager"))...), frame(0x82, raw("c0 00"))...))
	if got := c.head(); !strings.HasPrefix(got, "HTTP/1.1 101 ") {
		t.Fatalf("answer %q", got)
	}
	c.wantInside(raw("20 02 00 00 d0 00"))
}

// TestPing: pings are answered with what they carry, in the middle of a
// fragmented message too, and at once.
func TestPing(t *testing.T) {
	b := newBox(t)
	c := b.upgrade()
	c.write(frame(0x89, []byte("one")))
	c.want(raw("8a 03'one'"))
	p := connectPacket("ping")
	c.write(frame(0x02, p[:5]))
	c.write(frame(0x89, bytes.Repeat([]byte{'x'}, 125)))
	c.want(append(raw("8a 7d"), bytes.Repeat([]byte{'x'}, 125)...))
	c.write(frame(0x80, p[5:]))
	c.want(raw("82 04 20 02 00 00"))
}

// TestClose: who ends, and why, is told by the code of the closing frame, and
// the socket ends in good order whatever the client was sending.
func TestClose(t *testing.T) {
	login := frame(0x82, connectPacket("close"))
	connack := raw("82 04 20 02 00 00")
	big := frame(0x81, bytes.Repeat([]byte{'x'}, 200_000))
	for _, s := range []struct {
		name string
		send []byte
		want []byte
	}{
		{"disconnect", frame(0x82, raw("e0 00")), raw("88 02 03e8")},
		{"closed by the client", frame(0x88, raw("03e8")), raw("88 02 03e8")},
		{"closed without a code", frame(0x88, nil), raw("88 00")},
		{"going away", frame(0x88, raw("03e9'bye'")), raw("88 02 03e9")},
		{"text", frame(0x81, raw("c0 00")), raw("88 02 03eb")},
		{"text, and much more", append(big[:len(big):len(big)], big...), raw("88 02 03eb")},
		{"bad MQTT", frame(0x82, raw("f0 00")), raw("88 02 03ea")},
		{"not masked", raw("82 02 c0 00"), raw("88 0a 03ea'bad MASK'")},
		{"unknown opcode", frame(0x83, nil), raw("88 0e 03ea'bad opcode 3'")},
		{"continuation of nothing", frame(0x80, nil), raw("88 18 03ea'continuation after FIN'")},
		{"ping in parts", frame(0x09, nil), raw("88 18 03ea'FIN not set on control'")},
		{"compressed, not agreed", frame(0xc2, raw("c0 00")), raw("88 0a 03ea'RSV1 set'")},
		{"too large", append(raw("82 ff 0000000010000001"), make([]byte, 50_000)...), raw("88 02 03f1")},
		{"length over 63 bits", append(raw("82 ff ffffffffffffffff"), make([]byte, 50_000)...), raw("88 02 03f1")},
	} {
		t.Run(s.name, func(t *testing.T) {
			b := newBox(t)
			c := b.upgrade()
			c.write(login)
			c.want(connack)
			c.write(s.send)
			c.wantEnd(s.want)
		})
	}
}

// TestShutdown: clients are told that the broker goes.
func TestShutdown(t *testing.T) {
	b := newBox(t)
	c := b.connect("stays")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.srv.Close(t.Context()); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	c.wantClose(websocket.CloseGoingAway)
	c.Close()
	<-done
}

// TestLarge carries 16 MB in both directions, and 2 MB compressed, in one
// message and in many.
func TestLarge(t *testing.T) {
	payload := make([]byte, 16<<20)
	for i := range payload {
		payload[i] = byte(i>>16 ^ i>>8 ^ i)
	}
	for _, compressed := range []bool{false, true} {
		if compressed { // which takes long with -race
			payload = payload[:2<<20]
		}
		packet := publishPacket("large", payload)
		for _, part := range []int{len(packet), 1 << 20, 10_007} {
			t.Run(fmt.Sprintf("compressed=%v/part=%d", compressed, part), func(t *testing.T) {
				b := newBox(t, func(o *boxOptions) { o.Compression = true })
				c := b.connect("large", func(d *websocket.Dialer) { d.EnableCompression = compressed })
				c.send(subscribePacket("large"))
				c.want(raw("90 03 0001 00"))
				done := make(chan struct{})
				go func() {
					defer close(done)
					for rest := packet; len(rest) > 0; {
						k := min(part, len(rest))
						if err := c.WriteMessage(websocket.BinaryMessage, rest[:k]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[k:]
					}
				}()
				c.want(packet)
				<-done
			})
		}
	}
}

// TestSlowReader: one client does not read what it has subscribed to; the others
// are served, in both directions, and it can go on later.
func TestSlowReader(t *testing.T) {
	b := newBox(t)
	slow := b.connect("slow")
	slow.send(subscribePacket("flood"))
	slow.want(raw("90 03 0001 00"))
	quick := b.connect("quick")
	quick.send(subscribePacket("flood"))
	quick.want(raw("90 03 0001 00"))
	packet := publishPacket("flood", make([]byte, 60_000))
	for range 400 { // 24 MB: far more than sockets and outbox hold
		quick.send(packet)
		quick.want(packet)
	}
	for n := 0; ; n++ {
		if slow.send(raw("c0 00")); bytes.Equal(slow.take(2), raw("d0 00")) {
			if n == 0 || n == 400 {
				t.Errorf("the slow client has got %d of 400 messages", n)
			}
			return
		}
		slow.take(len(packet) - 2)
	}
}

// TestAtOnce: a packet is acted on when it is there, whatever part of the next
// frame has come with it.
func TestAtOnce(t *testing.T) {
	b := newBox(t)
	next := frame(0x82, make([]byte, 300)) // a frame of which the length takes two bytes
	for cut := range 12 {
		c := b.upgrade()
		c.write(append(frame(0x82, connectPacket("at-once")), next[:cut]...))
		c.wantInside(raw("20 02 00 00"))
		c.Close()
		c = b.upgrade()
		c.write(append(append(frame(0x82, connectPacket("at-once")), frame(0x82, raw("c0 00"))...), next[:cut]...))
		c.wantInside(raw("20 02 00 00 d0 00"))
		c.Close()
	}
}
