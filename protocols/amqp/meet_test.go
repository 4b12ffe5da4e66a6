package amqp

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
	"github.com/narumq/naru/protocols/mqtt"
)

// Messages of MQTT and of AMQP meet in the same exchanges and queues.

// mqttPeer is a client of MQTT 3.1.1 on the same bus.
type mqttPeer struct {
	*transport.Pipe
	t   testing.TB
	buf []byte
}

func (b *box) mqtt(id string) *mqttPeer {
	b.t.Helper()
	cfg := mqtt.DefaultConfig()
	cfg.SysInterval, cfg.Listeners = 0, nil
	a := mqtt.New(b.bus, b.srv, cfg, "test", slog.New(slog.DiscardHandler))
	p := &mqttPeer{t: b.t}
	p.Pipe = b.srv.NewPipe(a.Handler(mqtt.Listener{ListenConfig: transport.ListenConfig{Address: "mqtt"}, VHost: "/"}))
	p.send(fmt.Sprintf("10 %02x 0004'MQTT'04 02 0000 %04x'%s'", 12+len(id), len(id), id))
	p.want("20 02 00 00")
	return p
}

// mqttBytes turns "30 05 0003'a/b'" into bytes.
func mqttBytes(s string) (out []byte) {
	for i, part := range strings.Split(s, "'") {
		if i%2 == 1 {
			out = append(out, part...)
			continue
		}
		h, err := hex.DecodeString(strings.Join(strings.Fields(part), ""))
		if err != nil {
			panic(fmt.Sprintf("bad bytes %q: %v", s, err))
		}
		out = append(out, h...)
	}
	return out
}

func (p *mqttPeer) send(s string) { p.Send(mqttBytes(s)) }

// wantEither waits for the packets a and b, in any order.
func (p *mqttPeer) wantEither(a, b string) {
	p.t.Helper()
	p.fill(len(mqttBytes(a + " " + b)))
	if bytes.HasPrefix(p.buf, mqttBytes(b)) {
		a, b = b, a
	}
	p.want(a + " " + b)
}

func (p *mqttPeer) want(s string) {
	p.t.Helper()
	w := mqttBytes(s)
	p.fill(len(w))
	if !bytes.HasPrefix(p.buf, w) {
		p.t.Fatalf("got  % x %q\nwant % x %q", p.buf, p.buf, w, w)
	}
	p.buf = p.buf[len(w):]
}

// fill waits until n bytes are there.
func (p *mqttPeer) fill(n int) {
	for deadline := time.Now().Add(10 * time.Second); len(p.buf) < n && time.Now().Before(deadline); {
		p.Wait(time.Until(deadline))
		p.buf = append(p.buf, p.Receive()...)
		if p.Over() {
			break
		}
	}
}

// A topic is a routing key of amq.topic and the other way round; QoS 0 is not
// persistent, and what is not persistent has QoS 0.
func TestTopicsAndKeys(t *testing.T) {
	b := newBox(t)
	p, m := b.connect(), b.mqtt("m")
	p.declare(1, "q", 2, nil)
	p.send(1, frame.MethodQueueBind, uint16(0), "q", "amq.topic", "a.*.c", false, noTable)
	p.want(1, frame.MethodQueueBindOK)
	p.consume(1, "q", "c", 2)
	for qos := range 2 {
		if m.send([]string{"30 08 0005'a/b/c''x'", "32 0a 0005'a/b/c'0001'x'"}[qos]); qos == 1 {
			m.want("40 02 0001")
		}
		d, raw, body := p.delivery(1)
		s, err := props.Scan(raw)
		if d.exchange != "amq.topic" || d.key != "a.b.c" || string(body) != "x" || err != nil || s.Persistent() != (qos == 1) {
			t.Fatalf("QoS %d comes as %+v % x %q, %v", qos, d, raw, body, err)
		}
	}
	m.send("82 0a 0002 0005'a/+/c'01")
	m.want("90 03 0002 01")
	p.publish(1, "amq.topic", "a.b.c", transient, "y")
	m.want("30 08 0005'a/b/c''y'")
	p.delivery(1)
	p.publish(1, "amq.topic", "a.b.c", persistent, "z")
	m.want("32 0a 0005'a/b/c'0001'z'")
}

