package frame

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/narumq/naru/core/props"
)

// decodeFrame takes the first frame of b apart, as a server would, and returns
// it in words. n is 0 if b ends before the frame does.
func decodeFrame(b []byte, frameMax uint32) (said string, n int, err error) {
	h, more, err := ReadHeader(b)
	if err != nil || more {
		return "", 0, err
	}
	if err = h.Check(frameMax); err != nil {
		return "", 0, err
	}
	if len(b) < h.Total() {
		return "", 0, nil
	}
	payload, err := h.Payload(b)
	if err != nil {
		return "", 0, err
	}
	said = fmt.Sprintf("%d on %d ", h.Type, h.Channel)
	switch h.Type {
	case FrameMethod:
		m, args, err := ReadMethod(payload)
		if err != nil {
			return "", 0, err
		}
		if !m.Known() || clientMethods[m] == nil {
			return "", 0, ErrUnknownMethod
		}
		d := clientMethods[m]()
		if err := d.Decode(args); err != nil {
			return "", 0, err
		}
		said += m.String() + " " + words(d)
	case FrameHeader:
		var c Content
		if err := c.Decode(payload); err != nil {
			return "", 0, err
		}
		s, err := props.Scan(c.Properties)
		if err != nil {
			return "", 0, err
		}
		said += fmt.Sprintf("%+v %+v", c, s)
	default:
		said += fmt.Sprintf("%x", payload)
	}
	return said, h.Total(), nil
}

// checkMethod compares what a method decodes to with the spec, and with what
// becomes of it when it is encoded again.
func checkMethod(t *testing.T, m Method, args []byte) {
	values, rest, fault, ok := parse(spec[m], args)
	d := clientMethods[m]()
	err := d.Decode(args)
	if good := ok && fault == nil && len(rest) == 0; good != (err == nil) {
		t.Fatalf("%s % x: %v; by the spec %q, %d more, %v, %v", m, args, err, values, len(rest), fault, ok)
	}
	if err != nil {
		var e *Error
		if !errors.As(err, &e) || e.Code != FrameError {
			t.Fatalf("%s % x: %v is no frame error", m, args, err)
		}
		return
	}
	again := encode(7, m, d)
	h, payload, err := open(again)
	if err != nil || h.Channel != 7 {
		t.Fatalf("%s % x is made again as % x: %v", m, args, again, err)
	}
	_, args2, _ := ReadMethod(payload)
	d2 := clientMethods[m]()
	if err := d2.Decode(args2); err != nil || words(d) != words(d2) {
		t.Fatalf("%s % x is %s, and again %s, %v", m, args, words(d), words(d2), err)
	}
	// All that a bit does not mean and what is reserved aside, it is the same.
	v2, _, _, _ := parse(spec[m], args2)
	for i, c := range onlyNamed(spec[m]) {
		if c != 'b' && values[i] != v2[i] {
			t.Fatalf("%s % x: %s, and again %s", m, args, values[i], v2[i])
		}
	}
}

func onlyNamed(layout string) (out []rune) {
	for _, c := range layout {
		switch c {
		case 'T', 'H', 'R', 'U':
		default:
			out = append(out, c)
		}
	}
	return out
}

// FuzzFrame has bytes decoded as they come: whole, cut, and with other bytes
// behind them; as the arguments of every method; and as properties.
func FuzzFrame(f *testing.F) {
	for _, test := range clientFrames {
		f.Add(raw(f, test.wire), uint16(5), uint32(test.method))
	}
	for _, s := range []string{
		"01 0001 0000000e 003c 0028 0000 02'ex' 03'key' 01 ce 02 0001 0000000f 003c 0000 0000000000000002 1000 02 ce 03 0001 00000002 'hi' ce",
		"02 0001 00000090 003c 0000 000000000000000b" + goProperties + "ce",
		"08 0000 00000000 ce", "08 0001 00000000 ce", "03 0001 00000001 'a' cd", "04 0000 00000000 ce", "'AMQP'00000901",
		"01 0001 00000004 003c 0029 ce", "01 0001 00000003 003c 00 ce", "02 0001 0000000e 003c 0001 0000000000000000 0000 ce",
		"03 0001 ffffffff 'a' ce",
	} {
		f.Add(raw(f, s), uint16(9), uint32(MethodBasicPublish))
	}
	f.Fuzz(func(t *testing.T, data []byte, at uint16, method uint32) {
		const frameMax = 4096
		checkContent(t, data)
		if m := Method(method); clientMethods[m] != nil {
			checkMethod(t, m, data)
		} else if _, is := spec[m]; m.Known() != is {
			t.Fatal(m)
		}
		for len(data) > 0 {
			said, n, err := decodeFrame(data[:len(data):len(data)], frameMax)
			if n == 0 && err == nil {
				return // it has not all come
			}
			// Nothing is known from a part that is not known from the whole, and
			// what is wrong may be known early.
			part := data[:int(at)%(len(data)+1)]
			s, m, e := decodeFrame(part, frameMax)
			switch {
			case m == 0 && e == nil:
			case e != nil && err != nil && e.Error() == err.Error():
			case len(part) < n || s != said || m != n || e != nil || err != nil:
				t.Fatalf("% x: %s, %v\n% x: %s, %v", data, said, err, part, s, e)
			}
			if err != nil {
				return // the connection ends here
			}
			if h, _, _ := ReadHeader(data); h.Total() != n || data[n-1] != EndOctet {
				t.Fatalf("% x: %d bytes", data, n)
			}
			// What follows says nothing about it.
			next := append(bytes.Clone(data[:n]), "\x01\x00\x01\x00\x00\x00\x04desync\xce"...)
			if s, m, e := decodeFrame(next, frameMax); s != said || m != n || e != nil {
				t.Fatalf("% x: %s; with others behind it %s, %v", data[:n], said, s, e)
			}
			data = data[n:]
		}
	})
}
