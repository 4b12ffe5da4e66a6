package authfile

import "fmt"

// Summary says in one line who is let in, for the first lines of a log, where the
// listener lets anonymous clients in or does not.
func (a *Auth) Summary(anonymous bool) string {
	p := a.policy.Load()
	users := fmt.Sprintf("%d users", len(p.users))
	if len(p.users) == 1 {
		users = "1 user"
	}
	if g := p.users[guest]; g != nil && g.stored == guestHash {
		users += ", guest with the default password from this machine only"
	}
	switch {
	case p.anonymous == nil || !anonymous:
		return users + "; no anonymous clients"
	case p.loopbackOnly:
		return users + "; anonymous clients from this machine only"
	}
	return users + "; anonymous clients from anywhere"
}
