package client

import (
	"context"
	"fmt"
	"time"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// Publish sends a message. At QoS 1 and 2 it waits for a place in the window, and
// returns when the message is sent: Flush waits for the acknowledgement.
func (c *Conn) Publish(ctx context.Context, topic string, payload []byte, qos byte, retain bool) error {
	if len(payload) > MaxPayload(topic) {
		return fmt.Errorf("a payload of %d bytes is more than MQTT can carry", len(payload))
	}
	var id uint16
	if qos > 0 {
		if err := c.take(ctx); err != nil {
			return err
		}
		id = c.newID(qos)
	}
	// A write that does not end, because the broker does not read, ends soon after
	// the context does. It has then cut a packet in two, and the connection with it.
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetWriteDeadline(time.Now().Add(goodbyeTime / 2)) })
	defer stop()
	b := packet.AppendPublishHead(nil, []byte(topic), len(payload), qos, retain, false, id)
	var err error
	if len(payload) < 64<<10 {
		err = c.send(append(b, payload...))
	} else {
		err = c.send(b, payload)
	}
	if err != nil {
		c.fail(err)
		<-c.done
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return c.ended()
	}
	return nil
}

// take waits for a place in the window.
func (c *Conn) take(ctx context.Context) error {
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-c.done:
		return c.ended()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *Conn) newID(qos byte) uint16 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		c.mu.lastID++
		if _, used := c.mu.waiting[c.mu.lastID]; !used && c.mu.lastID != 0 {
			c.mu.waiting[c.mu.lastID] = qos
			return c.mu.lastID
		}
	}
}

// acknowledged gives the place of a message back.
func (c *Conn) acknowledged(id uint16, qos byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.waiting[id] != qos {
		return
	}
	delete(c.mu.waiting, id)
	c.mu.acked++
	<-c.slots // a message that waits has a place
}

// Flush waits until everything that was published is acknowledged, and the broker
// has read what has no acknowledgement.
func (c *Conn) Flush(ctx context.Context) error {
	for range cap(c.slots) { // whoever has all places waits for nobody
		if err := c.take(ctx); err != nil {
			return err
		}
	}
	for range cap(c.slots) {
		<-c.slots
	}
	if err := c.ping(); err != nil {
		c.fail(err)
	}
	for {
		select {
		case <-c.pong:
		case <-c.done:
			return c.ended()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c.mu.Lock()
		answered := c.mu.pings == 0
		c.mu.Unlock()
		if answered {
			return nil
		}
	}
}

// Subscribe subscribes to all of the filters and returns the broker's answers: the
// QoS granted, or packet.SubscribeFailure.
func (c *Conn) Subscribe(ctx context.Context, filters []string, qos byte) ([]byte, error) {
	id := c.newID(packet.SubscribeFailure)
	defer c.forget(id)
	if err := c.send(appendSubscribe(nil, id, filters, qos)); err != nil {
		c.fail(err)
	}
	select {
	case codes := <-c.suback:
		if len(codes) != len(filters) {
			return nil, fmt.Errorf("%d answers to %d filters", len(codes), len(filters))
		}
		return codes, nil
	case <-c.done:
		return nil, c.ended()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (c *Conn) forget(id uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.waiting, id)
}
