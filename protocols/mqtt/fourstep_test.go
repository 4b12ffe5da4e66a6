package mqtt

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/narumq/naru/core/coretest/powercut"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

const (
	fourSeeds  = 16
	fourActs   = 250 // of each seed
	fourIDs    = 16  // packet ids of the broker
	fourWindow = 5
)

// TestFourSteps has a publisher and a subscriber go through the four-step
// exchange in every order that is right and in many that are not, with
// connections that break and a broker that loses its power between any two
// steps. The broker has so few packet ids that they come round all the time.
// What it answers and what it sends is compared with what the standard says of
// the two sides, told as simply as can be: the receiver knows a set of ids, the
// sender a list of messages.
func TestFourSteps(t *testing.T) {
	seeds, first := uint64(fourSeeds), uint64(0)
	if testing.Short() {
		seeds = fourSeeds / 4
	}
	if s := powercut.Number(t, "TEST_SEED", ^uint64(0)); s != ^uint64(0) {
		first, seeds = s, 1
	}
	for seed := first; seed < first+seeds; seed++ {
		all := t
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			if all.Failed() {
				t.Skip("one failure is enough")
			}
			fourSteps(t, seed)
		})
	}
}

// A fourWorld is a broker, the client that publishes to it and the one that
// subscribes.
type fourWorld struct {
	t    *testing.T
	r    *rand.Rand
	w    *crashWorld
	pub  fourPub
	sub  fourSub
	own  uint64 // packet ids of the session's own queue
	hold bool   // the subscriber keeps the oldest message to the last
	no   int    // messages so far
	said []string
}

// fourConn is a connection, with what both clients need to know of theirs.
type fourConn struct {
	name   string
	pipe   *transport.Pipe
	buf    []byte
	up     bool
	clean  bool
	exists bool // the broker has a session
}

// fourPub is the publisher, and the broker as its receiver.
type fourPub struct {
	fourConn
	known map[uint16][]byte // ids the broker has and has not released, with the payload
	due   []fourDue         // answers, in this order
}

type fourDue struct {
	typ    packet.Type
	id     uint16
	resend []byte // what the client sends again if no answer comes
}

// fourSub is the subscriber, and the broker as its sender.
type fourSub struct {
	fourConn
	entries []*fourEntry
	next    uint64         // ordinal
	newest  uint64         // 1 + ordinal of the last PUBLISH in this connection
	rel     map[uint16]int // PUBRELs due, by id
	back    int            // completed entries that a crash has brought back
}

type fourState uint8

const (
	fourSent     fourState = iota // or to be sent
	fourReceived                  // PUBREC has been sent
	fourComplete                  // PUBCOMP or PUBACK has been sent
)

// A fourEntry is a message for the subscriber.
type fourEntry struct {
	ord    uint64
	id     uint16
	no     int
	qos    byte
	state  fourState
	seen   bool // in this connection
	sent   bool // in any
	mayDup bool // a connection has ended since it came
	unsure bool // received, but PUBREL has not come: a crash may take that back
	lost   bool // and there was a crash
	undone bool // complete, but a crash may have taken that back
}

func fourSteps(t *testing.T, seed uint64) {
	m := newCrashModel(t, seed)
	w := &crashWorld{crashModel: m, t: t, r: rand.New(rand.NewPCG(seed, 3)), fs: powercut.NewSlowDisk()}
	w.o = crashOptions{memTable: 64 << 10, inflight: fourWindow, ids: idSpace{own: 12, foreign: fourIDs - 12}}
	f := &fourWorld{t: t, r: w.r, w: w, own: 12, hold: seed%2 == 1}
	if f.hold { // so that an id is wanted again while it is taken
		f.own, w.o.ids = 6, idSpace{own: 6, foreign: fourIDs - 6}
	}
	w.open()
	defer func() { w.box.crashClose() }()
	f.pub.name, f.sub.name = "pub", "sub"
	f.connectPub(false)
	f.connectSub(false)
	for range fourActs {
		f.act()
	}
	f.finish()
}

