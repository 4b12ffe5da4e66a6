package frame

import (
	"testing"

	"github.com/narumq/naru/core/props"
)

// publishWire is what a client sends of a message of 200 bytes: three frames.
func publishWire() []byte {
	b := encode(1, MethodBasicPublish, &Publish{Exchange: []byte("amq.topic"), RoutingKey: []byte("site.54321.kitchen.temp")})
	b = AppendHeaderFrame(b, 1, 200, []byte("\x90\x00\x0atext/plain\x02"))
	return AppendBodyFrames(b, 1, make([]byte, 200), 131_072)
}

// readPublish takes the three frames apart as an adapter does.
func readPublish(b []byte) (p Publish, s props.Summary, body []byte, err error) {
	for len(b) > 0 {
		h, more, err := ReadHeader(b)
		if err == nil && more {
			err = ErrShort
		}
		if err == nil {
			err = h.Check(131_072)
		}
		if err != nil {
			return p, s, nil, err
		}
		payload, err := h.Payload(b)
		if err != nil {
			return p, s, nil, err
		}
		b = b[h.Total():]
		switch h.Type {
		case FrameMethod:
			m, args, err := ReadMethod(payload)
			if err == nil && m == MethodBasicPublish {
				err = p.Decode(args)
			}
			if err != nil {
				return p, s, nil, err
			}
		case FrameHeader:
			var c Content
			if err = c.Decode(payload); err == nil {
				s, err = props.Scan(c.Properties)
			}
			if err != nil {
				return p, s, nil, err
			}
		case FrameBody:
			body = payload
		}
	}
	return p, s, body, nil
}

// appendDeliver makes the three frames of a delivery as an adapter does.
func appendDeliver(b, key, properties, body []byte) []byte {
	b = AppendBasicDeliver(b, 1, "ctag-1", 12345, false, "amq.topic", key)
	b = AppendHeaderFrame(b, 1, uint64(len(body)), properties)
	return AppendBodyFrames(b, 1, body, 131_072)
}

// TestAllocations has what is done for each message allocate nothing.
func TestAllocations(t *testing.T) {
	wire, out := publishWire(), make([]byte, 0, 1024)
	key, properties, body := []byte("site.54321.kitchen.temp"), raw(t, goProperties), make([]byte, 200)
	args := raw(t, "0000000000000001 01")
	for name, f := range map[string]func() bool{
		"publish": func() bool {
			p, s, b, err := readPublish(wire)
			return err == nil && len(p.RoutingKey) == 23 && s.Persistent() && len(b) == 200
		},
		"deliver": func() bool { return len(appendDeliver(out, key, properties, body)) > 200 },
		"ack in":  func() bool { var a Ack; return a.Decode(args) == nil && a.Multiple },
		"ack out": func() bool { return len(AppendBasicAck(out, 1, 7, true)) == 21 },
	} {
		ok := true
		if n := testing.AllocsPerRun(100, func() { ok = ok && f() }); n != 0 || !ok {
			t.Errorf("%s allocates %v times; right: %v", name, n, ok)
		}
	}
}

// BenchmarkDecodePublish is a basic.publish of 200 bytes, its header and body.
func BenchmarkDecodePublish(b *testing.B) {
	wire := publishWire()
	b.ReportAllocs()
	b.SetBytes(int64(len(wire)))
	for b.Loop() {
		if _, _, _, err := readPublish(wire); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkDeliver is a basic.deliver of 200 bytes, its header and body.
func BenchmarkDeliver(b *testing.B) {
	out := make([]byte, 0, 1024)
	key, properties, body := []byte("site.54321.kitchen.temp"), []byte("\x90\x00\x0atext/plain\x02"), make([]byte, 200)
	b.ReportAllocs()
	b.SetBytes(int64(len(appendDeliver(nil, key, properties, body))))
	for b.Loop() {
		out = appendDeliver(out[:0], key, properties, body)
	}
}
