package authfile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/narumq/naru/core"
)

const (
	pub  = core.ActionPublish
	recv = core.ActionReceive
	sub  = core.ActionSubscribe
	conf = core.ActionConfigure
)

// may asks in MQTT syntax, mayAMQP in the other.
func (a *Auth) may(id *core.Identity, what core.Action, address string) bool {
	ok, err := a.Authorize(context.Background(), id, core.Right{Action: what, Address: []byte(address)})
	return ok && err == nil
}

func (a *Auth) mayAMQP(id *core.Identity, what core.Action, address string) bool {
	ok, err := a.Authorize(context.Background(), id,
		core.Right{Action: what, Syntax: core.SyntaxAMQP, Exchange: "amq.topic", Address: []byte(address)})
	return ok && err == nil
}

func mustNew(t testing.TB, c Config) *Auth {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// with is a configuration with one user, alice.
func with(acl *[]string, common ...string) Config {
	return Config{Users: map[string]User{"alice": {Password: guestHash, ACL: acl}}, ACL: common}
}

func TestAuthorize(t *testing.T) {
	for _, c := range []struct {
		name    string
		config  Config
		what    core.Action
		address string
		mqtt    bool
		amqp    bool // of the address with dots
	}{
		{"no acl", with(nil), pub, "a/b", true, true},
		{"no acl", with(nil), recv, "$SYS/a", true, true},
		{"no acl", with(nil), sub, "#", true, true},
		{"no acl", with(nil), conf, "queue", true, true},
		{"no acl, denied for all", with(nil, "deny secret/#"), pub, "secret/x", false, false},
		{"no acl, denied for all", with(nil, "deny secret/#"), recv, "secret", false, false},
		{"no acl, denied for all", with(nil, "deny secret/#"), sub, "secret/+", false, false},
		{"no acl, denied for all", with(nil, "deny secret/#"), sub, "#", true, true},
		{"no acl, denied for all", with(nil, "deny secret/#"), conf, "secret", false, false},
		{"no acl, rules for all", with(nil, "read a/#"), pub, "b", true, true},

		{"empty acl", with(list()), pub, "a", false, false},
		{"empty acl", with(list()), recv, "a", false, false},
		{"empty acl", with(list()), sub, "a", false, false},
		{"empty acl", with(list()), conf, "a", false, false},
		{"empty acl, rules for all", with(list(), "pattern write %c/#"), pub, "c1/x", true, true},
		{"empty acl, rules for all", with(list(), "pattern write %c/#"), pub, "c2/x", false, false},

		{"read", with(list("read a/#")), recv, "a/b", true, true},
		{"read", with(list("read a/#")), sub, "a/b", true, true},
		{"read", with(list("read a/#")), sub, "#", true, true},
		{"read", with(list("read a/#")), sub, "b/#", false, false},
		{"read", with(list("read a/#")), pub, "a/b", false, false},
		{"read", with(list("read a/#")), conf, "a", false, false},
		{"write", with(list("write a/#")), pub, "a/b", true, true},
		{"write", with(list("write a/#")), recv, "a/b", false, false},
		{"write", with(list("write a/#")), sub, "a/b", false, false},
		{"readwrite", with(list("readwrite a/+")), pub, "a/b", true, true},
		{"readwrite", with(list("readwrite a/+")), recv, "a/b", true, true},
		{"readwrite", with(list("readwrite a/+")), conf, "a/b", false, false},
		{"configure", with(list("configure a/#")), conf, "a/b", true, true},
		{"configure", with(list("configure a/#")), conf, "b", false, false},
		{"configure", with(list("configure a/#")), pub, "a/b", false, false},
		{"configure", with(list("readwrite #")), conf, "a", false, false},
		{"deny in configure", with(list("configure #", "deny a/#")), conf, "a/b", false, false},

		{"deny first", with(list("deny a/secret/#", "readwrite a/#")), pub, "a/secret/x", false, false},
		{"deny first", with(list("deny a/secret/#", "readwrite a/#")), pub, "a/open", true, true},
		{"deny last", with(list("readwrite a/#", "deny a/secret/#")), recv, "a/secret", false, false},
		{"deny last", with(list("readwrite a/#", "deny a/secret/#")), sub, "a/secret/#", false, false},
		{"deny last", with(list("readwrite a/#", "deny a/secret/#")), sub, "a/#", true, true},
		{"own deny, allowed for all", with(list("deny a"), "readwrite #"), pub, "a", false, false},
		{"deny for all, own allow", with(list("readwrite a"), "deny +"), pub, "a", false, false},
		{"deny the very same", with(list("readwrite a", "deny a")), sub, "a", false, false},

		{"no $ by #", with(list("readwrite #")), recv, "$SYS/a", false, false},
		{"no $ by #", with(list("readwrite #")), sub, "$SYS/#", false, false},
		{"no $ by #", with(list("readwrite #")), pub, "$x", false, false},
		{"$ by name", with(list("read $SYS/#")), recv, "$SYS/a", true, true},
		{"$ by name", with(list("read $SYS/#")), sub, "#", false, false},

		{"user name", with(list("read u/%u/#")), recv, "u/alice/x", true, true},
		{"user name", with(list("read u/%u/#")), recv, "u/bob/x", false, false},
		{"user name", with(list("read u/%u/#")), sub, "u/+/x", true, true},
		{"user name", with(list("read u/%u/#")), sub, "u/bob/#", false, false},
	} {
		a := mustNew(t, c.config)
		if got := a.may(me, c.what, c.address); got != c.mqtt {
			t.Errorf("%s: action %d on %q: %v", c.name, c.what, c.address, got)
		}
		if key := amqpForm(c.address); a.mayAMQP(me, c.what, key) != c.amqp {
			t.Errorf("%s: action %d on key %q: %v", c.name, c.what, key, !c.amqp)
		}
		for _, stranger := range []*core.Identity{{User: "bob", VHost: "/"}, {Anonymous: true, VHost: "/"}, {VHost: "/"}} {
			if a.may(stranger, c.what, c.address) || a.mayAMQP(stranger, c.what, c.address) {
				t.Errorf("%s: %+v may do action %d on %q", c.name, stranger, c.what, c.address)
			}
		}
	}
}

func amqpForm(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch c {
		case '/':
			b[i] = '.'
		case '+':
			b[i] = '*'
		}
	}
	return string(b)
}

