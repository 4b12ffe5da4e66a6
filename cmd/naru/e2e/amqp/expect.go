package amqp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

// expect does a step that waits for something.
func (p *performance) expect(c *conn, st *Step) error {
	switch st.Op {
	case "<":
		return p.receive(c, st.Channel, st.Command)
	case "< bytes":
		return p.expectBytes(c, st.Bytes)
	case "< close":
		return p.closed(c, st.Wait)
	case "< end":
		return p.ended(c, st.Wait)
	case "< heartbeat":
		return p.heartbeat(c)
	case "< channel-error", "< connection-error":
		return p.failed(c, st)
	case "confirms":
		return p.confirms(c, st)
	}
	return fmt.Errorf("nobody does %q", st.Op)
}

func (p *performance) expectBytes(c *conn, want []byte) error {
	var got []byte
	err := c.await(p.deadline(), func(ended bool) (bool, error) {
		got = bytes.Clone(c.mu.raw[:min(len(want), len(c.mu.raw))])
		if len(got) < len(want) && !ended {
			return false, nil
		}
		c.mu.raw = c.mu.raw[len(got):]
		return true, nil
	})
	if err != nil || !bytes.Equal(got, want) {
		return fmt.Errorf("received %x, want %x (%v)", got, want, err)
	}
	return nil
}

// ended waits for the end of a connection, whatever is said before it.
func (p *performance) ended(c *conn, notBefore time.Duration) error {
	sent := c.sent
	err := c.await(p.deadline().Add(notBefore), func(ended bool) (bool, error) {
		if err := c.parseLocked(false); err != nil {
			return false, err
		}
		for _, f := range c.mu.frames { // who says goodbye waits for ours
			if cmd, err := parseMethod(f.Payload); err == nil && cmd.Method.Name == "connection.close" {
				ended = true
			}
		}
		c.mu.frames = nil
		return ended, nil
	})
	if err != nil {
		return errors.New("the connection stays open")
	}
	if after := time.Since(sent); after < notBefore {
		return fmt.Errorf("ended after %v already", after.Round(time.Millisecond))
	}
	c.end()
	return nil
}

// heartbeat waits for a heartbeat, with nothing else before it.
func (p *performance) heartbeat(c *conn) error {
	return c.await(p.deadline(), func(bool) (bool, error) {
		if err := c.parseLocked(true); err != nil || len(c.mu.frames) == 0 {
			return false, err
		}
		f := c.mu.frames[0]
		if f.Type != frameHeartbeat || f.Channel != 0 || len(f.Payload) != 0 {
			return false, fmt.Errorf("received a frame of type %d on channel %d with %x", f.Type, f.Channel, f.Payload)
		}
		c.mu.frames = c.mu.frames[1:]
		return true, nil
	})
}

// failed expects the broker to close a channel or the connection, and agrees.
func (p *performance) failed(c *conn, st *Step) error {
	class := "channel"
	if st.Op == "< connection-error" {
		class = "connection"
	}
	want := cmd(class+".close", "reply-code", integer(st.Code), "reply-text", st.Reason,
		"class-id", integer(int(st.Method>>16)), "method-id", integer(int(st.Method&0xffff)))
	if st.Method == anyMethod {
		want.Args["class-id"], want.Args["method-id"] = Value{Kind: '_'}, Value{Kind: '_'}
	}
	if err := p.receive(c, st.Channel, want); err != nil {
		return err
	}
	if err := c.send(cmd(class+".close-ok"), st.Channel, p.Patience); err != nil || class == "channel" {
		return err
	}
	return p.closed(c, 0)
}

// confirms takes acks and nacks, in any order and alone or together, until all
// that are wanted have come.
func (p *performance) confirms(c *conn, st *Step) error {
	all := slices.Concat(st.Tags, st.Nacks)
	open := slices.Clone(all)
	for len(open) > 0 {
		got, err := c.next(st.Channel, p.deadline())
		if err != nil {
			return fmt.Errorf("%w; still to come are %v", err, open)
		}
		ack := got.Method.Name == "basic.ack"
		if !ack && got.Method.Name != "basic.nack" {
			return errors.New("received " + got.String())
		}
		tag, multiple := uint64(got.Args["delivery-tag"].Num), got.Args["multiple"].Num != 0
		named := false
		for _, n := range slices.Clone(open) {
			if n != tag && (!multiple || n > tag) {
				continue
			}
			named = true
			open = slices.DeleteFunc(open, func(o uint64) bool { return o == n })
			if want := slices.Contains(st.Tags, n); want != ack {
				return fmt.Errorf("received %s", got)
			}
		}
		if !named {
			return fmt.Errorf("received %s, still to come are %v", got, open)
		}
	}
	return nil
}
