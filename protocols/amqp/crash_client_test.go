package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// crashRole says what a client does.
type crashRole uint8

const (
	confirmsRole  crashRole = iota // publishes with confirms
	transactsRole                  // publishes in transactions
	movesRole                      // consumes "tx" and publishes to "done", in transactions
	worksRole                      // consumes "work": acknowledges, rejects, gives back
	buriesRole                     // consumes "dead"
	prefersRole                    // consumes "prio"
	finishesRole                   // consumes "done"
	declaresRole                   // declares and deletes
)

// consumes is the queue that a client consumes, "" for none.
func (r crashRole) consumes() string {
	return [...]string{movesRole: "tx", worksRole: "work", buriesRole: "dead", prefersRole: "prio", finishesRole: "done", declaresRole: ""}[r]
}

// A crashClient is a client with one connection and one channel. Its fields belong
// to its goroutine while that runs.
type crashClient struct {
	w     *crashWorld
	role  crashRole
	r     *rand.Rand
	trace []string // the last frames, for the report

	pipeMu sync.Mutex
	pipe   *transport.Pipe // guarded by pipeMu for those who cut it; nil: not connected

	crashChannel
}

// A crashChannel is what a client forgets when its connection breaks.
type crashChannel struct {
	buf     []byte
	ready   bool        // consume-ok, select-ok or open-ok has come
	out     []*crashMsg // published with confirms, not confirmed, in order
	lastTag uint64      // of the last that was confirmed
	tx      *crashTx    // open
	asked   []*crashTx  // with tx.commit or tx.rollback, in order
	held    []crashHeld // deliveries that are not settled
	topo    *crashTopology
	steps   []topologyState // asked for, and not answered
	coming  *crashHeld      // a delivery whose content is to come
	size    uint64
	body    []byte
}

type crashHeld struct {
	tag uint64
	msg *crashMsg
}

// run does what a client does until the power is cut.
func (c *crashClient) run() {
	for !c.w.stop.Load() && !c.w.failed.Load() {
		if c.pipe == nil {
			c.connect()
			continue
		}
		if c.ready {
			c.act()
		}
		if c.pipe == nil {
			continue
		}
		c.receive(c.pipe.Receive())
		if c.pipe != nil && c.r.IntN(4) > 0 {
			c.pipe.Wait(time.Millisecond) // nothing to do unless something comes
		}
	}
}

// connect says all at once what it takes until the client can do its work.
func (c *crashClient) connect() {
	c.pipeMu.Lock()
	if !c.w.stop.Load() {
		c.pipe = c.w.box.pipe()
	}
	c.pipeMu.Unlock()
	if c.pipe == nil {
		return
	}
	b := appendHandshake(nil, nil)
	b = appendMethod(b, 1, frame.MethodChannelOpen, "")
	switch c.role {
	case confirmsRole:
		b = appendMethod(b, 1, frame.MethodConfirmSelect, false)
	case transactsRole, movesRole:
		b = appendMethod(b, 1, frame.MethodTxSelect)
	}
	if q := c.role.consumes(); q != "" {
		b = appendMethod(b, 1, frame.MethodBasicQos, uint32(0), uint16(1+c.r.IntN(20)), false)
		b = appendMethod(b, 1, frame.MethodBasicConsume, uint16(0), q, "c", bits(0), noTable)
	}
	c.pipe.Send(b)
}

// lost forgets what a client forgets when its connection breaks.
func (c *crashClient) lost() {
	c.w.note(func() {
		if c.tx != nil {
			c.tx.state = txRolledBack
		}
	})
	c.traced("-- lost")
	c.pipeMu.Lock()
	c.pipe = nil
	c.pipeMu.Unlock()
	c.crashChannel = crashChannel{}
}

func (c *crashClient) send(m frame.Method, args ...any) {
	c.traced("-> %v %v", m, args)
	c.pipe.Send(appendMethod(nil, 1, m, args...))
}

func (c *crashClient) traced(format string, args ...any) {
	if len(c.trace) > 60 {
		c.trace = append(c.trace[:0], c.trace[30:]...)
	}
	c.trace = append(c.trace, fmt.Sprintf(format, args...))
}

func (c *crashClient) act() {
	if c.r.IntN(150) == 0 {
		old := c.pipe
		c.lost()
		old.Hangup(errors.New("cut off"))
		return
	}
	switch c.role {
	case confirmsRole:
		if len(c.out) < 30 {
			c.publish(crashMsg{queue: []string{"work", "work", "prio"}[c.r.IntN(3)], fleeting: c.r.IntN(8) == 0})
		}
	case transactsRole:
		c.transact()
	case movesRole:
		c.move()
	case declaresRole:
		c.declare()
	default:
		if len(c.held) > 0 && c.r.IntN(3) > 0 {
			c.settle()
		}
	}
}

