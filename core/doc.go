// Package core is the message bus: every protocol is a thin edge over it.
//
// An adapter turns bytes into a [Message] and calls [Publisher.Publish]. The
// bus routes it through an [Exchange] to queues, and a consumer's adapter
// turns it back into its own protocol's bytes. What the system promises
// (order, durability, retention, redelivery, credit, expiry, rights) lives
// here and only here; an adapter holds what its protocol promises to its
// client (packet ids, channels, receipts).
//
// The nouns: a [VHost] is a namespace. An exchange holds bindings from filters
// to queues. A [Queue] is the QoS engine: messages in order, lent to
// consumers, gone when settled. A [Session] is a queue with one consumer and
// the subscriptions of one client id. A [Turn] is what one read sets in
// motion: its durable records commit together, its deliveries leave together.
// A [Gate] holds back the replies of a connection until what they promise is
// on disk.
//
// # Locks
//
// Order: Session.mu, VHost registries, Exchange.mu, Queue.mu, then the out
// lock of a connection (taken by [Sink.Deliver]). Gate.mu stands before the
// out lock and beside the others. The sequencing lock of a shard is taken only
// at the end of a turn, with no other lock held. Under any of them: no
// Publish, no settle of another queue, no close, log, event or system call;
// such effects go to [Turn.Do] and run unlocked.
package core
