package bench

import (
	"bytes"
	"encoding/binary"
	"time"
)

// A tally is what arrived in a whole run.
type tally struct {
	delivered int64 // each message once for each receiver
	repeated  int64
	late      int64 // after one that was sent later
	corrupt   int64 // not what was sent, or not to whom it was sent
	delay     latency
	confirm   latency // of what publishers are told
}

// A receiver judges what reaches one subscriber: which numbers of which flow,
// and whether topic and body are those that were sent.
type receiver struct {
	tally *tally
	flows []*flow    // those it must receive, by index from that of the first
	seen  []sequence // one for each
	first time.Duration
}

func newReceiver(t *tally, flows ...*flow) *receiver {
	return &receiver{tally: t, flows: flows, seen: make([]sequence, len(flows))}
}

func (r *receiver) deliver(topic, payload []byte, now time.Duration) {
	if len(payload) < headerSize {
		r.tally.corrupt++
		return
	}
	// An index below the first wraps around to a large one.
	at := binary.BigEndian.Uint32(payload) - r.flows[0].index
	if at >= uint32(len(r.flows)) {
		r.tally.corrupt++
		return
	}
	f := r.flows[at]
	n := binary.BigEndian.Uint64(payload[4:])
	if n >= f.next || string(topic) != f.key || !bytes.Equal(payload[headerSize:], f.body) {
		r.tally.corrupt++
		return
	}
	what, skipped := r.seen[at].see(n)
	switch what {
	case repeated:
		r.tally.repeated++
		return
	case late:
		r.tally.late++
	case fresh:
		// What was jumped over is given up for the credit of its flow, or a
		// lossy broker would bring it to a halt.
		for lost := max(skipped.from, f.head); lost < skipped.to; lost++ {
			f.arrived(lost, now)
		}
		f.arrived(n, now)
	}
	if r.first == 0 {
		r.first = now
	}
	r.tally.delivered++
	r.tally.delay.record(now - time.Duration(binary.BigEndian.Uint64(payload[12:])))
}

// lost is what has been sent and has not come.
func (r *receiver) lost() (n int64) {
	for i, f := range r.flows {
		n += int64(r.seen[i].missing(f.next))
	}
	return n
}
