package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/plugins/authfile"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// The numbers in the names of these tests are classes of defects that other
// brokers had:
//
//	 1  memory before login
//	 3  arithmetic of lengths
//	 7  unfinished QoS 2
//	 8  topics that cost much (address_test.go)
//	 9  packets in a wrong state (matrix_test.go)
//	10  ids and names used as patterns or paths
//	28  tables that clients fill
//	31  keep-alive 0, or a huge one
//	32  odd packets

// heap is what is in use, with nothing that could go.
func heap() int64 {
	var m runtime.MemStats
	for range 3 { // finalizers and pools take more than one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestSecurity1HalfOpen has a thousand clients announce a large CONNECT and send
// its beginning. Memory grows with what has come, and goes with them.
func TestSecurity1HalfOpen(t *testing.T) {
	const clients, each = 1000, 16 << 10
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) {
		o.config.Listeners = []Listener{{transport.ListenConfig{Address: "127.0.0.1:0"}, "/"}}
		o.conn.Poller, o.conn.AuthTimeout = "auto", time.Hour
	})
	before := heap()
	conns := make([]net.Conn, clients)
	for i := range conns {
		c, err := net.Dial("tcp", b.a.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
		b := packet.AppendHeader(nil, packet.CONNECT, 0, 79<<10)
		if _, err := c.Write(append(b, "\x00\x04MQTT\x04\x02\x00\x00\xff\xff"...)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all have been read", func() bool { in, _ := b.srv.Traffic(); return in == clients*16 })
	if n := (heap() - before) / clients; n > each {
		t.Errorf("%d bytes for each of them", n)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "all are gone", func() bool { return b.srv.Open() == 0 })
	lines := 0
	eventually(t, "a line about each", func() bool {
		for _, l := range log.take() {
			if lines++; !errors.Is(l.cause, io.EOF) {
				t.Fatalf("line %+v", l)
			}
		}
		return lines >= clients
	})
	if lines != clients {
		t.Errorf("%d lines about %d clients", lines, clients)
	}
	conns = nil
	if n := heap() - before; n > 2<<20 {
		t.Errorf("%d bytes are left", n)
	}
}

// TestSecurity1Bytes refuses a first packet by its announcement.
func TestSecurity1Bytes(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) { o.conn.AuthBytes = 1000 })
	fits := packet.AppendHeader(nil, packet.CONNECT, 0, 997)
	p := b.open()
	p.Send(fits)
	if p.Over() {
		t.Fatal("1000 bytes were refused")
	}
	for _, first := range [][]byte{
		packet.AppendHeader(nil, packet.CONNECT, 0, 998),
		packet.AppendHeader(nil, packet.CONNECT, 0, packet.MaxLength),
	} {
		p := b.open()
		for _, c := range first {
			p.Send([]byte{c})
		}
		p.wantOver()
		log.wantOne(t, "", core.ErrTooLarge)
	}
	// Others are not waited for at all.
	p = b.open()
	p.Send(packet.AppendHeader(nil, packet.PUBLISH, 0, packet.MaxLength))
	p.wantOver()
	log.wantOne(t, "", core.ErrProtocol)
}

// TestSecurity1Time: a client that keeps sending, byte by byte, has no more time
// to log in than one that is silent.
func TestSecurity1Time(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) { o.conn.AuthTimeout = 100 * time.Millisecond })
	silent, slow := b.open(), b.open()
	slow.Send(packet.AppendHeader(nil, packet.CONNECT, 0, 70<<10))
	eventually(t, "both are over", func() bool {
		slow.Send([]byte{0})
		return silent.Over() && slow.Over()
	})
	lines := 0
	eventually(t, "a line about each", func() bool {
		for _, l := range log.take() {
			// What the slow one says is not MQTT, which is not looked at before it
			// is whole.
			if lines++; !errors.Is(l.cause, core.ErrKeepAlive) {
				t.Fatalf("line %+v", l)
			}
		}
		return lines >= 2
	})
	if lines != 2 {
		t.Errorf("%d lines", lines)
	}
}

