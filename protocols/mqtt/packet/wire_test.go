package packet

import (
	"strings"
	"testing"

	"github.com/narumq/naru/core/coretest/octets"
)

// raw makes bytes of hex and of 'text'.
var raw = octets.Of

// body takes one whole packet apart.
func body(t testing.TB, b []byte) (Header, []byte) {
	t.Helper()
	h, more, err := ReadHeader(b)
	if more || err != nil || h.Total() != len(b) {
		t.Fatalf("% x: header %+v, more %v, %v", b, h, more, err)
	}
	if err := h.Check(4); err != nil {
		t.Fatalf("% x: %v", b, err)
	}
	return h, b[h.Size:]
}

func TestWireConnect(t *testing.T) {
	tests := []struct {
		wire string
		want Connect
	}{
		{"10 0d 0004'MQTT'04 02 003c 0001'a'", Connect{Level: 4, Clean: true, KeepAlive: 60, ClientID: []byte("a")}},
		{"10 0c 0004'MQTT'04 00 ffff 0000", Connect{Level: 4, KeepAlive: 65535, ClientID: []byte{}}},
		{"10 0f 0006'MQIsdp'03 02 0000 0001'a'", Connect{Level: 3, Clean: true, ClientID: []byte("a")}},
		{
			"10 1e 0004'MQTT'04 ee 000a 0001'c' 0003'w/t' 0002 00ff 0001'u' 0003'p'00ff",
			Connect{
				Level: 4, Clean: true, KeepAlive: 10, ClientID: []byte("c"), HasWill: true, WillQoS: 1, WillRetain: true,
				WillTopic: []byte("w/t"), WillPayload: []byte{0, 0xff}, HasUser: true, User: []byte("u"),
				HasPassword: true, Password: []byte{'p', 0, 0xff},
			},
		},
		{ // a will without payload, at QoS 2
			"10 12 0004'MQTT'04 14 0000 0001'c' 0001'w' 0000",
			Connect{Level: 4, ClientID: []byte("c"), HasWill: true, WillQoS: 2, WillTopic: []byte("w"), WillPayload: []byte{}},
		},
		{ // a user name without password
			"10 10 0004'MQTT'04 82 0000 0001'c' 0001'u'",
			Connect{Level: 4, Clean: true, ClientID: []byte("c"), HasUser: true, User: []byte("u")},
		},
		{ // MQTT 3.1: announced and left out
			"10 0f 0006'MQIsdp'03 c2 0000 0001'a'",
			Connect{Level: 3, Clean: true, ClientID: []byte("a")},
		},
		{"10 07 0004'MQTT'05", Connect{Level: 5, Unknown: true}},
		{"10 07 0004'MQTT'84", Connect{Level: 0x84, Unknown: true}},
		{"10 09 0006'MQIsdp'04", Connect{Level: 4, Unknown: true}},
		{"10 07 0004'MQTT'03", Connect{Level: 3, Unknown: true}},
	}
	for _, test := range tests {
		_, b := body(t, raw(t, test.wire))
		var got Connect
		got.Password = []byte("left from before")
		if err := got.Decode(b); err != nil {
			t.Errorf("%s: %v", test.wire, err)
			continue
		}
		if !sameConnect(&got, &test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.wire, got, test.want)
		}
	}
}

func sameConnect(a, b *Connect) bool {
	return a.Level == b.Level && a.Unknown == b.Unknown && a.Clean == b.Clean && a.KeepAlive == b.KeepAlive &&
		string(a.ClientID) == string(b.ClientID) && a.HasWill == b.HasWill && a.WillQoS == b.WillQoS &&
		a.WillRetain == b.WillRetain && string(a.WillTopic) == string(b.WillTopic) &&
		string(a.WillPayload) == string(b.WillPayload) && a.HasUser == b.HasUser && string(a.User) == string(b.User) &&
		a.HasPassword == b.HasPassword && string(a.Password) == string(b.Password)
}

func TestWirePublish(t *testing.T) {
	tests := []struct {
		wire string
		want Publish
	}{
		{"30 07 0003'a/b''hi'", Publish{Topic: []byte("a/b"), Payload: []byte("hi")}},
		{"31 05 0003'a/b'", Publish{Retain: true, Topic: []byte("a/b")}},
		{"32 09 0003'a/b'0007'hi'", Publish{QoS: 1, ID: 7, Topic: []byte("a/b"), Payload: []byte("hi")}},
		{"3d 09 0003'a/b'ffff'hi'", Publish{Dup: true, QoS: 2, Retain: true, ID: 65535, Topic: []byte("a/b"), Payload: []byte("hi")}},
		{"34 07 0003'a/b'0100", Publish{QoS: 2, ID: 256, Topic: []byte("a/b")}},
		{"30 02 0000", Publish{}}, // an empty topic is for the bus to refuse
	}
	for _, test := range tests {
		wire := raw(t, test.wire)
		h, b := body(t, wire)
		var got Publish
		if err := got.Decode(h.Flags, b); err != nil {
			t.Errorf("%s: %v", test.wire, err)
			continue
		}
		w := &test.want
		if got.Dup != w.Dup || got.QoS != w.QoS || got.Retain != w.Retain || got.ID != w.ID ||
			string(got.Topic) != string(w.Topic) || string(got.Payload) != string(w.Payload) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.wire, got, *w)
		}
		again := append(AppendPublishHead(nil, w.Topic, len(w.Payload), w.QoS, w.Retain, w.Dup, w.ID), w.Payload...)
		if string(again) != string(wire) {
			t.Errorf("%s is encoded as % x", test.wire, again)
		}
		if n := PublishSize(len(w.Topic), len(w.Payload), w.QoS); n != len(wire) {
			t.Errorf("%s: size %d", test.wire, n)
		}
	}
}

