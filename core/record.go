package core

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Keys of a shard. The first byte is the kind; numbers are big-endian, so that
// the order of keys is the order of queues and ordinals.
//
//	f                       format number
//	n                       starts so far
//	q queue                 a session or a declared queue
//	c queue                 its counters
//	b queue exchange 0 key  a binding or subscription
//	x vhost exchange        a declared exchange (first shard only)
//	e vhost from to key     a binding between exchanges (first shard only)
//	p queue filter          how far the retained messages of a subscription have got
//	m queue ordinal         an entry
//	d queue ordinal         how often its delivery has failed
//	i queue id              an inbound QoS 2 packet id that is not released
//	w id                    a will
//	t vhost 0 topic         a retained message
//	y body chunk            a payload stored once: chunk 0 names the entries that
//	                        refer to it, the others hold the bytes
const (
	keyFormat   = 'f'
	keyStarts   = 'n'
	keyQueue    = 'q'
	keyCounter  = 'c'
	keyBinding  = 'b'
	keyExchange = 'x'
	keyExit     = 'e'
	keyProgress = 'p'
	keyEntry    = 'm'
	keyFailures = 'd'
	keyInbound  = 'i'
	keyWill     = 'w'
	keyRetained = 't'
	keyBody     = 'y'
)

// formatNumber is raised when older programs could misread the records.
const formatNumber = 2

func idKey(kind byte, id uint64) []byte {
	var k [9]byte
	k[0] = kind
	binary.BigEndian.PutUint64(k[1:], id)
	return k[:]
}

func queueKey(q uint64) []byte   { return idKey(keyQueue, q) }
func counterKey(q uint64) []byte { return idKey(keyCounter, q) }
func willKey(id uint64) []byte   { return idKey(keyWill, id) }

const entryKeySize = 1 + 8 + 8

func entryKey(q, ord uint64) []byte {
	var k [entryKeySize]byte
	putEntryKey(&k, q, ord)
	return k[:]
}

func failuresKey(q, ord uint64) []byte {
	k := entryKey(q, ord)
	k[0] = keyFailures
	return k
}

func putEntryKey(k *[entryKeySize]byte, q, ord uint64) {
	k[0] = keyEntry
	binary.BigEndian.PutUint64(k[1:], q)
	binary.BigEndian.PutUint64(k[9:], ord)
}

func ordinalOf(k []byte) uint64 { return binary.BigEndian.Uint64(k[9:]) }
func queueOf(k []byte) uint64   { return binary.BigEndian.Uint64(k[1:]) }

func inboundKey(q uint64, id uint16) []byte {
	return binary.BigEndian.AppendUint16(idKey(keyInbound, q), id)
}

// bindingKey has the syntax too: one pattern may be bound in both. Arguments are
// in it only if there are any, behind a mark in the byte of the syntax.
func bindingKey(q uint64, exchange string, syntax Syntax, key, arguments string) []byte {
	k := append(append(idKey(keyBinding, q), exchange...), 0)
	if arguments == "" {
		return append(append(k, byte(syntax)), key...)
	}
	k = append(k, byte(syntax)|withArguments)
	return appendDigest(append(k, key...), arguments)
}

const withArguments = 1 << 7

// splitBindingKey returns exchange and key of what bindingKey has made.
func splitBindingKey(k []byte) (exchange, key string, err error) {
	name, rest, _ := bytes.Cut(k[9:], []byte{0})
	if len(rest) == 0 {
		return "", "", errRecord
	}
	mark, rest := rest[0], rest[1:]
	if mark&withArguments != 0 {
		if len(rest) < digestSize {
			return "", "", errRecord
		}
		rest = rest[:len(rest)-digestSize]
	}
	return string(name), string(rest), nil
}

func retainedKey(vhost string, topic string) []byte {
	k := make([]byte, 0, 2+len(vhost)+len(topic))
	k = append(k, keyRetained)
	k = append(k, vhost...)
	k = append(k, 0)
	return append(k, topic...)
}

