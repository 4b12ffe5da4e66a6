package core

import (
	"fmt"
	"sync"
)

// VHostLimits bound what there may be in a vhost. Unlimited: any number.
type VHostLimits struct {
	Connections, Queues int
}

// Unlimited is a limit that is none; so is any other negative number. 0 allows
// nothing.
const Unlimited = -1

// A LimitError is an ErrQuota that says which limit is reached.
type LimitError struct {
	Of, Name string // "vhost" or "user", and which
	What     string // "connections", "channels" or "queues"
	Limit    int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s %q: %v: %d %s", e.Of, e.Name, ErrQuota, e.Limit, e.What)
}

func (e *LimitError) Unwrap() error { return ErrQuota }

// Limiting is an optional ability of an Authenticator: to say how many connections
// a user may have at the same time, and how many channels in all of them together.
// It answers at once.
type Limiting interface {
	UserLimits(id *Identity) (connections, channels int)
}

// An occupancy counts connections and channels, so that limits can be held.
type occupancy struct {
	mu       sync.Mutex
	vhosts   map[string]int // guarded by mu: connections
	users    map[string]int // guarded by mu: connections of those with a name
	channels map[string]int // guarded by mu: of users
}

// Enter counts a connection that has logged in, in its vhost and for its user. Who
// has entered must leave. Errors: ErrQuota.
func (b *Bus) Enter(who *Principal) error {
	most, _ := b.userLimits(who)
	limits := b.VHostLimits(who.VHost)
	o := &b.occupancy
	o.mu.Lock()
	defer o.mu.Unlock()
	if full(o.vhosts[who.VHost], limits.Connections) {
		return &LimitError{"vhost", who.VHost, "connections", limits.Connections}
	}
	if full(o.users[who.User], most) {
		return &LimitError{"user", who.User, "connections", most}
	}
	count(&o.vhosts, who.VHost, 1)
	if !who.Anonymous {
		count(&o.users, who.User, 1)
	}
	return nil
}

// Leave is the end of a connection that has entered.
func (b *Bus) Leave(who *Principal) {
	b.occupancy.mu.Lock()
	defer b.occupancy.mu.Unlock()
	count(&b.occupancy.vhosts, who.VHost, -1)
	if !who.Anonymous {
		count(&b.occupancy.users, who.User, -1)
	}
}

// OpenChannel counts a channel of a user; CloseChannels is its end, or that of all
// n that a connection has. Errors: ErrQuota.
func (b *Bus) OpenChannel(who *Principal) error {
	if who.Anonymous {
		return nil
	}
	_, most := b.userLimits(who)
	o := &b.occupancy
	o.mu.Lock()
	defer o.mu.Unlock()
	if full(o.channels[who.User], most) {
		return &LimitError{"user", who.User, "channels", most}
	}
	count(&o.channels, who.User, 1)
	return nil
}

// CloseChannels says that n channels of a user are no more.
func (b *Bus) CloseChannels(who *Principal, n int) {
	if who.Anonymous || n == 0 {
		return
	}
	b.occupancy.mu.Lock()
	defer b.occupancy.mu.Unlock()
	count(&b.occupancy.channels, who.User, -n)
}

// VHostLimits returns the limits of a vhost.
func (b *Bus) VHostLimits(vhost string) VHostLimits {
	if l, ok := b.opt.VHostLimits[vhost]; ok {
		return l
	}
	return VHostLimits{Connections: Unlimited, Queues: Unlimited}
}

func (b *Bus) userLimits(who *Principal) (connections, channels int) {
	if l, ok := b.opt.Authenticator.(Limiting); ok && !who.Anonymous {
		return l.UserLimits(&who.Identity)
	}
	return Unlimited, Unlimited
}

func full(n, most int) bool { return most >= 0 && n >= most }

// count keeps no names of which there is nothing.
func count(m *map[string]int, name string, n int) {
	if *m == nil {
		*m = make(map[string]int)
	}
	if (*m)[name] += n; (*m)[name] <= 0 {
		delete(*m, name)
	}
}
