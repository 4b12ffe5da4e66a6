// Package memstore keeps a shard in memory: for tests, and for brokers that
// are to forget everything when they end.
//
// It keeps the whole contract of core.Shard (order, groups, dones from a
// goroutine of its own), and "durable" means that a [Snapshot] has it. With
// [Store.Hold] nothing becomes durable until [Store.Release], as on a disk
// that has stalled; a store opened from a snapshot taken meanwhile is what a
// crash leaves behind.
package memstore
