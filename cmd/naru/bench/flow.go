package bench

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// Every payload begins with this header, big endian; a pattern fills the rest.
//
//	+------+----------+-------+---------+
//	| flow | sequence | stamp | pattern |
//	|  4   |    8     |   8   |         |
//	+------+----------+-------+---------+
const headerSize = 4 + 8 + 8

// Packet identifiers run from 1 to idCycle; a power of two, so that any ring
// of slots divides it.
const idCycle = 1 << 15

// endless is the limit of a flow that sends until it is told to stop.
const endless = math.MaxUint64

// A flow is what one publisher sends to one topic: numbers 0, 1, 2, ... It
// has credit while fewer than window messages are owed something, which is an
// acknowledgement at QoS 1 and 2 and in any case the arrival at every reader.
// So it is bounded by the slower of both, and a broker that acknowledges fast
// and delivers late does not pile up a backlog that would hide its cost.
type flow struct {
	index   uint32
	topic   string
	key     string // what it reaches the receiver with: the topic, or a routing key
	qos     byte
	window  uint64
	readers int32    // receivers that each message must reach
	pub     *client  // whose connection it uses
	paced   bool     // sends when told, not when credit comes back
	confirm *latency // of the acknowledgements

	frame  []byte // a whole PUBLISH, to be copied and patched
	idAt   int
	bodyAt int
	body   []byte // the pattern behind the header

	next, limit uint64 // next number to send, and where to stop
	head        uint64 // the lowest number that is owed something
	slots       []owed // ring, by number
	queued      bool   // is in loop.ready
	moved       time.Duration
}

// owed is what one message in flight still waits for.
type owed struct {
	parts int32
	id    uint16 // 0 when no acknowledgement is due
	head  byte   // the acknowledgement that is due
	sent  time.Duration
}

func newFlow(index int, topic string, s Scenario, readers int) *flow {
	ring := 1
	for ring < s.Window {
		ring <<= 1
	}
	f := &flow{
		index:   uint32(index),
		topic:   topic,
		key:     topic,
		confirm: new(latency),
		qos:     s.QoS,
		window:  uint64(s.Window),
		readers: int32(readers),
		body:    pattern(index, s.Size-headerSize),
		slots:   make([]owed, ring),
	}
	payload := make([]byte, s.Size)
	binary.BigEndian.PutUint32(payload, f.index)
	copy(payload[headerSize:], f.body)
	switch s.Protocol {
	case AMQP:
		f.frame = appendAMQPPublish(nil, topic, s.QoS > 0, payload)
		f.bodyAt = len(f.frame) - s.Size - 1
		return f
	case MQTTToAMQP:
		f.key = routingKey(topic)
	}
	f.frame = appendPublish(nil, topic, s.QoS, 0, payload)
	f.bodyAt = len(f.frame) - s.Size
	f.idAt = f.bodyAt - 2
	return f
}

// pattern differs between neighbouring flows and has no period of a power of
// two, so that a body taken from elsewhere in a buffer does not pass for it.
func pattern(index, size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte((i + 7*index) % 251)
	}
	return b
}

// start lets the flow send limit messages in all.
func (f *flow) start(limit uint64) {
	f.limit = limit
	f.moved = f.pub.loop.now()
	f.wake()
}

// stop ends the flow after what it has sent.
func (f *flow) stop() { f.limit = f.next }

// settled is true when nothing more is to be sent and nobody is owed anything.
func (f *flow) settled() bool { return f.next == f.limit && f.head == f.next }

func (f *flow) credit() uint64 {
	if f.pub.blocked || f.pub.stage != up {
		return 0
	}
	return min(f.window-(f.next-f.head), f.limit-f.next)
}

// wake queues the flow to fill at the end of the turn.
func (f *flow) wake() {
	if !f.queued && !f.paced {
		f.queued = true
		f.pub.loop.ready = append(f.pub.loop.ready, f)
	}
}

// fill sends what credit allows, to leave in one write.
func (f *flow) fill(now time.Duration) { f.send(f.credit(), now) }

// send puts n messages into the outbox, stamped with the given time.
func (f *flow) send(n uint64, stamp time.Duration) {
	if n == 0 {
		return
	}
	out := f.pub.out
	for range n {
		at := len(out)
		out = append(out, f.frame...)
		slot := &f.slots[f.next&uint64(len(f.slots)-1)]
		*slot = owed{parts: f.readers, sent: stamp}
		if f.qos > 0 {
			id := uint16(f.next%idCycle) + 1
			slot.parts++
			slot.id, slot.head = id, headPuback
			if f.qos == 2 {
				slot.head = headPubrec
			}
			if f.idAt > 0 {
				binary.BigEndian.PutUint16(out[at+f.idAt:], id)
			}
		}
		header := out[at+f.bodyAt:]
		binary.BigEndian.PutUint64(header[4:], f.next)
		binary.BigEndian.PutUint64(header[12:], uint64(stamp))
		f.next++
	}
	f.pub.out = out
	f.pub.touch()
}

// acknowledge takes PUBACK, PUBREC or PUBCOMP. One that is not due is an
// error of the broker.
func (f *flow) acknowledge(head byte, id uint16, now time.Duration) error {
	slot := &f.slots[uint64(id-1)&uint64(len(f.slots)-1)]
	if id == 0 || slot.id != id || slot.head != head {
		return fmt.Errorf("acknowledgement %#x of packet %d: %w", head, id, errSurprise)
	}
	if head == headPubrec {
		slot.head = headPubcomp
		return nil
	}
	slot.id = 0
	f.confirm.record(now - slot.sent)
	f.pay(slot, now)
	return nil
}

// confirmed takes basic.ack: of the message of that number, counted from 1, or
// of all up to it.
func (f *flow) confirmed(tag uint64, multiple bool, now time.Duration) error {
	if tag == 0 || tag > f.next || f.qos == 0 {
		return fmt.Errorf("confirm of message %d, %d are sent: %w", tag, f.next, errSurprise)
	}
	from := tag - 1
	if multiple {
		from = min(from, f.head)
	}
	for n := from; n < tag; n++ {
		slot := &f.slots[n&uint64(len(f.slots)-1)]
		if n < f.head || slot.id == 0 {
			if !multiple {
				return fmt.Errorf("confirm of message %d again: %w", tag, errSurprise)
			}
			continue
		}
		slot.id = 0
		f.confirm.record(now - slot.sent)
		f.pay(slot, now)
	}
	return nil
}

// arrived notes that one reader has number n, or will never have it. What was
// forgiven before is not counted twice.
func (f *flow) arrived(n uint64, now time.Duration) {
	if n >= f.head {
		f.pay(&f.slots[n&uint64(len(f.slots)-1)], now)
	}
}

func (f *flow) pay(slot *owed, now time.Duration) {
	slot.parts--
	f.moved = now
	f.advance()
}

// advance moves the head past what is owed nothing.
func (f *flow) advance() {
	before := f.head
	for f.head < f.next && f.slots[f.head&uint64(len(f.slots)-1)].parts <= 0 {
		f.head++
	}
	if f.head != before {
		f.wake()
	}
}

// forgive gives up on everything in flight, so that a QoS 0 flow whose last
// messages were dropped goes on.
func (f *flow) forgive(now time.Duration) {
	for n := f.head; n < f.next; n++ {
		f.slots[n&uint64(len(f.slots)-1)] = owed{}
	}
	f.moved = now
	f.advance()
}