// An MQTT topic with dots reaches AMQP consumers under the same key as one with
// slashes: it must not be a way around a deny.
func TestDotsAreNoWayAroundDeny(t *testing.T) {
	a := mustNew(t, with(list("readwrite #", "deny cmd/#", "deny v1.0/x", "deny in/%u")))
	for _, address := range []string{
		"cmd.reboot", "cmd.reboot/now", "cmd/reboot", "cmd", "v1.0/x", "v1/0/x", "v1.0.x", "in.alice", "in/alice",
	} {
		for _, what := range []core.Action{pub, recv} {
			if a.may(me, what, address) || a.mayAMQP(me, what, address) {
				t.Errorf("action %d on %q is allowed", what, address)
			}
		}
	}
	for _, address := range []string{"cmdx.reboot", "v1.1/x", "in.bob", "x.cmd"} {
		if !a.may(me, pub, address) || !a.mayAMQP(me, pub, address) {
			t.Errorf("publish to %q is denied", address)
		}
	}
}

func TestAuthorizeRefusesTheUnknown(t *testing.T) {
	a := mustNew(t, with(nil))
	for _, r := range []core.Right{{Action: 99}, {Action: pub, Syntax: 99}, {Action: conf, Syntax: 99}} {
		r.Address = []byte("a")
		if ok, err := a.Authorize(context.Background(), me, r); ok || err != nil {
			t.Errorf("%+v: %v %v", r, ok, err)
		}
	}
}

func TestVHosts(t *testing.T) {
	c := with(nil)
	c.Users["alice"] = User{Password: guestHash, VHosts: list("/", "prod")}
	c.Users["none"] = User{Password: guestHash, VHosts: list()}
	c.Anonymous = Anonymous{Enabled: true, VHosts: list("play")}
	a := mustNew(t, c)
	for _, w := range []struct {
		id   core.Identity
		want bool
	}{
		{core.Identity{User: "alice", VHost: "/"}, true},
		{core.Identity{User: "alice", VHost: "prod"}, true},
		{core.Identity{User: "alice", VHost: "play"}, false},
		{core.Identity{User: "alice"}, false},
		{core.Identity{User: "none", VHost: "/"}, false},
		{core.Identity{Anonymous: true, VHost: "play"}, true},
		{core.Identity{Anonymous: true, VHost: "/"}, false},
	} {
		if got := a.may(&w.id, pub, "a"); got != w.want {
			t.Errorf("%+v: %v", w.id, got)
		}
	}
}

// A subscription may be refused only if nothing that it would bring may be
// received.
func TestRefusedSubscriptionsMissNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	words := []string{"a", "b", "+", "%c", "$x"}
	addresses := topics("/")
	refused := 0
	for range 700 {
		acl := list()
		for range 1 + rng.IntN(4) {
			rule := []string{"read ", "read ", "deny "}[rng.IntN(3)] + randomFilter(rng, words, "/", 3)
			*acl = append(*acl, rule)
		}
		a := mustNew(t, with(acl))
		id := &core.Identity{User: "alice", ClientID: "b", VHost: "/"}
		filter := randomFilter(rng, []string{"a", "b", "+", "$x"}, "/", 3)
		if a.may(id, sub, filter) {
			continue
		}
		refused++
		for _, topic := range addresses {
			if filterMatches(filter, topic, "/", "+") && a.may(id, recv, topic) {
				t.Fatalf("acl %q: filter %q is refused, but %q may be received", *acl, filter, topic)
			}
		}
	}
	if refused < 70 {
		t.Errorf("only %d refusals", refused)
	}
}

