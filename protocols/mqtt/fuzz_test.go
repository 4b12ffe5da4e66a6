package mqtt

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// newFuzzBox is a box that is made in no time, with small limits so that few
// bytes reach them. The functions of box that look at its disk are not for it.
func newFuzzBox(t testing.TB, listen core.Listener) *box {
	t.Helper()
	b := &box{t: t}
	cfg := DefaultConfig()
	cfg.SysInterval, cfg.Listeners = 0, nil
	cfg.MaxInflight, cfg.MaxInboundQoS2, cfg.MaxSubscriptions, cfg.MaxTopicLevels = 4, 4, 8, 12
	o := core.Options{Config: core.DefaultConfig(), Shards: []core.Shard{memstore.New()}, Listeners: []core.Listener{listen}}
	o.Fail = func(err error) { panic(err) }
	conns := transport.DefaultConfig()
	conns.Poller = "goroutine"
	log := slog.New(slog.DiscardHandler)
	var err error
	if b.bus, err = core.Open(o); err != nil {
		t.Fatal(err)
	}
	if b.srv, err = transport.NewServer(b.bus, conns, log); err != nil {
		t.Fatal(err)
	}
	b.a = New(b.bus, b.srv, cfg, "test", log)
	if err := b.a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	store := o.Shards[0].(*memstore.Store)
	t.Cleanup(func() {
		ctx := t.Context()
		for _, err := range []error{b.a.Stop(ctx), b.srv.Close(ctx), b.bus.Close(), store.Close()} {
			if err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return b
}

// A ledger knows which sessions must be left, from what listeners are told.
type ledger struct {
	mu       sync.Mutex
	sessions map[string]bool // persistent ones, by client id
	open     int             // connections that have logged in
}

func (l *ledger) listen(e core.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e := e.(type) {
	case core.Connected:
		l.open++
		if e.CleanSession {
			delete(l.sessions, e.Identity.ClientID)
		} else {
			l.sessions[e.Identity.ClientID] = true
		}
	case core.Disconnected:
		l.open--
	}
}

func (l *ledger) count() (sessions, open int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.sessions), l.open
}

// A speaker sends what the fuzzer says and reads what the broker answers.
type speaker struct {
	*peer
	ack bool // take deliveries as a good client does
}

// read takes what has come. It must be whole packets that a server may send, of
// which the first is CONNACK.
func (s *speaker) read(first *bool) {
	s.buf = append(s.buf, s.Receive()...)
	for {
		h, more, err := packet.ReadHeader(s.buf)
		if err != nil || h.Length > 1<<20 {
			s.t.Fatalf("the broker says % x: %v", s.buf, err)
		}
		if more || len(s.buf) < h.Total() {
			return
		}
		body := s.buf[h.Size:h.Total()]
		if (h.Type == packet.CONNACK) != *first {
			s.t.Fatalf("%v, first is %v", h.Type, *first)
		}
		*first = false
		s.answer(h, body)
		s.buf = s.buf[h.Total():]
	}
}

func (s *speaker) answer(h packet.Header, body []byte) {
	var err error
	var reply []byte
	var id uint16
	switch h.Type {
	case packet.CONNACK:
		if len(body) != 2 || body[0] > 1 || body[1] > 5 || body[0] == 1 && body[1] != 0 {
			err = fmt.Errorf("% x", body)
		}
	case packet.PUBLISH:
		var p packet.Publish
		if err = h.Check(4); err == nil {
			err = p.Decode(h.Flags, body)
		}
		if err == nil && (len(p.Topic) == 0 || bytes.ContainsAny(p.Topic, "+#\x00")) {
			err = fmt.Errorf("topic %q", p.Topic)
		}
		if p.QoS > 0 {
			reply = packet.AppendID(nil, packet.PUBACK+packet.Type(p.QoS-1), p.ID)
		}
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP, packet.UNSUBACK:
		if id, err = packet.DecodeID(body); h.Type == packet.PUBREL {
			reply = packet.AppendID(nil, packet.PUBCOMP, id)
		}
	case packet.SUBACK:
		if len(body) < 3 {
			err = fmt.Errorf("% x", body)
		}
		for _, code := range body[min(2, len(body)):] {
			if code > 2 && code != packet.SubscribeFailure {
				err = fmt.Errorf("% x", body)
			}
		}
	case packet.PINGRESP:
		if len(body) != 0 {
			err = fmt.Errorf("% x", body)
		}
	default:
		err = fmt.Errorf("it is not for servers to send")
	}
	if err != nil {
		s.t.Fatalf("%v: %v", h.Type, err)
	}
	if s.ack && len(reply) > 0 {
		s.Send(reply)
	}
}

// A script is what the fuzzer says, in steps of a byte that says what to do and
// who does it, and as many bytes as that takes.
//
//	bit 7    which of the two connections
//	bit 5-6  0: send bits 0-4 plus one bytes; 1: send eight times that;
//	         2: wait for the disk and read; 3: hang up and come back, bits 0-3
//	         say how (see script.connect)
type script struct {
	b     *box
	rest  []byte
	conns [2]*speaker
	first [2]bool // CONNACK has not come
}

func (s *script) run() {
	s.connect(0, 1)
	s.connect(1, 2)
	for len(s.rest) > 0 {
		op := s.rest[0]
		s.rest = s.rest[1:]
		i := int(op >> 7)
		n := int(op&0x1f) + 1
		switch op >> 5 & 3 {
		case 1:
			n *= 8
			fallthrough
		case 0:
			n = min(n, len(s.rest))
			// A copy that ends where it does, and that is overwritten afterwards:
			// nothing may keep pointing into it.
			part := bytes.Clone(s.rest[:n])
			s.conns[i].Send(part)
			for j := range part {
				part[j] = 0xdb
			}
			s.rest = s.rest[n:]
		case 2:
			s.b.bus.Sync()
			s.conns[i].read(&s.first[i])
		case 3:
			s.leave(i)
			s.connect(i, op&0xf)
		}
	}
}

// connect opens a connection. Bit 0 and 1 say whether it is said hello for it,
// with a persistent session or a clean one, bit 2 whether it has a will, bit 3
// whether it acknowledges what it gets.
func (s *script) connect(i int, how byte) {
	c := &speaker{peer: s.b.open(), ack: how&8 != 0}
	s.conns[i], s.first[i] = c, true
	if how&3 == 0 {
		return
	}
	flags, id := byte(0), string("ab"[i])
	if how&2 != 0 {
		flags = 2
	}
	if how&4 != 0 {
		c.Send(hello(4, flags|0x2c, 0, id, "t/1", "gone")) // retained, at QoS 1
	} else {
		c.Send(hello(4, flags, 0, id))
	}
}

func (s *script) leave(i int) {
	s.conns[i].read(&s.first[i])
	s.conns[i].Hangup(nil)
}

// FuzzFeed has two connections that share topics say anything, in any pieces.
// The broker must not panic, says nothing that is not MQTT, and leaves nothing
// behind that it has not promised; a third client notices nothing.
func FuzzFeed(f *testing.F) {
	for _, s := range scripts() {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return // long ones are only slow
		}
		l := &ledger{sessions: make(map[string]bool)}
		b := newFuzzBox(t, l.listen)
		w := b.connect("onlooker-7f3a9c", true)
		w.send("82 0c 0001 0007'7f3a9c/'01")
		w.want("90 03 0001 01")

		s := &script{b: b, rest: data}
		s.run()
		b.bus.Sync()
		s.leave(0)
		s.leave(1)

		eventually(t, "the end of both connections", func() bool { _, n := l.count(); return n == 1 })
		w.send("32 0d 0007'7f3a9c/'0009'hi'")
		w.wantAll("40 02 0009", "32 0d 0007'7f3a9c/'0001'hi'")
		w.send("40 02 0001 c0 00")
		w.want("d0 00")

		b.bus.Sync()
		sessions, _ := l.count()
		eventually(t, "sessions, connections and logins go", func() bool {
			return b.bus.Gauges().Sessions == int64(sessions)+1 && b.a.connected.Load() == 1 && b.srv.Open() == 1
		})
		w.send("e0 00")
		w.wantOver()
		eventually(t, "the last one goes", func() bool { return b.bus.Gauges().Sessions == int64(sessions) })
		if sessions == 0 && b.bus.Gauges().Bindings != 0 {
			t.Fatalf("%d bindings of nobody", b.bus.Gauges().Bindings)
		}
	})
}

