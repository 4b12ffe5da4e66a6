package props

import "testing"

// TestAllocations has what is done for each message allocate nothing.
func TestAllocations(t *testing.T) {
	properties := raw(t, goProperties)
	headers := headersTable()
	kept := make(Table, 0, 1024)
	for name, f := range map[string]func() bool{
		"scan":    func() bool { s, err := Scan(properties); return err == nil && s.Priority == 4 },
		"decode":  func() bool { var p Properties; return p.Decode(properties) == nil && p.Priority == 4 },
		"headers": func() bool { return len(HeadersOf(properties)) > 0 },
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
