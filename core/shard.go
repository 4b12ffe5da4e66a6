package core

// A Batch gathers absolute key changes that become durable together or not at
// all. It is physical (keys and values, not commands), so that replaying it
// needs no broker logic and replaying it twice is harmless. A Batch belongs to
// the goroutine that fills it until Commit; after Commit it belongs to the
// shard. Keys and values are copied by the call.
type Batch interface {
	Set(key, value []byte)
	Delete(key []byte)
	DeleteRange(lo, hi []byte) // [lo, hi)
	// Len is the number of changes so far.
	Len() int
	// Size is the number of bytes so far, for admission.
	Size() int
}

// A Shard is the durable state of one partition. A session, a named queue, a
// shared group and a retained topic each belong to exactly one shard; a single
// node has one. All methods may be called from any goroutine.
//
// done(nil) is the only thing in the system that entitles anybody to
// acknowledge. The core never asks where a shard keeps its state: a Pebble
// batch with fsync, or a replicated log, are the same to it.
type Shard interface {
	NewBatch() Batch

	// Commit makes the batch durable, then visible, then calls done, in the
	// order of the Commit calls. Batches that meet while a write is in flight
	// share the next one (group commit). With done nil the batch keeps its
	// place in the order and rides on the next sync, at most 100 ms later.
	//
	// Commit never blocks and may be called from done; done must not block.
	// How much may wait in here is the business of whoever reads from clients
	// (see Pending). An error given to done is final: the process ends.
	Commit(b Batch, done func(error))

	// Pending is the number of bytes committed but not yet durable.
	Pending() int64

	// Get and Scan read what is visible: everything committed, nothing else.
	// The slices are valid only inside the call. Scan goes through [lo, hi)
	// in the order of the keys until f returns false.
	Get(key []byte, f func(value []byte)) (found bool, err error)
	Scan(lo, hi []byte, f func(key, value []byte) bool) error
}
