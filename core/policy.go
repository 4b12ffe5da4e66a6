package core

import (
	"cmp"
	"maps"
	"regexp"
	"slices"

	"github.com/narumq/naru/core/props"
)

// A Policy gives queues and exchanges properties that they were not declared
// with, by their names. Those of operators only bound what others ask for.
type Policy struct {
	Name       string
	VHost      string
	Pattern    *regexp.Regexp // found anywhere in the name
	ApplyTo    ApplyTo
	Priority   int64
	Definition PolicyDefinition
}

// ApplyTo says what a policy is for.
type ApplyTo uint8

const (
	ApplyToAll ApplyTo = iota
	ApplyToQueues
	ApplyToClassicQueues
	ApplyToQuorumQueues
	ApplyToExchanges
)

func (a ApplyTo) queue(quorum bool) bool {
	switch a {
	case ApplyToAll, ApplyToQueues:
		return true
	case ApplyToClassicQueues:
		return !quorum
	case ApplyToQuorumQueues:
		return quorum
	}
	return false
}

func (a ApplyTo) exchange() bool { return a == ApplyToAll || a == ApplyToExchanges }

// Policies are all policies of a bus. They are never changed; a reload makes new
// ones. A nil *Policies has none.
type Policies struct {
	users, operators []Policy // what counts first is first
}

// NewPolicies puts policies in order. To an object at most one of each kind
// applies: that of the highest priority, and of those that have the same the first
// by name, where RabbitMQ takes any.
func NewPolicies(users, operators []Policy) *Policies {
	sorted := func(ps []Policy) []Policy {
		ps = slices.Clone(ps)
		slices.SortStableFunc(ps, func(a, b Policy) int {
			return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
		})
		return ps
	}
	return &Policies{users: sorted(users), operators: sorted(operators)}
}

// Effective is what policies say of one object. Policy and Operator are the names
// of those that apply, "" for none.
type Effective struct {
	Policy, Operator string
	PolicyDefinition
}

// ForQueue returns what applies to a queue.
func (s *Policies) ForQueue(vhost, name string, quorum bool) Effective {
	return s.effective(vhost, name, func(a ApplyTo) bool { return a.queue(quorum) })
}

// ForExchange returns what applies to an exchange. The default one is nobody's to
// change.
func (s *Policies) ForExchange(vhost, name string) Effective {
	if name == defaultExchange {
		return Effective{}
	}
	return s.effective(vhost, name, ApplyTo.exchange)
}

func (s *Policies) effective(vhost, name string, applies func(ApplyTo) bool) (e Effective) {
	if s == nil {
		return e
	}
	first := func(ps []Policy) (string, PolicyDefinition) {
		for i := range ps {
			if p := &ps[i]; p.VHost == vhost && applies(p.ApplyTo) && p.Pattern.MatchString(name) {
				return p.Name, p.Definition
			}
		}
		return "", PolicyDefinition{}
	}
	e.Policy, e.PolicyDefinition = first(s.users)
	var bounds PolicyDefinition
	e.Operator, bounds = first(s.operators)
	e.PolicyDefinition.bound(&bounds)
	return e
}

// bound puts the policy of an operator on top: the lesser number counts, and the
// operator's overflow.
func (d *PolicyDefinition) bound(by *PolicyDefinition) {
	d.Limits.bound(&by.Limits)
	d.Expires = least(d.Expires, by.Expires)
	if by.HasOverflow {
		d.Limits.Overflow, d.HasOverflow = by.Limits.Overflow, true
	}
	if by.HasDeliveryLimit {
		d.DeliveryLimit, d.HasDeliveryLimit = least(d.DeliveryLimit, by.DeliveryLimit), true
	}
}