func bodyKey(id uint64, chunk uint32) []byte {
	return binary.BigEndian.AppendUint32(idKey(keyBody, id), chunk)
}

// kindRange is the range of all keys of one kind.
func kindRange(kind byte) (lo, hi []byte) { return []byte{kind}, []byte{kind + 1} }

// queueRange is the range of the keys of one kind that belong to a queue.
func queueRange(kind byte, q uint64) (lo, hi []byte) { return idKey(kind, q), idKey(kind, q+1) }

// errRecord: a record that cannot be read. It is reported, never guessed at.
var errRecord = errors.New("damaged record")

// A reader takes a record apart. After a failure everything reads as zero and
// err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errRecord
	}
	r.b = nil
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string { return string(r.bytes()) }

func appendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

func (c *counters) append(b []byte) []byte {
	b = binary.AppendUvarint(b, c.head)
	b = binary.AppendUvarint(b, c.next)
	b = binary.AppendUvarint(b, uint64(max(c.count, 0)))
	b = binary.AppendUvarint(b, uint64(max(c.bytes, 0)))
	return binary.AppendUvarint(b, c.sent)
}

func decodeCounters(v []byte) (counters, error) {
	r := reader{b: v}
	c := counters{head: r.uint(), next: r.uint(), count: int64(r.uint()), bytes: int64(r.uint()), sent: r.uint()}
	return c, r.err
}

// Entry records begin with a form and a byte of flags:
//
//	bits 0-1  QoS of the entry
//	bit  2    durable (else spilled: void after a restart)
//	bit  3    retained
//	bit  4    moved here for this session
const (
	formInline   = 1 // flags message
	formBody     = 2 // flags body size message-without-payload
	formReceived = 3 // flags
)

// Message flags in records.
const (
	recQoS        = 3
	recAMQP       = 1 << 2
	recRetain     = 1 << 3
	recPersistent = 1 << 4
	recExchange   = 1 << 5 // named, not the default for its syntax
	recProps      = 1 << 6 // priority and properties follow the topic
	recDied       = 1 << 7 // it has been dead-lettered
)

// appendEntry encodes an entry. m is nil for one in state received; stored is
// where the payload is, nil for inline.
func appendEntry(b []byte, e *entry, m *Message, stored *body) []byte {
	flags := byte(e.qos())
	if e.flags&flagDurable != 0 {
		flags |= 1 << 2
	}
	if e.flags&flagRetained != 0 {
		flags |= 1 << 3
	}
	if e.flags&flagMoved != 0 {
		flags |= 1 << 4
	}
	switch {
	case m == nil:
		return append(b, formReceived, flags)
	case stored != nil:
		b = append(b, formBody, flags)
		b = binary.AppendUvarint(b, uint64(e.expires))
		b = binary.AppendUvarint(b, stored.id)
		b = binary.AppendUvarint(b, uint64(len(m.Payload)))
		return appendMessageHead(b, m)
	}
	b = append(b, formInline, flags)
	b = binary.AppendUvarint(b, uint64(e.expires))
	return appendMessage(b, m)
}

func appendMessageHead(b []byte, m *Message) []byte {
	flags := byte(m.QoS)
	if m.Syntax == SyntaxAMQP {
		flags |= recAMQP
	}
	if m.Retain {
		flags |= recRetain
	}
	if m.Persistent {
		flags |= recPersistent
	}
	named := m.Exchange != nil && m.Exchange.name != topicExchange
	if named {
		flags |= recExchange
	}
	if len(m.Props) > 0 {
		flags |= recProps
	}
	if m.Died {
		flags |= recDied
	}
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(m.Published))
	b = binary.AppendUvarint(b, uint64(m.Expires))
	if named {
		b = appendBytes(b, m.Exchange.name)
	}
	b = appendBytes(b, m.Topic)
	if len(m.Props) > 0 {
		b = appendBytes(append(b, m.Priority), m.Props)
	}
	return b
}

// appendMessage encodes a message; the payload is the rest of the record.
func appendMessage(b []byte, m *Message) []byte {
	return append(appendMessageHead(b, m), m.Payload...)
}

