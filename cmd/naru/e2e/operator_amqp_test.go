package e2e

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// TestOperatorAMQP: what operators see of a node with one of everything of AMQP,
// and of MQTT beside it.
func TestOperatorAMQP(t *testing.T) {
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	live := join(t, &session{addr: b.MQTT, id: "live", clean: true})
	must(t, live.subscribe("$share/g/s/#", 1))
	c, err := amqp.DialConfig("amqp://"+b.AMQP, amqp.Config{Properties: amqp.Table{"connection_name": "odd\x1b[31m"}})
	must(t, err)
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel()
	must(t, err)
	second, err := c.Channel()
	must(t, err)
	third, err := c.Channel()
	must(t, err)
	must(t, second.Confirm(false), third.Tx())
	must(t, ch.ExchangeDeclare("top", "fanout", true, false, false, false, nil),
		ch.ExchangeDeclare("hash", "x-consistent-hash", false, true, true, false, amqp.Table{"alternate-exchange": "top"}))
	_, err = ch.QueueDeclare("mine", false, true, true, false, amqp.Table{
		"x-max-length": 5, "x-dead-letter-exchange": "top", "x-message-ttl": 60000, "x-single-active-consumer": true,
	})
	must(t, err)
	declare(t, ch, "votes", amqp.Table{"x-queue-type": "quorum"})
	must(t, ch.QueueBind("votes", "", "top", false, nil), ch.Qos(5, 0, false), ch.Qos(9, 0, true))
	come, err := ch.Consume("votes", "tag", false, false, false, false, amqp.Table{"x-priority": 3})
	must(t, err)
	_, err = second.Consume("mine", "first", true, false, false, false, nil)
	must(t, err)
	_, err = second.Consume("mine", "next", true, false, false, false, nil)
	must(t, err)
	must(t, ch.Publish("top", "", false, false, amqp.Publishing{Body: []byte("x"), DeliveryMode: 2}))
	<-come // and is not acknowledged

	name := fmt.Sprintf("%v -> %s", c.LocalAddr(), b.AMQP)
	check := func(kind, field, value string, want map[string]any) {
		t.Helper()
		have := row(t, b.objects(t, binary, kind), field, value)
		for k, v := range want {
			if have[k] != v {
				t.Errorf("%s %s: %s is %v, want %v", kind, value, k, have[k], v)
			}
		}
	}
	check("connections", "name", name, map[string]any{
		"client_id": "", "client_name": "odd\x1b[31m", "user": "guest", "vhost": "/", "protocol": "amqp", "state": "running", "channels": 3.0, "in_flight": 1.0,
	})
	check("connections", "name", "live", map[string]any{"client_id": "live", "client_name": "", "protocol": "mqtt", "channels": 0.0})
	channels := b.objects(t, binary, "channels", "--match", "127.*")
	if len(channels) != 3 {
		t.Fatalf("channels: %v", channels)
	}
	for i, want := range []map[string]any{
		{"number": 1.0, "mode": "plain", "prefetch": 5.0, "global_prefetch": 9.0, "consumers": 1.0, "unacked": 1.0, "connection": name},
		{"number": 2.0, "mode": "confirm", "prefetch": 0.0, "consumers": 2.0, "unacked": 0.0, "unconfirmed": 0.0, "state": "running"},
		{"number": 3.0, "mode": "transaction", "consumers": 0.0, "user": "guest"},
	} {
		for k, v := range want {
			if channels[i][k] != v {
				t.Errorf("channel %d: %s is %v, want %v", i+1, k, channels[i][k], v)
			}
		}
	}
	check("consumers", "tag", "tag", map[string]any{
		"queue": "votes", "connection": name, "channel": 1.0, "ack_required": true, "exclusive": false, "active": true, "priority": 3.0,
		"prefetch": 5.0, "unacked": 1.0,
	})
	check("consumers", "tag", "first", map[string]any{"queue": "mine", "active": true, "ack_required": false})
	check("consumers", "tag", "next", map[string]any{"queue": "mine", "active": false})
	check("consumers", "connection", "live", map[string]any{"queue": "$share/g/s/#", "protocol": "mqtt"})
	check("queues", "name", "mine", map[string]any{
		"type": "classic", "durable": false, "auto_delete": true, "exclusive": true, "owner": name, "single_active_consumer": true,
		"max_length": 5.0, "message_ttl_ms": 60000.0, "dead_letter_exchange": "top",
	})
	check("queues", "name", "votes", map[string]any{"type": "quorum", "durable": true, "delivery_limit": 20.0, "arguments": `x-queue-type="quorum"`})
	check("exchanges", "name", "top", map[string]any{"type": "fanout", "durable": true, "bindings": 1.0})
	check("exchanges", "name", "hash", map[string]any{
		"type": "x-consistent-hash", "durable": false, "auto_delete": true, "internal": true, "alternate": "top",
	})
	check("exchanges", "name", "amq.topic", map[string]any{"type": "topic", "durable": true})
	if all := b.objects(t, binary, "exchanges", "--match", "amq.*"); len(all) != 6 {
		t.Errorf("exchanges whose names begin with amq.: %v", all)
	}
	for _, test := range []struct{ kind, line string }{
		{"queues", `mine +queue +/ +no +0 +0 +0 B +2 +0 +auto-delete exclusive single-active-consumer max-length=5 message-ttl=60000 dead-letter-exchange=top`},
		{"queues", `votes +queue +/ +yes +0 +1 +1 B +1 +0 +quorum delivery-limit=20`},
		{"exchanges", `hash +x-consistent-hash +/ +no +yes +yes +top +0`},
		{"bindings", `top +- +amqp +queue +votes +/ +-|top +amqp +queue +votes +/ +-`},
		{"channels", regexp.QuoteMeta(name) + ` +1 +guest +/ +running +plain +1 +5 +9 +1 +0`},
		{"consumers", `votes +` + regexp.QuoteMeta(name) + ` +1 +tag +/ +yes +no +yes +3 +5 +1`},
		{"connections", regexp.QuoteMeta(name) + ` +guest +/ +amqp +127\.0\.0\.1:\d+ +running +3 +[-\d]+ [:\d]+ +1 +odd\\x1b\[31m`},
	} {
		if out := b.operate(t, binary, "list", test.kind); !regexp.MustCompile(`(?m)^(`+test.line+`)$`).MatchString(out) || strings.Contains(out, "\x1b") {
			t.Errorf("the table of %s has no %q:\n%s", test.kind, test.line, out)
		}
	}
	must(t, third.Close())
	if all := b.objects(t, binary, "channels"); len(all) != 2 {
		t.Errorf("channels when one is closed: %v", all)
	}
	must(t, c.Close())
	if all := b.objects(t, binary, "channels"); len(all) != 0 {
		t.Errorf("channels when the connection is closed: %v", all)
	}
}

