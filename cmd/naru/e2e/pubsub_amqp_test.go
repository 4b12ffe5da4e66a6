package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// serveAMQP runs "naru serve" as serveNaru does, with AMQP and without WebSocket.
func serveAMQP(t *testing.T, binary string, settings ...string) *Broker {
	t.Helper()
	b, err := run(t, func(dir string, ports [2]int) (*Broker, error) {
		b := &Broker{MQTT: fmt.Sprintf("127.0.0.1:%d", ports[0]), AMQP: fmt.Sprintf("127.0.0.1:%d", ports[1])}
		args := []string{"serve"}
		for _, s := range append(settings, "ws.enabled=false", "mqtt.listeners.0.address="+b.MQTT, "amqp.listeners.0.address="+b.AMQP) {
			args = append(args, "--set", s)
		}
		b.command = func() *exec.Cmd { return naruCommand(binary, dir, args, "NARU_METRICS__ADDRESS=127.0.0.1:0") }
		return b, nil
	})
	must(t, err)
	return b
}

// openAMQP connects as an application does, with one channel.
func openAMQP(t *testing.T, b *Broker) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	c, err := amqp.Dial("amqp://" + b.AMQP)
	must(t, err)
	t.Cleanup(func() { c.Close() })
	ch, err := c.Channel()
	must(t, err)
	return c, ch
}

func declare(t *testing.T, ch *amqp.Channel, name string, args amqp.Table) {
	t.Helper()
	_, err := ch.QueueDeclare(name, true, false, false, false, args)
	must(t, err)
}

// get takes one message, which must be there.
func get(t *testing.T, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	d, ok, err := ch.Get(queue, true)
	must(t, err)
	if !ok {
		t.Fatalf("there is nothing in %s", queue)
	}
	return d
}

// TestAMQPPub: what naru pub sends by AMQP, as an application receives it.
func TestAMQPPub(t *testing.T) {
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	_, ch := openAMQP(t, b)
	declare(t, ch, "jobs", nil)
	must(t, ch.QueueBind("jobs", "a.*", "amq.topic", false, nil), ch.QueueBind("jobs", "", "amq.fanout", false, nil))
	url := "amqp://" + b.AMQP
	for _, test := range []struct {
		args []string
		want amqp.Delivery
	}{
		{[]string{"--queue", "jobs"}, amqp.Delivery{RoutingKey: "jobs", DeliveryMode: 1}},
		{[]string{"--queue", "jobs", "-q", "1", "--header", "a=b=c", "--header", "d="},
			amqp.Delivery{RoutingKey: "jobs", DeliveryMode: 2, Headers: amqp.Table{"a": "b=c", "d": ""}}},
		{[]string{"-t", "a.b", "-q", "2"}, amqp.Delivery{Exchange: "amq.topic", RoutingKey: "a.b", DeliveryMode: 2}},
		{[]string{"--exchange", "amq.fanout", "--mandatory"}, amqp.Delivery{Exchange: "amq.fanout", DeliveryMode: 1}},
	} {
		runTool(t, 0, append([]string{binary, "pub", url, "-m", "Grüße"}, test.args...)...)
		d := get(t, ch, "jobs")
		if d.Exchange != test.want.Exchange || d.RoutingKey != test.want.RoutingKey || d.DeliveryMode != test.want.DeliveryMode ||
			fmt.Sprint(d.Headers) != fmt.Sprint(test.want.Headers) || string(d.Body) != "Grüße" {
			t.Errorf("%q: %+v", test.args, d)
		}
	}
	runTool(t, 0, binary, "pub", url, "--queue", "jobs", "-m", "x", "--repeat", "3", "--repeat-delay", "0.01", "-q", "1")
	startTool(t, strings.NewReader("one\n\nthree"), nil, binary, "pub", url, "--queue", "jobs", "-l").end(0)
	have := ""
	for range 6 {
		have += string(get(t, ch, "jobs").Body) + "|"
	}
	if have != "x|x|x|one||three|" {
		t.Errorf("repeated, and lines: %q", have)
	}
}

