package amqp

import (
	"fmt"
	"strconv"
	"strings"
)

// A Method is one method of AMQP 0-9-1 with its arguments.
type Method struct {
	Name   string // queue.declare
	ID     uint32 // class id << 16 | method id
	Fields []Arg
	From   string // who sends it: "client", "server" or "both"
}

// An Arg is an argument of a method or a property of a content.
type Arg struct{ Name, Type string }

// Reserved arguments are sent as zero and never looked at.
func (a Arg) Reserved() bool { return strings.HasPrefix(a.Name, "reserved") }

// Content reports whether a header and a body follow the method.
func (m *Method) Content() bool {
	switch m.Name {
	case "basic.publish", "basic.return", "basic.deliver", "basic.get-ok":
		return true
	}
	return false
}

// methodTable is written from the published protocol and not taken from
// protocols/amqp, so that the two can disagree.
const methodTable = `
10.10 S connection.start version-major:octet version-minor:octet server-properties:table mechanisms:longstr locales:longstr
10.11 C connection.start-ok client-properties:table mechanism:shortstr response:longstr locale:shortstr
10.20 S connection.secure challenge:longstr
10.21 C connection.secure-ok response:longstr
10.30 S connection.tune channel-max:short frame-max:long heartbeat:short
10.31 C connection.tune-ok channel-max:short frame-max:long heartbeat:short
10.40 C connection.open virtual-host:shortstr reserved-1:shortstr reserved-2:bit
10.41 S connection.open-ok reserved-1:shortstr
10.50 B connection.close reply-code:short reply-text:shortstr class-id:short method-id:short
10.51 B connection.close-ok
10.60 S connection.blocked reason:shortstr
10.61 S connection.unblocked
10.70 C connection.update-secret new-secret:longstr reason:shortstr
10.71 S connection.update-secret-ok
20.10 C channel.open reserved-1:shortstr
20.11 S channel.open-ok reserved-1:longstr
20.20 C channel.flow active:bit
20.21 S channel.flow-ok active:bit
20.40 B channel.close reply-code:short reply-text:shortstr class-id:short method-id:short
20.41 B channel.close-ok
30.10 C access.request realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit
30.11 S access.request-ok ticket:short
40.10 C exchange.declare reserved-1:short exchange:shortstr type:shortstr passive:bit durable:bit auto-delete:bit internal:bit no-wait:bit arguments:table
40.11 S exchange.declare-ok
40.20 C exchange.delete reserved-1:short exchange:shortstr if-unused:bit no-wait:bit
40.21 S exchange.delete-ok
40.30 C exchange.bind reserved-1:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
40.31 S exchange.bind-ok
40.40 C exchange.unbind reserved-1:short destination:shortstr source:shortstr routing-key:shortstr no-wait:bit arguments:table
40.51 S exchange.unbind-ok
50.10 C queue.declare reserved-1:short queue:shortstr passive:bit durable:bit exclusive:bit auto-delete:bit no-wait:bit arguments:table
50.11 S queue.declare-ok queue:shortstr message-count:long consumer-count:long
50.20 C queue.bind reserved-1:short queue:shortstr exchange:shortstr routing-key:shortstr no-wait:bit arguments:table
50.21 S queue.bind-ok
50.30 C queue.purge reserved-1:short queue:shortstr no-wait:bit
50.31 S queue.purge-ok message-count:long
50.40 C queue.delete reserved-1:short queue:shortstr if-unused:bit if-empty:bit no-wait:bit
50.41 S queue.delete-ok message-count:long
50.50 C queue.unbind reserved-1:short queue:shortstr exchange:shortstr routing-key:shortstr arguments:table
50.51 S queue.unbind-ok
60.10 C basic.qos prefetch-size:long prefetch-count:short global:bit
60.11 S basic.qos-ok
60.20 C basic.consume reserved-1:short queue:shortstr consumer-tag:shortstr no-local:bit no-ack:bit exclusive:bit no-wait:bit arguments:table
60.21 S basic.consume-ok consumer-tag:shortstr
60.30 B basic.cancel consumer-tag:shortstr no-wait:bit
60.31 S basic.cancel-ok consumer-tag:shortstr
60.40 C basic.publish reserved-1:short exchange:shortstr routing-key:shortstr mandatory:bit immediate:bit
60.50 S basic.return reply-code:short reply-text:shortstr exchange:shortstr routing-key:shortstr
60.60 S basic.deliver consumer-tag:shortstr delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr
60.70 C basic.get reserved-1:short queue:shortstr no-ack:bit
60.71 S basic.get-ok delivery-tag:longlong redelivered:bit exchange:shortstr routing-key:shortstr message-count:long
60.72 S basic.get-empty reserved-1:shortstr
60.80 B basic.ack delivery-tag:longlong multiple:bit
60.90 C basic.reject delivery-tag:longlong requeue:bit
60.100 C basic.recover-async requeue:bit
60.110 C basic.recover requeue:bit
60.111 S basic.recover-ok
60.120 B basic.nack delivery-tag:longlong multiple:bit requeue:bit
85.10 C confirm.select no-wait:bit
85.11 S confirm.select-ok
90.10 C tx.select
90.11 S tx.select-ok
90.20 C tx.commit
90.21 S tx.commit-ok
90.30 C tx.rollback
90.31 S tx.rollback-ok
`

// properties of a content of class basic, from flag bit 15 downwards.
var properties = []Arg{
	{"content-type", "shortstr"}, {"content-encoding", "shortstr"}, {"headers", "table"},
	{"delivery-mode", "octet"}, {"priority", "octet"}, {"correlation-id", "shortstr"},
	{"reply-to", "shortstr"}, {"expiration", "shortstr"}, {"message-id", "shortstr"},
	{"timestamp", "longlong"}, {"type", "shortstr"}, {"user-id", "shortstr"},
	{"app-id", "shortstr"}, {"cluster-id", "shortstr"},
}

var methods, methodsByID = readMethods()

func readMethods() (map[string]*Method, map[uint32]*Method) {
	byName, byID := map[string]*Method{}, map[uint32]*Method{}
	from := map[string]string{"C": "client", "S": "server", "B": "both"}
	for line := range strings.Lines(strings.TrimSpace(methodTable)) {
		f := strings.Fields(line)
		class, id, _ := strings.Cut(f[0], ".")
		m := &Method{Name: f[2], ID: number(class)<<16 | number(id), From: from[f[1]]}
		for _, a := range f[3:] {
			name, kind, _ := strings.Cut(a, ":")
			m.Fields = append(m.Fields, Arg{name, kind})
		}
		byName[m.Name], byID[m.ID] = m, m
	}
	return byName, byID
}

func number(text string) uint32 {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		panic(fmt.Sprintf("the method table: %v", err))
	}
	return uint32(n)
}
