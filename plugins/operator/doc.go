// Package operator serves the operator's command line: what a running node holds,
// and the few things that may be done to it from outside a protocol.
//
// It listens on a Unix socket that only its owner can use, and speaks HTTP with
// JSON, so that curl serves where the command does not. Who can open the socket
// may do everything; nobody else can do anything. Lists are sent a line at a
// time while they are made; what changes something is answered when the change
// is on disk. What clients have chosen (client ids, topics) travels as it is: to
// make it fit for a terminal is the business of whoever shows it.
package operator
