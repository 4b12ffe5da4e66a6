// Package packet turns bytes into MQTT 3.1 and 3.1.1 control packets and back.
//
// It is pure: no state, no input or output, no allocation. Decoded packets
// point into the bytes they were decoded from. Every decoder checks what the
// standard says about the form of its packet; what depends on the state of a
// connection or on the meaning of a topic is checked elsewhere.
package packet