func (f *fourWorld) fatalf(format string, args ...any) {
	f.t.Helper()
	f.t.Fatalf("TEST_SEED=%d: %s\n\t%s", f.w.seed, fmt.Sprintf(format, args...), strings.Join(f.said, "\n\t"))
}

// say remembers what happened, for the report.
func (f *fourWorld) say(format string, args ...any) {
	if len(f.said) > 60 {
		f.said = append(f.said[:0], f.said[30:]...)
	}
	f.said = append(f.said, fmt.Sprintf(format, args...))
}

// act is one step of somebody, and then, as a rule, a wait for all it entails.
func (f *fourWorld) act() {
	switch n := f.r.IntN(100); {
	case n < 35:
		f.publish()
	case n < 88:
		f.acknowledge()
	case n < 92:
		f.breakPub()
	case n < 96:
		f.breakSub()
	default:
		f.settle(f.r.IntN(2) == 0)
		f.crash()
	}
	if f.r.IntN(5) > 0 {
		f.settle(true)
		return
	}
	// What has been sent has not been answered, or the answer does not arrive.
	f.settle(false)
	switch f.r.IntN(3) {
	case 0:
		f.breakPub()
	case 1:
		f.breakSub()
	case 2:
		f.crash()
	}
	f.settle(true)
}

// publish is a step of the publisher.
func (f *fourWorld) publish() {
	p := &f.pub
	id := uint16(1 + f.r.IntN(4))
	_, known := p.known[id]
	switch n := f.r.IntN(10); {
	case n == 0: // QoS 1 in between; a re-send would be a second message
		f.publishQoS1(id)
		f.settle(true)
	case n == 1 && !known: // the id is used again as soon as it may, and sooner
		for range 2 {
			f.publishNew(id)
			if f.r.IntN(2) == 0 {
				f.publishAgain(id)
			}
			f.release(id)
		}
		f.settle(true)
	case n < 5 && !known:
		f.publishNew(id)
	case n < 7 && known:
		f.publishAgain(id)
	default: // a stale PUBREL, if the id is not known
		f.release(id)
	}
}

func (f *fourWorld) publishBytes(qos byte, dup bool, id uint16, payload []byte) []byte {
	return append(packet.AppendPublishHead(nil, []byte("t"), len(payload), qos, false, dup, id), payload...)
}

func (f *fourWorld) newPayload() []byte {
	f.no++
	return fmt.Appendf(nil, "%d", f.no)
}

func (f *fourWorld) publishNew(id uint16) {
	payload := f.newPayload()
	f.pub.known[id] = payload
	f.enqueue(2)
	f.pub.due = append(f.pub.due, fourDue{packet.PUBREC, id, f.publishBytes(2, true, id, payload)})
	f.send(&f.pub.fourConn, f.publishBytes(2, false, id, payload))
}

// publishAgain sends what the broker has: it must answer, and nothing else.
func (f *fourWorld) publishAgain(id uint16) {
	b := f.publishBytes(2, true, id, f.pub.known[id])
	f.pub.due = append(f.pub.due, fourDue{packet.PUBREC, id, b})
	f.send(&f.pub.fourConn, b)
}

func (f *fourWorld) release(id uint16) {
	delete(f.pub.known, id)
	b := packet.AppendID(nil, packet.PUBREL, id)
	f.pub.due = append(f.pub.due, fourDue{packet.PUBCOMP, id, b})
	f.send(&f.pub.fourConn, b)
}

func (f *fourWorld) publishQoS1(id uint16) {
	payload := f.newPayload()
	f.enqueue(1)
	f.pub.due = append(f.pub.due, fourDue{typ: packet.PUBACK, id: id})
	f.send(&f.pub.fourConn, f.publishBytes(1, false, id, payload))
}

// enqueue notes what the last message means to the subscriber.
func (f *fourWorld) enqueue(qos byte) {
	s := &f.sub
	if !s.exists {
		return
	}
	s.entries = append(s.entries, &fourEntry{ord: s.next, id: uint16(1 + s.next%f.own), no: f.no, qos: qos})
	s.next++
}

