package packet

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
)

// decode takes the first packet of b apart, as a broker would at this protocol
// level, and returns it in words, with the bytes that make the same packet
// again; nil where the length was written longer than needed. n is 0 if b ends
// before the packet does.
func decode(b []byte, level byte) (words string, again []byte, n int, err error) {
	h, more, err := ReadHeader(b)
	if err == nil && !more {
		err = h.Check(level)
	}
	if err != nil || more || len(b) < h.Total() {
		return "", nil, 0, err
	}
	body, tidy := b[h.Size:h.Total()], len(AppendHeader(nil, h.Type, h.Flags, h.Length)) == h.Size
	switch h.Type {
	case CONNECT:
		var c Connect
		if err = c.Decode(body); err == nil {
			words, again = fmt.Sprintf("%+v", c), appendConnect(&c, body)
		}
	case PUBLISH:
		var p Publish
		if err = p.Decode(h.Flags, body); err == nil {
			words = fmt.Sprintf("%+v", p)
			again = AppendPublishHead(nil, p.Topic, len(p.Payload), p.QoS, p.Retain, p.Dup, p.ID)
			if PublishSize(len(p.Topic), len(p.Payload), p.QoS) != len(again)+len(p.Payload) {
				err = fmt.Errorf("size of %s", words)
			}
			again = append(again, p.Payload...)
		}
	case PUBACK, PUBREC, PUBREL, PUBCOMP, UNSUBACK:
		var id uint16
		if id, err = DecodeID(body); err == nil {
			words, again = fmt.Sprint(id), AppendID(nil, h.Type, id)
		}
	case SUBSCRIBE, UNSUBSCRIBE:
		words, again, err = decodeFilters(h, body)
	default:
		again = append(AppendHeader(nil, h.Type, h.Flags, h.Length), body...)
	}
	switch {
	case !tidy:
		again = nil
	case len(again) > 0 && h.Type != PUBLISH:
		again[0] |= b[0] & 8 // MQTT 3.1 allows DUP here and there, and it says nothing
	}
	return h.Type.String() + " " + words, again, h.Total(), err
}

func decodeFilters(h Header, body []byte) (words string, again []byte, err error) {
	id, f, n, err := DecodeFilters(h.Type, body)
	if err != nil {
		return "", nil, err
	}
	words = fmt.Sprint(id)
	again = binary.BigEndian.AppendUint16(AppendHeader(nil, h.Type, h.Flags, h.Length), id)
	for range n {
		filter, qos, ok := f.Next()
		if !ok {
			return "", nil, fmt.Errorf("%s: filters of %d are missing", words, n)
		}
		words += fmt.Sprintf(" %q %d", filter, qos)
		again = append(binary.BigEndian.AppendUint16(again, uint16(len(filter))), filter...)
		if h.Type == SUBSCRIBE {
			again = append(again, qos)
		}
	}
	if filter, _, ok := f.Next(); ok {
		err = fmt.Errorf("%s: one filter more: %q", words, filter)
	}
	return words, again, err
}

// appendConnect makes the packet again. What MQTT 3.1 leaves out, and what
// follows an unknown level, cannot be known.
func appendConnect(c *Connect, body []byte) []byte {
	name := "MQTT"
	if bytes.HasPrefix(body, []byte("\x00\x06")) {
		name = "MQIsdp"
	}
	b := append(append([]byte{0, byte(len(name))}, name...), c.Level)
	if c.Unknown {
		b = append(b, body[len(b):]...)
		return append(AppendHeader(nil, CONNECT, 0, len(b)), b...)
	}
	bit := func(is bool, v byte) byte {
		if is {
			return v
		}
		return 0
	}
	flags := bit(c.Clean, 2) | bit(c.HasWill, 4) | c.WillQoS<<3 | bit(c.WillRetain, 0x20)
	flags |= bit(c.HasPassword, 0x40) | bit(c.HasUser, 0x80)
	b = binary.BigEndian.AppendUint16(append(b, flags), c.KeepAlive)
	field := func(has bool, v []byte) {
		if has {
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
		}
	}
	field(true, c.ClientID)
	field(c.HasWill, c.WillTopic)
	field(c.HasWill, c.WillPayload)
	field(c.HasUser, c.User)
	field(c.HasPassword, c.Password)
	if c.Level == 3 && !c.HasUser && len(b) == len(body) {
		b[9] = body[9] // announced and left out
	}
	return append(AppendHeader(nil, CONNECT, 0, len(b)), b...)
}

// FuzzDecode has bytes decoded as they come: as a whole, cut in two places,
// and with other bytes behind them.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		"10 0d 0004'MQTT'04 02 003c 0001'a'",
		"10 1e 0004'MQTT'04 ee 000a 0001'c' 0003'w/t' 0002 00ff 0001'u' 0003'p'00ff",
		"10 0f 0006'MQIsdp'03 c2 0000 0001'a'",
		"10 07 0004'MQTT'05",
		"20 02 00 00",
		"30 07 0003'a/b''hi' 32 09 0003'a/b'0007'hi' 3d 09 0003'a/b'ffff'hi'",
		"40 02 0001 50 02 0001 62 02 0001 70 02 0001",
		"82 0e ffff 0001'#'00 0001'+'01 0001'/'02",
		"a2 08 0100 0001'#' 0001'a'",
		"90 03 0001 01 b0 02 0001 c0 00 d0 00 e0 00",
		"c0 80 80 80 80 01",
		"30 ff ff ff 7f 0001'a'",
		"00 00", "f0 00", "36 05 0001'a'0001", "82 02 0001",
	} {
		f.Add(raw(f, s), byte(4), uint16(1), uint16(7))
		f.Add(raw(f, s), byte(3), uint16(3), uint16(0))
	}
	f.Fuzz(func(t *testing.T, data []byte, level byte, cut, cut2 uint16) {
		for len(data) > 0 {
			words, again, n, err := decode(data[:len(data):len(data)], level)
			if n == 0 && err == nil {
				return // it has not all come
			}
			// Nothing is known from a part that is not known from the whole, and
			// what is wrong may be known early.
			for _, c := range []uint16{cut, cut2} {
				part := data[:int(c)%(len(data)+1)]
				w, _, m, e := decode(part, level)
				switch {
				case m == 0 && e == nil:
				case e != nil && err != nil && e.Error() == err.Error():
				case len(part) < n || w != words || m != n || e != err:
					t.Fatalf("% x: %s, %v\n% x: %s, %v", data, words, err, part, w, e)
				}
			}
			if err != nil {
				n = len(data)
				if h, more, _ := ReadHeader(data); !more && h.Size > 0 {
					n = min(n, h.Total())
				}
			}
			// What follows says nothing about it.
			next := append(bytes.Clone(data[:n]), "\x30\x03\x00\x01tdesync"...)
			if w, _, m, e := decode(next, level); err == nil && (w != words || m != n || e != nil) || err != nil && n < len(data) && e == nil {
				t.Fatalf("% x: %s, %v; with others behind it %s, %v", data[:n], words, err, w, e)
			}
			if err != nil {
				return // the connection ends here
			}
			if again != nil && !bytes.Equal(again, data[:n]) {
				t.Fatalf("% x is %s\n% x is what that makes", data[:n], words, again)
			}
			data = data[n:]
		}
	})
}