// TestAMQPFailures: each way to fail has its exit code and says what is wrong.
func TestAMQPFailures(t *testing.T) {
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	_, ch := openAMQP(t, b)
	declare(t, ch, "full", amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	url := "amqp://" + b.AMQP
	nobody, err := net.Listen("tcp", "127.0.0.1:0") // who accepts and says nothing
	must(t, err)
	t.Cleanup(func() { nobody.Close() })
	for _, test := range []struct {
		args string
		code int
		says string
	}{
		{"pub URL --queue none -m x", 1, `1 of the messages came back: there is no queue "none" (312 NO_ROUTE) (1 sent)`},
		{"pub URL --queue none -m x -q 1 --repeat 3", 1, `3 of the messages came back`},
		{"pub URL --queue none -m x -q 1 --mandatory=false", 0, ""},
		{"pub URL -t nowhere -m x -q 1", 0, ""},
		{"pub URL -t nowhere -m x --mandatory", 1, `exchange "amq.topic" with the key "nowhere" leads nowhere`},
		{"pub URL -t a --exchange none -m x -q 1", 1, `404 NOT_FOUND - no exchange 'none' in vhost '/' (1 sent, 0 of them acknowledged)`},
		{"pub URL -t a --exchange none -m x", 1, `404 NOT_FOUND`},
		{"pub URL --queue full -m x -q 1 --repeat 3", 1, `the broker has refused 2 of the messages (3 sent, 1 of them acknowledged)`},
		{"pub URL/none -t a -m x", 1, `/none: connection refused: 530 NOT_ALLOWED - vhost none not found`},
		{"pub URL -u guest -P wrong -t a -m x", 1, `connection refused`},
		{"pub amqp://" + nobody.Addr().String() + " -t a -m x -W 0.2", 27, `timed out`},
		{"pub amqp://" + nobody.Addr().String() + "?connection_timeout=200 -t a -m x", 1, `does not answer`},
		{"sub URL --queue none", 1, `404 NOT_FOUND - no queue 'none' in vhost '/'`},
		{"sub URL --queue none --reconnect", 1, `404 NOT_FOUND`},
		{"sub URL -t a --exchange none", 1, `404 NOT_FOUND - no exchange 'none'`},
		{"sub URL -t nothing -W 0.2", 27, "timed out"},
	} {
		_, said := runTool(t, test.code, append([]string{binary}, strings.Fields(strings.ReplaceAll(test.args, "URL", url))...)...)
		if !strings.Contains(said, test.says) || test.says == "" && said != "" {
			t.Errorf("naru %s: %q, want %q", test.args, said, test.says)
		}
	}
}

// TestAMQPBlocked: who publishes during an alarm is told why nothing happens, and when
// it is over; once, and not if it wants to hear nothing.
func TestAMQPBlocked(t *testing.T) {
	binary := naruBinary(t)
	c := startConfigured(t, "", func(cmd *exec.Cmd) {
		cmd.Args = append(cmd.Args, "--set", "amqp.enabled=true", "--set", "amqp.listeners.0.address=127.0.0.1:0")
	})
	line := awaitLog(t, c.Broker, "protocol=amqp")
	_, address, _ := strings.Cut(line, " address=")
	address, _, _ = strings.Cut(address, " ")
	url, head := "amqp://"+address, c.head
	c.head = strings.Replace(head, "min_free_disk: 0", "min_free_disk: 1000TiB", 1)
	c.reload("")
	awaitLog(t, c.Broker, "alarm: publishers wait")

	const held, free = "naru pub: the broker holds publishers back: low on disk\n", "naru pub: the broker takes messages again\n"
	if _, said := runTool(t, 27, binary, "pub", url, "-t", "a", "-m", "x", "-W", "0.5"); said != held+"naru pub: timed out (1 sent)\n" {
		t.Errorf("until the time is over: %q", said)
	}
	if _, said := runTool(t, 27, binary, "pub", url, "-t", "a", "-m", "x", "-W", "0.5", "--quiet"); said != "" {
		t.Errorf("with --quiet: %q", said)
	}
	var waiting []*tool
	for _, qos := range []string{"0", "1"} {
		p := startTool(t, nil, nil, binary, "pub", url, "-t", "a", "-m", "x", "--repeat", "5", "-q", qos)
		waiting = append(waiting, p)
		p.awaitOn(p.err, held)
	}
	c.head = head
	c.reload("")
	for _, p := range waiting {
		p.end(0)
		if said := p.err.String(); said != held+free {
			t.Errorf("%q says %q", p.cmd.Args, said)
		}
	}
}

// TestAMQPSub: what naru sub prints of messages by AMQP, and that -C leaves the rest
// as it is: nobody has seen it.
func TestAMQPSub(t *testing.T) {
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	_, ch := openAMQP(t, b)
	declare(t, ch, "jobs", nil)
	for _, body := range []string{"one", "two", "three"} {
		must(t, ch.Publish("", "jobs", false, false, amqp.Publishing{
			Body: []byte(body), DeliveryMode: 2, ContentType: "text/plain", CorrelationId: "c", ReplyTo: "r", Timestamp: time.Unix(1e9, 0),
			Headers: amqp.Table{"n": int32(7), "deep": amqp.Table{"list": []any{"x", true, nil, []byte("bytes")}}},
		}))
	}
	url := "amqp://" + b.AMQP
	out, _ := runTool(t, 0, binary, "sub", url, "--queue", "jobs", "-C", "1", "--json")
	var have, want map[string]any
	must(t, json.Unmarshal([]byte(out), &have))
	delete(have, "tst")
	must(t, json.Unmarshal([]byte(`{"topic":"jobs","exchange":"","redelivered":0,"qos":1,"retain":0,"payloadlen":3,"payload":"one",
		"properties":{"content_type":"text/plain","correlation_id":"c","reply_to":"r","timestamp":1000000000},
		"headers":{"n":7,"deep":{"list":["x",true,null,"bytes"]}}}`), &want))
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("JSON:\n%v, want\n%v", have, want)
	}
	out, _ = runTool(t, 0, binary, "sub", url, "--queue", "jobs", "-C", "1", "-F", "%e|%t|%d|%C|%D|%R|%P|%p")
	if want := `|jobs|0|text/plain|c|r|deep:{"list":["x",true,null,"bytes"]} n:7|two` + "\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if d := get(t, ch, "jobs"); string(d.Body) != "three" || d.Redelivered {
		t.Errorf("what nobody asked for is %q, redelivered %v", d.Body, d.Redelivered)
	}

	// Keys of the exchange where MQTT is, from both sides.
	s := startTool(t, nil, nil, binary, "sub", url, "-t", "a.*", "-t", "end", "-C", "3", "-F", "%e %t %q %p")
	m := join(t, &session{addr: b.MQTT, id: "m", clean: true})
	for !strings.Contains(b.operate(t, binary, "list", "consumers"), "naru-sub") { // it has bound its queue before
		select {
		case <-s.exited:
			t.Fatalf("it has ended: %s", s.err)
		case <-time.After(20 * time.Millisecond): // nothing tells when it consumes
		}
	}
	must(t, m.publish("a/b", 1, false, []byte("mqtt"), 0), m.publish("a/b/c", 1, false, []byte("deeper"), 0), m.drain(0))
	runTool(t, 0, binary, "pub", url, "-t", "a.x", "-m", "amqp")
	runTool(t, 0, binary, "pub", url, "-t", "end", "-m", "end", "-q", "1")
	if have, want := s.end(0), "amq.topic a.b 1 mqtt\namq.topic a.x 0 amqp\namq.topic end 1 end\n"; have != want {
		t.Errorf("printed %q, want %q", have, want)
	}
}

