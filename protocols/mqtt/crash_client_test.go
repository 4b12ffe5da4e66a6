package mqtt

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// A crashClient is a client that keeps to the standard: it knows across its
// connections what MQTT has a client know, and checks every packet it gets.
// Its fields belong to its goroutine while that runs.
type crashClient struct {
	w    *crashWorld
	id   string
	r    *rand.Rand
	role crashRole

	pipeMu sync.Mutex
	pipe   *transport.Pipe // guarded by pipeMu for those who cut it

	// the session, as the client has it
	out   []*crashFlight  // what it publishes, in the order first sent
	in    map[uint16]int  // QoS 2 messages by packet id, until PUBREL
	rec   map[uint16]bool // ids for which PUBREC was ever sent
	s     *crashSession   // nil: there is none
	gone  bool            // a clean connect may have removed it
	there bool            // a connect may have made one

	// the connection
	state  clientState
	clean  bool
	buf    []byte
	will   *crashMsg
	expect []crashReply // replies, in this order
	owed   []crashOwed  // acknowledgements that have not been sent

	trace []string // the last packets, for the report

	idle atomic.Bool // nothing to send and nothing to wait for
	last string      // what it waits for, for the report
}

type clientState uint8

const (
	clientDown clientState = iota
	clientConnecting
	clientUp
	clientLeaving // DISCONNECT is sent
)

// A crashRole says what a client does.
type crashRole struct {
	publishes  bool
	clean      int             // CONNECTs with clean session, of a hundred
	keeps      map[string]byte // filters it subscribes to first, and keeps
	subscribes []string        // filters that come and go
	lazy       int             // acknowledgements it withholds, of a hundred
}

type crashFlight struct {
	msg      *crashMsg
	id       uint16
	received bool // PUBREC has come
	released bool // PUBREL has been sent, in this connection
}

type crashReply struct {
	typ    packet.Type
	id     uint16
	flight *crashFlight
	qos    byte   // of SUBACK
	acked  func() // of SUBACK and UNSUBACK
}

type crashOwed struct {
	typ packet.Type
	id  uint16
}

// run does what a client does until the power is cut.
func (c *crashClient) run() {
	for !c.w.stop.Load() && !c.w.failed.Load() {
		c.act()
		if c.state == clientDown {
			continue // hung up, or the power went first
		}
		c.receive(c.pipe.Receive())
		c.note()
		if c.r.IntN(4) > 0 || c.w.drain.Load() {
			c.pipe.Wait(time.Millisecond) // nothing to do unless something comes
		}
	}
}

func (c *crashClient) act() {
	drain := c.w.drain.Load()
	switch {
	case c.state == clientDown:
		c.connect(!drain && c.r.IntN(100) < c.role.clean || c.role.clean == 100)
	case c.state != clientUp:
	case drain:
		c.settle(100)
	default:
		c.w.ops.Add(1)
		c.random()
	}
}

// random is one step under load.
func (c *crashClient) random() {
	switch n := c.r.IntN(100); {
	case n < 45 && c.role.publishes:
		c.publishSome()
	case n < 85:
		c.settle(100 - c.role.lazy)
	case n < 94 && len(c.role.subscribes) > 0:
		c.changeSubscription()
	case n == 96:
		c.leave()
	case n == 97:
		c.hangUp()
	case n == 98 && c.r.IntN(2) == 0: // its own successor, while it is connected
		c.lost()
		c.connect(c.r.IntN(100) < c.role.clean)
	}
}

// note tells the world whether there is anything left to do.
func (c *crashClient) note() {
	switch {
	case c.state != clientUp:
		c.last = "connection"
	case len(c.expect) > 0:
		c.last = fmt.Sprintf("%v %d", c.expect[0].typ, c.expect[0].id)
	case len(c.out) > 0:
		c.last = fmt.Sprintf("end of handshake of id %d", c.out[0].id)
	case len(c.in) > 0:
		c.last = fmt.Sprintf("PUBREL for one of %v", c.in)
	case len(c.owed) > 0:
		c.last = "nothing, it owes acknowledgements"
	case !c.w.complete(c.s):
		c.last = "retained messages"
	default:
		c.last = ""
	}
	c.idle.Store(c.last == "" && c.w.drain.Load())
}

func (c *crashClient) send(b []byte) {
	c.traced("->", b)
	c.pipe.Send(b)
}