func TestReloadChangesRights(t *testing.T) {
	a := mustNew(t, with(list("readwrite a/#")))
	steps := []struct {
		name   string
		change Config
		fails  bool
		want   bool // alice publishes to a/b
	}{
		{"rule gone", with(list("read a/#")), false, false},
		{"rule back", with(list("write a/#")), false, true},
		{"bad rule", with(list("deny a/#", "wirte b")), true, true},
		{"bad hash", Config{Users: map[string]User{"alice": {Password: "x"}}}, true, true},
		{"deny for all", with(nil, "deny a/#"), false, false},
		{"no acl", with(nil), false, true},
		{"user gone", Config{Users: map[string]User{"bob": {Password: guestHash}}, ACL: []string{"readwrite #"}}, false, false},
	}
	for _, s := range steps {
		if err := a.Reload(s.change); (err != nil) != s.fails {
			t.Errorf("%s: error %v", s.name, err)
		}
		if got := a.may(me, pub, "a/b"); got != s.want {
			t.Errorf("%s: %v", s.name, got)
		}
	}
}

func TestReloadChangesAnonymous(t *testing.T) {
	local := &core.Identity{Anonymous: true, Peer: netip.MustParseAddrPort("127.0.0.1:1")}
	remote := &core.Identity{Anonymous: true, Peer: netip.MustParseAddrPort("10.0.0.1:1")}
	away := &core.Identity{Anonymous: true} // its client is not connected
	a := mustNew(t, Config{})
	for _, c := range []struct {
		config              Anonymous
		local, remote, away bool
	}{
		{Anonymous{}, false, false, false},
		{Anonymous{Enabled: true}, true, true, true},
		{Anonymous{Enabled: true, LoopbackOnly: true}, true, false, true},
		{Anonymous{Enabled: true, ACL: list()}, false, false, false},
		{Anonymous{Enabled: true, ACL: list("write a")}, true, true, true},
	} {
		if err := a.Reload(Config{Anonymous: c.config}); err != nil {
			t.Fatal(err)
		}
		if l, r, w := a.may(local, pub, "a"), a.may(remote, pub, "a"), a.may(away, pub, "a"); l != c.local || r != c.remote || w != c.away {
			t.Errorf("%+v: local %v, remote %v, away %v", c.config, l, r, w)
		}
	}
}

// A later change to the configuration that was passed changes nothing.
func TestConfigIsCopied(t *testing.T) {
	acl, vhosts := list("write a"), list("/")
	c := Config{Users: map[string]User{"alice": {Password: guestHash, ACL: acl, VHosts: vhosts}}}
	a := mustNew(t, c)
	(*acl)[0], (*vhosts)[0] = "write b", "x"
	delete(c.Users, "alice")
	if !a.may(me, pub, "a") {
		t.Error("it did")
	}
}

// rules is an acl of n rules of which the last one matches site/7/%c/x.
func rules(n int) *[]string {
	acl := list()
	for i := range n - 1 {
		*acl = append(*acl, fmt.Sprintf([]string{"readwrite site/9/dev%d/#", "readwrite s%d/+/x", "deny t%d/#"}[i%3], i))
	}
	*acl = append(*acl, "readwrite site/+/%c/#")
	return acl
}

var questions = []struct {
	name string
	core.Right
}{
	{"publish", core.Right{Action: pub, Address: []byte("site/7/c1/temperature")}},
	{"publish-amqp", core.Right{Action: pub, Syntax: core.SyntaxAMQP, Address: []byte("site.7.c1.temperature")}},
	{"publish-dots", core.Right{Action: pub, Address: []byte("site/7/c1/v1.0")}},
	{"receive", core.Right{Action: recv, Address: []byte("site/7/c1/temperature")}},
	{"subscribe", core.Right{Action: sub, Address: []byte("site/7/c1/#")}},
}

func TestAuthorizeAllocatesNothing(t *testing.T) {
	a := mustNew(t, with(rules(100), "read $SYS/#", "deny vault/#"))
	for _, q := range questions {
		if n := testing.AllocsPerRun(100, func() {
			if ok, err := a.Authorize(context.Background(), me, q.Right); !ok || err != nil {
				t.Fatalf("%s: %v %v", q.name, ok, err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", q.name, n)
		}
	}
}

// The last of the rules is the one that allows.
func BenchmarkAuthorize(b *testing.B) {
	for _, q := range questions {
		for _, n := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("%s/%d", q.name, n), func(b *testing.B) {
				a := mustNew(b, with(rules(n)))
				b.ReportAllocs()
				for b.Loop() {
					a.Authorize(context.Background(), me, q.Right)
				}
			})
		}
	}
}