// TestSecurity3Lengths has lengths that say more than there is, or more than
// can be.
func TestSecurity3Lengths(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) { o.config.MaxPacketSize = 1 << 20 })
	w := b.witness()
	tests := []struct {
		name  string
		wire  []byte
		cause error
	}{
		{"varint of five bytes", raw("30 ff ff ff ff 01"), core.ErrProtocol},
		{"varint without end", raw("30 80 80 80 80"), core.ErrProtocol},
		{"largest there is", packet.AppendHeader(nil, packet.PUBLISH, 0, packet.MaxLength), core.ErrTooLarge},
		{"one more than allowed", packet.AppendHeader(nil, packet.PUBLISH, 0, 1<<20-3), core.ErrTooLarge},
		{"large QoS 1", packet.AppendHeader(nil, packet.PUBLISH, 2, packet.MaxLength), core.ErrTooLarge},
		{"topic longer than the packet", raw("30 04 ffff'w/'"), core.ErrProtocol},
		{"topic one longer than the packet", raw("30 05 0004'w/x'"), core.ErrProtocol},
		{"topic over the packet id", raw("32 05 0003'w/x'"), core.ErrProtocol},
		{"half a packet id", raw("32 06 0003'w/x'01"), core.ErrProtocol},
		{"filter longer than the packet", raw("82 07 0001 ffff'w/x'"), core.ErrProtocol},
		{"filter over its QoS", raw("82 08 0001 0004'w/x'00"), core.ErrProtocol},
		{"filter to unsubscribe longer than the packet", raw("a2 07 0001 0004'w/x'"), core.ErrProtocol},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.in(t, w.peer)
			all := append(bytes.Clone(test.wire), raw(desync+"c0 00")...)
			for cut := range len(all) {
				p := b.connect("x", true)
				p.Send(all[:cut])
				p.Send(all[cut:])
				p.wantOver()
				log.wantOne(t, "x", test.cause)
			}
			w.check()
		})
	}
	// The length that a PUBLISH has at most is taken.
	p := b.connect("x", true)
	p.Send(append(packet.AppendPublishHead(nil, []byte("a"), 1<<20-4-3, 0, false, false, 0), make([]byte, 1<<20-4-3)...))
	p.send("c0 00")
	p.want("d0 00")
}

// TestSecurity3LongStrings carries strings of 65,535 bytes to the other side,
// where a length of two bytes wraps if anything is added.
func TestSecurity3LongStrings(t *testing.T) {
	b := newBox(t)
	long := strings.Repeat("x", 65535)
	sub, pub := b.connect("sub", true), b.connect("pub", false)
	s := appendText([]byte{0, 1}, long)
	sub.Send(append(packet.AppendHeader(nil, packet.SUBSCRIBE, 2, len(s)+1), append(s, 1)...))
	sub.want("90 03 0001 01")
	m := append(packet.AppendPublishHead(nil, []byte(long), 2, 1, true, false, 1), "hi"...)
	pub.Send(m)
	pub.want("40 02 0001")
	m[0] &^= 1
	if got := sub.next(); got != string(m) {
		t.Errorf("%d bytes came: % x", len(got), got[:20])
	}
	s[1] = 2
	sub.Send(append(packet.AppendHeader(nil, packet.UNSUBSCRIBE, 2, len(s)), s...))
	sub.want("b0 02 0002")

	p := b.open()
	p.Send(hello(4, 2, 0, long))
	p.want("20 02 00 00")
	if b.bus.VHost("/").Session(long) == nil {
		t.Error("the client id was cut")
	}
}

// TestSecurity3Announced: after login too, memory grows with what arrives.
func TestSecurity3Announced(t *testing.T) {
	b := newBox(t)
	peers := make([]*peer, 100)
	for i := range peers {
		peers[i] = b.connect(fmt.Sprint(i), true)
		peers[i].Send([]byte{0xc0}) // the buffer of the pipe itself
	}
	before := heap()
	for _, p := range peers {
		p.Send([]byte{0})
		p.want("d0 00")
		p.Send(packet.AppendPublishHead(nil, []byte("t"), 200<<20, 1, false, false, 1))
		p.Send(make([]byte, 100))
	}
	if n := (heap() - before) / int64(len(peers)); n > 96<<10 {
		t.Errorf("%d bytes for each packet of which 100 have come", n)
	}
	runtime.KeepAlive(peers)
}

