package core

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A PolicyDefinition is what a policy says. What it does not say is zero.
type PolicyDefinition struct {
	Limits           QueueLimits
	HasOverflow      bool  // Limits.Overflow is said
	Expires          int64 // as in QueueOptions
	DeliveryLimit    int32 // as in QueueOptions, if HasDeliveryLimit
	HasDeliveryLimit bool
	DeadLetter       DeadLetter // Exchange if HasDeadLetter; Key if DeadLetter.HasKey
	HasDeadLetter    bool
	Alternate        string
}

// maxPolicyTime is the longest time in a policy, in milliseconds: ten years.
const maxPolicyTime = 315360000000

// policyKey is one key of a definition.
type policyKey struct {
	operator bool // in the policy of an operator too
	set      func(d *PolicyDefinition, value string) error
}

// policyKeys are the keys of a definition, as RabbitMQ calls them. Those that
// check their value and do nothing have no meaning here.
var policyKeys = map[string]policyKey{
	"alternate-exchange": {false, func(d *PolicyDefinition, v string) error { d.Alternate = v; return nil }},
	"dead-letter-exchange": {false, func(d *PolicyDefinition, v string) error {
		d.DeadLetter.Exchange, d.HasDeadLetter = v, true
		return nil
	}},
	"dead-letter-routing-key": {false, func(d *PolicyDefinition, v string) error {
		d.DeadLetter.Key, d.DeadLetter.HasKey = v, true
		return nil
	}},
	"message-ttl": {true, func(d *PolicyDefinition, v string) (err error) {
		d.Limits.TTL, err = policyLimit(v, maxPolicyTime)
		return err
	}},
	"expires": {true, func(d *PolicyDefinition, v string) (err error) {
		d.Expires, err = policyNumber(v, 1, maxPolicyTime)
		return err
	}},
	"max-length": {true, func(d *PolicyDefinition, v string) (err error) {
		d.Limits.MaxLength, err = policyLimit(v, math.MaxInt64)
		return err
	}},
	"max-length-bytes": {true, func(d *PolicyDefinition, v string) (err error) {
		d.Limits.MaxBytes, err = policyLimit(v, math.MaxInt64)
		return err
	}},
	"overflow": {true, func(d *PolicyDefinition, v string) (err error) {
		names := []string{DropHead: "drop-head", RejectPublish: "reject-publish", RejectPublishDLX: "reject-publish-dlx"}
		if err = policyWord(v, names...); err == nil {
			d.Limits.Overflow, d.HasOverflow = Overflow(slices.Index(names, v)), true
		}
		return err
	}},
	"delivery-limit": {true, func(d *PolicyDefinition, v string) error {
		n, err := policyNumber(v, math.MinInt32, math.MaxInt32)
		switch {
		case err != nil:
			return err
		case n < 0: // any number
			n = 0
		case n == 0:
			n = AtOnce
		}
		d.DeliveryLimit, d.HasDeliveryLimit = int32(n), true
		return nil
	}},

	"queue-mode":           {false, func(_ *PolicyDefinition, v string) error { return policyWord(v, "default", "lazy") }},
	"queue-leader-locator": {false, func(_ *PolicyDefinition, v string) error { return policyWord(v, "client-local", "balanced") }},
	"queue-version":        {false, meaningless},
	"max-in-memory-length": {false, meaningless},
	"max-in-memory-bytes":  {false, meaningless},
}

func meaningless(_ *PolicyDefinition, v string) error {
	_, err := policyNumber(v, 0, math.MaxInt64)
	return err
}

// PolicyKeys returns the keys that a definition may have, sorted.
func PolicyKeys(operator bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(policyKeys)), func(key string) bool {
		return operator && !policyKeys[key].operator
	})
}

// Set puts a value under a key. Errors: ErrNotFound for a key that PolicyKeys does
// not have; any other is about the value.
func (d *PolicyDefinition) Set(key, value string, operator bool) error {
	k, ok := policyKeys[key]
	if !ok || operator && !k.operator {
		return fmt.Errorf("key %q: %w", key, ErrNotFound)
	}
	return k.set(d, value)
}

func policyNumber(text string, low, high int64) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) || err == nil && (n < low || n > high) {
		return 0, fmt.Errorf("expected an integer from %d to %d, found %s", low, high, text)
	}
	if err != nil {
		return 0, fmt.Errorf("expected an integer, found %q", text)
	}
	return n, nil
}

// policyLimit reads a limit of which 0 means that nothing may wait.
func policyLimit(text string, high int64) (int64, error) {
	n, err := policyNumber(text, 0, high)
	if n == 0 && err == nil {
		n = AtOnce
	}
	return n, err
}

func policyWord(word string, words ...string) error {
	if slices.Contains(words, word) {
		return nil
	}
	return fmt.Errorf("expected one of %s, found %q", strings.Join(words, ", "), word)
}
