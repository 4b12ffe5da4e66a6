// Package props is what AMQP 0-9-1 says about a message beside its body: the
// properties of a content header, and the field tables in them and in the
// arguments of declarations and bindings. Whoever deals with them outside the
// AMQP adapter, as exchanges and dead-lettering do, uses the same code.
//
// It is pure: no state, no input or output, and no allocation but where a
// function says so. Decoded things point into the bytes they were decoded
// from, with their capacity cut, so that an append to one copies it.
//
// Properties are checked once, by Scan or Decode, where they enter. What reads
// them later is safe with malformed ones, and finds less in them.
package props
