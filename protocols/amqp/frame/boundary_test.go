package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/narumq/naru/core/props"
)

// TestProtocol has the first bytes of a connection come one by one.
func TestProtocol(t *testing.T) {
	for _, test := range []struct {
		wire string
		ok   bool
		at   int // where it is known that it is wrong
	}{
		{Protocol, true, 0},
		{Protocol09, true, 0},
		{Protocol + "\x01", true, 0},
		{"AMQP\x00\x00\x09\x00", false, 8},
		{"AMQP\x00\x00\x0a\x01", false, 7},
		{"AMQP\x00\x01\x00\x09", false, 6},
		{"AMQP\x01\x01\x00\x0a", false, 8},
		{"AMQP\x01\x00\x09\x01", false, 6},
		{"AMQP\x03\x01\x00\x00", false, 5},
		{"AMQP\x00\x01\x00\x00", false, 6},
		{"amqp\x00\x00\x09\x01", false, 1},
		{"GET / HTTP/1.1\r\n", false, 1},
		{"\x16\x03\x01\x02\x00\x01\x00\x01", false, 1},
		{"\x00\x00\x00\x00\x00\x00\x00\x00", false, 1},
	} {
		for n := range len(test.wire) + 1 {
			ok, more := ReadProtocol([]byte(test.wire[:n]))
			wantOK, wantMore := test.ok && n >= 8, n < 8 && (test.ok || n < test.at)
			if ok != wantOK || more != wantMore {
				t.Errorf("%q: ok %v, more %v", test.wire[:n], ok, more)
			}
		}
	}
}

// TestHeader goes along the borders of type, size and channel.
func TestHeader(t *testing.T) {
	const frameMax = 4096
	for _, test := range []struct {
		wire    string
		size    uint32
		channel uint16
		read    error
		check   error
	}{
		{"01 0000 00000000", 0, 0, nil, nil},
		{"02 0001 00000001", 1, 1, nil, nil},
		{"03 ffff 00000ff8", 4088, 0xffff, nil, nil},
		{"03 0001 00001000", 4096, 1, nil, nil}, // as RabbitMQ, a little more
		{"03 0001 00001001", 4097, 1, nil, ErrSize},
		{"01 0001 7fffffff", math.MaxInt32, 1, nil, ErrSize},
		{"01 0001 80000000", 1 << 31, 1, nil, ErrSize},
		{"03 0001 ffffffff", math.MaxUint32, 1, nil, ErrSize},
		{"08 0000 00000000", 0, 0, nil, nil},
		{"08 0001 00000000", 0, 1, nil, ErrHeartbeat},
		{"08 0000 00000001", 1, 0, nil, ErrSize},
		{"08 ffff ffffffff", math.MaxUint32, 0xffff, nil, ErrHeartbeat},
		{"00 0000 00000000", 0, 0, ErrType, nil},
		{"04 0000 00000000", 0, 0, ErrType, nil},
		{"07 0000 00000000", 0, 0, ErrType, nil},
		{"09 0000 00000000", 0, 0, ErrType, nil},
		{"ff 0000 00000000", 0, 0, ErrType, nil},
		{"'AMQP'000009", 0, 0, ErrType, nil},
	} {
		b := raw(t, test.wire)
		for n := range b {
			_, more, err := ReadHeader(b[:n])
			if wantMore := n == 0 || test.read == nil; more != wantMore || (err == nil) != wantMore {
				t.Errorf("%d bytes of %s: more %v, %v", n, test.wire, more, err)
			}
		}
		// What follows does not count.
		h, more, err := ReadHeader(append(b, 0xff, 0xff))
		if more || !errors.Is(err, test.read) || err == nil && test.read != nil {
			t.Errorf("%s: more %v, %v", test.wire, more, err)
		}
		if err != nil {
			continue
		}
		if h.Size != test.size || h.Channel != test.channel || h.Type != Type(b[0]) || h.Total() != int(test.size)+8 {
			t.Errorf("%s: %+v", test.wire, h)
		}
		if err := h.Check(frameMax); !errors.Is(err, test.check) || err == nil && test.check != nil {
			t.Errorf("%s: %v, want %v", test.wire, err, test.check)
		}
		if got := AppendHeader(nil, h.Type, h.Channel, h.Size); !bytes.Equal(got, b) {
			t.Errorf("%s is made again as % x", test.wire, got)
		}
	}
}