// acknowledge is a step of the subscriber.
func (f *fourWorld) acknowledge() {
	s := &f.sub
	if !s.up {
		f.connectSub(f.r.IntN(6) == 0)
		return
	}
	f.settle(true) // or an id might be in use that the client has not seen
	id := uint16(1 + f.r.IntN(int(f.own)))
	if live := s.live(); len(live) > 0 && f.r.IntN(4) > 0 {
		i := f.r.IntN(len(live))
		if f.hold && i == 0 && len(live) > 1 && live[1].seen {
			i = 1
		}
		id = live[i].id
	}
	e := s.find(id)
	if e == nil {
		f.acknowledgeUnknown(id)
		return
	}
	live := s.live()
	wanted := live[0] == e && live[len(live)-1].ord >= e.ord+f.own // its id
	right := map[fourState]packet.Type{fourSent: packet.PUBREC, fourReceived: packet.PUBCOMP}[e.state]
	if e.qos == 1 {
		right = packet.PUBACK
	}
	typ := right
	if n := f.r.IntN(40); n < 3 {
		typ = []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBCOMP}[n]
	}
	again := typ == packet.PUBREC && e.qos == 2 && e.state == fourReceived
	f.send(&s.fourConn, packet.AppendID(nil, typ, id))
	switch {
	case typ != right && !again: // not what this message waits for
		f.waitOver(&s.fourConn)
		s.broken()
	case typ == packet.PUBREC:
		e.state, e.unsure = fourReceived, true
		s.rel[id]++
	default:
		e.state = fourComplete
		if f.hold && wanted && f.r.IntN(2) == 0 { // has its id been given away too early?
			f.settle(true)
			f.crash()
		}
	}
}

// acknowledgeUnknown acknowledges what was never sent, or long ago.
func (f *fourWorld) acknowledgeUnknown(id uint16) {
	if f.r.IntN(3) == 0 {
		id = []uint16{13, 16, 17, 999, 65535}[f.r.IntN(5)]
	}
	typ := []packet.Type{packet.PUBACK, packet.PUBREC, packet.PUBCOMP}[f.r.IntN(3)]
	if typ == packet.PUBREC { // the client is helped on
		f.sub.rel[id]++
	}
	f.send(&f.sub.fourConn, packet.AppendID(nil, typ, id))
}

// live returns the entries that are not complete.
func (s *fourSub) live() []*fourEntry {
	var live []*fourEntry
	for _, e := range s.entries {
		if e.state != fourComplete {
			live = append(live, e)
		}
	}
	return live
}

// find returns the entry that has this id in this connection.
func (s *fourSub) find(id uint16) *fourEntry {
	for _, e := range s.entries {
		if e.id == id && e.seen && e.state != fourComplete {
			return e
		}
	}
	return nil
}

// broken forgets what ends with a connection of the subscriber.
func (s *fourSub) broken() {
	s.up, s.buf, s.rel, s.newest = false, nil, make(map[uint16]int), 0
	if s.clean {
		s.exists, s.entries, s.next = false, nil, 0
	}
	for _, e := range s.entries {
		e.seen, e.mayDup = false, true
	}
}

func (f *fourWorld) send(c *fourConn, b []byte) {
	f.say("%s -> %v %x % x", c.name, packet.Type(b[0]>>4), b[0]&15, b[2:])
	c.pipe.Send(b)
}

// connect opens a connection; session present must be what it has to be.
func (f *fourWorld) connect(c *fourConn, clean bool) {
	present := c.exists && !c.clean && !clean
	c.pipe = f.w.box.open().Pipe
	c.buf, c.up, c.clean, c.exists = nil, true, clean, true
	flags := byte(0)
	if clean {
		flags = 2
	}
	f.send(c, append([]byte{0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 4, flags, 0, 0, 0, 3}, c.name...))
	h, body := f.next(c)
	if h.Type != packet.CONNACK || body[1] != 0 || (body[0] == 1) != present {
		f.fatalf("%s got %v % x, session present should be %v", c.name, h.Type, body, present)
	}
}

