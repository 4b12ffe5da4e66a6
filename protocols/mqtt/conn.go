package mqtt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// errGoodbye is what DISCONNECT returns: the end, without a cause.
var errGoodbye = errors.New("goodbye")

var pingresp = packet.AppendPingresp(nil)

// A conn is one client's connection.
type conn struct {
	a        *Adapter
	tc       *transport.Conn
	listener *Listener

	// in-half: owned by Feed and Closed
	level    byte // protocol level, 0 before CONNECT
	login    *login
	who      *core.Principal
	pub      core.Publisher
	session  *core.Session // set once; read by the out-half after the start
	running  bool          // the session has started, as far as Feed has seen
	spoke    bool          // the client has sent something
	large    *large        // the PUBLISH that is arriving, if it is a large one
	gathered *refusals     // to be told; nil until there is one
	asking   *[]byte       // return codes of the SUBSCRIBE that waits in the middle

	// start orders what runs when CONNACK has left against the end of the
	// connection, which may come first.
	start struct {
		sync.Mutex
		begun, over bool
		done        chan struct{} // closed when begun; nil until somebody waits
	}

	out outHalf // guarded by the out lock
}

// Feed parses packets and acts on them. See transport.Handler.
func (c *conn) Feed(t *core.Turn, data []byte) (r transport.Result) {
	c.spoke = true
	for !t.Full() {
		rest := data[r.Consumed:]
		h, more, err := packet.ReadHeader(rest)
		if more {
			break
		}
		if err != nil {
			err = malformed(h.Type, err)
		} else {
			err = c.expect(h)
		}
		if err != nil {
			if what := stranger(rest); c.level == 0 && what != "" {
				err = fmt.Errorf("%w: this is %s", core.ErrProtocol, what)
			}
			return c.end(r, err)
		}
		if !c.running && c.level != 0 {
			if c.running = c.isStarted(); !c.running {
				r.Wait = c.waitForStart()
				return r
			}
		}
		total := h.Total()
		if len(rest) < total {
			c.await(t, h, rest, &r)
			break
		}
		t.Stats.Of(core.ProtocolMQTT).PacketsIn++
		wait, err := c.handle(t, h, rest[h.Size:total])
		if wait != nil {
			r.Wait = wait
			return r
		}
		r.Consumed += total
		if err != nil {
			return c.end(r, err)
		}
		if h.Type == packet.CONNECT {
			break // what follows waits until the session has started
		}
	}
	return r
}

// end turns an error into the end of the connection.
func (c *conn) end(r transport.Result, err error) transport.Result {
	r.End = true
	if !errors.Is(err, errGoodbye) {
		r.Cause = err
	}
	return r
}

// expect says whether a packet with this header may come now.
func (c *conn) expect(h packet.Header) error {
	if err := h.Check(c.level); err != nil {
		return fmt.Errorf("%w: %v: %w", core.ErrProtocol, h.Type, err)
	}
	switch {
	case (h.Type == packet.CONNECT) != (c.level == 0):
		if c.level == 0 { // [MQTT-3.1.0-1]
			return fmt.Errorf("%w: %v before CONNECT", core.ErrProtocol, h.Type)
		}
		return fmt.Errorf("%w: second CONNECT", core.ErrProtocol) // [MQTT-3.1.0-2]
	case h.Total() > c.a.conf().MaxPacketSize:
		return fmt.Errorf("%w: %v of %d bytes, limit %d", core.ErrTooLarge, h.Type, h.Total(), c.a.conf().MaxPacketSize)
	}
	return nil
}