// readMessage decodes a message into memory of its own.
func (r *reader) message(vh *VHost) *Message {
	flags := r.byte()
	m := &Message{
		QoS: QoS(flags & recQoS), Retain: flags&recRetain != 0, Persistent: flags&recPersistent != 0,
		Died: flags&recDied != 0, Owned: true,
		Published: int64(r.uint()), Expires: int64(r.uint()),
	}
	if flags&recAMQP != 0 {
		m.Syntax = SyntaxAMQP
	}
	if m.QoS > ExactlyOnce {
		r.fail()
	}
	if flags&recExchange != 0 {
		m.Exchange = vh.exchangeNamed(r.string())
	} else {
		m.Exchange = vh.topics
	}
	m.Topic = r.bytes()
	if flags&recProps != 0 {
		m.Priority, m.Props = r.byte(), r.bytes()
	}
	m.Topic, m.Payload, m.Props = m.copied(r.b)
	m.kept = m
	return m
}

// decodeEntry decodes the record of an entry of q. The payload of a shared
// body is not loaded: see shard.loadBody.
func (q *Queue) decodeEntry(ord uint64, v []byte) (entry, error) {
	r := reader{b: v}
	form, flags := r.byte(), r.byte()
	e := entry{ord: ord, tries: uint16(flags & recQoS)}
	if flags&(1<<2) != 0 {
		e.flags |= flagDurable
	}
	if flags&(1<<3) != 0 {
		e.flags |= flagRetained
	}
	if flags&(1<<4) != 0 {
		e.flags |= flagMoved
	}
	switch form {
	case formReceived:
		e.state = entryReceived
	case formInline:
		e.expires = int64(r.uint())
		e.msg = r.message(q.vh)
		e.size = uint32(len(e.msg.Payload))
	case formBody:
		e.expires = int64(r.uint())
		id, size := r.uint(), r.uint()
		e.msg = r.message(q.vh)
		e.msg.Payload = nil // see loadBody
		e.msg.body = &body{shard: q.sh, id: id}
		e.msg.body.uncounted.Store(true)
		e.flags |= flagBody
		e.size = uint32(size)
	default:
		r.fail()
	}
	if e.qos() > ExactlyOnce {
		r.fail()
	}
	if r.err != nil {
		return entry{}, fmt.Errorf("%w: form %d", r.err, form)
	}
	return e, nil
}

// A queueRecord is a session or a declared queue on disk.
type queueRecord struct {
	kind    QueueKind
	vhost   string
	name    string
	user    string
	expiry  int64
	endedAt int64
	limits  QueueLimits
	options *QueueOptions // of a declared queue; nil otherwise, and in format 1
}

func (q *queueRecord) append(b []byte) []byte {
	b = append(b, byte(q.kind), byte(q.limits.Overflow))
	b = appendBytes(b, q.vhost)
	b = appendBytes(b, q.name)
	b = appendBytes(b, q.user)
	for _, v := range [...]int64{q.expiry, q.endedAt, q.limits.MaxLength, q.limits.MaxBytes, q.limits.TTL} {
		b = binary.AppendUvarint(b, uint64(v))
	}
	if q.options != nil {
		b = q.options.append(b)
	}
	return b
}

// Flags of the options of a declared queue.
const (
	optAutoDelete = 1 << iota
	optSingleActive
	optQuorum
	optDeadLetter
	optDeadLetterKey
	optLane
)

func (o *QueueOptions) append(b []byte) []byte {
	flags := byte(0)
	for _, f := range [...]struct {
		on  bool
		bit byte
	}{
		{o.AutoDelete, optAutoDelete}, {o.SingleActive, optSingleActive}, {o.Quorum, optQuorum},
		{o.DeadLetter != nil, optDeadLetter}, {o.DeadLetter != nil && o.DeadLetter.HasKey, optDeadLetterKey},
		{o.lane > 0, optLane},
	} {
		if f.on {
			flags |= f.bit
		}
	}
	b = append(b, flags, o.MaxPriority)
	b = binary.AppendUvarint(b, uint64(o.Expires))
	b = binary.AppendVarint(b, int64(o.DeliveryLimit))
	if d := o.DeadLetter; d != nil {
		b = appendBytes(b, d.Exchange)
		b = appendBytes(b, d.Key)
	}
	b = appendBytes(b, o.Arguments)
	if o.lane > 0 {
		b = append(b, o.lane)
	}
	return b
}