// TestKickAMQP: a connection that an operator ends is told so, and others are not
// touched; so is every one when the node stops.
func TestKickAMQP(t *testing.T) {
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	first, _ := openAMQP(t, b)
	other, _ := openAMQP(t, b)
	closed := first.NotifyClose(make(chan *amqp.Error, 1))
	name := fmt.Sprintf("%v -> %s", first.LocalAddr(), b.AMQP)
	if s := runNaru(t, binary, b.Dir, "__complete", "kick", name[:len("127.0.0.1:")]); !strings.Contains(s.out, name+"\n") {
		t.Errorf("completion of a connection: %+v", s)
	}
	if out := b.operate(t, binary, "kick", name); out != name+" is disconnected\n" {
		t.Errorf("kick says %q", out)
	}
	if err := <-closed; err == nil || err.Code != 320 || err.Reason != "CONNECTION_FORCED - closed by operator" {
		t.Errorf("the client hears %v", err)
	}
	if s := runNaru(t, binary, b.Dir, "kick", name); s.code != 1 || !strings.Contains(s.err, "not found") {
		t.Errorf("kick of who has gone: %+v", s)
	}
	if _, err := other.Channel(); err != nil {
		t.Errorf("another connection: %v", err)
	}
	closed = other.NotifyClose(make(chan *amqp.Error, 1))
	must(t, b.Stop(syscall.SIGTERM))
	if err := <-closed; err == nil || err.Code != 320 || !strings.HasPrefix(err.Reason, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'") {
		t.Errorf("at the end of the node the client hears %v", err)
	}
	must(t, b.Start())
}

// TestLastWordsPika: pika, which reads and writes by turns, hears them too, in the
// middle of consuming and of publishing.
func TestLastWordsPika(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's pika
	peers.Need(t, exec.Command(python, "-c", "import pika").Run())
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	const program = `
import sys, pika
host, port = sys.argv[1].split(":")
c = pika.BlockingConnection(pika.ConnectionParameters(host, int(port)))
ch = c.channel()
ch.queue_declare("q", durable=True)
try:
    if sys.argv[2] == "consume":
        ch.basic_consume("q", lambda *a: None)
        print("ready", flush=True)
        ch.start_consuming()
    ch.confirm_delivery()
    print("ready", flush=True)
    while True:
        ch.basic_publish("", "q", b"x" * 1000)
except pika.exceptions.ConnectionClosedByBroker as e:
    print(e.reply_code, e.reply_text, flush=True)
`
	for _, how := range []string{"consume", "publish"} {
		p := startTool(t, nil, nil, python, "-c", program, b.AMQP, how)
		p.await("ready")
		all := b.objects(t, binary, "connections")
		if len(all) != 1 {
			t.Fatalf("connections: %v", all)
		}
		b.operate(t, binary, "kick", fmt.Sprint(all[0]["name"]))
		if have := p.end(0); have != "ready\n320 CONNECTION_FORCED - closed by operator\n" {
			t.Errorf("%s: pika says %q", how, have)
		}
	}
	p := startTool(t, nil, nil, python, "-c", program, b.AMQP, "publish")
	q := startTool(t, nil, nil, python, "-c", program, b.AMQP, "consume")
	p.await("ready")
	q.await("ready")
	must(t, b.Stop(syscall.SIGTERM))
	for _, p := range []*tool{p, q} {
		if have := p.end(0); have != "ready\n320 CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'\n" {
			t.Errorf("pika says %q", have)
		}
	}
	must(t, b.Start())
}