// say makes a step in which a connection sends bytes written as raw wants them.
func say(conn byte, s string) []byte {
	var out []byte
	for b := raw(s); len(b) > 0; {
		n := min(len(b), 32)
		out = append(append(out, conn<<7|byte(n-1)), b[:n]...)
		b = b[n:]
	}
	return out
}

// scripts are whole conversations, and each packet on its own.
func scripts() [][]byte {
	const read0, read1 = 0x40, 0xc0
	again := func(conn, how byte) []byte { return []byte{conn<<7 | 0x60 | how} }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	all := [][]byte{
		join( // QoS 1 and 2 to a persistent session that goes and comes back
			say(0, "82 08 0001 0003't/1'02"), []byte{read0}, say(1, "32 07 0003't/1'0001 34 08 0003't/1'0002'x' 62 02 0002"),
			[]byte{read1, read0}, say(0, "40 02 0001 50 02 0002"), again(0, 1), []byte{read0}, say(0, "70 02 0002"), []byte{read0}),
		join( // retained, replayed, removed
			say(1, "31 06 0003't/1''r' 33 08 0003't/2'0003'r'"), say(0, "82 0d 0001 0001'#'01 0003't/+'02"), []byte{read0},
			say(1, "31 05 0003't/1'"), say(0, "a2 05 0002 0001'#'"), []byte{read0}),
		join( // wills, of a client that hangs up and one that is taken over
			say(0, "82 06 0001 0001'#'01"), again(1, 5), again(1, 6), say(1, "00"), []byte{read0}, again(1, 12), []byte{read0, read1}),
		join( // a shared subscription whose member goes with what it has
			say(0, "82 10 0001 000b'$share/g/t/1'02"), say(1, "82 10 0001 000b'$share/g/t/1'01"),
			say(1, "34 08 0003't/1'0001'x' 34 08 0003't/1'0002'y' 30 06 0003't/1''z'"), []byte{read0, read1}, again(0, 1), []byte{read1}),
		join( // one client id, two connections
			again(1, 0), say(1, "10 0d 0004'MQTT'04 00 0000 0001'a' c0 00"), []byte{read1}, say(0, "c0 00"), []byte{read0, read1}),
		join( // more in flight than allowed, either way
			say(0, "82 08 0001 0003't/1'01"), say(1, "32 07 0003't/1'0001 32 07 0003't/1'0001 32 07 0003't/1'0001 32 07 0003't/1'0001 32 07 0003't/1'0001"),
			[]byte{read0}, say(0, "40 02 0001 40 02 0002 40 02 0002"), []byte{read0},
			say(1, "34 06 0002't1'0001 34 06 0002't1'0002 34 06 0002't1'0003 34 06 0002't1'0004 34 06 0002't1'0004 34 06 0002't1'0005"), []byte{read1}),
		join( // acknowledging in the wrong way
			say(0, "82 08 0001 0003't/1'01"), say(1, "32 07 0003't/1'0001"), []byte{read0}, say(0, "50 02 0001"), []byte{read0}),
		join( // MQTT 3.1, and a level there is not
			again(0, 0), say(0, "10 0f 0006'MQIsdp'03 02 0000 0001'a' 82 08 0001 0003't/1'01 8a 08 0001 0003't/1'01"), []byte{read0},
			again(1, 0), say(1, "10 0d 0004'MQTT'05 02 0000 0001'a'"), []byte{read1}),
		join( // the same as its own publisher, acknowledging by itself
			again(0, 9), say(0, "82 08 0001 0003't/1'02 34 08 0003't/1'0001'x'"), []byte{read0, read0}, say(0, "62 02 0001"), []byte{read0, read0}),
		join( // deep, named queues, $SYS
			say(0, "82 1a 0001 0017'/////////////////////b/'00 82 0d 0002 0008'$queue/q'01"), say(0, "30 08 0006'$SYS/x'"), []byte{read0},
			say(0, "30 0f 000d'/////////////'"), []byte{read0}),
		join( // a large packet that is announced and does not come
			say(0, "82 08 0001 0003't/1'01"), say(1, "32 ff ff 3f 0003't/1'0001'xxxxxxxxxx'"), []byte{read1}, again(1, 2), say(1, "c0 00")),
	}
	for _, c := range cells {
		all = append(all,
			join(again(0, 0), say(0, c.wire+"c0 00"), []byte{read0}),
			join(say(0, "82 08 0001 0003't/1'02 34 08 0003't/1'0001'x'"), []byte{read0}, say(0, c.wire+"c0 00"), []byte{read0}))
	}
	return all
}