// TestAMQPMuch: 5,000 lines and 5 MB of any bytes, through the window and the
// prefetch, in their order.
func TestAMQPMuch(t *testing.T) {
	var lines strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&lines, "line %d%s\n", i, strings.Repeat(" and more", i%7))
	}
	big := make([]byte, 5_000_000)
	for i, random := 0, rand.New(rand.NewPCG(1, 2)); i < len(big); i++ {
		big[i] = byte(random.Uint32())
	}
	file := filepath.Join(t.TempDir(), "big")
	must(t, os.WriteFile(file, big, 0o600))
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	_, ch := openAMQP(t, b)
	declare(t, ch, "much", nil)
	url := "amqp://" + b.AMQP
	startTool(t, strings.NewReader(lines.String()), nil, binary, "pub", url, "--queue", "much", "-q", "1", "-l").end(0)
	s := startTool(t, nil, nil, binary, "sub", url, "--queue", "much")
	s.await("line 4999")
	runTool(t, 0, binary, "pub", url, "--queue", "much", "-m", "last")
	s.await("last")
	s.signal(syscall.SIGINT)
	if have := s.end(0); have != lines.String()+"last\n" {
		t.Errorf("%d bytes came out, want %d: %.200q", len(have), lines.Len(), have)
	}
	for _, q := range []string{"0", "1"} {
		runTool(t, 0, binary, "pub", url, "--queue", "much", "-f", file, "-q", q)
		if out, _ := runTool(t, 0, binary, "sub", url, "--queue", "much", "-C", "1", "-N"); !bytes.Equal([]byte(out), big) {
			t.Errorf("QoS %s: %d bytes came out, and are not what was sent", q, len(out))
		}
	}
}

