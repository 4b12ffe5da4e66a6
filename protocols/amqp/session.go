package amqp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A login is what is known of a client that has answered connection.start and
// has not opened a vhost yet. Methods are parsed again after each Wait.
type login struct {
	mechanism   string
	user        string
	password    []byte // until the vhost is open
	hasPassword bool
	vhost       string // that the authenticator was asked about, "" at first
	asked       bool   // the authenticator has answered
	id          core.Identity
	err         error
	told        bool // the refusal has been told
	waited      bool // before the silent end
}

// refusalDelay is how long a client waits for the end that cannot be told of a
// refusal, so that guessing is slow.
const refusalDelay = 3 * time.Second

// wrongProtocol answers what is not AMQP 0-9-1 with what would be, and ends.
// (AMQP 2.2.4)
func (c *conn) wrongProtocol(t *core.Turn, r transport.Result) transport.Result {
	c.reply(t, append(*t.Replies(), frame.Protocol...))
	r.End, r.Cause = true, fmt.Errorf("%w: not the protocol header of AMQP 0-9-1", core.ErrProtocol)
	return r
}

func (c *conn) mechanisms() string {
	if _, ok := c.tc.CertificateUser(); ok {
		return "PLAIN AMQPLAIN EXTERNAL ANONYMOUS"
	}
	return "PLAIN AMQPLAIN ANONYMOUS"
}

// start answers the protocol header.
func (c *conn) start(t *core.Turn) {
	c.phase = awaitsStartOK
	c.reply(t, frame.AppendConnectionStart(*t.Replies(), c.a.hello, c.mechanisms(), "en_US"))
}

// connection handles the methods of channel 0.
func (c *conn) connection(t *core.Turn, m frame.Method, args []byte) (core.Wait, error) {
	switch {
	case m == frame.MethodConnectionClose:
		var p frame.Close
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		c.confirm(t)
		c.reply(t, frame.AppendConnectionCloseOK(*t.Replies()))
		return nil, errGoodbye
	case c.phase == awaitsStartOK && m == frame.MethodConnectionStartOK:
		return c.startOK(t, args)
	case c.phase == awaitsTuneOK && m == frame.MethodConnectionTuneOK:
		return nil, c.tuneOK(args)
	case c.phase == awaitsOpen && m == frame.MethodConnectionOpen:
		return c.open(t, args)
	case c.phase == running && m == frame.MethodConnectionUpdateSecret:
		return c.updateSecret(t, args)
	case c.phase == running:
		return nil, hard(frame.ChannelError, "unexpected method in connection state running")
	}
	return nil, hard(frame.CommandInvalid, "%v cannot come now", m)
}

// startOK learns who the client says it is.
func (c *conn) startOK(t *core.Turn, args []byte) (core.Wait, error) {
	if c.login == nil {
		var p frame.StartOK
		if err := p.Decode(args); err != nil {
			return nil, err
		}
		l, err := c.credentials(&p)
		if err != nil {
			return nil, err
		}
		c.login = l
		c.client = capabilitiesOf(p.ClientProperties)
	}
	l := c.login
	if w := c.authenticate(""); w != nil {
		return w, nil
	}
	if l.err != nil {
		return c.refuse(t)
	}
	c.phase = awaitsTuneOK
	cfg := c.a.conf()
	c.most, c.frameMax = cfg.ChannelMax, uint32(max(cfg.FrameMax, 8192))
	c.reply(t, frame.AppendConnectionTune(*t.Replies(), uint16(c.most), uint32(cfg.FrameMax), uint16(cfg.Heartbeat/time.Second)))
	return nil, nil
}

// credentials takes a SASL response apart.
func (c *conn) credentials(p *frame.StartOK) (*login, error) {
	l := &login{mechanism: string(p.Mechanism)}
	var user, password []byte
	var err error
	switch l.mechanism {
	case "PLAIN":
		user, password, err = frame.DecodePlain(p.Response)
	case "AMQPLAIN":
		user, password, err = frame.DecodeAMQPlain(p.Response)
	case "ANONYMOUS":
		return l, nil
	case "EXTERNAL":
		name, ok := c.tc.CertificateUser()
		if ok {
			l.user = name
			return l, nil
		}
		fallthrough
	default:
		return nil, hard(frame.CommandInvalid, "unknown authentication mechanism '%s'", l.mechanism)
	}
	if err != nil {
		return nil, err
	}
	l.user, l.password, l.hasPassword = string(user), bytes.Clone(password), true
	return l, nil
}

func capabilitiesOf(t props.Table) capabilities {
	var can capabilities
	if v, ok := t.Get("connection_name"); ok {
		can.name = strings.ToValidUTF8(string(v.Bytes()), "?")
	}
	v, _ := t.Get("capabilities")
	for it := v.Table().Iter(); it.Next(); {
		on := it.Value().Bool()
		switch string(it.Key()) {
		case "authentication_failure_close":
			can.authenticationClose = on
		case "consumer_cancel_notify":
			can.consumerCancelNotify = on
		case "connection.blocked":
			can.connectionBlocked = on
		}
	}
	return can
}

