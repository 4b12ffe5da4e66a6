package authfile

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/narumq/naru/core"
)

// Auth is an authenticator and an authorizer over one policy at a time. It is
// safe for concurrent use.
type Auth struct {
	policy atomic.Pointer[policy]
	first  *policy

	// slots bounds the password hashes under way to the number of cores. More
	// would not be faster, and each takes as much memory as its hash says: a
	// thousand clients that reconnect must not want 19 GiB at once.
	slots chan struct{}

	// key makes the remembered digests worthless outside this process: they
	// are far cheaper to try passwords against than the hashes.
	key [32]byte
}

// digest is what is remembered of a password that was right.
type digest [sha256.Size]byte

// Why a login fails. A wrong password and an unknown user are one error, and
// nothing here tells a client whether a user exists.
var (
	errPassword   = fmt.Errorf("check password: %w", core.ErrBadCredentials)
	errIncomplete = fmt.Errorf("user name and password must both be given: %w", core.ErrBadCredentials)
	errNoName     = fmt.Errorf("the client certificate does not name one user: %w", core.ErrBadCredentials)
	errUncalled   = fmt.Errorf("the client certificate names nobody who is let in by one (users.<name>.certificate): %w", core.ErrBadCredentials)
	errAnonymous  = fmt.Errorf("anonymous clients are not let in: %w", core.ErrBadCredentials)
	errRemote     = fmt.Errorf("anonymous clients are let in from this machine only: %w", core.ErrBadCredentials)
	errGuest      = fmt.Errorf("user guest with the default password is let in from this machine only: %w", core.ErrNotAuthorized)
)

// New compiles the configuration. Its error names everything that is wrong.
func New(c Config) (*Auth, error) {
	p, err := compile(c)
	if err != nil {
		return nil, err
	}
	a := &Auth{slots: make(chan struct{}, min(runtime.GOMAXPROCS(0), runtime.NumCPU()))}
	rand.Read(a.key[:]) // never fails
	a.policy.Store(p)
	a.first = p
	return a, nil
}

// Reload puts a new configuration in place of the old one, which stays in force
// if there is anything wrong with the new one. Remembered passwords are gone
// with it. The caller then calls [core.Bus.RevokeRights].
func (a *Auth) Reload(c Config) error {
	p, err := compile(c)
	if err != nil {
		return err
	}
	a.policy.Store(p)
	return nil
}

// AuthenticateQuick answers what needs no password hash: anonymous clients,
// certificates, logins that lack something, and passwords that were right before.
func (a *Auth) AuthenticateQuick(c *core.Credentials) (id core.Identity, err error, answered bool) {
	p := a.policy.Load()
	switch {
	case c.HasCertificate: // whatever else was given
		id, err = p.admitCertified(c)
		return id, err, true
	case !c.HasUser:
		id, err = p.admitAnonymous(c)
		return id, err, true
	case c.User == "" || !c.HasPassword || len(c.Password) == 0:
		return core.Identity{}, errIncomplete, true
	case c.User == guest && string(c.Password) == guest && !loopback(c.Peer):
		// Whatever the configuration says of guest: the answer is the same,
		// and so tells nothing.
		return core.Identity{}, errGuest, true
	}
	u, known := p.lookup(c.User)
	if !u.remembers(a.digest(u, c)) || !known {
		return core.Identity{}, nil, false
	}
	id, err = u.admit(c)
	return id, err, true
}

// Authenticate checks a password. It waits for one of as many places as there
// are cores, or for ctx.
func (a *Auth) Authenticate(ctx context.Context, c *core.Credentials) (core.Identity, error) {
	if id, err, answered := a.AuthenticateQuick(c); answered {
		return id, err
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return core.Identity{}, fmt.Errorf("wait to check password: %w: %w", core.ErrUnavailable, ctx.Err())
	}
	u, known := a.policy.Load().lookup(c.User)
	d := a.digest(u, c)
	// While this one waited, another connection of the user may have been here.
	if !known || !u.remembers(d) {
		if right := u.hash.verify(c.Password); !right || !known {
			return core.Identity{}, errPassword
		}
		u.verdict.Store(&d)
	}
	// A hash takes long enough for a reload: what is in force now decides.
	now := a.policy.Load().users[c.User]
	if now == nil || now.stored != u.stored {
		return core.Identity{}, errPassword
	}
	return now.admit(c)
}

// digest binds a password to the user and to the hash it was checked against.
func (a *Auth) digest(u *user, c *core.Credentials) digest {
	h := hmac.New(sha256.New, a.key[:])
	var size [8]byte
	for _, s := range [...]string{c.User, u.stored} {
		binary.BigEndian.PutUint64(size[:], uint64(len(s)))
		h.Write(size[:])
		h.Write([]byte(s))
	}
	h.Write(c.Password)
	return digest(h.Sum(nil))
}

func (u *user) remembers(d digest) bool {
	v := u.verdict.Load()
	return v != nil && hmac.Equal(v[:], d[:])
}

// admit makes the identity of a user whose password was right. AMQP names the
// vhost only after the login; until then it is "", which Authorize holds against
// the list, and a login with the vhost known is a quick one.
func (u *user) admit(c *core.Credentials) (core.Identity, error) {
	if c.VHost != "" && !u.mayEnter(c.VHost) {
		return core.Identity{}, fmt.Errorf("enter vhost %q: %w", c.VHost, core.ErrNotAuthorized)
	}
	id := c.Identity
	id.Anonymous, id.Tags = false, u.tags
	return id, nil
}

// admitCertified lets in whom a certificate names, if that is how the user comes.
// Whoever issues certificates does not thereby hand out every name there is.
func (p *policy) admitCertified(c *core.Credentials) (core.Identity, error) {
	if c.CertificateUser == "" {
		return core.Identity{}, errNoName
	}
	u := p.users[c.CertificateUser]
	if u == nil || !u.certified {
		return core.Identity{}, errUncalled
	}
	id, err := u.admit(c)
	if err == nil {
		id.User = c.CertificateUser
	}
	return id, err
}

func (p *policy) admitAnonymous(c *core.Credentials) (core.Identity, error) {
	switch {
	case p.anonymous == nil:
		return core.Identity{}, errAnonymous
	case p.loopbackOnly && !loopback(c.Peer):
		return core.Identity{}, errRemote
	case c.VHost != "" && !p.anonymous.mayEnter(c.VHost):
		return core.Identity{}, fmt.Errorf("enter vhost %q: %w", c.VHost, core.ErrNotAuthorized)
	}
	id := c.Identity
	id.User, id.Anonymous, id.Tags = "", true, 0
	return id, nil
}

// UserLimits returns how many connections and channels a user may have. They are for
// what comes; who is there stays.
func (a *Auth) UserLimits(id *core.Identity) (connections, channels int) {
	if u := a.policy.Load().users[id.User]; u != nil && !id.Anonymous {
		return u.maxConnections, u.maxChannels
	}
	return core.Unlimited, core.Unlimited
}

var (
	_ core.Authenticator      = (*Auth)(nil)
	_ core.Limiting           = (*Auth)(nil)
	_ core.QuickAuthenticator = (*Auth)(nil)
)
