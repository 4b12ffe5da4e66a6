package authfile

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
)

// permitted is a configuration with one user, alice, who has permissions in the
// vhost /.
func permitted(p Permission) Config {
	return Config{Users: map[string]User{"alice": {Password: guestHash, Permissions: &map[string]Permission{"/": p}}}}
}

// narrowed has topic permissions for amq.topic as well.
func narrowed(p TopicPermission) Config {
	c := permitted(Permission{".*", ".*", ".*"})
	u := c.Users["alice"]
	u.TopicPermissions = map[string]map[string]TopicPermission{"/": {"amq.topic": p}}
	c.Users["alice"] = u
	return c
}

func (a *Auth) allows(id *core.Identity, r core.Right) bool {
	ok, err := a.Authorize(context.Background(), id, r)
	return ok && err == nil
}

func queue(what core.Action, name string) core.Right {
	return core.Right{Action: what, Resource: core.ResourceQueue, Syntax: core.SyntaxAMQP, Address: []byte(name)}
}

func exchange(what core.Action, name string) core.Right {
	return core.Right{Action: what, Resource: core.ResourceExchange, Syntax: core.SyntaxAMQP, Address: []byte(name)}
}

func key(what core.Action, exchange, key string) core.Right {
	return core.Right{Action: what, Exchange: exchange, Syntax: core.SyntaxAMQP, Address: []byte(key)}
}

func topic(what core.Action, topic string) core.Right {
	return core.Right{Action: what, Exchange: "amq.topic", Address: []byte(topic)}
}

const (
	write = core.ActionWrite
	read  = core.ActionRead
)

// The rows of INTEROP 5.2, as questions: what each operation asks for, and which
// of the three permissions answers.
func TestPermissionTriplet(t *testing.T) {
	for _, c := range []struct {
		operation string
		right     core.Right
		kind      string // the permission that decides
		name      string // and the name that it is asked about
	}{
		{"exchange.declare", exchange(conf, "ex"), "configure", "ex"},
		{"exchange.declare, alternate written", exchange(write, "alt"), "write", "alt"},
		{"exchange.declare with alternate", exchange(read, "ex"), "read", "ex"},
		{"queue.declare", queue(conf, "q"), "configure", "q"},
		{"queue.declare, dead letters written", exchange(write, "dlx"), "write", "dlx"},
		{"queue.declare with dead letters", queue(read, "q"), "read", "q"},
		{"exchange.bind, destination", exchange(write, "ex"), "write", "ex"},
		{"exchange.bind, source", exchange(read, "src"), "read", "src"},
		{"queue.bind, queue", queue(write, "q"), "write", "q"},
		{"queue.bind, exchange", exchange(read, "ex"), "read", "ex"},
		{"queue.bind to a topic exchange", key(sub, "ex", "a.#"), "read", "ex"},
		{"basic.publish", key(pub, "ex", "a.b"), "write", "ex"},
		{"basic.publish to the default exchange", key(pub, "", "q"), "write", "amq.default"},
		{"default exchange, alternate", exchange(write, ""), "write", "amq.default"},
		{"default exchange, read", exchange(read, ""), "read", "amq.default"},
		{"basic.get, basic.consume, queue.purge", queue(read, "q"), "read", "q"},
		{"MQTT subscribe", topic(sub, "a/#"), "read", "amq.topic"},
		{"MQTT receive", topic(recv, "a/b"), "read", "amq.topic"},
		{"MQTT subscribe to a queue", topic(sub, "$queue/jobs"), "read", "jobs"},
		{"MQTT publish", topic(pub, "a/b"), "write", "amq.topic"},
	} {
		only := func(kind, pattern string) Permission {
			p := Permission{"^$", "", "^$"}
			switch kind {
			case "configure":
				p.Configure = pattern
			case "write":
				p.Write = pattern
			case "read":
				p.Read = pattern
			}
			return p
		}
		ask := func(p Permission) bool { return mustNew(t, permitted(p)).allows(me, c.right) }
		exact := "^" + strings.ReplaceAll(c.name, ".", `\.`) + "$"
		for _, pattern := range []string{exact, ".*", c.name[:1], "x|" + exact} { // found anywhere in the name
			if !ask(only(c.kind, pattern)) {
				t.Errorf("%s: refused with %s %q", c.operation, c.kind, pattern)
			}
		}
		for _, pattern := range []string{"", "^$", "^x", exact[:len(exact)-1] + "x"} {
			if ask(only(c.kind, pattern)) {
				t.Errorf("%s: allowed with %s %q", c.operation, c.kind, pattern)
			}
		}
		for _, kind := range []string{"configure", "write", "read"} {
			if kind != c.kind && ask(only(kind, ".*")) {
				t.Errorf("%s: allowed with %s", c.operation, kind)
			}
		}
		if ask(Permission{}) {
			t.Errorf("%s: allowed with no permission at all", c.operation)
		}
	}
}

