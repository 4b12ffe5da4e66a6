// Package pebblestore keeps a shard in Pebble: many small batches become one
// write and one sync.
//
// Anybody may commit. A batch waits in the inbox until the committer, the only
// goroutine that writes, has finished the group before; then everything that
// has come meanwhile is merged into the next group and synced together. So the
// slower the disk, the larger the groups, and no delay is ever added for the
// sake of grouping. The outbox calls the dones of a group in the order of the
// commits, in a goroutine of its own, while the next group is being synced.
//
//	Commit -> inbox -> committer: merge, apply, sync -> outbox -> done
//
// A batch without done is not worth a sync: it waits for the next group that
// has one, 50 ms at most.
//
// Readers see what is durable and nothing else: see view.
//
// The first error is the last: everything committed later is told the same
// error, readers stay with what was durable, and the process is expected to
// end. A sync that failed may have thrown away what it could not write, so
// there is nothing to try again.
//
// # What it costs
//
// See docs in bench_test.go for figures. In short: beside the sync itself
// (70 to 110 us of CPU on the virtual disk where this was measured) a group
// costs 4 us and a message of 230 bytes, written and removed again, 1 us.
package pebblestore
