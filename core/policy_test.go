package core

import (
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/narumq/naru/core/props"
)

// policyOf makes a policy: its definition is written "key=value key=value".
func policyOf(t *testing.T, name, pattern string, priority int64, definition string) Policy {
	t.Helper()
	p := Policy{Name: name, VHost: "/", Pattern: regexp.MustCompile(pattern), Priority: priority}
	for _, pair := range strings.Fields(definition) {
		key, value, _ := strings.Cut(pair, "=")
		if err := p.Definition.Set(key, value, false); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func effective(t *testing.T, user, operator string) *Effective {
	t.Helper()
	var users, operators []Policy
	if user != "" {
		users = []Policy{policyOf(t, "user", "", 0, user)}
	}
	if operator != "" {
		operators = []Policy{policyOf(t, "operator", "", 0, operator)}
	}
	e := NewPolicies(users, operators).ForQueue("/", "q", false)
	return &e
}

func TestPolicyApplies(t *testing.T) {
	kinds := func(p Policy) string {
		s, out := NewPolicies([]Policy{p}, nil), ""
		for _, k := range []struct {
			letter string
			e      Effective
		}{{"c", s.ForQueue("/", "orders.eu", false)}, {"q", s.ForQueue("/", "orders.eu", true)}, {"x", s.ForExchange("/", "orders.eu")}} {
			if k.e.Policy == p.Name {
				out += k.letter
			}
		}
		return out
	}
	for to, want := range map[ApplyTo]string{
		ApplyToAll: "cqx", ApplyToQueues: "cq", ApplyToClassicQueues: "c", ApplyToQuorumQueues: "q", ApplyToExchanges: "x",
	} {
		p := policyOf(t, "p", "eu", 0, "")
		p.ApplyTo = to
		if got := kinds(p); got != want {
			t.Errorf("apply to %d: %q, want %q", to, got, want)
		}
	}
	for pattern, want := range map[string]string{
		"": "cqx", ".*": "cqx", "rders": "cqx", "^orders": "cqx", "^rders": "", "eu$": "cqx", "orders$": "", "^orders.eu$": "cqx", "^$": "",
	} {
		if got := kinds(policyOf(t, "p", pattern, 0, "")); got != want {
			t.Errorf("pattern %q: %q, want %q", pattern, got, want)
		}
	}
	p := policyOf(t, "p", "", 0, "")
	p.VHost = "other"
	if got := kinds(p); got != "" {
		t.Errorf("of another vhost: %q", got)
	}
	var none *Policies
	if none.ForQueue("/", "q", false) != (Effective{}) || none.ForExchange("/", "x") != (Effective{}) {
		t.Error("no policies say something")
	}
	s := NewPolicies([]Policy{policyOf(t, "p", "", 0, "alternate-exchange=x")}, nil)
	if e := s.ForExchange("/", ""); e != (Effective{}) {
		t.Errorf("the default exchange: %+v", e)
	}
	if e := s.ForExchange("/", "amq.topic"); e.Alternate != "x" {
		t.Errorf("a predeclared exchange: %+v", e)
	}
}

// One policy of each kind applies, whole: nothing is taken from the others.
func TestPolicyPriority(t *testing.T) {
	ps := []Policy{
		policyOf(t, "low", "", -1, "max-length=1 expires=5"),
		policyOf(t, "b", "", 3, "max-length=2"),
		policyOf(t, "a", "", 3, "max-length=3"),
		policyOf(t, "c", "", 3, "max-length=4"),
		policyOf(t, "other", "^x", 9, "max-length=5"),
	}
	for range ps { // whatever the order they come in
		ps = append(ps[1:], ps[0])
		given := slices.Clone(ps)
		s := NewPolicies(ps, ps)
		e := s.ForQueue("/", "q", true)
		if e.Policy != "a" || e.Operator != "a" || e.Limits.MaxLength != 3 || e.Expires != 0 {
			t.Errorf("%+v", e)
		}
		if e := s.ForQueue("/", "xq", true); e.Policy != "other" {
			t.Errorf("%+v", e)
		}
		for i := range ps {
			if ps[i].Name != given[i].Name {
				t.Fatal("the list that was passed is sorted")
			}
		}
	}
}

func TestOperatorPolicyBounds(t *testing.T) {
	for _, c := range []struct{ user, operator, want string }{
		{"message-ttl=500", "message-ttl=1000", "message-ttl=500"}, // INTEROP 9, 69
		{"message-ttl=1000", "message-ttl=500", "message-ttl=500"},
		{"message-ttl=0", "message-ttl=500", "message-ttl=0"},
		{"", "message-ttl=500", "message-ttl=500"},
		{"message-ttl=500", "max-length=3", "message-ttl=500 max-length=3"},
		{"expires=7", "expires=8", "expires=7"},
		{"", "expires=8", "expires=8"},
		{"max-length=10", "max-length=0", "max-length=0"},
		{"max-length-bytes=10", "max-length-bytes=9", "max-length-bytes=9"},
		{"overflow=reject-publish", "overflow=drop-head", "overflow=drop-head"}, // 69
		{"overflow=drop-head", "overflow=reject-publish", "overflow=reject-publish"},
		{"overflow=reject-publish", "max-length=1", "overflow=reject-publish max-length=1"},
		{"delivery-limit=5", "delivery-limit=9", "delivery-limit=5"},
		{"delivery-limit=-1", "delivery-limit=9", "delivery-limit=9"},
		{"delivery-limit=9", "delivery-limit=-1", "delivery-limit=9"},
		{"delivery-limit=9", "delivery-limit=0", "delivery-limit=0"},
		{"delivery-limit=-1", "delivery-limit=-1", "delivery-limit=-1"},
		{"dead-letter-exchange=d dead-letter-routing-key=k alternate-exchange=a", "expires=1",
			"dead-letter-exchange=d dead-letter-routing-key=k alternate-exchange=a expires=1"},
	} {
		got, want := effective(t, c.user, c.operator).PolicyDefinition, policyOf(t, "", "", 0, c.want).Definition
		if got != want {
			t.Errorf("%q and %q: %+v, want %+v", c.user, c.operator, got, want)
		}
	}
}

// arguments is a table as a declarer writes it, with one entry. What it says is in
// the options already.
func arguments(name string) []byte { return props.AddStr(nil, name, "v") }

func TestPolicyAndQueue(t *testing.T) {
	limits := func(l QueueLimits) QueueOptions { return QueueOptions{Limits: l} }
	letters := func(d DeadLetter) QueueOptions { return QueueOptions{DeadLetter: &d} }
	for _, c := range []struct {
		name     string
		policy   string
		declared QueueOptions
		want     QueueOptions
	}{
		{"nothing", "", QueueOptions{Expires: 3}, QueueOptions{Expires: 3}},
		{"lesser length declared", "max-length=10", limits(QueueLimits{MaxLength: 5}), limits(QueueLimits{MaxLength: 5})}, // INTEROP 9, 68
		{"lesser length of the policy", "max-length=5", limits(QueueLimits{MaxLength: 10}), limits(QueueLimits{MaxLength: 5})},
		{"no length declared", "max-length=5", QueueOptions{}, limits(QueueLimits{MaxLength: 5})},
		{"no length in the policy", "expires=5", limits(QueueLimits{MaxLength: 10}), QueueOptions{Expires: 5, Limits: QueueLimits{MaxLength: 10}}},
		{"length 0", "max-length=0", limits(QueueLimits{MaxLength: 10}), limits(QueueLimits{MaxLength: AtOnce})},
		{"length 0 declared", "max-length=3", limits(QueueLimits{MaxLength: AtOnce}), limits(QueueLimits{MaxLength: AtOnce})},
		{"bytes", "max-length-bytes=5", limits(QueueLimits{MaxBytes: 10}), limits(QueueLimits{MaxBytes: 5})},
		{"time", "message-ttl=5", limits(QueueLimits{TTL: 10}), limits(QueueLimits{TTL: 5})},
		{"expiry", "expires=5", QueueOptions{Expires: 10}, QueueOptions{Expires: 5}},

		{"overflow", "overflow=reject-publish", QueueOptions{}, limits(QueueLimits{Overflow: RejectPublish})},
		{"overflow declared", "overflow=reject-publish", limits(QueueLimits{Overflow: RejectPublishDLX}), limits(QueueLimits{Overflow: RejectPublishDLX})},
		{"overflow declared, the default", "overflow=reject-publish", QueueOptions{Arguments: arguments("x-overflow")}, QueueOptions{Arguments: arguments("x-overflow")}},
		{"another argument", "overflow=reject-publish", QueueOptions{Arguments: arguments("x-max-length")},
			QueueOptions{Arguments: arguments("x-max-length"), Limits: QueueLimits{Overflow: RejectPublish}}},
		{"an argument in a value", "overflow=reject-publish", QueueOptions{Arguments: props.AddStr(nil, "x", "\x0ax-overflow")},
			QueueOptions{Arguments: props.AddStr(nil, "x", "\x0ax-overflow"), Limits: QueueLimits{Overflow: RejectPublish}}},
		{"overflow of a quorum queue", "overflow=reject-publish-dlx", QueueOptions{Quorum: true}, QueueOptions{Quorum: true}},
		{"overflow of a classic queue", "overflow=reject-publish-dlx", QueueOptions{}, limits(QueueLimits{Overflow: RejectPublishDLX})},

		{"dead letters", "dead-letter-exchange=d", QueueOptions{}, letters(DeadLetter{Exchange: "d"})},
		{"dead letters to the default exchange", "dead-letter-exchange= dead-letter-routing-key=k", QueueOptions{}, letters(DeadLetter{Key: "k", HasKey: true})},
		{"dead letters declared", "dead-letter-exchange=d", letters(DeadLetter{Exchange: "own"}), letters(DeadLetter{Exchange: "own"})}, // 68
		{"dead letters declared with a key", "dead-letter-exchange=d dead-letter-routing-key=k",
			letters(DeadLetter{Exchange: "own", Key: "o", HasKey: true}), letters(DeadLetter{Exchange: "own", Key: "o", HasKey: true})},
		{"key alone", "dead-letter-routing-key=k", QueueOptions{}, QueueOptions{}},
		{"key for what is declared", "dead-letter-routing-key=k", letters(DeadLetter{Exchange: "own"}), letters(DeadLetter{Exchange: "own", Key: "k", HasKey: true})},

		{"deliveries of a classic queue", "delivery-limit=3", QueueOptions{}, QueueOptions{}},
		{"deliveries, in place of the default", "delivery-limit=30", QueueOptions{Quorum: true, DeliveryLimit: 20}, QueueOptions{Quorum: true, DeliveryLimit: 30}},
		{"deliveries, lesser declared", "delivery-limit=30", QueueOptions{Quorum: true, DeliveryLimit: 20, Arguments: arguments("x-delivery-limit")},
			QueueOptions{Quorum: true, DeliveryLimit: 20, Arguments: arguments("x-delivery-limit")}},
		{"deliveries, any number declared", "delivery-limit=30", QueueOptions{Quorum: true, Arguments: arguments("x-delivery-limit")},
			QueueOptions{Quorum: true, DeliveryLimit: 30, Arguments: arguments("x-delivery-limit")}},
		{"deliveries, any number", "delivery-limit=-1", QueueOptions{Quorum: true, DeliveryLimit: 20}, QueueOptions{Quorum: true}},
		{"deliveries, none", "delivery-limit=0", QueueOptions{Quorum: true, DeliveryLimit: 20}, QueueOptions{Quorum: true, DeliveryLimit: AtOnce}},
	} {
		before := c.declared.DeadLetter
		var held DeadLetter
		if before != nil {
			held = *before
		}
		got := effective(t, c.policy, "").MergeQueue(c.declared)
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
		if before != nil && *before != held {
			t.Errorf("%s: what was declared has changed", c.name)
		}
	}
	// What an operator says of numbers bounds arguments too; overflow does not.
	got := effective(t, "max-length=8", "max-length=9 overflow=drop-head").MergeQueue(limits(QueueLimits{MaxLength: 10, Overflow: RejectPublish}))
	if got.Limits != (QueueLimits{MaxLength: 8, Overflow: RejectPublish}) {
		t.Errorf("%+v", got.Limits)
	}
}

func TestPolicyAndExchange(t *testing.T) {
	e := effective(t, "alternate-exchange=alt", "")
	if o := e.MergeExchange(ExchangeOptions{Type: Fanout}); o.Alternate != "alt" || o.Type != Fanout {
		t.Errorf("%+v", o)
	}
	if o := e.MergeExchange(ExchangeOptions{Alternate: "own"}); o.Alternate != "own" {
		t.Errorf("%+v", o)
	}
}

func TestPolicyValues(t *testing.T) {
	for _, c := range []struct {
		key, value string
		operator   bool
		want       string // of the error, "" for none
	}{
		{"message-ttl", "0", true, ""}, {"message-ttl", "315360000000", false, ""},
		{"message-ttl", "315360000001", false, "from 0 to 315360000000"}, {"message-ttl", "-1", false, "from 0"}, {"message-ttl", "1s", false, `found "1s"`},
		{"expires", "1", true, ""}, {"expires", "0", false, "from 1"}, {"expires", "", false, "an integer"},
		{"max-length", "9223372036854775807", true, ""}, {"max-length", "9223372036854775808", false, "from 0"}, {"max-length", "1.5", false, "an integer"},
		{"max-length-bytes", "-5", true, "from 0"},
		{"overflow", "reject-publish", true, ""}, {"overflow", "reject-publish-dlx", false, ""}, {"overflow", "drop-tail", false, "drop-head, reject-publish"},
		{"delivery-limit", "-1", true, ""}, {"delivery-limit", "2147483648", false, "2147483647"},
		{"dead-letter-exchange", "", false, ""}, {"dead-letter-exchange", "x", true, "not found"},
		{"dead-letter-routing-key", "x", true, "not found"}, {"alternate-exchange", "x", true, "not found"},
		{"queue-mode", "lazy", false, ""}, {"queue-mode", "eager", false, "default, lazy"}, {"queue-mode", "lazy", true, "not found"},
		{"queue-version", "2", false, ""}, {"queue-version", "two", false, "an integer"},
		{"max-in-memory-length", "0", false, ""}, {"max-in-memory-bytes", "-1", false, "from 0"},
		{"queue-leader-locator", "balanced", false, ""}, {"queue-leader-locator", "random", false, "client-local"},
		{"x-max-length", "1", false, "not found"}, {"", "1", false, "not found"},
	} {
		var d PolicyDefinition
		err := d.Set(c.key, c.value, c.operator)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s=%s: %v, want %q", c.key, c.value, err, c.want)
		}
		if known := slices.Contains(PolicyKeys(c.operator), c.key); known == errors.Is(err, ErrNotFound) {
			t.Errorf("%s: known %v, error %v", c.key, known, err)
		}
	}
	if keys := PolicyKeys(true); strings.Join(keys, " ") != "delivery-limit expires max-length max-length-bytes message-ttl overflow" {
		t.Errorf("operators may say %q", keys)
	}
}

func TestSetPolicies(t *testing.T) {
	s := NewPolicies(nil, nil)
	x := newBox(t, func(o *Options) { o.Policies = s })
	if x.Policies() != s {
		t.Error("those of the start are not in force")
	}
	if x.SetPolicies(nil); x.Policies() != nil {
		t.Error("they have not changed")
	}
}

// commitHook is a shard that has something happen at its next commit.
type commitHook struct {
	Shard
	then func()
}

func (s *commitHook) Commit(b Batch, done func(error)) {
	if f := s.then; f != nil {
		s.then = nil
		f()
	}
	s.Shard.Commit(b, done)
}

// TestPolicyBesideANewLane: policies that come just when a priority is used for the
// first time are in force for it too.
func TestPolicyBesideANewLane(t *testing.T) {
	var s commitHook
	x := newBox(t, func(o *Options) { s.Shard, o.Shards[0] = o.Shards[0], &s })
	q := x.named("q", QueueOptions{Durable: true, MaxPriority: 3})
	dead := x.named("dead", QueueOptions{})
	x.rest(nil)
	s.then = func() {
		p := Policy{Name: "p", VHost: "/", Pattern: regexp.MustCompile("^q$")}
		for key, value := range map[string]string{"dead-letter-exchange": "", "dead-letter-routing-key": "dead"} {
			if err := p.Definition.Set(key, value, false); err != nil {
				t.Error(err)
			}
		}
		x.SetPolicies(NewPolicies([]Policy{p}, nil))
	}
	x.fillLane("q", 2, true, "1")
	k := x.taker(q, 0)
	k.settle(Rejected, k.take()...)
	x.rest(nil)
	if i := dead.Info(); s.then != nil || i.Ready != 1 {
		t.Errorf("%d dead letters, want 1", i.Ready)
	}
}