// No question is allowed that makes no sense, whoever asks.
func TestPermissionsRefuseTheUnknown(t *testing.T) {
	for name, c := range map[string]Config{
		"permissions": permitted(Permission{".*", ".*", ".*"}), "none": with(nil), "acl": with(list("readwrite #", "configure #")),
	} {
		a := mustNew(t, c)
		for _, r := range []core.Right{
			{Action: 99, Resource: core.ResourceQueue}, {Action: read, Resource: 99}, {Action: conf, Resource: 99},
			{Action: read}, {Action: write}, {Action: read, Resource: core.ResourceQueue, Syntax: 99},
		} {
			r.Address = []byte("a")
			if a.allows(me, r) {
				t.Errorf("%s: %+v is allowed", name, r)
			}
		}
	}
}

func TestTopicPermissions(t *testing.T) {
	const ex = "amq.topic"
	for _, c := range []struct {
		name string
		row  TopicPermission
		r    core.Right
		want bool
	}{
		{"write", TopicPermission{Write: `^a\.`}, key(pub, ex, "a.b"), true},
		{"write", TopicPermission{Write: `^a\.`}, key(pub, ex, "b.a"), false},
		{"write", TopicPermission{Write: `^a\.`}, topic(pub, "a/b"), true},
		{"write", TopicPermission{Write: `^a\.`}, topic(pub, "a.b"), true},
		{"write", TopicPermission{Write: `^a\.`}, topic(pub, "b/a"), false},
		{"write", TopicPermission{Write: `^a\.b$`}, topic(pub, "a/b/c"), false},
		{"write", TopicPermission{Write: `a/b`}, topic(pub, "a/b"), false},
		{"write", TopicPermission{Write: `a/b`}, key(pub, ex, "a/b"), true},
		{"write is not read", TopicPermission{Write: `.*`}, topic(recv, "a"), false},
		{"read is not write", TopicPermission{Read: `.*`}, topic(pub, "a"), false},
		{"read", TopicPermission{Read: `^a\.\*\.#$`}, topic(sub, "a/+/#"), true},
		{"read", TopicPermission{Read: `^a\.\*\.#$`}, key(sub, ex, "a.*.#"), true},
		{"read", TopicPermission{Read: `^a\.b$`}, topic(sub, "a/+"), false},
		{"read", TopicPermission{Read: `^a\.b$`}, topic(sub, "#"), false},
		{"read", TopicPermission{Read: `^a\.b$`}, topic(recv, "a/b"), true},
		{"read", TopicPermission{Read: `^a\.b$`}, topic(recv, "a/c"), false},
		{"plus received is plus", TopicPermission{Read: `^a\.\+$`}, topic(recv, "a/+"), true},
		{"nothing", TopicPermission{}, key(pub, ex, ""), false},
		{"nothing", TopicPermission{Write: "^$", Read: "^$"}, key(pub, ex, ""), false},
		{"nothing", TopicPermission{Write: "^$", Read: "^$"}, key(sub, ex, ""), false},
		{"other exchange", TopicPermission{}, key(pub, "logs", "a"), true},
		{"other exchange", TopicPermission{}, key(pub, "", "a"), true},
		{"names", TopicPermission{}, queue(read, "q"), true},
		{"names", TopicPermission{}, topic(sub, "$queue/q"), true},
		{"names", TopicPermission{}, exchange(read, ex), true},
	} {
		if got := mustNew(t, narrowed(c.row)).allows(me, c.r); got != c.want {
			t.Errorf("%s %+v: %+v on %q: %v", c.name, c.row, c.r.Action, c.r.Address, got)
		}
	}
	// They only narrow, and without permissions narrow what the acl says.
	c := narrowed(TopicPermission{Write: `^a`, Read: `^a`})
	u := c.Users["alice"]
	(*u.Permissions)["/"] = Permission{Configure: ".*", Read: ".*"}
	c.Users["alice"] = u
	if mustNew(t, c).allows(me, topic(pub, "a")) {
		t.Error("a topic permission stands for the permission")
	}
	u.Permissions, u.ACL = nil, list("readwrite #")
	c.Users["alice"] = u
	if a := mustNew(t, c); !a.allows(me, topic(pub, "a")) || a.allows(me, topic(pub, "b")) {
		t.Error("topic permissions do not narrow the acl")
	}
	// A row for amq.default is one for the exchange without a name.
	u.TopicPermissions = map[string]map[string]TopicPermission{"/": {"": {Write: "^jobs$"}}}
	c.Users["alice"] = u
	if a := mustNew(t, c); !a.allows(me, key(pub, "", "jobs")) || a.allows(me, key(pub, "", "other")) {
		t.Error("the default exchange has no row")
	}
}