func (c *conn) handle(t *core.Turn, h packet.Header, body []byte) (core.Wait, error) {
	switch h.Type {
	case packet.PUBLISH:
		return c.publish(t, h.Flags, body)
	case packet.PUBACK, packet.PUBREC, packet.PUBCOMP:
		return nil, c.acknowledged(t, h.Type, body)
	case packet.PUBREL:
		return nil, c.released(t, body)
	case packet.SUBSCRIBE:
		return c.subscribe(t, body)
	case packet.UNSUBSCRIBE:
		return nil, c.unsubscribe(t, body)
	case packet.CONNECT:
		return c.connect(t, body)
	case packet.PINGREQ:
		if len(body) != 0 {
			return nil, malformed(h.Type, packet.ErrLong)
		}
		// [MQTT-3.12.4-1] A disk that stalls is no reason for the client to give
		// the connection up.
		if c.tc.Gate().Stalled(t) {
			t.Stats.Of(core.ProtocolMQTT).PacketsOut++
			c.tc.Out().AppendReply(t, pingresp)
		} else {
			c.reply(t, packet.AppendPingresp)
		}
		return nil, nil
	case packet.DISCONNECT:
		if len(body) != 0 {
			return nil, malformed(h.Type, packet.ErrLong)
		}
		return nil, errGoodbye
	}
	return nil, fmt.Errorf("%w: %v is for servers to send", core.ErrProtocol, h.Type)
}

// stranger says who has come to the wrong port, for the log. No MQTT begins so.
func stranger(first []byte) string {
	for _, s := range [...]struct{ begins, is string }{
		{"\x16\x03", "TLS, and the listener has none"}, {"AMQP", "AMQP"}, {"GET ", "HTTP"}, {"POST", "HTTP"},
	} {
		if bytes.HasPrefix(first, []byte(s.begins)) {
			return s.is
		}
	}
	return ""
}

func malformed(t packet.Type, err error) error {
	return fmt.Errorf("%w: %v: %w", core.ErrProtocol, t, err)
}

// reply appends an encoded packet to the replies of the turn.
func (c *conn) reply(t *core.Turn, encode func([]byte) []byte) {
	t.Stats.Of(core.ProtocolMQTT).PacketsOut++
	b := t.Replies()
	*b = encode(*b)
}

func (c *conn) replyID(t *core.Turn, typ packet.Type, id uint16) {
	t.Stats.Of(core.ProtocolMQTT).PacketsOut++
	b := t.Replies()
	*b = packet.AppendID(*b, typ, id)
}

// isStarted says whether CONNACK has left.
func (c *conn) isStarted() bool {
	c.start.Lock()
	defer c.start.Unlock()
	return c.start.begun
}

// waitForStart returns a Wait for CONNACK to leave.
func (c *conn) waitForStart() core.Wait {
	c.start.Lock()
	if c.start.done == nil {
		c.start.done = make(chan struct{})
		if c.start.begun {
			close(c.start.done)
		}
	}
	done := c.start.done
	c.start.Unlock()
	return func(ctx context.Context) {
		select {
		case <-done:
		case <-ctx.Done():
		}
	}
}

// begin runs when CONNACK has left: deliveries may follow it.
func (c *conn) begin(t *core.Turn) {
	c.start.Lock()
	defer c.start.Unlock()
	if c.start.over {
		return
	}
	c.start.begun = true
	if c.start.done != nil {
		close(c.start.done)
	}
	c.session.Start(t, c, c.a.conf().MaxInflight, c.a.ids.own)
}

// Quiet gives back memory that a busy connection needs.
func (c *conn) Quiet() {
	c.pub.Forget()
}

// Closed ends the session's connection.
func (c *conn) Closed(t *core.Turn, cause error) {
	c.start.Lock()
	c.start.over = true
	c.start.Unlock()
	if c.session == nil {
		c.closedEarly(t, cause)
		return
	}
	c.large.abort(t)
	c.tellRefusals(t)
	c.session.Close(t, cause == nil)
	c.a.left()
	c.a.bus.Leave(c.who)
	t.Event(core.Disconnected{Identity: &c.who.Identity, Cause: cause, Duration: c.tc.Age()})
}

// closedEarly tells of a connection that ended before it had logged in, unless
// a refusal has been told already or the client came and went without a word.
func (c *conn) closedEarly(t *core.Turn, cause error) {
	if c.login != nil && c.login.told || !c.spoke && errors.Is(cause, io.EOF) {
		return
	}
	id := core.Identity{Protocol: "mqtt", Listener: c.listener.Address, Peer: c.tc.Peer()}
	t.Event(core.LoginRefused{Identity: &id, Cause: cause})
}
