// Package transport owns sockets: it accepts, reads, hands bytes to a protocol's
// state machine, writes what outboxes hold, and is the only one to close.
//
// A protocol is a [Handler]: bytes go into Feed, which parses every whole packet
// and never waits. A [Conn] is fed by one goroutine at a time; on Linux that is
// an event loop which owns many connections and their descriptors, so that an
// idle connection costs no goroutine, no stack and no buffer. Elsewhere, and
// where something must be read ahead (TLS, WebSocket), it is a goroutine of the
// connection's own. Tests feed connections by hand ([NewPipe]).
//
// Writes never block: an [Outbox] takes encoded bytes under its lock, and is
// flushed at the end of the turn by whoever touched it. The out lock guards the
// adapter's out-half as well (packet ids, delivery tags).
package transport