// TestEnd has every octet but the right one at the end, and ends that are not
// there. What is behind a frame is not looked at.
func TestEnd(t *testing.T) {
	for end := range 256 {
		for _, behind := range []string{"", "\xce", "\x01\x00"} {
			b := append(AppendHeader(nil, FrameBody, 1, 3), 0xce, 0xce, 0xce, byte(end))
			h, _, err := ReadHeader(append(b, behind...))
			if err != nil {
				t.Fatal(err)
			}
			p, err := h.Payload(append(b, behind...))
			if end == EndOctet {
				if err != nil || string(p) != "\xce\xce\xce" || cap(p) != 3 {
					t.Errorf("%x, %v", p, err)
				}
			} else if !errors.Is(err, ErrEnd) || p != nil {
				t.Errorf("end octet %d: %x, %v", end, p, err)
			}
			for n := range b {
				if p, err := h.Payload(b[:n]); !errors.Is(err, ErrShort) || p != nil {
					t.Errorf("%d of %d bytes: %x, %v", n, len(b), p, err)
				}
			}
		}
	}
	if b := AppendHeartbeat([]byte("x")); string(b) != "x\x08\x00\x00\x00\x00\x00\x00\xce" {
		t.Errorf("% x", b)
	}
}

// TestArgumentLengths has every length in the arguments of every method say
// less and more than is there. Nothing is ever read from beyond the frame.
func TestArgumentLengths(t *testing.T) {
	for _, test := range clientFrames {
		wire := raw(t, test.wire)
		args := wire[HeaderSize+4 : len(wire)-1]
		at := 0
		for _, c := range spec[test.method] {
			width := map[rune]int{'s': 1, 'H': 1, 'S': 4, 't': 4}[c]
			if width == 0 {
				at += map[rune]int{'h': 2, 'w': 4, 'q': 8, 'b': 1, 'T': 2, 'R': 1}[c]
				continue
			}
			length := 0
			for _, x := range args[at : at+width] {
				length = length<<8 | int(x)
			}
			left := len(args) - at - width // the largest that can be true
			for _, lie := range []int64{0, int64(length) - 1, int64(length) + 1, int64(left), int64(left) + 1, 127, 128, 255, 256, math.MaxInt32, math.MaxInt32 + 1, math.MaxUint32} {
				if lie < 0 || lie == int64(length) || width == 1 && lie > 255 {
					continue
				}
				b := bytes.Clone(args)
				for i := range width {
					b[at+i] = byte(lie >> (8 * (width - 1 - i)))
				}
				values, rest, fault, ok := parse(spec[test.method], b)
				d := clientMethods[test.method]()
				err := d.Decode(append(b, "\x00\x00\x00\x00"...)[:len(b)])
				if good := ok && fault == nil && len(rest) == 0; good != (err == nil) {
					t.Errorf("%s with length %d at %d: %v, by the spec %v %v % x %q", test.method, lie, at, err, ok, fault, rest, values)
				}
			}
			at += width + length
		}
		if at != len(args) {
			t.Errorf("%s has arguments of %d bytes", test.method, at)
		}
	}
}

// TestShortStrings has strings of every length around the border in every
// place that a server writes one. The frame is always one frame, by the spec.
func TestShortStrings(t *testing.T) {
	for _, n := range []int{0, 1, 254, 255, 256, 257, 511, 512, 65_535, 65_536} {
		s := strings.Repeat("x", n)
		cut := fmt.Sprintf("%q", s[:min(n, 255)])
		for m, b := range map[Method][]byte{
			MethodConnectionClose:   AppendConnectionClose(nil, 541, s, 0),
			MethodConnectionBlocked: AppendConnectionBlocked(nil, s),
			MethodChannelClose:      AppendChannelClose(nil, 1, 404, []byte(s), 0),
			MethodQueueDeclareOK:    AppendQueueDeclareOK(nil, 1, s, 1, 2),
			MethodBasicConsumeOK:    AppendBasicConsumeOK(nil, 1, s),
			MethodBasicCancel:       AppendBasicCancel(nil, 1, s),
			MethodBasicCancelOK:     AppendBasicCancelOK(nil, 1, s),
			MethodBasicReturn:       AppendBasicReturn(nil, 1, 312, s, s, s),
			MethodBasicDeliver:      AppendBasicDeliver(nil, 1, s, 1, true, s, []byte(s)),
			MethodBasicGetOK:        AppendBasicGetOK(nil, 1, 1, true, []byte(s), s, 3),
		} {
			_, payload, err := open(b)
			got, args, err2 := ReadMethod(payload)
			values, rest, fault, ok := parse(spec[m], args)
			if err != nil || err2 != nil || got != m || !ok || len(rest) != 0 || fault != nil {
				t.Errorf("%s with a string of %d: %v %v %s", m, n, err, err2, got)
			}
			found := 0
			for _, v := range values {
				if v == cut {
					found++
				}
			}
			if found != strings.Count(spec[m], "s") {
				t.Errorf("%s with a string of %d: %q", m, n, values)
			}
		}
		table := props.AddStr(nil, s, s)
		if it := table.Iter(); table.Validate() != nil || !it.Next() || string(it.Key()) != s[:min(n, 255)] || string(it.Value().Bytes()) != s || it.Next() {
			t.Errorf("key and value of %d in a table", n)
		}
	}
}