// traced remembers a packet.
func (c *crashClient) traced(way string, b []byte) {
	if len(c.trace) > 100 {
		c.trace = append(c.trace[:0], c.trace[50:]...)
	}
	c.trace = append(c.trace, fmt.Sprintf("%d %s %v %x %.32q", c.w.clock.Load(), way, packet.Type(b[0]>>4), b[0]&15, b[1:]))
}

// connect opens a connection. The answer is handled when it comes.
func (c *crashClient) connect(clean bool) {
	c.pipeMu.Lock()
	if c.w.stop.Load() {
		c.pipeMu.Unlock()
		return
	}
	c.pipe = c.w.box.open().Pipe
	c.pipeMu.Unlock()
	if c.gone && c.there {
		clean = true // or it would not know whose session it resumes
	}
	c.state, c.clean = clientConnecting, clean
	if clean && c.s != nil {
		c.gone = true
	} else if !clean && (c.s == nil || c.gone) {
		c.there = true
	}
	flags := byte(0)
	if clean {
		flags |= 2
	}
	body := []byte("\x00\x04MQTT\x04")
	payload := append([]byte{0, byte(len(c.id))}, c.id...)
	if c.will = nil; c.r.IntN(2) == 0 {
		qos := byte(c.r.IntN(3))
		c.will = c.w.newMsg(crashMsg{topic: "w/" + c.id, qos: qos, size: c.r.IntN(300), from: c.id, will: willArmed})
		c.w.sending(c.will)
		flags |= 4 | qos<<3
		payload = appendField(appendField(payload, []byte(c.will.topic)), c.will.payload())
	}
	body = append(body, flags, 0, 0)
	body = append(body, payload...)
	c.send(append(packet.AppendHeader(nil, packet.CONNECT, 0, len(body)), body...))
}

func appendField(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
}

// lost forgets what a client forgets when its connection breaks. The will of a
// connection that was established is due.
func (c *crashClient) lost() {
	c.w.willEnds(c.will, willEnded, c.state == clientUp)
	c.ended()
}

// forget drops the client's own half of its session.
func (c *crashClient) forget() {
	c.s, c.out, c.in, c.rec = nil, nil, make(map[uint16]int), make(map[uint16]bool)
}

func (c *crashClient) ended() {
	if c.clean && (c.state == clientUp || c.state == clientLeaving) {
		c.w.endSession(c.s)
		c.forget()
	}
	c.state, c.will, c.buf, c.expect, c.owed = clientDown, nil, nil, nil, nil
}

func (c *crashClient) hangUp() {
	old := c.pipe
	c.traced("-- hangs up", []byte{0})
	c.lost()
	old.Hangup(errors.New("cut off"))
}

func (c *crashClient) leave() {
	c.state = clientLeaving
	c.send([]byte{0xe0, 0})
}

// receive takes bytes of the broker apart.
func (c *crashClient) receive(b []byte) {
	c.buf = append(c.buf, b...)
	for !c.w.failed.Load() {
		h, more, err := packet.ReadHeader(c.buf)
		if err != nil {
			c.w.errorf("%s got % x: %v", c.id, c.buf, err)
			return
		}
		if more || len(c.buf) < h.Total() {
			break
		}
		body := c.buf[h.Size:h.Total()]
		c.traced("<-", c.buf[:h.Total()])
		c.handle(h, body)
		c.buf = c.buf[min(len(c.buf), h.Total()):]
	}
	if len(b) > 0 || !c.pipe.Over() {
		return
	}
	if c.state != clientLeaving {
		c.w.errorf("%s: the broker has closed the connection", c.id)
		return
	}
	// A cut pipe ends as well, but what it shows then is not seen.
	if !c.w.stop.Load() {
		c.w.willEnds(c.will, willForgotten, false)
		c.ended()
	}
}

func (c *crashClient) handle(h packet.Header, body []byte) {
	if (h.Type == packet.CONNACK) != (c.state == clientConnecting) {
		c.w.errorf("%s got %v in state %d", c.id, h.Type, c.state)
		return
	}
	switch h.Type {
	case packet.CONNACK:
		c.connected(body)
	case packet.PUBLISH:
		c.delivered(h.Flags, body)
	case packet.PUBREL:
		c.released(binary.BigEndian.Uint16(body))
	default:
		c.replied(h.Type, body)
	}
}

