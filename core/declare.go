package core

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/narumq/naru/core/internal/wheel"
)

// A QueueOptions says how a queue is declared.
type QueueOptions struct {
	Durable    bool
	AutoDelete bool // it goes with its last consumer
	// Owner is the only one that may use the queue, which goes when the owner
	// does (see VHost.DeleteOwned) and is never on disk. nil: anybody.
	Owner *Principal
	// SingleActive has one consumer be served, and another take its place when
	// that one goes.
	SingleActive  bool
	MaxPriority   uint8 // priorities from 0 to this
	Expires       int64 // milliseconds without use until it is deleted, 0: never
	DeliveryLimit int32 // failed deliveries that a message may have, 0: any number, AtOnce: none
	DeadLetter    *DeadLetter
	Limits        QueueLimits
	lane          uint8 // of the priority that the queue is a lane for
	Quorum        bool  // what it was asked to be, for those who list it
	// Arguments are the arguments as the declarer wrote them, for those who
	// compare or list them.
	Arguments []byte
}

// A DeadLetter says where messages go that are rejected, expire, or are too many.
// It is shared and never changed.
type DeadLetter struct {
	Exchange string
	Key      string // if HasKey; otherwise they keep their own
	HasKey   bool
}

// named is what a declared queue has beside what every queue has.
type named struct {
	opt   QueueOptions // never changed, but for the limits by DeclareQueue
	lanes *lanes       // of a queue with priorities, but not of its lanes; never changed
	root  *Queue       // of a lane: the queue with priorities; never changed
	// fetching, of a lane: what it has for its consumers is being read from disk.
	fetching atomic.Bool

	// guarded by q.mu: what is in force of the options, with the policies
	expires       int64
	deliveryLimit int32
	overflow      Overflow

	// guarded by q.mu
	exclusive  *Consumer // the only one, by its wish
	active     *Consumer // of SingleActive, but not of a lane
	ranked     bool      // consumers are not all alike
	consumed   bool      // there has been a consumer
	deadLetter *DeadLetter
	lent       int64   // bytes of payload that are lent or dying: not ready
	limbo      int     // entries that are dying: nothing leaves memory meanwhile
	dying      []dying // to be dead-lettered at the end of the turn
	asking     bool    // before that, rights must be asked for
	used       int64   // unix milliseconds of the last use
	expiryAt   int64   // when expiry is due, unix milliseconds; 0: it is not armed
	expiry     wheel.Timer[timed]
	disuse     wheel.Timer[timed]
}

// expiryOf and disuseOf are a queue as its two timers see it.
type (
	expiryOf Queue
	disuseOf Queue
)

func (q *expiryOf) due(t *Turn) { (*Queue)(q).expireDue(t) }
func (q *disuseOf) due(t *Turn) { (*Queue)(q).disuseDue(t) }

// DeclareQueue makes a named queue. One that is there is returned, with these limits
// put into force unless who declared it gave arguments: those hold, and everything
// else stays as it is anyhow. The caller may tell of it when the turn is committed.
// Errors: ErrBadAddress, ErrExists if durability differs.
func (vh *VHost) DeclareQueue(t *Turn, name string, o QueueOptions) (*Queue, error) {
	q, created, err := vh.Declare(t, name, o)
	if err != nil || created {
		return q, err
	}
	q.mu.Lock()
	same, ours := q.durable == o.Durable, len(q.named.opt.Arguments) == 0
	if same && ours {
		q.named.opt.Limits = o.Limits
	}
	is := q.named.opt
	q.mu.Unlock()
	switch {
	case !same:
		return nil, fmt.Errorf("queue %q: %w", name, ErrExists)
	case !ours:
		return q, nil
	}
	q.applyPolicies()
	if is.Durable {
		q.saveNamed(t, is)
	}
	return q, nil
}

// Declare makes a named queue, or returns the one that is there as it is. It is
// bound to the default exchange by its name. The caller may tell of it when the
// turn is committed. Errors: ErrBadAddress.
func (vh *VHost) Declare(t *Turn, name string, o QueueOptions) (q *Queue, created bool, err error) {
	if name == "" || strings.HasPrefix(name, sharePrefix) || len(name) > 255 {
		return nil, false, fmt.Errorf("%w: queue %q", ErrBadAddress, name)
	}
	if o.Owner != nil {
		o.Durable = false
	}
	vh.mu.Lock()
	if q = vh.queues[name]; q != nil {
		vh.mu.Unlock()
		if q.named != nil && q.named.opt.Durable { // who made it may not have been told yet
			t.promise(q.sh)
		}
		return q, false, nil
	}
	if most := vh.bus.VHostLimits(vh.name).Queues; full(vh.declared, most) {
		vh.mu.Unlock()
		return nil, false, &LimitError{"vhost", vh.name, "queues", most}
	}
	q = vh.newNamed(name, o)
	q.named.used = t.Now
	if o.Durable {
		q.handOver(t, o)
	}
	vh.mu.Unlock()
	q.armDisuse(t)
	return q, true, nil
}

// newNamed makes a queue and registers it. The caller holds vh.mu.
func (vh *VHost) newNamed(name string, o QueueOptions) *Queue {
	q := &Queue{}
	vh.initQueue(q, KindNamed, name, o.Durable)
	vh.setNamed(q, o)
	if o.Owner != nil {
		vh.owned[o.Owner] = append(vh.owned[o.Owner], q)
	}
	return q
}

