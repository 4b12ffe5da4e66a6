package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/plugins/authfile"
)

// loadPolicies reads a whole configuration.
func loadPolicies(text string) (*Config, error) {
	c := Default()
	_, err := loadText(&c, text, Sources{})
	return &c, err
}

func TestPolicies(t *testing.T) {
	c, err := loadPolicies(`
vhosts: [{name: prod}]
policies:
  - {name: all, pattern: .*, definition: {max-length: 10, queue-mode: lazy}}
  - {name: orders, pattern: ^orders, priority: 2, apply_to: queues, definition: {message-ttl: 0, overflow: reject-publish, dead-letter-exchange: ""}}
  - {name: all, vhost: prod, pattern: .*, apply_to: exchanges, definition: {alternate-exchange: lost}}
operator_policies:
  - {name: bound, pattern: s$, priority: -1, apply_to: quorum_queues, definition: {max-length: 3, delivery-limit: 0, expires: 5}}
`)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.CorePolicies()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []struct {
		what      string
		got, want core.Effective
	}{
		{"queue", s.ForQueue("/", "q", false), core.Effective{Policy: "all", PolicyDefinition: core.PolicyDefinition{Limits: core.QueueLimits{MaxLength: 10}}}},
		{"orders", s.ForQueue("/", "orders", false), core.Effective{Policy: "orders", PolicyDefinition: core.PolicyDefinition{
			Limits: core.QueueLimits{TTL: core.AtOnce, Overflow: core.RejectPublish}, HasOverflow: true, HasDeadLetter: true}}},
		{"jobs, quorum", s.ForQueue("/", "jobs", true), core.Effective{Policy: "all", Operator: "bound", PolicyDefinition: core.PolicyDefinition{
			Limits: core.QueueLimits{MaxLength: 3}, Expires: 5, DeliveryLimit: core.AtOnce, HasDeliveryLimit: true}}},
		{"queue of prod", s.ForQueue("prod", "orders", false), core.Effective{}},
		{"exchange of prod", s.ForExchange("prod", "x"), core.Effective{Policy: "all", PolicyDefinition: core.PolicyDefinition{Alternate: "lost"}}},
	} {
		if w.got != w.want {
			t.Errorf("%s: %+v, want %+v", w.what, w.got, w.want)
		}
	}
	if c.Policies[0].VHost != "/" || c.Policies[0].ApplyTo != "all" {
		t.Errorf("defaults: %+v", c.Policies[0])
	}
}

func TestPolicyProblems(t *testing.T) {
	const head = "policies:\n  - {name: p, pattern: .*, definition: {"
	for _, c := range []struct{ text, want string }{
		{head + "x-message-ttl: 1}}", `policies.0.definition: unknown key "x-message-ttl": did you mean "message-ttl"?`},
		{head + "max_length: 1}}", `policies.0.definition: unknown key "max_length": did you mean "max-length"?`},
		{head + "federation-upstream: x}}", `policies.0.definition: unknown key "federation-upstream"`},
		{head + "max-length: many}}", `policies.0.definition.max-length: expected an integer, found "many"`},
		{head + "overflow: x, expires: 0}}", `policies.0.definition.expires: expected an integer from 1`},
		{head + "}}", "policies.0: no definition"},
		{head + "expires: 1}, vhost: prod}", `policies.0.vhost: there is no vhost "prod"`},
		{head + "expires: 1}, apply_to: streams}", "apply_to"},
		{head + "expires: 1}}\n  - {name: p, pattern: x, definition: {expires: 1}}", `policies.1.name: vhost "/" has two policies "p"`},
		{"policies: [{name: p, definition: {expires: 1}}]", "policies.0: no pattern"},
		{"policies: [{pattern: x, definition: {expires: 1}}]", "policies.0: no name"},
		{"policies: [{name: p, pattern: '(', definition: {expires: 1}}]", "policies.0.pattern: "},
		{"operator_policies: [{name: p, pattern: x, definition: {dead-letter-exchange: x}}]",
			`operator_policies.0.definition: key "dead-letter-exchange" is not for operator policies`},
		{"operator_policies: [{name: p, pattern: x, vhost: no, definition: {expires: 1}}]", `operator_policies.0.vhost: there is no vhost "no"`},
		{"operator_policies: [{name: p, pattern: x, definition: {expire: 1}}]", `did you mean "expires"?`},
	} {
		if _, err := loadPolicies(c.text); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n%v\nwant %s", c.text, err, c.want)
		}
	}
	// The same name is another policy in another vhost, and among those of operators.
	if _, err := loadPolicies(head + "expires: 1}}\n  - {name: p, vhost: prod, pattern: x, definition: {expires: 1}}\n" +
		"operator_policies: [{name: p, pattern: x, definition: {expires: 1}}]\nvhosts: [{name: prod}]"); err != nil {
		t.Error(err)
	}
}

// The keys that the reference names are those that there are.
func TestPolicyKeysAreDocumented(t *testing.T) {
	c := Default()
	keys := Keys(&c)
	i := slices.IndexFunc(keys, func(k Key) bool { return k.Path == "policies[].definition" })
	if i < 0 {
		t.Fatal("there is no definition")
	}
	for _, key := range core.PolicyKeys(false) {
		if !strings.Contains(keys[i].Doc, key) {
			t.Errorf("%s is not in the reference", key)
		}
	}
}

func TestVHostLimits(t *testing.T) {
	c, err := loadPolicies("vhosts: [{name: a}, {name: b, max_connections: 0, max_queues: 7}]")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := c.VHosts[0], c.VHosts[1]; a.MaxConnections != -1 || a.MaxQueues != -1 || b.MaxConnections != 0 || b.MaxQueues != 7 {
		t.Errorf("%+v", c.VHosts)
	}
}

// Permissions in a file: nothing, and nobody, are told apart.
func TestPermissionsInAFile(t *testing.T) {
	c, err := loadPolicies(`
users:
  a: {certificate: true, tags: [impersonator], permissions: {/: {configure: ^a, write: .*}}, topic_permissions: {/: {amq.topic: {read: ^b}}}}
  b: {certificate: true, permissions: {}}
  c: {certificate: true}
`)
	if err != nil {
		t.Fatal(err)
	}
	a, b := c.Auth.Users["a"], c.Auth.Users["b"]
	if a.Permissions == nil || (*a.Permissions)["/"] != (authfile.Permission{Configure: "^a", Write: ".*"}) ||
		a.TopicPermissions["/"]["amq.topic"].Read != "^b" || !slices.Equal(a.Tags, []string{"impersonator"}) {
		t.Errorf("%+v", a)
	}
	if b.Permissions == nil || len(*b.Permissions) != 0 || c.Auth.Users["c"].Permissions != nil {
		t.Errorf("%+v", b)
	}
	if _, err := loadPolicies("users: {a: {certificate: true, permissions: {/: {write: '('}}}}"); err == nil || !strings.Contains(err.Error(), "users.a.permissions./.write: ") {
		t.Error(err)
	}
}