// connected handles CONNACK: is session present as it must be?
func (c *crashClient) connected(body []byte) {
	present := body[0] == 1
	switch {
	case body[1] != 0:
		c.w.errorf("%s: CONNACK %d", c.id, body[1])
	case present && c.clean:
		c.w.errorf("%s: session present, after a clean connect", c.id)
	case present && c.s == nil && !c.there:
		c.w.errorf("%s: session present, but it has ended", c.id)
	case !present && !c.clean && c.s != nil && !c.gone:
		c.w.errorf("%s: the session is lost", c.id)
	}
	if !present {
		c.w.endSession(c.s)
		c.forget()
	}
	if c.s == nil {
		c.s = c.w.newSession(c.id, !c.clean)
		if present {
			c.s.connects++ // one that was not answered
		}
	}
	c.s.connects++
	c.gone, c.there = false, false
	c.state = clientUp
	c.resume()
}

// resume sends again what a client must, in the order it was sent before.
// [MQTT-4.4.0-1]
func (c *crashClient) resume() {
	for _, f := range c.out {
		if f.received {
			c.release(f)
		} else {
			c.publish(f, true)
		}
	}
	for filter, qos := range c.role.keeps {
		if c.w.subscribed(c.s, filter) == nil {
			c.subscribe(filter, qos)
		}
	}
}

func (c *crashClient) publish(f *crashFlight, dup bool) {
	m := f.msg
	payload := m.payload()
	b := packet.AppendPublishHead(nil, []byte(m.topic), len(payload), m.qos, m.retain, dup, f.id)
	switch m.qos {
	case 1:
		c.expect = append(c.expect, crashReply{typ: packet.PUBACK, id: f.id, flight: f})
	case 2:
		c.expect = append(c.expect, crashReply{typ: packet.PUBREC, id: f.id, flight: f})
	}
	c.w.sending(m)
	c.send(append(b, payload...))
	c.w.sent(m)
}

// publishSome publishes one message, if not too many are on their way.
func (c *crashClient) publishSome() {
	m := crashMsg{topic: fmt.Sprintf("d/%d", c.r.IntN(3)), qos: byte(c.r.IntN(3)), from: c.id, size: c.r.IntN(40)}
	switch n := c.r.IntN(10); {
	case n < 2:
		m.topic = fmt.Sprintf("s/%d", c.r.IntN(2))
	case n < 4:
		m.topic, m.retain, m.clear = fmt.Sprintf("r/%d", c.r.IntN(5)), true, c.r.IntN(4) == 0
	}
	switch n := c.r.IntN(100); {
	case m.clear:
		m.size = 0
	case n < 20:
		m.size = 200 + c.r.IntN(4000) // stored apart
	case n == 99 && !m.retain:
		m.size = 300<<10 + c.r.IntN(300<<10) // in chunks, while it arrives
	}
	f := &crashFlight{}
	if m.qos > 0 {
		if f.id = c.freeID(); f.id == 0 {
			return
		}
	}
	f.msg = c.w.newMsg(m)
	if m.qos > 0 {
		c.out = append(c.out, f)
	}
	c.publish(f, false)
}

// freeID returns a packet id that is not in use, 0 if there is none.
func (c *crashClient) freeID() uint16 {
	for range 12 {
		id := uint16(1 + c.r.IntN(12))
		if !slices.ContainsFunc(c.out, func(f *crashFlight) bool { return f.id == id }) {
			return id
		}
	}
	return 0
}

func (c *crashClient) release(f *crashFlight) {
	f.released = true
	c.expect = append(c.expect, crashReply{typ: packet.PUBCOMP, id: f.id, flight: f})
	c.send(packet.AppendID(nil, packet.PUBREL, f.id))
}

// settle sends what the client owes the broker, each with this chance.
func (c *crashClient) settle(percent int) {
	owed := c.owed
	c.owed = nil
	if c.r.IntN(3) == 0 { // the broker must not rely on the order
		c.r.Shuffle(len(owed), func(i, j int) { owed[i], owed[j] = owed[j], owed[i] })
	}
	for _, o := range owed {
		if c.r.IntN(100) >= percent {
			c.owed = append(c.owed, o)
			continue
		}
		if o.typ == packet.PUBREC {
			c.rec[o.id] = true
			c.expect = append(c.expect, crashReply{typ: packet.PUBREL, id: o.id})
		}
		c.send(packet.AppendID(nil, o.typ, o.id))
	}
	for _, f := range c.out {
		if f.received && !f.released && c.r.IntN(100) < percent {
			c.release(f)
		}
	}
}

