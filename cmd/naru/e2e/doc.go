// Package e2e holds conversations between clients and a whole broker, written
// down as bytes, and plays them against the built binary.
//
// A script is a conversation: what each client sends and the exact bytes it
// must read. The same script is played against Naru and against a reference
// peer (Debian's mosquitto), so an expectation that only our own broker could
// meet is noticed; where the peer is known to answer otherwise the script says
// why, and the difference is checked like any other expectation, so that the
// list of differences cannot rot. Without the peer its test is skipped, unless
// TEST_REQUIRE_PEERS=1. What every broker profile means stands in naru.go.
//
// # Files
//
// Scripts live in mqtt/*.txt, the normative statements they show in
// mqtt/statements.tsv. A file holds several scripts:
//
//	== name-of-the-script
//	covers: MQTT-3.1.0-1 MQTT-3.1.0-2     statements shown, or "-" for none
//	config: users                         broker profile; "default" if absent
//	broker: own                           a broker of its own, not the shared one
//	case one: 00                          the script runs once for each case,
//	case two: 01                          with $case replaced by the text
//	mosquitto: differs [two] the reason   cases in brackets; none means all
//	# a comment
//	c1 open
//	c1 > 10 0c 0004 'MQTT' 04 02 003c 0000 $case
//	! c1 < 20 02 00 00
//	? c1 < close
//
// A line that begins with "!" is ours where the peer is known to do something
// else, one with "?" is what it does. In a script (or case) marked "differs" the
// peer must fail, on a line marked "!", and must pass with the lines marked "?"
// in their place.
//
// # Steps
//
//	c1 open [ws]              connect c1 by TCP (ws: to the WebSocket listener)
//	c1 > BYTES                send
//	c1 trickle BYTES          send byte by byte, each in a write of its own
//	c1 < BYTES                exactly these bytes come next
//	c1 < unordered {          the packets up to the line "}" come next, in any order
//	c1 < http 101 'K: v'      an HTTP answer with that status and header line
//	c1 < close [1s..4s]       the broker closes, with nothing sent before; the
//	                          range counts from our last bytes on c1
//	c1 < anything close       the broker closes, whatever it sends before
//	c1 silent 300ms           nothing comes for that long
//	c1 close, c1 reset        we close by FIN, by RST
//	either a b < BYTES        one of these connections receives exactly that
//	differ $a $b              two captured values are not the same
//	restart, kill9            SIGTERM or SIGKILL, then start on the same data
//	sleep 100ms # why         the reason is not optional
//
// An expectation waits for five seconds. A script ends with a check that no
// connection left open holds unread bytes.
//
// # Bytes
//
//	10 0c 0004                hex, grouped as one likes by whole bytes
//	'text'                    the bytes of the text; \' and \\ inside
//	??                        any byte (only where bytes are expected)
//	$id:2                     the first time: capture two bytes; later, as $id:
//	                          these very bytes again
//	X*40                      the item before the star, 40 times; (X Y)*40 too
//	@len(X)                   X after its MQTT remaining length
//	@str(X)                   X after its two-byte length
//
// @@@@ stands for four characters of the script's own, so that scripts which
// share a broker keep out of each other's topics and client ids. It is as long
// as what it stands for: lengths can be counted in the source.
//
// # Shorthands
//
// For what is not the point of a script there are shorthands, which expand to
// the steps above (see mqtt.go):
//
//	c1 connect 'ID' clean|new|resume ['USER' 'PASSWORD']
//	                                   open, CONNECT, CONNACK
//	c1 subscribe 'FILTER' QOS          SUBSCRIBE, SUBACK granting that QoS
//	c1 publish 'TOPIC' QOS 'PAYLOAD'   PUBLISH and the whole handshake
//	c1 retain 'TOPIC' QOS 'PAYLOAD'    the same with RETAIN set
//	c1 ping                            PINGREQ, PINGRESP: alive, nothing unread
//	c1 disconnect                      DISCONNECT; the broker closes
package e2e