// publish sends a message.
func (c *crashClient) publish(m crashMsg) {
	m.size = c.r.IntN(60)
	switch n := c.r.IntN(100); {
	case n < 20:
		m.size = 200 + c.r.IntN(5000) // in several frames
	case n == 99:
		m.size = 300<<10 + c.r.IntN(300<<10) // stored apart
	}
	m.tx = c.tx
	msg := c.w.newMsg(m)
	if c.role == confirmsRole {
		c.out = append(c.out, msg)
	}
	c.write(msg, msg.queue)
}

func (c *crashClient) write(msg *crashMsg, queue string) {
	c.traced("-> publish %d to %s", msg.no, queue)
	p := props.Properties{Has: props.HasDeliveryMode | props.HasPriority, DeliveryMode: 2, Priority: uint8(msg.no % 5)}
	if msg.fleeting {
		p.DeliveryMode = 1
	}
	c.pipe.Send(appendPublish(nil, 1, "", queue, 0, props.AppendProperties(nil, &p), msg.body()))
}

// begin begins a transaction, if none is open.
func (c *crashClient) begin() {
	if c.tx == nil {
		c.tx = c.w.newTx()
	}
}

// end commits the transaction or rolls it back.
func (c *crashClient) end(commit bool) {
	x := c.tx
	c.tx = nil
	c.asked = append(c.asked, x)
	m := frame.MethodTxCommit
	c.w.note(func() {
		x.state = txSent
		if !commit {
			x.state = txRolledBack
			c.w.counts.rolledBack++
		}
	})
	if !commit {
		m = frame.MethodTxRollback
	}
	c.send(m)
}

func (c *crashClient) transact() {
	switch {
	case len(c.asked) > 3:
	case c.tx == nil || c.r.IntN(4) > 0:
		c.begin()
		c.publish(crashMsg{queue: []string{"tx", "tx", "prio"}[c.r.IntN(3)]})
	default:
		c.end(c.r.IntN(4) > 0)
	}
}

func (c *crashClient) move() {
	switch {
	case c.tx != nil && c.r.IntN(3) == 0:
		commit := c.r.IntN(4) > 0
		if !commit { // what is acknowledged in it stays with the channel
			for _, m := range c.tx.moves {
				c.w.note(func() { m.moves = slices.DeleteFunc(m.moves, func(x *crashTx) bool { return x == c.tx }) })
			}
			old := c.pipe
			c.end(false)
			c.lost() // so that it is delivered again
			old.Hangup(nil)
			return
		}
		c.end(true)
	case len(c.held) > 0 && c.r.IntN(2) == 0 && len(c.asked) < 3:
		c.begin()
		h := c.held[0]
		c.held = c.held[1:]
		x := c.tx
		c.w.note(func() {
			h.msg.moves = append(h.msg.moves, x)
			x.moves = append(x.moves, h.msg)
			c.w.counts.moved++
		})
		c.send(frame.MethodBasicAck, h.tag, false)
		c.write(h.msg, "done")
	}
}

// settle settles one delivery, or several at once.
func (c *crashClient) settle() {
	i := c.r.IntN(len(c.held))
	h := c.held[i]
	switch n := c.r.IntN(10); {
	case n < 2 && c.role == worksRole:
		c.w.note(func() {
			h.msg.rejected = true
			c.w.counts.buried++
		})
		c.send(frame.MethodBasicReject, h.tag, false)
	case n < 3:
		c.send(frame.MethodBasicNack, h.tag, bits(2)) // requeue
	case n < 4:
		c.w.note(func() {
			for _, h := range c.held[:i+1] {
				h.msg.acked = true
			}
		})
		c.send(frame.MethodBasicAck, h.tag, true)
		c.held = c.held[i+1:]
		return
	case n < 7:
		c.w.note(func() { h.msg.acked = true })
		c.send(frame.MethodBasicAck, h.tag, false)
	default:
		return
	}
	c.held = slices.Delete(c.held, i, i+1)
}

// declare makes an exchange, a queue and a binding, and takes them away again.
func (c *crashClient) declare() {
	if len(c.steps) > 2 || c.r.IntN(3) == 0 {
		return
	}
	if c.topo == nil || c.topo.asked == deletedExchange || c.r.IntN(4) == 0 {
		c.w.note(func() {
			n := fmt.Sprintf("%d-%d", c.r.Uint32(), len(c.w.topo))
			c.topo = &crashTopology{exchange: "x" + n, queue: "q" + n}
			c.w.topo = append(c.w.topo, c.topo)
		})
		c.steps = nil // answers to the former one count for nothing
		c.forgetAnswers()
		return
	}
	tp := c.topo
	var step topologyState
	c.w.note(func() {
		tp.asked++
		step = tp.asked
	})
	c.steps = append(c.steps, step)
	switch step {
	case hasExchange:
		c.send(frame.MethodExchangeDeclare, uint16(0), tp.exchange, "topic", bits(2), noTable)
	case hasQueue:
		c.send(frame.MethodQueueDeclare, uint16(0), tp.queue, bits(2), noTable)
	case hasBinding:
		c.send(frame.MethodQueueBind, uint16(0), tp.queue, tp.exchange, "a.*", false, noTable)
	case deletedQueue:
		c.send(frame.MethodQueueDelete, uint16(0), tp.queue, bits(0))
	case deletedExchange:
		c.send(frame.MethodExchangeDelete, uint16(0), tp.exchange, bits(0))
	}
}

