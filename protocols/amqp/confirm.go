package amqp

import (
	"sync/atomic"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// confirms are the publishes of a channel in confirm mode. They are numbered from
// 1, and confirmed in this order: the replies of a Feed leave when all it
// published is where it must be.
type confirms struct {
	on      bool   // changed under the out lock
	last    uint64 // number of the last publish
	from    uint64 // the first that is to be confirmed; 0: none is
	waiting bool   // on the list of the connection

	// What operators see, for which Feed says no more than once where it stands.
	answered atomic.Uint64 // number of the last publish that has its answer among the replies
	left     atomic.Uint64 // and of the last one whose answer has left: it is on disk
}

// unconfirmed is how many publishes wait for their confirm. Anybody may ask.
func (f *confirms) unconfirmed() int64 {
	left := f.left.Load() // first: it never passes the other
	return int64(f.answered.Load() - left)
}

// answer notes that every publish so far has its answer among the replies.
func (f *confirms) answer(t *core.Turn) {
	f.answered.Store(f.last)
	t.Mark(&f.left, f.last)
}

// confirmSelect handles confirm.select.
func (ch *channel) confirmSelect(t *core.Turn, m frame.Method, args []byte) error {
	if m != frame.MethodConfirmSelect {
		return hard(frame.CommandInvalid, "%v is for servers to send", m)
	}
	var p frame.ConfirmSelect
	if err := p.Decode(args); err != nil {
		return err
	}
	if ch.tx != nil {
		return soft(frame.PreconditionFailed, "cannot switch from tx to confirm mode")
	}
	o := ch.c.tc.Out()
	o.Lock()
	ch.confirms.on = true
	o.Unlock()
	if !p.NoWait {
		ch.reply(t, frame.AppendConfirmSelectOK(ch.ready(t), ch.n))
	}
	return nil
}

// taken notes that a publish is to be confirmed. Those of one Feed are confirmed
// together.
func (ch *channel) taken(t *core.Turn) {
	f := &ch.confirms
	if !f.on {
		return
	}
	f.last++
	if f.from == 0 {
		f.from = f.last
	}
	if !f.waiting {
		f.waiting = true
		ch.c.confirms = append(ch.c.confirms, ch)
	}
}

// refused says no to a publish.
func (ch *channel) refused(t *core.Turn) {
	if f := &ch.confirms; f.on {
		b := ch.ready(t)
		f.last++
		ch.reply(t, frame.AppendBasicNack(b, ch.n, f.last, false))
		f.answer(t)
	}
}

// confirmNow appends what is to be confirmed to the replies.
func (ch *channel) confirmNow(t *core.Turn) {
	f := &ch.confirms
	if f.from == 0 {
		return
	}
	ch.c.reply(t, frame.AppendBasicAck(*t.Replies(), ch.n, f.last, f.last > f.from))
	f.from = 0
	f.answer(t)
}

// confirm appends what the channels have to confirm.
func (c *conn) confirm(t *core.Turn) {
	for i, ch := range c.confirms {
		ch.confirms.waiting = false
		if !ch.closing {
			ch.confirmNow(t)
		}
		c.confirms[i] = nil
	}
	c.confirms = c.confirms[:0]
}