// Whatever a value is, it stands for itself and nothing else.
func TestPlaceholdersAreLiteral(t *testing.T) {
	hostile := []string{
		".*", ".", ".+", "^", "$", "|", "a|b", "(", ")", "[a-z]", "[", "]", "{", "}", "{1,9}", "?", "*", "+", "#", "/", "..",
		"../", `\`, `\E.*`, `\Q`, `\E`, `\d`, `\.`, "(?i)", "a\nb", "a\x00b", "{username}", "{vhost}", "c1)|(.*", "-", "a-z",
		"\xff", strings.Repeat("x", 300), "bob.temp", "C1",
	}
	others := []string{"bob", "c1", "a", "b", "x", "", "*", "#", "bob.temp", "temp", ".", "{client_id}"}
	for _, mark := range []string{"{client_id}", "{username}", "{vhost}"} {
		for _, pattern := range []string{`^s\.%s\..*`, `^s\.(%s)\.`, `(?i)^s\.%s\.v`, `^s\.(?:%s|%[1]s)\.v$`, `^s\.(%s){1}\.`} {
			row := TopicPermission{Write: strings.ReplaceAll(strings.ReplaceAll(pattern, "%[1]s", "%s"), "%s", mark)}
			row.Read = row.Write
			for _, value := range hostile {
				if value == "\xff" && mark != "{client_id}" {
					continue // a configuration is valid text
				}
				id := core.Identity{User: "alice", VHost: "/", ClientID: "nobody"}
				switch mark {
				case "{client_id}":
					id.ClientID = value
				case "{username}":
					id.User = value
				case "{vhost}":
					id.VHost = value
				}
				a := mustNew(t, Config{Users: map[string]User{id.User: {
					Password: guestHash, TopicPermissions: map[string]map[string]TopicPermission{id.VHost: {"amq.topic": row}},
				}}})
				for _, other := range others {
					if other == value {
						continue
					}
					for _, r := range []core.Right{topic(pub, "s/"+other+"/v"), key(pub, "amq.topic", "s."+other+".v"), topic(recv, "s/"+other+"/v")} {
						if a.allows(&id, r) {
							t.Errorf("%q with %q: %q is allowed", row.Write, value, r.Address)
						}
					}
				}
				for _, filter := range []string{"s/+/v", "s/#", "#"} {
					if a.allows(&id, topic(sub, filter)) {
						t.Errorf("%q with %q: filter %q is allowed", row.Write, value, filter)
					}
				}
				if own := key(pub, "amq.topic", "s."+value+".v"); a.allows(&id, own) != literally(mark, value) {
					t.Errorf("%q with %q: its own place is allowed: %v", row.Write, value, !literally(mark, value))
				}
			}
		}
	}
}

// literally says whether a value can stand for itself at all: not what would be
// a wildcard, nor several words chosen by a client.
func literally(mark, value string) bool {
	if strings.ContainsAny(value, "*#") {
		return false
	}
	return mark != "{client_id}" ||
		!strings.ContainsAny(value, "./\x00") && value != "\xff" && len(value) <= 255
}

// A client without an id has the text of the placeholder for one, as in RabbitMQ.
func TestClientIDUnset(t *testing.T) {
	a := mustNew(t, narrowed(TopicPermission{Write: `^s\.{client_id}\.v`}))
	labelled := &core.Identity{User: "alice", VHost: "/", Protocol: "amqp", ClientID: "x"} // by itself
	for _, id := range []*core.Identity{{User: "alice", VHost: "/"}, labelled} {
		for k, want := range map[string]bool{"s.{client_id}.v": true, "s..v": false, "s.x.v": false} {
			if got := a.allows(id, key(pub, "amq.topic", k)); got != want {
				t.Errorf("%+v, %q: %v", id, k, got)
			}
		}
	}
	a = mustNew(t, with(list("write s/%c/v")))
	device := *labelled
	device.Protocol = "mqtt"
	if a.allows(labelled, key(pub, "amq.topic", "s.x.v")) || !a.allows(&device, topic(pub, "s/x/v")) {
		t.Error("a label counts as a client id, or the id of an MQTT client does not")
	}
}

// What is kept for client ids is bounded, and the answers do not depend on it.
func TestExpressionsAreBounded(t *testing.T) {
	a := mustNew(t, narrowed(TopicPermission{Write: `^s\.{client_id}\.{client_id}$`}))
	var wg sync.WaitGroup
	for w := range 2 {
		wg.Go(func() {
			for i := range 2 * maxExpressions {
				own := fmt.Sprintf("c%d", i)
				id := &core.Identity{User: "alice", VHost: "/", ClientID: own}
				if !a.allows(id, topic(pub, "s/"+own+"/"+own)) || a.allows(id, topic(pub, "s/"+own+"/x")) {
					t.Errorf("worker %d: wrong answer for %s", w, own)
				}
			}
		})
	}
	wg.Wait()
	if n := len(a.policy.Load().expressions.made); n != maxExpressions {
		t.Errorf("%d expressions are kept", n)
	}
}

func TestPermissionsAndVHosts(t *testing.T) {
	rows := func(names ...string) *map[string]Permission {
		m := map[string]Permission{}
		for _, n := range names {
			m[n] = Permission{} // a row is enough to enter
		}
		return &m
	}
	for _, c := range []struct {
		user User
		may  string
	}{
		{User{}, "/ a b"},
		{User{Permissions: rows()}, ""},
		{User{Permissions: rows("/", "a")}, "/ a"},
		{User{Permissions: rows("/", "a"), VHosts: list("a", "b")}, "a"},
		{User{Permissions: rows("/"), VHosts: list()}, ""},
		{User{TopicPermissions: map[string]map[string]TopicPermission{"a": {}}}, "/ a b"},
	} {
		c.user.Password = guestHash
		a := mustNew(t, Config{Users: map[string]User{"guest": c.user}})
		var may []string
		for _, vhost := range []string{"/", "a", "b"} {
			l := login("guest", "guest", local)
			l.VHost = vhost
			if _, err := a.login(l); err == nil {
				may = append(may, vhost)
			}
		}
		if got := strings.Join(may, " "); got != c.may {
			t.Errorf("%+v: may enter %q", c.user, got)
		}
	}
}

// With an acl and permissions, both must allow; a deny wins over permissions too.
func TestPermissionsAndACL(t *testing.T) {
	c := permitted(Permission{Write: "^amq\\.topic$", Read: ".*"})
	u := c.Users["alice"]
	u.ACL = list("write a/#", "read $queue/jobs")
	c.Users["alice"], c.ACL = u, []string{"deny a/secret/#"}
	a := mustNew(t, c)
	for _, q := range []struct {
		r    core.Right
		want bool
	}{
		{topic(pub, "a/b"), true}, {topic(pub, "b"), false}, {key(pub, "other", "a.b"), false},
		{topic(pub, "a/secret/x"), false}, {topic(sub, "a/b"), false},
		{queue(read, "jobs"), true}, {queue(read, "other"), false},
	} {
		if got := a.allows(me, q.r); got != q.want {
			t.Errorf("%+v %q: %v", q.r, q.r.Address, got)
		}
	}
	u.ACL = nil
	c.Users["alice"] = u
	a = mustNew(t, c)
	if a.allows(me, topic(pub, "a/secret/x")) || !a.allows(me, topic(pub, "b")) {
		t.Error("without an acl, denials for everybody do not hold")
	}
}

// What AMQP asks of users that have an acl.
func TestRulesForQueuesAndExchanges(t *testing.T) {
	for _, c := range []struct {
		acl  *[]string
		r    core.Right
		want bool
	}{
		{nil, queue(read, "q"), true}, {nil, queue(write, "q"), true}, {nil, exchange(read, "x"), true}, {nil, exchange(write, ""), true},
		{list(), queue(read, "q"), false}, {list(), queue(write, "q"), false}, {list(), exchange(read, "x"), false}, {list(), exchange(write, "x"), false},

		{list("read $queue/jobs"), queue(read, "jobs"), true},
		{list("read $queue/jobs"), queue(read, "job"), false},
		{list("read $queue/#"), queue(read, "jobs.eu"), true},
		{list("read $queue/jobs"), queue(read, "#"), false},
		{list("read $queue/jobs"), queue(read, "+"), false},
		{list("read $queue/jobs"), topic(sub, "$queue/#"), false},
		{list("read $queue/jobs"), topic(sub, "$queue/jobs"), true},
		{list("read $queue/" + strings.Repeat("q", 255)), queue(read, strings.Repeat("q", 255)), true},
		{list("read #", "readwrite jobs", "configure jobs"), queue(read, "jobs"), false},
		{list("read $queue/#", "deny $queue/secret"), queue(read, "secret"), false},
		{list("read $queue/#", "deny $queue/secret/#"), queue(read, "secret.x"), false},
		{list("deny $queue/secret", "read $queue/#"), queue(read, "jobs"), true},

		{list("configure jobs/#"), queue(conf, "jobs.eu"), true},
		{list("configure jobs/#"), queue(write, "jobs.eu"), true},
		{list("configure jobs/#"), queue(write, "other"), false},
		{list("configure jobs/#"), queue(read, "jobs.eu"), false},
		{list("readwrite #"), queue(write, "jobs"), false},
		{list("configure #", "deny jobs/#"), queue(write, "jobs.eu"), false},
		{list("configure jobs/#"), exchange(conf, "jobs"), true},
		{list("configure jobs/#"), exchange(write, "jobs"), false},
		{list("configure jobs/#"), exchange(read, "jobs"), false},

		{list("write a"), exchange(write, "any"), true},
		{list("write a"), exchange(write, ""), true},
		{list("write a"), exchange(read, "any"), false},
		{list("read a"), exchange(read, "any"), true},
		{list("read a"), exchange(write, "any"), false},
		{list("readwrite #", "deny vault/#"), exchange(write, "vault"), false},
		{list("readwrite #", "deny vault/#"), exchange(read, "vault.x"), false},
		{list("readwrite #", "deny amq/default"), exchange(write, ""), false},
	} {
		if got := mustNew(t, with(c.acl)).allows(me, c.r); got != c.want {
			t.Errorf("%v: action %d on %d %q: %v", c.acl, c.r.Action, c.r.Resource, c.r.Address, got)
		}
	}
	if a := mustNew(t, with(list(), "write a")); !a.allows(me, exchange(write, "x")) || a.allows(me, exchange(read, "x")) {
		t.Error("the rules for everybody do not count")
	}
	if a := mustNew(t, with(nil, "deny jobs/#", "deny $queue/jobs/#")); a.allows(me, queue(write, "jobs")) || a.allows(me, queue(read, "jobs")) {
		t.Error("a denial for everybody does not hold for who has no acl")
	}
}

func TestPermissionProblems(t *testing.T) {
	long := strings.Repeat("a", maxPattern)
	for _, c := range []struct {
		user User
		want string // "" for none
	}{
		{User{Permissions: &map[string]Permission{"/": {Configure: long}}}, ""},
		{User{Permissions: &map[string]Permission{"/": {Configure: long + "a"}}}, "users.alice.permissions./.configure: the expression has 1025 bytes, more than 1024"},
		{User{Permissions: &map[string]Permission{"/": {Write: "("}}}, "users.alice.permissions./.write: "},
		{User{Permissions: &map[string]Permission{"a.b": {Read: "a(?=b)"}}}, `users.alice.permissions."a.b".read: `},
		{User{Permissions: &map[string]Permission{"/": {Read: "{username}"}}}, ""}, // text like any other there
		{topicUser("{client_id}"), ""},
		{topicUser(`^(?i){username}\.({client_id}|{vhost})$`), ""},
		{topicUser(`\{client_id}`), ""},
		{topicUser(`[{client_id}]`), "users.alice.topic_permissions./.\"amq.topic\".write: in \"[{client_id}]\" a placeholder stands where no text can"},
		{topicUser(`^[^{username}.]+$`), "placeholder"},
		{topicUser(`\Q{vhost}\E`), "placeholder"},
		{topicUser(`{client_id}(`), "is no regular expression"},
		{topicUser(long), ""},
		{topicUser(long + "{vhost}"), "more than 1024"},
		{User{Tags: []string{"administrator", "team blue"}}, ""},
		{User{Tags: make([]string, 33)}, "users.alice.tags: at most 32 tags, found 33"},
		{User{Tags: []string{"a", ""}}, "users.alice.tags: a tag is empty"},
	} {
		c.user.Password = guestHash
		_, err := New(Config{Users: map[string]User{"alice": c.user}})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v: %v, want %q", c.user, err, c.want)
		}
	}
}

func topicUser(write string) User {
	return User{TopicPermissions: map[string]map[string]TopicPermission{"/": {"amq.topic": {Write: write}}}}
}

func TestReloadChangesPermissions(t *testing.T) {
	a := mustNew(t, permitted(Permission{Write: ".*"}))
	for i, s := range []struct {
		change Config
		fails  bool
		want   bool // alice publishes to s/c1/v
	}{
		{permitted(Permission{Read: ".*"}), false, false},
		{narrowed(TopicPermission{Write: `^s\.{client_id}\.`}), false, true},
		{narrowed(TopicPermission{Write: `^s\.{client_id}$`}), false, false},
		{narrowed(TopicPermission{Write: `^s\.x{client_id}\.`}), false, false},
		{narrowed(TopicPermission{Write: `(`}), true, false},
		{narrowed(TopicPermission{Write: `.*`}), false, true},
		{Config{Users: map[string]User{"alice": {Password: guestHash, Permissions: &map[string]Permission{}}}}, false, false},
		{with(nil), false, true},
	} {
		if err := a.Reload(s.change); (err != nil) != s.fails {
			t.Errorf("%d: error %v", i, err)
		}
		if got := a.allows(me, topic(pub, "s/c1/v")); got != s.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

func TestPermissionsAreRestrictions(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   bool
	}{
		{permitted(Permission{".*", ".*", ".*"}), true},
		{permitted(Permission{".*", ".*", "^a"}), false},
		{permitted(Permission{".*", "", ".*"}), false},
		{permitted(Permission{"x", ".*", ".*"}), false},
		{narrowed(TopicPermission{"^a", "^a"}), false},
		{Config{Users: map[string]User{"alice": {Password: guestHash, Permissions: &map[string]Permission{}}}}, true}, // lets nobody in
	} {
		if got := mustNew(t, c.config).Unrestricted(); got != c.want {
			t.Errorf("%+v: %v", c.config.Users, got)
		}
	}
}

// Tags come from the configuration, never from who logs in.
func TestTags(t *testing.T) {
	c := Config{Users: map[string]User{
		"guest": {Password: guestHash, Tags: []string{"impersonator", "blue", "monitoring"}},
		"plain": {Password: guestHash},
	}, Anonymous: Anonymous{Enabled: true}}
	a := mustNew(t, c)
	for _, w := range []struct {
		credentials *core.Credentials
		want        core.Tags
	}{
		{login("guest", "guest", local), core.TagImpersonator | core.TagMonitoring},
		{login("plain", "guest", local), 0},
		{&core.Credentials{Identity: core.Identity{Peer: local}}, 0},
	} {
		w.credentials.Tags = core.TagAdministrator
		id, err := a.login(w.credentials)
		if err != nil || id.Tags != w.want {
			t.Errorf("%q: tags %b, %v", w.credentials.User, id.Tags, err)
		}
	}
	if id := (core.Identity{Tags: core.TagImpersonator}); !id.Tags.Has(core.TagImpersonator) || id.Tags.Has(core.TagAdministrator) {
		t.Error("Has is wrong")
	}
}

func TestUserLimits(t *testing.T) {
	three, none := 3, 0
	a := mustNew(t, Config{Users: map[string]User{
		"alice": {Password: guestHash, MaxConnections: &three, MaxChannels: &none}, "bob": {Password: guestHash},
	}})
	for _, w := range []struct {
		id                    core.Identity
		connections, channels int
	}{
		{core.Identity{User: "alice"}, 3, 0},
		{core.Identity{User: "bob"}, -1, -1},
		{core.Identity{User: "gone"}, -1, -1},
		{core.Identity{User: "alice", Anonymous: true}, -1, -1},
	} {
		if connections, channels := a.UserLimits(&w.id); connections != w.connections || channels != w.channels {
			t.Errorf("%+v: %d connections, %d channels", w.id, connections, channels)
		}
	}
}

func TestPermissionsAllocateNothing(t *testing.T) {
	if underRace {
		t.Skip("expressions are matched with memory from a pool, which is no use here")
	}
	c := narrowed(TopicPermission{Write: `^s\.{client_id}\.{username}\..*`, Read: `^s\.{client_id}\.`})
	(*c.Users["alice"].Permissions)["/"] = Permission{"^jobs", "^(amq\\.topic|jobs.*)$", "^(amq\\.topic|jobs.*)$"}
	a := mustNew(t, c)
	for _, r := range []core.Right{
		topic(pub, "s/c1/alice/v"), key(pub, "amq.topic", "s.c1.alice.v"), topic(recv, "s/c1/v"), topic(sub, "s/c1/+/v"),
		queue(read, "jobs.eu"), queue(write, "jobs.eu"), queue(conf, "jobs"), key(pub, "jobs", "x"), topic(sub, "$queue/jobs"),
	} {
		if n := testing.AllocsPerRun(100, func() {
			if !a.allows(me, r) {
				t.Fatalf("%+v %q is refused", r, r.Address)
			}
		}); n != 0 {
			t.Errorf("%+v %q: %v allocations", r, r.Address, n)
		}
	}
	acl := mustNew(t, with(list("read $queue/jobs", "write a", "configure jobs")))
	for _, r := range []core.Right{queue(read, "jobs"), queue(write, "jobs"), exchange(write, "x"), topic(sub, "$queue/jobs")} {
		if n := testing.AllocsPerRun(100, func() {
			if !acl.allows(me, r) {
				t.Fatalf("%+v %q is refused", r, r.Address)
			}
		}); n != 0 {
			t.Errorf("acl: %+v %q: %v allocations", r, r.Address, n)
		}
	}
}
