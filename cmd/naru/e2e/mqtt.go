package e2e

import (
	"fmt"
	"strings"
)

// shorthand expands an MQTT 3.1.1 exchange that is not the point of a script
// into the steps that a script could have spelled out. Names and topics are
// byte expressions, so quoted text or hex. Packet ids of shorthands begin at
// 7f01, far from those that scripts write by hand.
func (p *stepParser) shorthand(conn, verb, text string) ([]Step, error) {
	args := words(text)
	want := map[string]string{
		"connect":    "ID clean|new|resume [USER PASSWORD]",
		"subscribe":  "FILTER QOS",
		"publish":    "TOPIC QOS PAYLOAD",
		"retain":     "TOPIC QOS PAYLOAD",
		"ping":       "",
		"disconnect": "",
	}
	usage, known := want[verb]
	if !known {
		return nil, fmt.Errorf("unknown step %q", verb)
	}
	if required, _, _ := strings.Cut(usage, " ["); len(args) < len(words(required)) || len(args) > len(words(usage)) {
		return nil, fmt.Errorf("%s %s: wrong number of arguments", verb, usage)
	}
	b := &exchange{conn: conn, sizes: p.sizes}
	switch verb {
	case "connect":
		b.connect(args)
	case "subscribe":
		b.subscribe(p.packetID(), args[0], args[1])
	case "publish":
		b.publish(p.packetID(), 0, args)
	case "retain":
		b.publish(p.packetID(), 1, args)
	case "ping":
		b.send("c0 00")
		b.expect("d0 00")
	case "disconnect":
		b.send("e0 00")
		b.steps = append(b.steps, Step{Conn: conn, Op: opClosed})
	}
	return b.steps, b.err
}

func (p *stepParser) packetID() string {
	p.nextID++
	return fmt.Sprintf("%04x", 0x7f00+p.nextID)
}

// An exchange gathers the steps of one shorthand and keeps the first error.
type exchange struct {
	conn  string
	sizes map[string]int
	steps []Step
	err   error
}

func (b *exchange) add(o op, expr string) {
	pat, err := parseBytes(expr, b.sizes)
	if b.err == nil {
		b.err = err
	}
	b.steps = append(b.steps, Step{Conn: b.conn, Op: o, Pattern: pat})
}

func (b *exchange) send(expr string)   { b.add(opSend, expr) }
func (b *exchange) expect(expr string) { b.add(opExpect, expr) }

// connect opens the connection too: "new" and "resume" differ only in the
// Session Present flag they expect.
func (b *exchange) connect(args []string) {
	flags, present, login := 0x00, "00", ""
	switch args[1] {
	case "clean":
		flags = 0x02
	case "new":
	case "resume":
		present = "01"
	default:
		b.err = fmt.Errorf("connect %q, want clean, new or resume", args[1])
		return
	}
	if len(args) == 4 {
		flags |= 0xc0
		login = "@str(" + args[2] + ") @str(" + args[3] + ")"
	}
	b.steps = append(b.steps, Step{Conn: b.conn, Op: opOpen, Words: []string{""}})
	b.send(fmt.Sprintf("10 @len(@str('MQTT') 04 %02x 003c @str(%s) %s)", flags, args[0], login))
	b.expect("20 02 " + present + " 00")
}

func (b *exchange) subscribe(id, filter, qos string) {
	b.send("82 @len(" + id + " @str(" + filter + ") 0" + qos + ")")
	b.expect("90 03 " + id + " 0" + qos)
}

// publish does the handshake of the QoS. The publisher must not be subscribed
// to the topic itself: its own copy could come between the answers.
func (b *exchange) publish(id string, retain int, args []string) {
	topic, qos, payload := args[0], args[1], args[2]
	header := map[string]int{"0": 0x30, "1": 0x32, "2": 0x34}[qos] | retain
	switch qos {
	case "0":
		b.send(fmt.Sprintf("%02x @len(@str(%s) %s)", header, topic, payload))
		return
	case "1", "2":
		b.send(fmt.Sprintf("%02x @len(@str(%s) %s %s)", header, topic, id, payload))
	default:
		b.err = fmt.Errorf("QoS %q", qos)
		return
	}
	if qos == "1" {
		b.expect("40 02 " + id)
		return
	}
	b.expect("50 02 " + id)
	b.send("62 02 " + id)
	b.expect("70 02 " + id)
}