// An MQTT publish at QoS 1 is acknowledged when the AMQP queue has it, and
// nothing of it is lost with the broker.
func TestMQTTToDurableQueue(t *testing.T) {
	b := newBox(t)
	p, m := b.connect(), b.mqtt("m")
	p.declare(1, "q", 2, nil)
	p.send(1, frame.MethodQueueBind, uint16(0), "q", "amq.topic", "#", false, noTable)
	p.want(1, frame.MethodQueueBindOK)
	m.send("32 08 0003'a/b'0007'x'")
	m.want("40 02 0007")
	p.send(1, frame.MethodQueueDeclare, uint16(0), "q", bits(1), noTable)
	if ok := p.want(1, frame.MethodQueueDeclareOK); ok[5] != 1 {
		t.Fatalf("declare-ok says % x", ok)
	}
}

// A topic that is longer than a routing key can be comes whole in a header, and
// is cut between characters.
func TestLongTopics(t *testing.T) {
	b := newBox(t)
	p, m := b.connect(), b.mqtt("m")
	p.declare(1, "q", 0, nil)
	p.send(1, frame.MethodQueueBind, uint16(0), "q", "amq.topic", "#", false, noTable)
	p.want(1, frame.MethodQueueBindOK)
	p.consume(1, "q", "c", 2)
	for _, c := range []struct{ topic, key string }{
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{strings.Repeat("a", 256), strings.Repeat("a", 255)},
		{strings.Repeat("a/", 150), strings.Repeat("a.", 127) + "a"},
		{strings.Repeat("a", 254) + "ü", strings.Repeat("a", 254)},
		{strings.Repeat("€", 200), strings.Repeat("€", 85)},
	} {
		n := 2 + len(c.topic)
		m.Send(append([]byte{0x30, byte(n&0x7f | 0x80), byte(n >> 7), byte(len(c.topic) >> 8), byte(len(c.topic))}, c.topic...))
		d, raw, _ := p.delivery(1)
		s, err := props.Scan(raw)
		if err != nil {
			t.Fatal(err)
		}
		v, has := s.Headers.Get("x-mqtt-topic")
		if d.key != c.key || has != (len(c.topic) > 255) || has && string(v.Bytes()) != c.topic {
			t.Errorf("a topic of %d bytes: key of %d %q, header of %d (%v)", len(c.topic), len(d.key), d.key, len(v.Bytes()), has)
		}
	}
}

// MQTT takes from a declared queue by $queue, one message at a time, and what it
// acknowledges is gone.
func TestQueueFromMQTT(t *testing.T) {
	b := newBox(t)
	p, m := b.connect(), b.mqtt("m")
	p.declare(1, "jobs", 2, nil)
	p.publish(1, "", "jobs", persistent, "1")
	p.publish(1, "amq.direct", "none", persistent, "nobody")
	m.send("82 10 0001 000b'$queue/jobs'01")
	m.wantEither("90 03 0001 01", "32 09 0004'jobs'c001'1'") // the standard leaves the order open
	p.publish(1, "", "jobs", persistent, "2")
	m.want("32 09 0004'jobs'c002'2'")
	m.send("40 02 c001 40 02 c002 c0 00")
	m.want("d0 00")
	p.send(1, frame.MethodQueueDeclare, uint16(0), "jobs", bits(1), noTable)
	if ok := p.want(1, frame.MethodQueueDeclareOK); ok[8] != 0 {
		t.Fatalf("declare-ok says % x", ok)
	}
	if i := b.vhost().Queue("jobs").Info(); i.Unsettled != 0 || i.Ready != 0 {
		t.Errorf("%+v", i)
	}
}