// TestAMQPReconnect: sub goes on where it was when the broker is killed, and pub
// says how much was confirmed.
func TestAMQPReconnect(t *testing.T) {
	binary := naruBinary(t)
	b := serveAMQP(t, binary)
	_, ch := openAMQP(t, b)
	declare(t, ch, "jobs", nil)
	url := "amqp://" + b.AMQP
	s := startTool(t, nil, nil, binary, "sub", url, "--queue", "jobs", "--reconnect")
	alone := startTool(t, nil, nil, binary, "sub", url, "--queue", "jobs")
	p := startTool(t, endless(t), nil, binary, "pub", url, "--queue", "jobs", "-m", "again", "-q", "1", "--repeat", "1000", "--repeat-delay", "0.005")
	s.await("again\nagain\n")
	alone.await("again")
	must(t, b.Restart(true))
	p.end(1)
	if said := p.err.String(); !strings.Contains(said, "of them acknowledged)") {
		t.Errorf("pub says %q", said)
	}
	alone.end(1)
	runTool(t, 0, binary, "pub", url, "--queue", "jobs", "-m", "after", "-q", "1")
	s.await("after")
	s.signal(syscall.SIGINT)
	s.end(0)
}

// TestAMQPToolTLS: amqps, with what it trusts and what it does not, and a client
// certificate that says who we are.
func TestAMQPToolTLS(t *testing.T) {
	a := newAuthority(t, t.TempDir(), "ca")
	a.server(t, "server", []net.IP{net.IPv4(127, 0, 0, 1)}, "localhost")
	a.client(t, "device")
	newAuthority(t, a.dir, "stranger")
	binary := naruBinary(t)
	b := serveAMQP(t, binary, "users={device: {certificate: true}}", "amqp.listeners.0.tls="+fmt.Sprintf(
		"{cert: %s, key: %s, client_ca: %s, client_auth: optional}", a.file("server.pem"), a.file("server.key"), a.file("ca.pem")))
	url, ca := "amqps://"+b.AMQP, a.file("ca.pem")
	who := []string{"--cert", a.file("device.pem"), "--key", a.file("device.key")}
	s := startTool(t, nil, nil, append([]string{binary, "sub", url, "--cafile", ca, "-t", "t", "-C", "1"}, who...)...)
	for !strings.Contains(b.operate(t, binary, "list", "consumers"), "naru-sub") {
		select {
		case <-s.exited:
			t.Fatalf("it has ended: %s", s.err)
		case <-time.After(20 * time.Millisecond): // nothing tells when it consumes
		}
	}
	if c := b.objects(t, binary, "connections"); len(c) != 1 || c[0]["user"] != "device" {
		t.Errorf("connections: %v", c)
	}
	runTool(t, 0, binary, "pub", fmt.Sprintf("%s?cacertfile=%s&certfile=%s&keyfile=%s", url, ca, a.file("device.pem"), a.file("device.key")),
		"-t", "t", "-m", "secret", "-q", "1", "--mandatory")
	if have := s.end(0); have != "secret\n" {
		t.Errorf("printed %q", have)
	}
	if _, said := runTool(t, 1, binary, "pub", url, "--cafile", a.file("stranger.pem"), "-t", "t", "-m", "x"); !strings.Contains(said, "certificate") {
		t.Errorf("a broker that is not trusted: %q", said)
	}
}
