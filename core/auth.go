package core

import (
	"context"
	"net/netip"
)

// An Identity is who a connection acts for. It is made once, at login, and
// never changed afterwards.
type Identity struct {
	User      string // "" for an anonymous client
	Anonymous bool
	Tags      Tags
	VHost     string
	ClientID  string         // MQTT client identifier; "" elsewhere
	Protocol  string         // "mqtt", "amqp", "stomp"
	Listener  string         // name of the listener, for logs and rules
	Peer      netip.AddrPort // the real peer: behind a proxy that speaks the PROXY protocol the proxy's client
}

// Tags are what a user is beside what the user may do, as bits: those of
// RabbitMQ's that mean anything to us.
type Tags uint8

const (
	TagAdministrator Tags = 1 << iota
	TagMonitoring
	TagPolicymaker
	TagManagement
	TagImpersonator // may publish in the name of any user
	TagProtected
)

// Has says whether the tag is among them.
func (t Tags) Has(tag Tags) bool { return t&tag != 0 }

// Credentials are what a client presented at login.
type Credentials struct {
	Identity           // as claimed: User, ClientID, Protocol, Peer
	HasUser     bool   // a user name was given, be it empty
	HasPassword bool   // a password was given, be it empty
	Password    []byte // valid only during the call

	// HasCertificate: a verified certificate says who the client is, and nothing
	// else counts. CertificateUser is the user it names; "" if it names none, who
	// must be refused.
	HasCertificate  bool
	CertificateUser string
}

// Action is what an Authorizer is asked about.
type Action uint8

const (
	ActionPublish   Action = iota // Address is a topic or routing key
	ActionReceive                 // Address is the topic of a message about to be delivered
	ActionSubscribe               // Address is a filter or binding key
	ActionConfigure               // Address is the name of a queue or exchange, as of the rest
	ActionWrite                   // bind to it, or have dead letters go there
	ActionRead                    // consume, get, purge; bind from it
)

// Resource is what a Right is about.
type Resource uint8

const (
	ResourceAddress  Resource = iota // of a message, or a pattern for some
	ResourceQueue                    // by name
	ResourceExchange                 // by name; "" is the default exchange
)

// Syntax says how an address is written. A message keeps the address and the
// syntax it was published with.
type Syntax uint8

const (
	SyntaxMQTT Syntax = iota // levels by '/', wildcards + and #
	SyntaxAMQP               // words by '.', wildcards * and #
)

// A Right is one question to an Authorizer.
type Right struct {
	Action   Action
	Resource Resource
	Exchange string // of an address; "" where there is none
	Syntax   Syntax
	Address  []byte // valid only during the call
}

// An Authenticator decides who a client is. It may block (a password hash, a
// back end): the bus calls it outside Feed. It returns the identity to act
// under, which may differ from the claimed one, or an error that wraps
// ErrBadCredentials or ErrNotAuthorized; any other error is a failure of the
// back end and denies as well.
type Authenticator interface {
	Authenticate(ctx context.Context, c *Credentials) (Identity, error)
}

// QuickAuthenticator is an optional ability of an Authenticator: to answer at
// once where it can (an anonymous client, a verdict it remembers), so that no
// goroutine is needed. answered is false if it must be asked properly.
type QuickAuthenticator interface {
	AuthenticateQuick(c *Credentials) (id Identity, err error, answered bool)
}

// An Authorizer decides what an identity may do. It may block and is then
// asked outside Feed, its answer cached until the rights epoch changes (see
// Bus.RevokeRights). An Authorizer that also implements Inline is asked in
// place. An error denies; one that was asked outside Feed is told as well, by
// AuthorizerFailed.
type Authorizer interface {
	Authorize(ctx context.Context, id *Identity, r Right) (allowed bool, err error)
}

// Unrestricting is an optional ability of an Authorizer: to say that it allows
// everything to everybody who has been let in, so that nothing need be asked.
// The bus asks at the start and whenever rights are revoked.
type Unrestricting interface {
	Unrestricted() bool
}

// An Interceptor sees every message between authorisation and routing and may
// change it or refuse it by an error. It may block and is then called outside
// Feed; one that implements Inline is called in place.
type Interceptor interface {
	Intercept(ctx context.Context, id *Identity, m *Message) error
}

// Inline marks an Authorizer or Interceptor that answers from memory, so that
// it may be called from Feed and under no time limit.
type Inline interface {
	Inline()
}
