package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// serveNaru runs "naru serve" as its user meets it: in a directory of its own,
// without a configuration file, and with no more settings than those given.
// Only the ports are others, because tests must not share one.
func serveNaru(t *testing.T, binary string, settings ...string) *Broker {
	t.Helper()
	b, err := run(t, func(dir string, ports [2]int) (*Broker, error) {
		addr, ws := fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
		args := []string{"serve"}
		for _, s := range settings {
			args = append(args, "--set", s)
		}
		return &Broker{MQTT: addr, WS: ws, command: func() *exec.Cmd {
			return naruCommand(binary, dir, args, "NARU_MQTT__LISTENERS__0__ADDRESS="+addr, "NARU_WS__LISTENERS__0__ADDRESS="+ws,
				"NARU_AMQP__LISTENERS__0__ADDRESS=127.0.0.1:0", "NARU_METRICS__ADDRESS=127.0.0.1:0")
		}}, nil
	})
	must(t, err)
	awaitLog(t, b, "msg=ready") // clients are served before operators, and before the log says so
	return b
}

// naruCommand runs the binary in dir, with no setting from the environment of
// whoever runs the tests.
func naruCommand(binary, dir string, args []string, env ...string) *exec.Cmd {
	cmd := exec.Command(binary, args...)
	cmd.Dir = dir
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "NARU_") })
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// join logs a session in and closes it with the test.
func join(t *testing.T, s *session) *session {
	t.Helper()
	if err := s.connect(); err != nil {
		t.Fatalf("%s: %v", s.id, err)
	}
	t.Cleanup(s.close)
	return s
}

// must fails the test at the first error of several calls.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// expectDelivery takes the next message without acknowledging it.
func expectDelivery(t *testing.T, s *session, topic, payload string) *delivery {
	t.Helper()
	d, err := s.receive()
	if err != nil {
		t.Fatalf("%s waits for %q on %s: %v", s.id, payload, topic, err)
	}
	if d.topic != topic || string(d.payload) != payload {
		t.Fatalf("%s has %.40q on %s, want %.40q on %s", s.id, d.payload, d.topic, payload, topic)
	}
	return d
}

// TestServeUnconfigured: a fresh start in an empty directory serves this
// machine, keeps its data beside it and says so first.
func TestServeUnconfigured(t *testing.T) {
	binary := naruBinary(t)
	b := serveNaru(t, binary)
	s := join(t, &session{addr: b.MQTT, id: "first"})
	must(t, s.subscribe("a/#", 1), s.publish("a/b", 1, false, []byte("x"), 0))
	expectDelivery(t, s, "a/b", "x")

	data := filepath.Join(b.Dir, "naru-data")
	if entries, err := os.ReadDir(data); err != nil || len(entries) == 0 {
		t.Errorf("no data in ./naru-data: %v %v", entries, err)
	}
	log := b.Log()
	lines := strings.SplitN(log, "\n", 6)
	head := strings.Join(lines[:min(5, len(lines))], "\n")
	for _, want := range []string{
		"data=" + data, `acknowledged_means="on disk (fsync)"`, "address=" + b.MQTT,
		`open_to="this machine only`, "anonymous clients from this machine only", "guest with the default password",
		`for="health and metrics"`,
	} {
		if !strings.Contains(head, want) {
			t.Errorf("the first lines do not say %s:\n%s", want, log)
		}
	}
	if !strings.Contains(lines[0], "data=") || !strings.Contains(lines[0], "acknowledged_means=") {
		t.Errorf("the first line is %q", lines[0])
	}

	_, rest, _ := strings.Cut(head, "protocol=http address=")
	metrics, _, _ := strings.Cut(rest, " ")
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ok\n", "/metrics": "naru_connections 1\n"} {
		r, err := http.Get("http://" + metrics + path)
		must(t, err)
		body, err := io.ReadAll(r.Body)
		must(t, err, r.Body.Close())
		if r.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %s\n%s", path, r.Status, body)
		}
	}
	http.DefaultClient.CloseIdleConnections()

	out, err := naruCommand(binary, t.TempDir(), []string{"config"}).Output()
	if err != nil {
		t.Fatalf("naru config: %v", err)
	}
	for _, want := range []string{`address: "?127\.0\.0\.1:1883"? +# default`, `data_dir: \./naru-data +# default`,
		`address: "?127\.0\.0\.1:15692"? +# default`, `sync: always +# default`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("naru config does not print %s:\n%s", want, out)
		}
	}
}

