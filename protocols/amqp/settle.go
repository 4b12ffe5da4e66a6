package amqp

import (
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
	list, ok := ch.out.takeLocked(c.scratch[:0], tag, multiple)
	if ok && ch.out.limit > 0 {
		c.out.resumeLocked(t)
	}
	o.Unlock()
	if !ok {
		return soft(frame.PreconditionFailed, "unknown delivery tag %d", tag)
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

// takeLocked takes the deliveries that an acknowledgement names. Tag 0 is all of
// them; any other must be one that is not acknowledged yet. (AMQP 1.8.3.13)
func (h *channelOut) takeLocked(to []lent, tag uint64, multiple bool) (list []lent, ok bool) {
	if tag == 0 && multiple {
		for i := range h.lent {
			if h.lent[i].from != nil {
				to = append(to, h.lent[i])
			}
		}
		h.first += uint64(len(h.lent))
		h.lent, h.outstanding = h.lent[:0], 0
		return to, true
	}
	i := h.indexLocked(tag)
	if i < 0 {
		return nil, false
	}
	from := i
	if multiple {
		from = 0
	}
	for ; from <= i; from++ {
		if l := &h.lent[from]; l.from != nil {
			to = append(to, *l)
			*l = lent{}
			h.outstanding--
		}
	}
	h.trimLocked()
	return to, true
}

// indexLocked finds a delivery that is not acknowledged, -1 if there is none.
func (h *channelOut) indexLocked(tag uint64) int {
	if tag < h.first || tag >= h.first+uint64(len(h.lent)) {
		return -1
	}
	i := int(tag - h.first)
	if l := &h.lent[i]; l.from == nil || l.tx {
		return -1
	}
	return i
}

// trimLocked forgets what is acknowledged at the front.
func (h *channelOut) trimLocked() {
	n := 0
	for n < len(h.lent) && h.lent[n].from == nil {
		n++
	}
	if n == 0 {
		return
	}
	h.first += uint64(n)
	switch {
	case n == len(h.lent):
		h.lent = h.lent[:0]
		if cap(h.lent) > 4096 {
			h.lent = nil
		}
	case n < 64 && n < len(h.lent)/2:
		h.lent = h.lent[n:] // the front is garbage until the next growth
	default:
		h.lent = h.lent[:copy(h.lent, h.lent[n:])]
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
	ch.c.out.resumeLocked(t)
	o.Unlock()
	if m == frame.MethodBasicRecover {
		ch.reply(t, frame.AppendBasicRecoverOK(ch.ready(t), ch.n))
	}
	t.After(func(t *core.Turn) { settleAll(t, list, core.Released) }) // behind the answer
	return nil
}
