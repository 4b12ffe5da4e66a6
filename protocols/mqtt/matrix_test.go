package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// hello is a CONNECT. What its flags announce beside the client id is given in
// the order of the packet: will topic, will payload, user name, password.
func hello(level, flags byte, keepAlive uint16, id string, fields ...string) []byte {
	name := "MQTT"
	if level == 3 {
		name = "MQIsdp"
	}
	b := appendText(nil, name)
	b = binary.BigEndian.AppendUint16(append(b, level, flags), keepAlive)
	b = appendText(b, id)
	for _, f := range fields {
		b = appendText(b, f)
	}
	return append(packet.AppendHeader(nil, packet.CONNECT, 0, len(b)), b...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// A witness is a client that must not notice what others do.
type witness struct {
	*peer
	n int
}

// desync is a PUBLISH that stands behind packets that end the connection. The
// witness would get it.
const desync = "30 0b 0008'w/desync''!'"

// in has failures of the box and its peers be those of a subtest.
func (b *box) in(t *testing.T, peers ...*peer) {
	outer := b.t
	set := func(t testing.TB) {
		b.t = t
		for _, p := range peers {
			p.t = t
		}
	}
	set(t)
	t.Cleanup(func() { set(outer) })
}

func (b *box) witness() *witness {
	w := &witness{peer: b.connect("witness", true)}
	w.send("82 08 0001 0003'w/#'00")
	w.want("90 03 0001 00")
	return w
}

// check has the witness send itself a message. Nothing else has come before.
func (w *witness) check() {
	w.t.Helper()
	w.n++
	m := fmt.Sprintf("30 0b 0003'w/1' '%06d'", w.n)
	w.send(m)
	w.want(m)
	w.send("c0 00")
	w.want("d0 00")
}

// cells is a packet of each type, PUBLISH at each QoS, and what a connected
// client hears of it. Illegal ones end the connection.
var cells = []struct {
	name    string
	wire    string
	answer  string
	illegal bool
}{
	{"reserved 0", "00 00", "", true},
	{"CONNECT", "10 0d 0004'MQTT'04 02 0000 0001'z'", "", true},
	{"CONNACK", "20 02 0000", "", true},
	{"PUBLISH at QoS 0", "30 03 0001't'", "", false},
	{"PUBLISH at QoS 1", "32 05 0001't'0007", "40 02 0007", false},
	{"PUBLISH at QoS 2", "34 05 0001't'0008", "50 02 0008", false},
	{"PUBACK", "40 02 0001", "", false},
	{"PUBREC", "50 02 0001", "62 02 0001", false},
	{"PUBREL", "62 02 0009", "70 02 0009", false},
	{"PUBCOMP", "70 02 0001", "", false},
	{"SUBSCRIBE", "82 06 0001 0001'u'00", "90 03 0001 00", false},
	{"SUBACK", "90 03 0001 00", "", true},
	{"UNSUBSCRIBE", "a2 05 0001 0001'u'", "b0 02 0001", false},
	{"UNSUBACK", "b0 02 0001", "", true},
	{"PINGREQ", "c0 00", "d0 00", false},
	{"PINGRESP", "d0 00", "", true},
	{"reserved 15", "f0 00", "", true},
	{"AUTH of MQTT 5", "f0 02 1800", "", true},
	// illegal forms of legal types
	{"PUBLISH at QoS 3", "36 05 0001't'0007", "", true},
	{"PUBLISH with DUP at QoS 0", "38 03 0001't'", "", true},
	{"PUBLISH with packet id 0", "32 05 0001't'0000", "", true},
	{"PUBLISH to a wildcard", "30 03 0001'#'", "", true},
	{"PUBLISH to nothing", "30 02 0000", "", true},
	{"PUBLISH with NUL", "30 03 0001 00", "", true},
	{"PUBLISH with a long length", "30 80 80 80 80 01", "", true},
	{"PUBACK with a reason code", "40 03 0001 00", "", true},
	{"PUBREL with flags 0", "60 02 0009", "", true},
	{"SUBSCRIBE with flags 0", "80 06 0001 0001'u'00", "", true},
	{"SUBSCRIBE with options of MQTT 5", "82 06 0001 0001'u'08", "", true},
	{"SUBSCRIBE to nothing", "82 02 0001", "", true},
	{"SUBSCRIBE to half a wildcard", "82 07 0001 0002'u#'00", "", true},
	{"UNSUBSCRIBE with flags 0", "a0 05 0001 0001'u'", "", true},
	{"PINGREQ with a body", "c0 01 00", "", true},
	{"DISCONNECT with a reason code", "e0 02 0400", "", true},
}

// TestSecurity9StateMatrix sends each packet in each state of a connection.
func TestSecurity9StateMatrix(t *testing.T) {
	var log recorder
	b := newBox(t, log.record)
	w := b.witness()
	for _, cell := range cells {
		t.Run(cell.name, func(t *testing.T) {
			b.in(t, w.peer)
			if cell.name != "CONNECT" {
				p := b.open()
				p.send(cell.wire + desync + "c0 00")
				p.wantOver()
				log.wantOne(t, "", core.ErrProtocol)
				w.check()
			}
			after := b.connect("x", true)
			after.send("e0 00" + cell.wire + desync + "c0 00")
			after.wantOver()
			log.wantNone(t)
			w.check()
			for _, clean := range []bool{true, false} {
				id := fmt.Sprintf("clean-%v", clean)
				p := b.connect(id, clean)
				if !cell.illegal {
					p.send(cell.wire + "c0 00")
					p.want(cell.answer + "d0 00")
					p.send("e0 00")
					p.wantOver()
					log.wantNone(t)
					continue
				}
				p.send("82 06 0001 0001's'01")
				p.want("90 03 0001 01")
				p.send(cell.wire + desync + "c0 00")
				p.wantOver()
				log.wantOne(t, id, core.ErrProtocol, core.ErrBadAddress)
				w.check()
				// Its state is what it was, and in use.
				p = b.open()
				p.Send(hello(4, 0, 0, id))
				if clean {
					p.want("20 02 00 00")
				} else {
					p.want("20 02 01 00")
					p.send("32 05 0001's'0003")
					p.wantAll("40 02 0003", "32 05 0001's'0001")
				}
				p.Send(raw("e0 00"))
				p.wantOver()
				b.connect(id, true).send("e0 00") // forget it
				log.take()
			}
			w.check()
		})
	}
}

// TestPacketsBehindConnect sends everything at once: nothing may overtake
// CONNACK, and what is wrong behind it ends the connection all the same.
func TestPacketsBehindConnect(t *testing.T) {
	b := newBox(t)
	w := b.witness()
	for _, flags := range []string{"02", "00"} {
		p := b.open()
		p.send("10 0d 0004'MQTT'04" + flags + "0000 0001'p'" + "82 06 0001 0001't'01" + "32 06 0001't'0007'm'" + "c0 00 e0 00" + desync)
		p.want("20 02 00 00")
		// The delivery may come before SUBACK, or not be sent any more; what is
		// behind DISCONNECT is not read.
		p.untilOver()
		got := strings.ReplaceAll(string(p.buf), string(raw("32 06 0001't'0001'm'")), "")
		if got != string(raw("90 03 0001 01 40 02 0007 d0 00")) {
			t.Errorf("flags %s: % x", flags, p.buf)
		}
		w.check()
		b.connect("p", true).send("e0 00")

		p = b.open()
		p.send("10 0d 0004'MQTT'04" + flags + "0000 0001'q'" + "10 0d 0004'MQTT'04 02 0000 0001'q'" + desync)
		p.want("20 02 00 00")
		p.wantOver()
		w.check()
	}
}

// untilOver gathers what comes until the broker ends the connection.
func (p *peer) untilOver() {
	p.t.Helper()
	deadline := generous()
	for !p.Wait(untilDeadline(p.t, deadline)) {
		p.buf = append(p.buf, p.Receive()...)
	}
	p.buf = append(p.buf, p.Receive()...)
}

// TestSplit sends a conversation byte by byte.
func TestSplit(t *testing.T) {
	b := newBox(t)
	p := b.open()
	for _, c := range raw("10 0d 0004'MQTT'04 02 0000 0001'p' 82 06 0001 0001't'01 32 06 0001't'0007'm' c0 00") {
		p.Send([]byte{c})
	}
	p.want("20 02 00 00")
	p.wantAll("90 03 0001 01", "40 02 0007", "32 06 0001't'0001'm'", "d0 00")
	for _, c := range raw("40 02 0001 e0 00") {
		p.Send([]byte{c})
	}
	p.wantOver()
}

// wantAll waits for these packets, in any order.
func (p *peer) wantAll(packets ...string) {
	p.t.Helper()
	left := map[string]int{}
	for _, s := range packets {
		left[string(raw(s))]++
	}
	for range packets {
		got := p.next()
		if left[got]--; left[got] < 0 {
			p.t.Fatalf("unexpected % x %q", got, got)
		}
	}
}

// next waits for the next packet.
func (p *peer) next() string {
	p.t.Helper()
	deadline := generous()
	for {
		h, more, err := packet.ReadHeader(p.buf)
		if err != nil {
			p.t.Fatal(err)
		}
		if !more && len(p.buf) >= h.Total() {
			got := string(p.buf[:h.Total()])
			p.buf = p.buf[h.Total():]
			return got
		}
		over := p.Wait(untilDeadline(p.t, deadline))
		got := p.Receive()
		p.buf = append(p.buf, got...)
		if over && len(got) == 0 {
			p.t.Fatalf("the connection is over after % x", p.buf)
		}
	}
}

// TestExpectNamesThePacket reads the causes that an operator sees.
func TestExpectNamesThePacket(t *testing.T) {
	c := &conn{a: &Adapter{cfg: settings{Config: DefaultConfig()}}}
	for typ := packet.Type(1); typ < 15; typ++ {
		flags := byte(0)
		if typ == packet.PUBREL || typ == packet.SUBSCRIBE || typ == packet.UNSUBSCRIBE {
			flags = 2
		}
		for c.level = range byte(5) {
			err := c.expect(packet.Header{Type: typ, Flags: flags, Size: 2})
			want := ""
			switch {
			case c.level == 0 && typ != packet.CONNECT:
				want = typ.String() + " before CONNECT"
			case c.level != 0 && typ == packet.CONNECT:
				want = "second CONNECT"
			}
			if want == "" && err != nil || want != "" && (!errors.Is(err, core.ErrProtocol) || !strings.Contains(err.Error(), want)) {
				t.Errorf("%v at level %d: %v", typ, c.level, err)
			}
		}
	}
}