// Where MQTT and AMQP take from one queue, what has no topic name comes to AMQP,
// whether they take turns or one is before the other.
func TestNamelessFromSharedQueue(t *testing.T) {
	for name, args := range map[string]props.Table{"turns": nil, "MQTT first": props.AddInt32(nil, "x-priority", -1)} {
		t.Run(name, func(t *testing.T) {
			b := newBox(t)
			p, m := b.connect(), b.mqtt("m")
			p.declare(1, "q", 0, nil)
			p.send(1, frame.MethodBasicConsume, uint16(0), "q", "c", bits(2), args)
			p.want(1, frame.MethodBasicConsumeOK)
			m.send("82 0d 0001 0008'$queue/q'01")
			m.want("90 03 0001 01")
			p.send(1, frame.MethodQueueBind, uint16(0), "q", "amq.fanout", "", false, noTable)
			p.want(1, frame.MethodQueueBindOK)
			for i := range 10 {
				p.publish(1, "amq.fanout", "", transient, fmt.Sprint(i))
				if _, _, body := p.delivery(1); string(body) != fmt.Sprint(i) {
					t.Errorf("%q comes, want %d", body, i)
				}
			}
			m.send("c0 00")
			m.want("d0 00") // and nothing before it
		})
	}
}

// AMQP takes its share of a shared subscription, whose members are otherwise of
// MQTT: each message comes to one of them.
func TestShareFromAMQP(t *testing.T) {
	b := newBox(t)
	p, m, pub := b.connect(), b.mqtt("m"), b.mqtt("pub")
	m.send("82 11 0001 000c'$share/g/+/b'01")
	m.want("90 03 0001 01")
	p.openChannel(2) // nobody is told that it is deleted while it is not
	p.send(2, frame.MethodQueueDelete, uint16(0), "$share/g/+/b", bits(0))
	p.wantClose(2, frame.PreconditionFailed)
	p.send(1, frame.MethodBasicConsume, uint16(0), "$share/g/+/b", "c", bits(0), noTable)
	if g, ok := p.next(); !ok || g.method != frame.MethodBasicConsumeOK {
		t.Fatalf("it is answered by %v", g)
	}
	for i := range 4 {
		pub.send(fmt.Sprintf("32 08 0003'a/b'%04x'%d'", i+1, i))
		pub.want(fmt.Sprintf("40 02 %04x", i+1))
	}
	seen := make(map[string]int)
	for range 2 {
		d, _, body := p.delivery(1)
		if d.exchange != "amq.topic" || d.key != "a.b" {
			t.Errorf("it comes as %+v", d)
		}
		seen[string(body)]++
		p.send(1, frame.MethodBasicAck, d.tag, false)
	}
	for len(m.buf) < 20 && !m.Over() {
		m.Wait(10 * time.Second)
		m.buf = append(m.buf, m.Receive()...)
	}
	for ; len(m.buf) >= 10; m.buf = m.buf[10:] {
		seen[string(m.buf[9:10])]++
	}
	for i := range 4 {
		if seen[fmt.Sprint(i)] != 1 {
			t.Errorf("message %d came %d times", i, seen[fmt.Sprint(i)])
		}
	}
	// The subscription is MQTT's, and goes with its last member: who takes from it
	// is told.
	m.send("e0 00")
	for {
		g, ok := p.next()
		if !ok {
			t.Fatal("the connection is over")
		}
		if g.method == frame.MethodBasicCancel {
			break
		}
	}
}

// A member of AMQP can acknowledge what comes to it with QoS 0 like anything else,
// and what it has no room for comes to another.
func TestShareQoS0FromAMQP(t *testing.T) {
	b := newBox(t)
	p, m, pub := b.connect(), b.mqtt("m"), b.mqtt("pub")
	m.send("82 0f 0001 000a'$share/g/x'01")
	m.want("90 03 0001 01")
	limit := func(n uint16) {
		t.Helper()
		p.send(1, frame.MethodBasicQos, uint32(0), n, true)
		p.want(1, frame.MethodBasicQosOK)
	}
	limit(1)
	p.consume(1, "$share/g/x", "c", 0)
	for i := range 4 {
		pub.send(fmt.Sprintf("30 04 0001'x''%d'", i))
	}
	d, _, body := p.delivery(1)
	if string(body) != "1" { // they take turns
		t.Errorf("%q comes to AMQP", body)
	}
	for _, i := range []int{0, 2, 3} {
		m.want(fmt.Sprintf("30 04 0001'x''%d'", i))
	}
	limit(0)
	p.send(1, frame.MethodBasicAck, d.tag, false)
	pub.send("30 04 0001'x''4'")
	pub.send("30 04 0001'x''5'")
	if _, _, body := p.delivery(1); string(body) != "4" {
		t.Errorf("%q comes to AMQP when it has room again", body)
	}
	m.want("30 04 0001'x''5'")
}