// TestUTF8 has bytes that are not text in each short string that a client
// sends.
func TestUTF8(t *testing.T) {
	for _, bad := range []string{"\xff", "\xc0\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"} {
		for m, args := range map[Method]string{
			MethodConnectionOpen:  "%s\x00\x00",
			MethodConnectionClose: "\x00\xc8%s\x00\x00\x00\x00",
			MethodChannelOpen:     "%s",
			MethodExchangeDeclare: "\x00\x00\x00%s\x00\x00\x00\x00\x00",
			MethodExchangeBind:    "\x00\x00\x00\x00%s\x00\x00\x00\x00\x00",
			MethodQueueDeclare:    "\x00\x00%s\x00\x00\x00\x00\x00",
			MethodQueueUnbind:     "\x00\x00\x00\x00%s\x00\x00\x00\x00",
			MethodBasicConsume:    "\x00\x00\x00%s\x00\x00\x00\x00\x00",
			MethodBasicPublish:    "\x00\x00\x00%s\x00",
			MethodBasicCancel:     "%s\x00",
		} {
			err := clientMethods[m]().Decode(fmt.Appendf(nil, args, string(props.AppendShort(nil, bad))))
			if !errors.Is(err, ErrString) {
				t.Errorf("%s with %q: %v", m, bad, err)
			}
			if err := clientMethods[m]().Decode(fmt.Appendf(nil, args, "\x04a\x00é")); err != nil {
				t.Errorf("%s: %v", m, err)
			}
		}
	}
	// Secrets are any bytes.
	if err := new(SecureOK).Decode([]byte("\x00\x00\x00\x01\xff")); err != nil {
		t.Error(err)
	}
}

// TestBodyFrames splits bodies around each border of a frame.
func TestBodyFrames(t *testing.T) {
	for _, frameMax := range []uint32{0, 1, 8, 4095, MinFrameMax, 8192, 131_072, math.MaxUint32} {
		most := int(min(max(frameMax, MinFrameMax), math.MaxInt32)) - 8
		sizes := []int{0, 1, 4087, 4088, 4089, 8176, 8177, 100_000}
		if most < 1<<20 {
			sizes = append(sizes, most-1, most, most+1, 2*most, 2*most+1)
		}
		for _, n := range sizes {
			body := make([]byte, n)
			for i := range body {
				body[i] = byte(i * 7)
			}
			b := AppendBodyFrames([]byte("x"), 9, body, frameMax)[1:]
			if len(b) != BodyFramesSize(n, frameMax) {
				t.Errorf("%d bytes with frame-max %d: %d bytes, announced %d", n, frameMax, len(b), BodyFramesSize(n, frameMax))
			}
			var got []byte
			for len(b) > 0 {
				h, more, err := ReadHeader(b)
				if err != nil || more || h.Type != FrameBody || h.Channel != 9 || h.Size == 0 || int(h.Size) > most {
					t.Fatalf("%d bytes with frame-max %d: %+v, %v", n, frameMax, h, err)
				}
				p, err := h.Payload(b)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, p...)
				b = b[h.Total():]
				if len(b) > 0 && int(h.Size) != most {
					t.Errorf("%d bytes with frame-max %d: a frame of %d is not the last", n, frameMax, h.Size)
				}
			}
			if !bytes.Equal(got, body) {
				t.Errorf("%d bytes with frame-max %d: another body", n, frameMax)
			}
		}
	}
}

