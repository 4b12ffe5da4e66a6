// Package client is an MQTT 3.1.1 client for the command line: one connection,
// which a publisher waits on for its acknowledgements and a subscriber reads.
//
// It stands on our own codec and not on github.com/eclipse/paho.mqtt.golang (read:
// v1.5.1), because a tool that people test brokers with must do exactly what it says:
//
//   - paho hands a QoS 2 message over when PUBLISH arrives and keeps no list of the
//     ids it has seen, so what is sent again after a reconnect is shown twice. Here
//     the ids outlive the connection (Received).
//   - paho takes 65,535 messages in flight, and keeps each. A publisher of lines from
//     a pipe then holds the pipe in memory. Here Publish waits for a place.
//   - paho's Disconnect does not wait for the broker's end of the connection, so
//     QoS 0 messages can be lost in silence at the end of a program. Here Flush asks
//     for a PINGRESP behind the last message, and Disconnect waits for the end.
//   - here the acknowledgement of a message that could not be printed is never sent.
//
// A Target says where the broker is, a Conn is the connection, a Message what came
// in. Reconnecting is the caller's business: it knows what was lost.
package client
