package bench

import (
	"bytes"
	"errors"
	"testing"
)

func TestEncode(t *testing.T) {
	tests := []struct {
		name      string
		got, want []byte
	}{
		{"connect, anonymous",
			greeting{id: "a", clean: true, keepAlive: 60}.append(nil),
			[]byte("\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")},
		{"connect, user and a kept session",
			greeting{id: "ab", user: "u", password: "pw"}.append(nil),
			[]byte("\x10\x15\x00\x04MQTT\x04\xc0\x00\x00\x00\x02ab\x00\x01u\x00\x02pw")},
		{"subscribe",
			appendSubscribe(nil, 1, "a/+", 2),
			[]byte("\x82\x08\x00\x01\x00\x03a/+\x02")},
		{"publish, QoS 0",
			appendPublish(nil, "t", 0, 9, []byte("xy")),
			[]byte("\x30\x05\x00\x01txy")},
		{"publish, QoS 2",
			appendPublish(nil, "t", 2, 0x102, []byte("xy")),
			[]byte("\x34\x07\x00\x01t\x01\x02xy")},
		{"publish, length of two bytes",
			appendPublish(nil, "t", 0, 0, make([]byte, 197))[:5],
			[]byte("\x30\xc8\x01\x00\x01")},
		{"pubrel",
			appendAck(nil, headPubrel, 0x102),
			[]byte("\x62\x02\x01\x02")},
	}
	for _, test := range tests {
		if !bytes.Equal(test.got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, test.got, test.want)
		}
	}
}

func TestCut(t *testing.T) {
	const max = 1000
	long := appendPublish(nil, "t", 0, 0, make([]byte, 300))
	tests := []struct {
		name string
		in   []byte
		size int
		err  bool
	}{
		{"nothing", nil, 0, false},
		{"head alone", []byte{headPuback}, 0, false},
		{"length torn", []byte{headPublish, 0x80}, 0, false},
		{"body torn", []byte{headPuback, 2, 0}, 0, false},
		{"whole", []byte{headPuback, 2, 0, 1}, 4, false},
		{"whole and more", []byte{headPingresp, 0, headPuback, 2}, 2, false},
		{"two length bytes", long, len(long), false},
		{"two length bytes, torn", long[:len(long)-1], 0, false},
		{"five length bytes", []byte{headPublish, 0x80, 0x80, 0x80, 0x80, 1}, 0, true},
		{"over the maximum, told before it is there", []byte{headPublish, 0xff, 0x7f}, 0, true},
	}
	for _, test := range tests {
		p, size, err := cut(test.in, max)
		if size != test.size || (err != nil) != test.err {
			t.Errorf("%s: got size %d, error %v", test.name, size, err)
		}
		if size > 0 && p.head != test.in[0] {
			t.Errorf("%s: got head %#x", test.name, p.head)
		}
	}
}

func TestPublishTooShort(t *testing.T) {
	for _, p := range []packet{
		{head: headPublish},
		{head: headPublish, body: []byte{0, 2, 't'}},
		{head: headPublish | 1<<1, body: []byte{0, 1, 't', 0}},
	} {
		if _, _, _, err := p.publish(); !errors.Is(err, errShort) {
			t.Errorf("%q: got error %v", p.body, err)
		}
	}
}

// FuzzCut: whatever comes in, a packet lies within its bytes, and waiting for
// more bytes does not change what is cut.
func FuzzCut(f *testing.F) {
	f.Add([]byte("\x30\x05\x00\x01txy"))
	f.Add([]byte("\x34\x07\x00\x01t\x01\x02xy\x40\x02\x00\x01"))
	f.Add([]byte("\x30\x80\x80\x80\x80\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, size, err := cut(b, 1<<20)
		if size > len(b) || err != nil && size != 0 {
			t.Fatalf("size %d of %d, error %v", size, len(b), err)
		}
		if size == 0 {
			return
		}
		for n := range size {
			if _, early, err := cut(b[:n], 1<<20); early != 0 || err != nil {
				t.Fatalf("%d of %d bytes: size %d, error %v", n, size, early, err)
			}
		}
		topic, payload, _, err := p.publish()
		if err == nil && len(topic)+len(payload) > len(p.body) {
			t.Fatalf("topic and payload of %d bytes in a body of %d", len(topic)+len(payload), len(p.body))
		}
	})
}