// connectPub connects the publisher and sends again what was not answered.
func (f *fourWorld) connectPub(clean bool) {
	p := &f.pub
	if clean || p.clean || !p.exists {
		p.known = make(map[uint16][]byte)
	}
	f.connect(&p.fourConn, clean)
	due := p.due
	p.due = nil
	for _, d := range due {
		if d.resend == nil {
			continue
		}
		p.due = append(p.due, d)
		f.send(&p.fourConn, d.resend)
	}
}

func (f *fourWorld) connectSub(clean bool) {
	s := &f.sub
	s.broken()
	fresh := clean || !s.exists
	if fresh {
		s.entries, s.next, s.back = nil, 0, 0
	}
	if !fresh {
		n, _ := f.w.box.bus.Stored()
		s.back = int(n) - len(s.live())
		most := 0
		for _, e := range s.entries {
			if e.undone {
				most++
			}
		}
		if s.back < 0 || s.back > most {
			f.fatalf("%d messages are stored, there should be %d and at most %d that came back", n, len(s.live()), most)
		}
	}
	f.connect(&s.fourConn, clean)
	if fresh {
		f.send(&s.fourConn, raw("82 06 0001 0001't'02"))
		if h, body := f.next(&s.fourConn); h.Type != packet.SUBACK || body[2] != 2 {
			f.fatalf("got %v % x, not SUBACK", h.Type, body)
		}
		return
	}
	f.settle(true)
	s.entries = slices.DeleteFunc(s.entries, func(e *fourEntry) bool { return e.undone })
}

// breakPub ends the publisher's connection, and opens another.
func (f *fourWorld) breakPub() {
	p := &f.pub
	if p.clean || f.r.IntN(2) == 0 {
		f.settle(true)
	}
	f.end(&p.fourConn)
	f.connectPub(len(p.due) == 0 && f.r.IntN(4) == 0)
}

func (f *fourWorld) breakSub() {
	s := &f.sub
	if !s.up {
		return
	}
	takenOver := f.end(&s.fourConn)
	if takenOver || f.r.IntN(2) == 0 {
		f.connectSub(f.r.IntN(6) == 0)
	} else {
		s.broken()
	}
}

// end ends a connection from the client's side, or leaves that to the broker
// when the next one comes.
func (f *fourWorld) end(c *fourConn) (takenOver bool) {
	if f.r.IntN(2) == 0 {
		f.say("%s will be taken over", c.name)
		return true
	}
	f.say("%s hangs up", c.name)
	c.pipe.Hangup(errors.New("cut off"))
	return false
}

// crash cuts the power. The publisher is the first to come back, so that what
// it sends again keeps its place.
func (f *fourWorld) crash() {
	p, s := &f.pub, &f.sub
	if p.clean { // it could not send again
		f.settle(true)
	}
	f.say("the power fails")
	p.pipe.Cut()
	s.pipe.Cut()
	left := f.w.fs.Cut(f.r)
	f.w.box.crashClose()
	f.w.fs = left
	f.w.open()
	wasClean := p.clean
	p.exists = !wasClean
	for _, e := range s.entries {
		e.undone = e.undone || e.state == fourComplete
		e.lost = e.lost || e.unsure
	}
	s.broken()
	f.connectPub(wasClean && f.r.IntN(2) == 0)
	f.settle(true)
}

// finish completes everything and sees that nothing is left.
func (f *fourWorld) finish() {
	if !f.sub.up {
		f.connectSub(false)
	}
	for {
		f.settle(true)
		live := f.sub.live()
		if len(live) == 0 {
			break
		}
		e := live[0]
		switch {
		case e.qos == 1:
			e.state = fourComplete
			f.send(&f.sub.fourConn, packet.AppendID(nil, packet.PUBACK, e.id))
		case e.state == fourSent:
			e.state = fourReceived
			f.sub.rel[e.id]++
			f.send(&f.sub.fourConn, packet.AppendID(nil, packet.PUBREC, e.id))
		default:
			e.state = fourComplete
			f.send(&f.sub.fourConn, packet.AppendID(nil, packet.PUBCOMP, e.id))
		}
	}
	if n, _ := f.w.box.bus.Stored(); n != 0 {
		f.fatalf("%d messages are stored still", n)
	}
}