func (c *crashClient) changeSubscription() {
	filter := c.role.subscribes[c.r.IntN(len(c.role.subscribes))]
	if c.r.IntN(2) == 0 {
		qos := byte(c.r.IntN(3))
		if filter[0] == '$' {
			qos = max(qos, 1) // at QoS 0 a member settles what it may lose
		}
		c.subscribe(filter, qos)
		return
	}
	id := uint16(100 + c.r.IntN(100))
	acked := c.w.subscribing(c.s, filter, 0, true)
	c.expect = append(c.expect, crashReply{typ: packet.UNSUBACK, id: id, acked: acked})
	body := appendField([]byte{0, byte(id)}, []byte(filter))
	c.send(append(packet.AppendHeader(nil, packet.UNSUBSCRIBE, 2, len(body)), body...))
}

func (c *crashClient) subscribe(filter string, qos byte) {
	id := uint16(100 + c.r.IntN(100))
	acked := c.w.subscribing(c.s, filter, qos, false)
	s := c.s
	c.expect = append(c.expect, crashReply{typ: packet.SUBACK, id: id, qos: qos, acked: func() {
		acked()
		if sub := c.w.subscribed(s, filter); sub != nil && c.role.keeps != nil && c.w.groups[filter] != nil && s.persistent {
			c.w.anchored(filter, sub)
		}
	}})
	body := append(appendField([]byte{0, byte(id)}, []byte(filter)), qos)
	c.send(append(packet.AppendHeader(nil, packet.SUBSCRIBE, 2, len(body)), body...))
}

// replied handles what answers to something: it must be what is due next.
func (c *crashClient) replied(typ packet.Type, body []byte) {
	id := binary.BigEndian.Uint16(body)
	if len(c.expect) == 0 || c.expect[0].typ != typ || c.expect[0].id != id {
		c.w.errorf("%s got %v %d, due is %+v", c.id, typ, id, c.expect)
		return
	}
	e := c.expect[0]
	c.expect = c.expect[1:]
	switch typ {
	case packet.PUBACK, packet.PUBREC:
		c.w.acknowledged(e.flight.msg)
		e.flight.received = true
	case packet.SUBACK:
		if len(body) != 3 || body[2] != e.qos {
			c.w.errorf("%s got SUBACK % x for QoS %d", c.id, body, e.qos)
		}
		e.acked()
	case packet.UNSUBACK:
		e.acked()
	}
	if typ == packet.PUBACK || typ == packet.PUBCOMP {
		c.out = slices.DeleteFunc(c.out, func(f *crashFlight) bool { return f == e.flight })
	}
}

// delivered handles PUBLISH.
func (c *crashClient) delivered(flags byte, body []byte) {
	var p packet.Publish
	if err := p.Decode(flags, body); err != nil {
		c.w.errorf("%s got PUBLISH % x: %v", c.id, body, err)
		return
	}
	switch p.QoS {
	case 0:
		c.w.delivered(c.s, &p)
	case 1:
		c.w.delivered(c.s, &p)
		c.owed = append(c.owed, crashOwed{packet.PUBACK, p.ID})
	case 2:
		no, known := c.in[p.ID]
		if !known {
			c.in[p.ID] = c.w.delivered(c.s, &p)
		} else if !p.Dup || !c.w.same(no, &p) {
			c.w.errorf("%s got PUBLISH %d with %.20q (DUP %v), an id that message %d has until PUBREL", c.id, p.ID, p.Payload, p.Dup, no)
		}
		c.owed = append(c.owed, crashOwed{packet.PUBREC, p.ID})
	}
}

// released handles PUBREL: the answer to PUBREC, or the first thing in a new
// connection that the client hears of a message it has.
func (c *crashClient) released(id uint16) {
	due := slices.IndexFunc(c.expect, func(e crashReply) bool { return e.typ == packet.PUBREL && e.id == id })
	switch {
	case due == 0:
		c.expect = c.expect[1:]
	case due > 0:
		c.w.errorf("%s got PUBREL %d, due first is %+v", c.id, id, c.expect[0])
	case !c.rec[id]:
		c.w.errorf("%s got PUBREL %d and has never sent PUBREC for it", c.id, id)
	}
	delete(c.in, id)
	c.owed = append(c.owed, crashOwed{packet.PUBCOMP, id})
}