// TestSecurity7Inbound publishes at QoS 2 and does not release.
func TestSecurity7Inbound(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprintf("clean %v", clean), func(t *testing.T) {
			const limit = 20
			var log recorder
			b := newBox(t, log.record, func(o *boxOptions) { o.config.MaxInboundQoS2 = limit })
			w := b.witness()
			p := b.connect("p", clean)
			send := func(id int) { p.send(fmt.Sprintf("34 08 0003'w/x'%04x'm'", id)) }
			// The same again and again is one message, and one id.
			for range 1000 {
				send(1)
				p.want("50 02 0001")
			}
			w.want("30 06 0003'w/x''m'")
			w.check()
			for id := 2; id <= limit; id++ {
				send(id)
				p.want(fmt.Sprintf("50 02 %04x", id))
				w.want("30 06 0003'w/x''m'")
			}
			// Repeating is no new one; what is released makes room.
			send(limit)
			p.want(fmt.Sprintf("50 02 %04x", limit))
			p.send("62 02 0003 62 02 0003")
			p.want("70 02 0003 70 02 0003")
			send(3)
			p.want("50 02 0003")
			w.want("30 06 0003'w/x''m'")
			log.wantNone(t)
			send(limit + 1)
			p.wantOver()
			log.wantOne(t, "p", core.ErrProtocol)
			w.check()

			p = b.connect2("p", clean, !clean)
			send(limit + 1)
			if clean { // it has nothing from before
				p.want(fmt.Sprintf("50 02 %04x", limit+1))
				w.want("30 06 0003'w/x''m'")
				return
			}
			p.wantOver()
			log.wantOne(t, "p", core.ErrProtocol)
			p = b.connect2("p", clean, true)
			send(1) // known still
			p.want("50 02 0001")
			for id := 1; id <= limit; id++ {
				p.send(fmt.Sprintf("62 02 %04x", id))
				p.want(fmt.Sprintf("70 02 %04x", id))
			}
			send(1)
			p.want("50 02 0001")
			w.want("30 06 0003'w/x''m'")
			w.check()
		})
	}
}

// connect2 connects and checks whether the session was there.
func (b *box) connect2(id string, clean, present bool) *peer {
	b.t.Helper()
	p := b.open()
	flags := byte(0)
	if clean {
		flags = 2
	}
	p.Send(hello(4, flags, 0, id))
	if present {
		p.want("20 02 01 00")
	} else {
		p.want("20 02 00 00")
	}
	return p
}

// TestSecurity7Outbound does not finish what it is sent at QoS 2, or finishes it
// again and again.
func TestSecurity7Outbound(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.config.MaxInflight = 5 })
	w := b.witness()
	sub, pub := b.connect("sub", false), b.connect("pub", true)
	sub.send("82 06 0001 0001't'02")
	sub.want("90 03 0001 02")
	for i := 1; i <= 100; i++ {
		pub.send(fmt.Sprintf("34 06 0001't'%04x'm' 62 02 %04x", i, i))
		pub.want(fmt.Sprintf("50 02 %04x 70 02 %04x", i, i))
	}
	for i := 1; i <= 5; i++ {
		sub.want(fmt.Sprintf("34 06 0001't'%04x'm'", i))
	}
	// PUBREC leaves a place in the window taken; ids there are not do no harm.
	for range 200 {
		sub.send("50 02 0001 50 02 7777")
		sub.want("62 02 0001 62 02 7777")
	}
	for range 200 {
		sub.send("70 02 7777 40 02 7777")
	}
	sub.send("c0 00")
	sub.want("d0 00")
	sub.send("70 02 0001 70 02 0001 c0 00")
	sub.wantAll("d0 00", "34 06 0001't'0006'm'")
	// PUBCOMP before PUBREC, and PUBACK for QoS 2, end it; nothing is lost by it.
	sub.send("40 02 0002")
	sub.wantOver()
	sub = b.connect2("sub", false, true)
	for i := 2; i <= 6; i++ {
		sub.want(fmt.Sprintf("3c 06 0001't'%04x'm'", i))
	}
	w.check()
}