// setNamed makes q a named queue that is found by its name.
func (vh *VHost) setNamed(q *Queue, o QueueOptions) {
	n := &named{opt: o}
	n.expiry.Owner, n.disuse.Owner = (*expiryOf)(q), (*disuseOf)(q)
	n.initLanes(q)
	q.named = n
	q.applyPolicies()
	vh.queues[q.name] = q
	vh.declared++
	vh.exchanges[defaultExchange].bind(q, SyntaxAMQP, q.name, ExactlyOnce)
}

func (q *Queue) saveNamed(t *Turn, o QueueOptions) {
	t.scratch = q.record(t.scratch[:0], &o)
	t.promise(q.sh).batch.Set(queueKey(q.id), t.scratch)
}

// handOver hands the record of a new queue to its shard before anybody can find
// the queue: what others do to it, in turns that may end before this one, comes
// behind. The caller holds the lock under which it is found.
func (q *Queue) handOver(t *Turn, o QueueOptions) {
	c := change{t: t}
	t.scratch = q.record(t.scratch[:0], &o)
	c.on(q.sh).Set(queueKey(q.id), t.scratch)
	c.commit()
}

func (q *Queue) record(b []byte, o *QueueOptions) []byte {
	return (&queueRecord{kind: KindNamed, vhost: q.vh.name, name: q.name, limits: o.Limits, options: o}).append(b)
}

// Options returns how a declared queue was declared.
func (q *Queue) Options() QueueOptions {
	if q.named == nil {
		return QueueOptions{Durable: q.durable}
	}
	return q.named.opt
}

// Owner returns who has the queue for itself, or nil.
func (q *Queue) Owner() *Principal {
	if q.named == nil {
		return nil
	}
	return q.named.opt.Owner
}

// Drop deletes a declared queue with its messages and bindings. ready is the
// number of messages that waited. Errors: ErrInUse, ErrNotEmpty, ErrNotFound if
// it has gone already.
func (vh *VHost) Drop(t *Turn, q *Queue, ifUnused, ifEmpty bool) (ready int64, err error) {
	vh.mu.Lock()
	defer vh.mu.Unlock()
	if vh.queues[q.name] != q || q.kind != KindNamed {
		return 0, fmt.Errorf("queue %q: %w", q.name, ErrNotFound)
	}
	q.mu.Lock()
	consumers := len(q.consumers)
	q.mu.Unlock()
	ready, _ = q.waiting()
	switch {
	case ifUnused && consumers > 0:
		return 0, fmt.Errorf("queue %q: %w", q.name, ErrInUse)
	case ifEmpty && ready > 0:
		return 0, fmt.Errorf("queue %q: %w", q.name, ErrNotEmpty)
	}
	vh.forgetLocked(t, q)
	q.destroyAll(t)
	return ready, nil
}

// destroyAll destroys the queue with its lanes.
func (q *Queue) destroyAll(t *Turn) {
	if n := q.named; n != nil && n.lanes != nil {
		n.lanes.mu.Lock() // no lane is made any more
		defer n.lanes.mu.Unlock()
		for _, lane := range n.lanes.list[1:] {
			if lane != nil {
				lane.destroy(t)
			}
		}
	}
	q.destroy(t)
}

// forgetLocked has nothing find the queue any more. The caller holds vh.mu.
func (vh *VHost) forgetLocked(t *Turn, q *Queue) {
	delete(vh.queues, q.name)
	vh.declared--
	vh.unbindQueueLocked(t, q)
	vh.exchanges[defaultExchange].unbind(q, SyntaxAMQP, q.name)
	if owner := q.named.opt.Owner; owner != nil {
		vh.owned[owner] = slices.DeleteFunc(vh.owned[owner], func(o *Queue) bool { return o == q })
		if len(vh.owned[owner]) == 0 {
			delete(vh.owned, owner)
		}
	}
}

// DeleteOwned deletes the exclusive queues of a connection that has ended.
func (vh *VHost) DeleteOwned(t *Turn, who *Principal) {
	vh.mu.Lock()
	qs := vh.owned[who]
	delete(vh.owned, who)
	vh.mu.Unlock()
	for _, q := range qs {
		_, _ = vh.Drop(t, q, false, false) // it may have gone by itself meanwhile
	}
}

// Touch says that the queue is in use: one that expires without use lives on.
func (q *Queue) Touch(t *Turn) {
	if q.named != nil {
		q.mu.Lock()
		q.named.used = t.Now
		q.mu.Unlock()
	}
}

// armDisuse sets the time at which the queue is looked at for disuse.
func (q *Queue) armDisuse(t *Turn) {
	q.mu.Lock()
	e := q.named.expires
	q.mu.Unlock()
	if e > 0 {
		q.vh.bus.timers.set(&q.named.disuse, t.Now+e)
	}
}

// disuseDue deletes the queue if nobody has used it.
func (q *Queue) disuseDue(t *Turn) {
	q.mu.Lock()
	n := q.named
	until := n.used + n.expires
	if len(q.consumers) > 0 {
		until = t.Now + n.expires
	}
	gone := q.deleted || n.expires == 0 // or a policy has
	q.mu.Unlock()
	switch {
	case gone:
	case until > t.Now:
		q.vh.bus.timers.set(&n.disuse, until)
	default:
		if _, err := q.vh.Drop(t, q, true, false); err != nil { // used just now
			q.armDisuse(t)
		}
	}
}

// stop disarms the timers of a queue that goes.
func (n *named) stop(t *Turn) {
	if n != nil {
		t.bus.timers.stop(&n.expiry)
		t.bus.timers.stop(&n.disuse)
	}
}
