package amqp

import (
	"cmp"
	"slices"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// settle handles basic.ack, nack and reject.
func (ch *channel) settle(t *core.Turn, tag uint64, multiple bool, outcome core.Outcome) error {
	c := ch.c
	o := c.tc.Out()
	o.Lock()
	if ch.tx != nil {
		defer o.Unlock()
		return ch.settleLaterLocked(tag, multiple, outcome)
	}
	list, err := ch.out.takeLocked(c.scratch[:0], tag, multiple)
	ch.out.resumeLocked(t)
	o.Unlock()
	if err != nil {
		return err
	}
	settleAll(t, list, outcome)
	clear(list)
	c.scratch = list[:0]
	if cap(c.scratch) > 4096 {
		c.scratch = nil
	}
	return nil
}

// settleAll settles what has been taken. What is not found any more went with its
// queue.
func settleAll(t *core.Turn, list []lent, outcome core.Outcome) {
	for _, l := range list {
		l.from.Settle(t, l.ord, core.AtLeastOnce, outcome)
	}
}

// takeLocked takes the deliveries that an acknowledgement names.
func (h *channelOut) takeLocked(list []lent, tag uint64, multiple bool) ([]lent, error) {
	named, err := h.namedLocked(tag, multiple)
	if err != nil {
		return nil, err
	}
	for i := range named {
		if l := &named[i]; l.open() {
			list = append(list, *l)
			h.settledLocked(l)
		}
	}
	h.trimLocked()
	return list, nil
}

// namedLocked finds the deliveries that an acknowledgement names, and among them
// some that are not open any more. Tag 0 is all there are; any other must be one
// that is open. (AMQP 1.8.3.13)
func (h *channelOut) namedLocked(tag uint64, multiple bool) ([]lent, error) {
	if tag == 0 && multiple {
		return h.lent, nil
	}
	i, ok := h.findLocked(tag)
	switch {
	case !ok || !h.lent[i].open():
		return nil, soft(frame.PreconditionFailed, "unknown delivery tag %d", tag)
	case multiple:
		return h.lent[:i+1], nil
	}
	return h.lent[i : i+1], nil
}

// findLocked finds a delivery, acknowledged or not.
func (h *channelOut) findLocked(tag uint64) (i int, ok bool) {
	return slices.BinarySearchFunc(h.lent, tag, func(l lent, tag uint64) int { return cmp.Compare(l.tag, tag) })
}

// open says that the delivery can still be acknowledged.
func (l *lent) open() bool { return l.from != nil && !l.tx }

// trimLocked forgets the holes at the front, and all of them where they are the
// majority.
func (h *channelOut) trimLocked() {
	n := 0
	for n < len(h.lent) && h.lent[n].from == nil {
		n++
	}
	switch {
	case n == len(h.lent):
		h.lent = h.lent[:0]
	case len(h.lent)-h.outstanding > max(64, h.outstanding):
		h.lent = slices.DeleteFunc(h.lent, func(l lent) bool { return l.from == nil })
	}
	if cap(h.lent) > 4096 && len(h.lent) < cap(h.lent)/8 {
		h.lent = slices.Clone(h.lent)
	}
}

// settledLocked makes a hole of a delivery.
func (h *channelOut) settledLocked(l *lent) {
	l.from, l.tx = nil, false
	h.outstanding--
	if l.got {
		h.got--
	}
}

// fullLocked says whether the consumers together have all they may. What basic.get
// took does not count.
func (h *channelOut) fullLocked() bool { return h.limit > 0 && h.outstanding-h.got >= h.limit }

// resumeLocked has those asked again who waited for less to be outstanding.
func (h *channelOut) resumeLocked(t *core.Turn) {
	if !h.fullLocked() {
		h.paused.resume(t)
	}
}

// recover handles basic.recover: what is not acknowledged goes back to its
// queues. (AMQP 1.8.3.16)
func (ch *channel) recover(t *core.Turn, m frame.Method, args []byte) error {
	var p frame.Recover
	if err := p.Decode(args); err != nil {
		return err
	}
	if !p.Requeue {
		return hard(frame.NotImplemented, "requeue=false")
	}
	o := ch.c.tc.Out()
	o.Lock()
	list, _ := ch.out.takeLocked(nil, 0, true)
	ch.out.resumeLocked(t)
	o.Unlock()
	if m == frame.MethodBasicRecover {
		ch.reply(t, frame.AppendBasicRecoverOK(ch.ready(t), ch.n))
	}
	t.After(func(t *core.Turn) { settleAll(t, list, core.Released) }) // behind the answer
	return nil
}