// MergeQueue returns the options of a queue with what policies say: of two numbers
// the lesser, and for the rest what it was declared with. The result is what is in
// force, not what the queue was declared with; it is not to be kept.
func (e *Effective) MergeQueue(o QueueOptions) QueueOptions {
	o.Limits.bound(&e.Limits)
	o.Expires = least(o.Expires, e.Expires)
	if e.HasOverflow && o.Limits.Overflow == DropHead && !mentions(o.Arguments, "x-overflow") {
		o.Limits.Overflow = e.Limits.Overflow
		if o.Quorum && e.Limits.Overflow == RejectPublishDLX {
			o.Limits.Overflow = DropHead // as RabbitMQ does, where quorum queues cannot
		}
	}
	if e.HasDeliveryLimit && o.Quorum {
		if mentions(o.Arguments, "x-delivery-limit") {
			o.DeliveryLimit = least(o.DeliveryLimit, e.DeliveryLimit)
		} else { // in place of the default
			o.DeliveryLimit = e.DeliveryLimit
		}
	}
	switch {
	case o.DeadLetter == nil && e.HasDeadLetter:
		d := e.DeadLetter
		o.DeadLetter = &d
	case o.DeadLetter != nil && !o.DeadLetter.HasKey && e.DeadLetter.HasKey:
		d := *o.DeadLetter
		d.Key, d.HasKey = e.DeadLetter.Key, true
		o.DeadLetter = &d
	}
	return o
}

// MergeExchange is MergeQueue for an exchange.
func (e *Effective) MergeExchange(o ExchangeOptions) ExchangeOptions {
	if o.Alternate == "" {
		o.Alternate = e.Alternate
	}
	return o
}

// bound takes the lesser of each number.
func (l *QueueLimits) bound(by *QueueLimits) {
	l.MaxLength = least(l.MaxLength, by.MaxLength)
	l.MaxBytes = least(l.MaxBytes, by.MaxBytes)
	l.TTL = least(l.TTL, by.TTL)
}

// least of two limits, of which 0 is none, and AtOnce less than any other.
func least[T int32 | int64](a, b T) T {
	switch {
	case a == 0:
		return b
	case b == 0:
		return a
	}
	return min(a, b)
}

// mentions says whether a declarer wrote an argument: that it asked for what is the
// default cannot be seen from the options.
func mentions(arguments []byte, name string) bool {
	_, ok := props.Table(arguments).Get(name)
	return ok
}

// SetPolicies puts policies in force, for what there is as well.
func (b *Bus) SetPolicies(s *Policies) {
	b.policies.Store(s)
	t := b.NewTurn()
	b.applyPolicies(t)
	t.End()
}

func (b *Bus) applyPolicies(t *Turn) {
	for _, vh := range b.vhosts {
		vh.mu.RLock()
		exchanges := slices.Collect(maps.Values(vh.exchanges))
		queues := slices.Collect(maps.Values(vh.queues))
		vh.mu.RUnlock()
		for _, x := range exchanges {
			x.applyPolicies()
		}
		for _, q := range queues {
			if q.kind != KindNamed {
				continue
			}
			q.applyPolicies()
			q.armDisuse(t)
			if q.named.lanes != nil {
				q.tooMany(t)
			}
			q.mu.Lock()
			q.dropExcessLocked(t)
			q.mu.Unlock()
			if t.Full() {
				t.Flush()
			}
		}
	}
}

// applyPolicies has the queue do what it was declared to and what policies say.
func (q *Queue) applyPolicies() {
	n := q.named
	e := q.vh.bus.Policies().ForQueue(q.vh.name, q.name, n.opt.Quorum)
	q.eachLane(func(lane *Queue) bool {
		lane.mu.Lock()
		defer lane.mu.Unlock()
		lane.named.inForce(lane, e.MergeQueue(n.opt))
		return true
	})
}

// inForce takes what counts from options. The caller holds the lock of the queue,
// or nobody else knows it.
func (n *named) inForce(q *Queue, o QueueOptions) {
	n.deadLetter, n.expires, n.deliveryLimit, n.overflow = o.DeadLetter, o.Expires, o.DeliveryLimit, o.Limits.Overflow
	if n.root != nil { // those are of all lanes together
		o.Limits.MaxLength, o.Limits.MaxBytes, n.expires = 0, 0, 0
	}
	q.limit(o.Limits.shared())
}

// applyPolicies has the exchange do what policies say.
func (x *Exchange) applyPolicies() {
	e := x.vh.bus.Policies().ForExchange(x.vh.name, x.name)
	if a := e.MergeExchange(x.opt).Alternate; a != x.alternate() {
		x.aside.Store(&a)
		x.gens.all.Add(1) // of all cached routes
	}
}

// alternate is where messages go that nothing here is bound for, "" for nowhere.
func (x *Exchange) alternate() string {
	if a := x.aside.Load(); a != nil {
		return *a
	}
	return ""
}

// Policies returns those in force, nil if there are none.
func (b *Bus) Policies() *Policies { return b.policies.Load() }
