package core

import (
	"context"
	"errors"
	"testing"
)

// limitedUsers lets everybody in. Users that it does not have are not limited.
type limitedUsers map[string][2]int

func (l limitedUsers) Authenticate(_ context.Context, c *Credentials) (Identity, error) {
	return c.Identity, nil
}

func (l limitedUsers) UserLimits(id *Identity) (connections, channels int) {
	if most, ok := l[id.User]; ok {
		return most[0], most[1]
	}
	return Unlimited, Unlimited
}

func limitedBox(t *testing.T, users limitedUsers) *box {
	return newBox(t, func(o *Options) {
		o.Authenticator = users
		o.VHosts = []string{"small", "shut"}
		o.VHostLimits = map[string]VHostLimits{"small": {3, 5}, "shut": {0, -7}}
	})
}

func TestConnectionLimits(t *testing.T) {
	x := limitedBox(t, limitedUsers{"one": {1, 0}, "none": {0, 0}})
	who := func(user, vhost string) *Principal {
		return NewPrincipal(Identity{User: user, Anonymous: user == "", VHost: vhost})
	}
	enter := func(user, vhost string, want bool) {
		t.Helper()
		if err := x.Enter(who(user, vhost)); (err == nil) != want || err != nil && !errors.Is(err, ErrQuota) {
			t.Errorf("%q enters %q: %v", user, vhost, err)
		}
	}
	enter("one", "/", true)
	enter("one", "/", false)
	enter("one", "small", false) // nor is a place in the vhost taken by that
	enter("none", "/", false)
	enter("any", "small", true)
	enter("any", "small", true)
	enter("", "small", true)
	enter("", "small", false)
	enter("other", "small", false)
	enter("any", "/", true)
	enter("any", "shut", false)
	enter("", "shut", false)

	x.Leave(who("one", "/"))
	x.Leave(who("", "small"))
	enter("one", "small", true)
	enter("one", "small", false)
	enter("", "small", false)
	for _, p := range []*Principal{who("one", "small"), who("any", "small"), who("any", "small"), who("any", "/")} {
		x.Leave(p)
	}
	if o := &x.occupancy; len(o.users)+len(o.vhosts) != 0 {
		t.Errorf("nobody is there, and %v, %v are counted", o.users, o.vhosts)
	}
	if l := x.VHostLimits("small"); l != (VHostLimits{3, 5}) {
		t.Errorf("%+v", l)
	}
	if l := x.VHostLimits("/"); l != (VHostLimits{Unlimited, Unlimited}) {
		t.Errorf("%+v", l)
	}
}

func TestChannelLimits(t *testing.T) {
	x := limitedBox(t, limitedUsers{"two": {-1, 2}})
	a, b := NewPrincipal(Identity{User: "two"}), NewPrincipal(Identity{User: "two"})
	open := func(p *Principal, want bool) {
		t.Helper()
		if err := x.OpenChannel(p); (err == nil) != want || err != nil && !errors.Is(err, ErrQuota) {
			t.Errorf("%q opens a channel: %v", p.User, err)
		}
	}
	open(a, true)
	open(b, true)
	open(a, false)
	x.CloseChannels(b, 1)
	open(a, true)
	open(b, false)
	x.CloseChannels(a, 2)
	anybody, nobody := NewPrincipal(Identity{User: "any"}), NewPrincipal(Identity{Anonymous: true})
	for range 5 {
		open(anybody, true)
		open(nobody, true)
	}
	x.CloseChannels(anybody, 5)
	x.CloseChannels(nobody, 5)
	if n := len(x.occupancy.channels); n != 0 {
		t.Errorf("%v are counted", x.occupancy.channels)
	}
}
