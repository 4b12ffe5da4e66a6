package authfile

import (
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/narumq/naru/core"
)

// A policy is a compiled Config. Nothing of it changes once it is in force but
// what it remembers: verdicts, and expressions for client ids.
type policy struct {
	users        map[string]*user
	anonymous    *grant // nil if there is no such thing
	loopbackOnly bool   // for anonymous clients
	common       ruleset

	// decoys are the users in a fixed order, at least one. The password of
	// somebody unknown is checked against one of them: see lookup.
	decoys []*user
	seed   maphash.Seed

	expressions expressions // of topic permissions with a client id in them
}

// A grant is what one user, or all anonymous clients, may do.
type grant struct {
	all    bool // what no rule denies: there is no acl
	rules  ruleset
	vhosts *[]string // nil for all

	permissions permissions // on top of the rules
}

// A user remembers the one password that was found right, as a keyed digest. A
// user has one password, so this is the whole verdict cache: it needs neither a
// bound nor eviction, and goes with the policy.
//
// A wrong password is not remembered. A client that guesses sends each one once,
// so a list of them would help nobody but who wants to fill it; and it would
// have to hold the names of unknown users as well, or tell them from known ones.
type user struct {
	grant
	stored  string
	hash    verifier // nil if there is no password
	verdict atomic.Pointer[digest]

	certified bool // let in by a certificate
	tags      core.Tags

	maxConnections, maxChannels int // negative: any number
}

// compile reports all problems at once.
func compile(c Config) (*policy, error) {
	p := &policy{
		users:        make(map[string]*user, len(c.Users)),
		loopbackOnly: c.Anonymous.LoopbackOnly,
		seed:         maphash.MakeSeed(),
	}
	var problems []error
	add := func(err error) { problems = append(problems, err) }

	p.common = compileRules("acl", c.ACL, add)
	anonymous := compileGrant("anonymous", c.Anonymous.ACL, c.Anonymous.VHosts, add)
	if c.Anonymous.Enabled {
		p.anonymous = &anonymous
	}
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		written, path := c.Users[name], "users."+printable(name)
		if name == "" {
			add(errors.New(path + ": a user needs a name"))
		}
		u := &user{
			grant:  compileGrant(path, written.ACL, written.VHosts, add),
			stored: written.Password, certified: written.Certificate,
			maxConnections: limit(written.MaxConnections), maxChannels: limit(written.MaxChannels),
		}
		u.permissions = compilePermissions(path, name, written, add)
		var err error
		if u.tags, err = compileTags(written.Tags); err != nil {
			add(fmt.Errorf("%s.tags: %w", path, err))
		}
		p.users[name] = u
		if u.certified && u.stored == "" {
			continue
		}
		if u.hash, err = parseHash(written.Password); err != nil {
			add(fmt.Errorf("%s.password: %w", path, err))
		}
		p.decoys = append(p.decoys, u)
	}
	if len(p.decoys) == 0 {
		p.decoys = []*user{{stored: guestHash, hash: newDecoy()}}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return p, nil
}

func compileGrant(path string, acl, vhosts *[]string, add func(error)) grant {
	g := grant{all: acl == nil, vhosts: vhosts}
	if acl != nil {
		g.rules = compileRules(path+".acl", *acl, add)
	}
	if vhosts != nil {
		names := slices.Clone(*vhosts) // the configuration may be edited later
		g.vhosts = &names
	}
	return g
}

func limit(n *int) int {
	if n == nil {
		return core.Unlimited
	}
	return *n
}

// printable is a user name as part of the path of a key.
func printable(name string) string {
	if q := strconv.Quote(name); q != `"`+name+`"` || name == "" || strings.Contains(name, ".") {
		return q
	}
	return name
}

// lookup returns the user of this name. For somebody unknown it returns another
// user in their place, always the same for one name, and known is false: who
// goes on as if nothing were wrong, and refuses in the end, takes as long as
// with a wrong password, also where users have hashes of different cost. A user
// without a password is unknown in this sense.
func (p *policy) lookup(name string) (u *user, known bool) {
	decoy := p.decoys[maphash.String(p.seed, name)%uint64(len(p.decoys))]
	if u = p.users[name]; u != nil && u.hash != nil {
		return u, true
	}
	return decoy, false
}

// grantOf returns what the identity may do, or nil if the policy does not know
// it, or no more. An anonymous identity without a peer belongs to a session of
// which the client is away: it was let in once.
func (p *policy) grantOf(id *core.Identity) *grant {
	if id.Anonymous {
		if p.loopbackOnly && id.Peer.IsValid() && !loopback(id.Peer) {
			return nil
		}
		return p.anonymous
	}
	if u := p.users[id.User]; u != nil {
		return &u.grant
	}
	return nil
}

// mayEnter says whether the vhost is open to them.
func (g *grant) mayEnter(vhost string) bool {
	return (g.vhosts == nil || slices.Contains(*g.vhosts, vhost)) && g.permissions.mayEnter(vhost)
}

// loopback says whether the peer is on this machine. The zero address is not:
// who is unknown is remote.
func loopback(peer netip.AddrPort) bool { return peer.Addr().Unmap().IsLoopback() }
