package amqp

import (
	"errors"
	"io"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A phase is how far a connection has come.
type phase uint8

const (
	awaitsProtocol phase = iota
	awaitsStartOK
	awaitsTuneOK
	awaitsOpen
	running
)

// errGoodbye is what connection.close returns: the end, without a cause.
var errGoodbye = errors.New("goodbye")

// A conn is one client's connection.
type conn struct {
	a        *Adapter
	tc       *transport.Conn
	listener *Listener

	// in-half: owned by Feed and Closed
	phase     phase
	spoke     bool // the client has sent something
	login     *login
	who       *core.Principal // nil before connection.open
	vh        *core.VHost
	name      string // by which operators know it; set with who
	opened    int64  // unix milliseconds
	detach    func() // from the list of clients
	client    capabilities
	frameMax  uint32
	heartbeat time.Duration
	most      int                 // channels at a time
	channels  map[uint16]*channel // changed under the out lock
	late      map[uint16]struct{} // channels that both have closed, and a close-ok is to come for
	last      *channel            // that a frame came for
	confirms  []*channel          // have publishes to confirm in this Feed
	blocked   bool                // the client has been told; changed under the out lock
	method    frame.Method
	scratch   []lent

	out waiting // for room in the outbox; guarded by the out lock
}

// capabilities are what the client says it understands.
type capabilities struct {
	name                 string
	authenticationClose  bool
	consumerCancelNotify bool
	connectionBlocked    bool
}

// maxReplies is the size of replies with which a Feed ends, so that a client that
// does not take them is asked for no more: a basic.get is much smaller than what it
// gets.
const maxReplies = 64 << 10

// Feed takes frames apart and acts on them. See transport.Handler.
func (c *conn) Feed(t *core.Turn, data []byte) (r transport.Result) {
	c.spoke = true
	if c.blocked && !c.alarmed() {
		c.setBlocked(false)
		c.tc.Out().AppendReply(t, frame.AppendConnectionUnblocked(nil))
	}
	for !t.Full() && len(*t.Replies()) < maxReplies {
		rest := data[r.Consumed:]
		if c.phase == awaitsProtocol {
			ok, more := frame.ReadProtocol(rest)
			if more {
				break
			}
			if !ok {
				return c.wrongProtocol(t, r)
			}
			r.Consumed += len(frame.Protocol)
			c.start(t)
			continue
		}
		h, more, err := frame.ReadHeader(rest)
		if more && err == nil {
			break
		}
		if err == nil {
			err = h.Check(c.frameMax)
		}
		if err != nil {
			return c.fail(t, r, h.Channel, err)
		}
		if len(rest) < h.Total() {
			r.Need, r.Whole = h.Total(), h.Total()
			break
		}
		payload, err := h.Payload(rest)
		var wait core.Wait
		if err == nil {
			wait, err = c.frame(t, h, payload)
		}
		if wait != nil {
			r.Wait = wait
			break
		}
		t.Stats.Of(core.ProtocolAMQP).PacketsIn++
		r.Consumed += h.Total()
		if err == nil {
			continue
		}
		if r = c.fail(t, r, h.Channel, err); r.End {
			return r
		}
	}
	c.confirm(t)
	return r
}

// frame acts on one frame.
func (c *conn) frame(t *core.Turn, h frame.Header, payload []byte) (core.Wait, error) {
	c.method = 0
	if h.Type == frame.FrameHeartbeat {
		return nil, nil
	}
	var m frame.Method
	var args []byte
	if h.Type == frame.FrameMethod {
		var err error
		if m, args, err = frame.ReadMethod(payload); err != nil {
			return nil, err
		}
		if !m.Known() {
			return nil, frame.ErrUnknownMethod
		}
		c.method = m
	}
	if c.phase != running || h.Channel == 0 {
		if h.Type != frame.FrameMethod {
			return nil, bare(frame.UnexpectedFrame, "expected method frame, got non method frame instead")
		}
		if h.Channel != 0 {
			return nil, hard(frame.ChannelError, "%v before connection.open", m)
		}
		wait, err := c.connection(t, m, args)
		return wait, undecoded(m, err)
	}
	ch := c.channel(h.Channel)
	if ch == nil {
		if m == frame.MethodChannelOpen {
			return nil, c.openChannel(t, h.Channel, args)
		}
		if _, late := c.late[h.Channel]; late && m == frame.MethodChannelCloseOK {
			delete(c.late, h.Channel)
			return nil, nil
		}
		return nil, hard(frame.ChannelError, "expected 'channel.open'")
	}
	if ch.closing {
		c.afterClose(t, ch, m)
		return nil, nil
	}
	if err := ch.content.expects(h.Type); err != nil {
		c.method = frame.MethodBasicPublish
		return nil, err
	}
	switch h.Type {
	case frame.FrameHeader:
		c.method = frame.MethodBasicPublish
		return ch.contentHeader(t, payload)
	case frame.FrameBody:
		return ch.contentBody(t, payload)
	}
	wait, err := ch.methodFrame(t, m, args)
	return wait, undecoded(m, err)
}

// channel finds an open channel, or one that waits for close-ok.
func (c *conn) channel(n uint16) *channel {
	if c.last != nil && c.last.n == n {
		return c.last
	}
	ch := c.channels[n]
	if ch != nil {
		c.last = ch
	}
	return ch
}

// fail answers what is wrong: with the end of the channel, or of the connection.
func (c *conn) fail(t *core.Turn, r transport.Result, channel uint16, err error) transport.Result {
	c.confirm(t)
	if errors.Is(err, errGoodbye) {
		r.End = true
		return r
	}
	f := failureOf(err)
	switch ch := c.channels[channel]; {
	case f.hard || ch == nil:
		r.End, r.Cause = true, err
		if f.code != 0 && c.phase > awaitsProtocol {
			if f.bare {
				c.method = 0
			}
			c.reply(t, frame.AppendConnectionClose(*t.Replies(), f.code, f.Error(), c.method))
		}
	default:
		c.closeChannel(t, ch, f)
	}
	return r
}

// reply takes what an encoder has appended to the replies.
func (c *conn) reply(t *core.Turn, b []byte) {
	*t.Replies() = b
	t.Stats.Of(core.ProtocolAMQP).PacketsOut++
}

func (c *conn) alarmed() bool { return c.a.bus.Alarmed() }

func (c *conn) setBlocked(on bool) {
	o := c.tc.Out()
	o.Lock()
	c.blocked = on
	o.Unlock()
}

// Beat sends a heartbeat. See transport.Beater.
func (c *conn) Beat(t *core.Turn) {
	c.tc.Out().AppendReply(t, heartbeat)
}

var heartbeat = frame.AppendHeartbeat(nil)

// Drained has who was refused asked again. See transport.Handler.
func (c *conn) Drained(t *core.Turn) {
	o := c.tc.Out()
	o.Lock()
	c.out.resume(t)
	o.Unlock()
}

// Quiet gives back memory that a busy connection needs. See transport.Handler.
func (c *conn) Quiet() {
	for _, ch := range c.channels {
		ch.quiet()
	}
}

// Closed ends the connection's channels. See transport.Handler.
func (c *conn) Closed(t *core.Turn, cause error) {
	c.lastWords(t, cause)
	if c.who == nil {
		c.closedEarly(t, cause)
		return
	}
	o := c.tc.Out()
	o.Lock()
	for _, ch := range c.channels {
		ch.out.over = true // what one gives back is not for the next
	}
	o.Unlock()
	for _, ch := range c.channels {
		ch.end(t)
	}
	c.vh.DeleteOwned(t, c.who)
	c.a.bus.CloseChannels(c.who, len(c.channels))
	c.a.bus.Leave(c.who)
	c.detach()
	t.Event(core.Disconnected{Identity: &c.who.Identity, Cause: cause, Duration: c.tc.Age()})
}

// closedEarly tells of a connection that ended before it had logged in, unless
// that has been told already or the client came and went without a word.
func (c *conn) closedEarly(t *core.Turn, cause error) {
	if c.login != nil && c.login.told || !c.spoke && errors.Is(cause, io.EOF) {
		return
	}
	id := core.Identity{Protocol: "amqp", Listener: c.listener.Address, Peer: c.tc.Peer()}
	if c.login != nil {
		id.User = c.login.user
	}
	t.Event(core.LoginRefused{Identity: &id, Cause: cause})
}
