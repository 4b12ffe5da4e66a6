package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// errClosed is what a user reads when the broker hangs up.
var errClosed = errors.New("the broker has closed the connection")

// read works off what the broker sends until the connection ends.
func (c *Conn) read() {
	defer close(c.done)
	for {
		h, body, err := c.readPacket()
		if err == nil {
			c.heard()
			err = c.packet(h, body)
		} else if errors.Is(err, io.EOF) {
			err = errClosed
		}
		if err == nil {
			continue
		}
		if c.leaving.Load() {
			c.conn.Close()
			return
		}
		c.fail(err)
		return
	}
}

// readPacket returns the next packet, whose body is ours to keep.
func (c *Conn) readPacket() (packet.Header, []byte, error) {
	for n := 2; ; n++ {
		b, err := c.r.Peek(n)
		if err != nil {
			return packet.Header{}, nil, err
		}
		h, more, err := packet.ReadHeader(b)
		if err != nil {
			return h, nil, err
		}
		if more {
			continue
		}
		_, _ = c.r.Discard(h.Size) // it was there a moment ago
		body, err := readBody(c.r, h.Length)
		return h, body, err
	}
}

// readBody takes no more memory than what really comes.
func readBody(r io.Reader, length int) ([]byte, error) {
	if length <= 64<<10 {
		body := make([]byte, length)
		_, err := io.ReadFull(r, body)
		return body, cutOff(err)
	}
	var b bytes.Buffer
	_, err := io.CopyN(&b, r, int64(length))
	return b.Bytes(), cutOff(err)
}

// cutOff keeps the end of the stream inside a packet apart from one between two.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the broker has closed the connection inside a packet")
	}
	return err
}

func (c *Conn) packet(h packet.Header, body []byte) error {
	switch h.Type {
	case packet.PUBLISH:
		return c.publish(h.Flags, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		id, err := packet.DecodeID(body)
		if err != nil {
			return fmt.Errorf("%v: %w", h.Type, err)
		}
		return c.answer(h.Type, id)
	case packet.SUBACK:
		if len(body) < 3 {
			return errors.New("malformed SUBACK")
		}
		select {
		case c.suback <- body[2:]:
			return nil
		default:
			return errors.New("a SUBACK that nobody waits for")
		}
	case packet.PINGRESP:
		c.mu.Lock()
		c.mu.pings = max(0, c.mu.pings-1)
		c.mu.Unlock()
		select {
		case c.pong <- struct{}{}:
		default:
		}
		return nil
	}
	return fmt.Errorf("the broker sends %v, which it must not", h.Type)
}

// answer works off the packets that are only an id.
func (c *Conn) answer(t packet.Type, id uint16) error {
	switch t {
	case packet.PUBACK:
		c.acknowledged(id, 1)
	case packet.PUBREC:
		return c.send(packet.AppendID(nil, packet.PUBREL, id))
	case packet.PUBCOMP:
		c.acknowledged(id, 2)
	case packet.PUBREL:
		delete(c.received.ids, id)
		err := c.send(packet.AppendID(nil, packet.PUBCOMP, id))
		c.finishIfDone()
		return err
	}
	return nil
}

// publish hands a message over and acknowledges it. Who is leaving, or has had
// enough, leaves messages to the session.
func (c *Conn) publish(flags byte, body []byte) error {
	var p packet.Publish
	if err := p.Decode(flags, body); err != nil {
		return fmt.Errorf("PUBLISH: %w", err)
	}
	if p.QoS > 2 {
		return fmt.Errorf("PUBLISH: %w", packet.ErrQoS)
	}
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	_, again := c.received.ids[p.ID]
	again = again && p.QoS == 2
	if !again {
		if c.leaving.Load() || c.enough || c.o.Handle == nil {
			return nil
		}
		err := c.o.Handle(&Message{
			Topic: string(p.Topic), Payload: p.Payload, QoS: p.QoS, Retain: p.Retain, ID: p.ID,
		})
		c.heard() // we have not listened since
		c.enough = errors.Is(err, ErrEnough)
		if err != nil && !c.enough {
			c.giveUp(err)
			return nil
		}
	}
	var err error
	switch p.QoS {
	case 1:
		err = c.send(packet.AppendID(nil, packet.PUBACK, p.ID))
	case 2:
		c.received.ids[p.ID] = struct{}{}
		err = c.send(packet.AppendID(nil, packet.PUBREC, p.ID))
	}
	if c.enough {
		time.AfterFunc(goodbyeTime, c.finish) // for a broker that never sends PUBREL
		c.finishIfDone()
	}
	return err
}

// giveUp says goodbye because a message could not be handled: it stays with the
// broker, and the will is not published. The broker then ends the connection.
func (c *Conn) giveUp(err error) {
	c.mu.Lock()
	if c.mu.err == nil {
		c.mu.err = err
	}
	c.mu.Unlock()
	c.leaving.Store(true)
	if c.send(packet.AppendHeader(nil, packet.DISCONNECT, 0, 0)) != nil {
		c.conn.Close()
	}
	time.AfterFunc(goodbyeTime, func() { c.conn.Close() })
}

func (c *Conn) finishIfDone() {
	if c.enough && len(c.received.ids) == 0 {
		c.finish()
	}
}
