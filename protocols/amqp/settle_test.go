package amqp

import (
	"testing"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// TestSettledIsForgotten: a channel keeps nothing of what is settled, whether or not
// something that came before it ever is.
func TestSettledIsForgotten(t *testing.T) {
	const n = 10_000
	each := func(p *peer) {
		for tag := uint64(2); tag <= n; tag++ {
			p.send(1, frame.MethodBasicAck, tag, false)
		}
	}
	for _, c := range []struct {
		name   string
		settle func(p *peer)
		open   int
	}{
		{"all but the first", each, 1},
		{"all but the first, in a transaction", func(p *peer) {
			p.send(1, frame.MethodTxSelect)
			p.want(1, frame.MethodTxSelectOK)
			each(p)
			p.send(1, frame.MethodTxCommit)
			p.want(1, frame.MethodTxCommitOK)
		}, 1},
		{"all at once", func(p *peer) { p.send(1, frame.MethodBasicAck, uint64(n), true) }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBox(t)
			p := b.connect()
			p.declare(1, "q", 0, nil)
			p.consume(1, "q", "c", 0)
			for range n {
				p.publish(1, "", "q", transient, "x")
				p.delivery(1)
			}
			c.settle(p)
			p.send(1, frame.MethodChannelFlow, true)
			p.want(1, frame.MethodChannelFlowOK) // behind all that was settled
			o := p.conn.tc.Out()
			o.Lock()
			defer o.Unlock()
			out := &p.conn.channels[1].out
			if out.outstanding != c.open || len(out.lent) > 100 || cap(out.lent) > n/2 {
				t.Errorf("%d are open, want %d; %d are kept, in room for %d", out.outstanding, c.open, len(out.lent), cap(out.lent))
			}
		})
	}
}

// TestCancelledIsForgotten: a channel keeps nothing of a consumer that has been
// cancelled, though it waited for others to acknowledge.
func TestCancelledIsForgotten(t *testing.T) {
	b := newBox(t)
	p := b.connect()
	p.declare(1, "q", 0, nil)
	p.publish(1, "", "q", transient, "1")
	p.publish(1, "", "q", transient, "2")
	p.send(1, frame.MethodBasicQos, uint32(0), uint16(1), true)
	p.want(1, frame.MethodBasicQosOK)
	p.consume(1, "q", "first", 0)
	p.delivery(1)
	for range 100 {
		p.consume(1, "q", "c", 0)
		p.send(1, frame.MethodBasicCancel, "c", false)
		p.want(1, frame.MethodBasicCancelOK)
	}
	o := p.conn.tc.Out()
	o.Lock()
	n := len(p.conn.channels[1].out.paused)
	o.Unlock()
	if n != 1 {
		t.Errorf("%d wait, want the one that is there", n)
	}
	p.send(1, frame.MethodBasicAck, uint64(1), false)
	if d, _, _ := p.delivery(1); d.consumer != "first" {
		t.Errorf("got %+v", d)
	}
}

// TestGoneQueueIsForgotten: a channel keeps nothing of a queue that was deleted
// before what had come from it was acknowledged, whether by basic.get or by a
// consumer that has been cancelled.
func TestGoneQueueIsForgotten(t *testing.T) {
	for _, args := range []props.Table{nil, props.AddInt64(nil, "x-max-priority", 3)} {
		b := newBox(t)
		p := b.connect()
		for tag := uint64(1); tag <= 400; tag += 2 {
			p.declare(1, "q", 0, args)
			p.publish(1, "", "q", transient, "1")
			p.publish(1, "", "q", transient, "2")
			p.send(1, frame.MethodBasicGet, uint16(0), "q", false)
			p.want(1, frame.MethodBasicGetOK)
			p.content(1)
			p.consume(1, "q", "c", 0)
			p.delivery(1)
			p.send(1, frame.MethodBasicCancel, "c", false)
			p.want(1, frame.MethodBasicCancelOK)
			p.send(1, frame.MethodQueueDelete, uint16(0), "q", bits(0))
			p.want(1, frame.MethodQueueDeleteOK)
			p.send(1, frame.MethodBasicAck, tag+1, true)
		}
		p.send(1, frame.MethodChannelFlow, true)
		p.want(1, frame.MethodChannelFlowOK)
		if ch := p.conn.channels[1]; len(ch.getters) > 100 || len(ch.stopped) > 2 {
			t.Errorf("%d that got and %d cancelled consumers are kept", len(ch.getters), len(ch.stopped))
		}
	}
}
