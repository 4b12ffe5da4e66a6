// Package authfile decides who may log in and what they may do from nothing
// but the configuration: users with hashed passwords, and rights written as in
// Mosquitto's acl file, as RabbitMQ's permissions, or both.
//
// The one idea: a configuration is compiled once into a policy that is never
// changed, so that every question is answered by reading one pointer. A reload
// is a new policy in its place; a reload that fails leaves the old one.
//
// The nouns: a [User] has a password hash and may have an acl. An acl is a list
// of rules; a rule is an access and a pattern:
//
//	read alerts/#               may subscribe and receive
//	write devices/%c/state      may publish; %c is the client id, %u the user name
//	readwrite rooms/+/light     both
//	configure orders/#          may declare and delete queues and exchanges
//	deny rooms/vault/#          none of these, whatever else is allowed
//
// A user without an acl may do everything; one with an empty list nothing, but
// for what the rules for everybody say.
//
// Beside it a user may have permissions, by vhost, and topic permissions: regular
// expressions for the names of queues and exchanges, and for routing keys. What
// they refuse no rule allows, and the other way round.
//
// # What a rule covers
//
// A pattern is an MQTT topic filter. An address in AMQP syntax is compared as
// the MQTT topic that it becomes, with '/' for '.', so one rule covers both; the
// name of a queue or exchange may have either where the rule has '/'. Two rules
// of thumb decide every doubt:
//
// An allow never covers more than its text says. What %c and %u stand for is
// compared byte for byte and never read as a pattern. A value that is empty, or
// contains NUL or a character that separates levels in the syntax of the address
// ('/'; in AMQP and in names '.' too), matches nothing at all: it cannot be one
// level, and treating it as several would let a client choose its place in the
// tree. Nor does a value that begins with '$' open a topic that does.
//
// A deny never covers less. The bus derives AMQP keys from MQTT topics with '.'
// for '/', so cmd.reboot and cmd/reboot reach the same AMQP consumers: a deny of
// one refuses the other as well, and there a value is taken as the text it is.
//
// Topics that begin with '$' are matched only by patterns that begin with that
// level: "read #" does not open $SYS, "read $SYS/#" does; nor does "deny #"
// close it.
//
// # Where from
//
// "Loopback only" is judged by the address that the socket is connected to. A
// client behind a proxy or tunnel on this machine looks local; a listener that
// speaks the PROXY protocol must leave [core.Identity.Peer] zero, which counts
// as remote here.
package authfile
