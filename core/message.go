package core

import "sync/atomic"

// QoS is a delivery guarantee: at most once, at least once, exactly once.
type QoS uint8

const (
	AtMostOnce QoS = iota
	AtLeastOnce
	ExactlyOnce
)

// A Message is what the bus carries. During Publish it is borrowed: Topic and
// Payload point into the publisher's read buffer, and whoever needs it longer
// keeps one shared, immutable copy (keep). A kept message is never changed and
// never pooled; the garbage collector frees it.
type Message struct {
	Exchange   *Exchange // where it was published
	Topic      []byte    // the address, as published, in Syntax
	Payload    []byte
	Syntax     Syntax
	QoS        QoS
	Retain     bool // the publisher asks for it to be retained
	Persistent bool // to be kept on disk by durable queues
	// Owned says that Topic and Payload will never be overwritten, so that
	// keeping the message copies nothing. The transport sets it for packets
	// that were read into a buffer of their own.
	Owned     bool
	Published int64 // unix milliseconds, set by Publish
	Expires   int64 // unix milliseconds, 0: never
	// Props are the properties as AMQP 0-9-1 writes them in a content header:
	// flags, then values. Adapters of other protocols convert what they know of
	// them. nil: none.
	Props    []byte
	Priority uint8 // for queues that have priorities
	// Keys are further routing keys beside Topic. They are looked at by Publish
	// only.
	Keys [][]byte
	// Routed is set by Publish: a queue or a session was led to.
	Routed bool
	// Died says that the message has been dead-lettered: what Props tell of its
	// deaths is the broker's own word.
	Died bool
	// Stored is what has been stored of a large payload while it arrived, or nil.
	Stored *BodyWriter

	kept *Message // the kept copy of a borrowed message, once there is one
	refs int32    // atomic: entries in memory that refer to a kept message
	body *body    // where the payload is stored apart, once for each shard
}

// entryOverhead is what an entry in memory costs beside its payload and topic,
// for the memory budget.
const entryOverhead = 200

func (m *Message) footprint() int64 {
	return int64(len(m.Topic)+len(m.Payload)+len(m.Props)) + entryOverhead
}

// keep returns the immutable copy of m that all who keep it share.
func (m *Message) keep() *Message {
	if m.kept != nil {
		return m.kept
	}
	k := &Message{
		Exchange: m.Exchange, Syntax: m.Syntax, QoS: m.QoS, Retain: m.Retain,
		Persistent: m.Persistent, Owned: true, Published: m.Published, Expires: m.Expires,
		Priority: m.Priority, Died: m.Died,
	}
	if m.Owned {
		k.Topic, k.Payload, k.Props = m.Topic, m.Payload, m.Props
	} else {
		k.Topic, k.Payload, k.Props = m.copied(m.Payload)
	}
	k.kept = k
	m.kept = k
	return k
}

// copied returns address, payload and properties in memory of their own.
func (m *Message) copied(from []byte) (address, payload, props []byte) {
	n, p := len(m.Topic), len(m.Topic)+len(from)
	buf := make([]byte, p+len(m.Props))
	copy(buf, m.Topic)
	copy(buf[n:], from)
	if len(m.Props) > 0 {
		props = buf[p:]
		copy(props, m.Props)
	}
	return buf[:n:n], buf[n:p:p], props
}

// hold and drop count the queue entries in memory that refer to a kept
// message; its footprint is charged once, however many queues share it.
func (m *Message) hold(b *Bus) {
	if atomic.AddInt32(&m.refs, 1) == 1 {
		b.memory.Add(m.footprint())
	}
}

func (m *Message) drop(b *Bus) {
	if atomic.AddInt32(&m.refs, -1) == 0 {
		b.memory.Add(-m.footprint())
	}
}
