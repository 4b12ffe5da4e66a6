package core

import "sync"

// entryState tells where an entry is on its way out of the queue.
type entryState uint8

const (
	entryReady    entryState = iota // waits for a consumer
	entrySent                       // lent to a consumer
	entryReceived                   // QoS 2 after PUBREC: never requeued, expired or dropped
	entryDying                      // on its way to being dead-lettered: nobody can have it
	entryLeaving                    // on its way to another queue: in place until that is on disk
	entryGone                       // settled; a hole until the ring moves on
)

const (
	// flagPending: not to be shown before its commit is done.
	flagPending uint8 = 1 << iota
	// flagStored: its record is on disk and visible, so the message may leave
	// memory.
	flagStored
	// flagDurable: counted in the queue's record; survives a restart.
	flagDurable
	// flagRedelivered: was with a consumer before.
	flagRedelivered
	// flagRetained: a retained message sent because of a new subscription.
	flagRetained
	// flagSpilling: a transient entry on its way to disk.
	flagSpilling
	// flagBody: the record refers to a payload stored apart.
	flagBody
	// flagMoved: came from a group or named queue, for this session alone.
	flagMoved
)

// An entry is one message in one queue. Its ordinal is its place for ever: a
// message that comes back takes the place it had.
type entry struct {
	ord     uint64
	msg     *Message  // nil: on disk, or no longer needed
	cons    *Consumer // who has it, while sent or received
	expires int64     // unix milliseconds, 0: never
	size    uint32    // bytes of payload, for the counters
	state   entryState
	flags   uint8
	tries   uint16 // the QoS in the lowest bits, and failures above
}

const qosBits = 2

func (e *entry) qos() QoS { return QoS(e.tries & (1<<qosBits - 1)) }

// failures is how many deliveries have failed, as far as it goes.
func (e *entry) failures() int { return int(e.tries >> qosBits) }

func (e *entry) setFailures(n int) { e.tries = uint16(min(n, maxFailures))<<qosBits | uint16(e.qos()) }

const maxFailures = 1<<(16-qosBits) - 1

// ring is a deque of entries in the order of their ordinals. Ordinals may have
// gaps, but are dense as a rule, so that finding one is an index plus a
// correction. The buffer goes back to a pool when the ring is empty: an idle
// queue has none.
type ring struct {
	buf  []entry     // length is a power of two, or 0
	box  *ringBuffer // where buf is from, if from a pool
	head int         // index of the first entry
	n    int
	gone int // holes among the n
}

// ringBuffers are pools of buffers of 16, 64, 256 and 1024 entries. Pooled
// buffers are all zero: an entry is cleared when it leaves.
var ringBuffers [4]sync.Pool

type ringBuffer struct {
	class int
	b     []entry
}

const (
	smallRing = 16
	ringStep  = 4 // each class, and each growth, by this factor
)

func (r *ring) at(i int) *entry { return &r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *ring) push(e entry) *entry {
	if r.n == len(r.buf) {
		r.grow()
	}
	p := r.at(r.n)
	*p = e
	r.n++
	return p
}

func (r *ring) grow() {
	if len(r.buf) == 0 {
		r.take(smallRing)
		return
	}
	r.resize(ringStep * len(r.buf))
}

// take gets an empty buffer.
func (r *ring) take(size int) {
	r.head, r.box = 0, nil
	class, n := 0, smallRing
	for n < size {
		class++
		n *= ringStep
	}
	if class >= len(ringBuffers) {
		r.buf = make([]entry, n)
		return
	}
	box, ok := ringBuffers[class].Get().(*ringBuffer)
	if !ok {
		box = &ringBuffer{class, make([]entry, n)}
	}
	r.box, r.buf = box, box.b
}

func (r *ring) resize(size int) {
	old := *r
	r.take(size)
	for i := 0; i < old.n; i++ {
		p := old.at(i)
		r.buf[i] = *p
		*p = entry{}
	}
	old.free()
}

// free gives the buffer back; every entry in it is zero.
func (r *ring) free() {
	if r.box != nil {
		ringBuffers[r.box.class].Put(r.box)
	}
	r.buf, r.box, r.head = nil, nil, 0
}

// pop removes the first entry.
func (r *ring) pop() {
	p := r.at(0)
	if p.state == entryGone {
		r.gone--
	}
	*p = entry{}
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.n--
	if r.n == 0 {
		r.free()
	} else {
		r.shrink()
	}
}

// shrink gives back most of a large buffer that is nearly empty.
func (r *ring) shrink() {
	if len(r.buf) >= 1024 && r.n < len(r.buf)/(2*ringStep) {
		r.resize(len(r.buf) / ringStep)
	}
}

// truncate keeps the first n entries.
func (r *ring) truncate(n int) {
	for i := n; i < r.n; i++ {
		p := r.at(i)
		if p.state == entryGone {
			r.gone--
		}
		*p = entry{}
	}
	r.n = n
	if n == 0 {
		r.free()
	}
}

// index returns the position of the first entry whose ordinal is not below
// ord, which is n when there is none.
func (r *ring) index(ord uint64) int {
	if r.n == 0 || ord <= r.at(0).ord {
		return 0
	}
	// Gaps only shift entries to the left of where a dense ring has them.
	hi := r.n
	if d := ord - r.at(0).ord; d < uint64(r.n) {
		if r.at(int(d)).ord == ord {
			return int(d)
		}
		hi = int(d)
	}
	lo := 0
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if r.at(mid).ord < ord {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// find returns the entry with this ordinal, or nil.
func (r *ring) find(ord uint64) *entry {
	i := r.index(ord)
	if i < r.n && r.at(i).ord == ord {
		return r.at(i)
	}
	return nil
}

// markGone makes a hole, drops the holes at the front and, where holes are the
// majority, closes them all.
func (r *ring) markGone(e *entry) {
	e.state, e.msg, e.cons = entryGone, nil, nil
	r.gone++
	for r.n > 0 && r.at(0).state == entryGone {
		r.pop()
	}
	if r.gone > 64 && r.gone > r.n/2 {
		r.compact()
	}
}

func (r *ring) compact() {
	j := 0
	for i := 0; i < r.n; i++ {
		if p := r.at(i); p.state != entryGone {
			if i != j {
				*r.at(j) = *p
			}
			j++
		}
	}
	for i := j; i < r.n; i++ {
		*r.at(i) = entry{}
	}
	r.n, r.gone = j, 0
	if j == 0 {
		r.free()
	} else {
		r.shrink()
	}
}