// TestWireID is for the packets that are only an id.
func TestWireID(t *testing.T) {
	tests := []struct {
		wire string
		typ  Type
		id   uint16
	}{
		{"40 02 0001", PUBACK, 1},
		{"50 02 0100", PUBREC, 256},
		{"62 02 ffff", PUBREL, 65535},
		{"70 02 1234", PUBCOMP, 0x1234},
		{"b0 02 8000", UNSUBACK, 0x8000},
	}
	for _, test := range tests {
		wire := raw(t, test.wire)
		h, b := body(t, wire)
		id, err := DecodeID(b)
		if h.Type != test.typ || id != test.id || err != nil {
			t.Errorf("%s: %v %d, %v", test.wire, h.Type, id, err)
		}
		if got := AppendID(nil, test.typ, test.id); string(got) != string(wire) {
			t.Errorf("%s is encoded as % x", test.wire, got)
		}
	}
}

func TestWireFilters(t *testing.T) {
	tests := []struct {
		wire    string
		id      uint16
		filters []string
		qos     []byte
	}{
		{"82 08 0001 0003'a/b'01", 1, []string{"a/b"}, []byte{1}},
		{"82 0e ffff 0001'#'00 0001'+'01 0001'/'02", 65535, []string{"#", "+", "/"}, []byte{0, 1, 2}},
		{"a2 07 0001 0003'a/b'", 1, []string{"a/b"}, []byte{0}},
		{"a2 08 0100 0001'#' 0001'a'", 256, []string{"#", "a"}, []byte{0, 0}},
	}
	for _, test := range tests {
		h, b := body(t, raw(t, test.wire))
		id, f, n, err := DecodeFilters(h.Type, b)
		if id != test.id || n != len(test.filters) || err != nil {
			t.Errorf("%s: id %d, %d filters, %v", test.wire, id, n, err)
			continue
		}
		for i, want := range test.filters {
			if got, qos, ok := f.Next(); string(got) != want || qos != test.qos[i] || !ok {
				t.Errorf("%s: filter %d is %q at %d, %v", test.wire, i, got, qos, ok)
			}
		}
		if got, _, ok := f.Next(); ok {
			t.Errorf("%s: one more filter %q", test.wire, got)
		}
	}
}

// TestWireAnswers is for what only servers send.
func TestWireAnswers(t *testing.T) {
	tests := []struct {
		wire string
		got  []byte
	}{
		{"20 02 00 00", AppendConnack(nil, false, Accepted)},
		{"20 02 01 00", AppendConnack(nil, true, Accepted)},
		{"20 02 00 01", AppendConnack(nil, false, BadProtocolVersion)},
		{"20 02 00 02", AppendConnack(nil, false, IdentifierRejected)},
		{"20 02 00 03", AppendConnack(nil, false, ServerUnavailable)},
		{"20 02 00 04", AppendConnack(nil, false, BadCredentials)},
		{"20 02 00 05", AppendConnack(nil, false, NotAuthorized)},
		{"90 05 0007 00 02 80", append(AppendSubackHead(nil, 7, 3), 0, 2, SubscribeFailure)},
		{"d0 00", AppendPingresp(nil)},
	}
	for _, test := range tests {
		if want := raw(t, test.wire); string(test.got) != string(want) {
			t.Errorf("got % x, want % x", test.got, want)
		}
	}
	// Appending leaves what is there.
	if got := AppendPingresp(AppendID([]byte("x"), PUBACK, 1)); string(got) != "x\x40\x02\x00\x01\xd0\x00" {
		t.Errorf("appended: % x", got)
	}
}

// TestTypes checks each type and each of its flags against the table of the
// standard, in both levels. [MQTT-2.2.2-1] [MQTT-2.2.2-2]
func TestTypes(t *testing.T) {
	legal := map[Type]string{ // flags, as hex digits
		CONNECT: "0", CONNACK: "0", PUBLISH: "0123" + "45" + "abcd", PUBACK: "0", PUBREC: "0", PUBREL: "2", PUBCOMP: "0",
		SUBSCRIBE: "2", SUBACK: "0", UNSUBSCRIBE: "2", UNSUBACK: "0", PINGREQ: "0", PINGRESP: "0", DISCONNECT: "0",
	}
	for typ := Type(0); typ < 16; typ++ {
		for flags := byte(0); flags < 16; flags++ {
			digit := string("0123456789abcdef"[flags])
			h, more, err := ReadHeader([]byte{byte(typ)<<4 | flags, 0})
			if more || err != nil || h.Type != typ || h.Flags != flags || h.Length != 0 || h.Size != 2 {
				t.Fatalf("type %d, flags %d: %+v, %v", typ, flags, h, err)
			}
			if got, want := h.Check(4) == nil, strings.Contains(legal[typ], digit); got != want {
				t.Errorf("%v with flags %s: legal is %v", typ, digit, got)
			}
			// MQTT 3.1 has DUP in what is repeated.
			want := strings.Contains(legal[typ], digit)
			if typ != PUBLISH && legal[typ] != "" {
				want = flags&^8 == legal[typ][0]-'0'
			}
			if got := h.Check(3) == nil; got != want {
				t.Errorf("%v with flags %s in MQTT 3.1: legal is %v", typ, digit, got)
			}
		}
		if typ.String() == "" {
			t.Errorf("type %d has no name", typ)
		}
	}
}
