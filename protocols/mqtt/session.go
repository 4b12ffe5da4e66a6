package mqtt

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// A login is what is known of a client that has sent CONNECT and is not
// connected yet. CONNECT is parsed again after each Wait.
type login struct {
	asked bool // the authenticator has answered
	id    core.Identity
	err   error
	told  bool // the refusal has been told
}

// connect handles CONNECT: who is it, may it, and what is its session?
func (c *conn) connect(t *core.Turn, body []byte) (core.Wait, error) {
	var p packet.Connect
	if err := p.Decode(body); err != nil {
		return nil, malformed(packet.CONNECT, err)
	}
	if p.Unknown {
		// [MQTT-3.1.2-2]
		return nil, c.refuse(t, packet.BadProtocolVersion, fmt.Errorf("%w: protocol level %d", core.ErrProtocol, p.Level))
	}
	will, err := c.will(&p)
	if err != nil {
		return nil, err
	}
	if c.login == nil {
		c.login = &login{}
	}
	if err := c.checkID(&p); err != nil {
		return nil, c.refuse(t, codeOf(err), err)
	}
	if wait := c.authenticate(&p); wait != nil {
		return wait, nil
	}
	if err := c.login.err; err != nil {
		return nil, c.refuse(t, codeOf(err), err)
	}
	vh := c.a.bus.VHost(c.login.id.VHost)
	if vh == nil { // told as RabbitMQ does, lest names of vhosts be guessed
		err := fmt.Errorf("%w: vhost %q", core.ErrBadCredentials, c.login.id.VHost)
		return nil, c.refuse(t, packet.BadCredentials, err)
	}
	return c.open(t, &p, vh, will)
}

// checkID checks the client id, or makes one. [MQTT-3.1.3-5] to [MQTT-3.1.3-9]
func (c *conn) checkID(p *packet.Connect) error {
	id := &c.login.id
	switch {
	case len(p.ClientID) > c.a.conf().MaxClientIDLength:
		return fmt.Errorf("%w: %d bytes, limit %d", core.ErrIdentifier, len(p.ClientID), c.a.conf().MaxClientIDLength)
	case len(p.ClientID) > 0:
		id.ClientID = string(p.ClientID)
	case p.Level == 3 || !p.Clean:
		return fmt.Errorf("%w: it is empty", core.ErrIdentifier)
	case id.ClientID == "":
		id.ClientID = "naru-" + rand.Text()[:18]
	}
	return nil
}

// authenticate asks who the client is, once.
func (c *conn) authenticate(p *packet.Connect) core.Wait {
	l := c.login
	if l.asked {
		return nil
	}
	cred := &core.Credentials{Identity: core.Identity{
		ClientID: l.id.ClientID, Protocol: "mqtt", Listener: c.listener.Address, VHost: c.listener.VHost, Peer: c.tc.Peer(),
	}, HasUser: p.HasUser, HasPassword: p.HasPassword, Password: p.Password}
	cred.User, cred.VHost = c.splitUser(string(p.User))
	cred.CertificateUser, cred.HasCertificate = c.tc.CertificateUser()
	if err := c.tc.Admits(cred); err != nil {
		l.asked, l.err = true, err
		return nil
	}
	id, err, answered := c.a.bus.AuthenticateQuick(cred)
	if answered {
		l.asked, l.id, l.err = true, id, err
		return nil
	}
	cred.Password = bytes.Clone(p.Password)
	return func(ctx context.Context) {
		l.id, l.err = c.a.bus.Authenticate(ctx, cred)
		l.asked = true
	}
}

// splitUser takes the vhost out of a user name of the form vhost:user, as
// RabbitMQ does, if there is such a vhost.
func (c *conn) splitUser(name string) (user, vhost string) {
	if i := strings.LastIndexByte(name, ':'); i >= 0 && c.a.bus.VHost(name[:i]) != nil {
		return name[i+1:], name[:i]
	}
	return name, c.listener.VHost
}

// will returns the will of a CONNECT, kept, or nil.
func (c *conn) will(p *packet.Connect) (*core.Message, error) {
	if !p.HasWill {
		return nil, nil
	}
	if len(p.WillTopic) == 0 || bytes.ContainsAny(p.WillTopic, "+#") {
		return nil, malformed(packet.CONNECT, fmt.Errorf("%w: will topic %q", core.ErrBadAddress, p.WillTopic))
	}
	if c.a.conf().tooDeep(p.WillTopic) {
		return nil, malformed(packet.CONNECT, c.a.conf().errLevels(p.WillTopic))
	}
	return willMessage(p), nil
}

// open opens the session and answers. [MQTT-3.2.0-1]
func (c *conn) open(t *core.Turn, p *packet.Connect, vh *core.VHost, will *core.Message) (core.Wait, error) {
	if will != nil {
		will.Exchange = vh.Topics()
	}
	who := core.NewPrincipal(c.login.id)
	if err := c.a.bus.Enter(who); err != nil {
		return nil, c.refuse(t, codeOf(err), err)
	}
	s, present, wait, err := vh.OpenSession(t, core.SessionRequest{
		Principal: who, ClientID: who.ClientID, Clean: p.Clean, Expiry: c.a.conf().SessionExpiry,
		Limits: c.a.conf().queue, Will: will, Owner: c.tc,
	})
	if wait != nil || err != nil {
		c.a.bus.Leave(who)
	}
	if wait != nil {
		return wait, nil
	}
	if err != nil {
		return nil, c.refuse(t, codeOf(err), err)
	}
	c.level, c.who, c.session, c.pub = p.Level, who, s, *vh.NewPublisher(who)
	silence := c.silence(p.KeepAlive)
	c.tc.LoggedIn(silence)
	c.login = nil
	c.a.joined()
	if p.Level == 3 { // its CONNACK has no such flag
		c.reply(t, func(b []byte) []byte { return packet.AppendConnack(b, false, packet.Accepted) })
	} else {
		c.reply(t, func(b []byte) []byte { return packet.AppendConnack(b, present, packet.Accepted) })
	}
	t.After(c.begin)
	t.Event(core.Connected{
		Identity: &who.Identity, CleanSession: p.Clean, SessionPresent: present,
		KeepAlive: time.Duration(p.KeepAlive) * time.Second,
	})
	return nil, nil
}

// silence is how long the client may say nothing. [MQTT-3.1.2-24]
func (c *conn) silence(keepAlive uint16) time.Duration {
	k := time.Duration(keepAlive) * time.Second
	if most := c.a.conf().MaxKeepAlive; most > 0 && (k == 0 || k > most) {
		k = most
	}
	return k + k/2
}

// refuse answers CONNECT with a code and ends the connection.
func (c *conn) refuse(t *core.Turn, code packet.ConnectCode, err error) error {
	c.reply(t, func(b []byte) []byte { return packet.AppendConnack(b, false, code) })
	if c.login == nil {
		c.login = &login{}
	}
	id := c.login.id
	id.Protocol, id.Listener, id.Peer = "mqtt", c.listener.Address, c.tc.Peer()
	c.login.told = true
	t.Event(core.LoginRefused{Identity: &id, Cause: err})
	return fmt.Errorf("CONNECT refused with code %d: %w", code, err)
}
