package packet

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
)

// TestRemainingLength goes along the borders of each length that the header
// can have. [MQTT 2.2.3]
func TestRemainingLength(t *testing.T) {
	tests := []struct {
		wire   string
		length int
		size   int
		short  bool // to be written like this
	}{
		{"00", 0, 2, true},
		{"01", 1, 2, true},
		{"7f", 127, 2, true},
		{"80 01", 128, 3, true},
		{"ff 7f", 16_383, 3, true},
		{"80 80 01", 16_384, 4, true},
		{"ff ff 7f", 2_097_151, 4, true},
		{"80 80 80 01", 2_097_152, 5, true},
		{"ff ff ff 7f", MaxLength, 5, true},
		// Longer than needed is not forbidden in 3.1.1.
		{"80 00", 0, 3, false},
		{"ff 80 80 00", 127, 5, false},
	}
	for _, test := range tests {
		b := append([]byte{0xc0}, raw(t, test.wire)...)
		for n := range len(b) {
			if h, more, err := ReadHeader(b[:n]); !more || err != nil {
				t.Errorf("%s: %d bytes of it give %+v, %v", test.wire, n, h, err)
			}
		}
		// What follows does not count.
		h, more, err := ReadHeader(append(b, 0xff, 0xff))
		if more || err != nil || h.Length != test.length || h.Size != test.size || h.Total() != test.size+test.length {
			t.Errorf("%s: %+v, more %v, %v", test.wire, h, more, err)
		}
		if got := AppendHeader(nil, PINGREQ, 0, test.length); test.short != (string(got) == string(b)) {
			t.Errorf("%d is encoded as % x", test.length, got)
		}
	}
	for _, wire := range []string{"c0 80 80 80 80", "c0 ff ff ff ff", "c0 ff ff ff ff 01", "30 80 80 80 80 00"} {
		if h, more, err := ReadHeader(raw(t, wire)); more || !errors.Is(err, ErrLength) {
			t.Errorf("%s: %+v, more %v, %v", wire, h, more, err)
		}
	}
}

// TestPublishSize compares the size with what is written where the length of
// the header changes.
func TestPublishSize(t *testing.T) {
	for _, border := range []int{128, 16_384, 2_097_152} {
		for qos := byte(0); qos <= 2; qos++ {
			for n := border - 3; n <= border+1; n++ {
				payload := n - 2 - 1
				if qos > 0 {
					payload -= 2
				}
				head := AppendPublishHead(nil, []byte("t"), payload, qos, false, false, 1)
				if got, want := PublishSize(1, payload, qos), len(head)+payload; got != want {
					t.Errorf("%d bytes of payload at QoS %d: size %d, want %d", payload, qos, got, want)
				}
				if h, _, err := ReadHeader(head); err != nil || h.Length != n {
					t.Errorf("%d bytes of payload at QoS %d: %+v, %v", payload, qos, h, err)
				}
			}
		}
	}
	if got := PublishSize(65535, MaxLength-65535-4, 2); got != MaxLength+MaxHeader {
		t.Errorf("the largest packet has %d bytes", got)
	}
}

// TestFieldLengths has two-byte lengths say 0, all that is there, and one more.
func TestFieldLengths(t *testing.T) {
	long := strings.Repeat("x", 65535)
	for _, text := range []string{"", "a", long} {
		p := append(AppendPublishHead(nil, []byte(text), 1, 0, false, false, 0), 'p')
		h, b := body(t, p)
		var got Publish
		if err := got.Decode(h.Flags, b); err != nil || string(got.Topic) != text || string(got.Payload) != "p" {
			t.Errorf("a topic of %d bytes comes back as %d, payload %q, %v", len(text), len(got.Topic), got.Payload, err)
		}
		c := connectWith(text)
		var con Connect
		if err := con.Decode(c); err != nil || string(con.ClientID) != text {
			t.Errorf("a client id of %d bytes comes back as %d, %v", len(text), len(con.ClientID), err)
		}
		if text == "" {
			continue
		}
		sub := binary.BigEndian.AppendUint16([]byte{0, 1}, uint16(len(text)))
		sub = append(append(sub, text...), 1)
		if _, f, n, err := DecodeFilters(SUBSCRIBE, sub); err != nil || n != 1 {
			t.Errorf("a filter of %d bytes: %v", len(text), err)
		} else if filter, _, _ := f.Next(); string(filter) != text {
			t.Errorf("a filter of %d bytes comes back as %d", len(text), len(filter))
		}
	}
	// A field is cut off by its length alone: to append to it must not write
	// into what follows.
	b := raw(t, "0001'a''rest'")
	v, rest, ok := field(b)
	if !ok || cap(v) != 1 || string(rest) != "rest" {
		t.Fatalf("%q with room for %d, rest %q", v, cap(v), rest)
	}
}

// connectWith is the body of a CONNECT with this client id.
func connectWith(id string) []byte {
	b := append([]byte("\x00\x04MQTT\x04\x02\x00\x00"), byte(len(id)>>8), byte(len(id)))
	return append(b, id...)
}

