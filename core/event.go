package core

import (
	"slices"
	"time"
)

// An Event tells what happened. The log, metrics and plugins are fed from
// events; nothing else is told twice. Events are values, emitted with no lock
// held, and rare: what happens for every message is counted in Stats.
type Event interface{ event() }

// DropReason says why a message was not delivered.
type DropReason uint8

const (
	// DropNoRoom: QoS 0, and the connection's outbox was full.
	DropNoRoom DropReason = iota
	// DropOverflow: the queue was at its length limit.
	DropOverflow
	// DropExpired: its time was over.
	DropExpired
	// DropNotAuthorized: the receiver may not have it (any more).
	DropNotAuthorized
	// DropTooLarge: larger than the receiver takes.
	DropTooLarge
	// DropDeliveryLimit: it has failed too often.
	DropDeliveryLimit
	dropReasons
)

func (r DropReason) String() string {
	return [...]string{"no room", "queue full", "expired", "not authorized", "too large", "delivery limit"}[r]
}

// Connected: a client has logged in.
type Connected struct {
	Identity       *Identity
	CleanSession   bool
	SessionPresent bool
	KeepAlive      time.Duration
}

// Disconnected: a connection that had logged in has ended.
type Disconnected struct {
	Identity *Identity
	Cause    error // nil: the client said goodbye
	Duration time.Duration
}

// LoginRefused: a connection ended before it had logged in.
type LoginRefused struct {
	Identity *Identity // as claimed
	Cause    error
}

// Subscribed and Unsubscribed: a session's subscriptions have changed.
type Subscribed struct {
	Identity *Identity
	Filter   string
	QoS      QoS
}

// Unsubscribed: see Subscribed.
type Unsubscribed struct {
	Identity *Identity
	Filter   string
}

// PublishRefused: messages were not taken. Of a connection that goes on like
// this it is told from time to time, with the last one.
type PublishRefused struct {
	Identity *Identity
	Topic    string
	Cause    error
	Count    int64
}

// SubscribeRefused: subscriptions were not made. See PublishRefused.
type SubscribeRefused struct {
	Identity *Identity
	Filter   string
	Cause    error
	Count    int64
}

// SessionExpired: a session was deleted because its time was over.
type SessionExpired struct{ VHost, ClientID string }

// Dropped: messages of a queue were dropped. Drops are gathered for some time
// before they are told.
type Dropped struct {
	VHost, Queue string
	Reason       DropReason
	Count        int64
}

// WillPublished: a connection ended without a goodbye, and its will was sent.
type WillPublished struct {
	Identity *Identity
	Topic    string
	Err      error // why it was not, or nil
}

// AuthorizerFailed: a back end failed; the answer was no.
type AuthorizerFailed struct {
	Identity *Identity
	Err      error
}

// StoreDamaged: a record could not be read and was left out.
type StoreDamaged struct {
	Queue string
	Err   error
}

// AlarmRaised and AlarmCleared: publishers are held back, or no longer.
type AlarmRaised struct {
	Alarm   string // "disk" or "memory"
	Detail  string
	Largest []QueueInfo
}

// AlarmCleared: see AlarmRaised.
type AlarmCleared struct {
	Alarm string
	After time.Duration
}

// Recovered: the state of a former run has been read.
type Recovered struct {
	Sessions, Queues, Bindings, Retained, Wills int
	Messages                                    int64
	Took                                        time.Duration
}

func (Connected) event()        {}
func (Disconnected) event()     {}
func (LoginRefused) event()     {}
func (Subscribed) event()       {}
func (Unsubscribed) event()     {}
func (PublishRefused) event()   {}
func (SubscribeRefused) event() {}
func (SessionExpired) event()   {}
func (Dropped) event()          {}
func (WillPublished) event()    {}
func (AuthorizerFailed) event() {}
func (StoreDamaged) event()     {}
func (AlarmRaised) event()      {}
func (AlarmCleared) event()     {}
func (Recovered) event()        {}

// A Listener is told of events, one after the other or at the same time, from
// any goroutine. It must not block.
type Listener func(Event)

// Event tells the listeners at the end of the turn, with no lock held.
func (t *Turn) Event(e Event) {
	if len(t.bus.listeners) > 0 || t.bus.watchers.Load() != nil {
		t.Do(func(t *Turn) { t.bus.emit(e) })
	}
}

func (b *Bus) emit(e Event) {
	for _, l := range b.listeners {
		l(e)
	}
	if w := b.watchers.Load(); w != nil {
		for _, l := range *w {
			(*l)(e)
		}
	}
}

// Watch has l told of events from now on, until stop is called. It may be told
// of one or another while stop runs.
func (b *Bus) Watch(l Listener) (stop func()) {
	change := func(f func([]*Listener) []*Listener) {
		for {
			old := b.watchers.Load()
			var list []*Listener
			if old != nil {
				list = slices.Clone(*old)
			}
			list = f(list)
			if b.watchers.CompareAndSwap(old, &list) {
				return
			}
		}
	}
	change(func(list []*Listener) []*Listener { return append(list, &l) })
	return func() {
		change(func(list []*Listener) []*Listener {
			return slices.DeleteFunc(list, func(o *Listener) bool { return o == &l })
		})
	}
}

// dropped counts a message that was not delivered, and has it told later.
func (t *Turn) dropped(q *Queue, why DropReason, qos QoS, size int) {
	t.Stats.drop(q.protocol(), qos, why, size)
	if t.drop.q != q || t.drop.why != why {
		t.flushDrops()
		t.drop.q, t.drop.why = q, why
	}
	t.drop.n++
}

func (t *Turn) flushDrops() {
	if t.drop.n > 0 {
		t.bus.drops.add(t.drop.q, t.drop.why, t.drop.n)
	}
	t.drop.q, t.drop.n = nil, 0
}
