package bench

import (
	"errors"
	"fmt"
	"io"
	"time"
)

// stage is how far a client has come.
type stage uint8

const (
	idle        stage = iota
	dialling          // waits for TCP
	greeted           // waits for CONNACK
	subscribing       // waits for SUBACK
	up                // through its handshake
	leaving           // has said DISCONNECT, waits for the broker to close
	closed
)

var (
	errSurprise = errors.New("unexpected packet")
	errAmnesia  = errors.New("the broker has forgotten the session")
)

// A client is one connection as a state machine: serve and take move it,
// its loop owns it. What it publishes and receives is the business of its
// flow and its receiver; it does the part of QoS 1 and 2 that only needs an
// answer.
type client struct {
	greeting greeting
	filter   string   // subscribed to on the way up, if not empty
	qos      byte     // of the subscription
	resumes  bool     // the broker must remember the session
	brief    bool     // leaves as soon as it is up
	amqp     *peer091 // nil: it speaks MQTT
	flow     *flow
	receiver *receiver

	loop    *loop
	slot    int
	sock    socket
	via     channel // what is read and written: sock, with layers on it
	stage   stage
	dialled time.Duration
	hello   time.Duration // when CONNECT was written
	rest    []byte        // the torn packet at the end of the last read
	out     []byte        // outbox
	touched bool          // is in loop.touched
	blocked bool          // the socket is full; wait until it is writable
}

// dial begins the connection.
func (c *client) dial(l *loop) error {
	to := l.to
	if c.amqp != nil {
		to = l.amqp
	}
	sock, err := dial(to, len(l.clients))
	if err != nil {
		return fmt.Errorf("client %s: %w", c.greeting.id, err)
	}
	c.loop, c.sock, c.slot, c.stage, c.dialled = l, sock, len(l.clients), dialling, l.now()
	l.clients = append(l.clients, c)
	l.moving++
	return l.poll.add(sock, c.slot, true)
}

// serve handles what the poller found.
func (c *client) serve(e event) {
	if c.stage == dialling {
		if err := c.sock.connected(); err != nil {
			c.fail(fmt.Errorf("connect: %w", err))
			return
		}
		if !e.writable {
			return
		}
		var err error
		if c.via, err = open(c.sock, c.loop.over); err != nil {
			c.fail(err)
			return
		}
		c.stage, c.hello = greeted, c.loop.now()
		if c.amqp == nil {
			c.out = c.greeting.append(c.out)
		} else {
			c.out = append(c.out, amqpProtocol...)
		}
		c.blocked = true // the poller waits for writability; flush ends that
	}
	if e.readable {
		c.read()
	}
	if e.writable && c.blocked && c.stage != closed {
		c.unblock()
	}
}

func (c *client) unblock() {
	c.blocked = false
	if err := c.loop.poll.modify(c.sock, c.slot, false); err != nil {
		c.fail(err)
		return
	}
	c.touch()
	if c.flow != nil {
		c.flow.wake()
	}
}

// read takes one bufferful. More would starve the others; the poller comes
// back to what is left, unless a layer holds it.
func (c *client) read() {
	for c.readOnce(); c.stage != closed && c.via.more(); {
		c.readOnce()
	}
}

func (c *client) readOnce() {
	buf := c.loop.buf
	torn := copy(buf, c.rest)
	n, err := c.via.read(buf[torn:])
	switch {
	case err == errAgain:
		return
	case err == nil && n == 0:
		err = io.EOF
		fallthrough
	case err != nil:
		c.fail(err)
		return
	}
	c.loop.in += int64(n)
	if c.amqp != nil {
		c.takeFrames(buf[:torn+n], c.loop.now())
		return
	}
	c.take(buf[:torn+n], c.loop.now())
}

// take handles every whole packet of b and keeps what is torn.
func (c *client) take(b []byte, now time.Duration) {
	for c.stage != closed {
		p, n, err := cut(b, len(c.loop.buf))
		if n == 0 && err == nil {
			break
		}
		if err == nil {
			err = c.handle(p, now)
		}
		if err != nil {
			c.fail(err)
			return
		}
		b = b[n:]
	}
	c.rest = append(c.rest[:0], b...)
}

