package frame

import (
	"testing"
)

// publishWire is what a client sends of a message of 200 bytes: three frames.
func publishWire() []byte {
	b := encode(1, MethodBasicPublish, &Publish{Exchange: []byte("amq.topic"), RoutingKey: []byte("site.54321.kitchen.temp")})
	b = AppendHeaderFrame(b, 1, 200, []byte("\x90\x00\x0atext/plain\x02"))
	return AppendBodyFrames(b, 1, make([]byte, 200), 131_072)
}

// readPublish takes the three frames apart as an adapter does.
func readPublish(b []byte) (p Publish, s Summary, body []byte, err error) {
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
				s, err = Scan(c.Properties)
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

func headersTable() Table {
	t := AddStr(nil, "x-mqtt-topic", "site/54321/kitchen/temp")
	t = AddInt64(t, "count", 5)
	return AddTable(t, "nested", AddBool(AddStr(nil, "a", "b"), "c", true))
}

// TestAllocations has what is done for each message allocate nothing.
func TestAllocations(t *testing.T) {
	wire, out := publishWire(), make([]byte, 0, 1024)
	key, properties, body := []byte("site.54321.kitchen.temp"), raw(t, goProperties), make([]byte, 200)
	args := raw(t, "0000000000000001 01")
	headers := headersTable()
	kept := make(Table, 0, 1024)
	for name, f := range map[string]func() bool{
		"publish": func() bool {
			p, s, b, err := readPublish(wire)
			return err == nil && len(p.RoutingKey) == 23 && s.Persistent() && len(b) == 200
		},
		"scan":    func() bool { s, err := Scan(properties); return err == nil && s.Priority == 4 },
		"decode":  func() bool { var p Properties; return p.Decode(properties) == nil && p.Priority == 4 },
		"deliver": func() bool { return len(appendDeliver(out, key, properties, body)) > 200 },
		"ack in":  func() bool { var a Ack; return a.Decode(args) == nil && a.Multiple },
		"ack out": func() bool { return len(AppendBasicAck(out, 1, 7, true)) == 21 },
		"table": func() bool {
			v, ok := headers.Get("count")
			return ok && v.Int64() == 5 && headers.Validate() == nil && EqualValue(v, v)
		},
		"without": func() bool { return len(AppendWithout(kept, headers, "count", "BCC")) < len(headers) },
		"error":   func() bool { _, err := Scan(properties[:9]); return err != nil },
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

// BenchmarkScan is the check of properties: few, all, and only headers.
func BenchmarkScan(b *testing.B) {
	for name, properties := range map[string][]byte{
		"few": []byte("\x90\x00\x0atext/plain\x02"), "all": raw(b, goProperties),
		"headers": AppendProperties(nil, &Properties{Has: HasHeaders | HasDeliveryMode, Headers: headersTable(), DeliveryMode: 2}),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Scan(properties); err != nil {
					b.Fatal(err)
				}
			}
		})
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

// BenchmarkValidate is the worst there is for its size: an array of elements
// of one byte, and tables nested up to the limit.
func BenchmarkValidate(b *testing.B) {
	for name, table := range map[string]Table{
		"elements": AddArray(nil, "a", make(Array, 0)), "nested": nest(MaxDepth, false), "headers": headersTable(),
	} {
		if name == "elements" {
			var a Array
			for range MaxElements - 1 {
				a = PushValue(a, Value{kind: KindVoid})
			}
			table = AddArray(nil, "a", a)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(table)))
			for b.Loop() {
				if err := table.Validate(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