// authenticate asks who the client is, once for each vhost; "" is before one is
// known.
func (c *conn) authenticate(vhost string) core.Wait {
	l := c.login
	if l.asked {
		return nil
	}
	cred := &core.Credentials{Identity: core.Identity{
		User: l.user, Protocol: "amqp", Listener: c.listener.Address, VHost: vhost, Peer: c.tc.Peer(),
	}, HasUser: l.mechanism != "ANONYMOUS", HasPassword: l.hasPassword, Password: l.password}
	if l.mechanism == "EXTERNAL" {
		cred.CertificateUser, cred.HasCertificate = c.tc.CertificateUser()
	}
	if err := c.tc.Admits(cred); err != nil {
		l.asked, l.err = true, err
		return nil
	}
	if id, err, answered := c.a.bus.AuthenticateQuick(cred); answered {
		l.asked, l.id, l.err = true, id, err
		return nil
	}
	return func(ctx context.Context) {
		l.id, l.err = c.a.bus.Authenticate(ctx, cred)
		l.asked = true
	}
}

// refuse ends a connection whose login has failed. A client that does not
// understand the answer gets none, after a while.
func (c *conn) refuse(t *core.Turn) (core.Wait, error) {
	l := c.login
	if !c.client.authenticationClose && !l.waited {
		return func(ctx context.Context) {
			l.waited = true
			delay := time.NewTimer(refusalDelay)
			defer delay.Stop()
			select {
			case <-delay.C:
			case <-ctx.Done():
			}
		}, nil
	}
	id := core.Identity{User: l.user, Protocol: "amqp", Listener: c.listener.Address, Peer: c.tc.Peer()}
	l.told = true
	t.Event(core.LoginRefused{Identity: &id, Cause: l.err})
	if !c.client.authenticationClose {
		return nil, &failure{text: "login refused", hard: true}
	}
	if errors.Is(l.err, core.ErrUnavailable) {
		return nil, hard(frame.InternalError, "the login cannot be checked now")
	}
	return nil, bare(frame.AccessRefused, "Login was refused using authentication mechanism %s. For details see the broker logfile.", l.mechanism)
}

// tuneOK takes what the client has chosen. (AMQP 1.4.2.6)
func (c *conn) tuneOK(args []byte) error {
	var p frame.TuneOK
	if err := p.Decode(args); err != nil {
		return err
	}
	cfg := c.a.conf()
	switch {
	case p.FrameMax == 0 || p.FrameMax > uint32(cfg.FrameMax):
		return hard(frame.NotAllowed, "negotiated frame_max = %d is higher than the maximum allowed value (%d)", p.FrameMax, cfg.FrameMax)
	case p.FrameMax < frame.MinFrameMax:
		return hard(frame.NotAllowed, "negotiated frame_max = %d is lower than the minimum allowed value (%d)", p.FrameMax, frame.MinFrameMax)
	case p.ChannelMax == 0 || int(p.ChannelMax) > cfg.ChannelMax:
		return hard(frame.NotAllowed, "negotiated channel_max = %d is higher than the maximum allowed value (%d)", p.ChannelMax, cfg.ChannelMax)
	}
	c.frameMax, c.most = p.FrameMax, int(p.ChannelMax)
	c.heartbeat = time.Duration(p.Heartbeat) * time.Second
	c.phase = awaitsOpen
	return nil
}

// open opens the vhost, and with it the connection.
func (c *conn) open(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.ConnectionOpen
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	l := c.login
	name := string(p.VirtualHost)
	vh := c.a.bus.VHost(name)
	if vh == nil {
		return nil, hard(frame.NotAllowed, "vhost %s not found", name)
	}
	if l.vhost != name {
		l.vhost, l.asked = name, false
	}
	if w := c.authenticate(name); w != nil {
		return w, nil
	}
	if l.err != nil {
		return nil, hard(frame.NotAllowed, "access to vhost '%s' refused for user '%s'", name, l.user)
	}
	who := core.NewPrincipal(l.id)
	var limit *core.LimitError
	switch err := c.a.bus.Enter(who); {
	case errors.As(err, &limit) && limit.Of == "user":
		return nil, hard(frame.NotAllowed, "connection refused for user '%s': user connection limit (%d) is reached", l.user, limit.Limit)
	case errors.As(err, &limit):
		return nil, hard(frame.NotAllowed, "access to vhost '%s' refused for user '%s': connection limit (%d) is reached", name, l.user, limit.Limit)
	case err != nil:
		return nil, err
	}
	c.who, c.vh, c.phase = who, vh, running
	c.login = nil
	c.name, c.opened = c.named(), t.Now
	c.detach = vh.Attach(c)
	c.tc.LoggedIn(2 * c.heartbeat)
	c.tc.Beat(c.heartbeat / 2)
	c.reply(t, frame.AppendConnectionOpenOK(*t.Replies()))
	t.Event(core.Connected{Identity: &c.who.Identity, CleanSession: true, KeepAlive: c.heartbeat})
	return nil, nil
}

// updateSecret checks a new password of the same user.
func (c *conn) updateSecret(t *core.Turn, args []byte) (core.Wait, error) {
	var p frame.UpdateSecret
	if err := p.Decode(args); err != nil {
		return nil, err
	}
	if c.login == nil {
		c.login = &login{mechanism: "PLAIN", user: c.who.User, password: bytes.Clone(p.NewSecret), hasPassword: true}
	}
	if w := c.authenticate(c.vh.Name()); w != nil {
		return w, nil
	}
	l := c.login
	c.login = nil
	if l.err != nil || l.id.User != c.who.User {
		return nil, hard(frame.NotAllowed, "New secret was refused by one of the backends")
	}
	c.reply(t, frame.AppendConnectionUpdateSecretOK(*t.Replies()))
	return nil, nil
}