// forgetAnswers waits for what is outstanding, so that the answers that come next
// are to what is asked next.
func (c *crashClient) forgetAnswers() {
	old := c.pipe
	tp := c.topo
	c.lost()
	c.topo = tp
	old.Hangup(nil)
}

// receive takes frames of the broker apart.
func (c *crashClient) receive(b []byte) {
	c.buf = append(c.buf, b...)
	for !c.w.failed.Load() {
		g, rest, ok, err := takeFrame(c.buf)
		if err != nil {
			c.w.errorf("role %d got % x: %v", c.role, c.buf, err)
			return
		}
		if !ok {
			break
		}
		c.traced("<- %.80v", g)
		if g.Type == frame.FrameMethod {
			c.w.ops.Add(1)
		}
		c.handle(g)
		c.buf = rest
	}
	if len(b) == 0 && c.pipe.Over() && !c.w.stop.Load() {
		c.w.errorf("role %d: the broker has closed the connection", c.role)
	}
}

func (c *crashClient) handle(g got) {
	switch {
	case g.Type == frame.FrameHeader:
		var h frame.Content
		if err := h.Decode(g.payload); err != nil || c.coming == nil {
			c.w.errorf("role %d got %v: %v", c.role, g, err)
			return
		}
		c.size, c.body = h.BodySize, nil
		return
	case g.Type == frame.FrameBody:
		if c.body = append(c.body, g.payload...); uint64(len(c.body)) == c.size {
			h := *c.coming
			c.coming = nil
			if h.msg = c.w.seen(c.role.consumes(), c.body); h.msg != nil {
				c.held = append(c.held, h)
			}
		}
		return
	}
	switch g.method {
	case frame.MethodConnectionStart, frame.MethodConnectionTune, frame.MethodConnectionOpenOK, frame.MethodBasicQosOK:
	case frame.MethodChannelOpenOK:
		c.ready = c.role == declaresRole
	case frame.MethodConfirmSelectOK, frame.MethodBasicConsumeOK:
		c.ready = true
	case frame.MethodTxSelectOK:
		c.ready = c.role == transactsRole
	case frame.MethodBasicDeliver:
		c.coming = &crashHeld{tag: decodeDeliver(g.payload).tag}
	case frame.MethodBasicAck:
		c.confirmed(binary.BigEndian.Uint64(g.payload), g.payload[8]&1 != 0)
	case frame.MethodTxCommitOK, frame.MethodTxRollbackOK:
		c.ended(g.method)
	case frame.MethodExchangeDeclareOK, frame.MethodQueueDeclareOK, frame.MethodQueueBindOK, frame.MethodQueueDeleteOK, frame.MethodExchangeDeleteOK:
		if len(c.steps) == 0 {
			c.w.errorf("role %d got %v, nothing was asked", c.role, g)
			return
		}
		c.w.note(func() { c.topo.told = c.steps[0] })
		c.steps = c.steps[1:]
	default:
		c.w.errorf("role %d got %v", c.role, g)
	}
}

// confirmed handles basic.ack.
func (c *crashClient) confirmed(tag uint64, multiple bool) {
	n := int(tag - c.lastTag)
	if n < 1 || n > len(c.out) || n > 1 && !multiple {
		c.w.errorf("confirm %d (multiple %v) after %d, with %d outstanding", tag, multiple, c.lastTag, len(c.out))
		return
	}
	c.w.note(func() {
		for _, m := range c.out[:n] {
			m.durable = m.durable || !m.fleeting
			c.w.counts.confirmed++
		}
	})
	c.out, c.lastTag = c.out[n:], tag
}

// ended handles the answer to tx.commit and tx.rollback.
func (c *crashClient) ended(m frame.Method) {
	if len(c.asked) == 0 {
		c.w.errorf("role %d got %v, nothing was asked", c.role, m)
		return
	}
	x := c.asked[0]
	c.asked = c.asked[1:]
	c.w.note(func() {
		if (x.state == txSent) != (m == frame.MethodTxCommitOK) {
			c.w.errorf("%v is the answer to transaction %v", m, x)
		}
		if x.state == txSent {
			x.state = txDone
			c.w.counts.committed++
			for _, msg := range x.publishes {
				msg.durable = true
			}
		}
	})
}
