// Package ws carries other protocols over WebSocket (RFC 6455). It knows
// nothing of them: a client names a sub-protocol, and bytes go to and from the
// adapter that serves it, whatever frames they come in.
//
// A connection begins as HTTP, served by net/http. When it is upgraded, the
// transport takes it over: a [stream] reads and writes messages by
// gorilla/websocket on a wire that never blocks.
//
// The listener also serves an example page at /, if it is configured.
package ws