func (r *reader) queueOptions(limits QueueLimits) *QueueOptions {
	flags := r.byte()
	o := &QueueOptions{
		Durable: true, Limits: limits, MaxPriority: r.byte(), Expires: int64(r.uint()), DeliveryLimit: int32(r.int()),
		AutoDelete: flags&optAutoDelete != 0, SingleActive: flags&optSingleActive != 0, Quorum: flags&optQuorum != 0,
	}
	if flags&optDeadLetter != 0 {
		o.DeadLetter = &DeadLetter{Exchange: r.string(), Key: r.string(), HasKey: flags&optDeadLetterKey != 0}
	}
	o.Arguments = bytes.Clone(r.bytes())
	if flags&optLane != 0 {
		o.lane = r.byte()
	}
	return o
}

func decodeQueueRecord(v []byte) (queueRecord, error) {
	r := reader{b: v}
	q := queueRecord{kind: QueueKind(r.byte()), limits: QueueLimits{Overflow: Overflow(r.byte())}}
	q.vhost, q.name, q.user = r.string(), r.string(), r.string()
	for _, p := range [...]*int64{&q.expiry, &q.endedAt, &q.limits.MaxLength, &q.limits.MaxBytes, &q.limits.TTL} {
		*p = int64(r.uint())
	}
	if len(r.b) > 0 {
		q.options = r.queueOptions(q.limits)
	}
	return q, r.err
}

// A bindingRecord is a binding or subscription on disk; exchange and pattern
// are in its key.
type bindingRecord struct {
	syntax Syntax
	qos    QoS
	// replay numbers the sending of retained messages that the subscription
	// began with, 0: there were none.
	replay uint64
	// exchange is the id of a declared one, so that a binding does not pass to
	// another by the same name; 0 for others.
	exchange  uint64
	arguments string
}

func (s *bindingRecord) append(b []byte) []byte {
	b = append(b, byte(s.syntax), byte(s.qos))
	b = binary.AppendUvarint(b, s.replay)
	if s.exchange == 0 && s.arguments == "" {
		return b
	}
	b = binary.AppendUvarint(b, s.exchange)
	return appendBytes(b, s.arguments)
}

func decodeBindingRecord(v []byte) (bindingRecord, error) {
	r := reader{b: v}
	s := bindingRecord{syntax: Syntax(r.byte()), qos: QoS(r.byte()), replay: r.uint()}
	if len(r.b) > 0 {
		s.exchange, s.arguments = r.uint(), r.string()
	}
	if s.qos > ExactlyOnce || s.syntax > SyntaxAMQP {
		r.fail()
	}
	return s, r.err
}

// A progressRecord says how far a replay has got. It has a key of its own and
// the number of the replay, so that a late one does no harm to a subscription
// that was removed or made anew meanwhile.
type progressRecord struct {
	replay uint64
	done   bool
	after  string
}

func (p *progressRecord) append(b []byte) []byte {
	b = binary.AppendUvarint(b, p.replay)
	if p.done {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return append(b, p.after...)
}

func decodeProgressRecord(v []byte) (progressRecord, error) {
	r := reader{b: v}
	p := progressRecord{replay: r.uint(), done: r.byte() == 1}
	p.after = string(r.b)
	return p, r.err
}

func progressKey(q uint64, filter string) []byte {
	return append(idKey(keyProgress, q), filter...)
}

// A willRecord is a will on disk, with who speaks by it.
type willRecord struct {
	vhost, name, user string
	msg               *Message
}

func (w *willRecord) append(b []byte) []byte {
	b = appendBytes(b, w.vhost)
	b = appendBytes(b, w.name)
	b = appendBytes(b, w.user)
	return appendMessage(b, w.msg)
}
