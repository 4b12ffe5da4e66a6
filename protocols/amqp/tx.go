package amqp

import (
	"errors"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A transaction keeps what a channel has published and acknowledged until it is
// committed: then all of it is done in one turn, and is one batch on disk.
type transaction struct {
	publishes []txPublish
	settles   []txSettle
	bytes     int
}

type txPublish struct {
	core.Prepared
	mandatory bool
}

type txSettle struct {
	tag     uint64
	outcome core.Outcome
}

// What a transaction may hold.
const (
	maxTxPublishes = 65536
	maxTxBytes     = 256 << 20
	txOverhead     = 300 // of a message, beside what it carries
)

// publish adds a message. quota is the error of a queue that is full now; it is
// asked again at the end.
func (x *transaction) publish(p core.Prepared, mandatory bool, quota error) error {
	if quota != nil {
		return soft(frame.PreconditionFailed, "partial tx completion: %v", quota)
	}
	m := p.Message()
	size := len(m.Payload) + len(m.Props) + len(m.Topic) + txOverhead
	for _, key := range m.Keys {
		size += len(key)
	}
	if len(x.publishes) >= maxTxPublishes || x.bytes+size > maxTxBytes {
		return soft(frame.PreconditionFailed, "transaction of more than %d messages or %d bytes", maxTxPublishes, maxTxBytes)
	}
	x.publishes = append(x.publishes, txPublish{p, mandatory})
	x.bytes += size
	return nil
}

// settleLaterLocked notes an acknowledgement. The deliveries stay with the channel.
func (ch *channel) settleLaterLocked(tag uint64, multiple bool, outcome core.Outcome) error {
	named, err := ch.out.namedLocked(tag, multiple)
	if err != nil {
		return err
	}
	for i := range named {
		if l := &named[i]; l.open() {
			l.tx = true
			ch.tx.settles = append(ch.tx.settles, txSettle{l.tag, outcome})
		}
	}
	return nil
}

// txMethod handles the methods of class tx. (AMQP 1.9)
func (ch *channel) txMethod(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	if err := frame.DecodeEmpty(args); err != nil {
		return nil, err
	}
	switch m {
	case frame.MethodTxSelect:
		if ch.confirms.on {
			return nil, soft(frame.PreconditionFailed, "cannot switch from confirm to tx mode")
		}
		if ch.tx == nil {
			o := ch.c.tc.Out()
			o.Lock()
			ch.tx = &transaction{}
			o.Unlock()
		}
		ch.reply(t, frame.AppendTxSelectOK(ch.ready(t), ch.n))
		return nil, nil
	case frame.MethodTxCommit, frame.MethodTxRollback:
		if ch.tx == nil {
			return nil, soft(frame.PreconditionFailed, "channel is not transactional")
		}
		if m == frame.MethodTxCommit {
			return ch.commit(t)
		}
		ch.rollback()
		ch.reply(t, frame.AppendTxRollbackOK(ch.ready(t), ch.n))
		return nil, nil
	}
	return nil, hard(frame.CommandInvalid, "%v is for servers to send", m)
}

// commit does all that the transaction holds, or nothing of it.
func (ch *channel) commit(t *core.Turn) (core.Wait, error) {
	x := ch.tx
	for i := range x.publishes {
		wait, err := x.publishes[i].Refresh(t)
		if wait != nil {
			return ch.waitToPublish(t, wait), nil
		}
		if err != nil {
			if errors.Is(err, core.ErrQuota) {
				err = soft(frame.PreconditionFailed, "partial tx completion: %v", err)
			}
			return nil, err
		}
	}
	for i := range x.publishes {
		p := &x.publishes[i]
		p.Publish(t)
		if p.mandatory && !p.Message().Routed {
			ch.returned(t, p.Message())
		}
	}
	ch.settleTx(t)
	t.Promise() // settles included, which as a rule ride on later commits
	*x = transaction{}
	ch.reply(t, frame.AppendTxCommitOK(ch.ready(t), ch.n))
	return nil, nil
}

func (ch *channel) settleTx(t *core.Turn) {
	o := ch.c.tc.Out()
	list := make([]lent, 0, len(ch.tx.settles))
	o.Lock()
	for _, s := range ch.tx.settles {
		l := ch.out.inTxLocked(s.tag)
		list = append(list, *l)
		ch.out.settledLocked(l)
	}
	ch.out.trimLocked()
	ch.out.resumeLocked(t)
	o.Unlock()
	for i, l := range list {
		l.from.Settle(t, l.ord, core.AtLeastOnce, ch.tx.settles[i].outcome)
	}
}

// inTxLocked finds a delivery that a transaction has acknowledged.
func (h *channelOut) inTxLocked(tag uint64) *lent {
	i, _ := h.findLocked(tag)
	return &h.lent[i]
}

// rollback forgets what the transaction holds. What it has acknowledged is not
// acknowledged.
func (ch *channel) rollback() {
	o := ch.c.tc.Out()
	o.Lock()
	for _, s := range ch.tx.settles {
		ch.out.inTxLocked(s.tag).tx = false
	}
	o.Unlock()
	*ch.tx = transaction{}
}