// odd are names that mean something to patterns, paths, logs or other protocols.
var odd = []string{
	"+", "#", "+/+", "/", "a/b", "a/#", "*", ".", "..", "../victim", "victim/..", "./victim", "..\\victim", "victim/", "/victim", "victim/x",
	".*", "^", "-", "|", "\\", "vic.im", "[a-z]*", "v.*m|x", "(?i)VICTIM", "VICTIM", "%c", "%u", "%2f", "$SYS", "$share/g/victim", "$queue/victim",
	"a\nb", "a\r\nPUB victim", "a\tb", "victim\n", " victim", "victim ", "\u202evictim", "\ufeffvictim", "';--", "\"", "${HOME}", "{{.}}", "%s%n",
}

// TestSecurity10ClientIDs uses client ids in rules: they stand for themselves.
func TestSecurity10ClientIDs(t *testing.T) {
	cfg := authfile.DefaultConfig()
	cfg.Anonymous.ACL = &[]string{"readwrite dev/%c/x", "readwrite dev/%c"}
	testNames(t, cfg, func(name string) []byte { return hello(4, 2, 0, name) })
}

// TestSecurity10UserNames does it with names of users.
func TestSecurity10UserNames(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("p"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	cfg := authfile.DefaultConfig()
	cfg.Users = map[string]authfile.User{}
	for _, name := range append(odd, "victim") {
		cfg.Users[name] = authfile.User{Password: string(hash), ACL: &[]string{"readwrite dev/%u/x", "readwrite dev/%u"}}
	}
	testNames(t, cfg, func(name string) []byte { return hello(4, 0xc2, 0, "c-"+fmt.Sprint(len(name), name), name, "p") })
}

func testNames(t *testing.T, cfg authfile.Config, login func(name string) []byte) {
	auth, err := authfile.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := newBox(t, func(o *boxOptions) { o.core.Authenticator, o.core.Authorizer = auth, auth })
	enter := func(name string) *peer {
		p := b.open()
		p.Send(login(name))
		p.want("20 02 00 00")
		return p
	}
	victim := enter("victim")
	victim.subscribe("dev/victim/x")
	victim.want("90 03 0001 00")
	for _, name := range odd {
		t.Run(fmt.Sprintf("%q", name), func(t *testing.T) {
			b.in(t, victim)
			p := enter(name)
			// Whatever it subscribes to, it hears nothing of the victim.
			for _, f := range []string{"dev/victim/x", "dev/+/x", "dev/#", "#", "+/victim/x", "$share/g/dev/victim/x", "dev/" + name + "/x", "dev/" + name} {
				if bytes.ContainsAny([]byte(name), "+#") && strings.Contains(f, name) {
					continue // not a legal filter, or one of the others
				}
				p.subscribe(f)
				got := p.next()
				if got != "\x90\x03\x00\x01\x00" && got != "\x90\x03\x00\x01\x80" {
					t.Fatalf("subscribed to %q: % x", f, got)
				}
			}
			victim.publish("dev/victim/x")
			victim.want("30 0e 000c'dev/victim/x'")
			p.send("c0 00")
			p.want("d0 00")
			// It cannot speak as the victim.
			p.publish("dev/victim/x")
			victim.send("c0 00")
			victim.want("d0 00")
			// As itself it can, where its name is one level.
			if !strings.ContainsAny(name, "+#/") {
				own := "dev/" + name + "/x"
				p.publish(own)
				p.want(fmt.Sprintf("30 %02x %04x", len(own)+2, len(own)))
				if got := string(p.buf); got != own && p.nextBytes(len(own)-len(got)) != own {
					t.Errorf("got %q", p.buf)
				}
				p.buf = nil
			}
			p.send("e0 00")
			p.wantOver()
		})
	}
	// NUL is no character at all.
	p := b.open()
	p.Send(login("a\x00b"))
	p.wantOver()
}

// nextBytes waits until n more bytes have come, and returns all there are.
func (p *peer) nextBytes(n int) string {
	p.t.Helper()
	for deadline := generous(); n > 0; {
		p.Wait(untilDeadline(p.t, deadline))
		got := p.Receive()
		n -= len(got)
		p.buf = append(p.buf, got...)
	}
	return string(p.buf)
}

// TestSecurity28Tables has clients come with names of their own, and go: no
// table remembers them.
func TestSecurity28Tables(t *testing.T) {
	b := newBox(t)
	use := func(from, to int) {
		for i := from; i < to; i++ {
			p := b.connect(fmt.Sprintf("client-%d", i), true)
			p.subscribe(fmt.Sprintf("a/%d/+", i))
			p.subscribe(fmt.Sprintf("b/%d", i))
			p.subscribe(fmt.Sprintf("$share/group-%d/c/%d", i, i))
			p.want("90 03 0001 00 90 03 0001 00 90 03 0001 00")
			p.publish(fmt.Sprintf("d/%d/x", i))
			p.Send(append(packet.AppendPublishHead(nil, fmt.Appendf(nil, "r/%d", i), 1, 0, true, false, 0), 'x'))
			p.Send(packet.AppendPublishHead(nil, fmt.Appendf(nil, "r/%d", i), 0, 0, true, false, 0))
			p.send("e0 00")
			p.wantOver()
		}
		eventually(t, "all are gone", func() bool { return b.srv.Open() == 0 && b.bus.Gauges().Sessions == 0 })
	}
	use(0, 200) // what is made once
	before := heap()
	const clients = 3000
	use(200, 200+clients)
	g := b.bus.Gauges()
	if g.Sessions != 0 || g.Bindings != 0 || g.Retained != 0 || b.bus.Groups() != 0 || b.a.connected.Load() != 0 {
		t.Errorf("left are %+v, %d groups, %d connections", g, b.bus.Groups(), b.a.connected.Load())
	}
	// Remembered routes are bounded by themselves; see below.
	if n := (heap() - before) / clients; n > 2000 {
		t.Errorf("%d bytes are left of each", n)
	}
}

// TestSecurity28Routes publishes to topics of which each is long and new: what
// is remembered of them is bounded by their bytes.
func TestSecurity28Routes(t *testing.T) {
	b := newBox(t)
	peers := make([]*peer, 20)
	for i := range peers {
		peers[i] = b.connect(fmt.Sprint(i), true)
	}
	topic := []byte(strings.Repeat("x", 60_000))
	for _, p := range peers {
		p.Send(packet.AppendPublishHead(nil, topic, 0, 0, false, false, 0))
	}
	before := heap()
	const topics = 2000
	for i := range topics {
		copy(topic, fmt.Sprintf("%d/", i))
		peers[i%len(peers)].Send(packet.AppendPublishHead(nil, topic, 0, 0, false, false, 0))
	}
	if n := heap() - before; n > 44<<20 {
		t.Errorf("%d MiB are held for topics of %d MiB", n>>20, topics*len(topic)>>20)
	}
	runtime.KeepAlive(peers)
}

// TestSecurity31KeepAlive: the ceiling holds for who asks for more, or for
// none, in both versions.
func TestSecurity31KeepAlive(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) { o.config.MaxKeepAlive = 200 * time.Millisecond })
	for _, level := range []byte{3, 4} {
		for _, k := range []uint16{0, 1, 65535} {
			p := b.open()
			p.Send(hello(level, 2, k, "p"))
			p.want("20 02 00 00")
			p.untilOver()
			log.wantOne(t, "p", core.ErrKeepAlive)
		}
	}
	for _, test := range []struct {
		most time.Duration
		k    uint16
		want time.Duration
	}{
		{0, 0, 0}, {0, 1, 1500 * time.Millisecond}, {0, 65535, 98302500 * time.Millisecond},
		{time.Minute, 0, 90 * time.Second}, {time.Minute, 10, 15 * time.Second},
		{time.Minute, 61, 90 * time.Second}, {time.Minute, 65535, 90 * time.Second},
	} {
		a := &Adapter{cfg: settings{Config: Config{MaxKeepAlive: test.most}}}
		if got := (&conn{a: a}).silence(test.k); got != test.want {
			t.Errorf("keep-alive %d, at most %v: %v, want %v", test.k, test.most, got, test.want)
		}
	}
}

