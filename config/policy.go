package config

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/narumq/naru/core"
)

// Policy is an element of the sections policies and operator_policies.
type Policy struct {
	Name       string            `yaml:"name" doc:"The name, which no other one of the vhost has."`
	VHost      string            `yaml:"vhost" doc:"The vhost."`
	Pattern    string            `yaml:"pattern" doc:"Regular expression (RE2) that is looked for anywhere in the name of a queue or exchange; .* for all."`
	ApplyTo    string            `yaml:"apply_to" enum:"all,queues,classic_queues,quorum_queues,exchanges" doc:"What it is for."`
	Priority   int64             `yaml:"priority" doc:"Of the policies that are for the same thing, the one with the highest priority applies, and no other; of equal ones the first by name."`
	Definition map[string]string `yaml:"definition" doc:"Properties by their names in RabbitMQ: alternate-exchange, dead-letter-exchange, dead-letter-routing-key, message-ttl, expires, max-length, max-length-bytes, overflow, delivery-limit. Accepted without effect: queue-mode, queue-version, max-in-memory-length, max-in-memory-bytes, queue-leader-locator. In operator_policies: expires, message-ttl, max-length, max-length-bytes, overflow, delivery-limit."`
}

// SetDefaults gives a policy what it need not be told.
func (p *Policy) SetDefaults() { p.VHost, p.ApplyTo = "/", "all" }

var applyTo = map[string]core.ApplyTo{
	"all":            core.ApplyToAll,
	"queues":         core.ApplyToQueues,
	"classic_queues": core.ApplyToClassicQueues,
	"quorum_queues":  core.ApplyToQuorumQueues,
	"exchanges":      core.ApplyToExchanges,
}

// CorePolicies returns the policies as the bus takes them.
func (c *Config) CorePolicies() (*core.Policies, error) {
	users, err := compilePolicies("policies", c.Policies, false)
	operators, operatorErr := compilePolicies("operator_policies", c.OperatorPolicies, true)
	if err = errors.Join(err, operatorErr); err != nil {
		return nil, err
	}
	return core.NewPolicies(users, operators), nil
}

func compilePolicies(section string, list []Policy, operator bool) ([]core.Policy, error) {
	var errs []error
	var compiled []core.Policy
	type full struct{ vhost, name string }
	seen := make(map[full]bool, len(list))
	for i, p := range list {
		add := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("%s.%d%w", section, i, fmt.Errorf(format, args...)))
		}
		if p.Name == "" {
			add(": no name")
		} else if seen[full{p.VHost, p.Name}] {
			add(".name: vhost %q has two policies %q", p.VHost, p.Name)
		}
		seen[full{p.VHost, p.Name}] = true
		to := core.Policy{Name: p.Name, VHost: p.VHost, ApplyTo: applyTo[p.ApplyTo], Priority: p.Priority}
		var err error
		if p.Pattern == "" {
			add(": no pattern (.* for all names)")
		} else if to.Pattern, err = regexp.Compile(p.Pattern); err != nil {
			add(".pattern: %w", err)
		}
		if len(p.Definition) == 0 {
			add(": no definition")
		}
		for _, key := range slices.Sorted(maps.Keys(p.Definition)) {
			switch err := to.Definition.Set(key, p.Definition[key], operator); {
			case errors.Is(err, core.ErrNotFound):
				add(".definition: %s", unknownPolicyKey(key, operator))
			case err != nil:
				add(".definition.%s: %w", key, err)
			}
		}
		compiled = append(compiled, to)
	}
	return compiled, errors.Join(errs...)
}

// unknownPolicyKey says what is wrong with a key, and what was probably meant.
func unknownPolicyKey(key string, operator bool) string {
	if operator && slices.Contains(core.PolicyKeys(false), key) {
		return fmt.Sprintf("key %q is not for operator policies", key)
	}
	near := nearest(key, core.PolicyKeys(operator))
	if near == "" {
		return fmt.Sprintf("unknown key %q", shorten(key))
	}
	return fmt.Sprintf("unknown key %q: did you mean %q?", key, near)
}
