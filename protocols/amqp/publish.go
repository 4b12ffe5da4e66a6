package amqp

import (
	"bytes"
	"errors"
	"strconv"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// content is a basic.publish whose content is arriving. Names and properties are
// copied, because they come in frames before the body; the body is not, if one
// frame has all of it.
type content struct {
	step      contentStep
	mandatory bool
	text      []byte // exchange, key and properties, one behind the other
	exchange  int    // length
	key       int    // length
	summary   props.Summary
	size      uint64
	body      []byte // so far, where it takes several frames
}

type contentStep uint8

const (
	noContent contentStep = iota
	wantsHeader
	wantsBody
)

// expects says whether a frame of this type may come now.
func (p *content) expects(t frame.Type) error {
	switch {
	case p.step == noContent && t != frame.FrameMethod:
		return bare(frame.UnexpectedFrame, "expected method frame, got non method frame instead")
	case p.step == wantsHeader && t != frame.FrameHeader:
		return hard(frame.UnexpectedFrame, "expected content header for class %d, got non content header frame instead", frame.ClassBasic)
	case p.step == wantsBody && t != frame.FrameBody:
		return hard(frame.UnexpectedFrame, "expected content body, got non content body frame instead")
	}
	return nil
}

func (p *content) exchangeName() []byte { return p.text[:p.exchange] }
func (p *content) routingKey() []byte   { return p.text[p.exchange : p.exchange+p.key] }
func (p *content) properties() []byte   { return p.text[p.exchange+p.key:] }

func (p *content) quiet() {
	if p.step == noContent {
		p.text, p.summary = nil, props.Summary{}
	}
}

// publish handles basic.publish; the content follows.
func (ch *channel) publish(args []byte) error {
	var p frame.Publish
	if err := p.Decode(args); err != nil {
		return err
	}
	if p.Immediate {
		return hard(frame.NotImplemented, "immediate=true")
	}
	m := &ch.content
	m.step, m.mandatory, m.exchange, m.key = wantsHeader, p.Mandatory, len(p.Exchange), len(p.RoutingKey)
	m.text = append(append(m.text[:0], p.Exchange...), p.RoutingKey...)
	return nil
}

// contentHeader handles a header frame. An empty body has no frame to come.
func (ch *channel) contentHeader(t *core.Turn, payload []byte) (core.Wait, error) {
	m := &ch.content
	var h frame.Content
	if err := h.Decode(payload); err != nil {
		return nil, err
	}
	if h.Class != frame.ClassBasic {
		return nil, hard(frame.UnexpectedFrame, "expected content header for class %d, got one for class %d instead", frame.ClassBasic, h.Class)
	}
	if h.BodySize > maxBody {
		return nil, hard(frame.FrameError, "content of %d bytes", h.BodySize)
	}
	if most := ch.c.a.conf().MaxMessageSize; h.BodySize > uint64(most) {
		return nil, soft(frame.PreconditionFailed, "message size %d is larger than configured max size %d", h.BodySize, most)
	}
	m.text = append(m.text[:m.exchange+m.key], h.Properties...)
	s, err := props.Scan(m.properties())
	if err != nil {
		return nil, err
	}
	m.summary, m.size = s, h.BodySize
	if h.BodySize > 0 {
		m.step = wantsBody
		return nil, nil
	}
	return ch.published(t, nil, false)
}

// contentBody handles a body frame. The last one may have to wait, and is then
// fed again.
func (ch *channel) contentBody(t *core.Turn, payload []byte) (core.Wait, error) {
	m := &ch.content
	have := uint64(len(m.body) + len(payload))
	switch {
	case uint64(len(m.body)) == m.size:
		return ch.published(t, m.body, true) // after a Wait
	case have > m.size:
		return nil, hard(frame.FrameError, "content of %d bytes where %d were announced", have, m.size)
	case have == m.size && len(m.body) == 0:
		return ch.published(t, payload, false)
	}
	if m.body == nil { // memory grows with what arrives
		m.body = make([]byte, 0, min(m.size, uint64(max(4*len(payload), 64<<10))))
	}
	if m.body = append(m.body, payload...); have < m.size {
		return nil, nil
	}
	return ch.published(t, m.body, true)
}

// published publishes what has arrived. owned says that the body will not be
// overwritten.
func (ch *channel) published(t *core.Turn, body []byte, owned bool) (core.Wait, error) {
	ch.c.method = frame.MethodBasicPublish
	m, err := ch.message(t, body, owned)
	if err != nil {
		return nil, err
	}
	if ch.tx != nil {
		return ch.publishLater(t, m)
	}
	wait, err := ch.pub.Publish(t, m)
	if wait != nil {
		return ch.waitToPublish(t, wait), nil
	}
	mandatory := ch.content.mandatory
	switch {
	case err == nil && mandatory && !m.Routed:
		ch.returned(t, m)
	case errors.Is(err, core.ErrQuota):
		ch.refused(t)
		ch.sent()
		return nil, nil
	case err != nil:
		return nil, ch.publishFailure(err)
	}
	ch.taken(t)
	ch.sent()
	return nil, nil
}

// sent forgets the content.
func (ch *channel) sent() {
	m := &ch.content
	m.step, m.body = noContent, nil
	if cap(m.text) > 4096 {
		m.text, m.summary = nil, props.Summary{} // which points into it
	}
}

func (ch *channel) publishFailure(err error) error {
	if !errors.Is(err, core.ErrNotAuthorized) {
		return err
	}
	name := string(ch.content.exchangeName())
	ok, _ := ch.c.a.bus.Allowed(ch.c.who, core.Right{
		Action: core.ActionWrite, Resource: core.ResourceExchange, Syntax: core.SyntaxAMQP, Address: ch.content.exchangeName(),
	})
	if x := ch.c.vh.Exchange(name); ok && x != nil && x.Options().Type == core.Topic {
		return ch.topicRefused(name, string(ch.content.routingKey()))
	}
	return ch.accessRefused(core.ActionWrite, core.ResourceExchange, name)
}

// waitToPublish tells the client that it is held back, if that is why it waits.
func (ch *channel) waitToPublish(t *core.Turn, wait core.Wait) core.Wait {
	c := ch.c
	if c.alarmed() && !c.blocked && c.client.connectionBlocked {
		c.setBlocked(true)
		c.tc.Out().AppendReply(t, frame.AppendConnectionBlocked(nil, c.blockedReason()))
	}
	return wait
}

func (c *conn) blockedReason() string {
	raised := c.a.bus.Alarms()
	switch {
	case raised["memory"] && raised["disk"]:
		return "low on memory & disk"
	case raised["disk"]:
		return "low on disk"
	}
	return "low on memory"
}

// message fills the turn's message. Where it is borrowed from is said with
// Message.Owned.
func (ch *channel) message(t *core.Turn, body []byte, owned bool) (*core.Message, error) {
	p := &ch.content
	x := ch.exchangeOf(p.exchangeName())
	switch {
	case x == nil:
		return nil, ch.noExchange(string(p.exchangeName()))
	case x.Options().Internal:
		return nil, soft(frame.AccessRefused, "cannot publish to internal exchange '%s' in vhost '%s'", p.exchangeName(), ch.c.vh.Name())
	}
	m := t.Message()
	m.Exchange, m.Topic, m.Payload, m.Syntax = x, p.routingKey(), body, core.SyntaxAMQP
	s := &p.summary
	if s.Persistent() {
		m.QoS, m.Persistent = core.AtLeastOnce, true
	}
	if s.Has == 0 {
		if owned {
			m.Topic, m.Owned = bytes.Clone(m.Topic), true
		}
		return m, nil
	}
	m.Props, m.Priority = p.properties(), s.Priority
	if err := ch.properties(t, m); err != nil {
		return nil, err
	}
	if owned {
		m.Topic, m.Props, m.Owned = bytes.Clone(m.Topic), bytes.Clone(m.Props), true
	}
	return m, nil
}

// exchangeOf finds an exchange, as a rule the one that was published to before.
func (ch *channel) exchangeOf(name []byte) *core.Exchange {
	if x := ch.exchange; x != nil && x.Name() == string(name) && !x.Gone() {
		return x
	}
	ch.exchange = ch.c.vh.Exchange(string(name))
	return ch.exchange
}

// properties looks at those that mean something to the broker.
func (ch *channel) properties(t *core.Turn, m *core.Message) error {
	s := &ch.content.summary
	if s.Has&props.HasUserID != 0 && string(s.UserID) != ch.c.who.User && !ch.c.who.Tags.Has(core.TagImpersonator) {
		return soft(frame.PreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", s.UserID, ch.c.who.User)
	}
	if s.Has&props.HasExpiration != 0 {
		ms, err := strconv.ParseUint(string(s.Expiration), 10, 63)
		if err != nil || ms > maxTTL {
			return soft(frame.PreconditionFailed, "invalid expiration '%s'", s.Expiration)
		}
		m.Expires = t.Now + int64(ms)
	}
	if s.Has&props.HasReplyTo != 0 && string(s.ReplyTo) == replyTo {
		if ch.replies == nil {
			return soft(frame.PreconditionFailed, "fast reply consumer does not exist")
		}
		m.Props = withReplyTo(m.Props, ch.replies.Name())
	}
	if len(s.Headers) > 0 {
		return carbonCopies(m, s.Headers)
	}
	return nil
}

// maxTTL is the longest time to live, as RabbitMQ has it: ten years of 365 days
// in milliseconds.
const maxTTL = uint64(10 * 365 * 24 * time.Hour / time.Millisecond)

// maxKeys is how many further routing keys a message may have.
const maxKeys = 250

// carbonCopies takes the further routing keys from the headers CC and BCC. What
// is in BCC no consumer is to see.
func carbonCopies(m *core.Message, headers props.Table) error {
	for _, name := range [...]string{"CC", "BCC"} {
		v, ok := headers.Get(name)
		if !ok {
			continue
		}
		if v.Kind() != props.KindArray {
			return soft(frame.PreconditionFailed, "invalid message: the header '%s' must be an array of longstr", name)
		}
		for it := v.Array().Iter(); it.Next(); {
			if it.Value().Kind() != props.KindLongStr {
				return soft(frame.PreconditionFailed, "invalid message: the header '%s' must be an array of longstr", name)
			}
			if m.Keys = append(m.Keys, it.Value().Bytes()); len(m.Keys) > maxKeys {
				return soft(frame.PreconditionFailed, "invalid message: more than %d keys in CC and BCC", maxKeys)
			}
		}
		if name == "BCC" {
			m.Props = withoutHeader(m.Props, name)
		}
	}
	return nil
}

// returned gives a message that nothing was bound for back to its publisher.
func (ch *channel) returned(t *core.Turn, m *core.Message) {
	b := ch.ready(t)
	b = frame.AppendBasicReturn(b, ch.n, frame.NoRoute, "NO_ROUTE", m.Exchange.Name(), m.Topic)
	b = frame.AppendHeaderFrame(b, ch.n, uint64(len(m.Payload)), m.Props)
	ch.reply(t, frame.AppendBodyFrames(b, ch.n, m.Payload, ch.c.frameMax))
}

// publishLater keeps a message until tx.commit.
func (ch *channel) publishLater(t *core.Turn, m *core.Message) (core.Wait, error) {
	prepared, wait, err := ch.pub.Prepare(t, m)
	if wait != nil {
		return ch.waitToPublish(t, wait), nil
	}
	if err != nil && !errors.Is(err, core.ErrQuota) {
		return nil, ch.publishFailure(err)
	}
	if err := ch.tx.publish(prepared, ch.content.mandatory, err); err != nil {
		return nil, err
	}
	ch.sent()
	return nil, nil
}