// FuzzSplit says the same to two brokers: in one piece, and cut where the
// fuzzer wants. Both answer the same, and end the connection or do not.
// Deliveries are left out: they may come earlier or later.
func FuzzSplit(f *testing.F) {
	for _, c := range cells {
		f.Add(raw(c.wire+"c0 00"), true, uint16(1), uint16(3), uint16(5))
		f.Add(raw("10 0d 0004'MQTT'04 02 0000 0001'z'"+c.wire+"c0 00"), false, uint16(3), uint16(9), uint16(20))
	}
	f.Add(raw("10 0d 0004'MQTT'04 00 0000 0001'z' 82 08 0001 0003't/1'02 34 08 0003't/1'0001'x' 62 02 0001 a2 07 0002 0003't/1' e0 00 c0 00"),
		false, uint16(7), uint16(30), uint16(31))
	f.Fuzz(func(t *testing.T, data []byte, connected bool, x, y, z uint16) {
		if len(data) > 1024 {
			return
		}
		whole, cut := newFuzzPeer(t, connected), newFuzzPeer(t, connected)
		whole.Send(data)
		from := 0
		for _, c := range []uint16{x, y, z} {
			if c := int(c) % (len(data) + 1); c > from {
				cut.Send(data[from:c])
				from = c
			}
		}
		cut.Send(data[from:])
		// With clean sessions, which is most, all is answered by now.
		eventually(t, "the same answer", func() bool {
			a, b := whole.replies(), cut.replies()
			return a == b && whole.Over() == cut.Over()
		})
	})
}

func newFuzzPeer(t *testing.T, connected bool) *peer {
	b := newFuzzBox(t, func(core.Event) {})
	if connected {
		return b.connect("z", true)
	}
	return b.open()
}

// replies returns what has been answered so far.
func (p *peer) replies() (replies string) {
	p.buf = append(p.buf, p.Receive()...)
	for buf := p.buf; len(buf) > 0; {
		h, more, err := packet.ReadHeader(buf)
		if err != nil || more || len(buf) < h.Total() {
			p.t.Fatalf("the broker says % x: %v", buf, err)
		}
		if h.Type != packet.PUBLISH && h.Type != packet.PUBREL {
			replies += fmt.Sprintf("[% x]", buf[:h.Total()])
		}
		buf = buf[h.Total():]
	}
	return replies
}