// TestContent has the borders of a content header.
func TestContent(t *testing.T) {
	wire := raw(t, "02 0001 00000010 003c 0000 0102030405060708 8000 01'a' ce")
	_, payload, err := open(wire)
	var c Content
	if err == nil {
		err = c.Decode(payload)
	}
	if err != nil || c.Class != ClassBasic || c.BodySize != 0x0102030405060708 || string(c.Properties) != "\x80\x00\x01a" {
		t.Errorf("%+v, %v", c, err)
	}
	if again := AppendHeaderFrame(nil, 1, c.BodySize, c.Properties); !bytes.Equal(again, wire) || len(again) != HeaderFrameSize(c.Properties) {
		t.Errorf("% x", again)
	}
	for n := range 14 {
		if err := c.Decode(payload[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	for _, at := range []int{2, 3} {
		b := bytes.Clone(payload)
		b[at] = 1
		if err := c.Decode(b); !errors.Is(err, ErrWeight) {
			t.Errorf("weight at %d: %v", at, err)
		}
	}
	b := bytes.Clone(payload)
	binary.BigEndian.PutUint64(b[4:], math.MaxUint64)
	b[0] = 0xff
	if err := c.Decode(b); err != nil || c.BodySize != math.MaxUint64 || c.Class != 0xff3c {
		t.Errorf("%+v, %v", c, err) // whether that is too much is not said here
	}
	for _, s := range []string{"", goProperties, "0000", "1000 02", "8001 0000 01'a'", "0002", "2000 00000003 01'kV'", "0400 01 ff", "0004 00", "fffc", "00"} {
		checkContent(t, raw(t, s))
	}
	none := AppendHeaderFrame(nil, 1, 0, nil)
	if !bytes.Equal(none, raw(t, "02 0001 0000000e 003c 0000 0000000000000000 0000 ce")) || len(none) != HeaderFrameSize(nil) {
		t.Errorf("% x", none)
	}
}

// checkContent has any bytes for properties, which are not looked at.
func checkContent(t *testing.T, properties []byte) {
	t.Helper()
	var c Content
	_, payload, err := open(AppendHeaderFrame(nil, 1, uint64(len(properties)), properties))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Decode(payload); (err == nil) != (len(properties) != 1) || err == nil && len(properties) > 0 && !bytes.Equal(c.Properties, properties) {
		t.Fatalf("% x: %+v, %v", properties, c, err)
	}
}

// TestTableArguments has malformed tables in the arguments of every method that
// has one. Each is a frame error that says what is wrong with the table.
func TestTableArguments(t *testing.T) {
	nested := func(depth int) (b props.Table) {
		for range depth - 1 {
			b = props.AddTable(nil, "", b)
		}
		return b
	}
	for _, test := range []struct {
		name  string
		table props.Table
		want  error
	}{
		{"empty", nil, nil},
		{"key longer than the table", raw(t, "02'k'"), props.ErrTable},
		{"string of 2^32-1", raw(t, "01'kS'ffffffff'a'"), props.ErrTable},
		{"unknown type", raw(t, "01'kZ'"), props.ErrFieldType},
		{"as deep as can be", nested(props.MaxDepth), nil},
		{"too deep", nested(props.MaxDepth + 1), props.ErrDepth},
		{"as many as can be", bytes.Repeat([]byte("\x00V"), props.MaxElements), nil},
		{"too many", bytes.Repeat([]byte("\x00V"), props.MaxElements+1), props.ErrElements},
	} {
		for m, layout := range spec {
			if clientMethods[m] == nil || !strings.Contains(layout, "t") {
				continue
			}
			var args []byte
			for _, c := range layout {
				if c == 't' {
					args = props.AppendLong(args, test.table)
				} else {
					args = append(args, make([]byte, map[rune]int{'T': 2, 'S': 4, 's': 1, 'b': 1}[c])...)
				}
			}
			err := clientMethods[m]().Decode(args)
			var e *Error
			switch {
			case test.want == nil && err != nil:
				t.Errorf("%s with a table that is %s: %v", m, test.name, err)
			case test.want != nil && (!errors.As(err, &e) || e.Code != FrameError || e.Text != test.want.Error()):
				t.Errorf("%s with a table that is %s: %v, want %v", m, test.name, err, test.want)
			}
		}
	}
}

// TestAppendToDecoded appends to things that point into a buffer. The buffer
// must not change.
func TestAppendToDecoded(t *testing.T) {
	args := raw(t, "0000 01'q' 00 0000000d 01'aF'00000003 01'bV' 01'cV'")
	before := bytes.Clone(args)
	var m QueueDeclare
	if err := m.Decode(args[:len(args):len(args)]); err != nil {
		t.Fatal(err)
	}
	a, _ := m.Arguments.Get("a")
	_ = props.AddStr(a.Table(), "k", "value")
	_ = append(m.Queue, "xxxxxxxx"...)
	for it := m.Arguments.Iter(); it.Next(); {
		_ = append(it.Key(), "xxxxxxxx"...)
	}
	if !bytes.Equal(args, before) {
		t.Error("what was decoded has changed")
	}
}

// TestSASL has responses around the one form that is right.
func TestSASL(t *testing.T) {
	for response, want := range map[string]string{
		"\x00guest\x00secret": "guest/secret",
		"\x00\x00":            "/",
		"\x00u\x00":           "u/",
		"":                    "!", "\x00": "!", "\x00guest": "!", "guest\x00secret": "!",
		"admin\x00guest\x00secret": "!", "\x00guest\x00sec\x00ret": "!", "\x00\x00\x00": "!",
	} {
		user, password, err := DecodePlain([]byte(response))
		got := string(user) + "/" + string(password)
		if err != nil {
			got = "!"
		}
		if got != want || err != nil && !errors.Is(err, ErrSASL) {
			t.Errorf("%q: %q %q %v", response, user, password, err)
		}
	}
	for _, test := range []struct {
		response props.Table
		want     string
	}{
		{props.AddStr(props.AddStr(nil, "LOGIN", "u"), "PASSWORD", "p"), "u/p"},
		{props.AddStr(props.AddVoid(props.AddStr(nil, "PASSWORD", ""), "x"), "LOGIN", ""), "/"},
		{props.AddStr(nil, "LOGIN", "u"), "!"},
		{props.AddStr(nil, "PASSWORD", "u"), "!"},
		{nil, "!"},
		{props.AddStr(props.AddInt32(nil, "LOGIN", 1), "PASSWORD", "p"), "!"},
		{props.AddBytes(props.AddStr(nil, "LOGIN", "u"), "PASSWORD", "p"), "!"},
		{props.AddStr(props.AddStr(nil, "login", "u"), "password", "p"), "!"},
		{append(props.AddStr(props.AddStr(nil, "LOGIN", "u"), "PASSWORD", "p"), 0), "!"},
		{props.AppendLong(nil, props.AddStr(props.AddStr(nil, "LOGIN", "u"), "PASSWORD", "p")), "!"},
	} {
		user, password, err := DecodeAMQPlain(test.response)
		got := string(user) + "/" + string(password)
		if err != nil {
			got = "!"
		}
		if got != test.want || err != nil && !errors.Is(err, ErrSASL) {
			t.Errorf("%q: %q %q %v", test.response, user, password, err)
		}
	}
}

// TestCodes has the name of each reply code, and a code for each error.
func TestCodes(t *testing.T) {
	for code, want := range map[Code]string{
		200: "REPLY_SUCCESS", 311: "CONTENT_TOO_LARGE", 312: "NO_ROUTE", 313: "NO_CONSUMERS", 320: "CONNECTION_FORCED",
		402: "INVALID_PATH", 403: "ACCESS_REFUSED", 404: "NOT_FOUND", 405: "RESOURCE_LOCKED", 406: "PRECONDITION_FAILED",
		501: "FRAME_ERROR", 502: "SYNTAX_ERROR", 503: "COMMAND_INVALID", 504: "CHANNEL_ERROR", 505: "UNEXPECTED_FRAME",
		506: "RESOURCE_ERROR", 530: "NOT_ALLOWED", 540: "NOT_IMPLEMENTED", 541: "INTERNAL_ERROR", 999: "CODE_999",
	} {
		if code.String() != want {
			t.Errorf("%d is %s, want %s", code, code, want)
		}
	}
	for err, want := range map[error]Code{
		ErrEnd: 501, ErrType: 501, ErrSize: 501, ErrShort: 501, ErrLong: 501, ErrString: 501,
		ErrSASL: 502, ErrHeartbeat: 505, ErrWeight: 505, ErrUnknownMethod: 0,
	} {
		var e *Error
		if !errors.As(err, &e) || e.Code != want || e.Error() == "" {
			t.Errorf("%v has code %d, want %d", err, e.Code, want)
		}
	}
	if _, _, err := ReadMethod([]byte{0, 60, 0}); !errors.Is(err, ErrShort) {
		t.Error(err)
	}
}
