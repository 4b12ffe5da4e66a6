// Package mqtt lets MQTT 3.1 and 3.1.1 clients onto the bus.
//
// A connection is a state machine over bytes: its in-half parses packets and
// asks the bus, its out-half encodes what queues lend to it. It holds what MQTT
// promises to its client and nothing else: packet ids and the form of the
// four-step exchange. Order, durability, redelivery, retained messages, wills
// and rights are the bus's.
//
// docs/protocols/mqtt.md lists every normative statement of the standard and
// the script that shows it.
package mqtt