// TestSecurity32OddPackets sends what made other brokers fall, and then
// anything.
func TestSecurity32OddPackets(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.config.MaxPacketSize = 1 << 16 })
	w := b.witness()
	for _, wire := range []string{
		"31 03 0001't' 31 03 0001't'", // nothing retained, and nothing removed
		"33 05 0001't'0001 31 03 0001't'",
		"31 04 0001't''x' 82 06 0001 0001't'02 82 06 0001 0001't'02 31 03 0001't' a2 05 0002 0001't'",
		"30 09 0007'$share/' 30 0b 0009'$share/g/' 30 0a 0008'$queue/x'",
		"82 0b 0001 0006'$share'00", "82 0c 0001 0007'$share/'00", "82 0d 0001 0008'$share//'00",
		"82 0e 0001 0009'$share//a'00", "82 0e 0001 0009'$share/g/'00", "82 0e 0001 0009'$share/+/'00",
		"82 0f 0001 000a'$share/g/#'02 a2 0e 0001 000a'$share/g/#' a2 0e 0001 000a'$share/g/#'",
		"82 0c 0001 0007'$queue/'00", "82 0d 0001 0008'$queue/+'00", "82 0d 0001 0008'$queue/#'02",
		"82 06 0001 0001'$'00 82 07 0001 0002'$/'00 30 03 0001'$' 30 04 0002'$/'",
		"82 06 0001 0001'/'00 30 03 0001'/' 30 04 0002'//'",
		"a2 05 0001 0001'x' a2 05 0001 0001'#'",
		"40 02 ffff 50 02 ffff 62 02 ffff 70 02 ffff 40 02 bfff 40 02 c000 50 02 c000 70 02 c000",
		"34 05 0001't'ffff 62 02 ffff 62 02 ffff 3c 05 0001't'ffff",
		"82 0b 0001 0001't'00 0001't'02 82 06 0001 0001't'01 32 05 0001't'0001 40 02 0001 40 02 0001",
	} {
		p := b.connect("odd", true)
		p.send(wire)
		p.send("c0 00 e0 00")
		p.untilOver()
		w.check()
	}
	r := rand.New(rand.NewPCG(32, 32))
	for range 3000 {
		p := b.open()
		if r.IntN(4) > 0 {
			p.Send(hello(4, byte(r.IntN(2)*2), 0, fmt.Sprint(r.IntN(5))))
		}
		for range 1 + r.IntN(4) {
			p.Send(oddPacket(r))
		}
		p.Hangup(nil)
	}
	w.check()
	eventually(t, "all are gone", func() bool { return b.srv.Open() == 1 })
	if n := b.bus.Gauges().Sessions; n > 1+5 {
		t.Errorf("%d sessions", n)
	}
}

// oddPacket is a packet with some of its bytes changed, and often with a length
// that fits. It has no topic or id of the witness.
func oddPacket(r *rand.Rand) []byte {
	b := raw(cells[r.IntN(len(cells))].wire)
	for range r.IntN(4) {
		b[r.IntN(len(b))] = byte(r.IntN(256))
	}
	for range r.IntN(3) {
		b = append(b, byte(r.IntN(4)))
	}
	if len(b) > 1 && len(b) < 130 && r.IntN(4) > 0 {
		b[1] = byte(len(b) - 2)
	}
	return b
}