func (c *client) handle(p packet, now time.Duration) error {
	if p.head&0xF0 == headPublish {
		return c.delivered(p, now)
	}
	switch p.head {
	case headPuback, headPubrec, headPubrel, headPubcomp:
		return c.acknowledged(p, now)
	case headPingresp:
		return nil
	case headConnack:
		return c.welcomed(p, now)
	case headSuback:
		return c.subscribed(p, now)
	}
	return fmt.Errorf("first byte %#x: %w", p.head, errSurprise)
}

// delivered hands a message to the receiver and answers for it. [MQTT-4.3.2,
// MQTT-4.3.3] A receiver counts a QoS 2 message when it first arrives: the
// identifier is not remembered until PUBREL, since without a reconnect the
// broker must not send it twice, and doing so shall show.
func (c *client) delivered(p packet, now time.Duration) error {
	if c.receiver == nil {
		return fmt.Errorf("PUBLISH: %w", errSurprise)
	}
	topic, payload, id, err := p.publish()
	if err != nil {
		return err
	}
	c.receiver.deliver(topic, payload, now)
	switch p.qos() {
	case 1:
		c.answer(headPuback, id)
	case 2:
		c.answer(headPubrec, id)
	}
	return nil
}

// acknowledged moves a handshake on, be it of a message sent or received.
func (c *client) acknowledged(p packet, now time.Duration) error {
	id, err := p.id()
	if err != nil {
		return err
	}
	if p.head == headPubrel {
		c.answer(headPubcomp, id)
		return nil
	}
	if c.flow == nil {
		return fmt.Errorf("acknowledgement %#x: %w", p.head, errSurprise)
	}
	if err := c.flow.acknowledge(p.head, id, now); err != nil {
		return err
	}
	if p.head == headPubrec {
		c.answer(headPubrel, id)
	}
	return nil
}

func (c *client) answer(head byte, id uint16) {
	c.out = appendAck(c.out, head, id)
	c.touch()
}

// ping keeps the connection alive.
func (c *client) ping() {
	if c.stage == up {
		c.out = append(c.out, headPingreq, 0)
		c.touch()
	}
}

// touch has the outbox written at the end of the turn.
func (c *client) touch() {
	if !c.touched {
		c.touched = true
		c.loop.touched = append(c.loop.touched, c)
	}
}

// flush writes the outbox, once. What the socket does not take waits until
// the poller says that it would.
func (c *client) flush() {
	if c.blocked || c.stage == closed || len(c.out) == 0 && (c.via == nil || !c.via.held()) {
		return
	}
	n, err := c.via.write(c.out)
	if err != nil && err != errAgain {
		c.fail(err)
		return
	}
	c.loop.out += int64(n)
	c.out = c.out[:copy(c.out, c.out[n:])]
	if len(c.out) > 0 || c.via.held() {
		c.blocked = true
		if err := c.loop.poll.modify(c.sock, c.slot, true); err != nil {
			c.fail(err)
		}
		return
	}
	if c.stage == leaving && c.amqp == nil {
		c.sock.finish()
	}
}

// leave says DISCONNECT; the socket is half-closed behind it, and the broker
// closes the rest. [MQTT-3.14.4] In AMQP the broker answers before.
func (c *client) leave() {
	if c.stage != up {
		c.close()
		return
	}
	c.stage = leaving
	c.loop.up--
	c.loop.moving++
	if c.amqp != nil {
		c.farewell()
		return
	}
	c.out = append(c.out, headDisconnect, 0)
	c.touch()
}

// fail ends the connection, and the run unless it was leaving anyway.
func (c *client) fail(err error) {
	was, l := c.stage, c.loop
	c.close()
	if was == closed || was == leaving {
		return
	}
	l.dropped++
	if l.failure == nil && !l.tolerant {
		l.failure = fmt.Errorf("client %s: %w", c.greeting.id, err)
	}
}

func (c *client) close() {
	if c.loop == nil || c.stage == closed {
		return
	}
	if c.stage == up {
		c.loop.up--
	} else {
		c.loop.moving--
	}
	c.stage = closed
	c.loop.clients[c.slot] = nil
	c.sock.close()
}
