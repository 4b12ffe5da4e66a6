package authfile

import (
	"errors"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

// shown are the credentials of a client with a certificate.
func shown(user string) *core.Credentials {
	c := anonymous(remote)
	c.HasCertificate, c.CertificateUser = true, user
	return c
}

// TestCertificate: a certificate lets in whom it names, if that is how the user
// comes, and nothing else that was given counts.
func TestCertificate(t *testing.T) {
	a := mustNew(t, Config{
		Users: map[string]User{
			"alice": {Certificate: true},
			"both":  {Certificate: true, Password: guestHash, VHosts: list("/")},
			"bob":   {Password: guestHash},
		},
		Anonymous: Anonymous{Enabled: true},
	})
	for user, want := range map[string]error{
		"alice": nil, "both": nil, "bob": core.ErrBadCredentials, "": core.ErrBadCredentials,
		"Alice": core.ErrBadCredentials, "alice\x00": core.ErrBadCredentials, "guest": core.ErrBadCredentials,
	} {
		for _, also := range []*core.Credentials{anonymous(remote), login("bob", "guest", local), login("alice", "", local), login("", "", local)} {
			c := *also
			c.HasCertificate, c.CertificateUser = true, user
			id, err := a.login(&c)
			if !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("certificate of %q, login of %q: %v", user, also.User, err)
			}
			if err == nil && (id.User != user || id.Anonymous || id.ClientID != "c1") {
				t.Errorf("certificate of %q, login of %q: %+v", user, also.User, id)
			}
			if _, _, answered := a.AuthenticateQuick(&c); !answered {
				t.Errorf("certificate of %q: it takes a goroutine", user)
			}
		}
	}
	elsewhere := shown("both")
	elsewhere.VHost = "prod"
	if _, err := a.login(elsewhere); !errors.Is(err, core.ErrNotAuthorized) {
		t.Errorf("another vhost: %v", err)
	}
	if _, err := a.login(login("both", "guest", remote)); err != nil {
		t.Errorf("with the password: %v", err)
	}
	for _, password := range []string{"guest", "", "x"} {
		if _, err := a.login(login("alice", password, local)); !errors.Is(err, core.ErrBadCredentials) {
			t.Errorf("who has no password comes in with %q: %v", password, err)
		}
	}
}

// TestCertificateReload: what a reload takes away ends at once.
func TestCertificateReload(t *testing.T) {
	a := mustNew(t, Config{Users: map[string]User{"alice": {Certificate: true}}})
	id, err := a.login(shown("alice"))
	if err != nil || !a.may(&id, pub, "a") {
		t.Fatalf("%+v: %v", id, err)
	}
	if err := a.Reload(Config{Users: map[string]User{"alice": {Password: guestHash}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.login(shown("alice")); !errors.Is(err, core.ErrBadCredentials) {
		t.Errorf("by certificate: %v", err)
	}
}

// TestNoPasswordTakesAsLong: who tries passwords does not find out that a user
// comes with a certificate.
func TestNoPasswordTakesAsLong(t *testing.T) {
	a, watches := timed(t, "secret", map[string]time.Duration{"bob": 0})
	p := a.policy.Load()
	p.users["alice"] = &user{certified: true}
	if _, err := a.login(login("alice", "x", remote)); !errors.Is(err, core.ErrBadCredentials) {
		t.Error(err)
	}
	if _, err := a.login(login("alice", "secret", remote)); !errors.Is(err, core.ErrBadCredentials) {
		t.Errorf("with the password of another: %v", err)
	}
	if n := watches["bob"].runs.Load(); n != 2 {
		t.Errorf("%d passwords were checked, of 2", n)
	}
}