// TestServeTwice: a second process on the same data says why it cannot, and
// does the first no harm.
func TestServeTwice(t *testing.T) {
	binary := naruBinary(t)
	b := serveNaru(t, binary)
	var stderr bytes.Buffer
	second := naruCommand(binary, b.Dir, []string{"serve", "--set", "mqtt.listeners.0.address=127.0.0.1:0", "--set", "amqp.enabled=false"})
	second.Stderr = &stderr
	var exit *exec.ExitError
	if err := second.Run(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("the second process ends with %v, want exit code 1\n%s", err, &stderr)
	}
	if !strings.Contains(stderr.String(), "in use by another process") || !strings.Contains(stderr.String(), "naru-data") {
		t.Errorf("the second process says\n%s", &stderr)
	}
	s := join(t, &session{addr: b.MQTT, id: "still-here"})
	must(t, s.publish("a", 2, true, []byte("x"), 0), s.drain(0))
}

// TestServeMetricsTaken: a node that cannot have the address of its metrics does
// not start, and says which it is and what to do.
func TestServeMetricsTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	taken := l.Addr().String()
	p := runNaru(t, naruBinary(t), t.TempDir(), "serve", "--set", "metrics.address="+taken,
		"--set", "mqtt.listeners.0.address=127.0.0.1:0", "--set", "ws.listeners.0.address=127.0.0.1:0", "--set", "amqp.enabled=false")
	last := p.err[strings.LastIndexByte(strings.TrimSpace(p.err), '\n')+1:]
	for _, want := range []string{"metrics", taken, "address already in use", "metrics.address", "metrics.enabled=false"} {
		if p.code != 1 || !strings.Contains(last, want) {
			t.Errorf("exit code %d, and it does not say %s:\n%s", p.code, want, p.err)
		}
	}
}

// drainLimit is what the operator is promised about SIGTERM.
const drainLimit = 10 * time.Second

// TestServeStopsUnderLoad: SIGTERM ends a broker that is in the middle of
// work, in order and in time, and what it has acknowledged is there afterwards.
func TestServeStopsUnderLoad(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	keeper := join(t, &session{addr: b.MQTT, id: "keeper"})
	must(t, keeper.subscribe("load/+", 2), keeper.disconnect())
	idle := join(t, &session{addr: b.MQTT, id: "idle", clean: true})
	stuck := join(t, &session{addr: b.MQTT, id: "stuck", clean: true, readBuf: 4 << 10})
	must(t, stuck.subscribe("load/#", 0)) // and never reads

	const publishers = 4
	var acked [publishers]int
	var busy, running sync.WaitGroup
	busy.Add(publishers)
	for i := range publishers {
		s := join(t, &session{addr: b.MQTT, id: fmt.Sprint("load", i)})
		s.done = func(m *outgoing) {
			if acked[i]++; acked[i] == 200 {
				busy.Done()
			}
		}
		running.Go(func() {
			for n := 0; ; n++ { // until the broker closes the connection
				payload := fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", 500))
				if s.publish(fmt.Sprint("load/", i), byte(1+i%2), false, payload, n) != nil || s.drain(20) != nil {
					break
				}
			}
			for s.settle() == nil { // acknowledgements that came before the end
			}
		})
	}
	busy.Wait()
	must(t, b.Cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-b.Exited:
	case <-time.After(drainLimit):
		b.Cmd.Process.Kill()
		t.Fatalf("not stopped after %v:\n%s", drainLimit, b.Log())
	}
	running.Wait()
	if code := b.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if log := b.Log(); !strings.Contains(log, "msg=stopped") {
		t.Errorf("the log does not end with the stop:\n%s", log)
	}
	if _, _, err := idle.next(); err == nil {
		t.Error("an idle client is sent something instead of the end")
	}

	must(t, b.Start())
	must(t, keeper.connect())
	want := 0
	for _, n := range acked {
		want += n
	}
	next := make([]int, publishers)
	for seen := 0; seen < want; {
		d, err := keeper.take()
		if err != nil {
			t.Fatalf("%v of %v acknowledged messages: %v", next, acked, err)
		}
		var i, n int
		fmt.Sscanf(d.topic, "load/%d", &i)
		fmt.Sscanf(string(d.payload), "%d", &n)
		if n != next[i] {
			t.Fatalf("%s: message %d, want %d", d.topic, n, next[i])
		}
		if next[i]++; n < acked[i] {
			seen++
		}
	}
}

