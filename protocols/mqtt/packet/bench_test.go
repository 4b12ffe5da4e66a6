package packet

import (
	"bytes"
	"fmt"
	"testing"
)

// BenchmarkDecodePublish is a PUBLISH of 200 bytes.
func BenchmarkDecodePublish(b *testing.B) {
	for qos := range byte(2) {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			wire := append(AppendPublishHead(nil, []byte("site/54321/kitchen/temp"), 200, qos, false, false, 1), make([]byte, 200)...)
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				h, _, err := ReadHeader(wire)
				if err == nil {
					err = h.Check(4)
				}
				var p Publish
				if err == nil {
					err = p.Decode(h.Flags, wire[h.Size:h.Total()])
				}
				if err != nil || len(p.Payload) != 200 {
					b.Fatal(p, err)
				}
			}
		})
	}
}

// BenchmarkDecodeSubscribe is a SUBSCRIBE of one filter, and of a hundred.
func BenchmarkDecodeSubscribe(b *testing.B) {
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			body := append([]byte{0, 1}, bytes.Repeat([]byte("\x00\x15site/+/kitchen/temp/#\x01"), n)...)
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				_, f, got, err := DecodeFilters(SUBSCRIBE, body)
				if err != nil || got != n {
					b.Fatal(got, err)
				}
				for {
					if _, _, ok := f.Next(); !ok {
						break
					}
				}
			}
		})
	}
}

// BenchmarkDecodeConnect is a CONNECT with user name and password.
func BenchmarkDecodeConnect(b *testing.B) {
	body := raw(b, "0004'MQTT'04 c2 003c 0008'client-1' 0004'user' 0006'secret'")
	b.ReportAllocs()
	for b.Loop() {
		var c Connect
		if err := c.Decode(body); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecodeAllocates says that it does not.
func TestDecodeAllocates(t *testing.T) {
	con := raw(t, "0004'MQTT'04 c2 003c 0008'client-1' 0004'user' 0006'secret'")
	pub := raw(t, "0003'a/b'0001'payload'")
	sub := raw(t, "0001 0003'a/b'01 0001'#'00")
	out := make([]byte, 0, 64)
	n := testing.AllocsPerRun(100, func() {
		var c Connect
		var p Publish
		_, f, _, err := DecodeFilters(SUBSCRIBE, sub)
		if c.Decode(con) != nil || p.Decode(2, pub) != nil || err != nil {
			t.Fatal("they are legal")
		}
		f.Next()
		_ = AppendID(AppendPublishHead(out, p.Topic, 7, 1, false, false, 1), PUBACK, 1)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