// TestConnectCut cuts a CONNECT with everything in it at every byte, and adds
// one: only the whole is taken.
func TestConnectCut(t *testing.T) {
	_, b := body(t, raw(t, "10 1e 0004'MQTT'04 ee 000a 0001'c' 0003'w/t' 0002 00ff 0001'u' 0003'p'00ff"))
	var c Connect
	for n := range len(b) {
		// Of an unknown level the level is all that is decoded; no cut makes one.
		if err := c.Decode(b[:n]); !errors.Is(err, ErrShort) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if err := c.Decode(append(b[:len(b):len(b)], 0)); !errors.Is(err, ErrLong) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestMalformed(t *testing.T) {
	tests := []struct {
		wire string // of the body
		typ  Type
		want error
	}{
		// CONNECT
		{"0004'MQTX'04 02 0000 0000", CONNECT, ErrProtocol},
		{"0004'mqtt'04 02 0000 0000", CONNECT, ErrProtocol},
		{"0000 04 02 0000 0000", CONNECT, ErrProtocol},
		{"ffff'MQTT'04 02 0000 0000", CONNECT, ErrShort},
		{"0004'MQTT'04 03 0000 0000", CONNECT, ErrFlags},
		{"0004'MQTT'04 0a 0000 0000", CONNECT, ErrConnect}, // QoS of a will that is not there
		{"0004'MQTT'04 22 0000 0000", CONNECT, ErrConnect}, // retain likewise
		{"0004'MQTT'04 1e 0000 0000 0001'w'0000", CONNECT, ErrQoS},
		{"0004'MQTT'04 42 0000 0001'c'0001'p'", CONNECT, ErrConnect}, // a password without user name
		{"0004'MQTT'04 02 0000 0001 ff", CONNECT, ErrString},
		{"0004'MQTT'04 02 0000 0003 eda080", CONNECT, ErrString}, // a surrogate
		{"0004'MQTT'04 02 0000 0003'a'00'b'", CONNECT, ErrString},
		{"0004'MQTT'04 06 0000 0001'c'0001 00 0000", CONNECT, ErrString}, // will topic
		{"0004'MQTT'04 82 0000 0001'c'0002 c080", CONNECT, ErrString},    // user name
		{"0004'MQTT'04 82 0000 0001'c'", CONNECT, ErrShort},              // 3.1 only may leave it out
		{"0006'MQIsdp'03 c2 0000 0001'c' 00", CONNECT, ErrShort},         // half a length is not left out
		{"0006'MQIsdp'03 c2 0000 0001'c' 0001'u'", CONNECT, ErrShort},    // nor the password alone
		// PUBLISH at QoS 1
		{"00", PUBLISH, ErrShort},
		{"0002'a'", PUBLISH, ErrShort},
		{"ffff'a'0001", PUBLISH, ErrShort},
		{"0001'a'", PUBLISH, ErrShort},
		{"0001'a'01", PUBLISH, ErrShort},
		{"0001'a'0000", PUBLISH, ErrID},
		// ids
		{"", PUBACK, ErrShort},
		{"01", PUBREC, ErrShort},
		{"0000", PUBREL, ErrID},
		{"0001 00", PUBCOMP, ErrLong}, // a reason code, as in MQTT 5
		// filters
		{"", SUBSCRIBE, ErrShort},
		{"00", UNSUBSCRIBE, ErrShort},
		{"0000 0001'a'01", SUBSCRIBE, ErrID},
		{"0001", SUBSCRIBE, ErrNoFilter},
		{"0001", UNSUBSCRIBE, ErrNoFilter},
		{"0001 0000 00", SUBSCRIBE, ErrNoFilter},
		{"0001 0000", UNSUBSCRIBE, ErrNoFilter},
		{"0001 0001'a'", SUBSCRIBE, ErrShort},
		{"0001 0002'a'01", SUBSCRIBE, ErrShort},
		{"0001 0001'a'03", SUBSCRIBE, ErrQoS},
		{"0001 0001'a'04", SUBSCRIBE, ErrFlags},
		{"0001 0001'a'81", SUBSCRIBE, ErrFlags},
		{"0001 0001'a'01 00", SUBSCRIBE, ErrShort},
		{"0001 0001 ff 01", SUBSCRIBE, ErrString},
		{"0001 0001'a' 0002 c3", UNSUBSCRIBE, ErrShort},
		{"0001 0001'a' 0001 00", UNSUBSCRIBE, ErrString},
	}
	for _, test := range tests {
		b := raw(t, test.wire)
		var err error
		switch test.typ {
		case CONNECT:
			err = new(Connect).Decode(b)
		case PUBLISH:
			err = new(Publish).Decode(2, b)
		case SUBSCRIBE, UNSUBSCRIBE:
			var id uint16
			var n int
			id, _, n, err = DecodeFilters(test.typ, b)
			if err != nil && (id != 0 || n != 0) {
				t.Errorf("%v %s: id %d and %d filters beside the error", test.typ, test.wire, id, n)
			}
		default:
			_, err = DecodeID(b)
		}
		if !errors.Is(err, test.want) {
			t.Errorf("%v %s: %v, want %v", test.typ, test.wire, err, test.want)
		}
	}
}

func TestFilterCount(t *testing.T) {
	most := append([]byte{0, 1}, strings.Repeat("\x00\x01a", MaxFilters)...)
	if _, _, n, err := DecodeFilters(UNSUBSCRIBE, most); n != MaxFilters || err != nil {
		t.Errorf("%d filters, %v", n, err)
	}
	if _, _, _, err := DecodeFilters(UNSUBSCRIBE, append(most, 0, 1, 'a')); !errors.Is(err, ErrFilters) {
		t.Errorf("one more: %v", err)
	}
}