// TestServeResumes: the second start knows every session as the first left it.
func TestServeResumes(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	away := join(t, &session{addr: b.MQTT, id: "away"})
	must(t, away.subscribe("q/+", 2), away.disconnect())
	busy := join(t, &session{addr: b.MQTT, id: "busy"})
	must(t, busy.subscribe("w/+", 2))
	pub := join(t, &session{addr: b.MQTT, id: "pub"})
	for i := range 20 {
		must(t, pub.publish(fmt.Sprint("q/", i), byte(1+i%2), false, fmt.Appendf(nil, "m%d", i), 0))
	}
	must(t, pub.publish("r/1", 1, true, []byte("kept one"), 0), pub.publish("r/2", 2, true, []byte("kept two"), 0))
	must(t, pub.publish("r/0", 0, true, []byte("kept nought"), 0), pub.drain(0))

	// In flight to busy: nothing answered, and PUBREC answered by PUBREL.
	must(t, pub.publish("w/1", 1, false, []byte("one"), 0), pub.publish("w/2", 2, false, []byte("two"), 0),
		pub.publish("w/3", 2, false, []byte("three"), 0), pub.drain(0))
	one, two := expectDelivery(t, busy, "w/1", "one"), expectDelivery(t, busy, "w/2", "two")
	three := expectDelivery(t, busy, "w/3", "three")
	must(t, busy.acknowledge(three))
	if first, _, err := busy.next(); first != 0x62 || err != nil {
		t.Fatalf("PUBREC is answered by %x, %v, want PUBREL", first, err)
	}
	// In flight from pub: recorded and not released.
	must(t, pub.publish("w/4", 2, false, []byte("four"), 0))
	if first, _, err := pub.next(); first != 0x50 || err != nil {
		t.Fatalf("PUBLISH is answered by %x, %v, want PUBREC", first, err)
	}
	four := expectDelivery(t, busy, "w/4", "four")

	must(t, b.Restart(false))
	for _, s := range []*session{away, busy, pub} {
		must(t, s.connect())
		if !s.present {
			t.Errorf("%s: the session is not there any more", s.id)
		}
	}
	for i := range 20 {
		d := expectDelivery(t, away, fmt.Sprint("q/", i), fmt.Sprint("m", i))
		if d.dup || d.qos != byte(1+i%2) {
			t.Errorf("%s has QoS %d and DUP %v, and was never sent before", d.topic, d.qos, d.dup)
		}
		must(t, away.acknowledge(d))
	}
	// pub repeats what is recorded already: it must not come twice.
	must(t, pub.resend(), pub.drain(0), pub.publish("w/5", 1, false, []byte("five"), 0), pub.drain(0))
	for _, old := range []*delivery{one, two, four} {
		d := expectDelivery(t, busy, old.topic, string(old.payload))
		if !d.dup || d.id != old.id {
			t.Errorf("%s comes again with DUP %v and id %d, want DUP and %d", d.topic, d.dup, d.id, old.id)
		}
		must(t, busy.acknowledge(d))
	}
	expectDelivery(t, busy, "w/5", "five") // the subscription is alive
	if busy.taken[three.id] {
		t.Error("PUBREL of a message that was recorded has not come again")
	}
	checkRetained(t, b, map[string]string{"r/0": "kept nought", "r/1": "kept one", "r/2": "kept two"})
}

// checkRetained subscribes to r/# and takes exactly these messages.
func checkRetained(t *testing.T, b *Broker, want map[string]string) {
	t.Helper()
	s := join(t, &session{addr: b.MQTT, id: "retained", clean: true})
	must(t, s.subscribe("r/#", 2))
	got := map[string]string{}
	for range want {
		d, err := s.take()
		must(t, err)
		if !d.retain {
			t.Errorf("%s comes without the RETAIN flag", d.topic)
		}
		got[d.topic] = string(d.payload)
	}
	for topic, payload := range want {
		if got[topic] != payload {
			t.Errorf("retained on %s: %q, want %q", topic, got[topic], payload)
		}
	}
}
