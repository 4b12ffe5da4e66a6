package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// sysValue waits until a topic under $SYS/broker says what is wanted.
func sysValue(t *testing.T, b *Broker, topic string, wanted func(n int) bool) {
	t.Helper()
	s := join(t, &session{addr: b.MQTT, id: "sys", clean: true})
	defer s.close()
	must(t, s.subscribe("$SYS/broker/"+topic, 0))
	last := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		d, err := s.take()
		if err != nil {
			t.Fatalf("$SYS/broker/%s stays %s: %v", topic, last, err)
		}
		last = string(d.payload)
		if n, err := strconv.Atoi(last); err != nil {
			t.Fatalf("$SYS/broker/%s is %q", topic, last)
		} else if wanted(n) {
			return
		}
	}
	t.Fatalf("$SYS/broker/%s stays %s", topic, last)
}

// numbered is a payload that begins with its number.
func numbered(n, size int) []byte {
	b := fmt.Appendf(nil, "%d ", n)
	return append(b, bytes.Repeat([]byte{'x'}, max(size-len(b), 0))...)
}

func numberOf(d *delivery) (n int) {
	if _, err := fmt.Sscanf(string(d.payload[:min(len(d.payload), 20)]), "%d ", &n); err != nil {
		return -1
	}
	return n
}

// takeNumbers takes messages from first on, in order, up to but not including
// end.
func takeNumbers(t *testing.T, s *session, first, end int) {
	t.Helper()
	for n := first; n < end; n++ {
		d, err := s.take()
		if err != nil {
			t.Fatalf("%s waits for %d of %d: %v", s.id, n, end, err)
		}
		if got := numberOf(d); got != n || d.dup {
			t.Fatalf("%s: %d (DUP %v) on %s comes where %d should", s.id, got, d.dup, d.topic, n)
		}
	}
}

// TestSlowQoS0: a subscriber that does not read loses messages at QoS 0, which
// are counted, and nobody else loses or waits for any.
func TestSlowQoS0(t *testing.T) {
	b := serveNaru(t, naruBinary(t), "mqtt.sys_interval=100ms")
	slow := join(t, &session{addr: b.MQTT, id: "slow", clean: true, readBuf: 256 << 10})
	quick := join(t, &session{addr: b.MQTT, id: "quick", clean: true})
	pub := join(t, &session{addr: b.MQTT, id: "pub", clean: true})
	must(t, slow.subscribe("a", 0), quick.subscribe("a", 0))
	// Far more than the kernel and an outbox take. Never more at a time than an
	// outbox holds, so that quick has room for all of it.
	const total, size, atOnce = 20_000, 2_000, 100
	for n := 0; n < total; n += atOnce {
		for i := n; i < n+atOnce; i++ {
			must(t, pub.publish("a", 0, false, numbered(i, size), 0))
		}
		takeNumbers(t, quick, n, n+atOnce)
	}
	sysValue(t, b, "publish/messages/dropped", func(n int) bool { return n > 0 && n < total })
	if line := awaitLog(t, b, "messages dropped"); !strings.Contains(line, "slow") || !strings.Contains(line, `reason="no room"`) {
		t.Errorf("the log does not say whose messages were dropped, and why: %s", line)
	}

	// What it still gets is in order; what it does not get has been counted.
	got, sent, last := 0, total, -1
	for last < total { // until one comes that was sent after it began to read
		must(t, pub.publish("a", 0, false, numbered(sent, size), 0))
		takeNumbers(t, quick, sent, sent+1)
		sent++
		d, err := slow.take()
		must(t, err)
		if n := numberOf(d); n <= last {
			t.Fatalf("%d comes after %d", n, last)
		} else {
			got, last = got+1, n
		}
	}
	for ; last < sent-1; got++ {
		d, err := slow.take()
		must(t, err)
		last = numberOf(d)
	}
	sysValue(t, b, "publish/messages/dropped", func(n int) bool { return n == sent-got })
	t.Logf("%d of %d arrived at the slow subscriber", got, sent)
}

// TestSlowQoS12: what a subscriber at QoS 1 or 2 does not read waits for it, and
// another has everything before it has read anything.
func TestSlowQoS12(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	for qos := byte(1); qos <= 2; qos++ {
		for _, clean := range []bool{true, false} {
			t.Run(fmt.Sprintf("QoS %d, clean session %v", qos, clean), func(t *testing.T) {
				slow := join(t, &session{addr: b.MQTT, id: "slow", clean: clean})
				quick := join(t, &session{addr: b.MQTT, id: "quick", clean: clean})
				pub := join(t, &session{addr: b.MQTT, id: "pub", clean: true})
				must(t, slow.subscribe("b", qos), quick.subscribe("b", qos))
				const total = 3000
				for n := 0; n < total; n += 100 {
					for i := n; i < n+100; i++ {
						must(t, pub.publish("b", qos, false, numbered(i, 2000), 0))
					}
					must(t, pub.drain(0))
					takeNumbers(t, quick, n, n+100)
				}
				takeNumbers(t, slow, 0, total)
			})
		}
	}
}

// TestRetainedMany: one subscriber to # gets 50,000 retained messages, each
// once.
func TestRetainedMany(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	const total = 50_000
	pub := join(t, &session{addr: b.MQTT, id: "pub"})
	for n := range total {
		must(t, pub.publish(fmt.Sprintf("many/%d/%d", n%100, n), 1, true, numbered(n, 100), 0))
		if len(pub.open) >= 500 {
			must(t, pub.drain(250))
		}
	}
	must(t, pub.drain(0))
	for _, qos := range []byte{0, 1} {
		s := join(t, &session{addr: b.MQTT, id: "all", clean: true})
		must(t, s.subscribe("#", qos))
		seen := make([]bool, total)
		for i := range total {
			d, err := s.take()
			if err != nil {
				t.Fatalf("QoS %d: after %d of %d: %v", qos, i, total, err)
			}
			n := numberOf(d)
			if n < 0 || n >= total || seen[n] || !d.retain || d.qos != qos || d.topic != fmt.Sprintf("many/%d/%d", n%100, n) {
				t.Fatalf("message %d is %d on %s with QoS %d and RETAIN %v", i, n, d.topic, d.qos, d.retain)
			}
			seen[n] = true
		}
		s.close()
	}
}

// TestBacklogLong: 100,000 messages that wait for one session, most of them on
// disk only, are read through in order, and across a restart.
func TestBacklogLong(t *testing.T) {
	b := serveNaru(t, naruBinary(t), "bus.queue_memory=2MiB")
	away := join(t, &session{addr: b.MQTT, id: "away"})
	must(t, away.subscribe("log", 1), away.disconnect())
	const total = 100_000
	pub := join(t, &session{addr: b.MQTT, id: "pub"})
	for n := range total {
		must(t, pub.publish("log", 1, false, numbered(n, 200), 0))
		if len(pub.open) >= 500 {
			must(t, pub.drain(250))
		}
	}
	must(t, pub.drain(0), away.connect())
	takeNumbers(t, away, 0, total/2)
	must(t, away.disconnect(), b.Restart(false), away.connect())
	// What was sent and not acknowledged at the goodbye comes first, with DUP.
	for n := total / 2; n < total; n++ {
		d, err := away.take()
		if err != nil {
			t.Fatalf("%d of %d: %v", n, total, err)
		}
		if got := numberOf(d); got != n || d.dup && n > total/2+100 {
			t.Fatalf("%d (DUP %v) comes where %d should", got, d.dup, n)
		}
	}
}

// memoryOf reads a value of /proc/PID/status in MiB.
func memoryOf(t *testing.T, b *Broker, key string) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.Cmd.Process.Pid))
	if err != nil {
		t.Skipf("memory is known on Linux only: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			if err != nil {
				t.Fatal(err)
			}
			return n >> 10
		}
	}
	t.Fatalf("no %s in\n%s", key, status)
	return 0
}

// largeMemory is what the broker may need at its peak for one message of
// largeSize to two subscribers: it is in memory once as it arrives, once more
// while its buffer grows or it is read from disk, and the collector may let
// garbage of that size stand.
const (
	largeSize   = 100 << 20
	largeMemory = 450 // MiB
)

// TestLarge: 100 MB go through to two subscribers, unchanged.
func TestLarge(t *testing.T) {
	for qos := range byte(3) {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			b := serveNaru(t, naruBinary(t))
			one := join(t, &session{addr: b.MQTT, id: "one"})
			two := join(t, &session{addr: b.MQTT, id: "two", clean: true})
			pub := join(t, &session{addr: b.MQTT, id: "pub"})
			must(t, one.subscribe("large", qos), two.subscribe("large", qos))
			payload := make([]byte, largeSize)
			for i := range payload {
				payload[i] = byte(i ^ i>>8 ^ i>>16)
			}
			must(t, pub.publish("large", qos, false, payload, 0), pub.drain(0))
			for _, s := range []*session{one, two} {
				d, err := s.take()
				if err != nil {
					t.Fatalf("%s: %v", s.id, err)
				}
				if !bytes.Equal(d.payload, payload) {
					t.Errorf("%s: %d bytes, not those that were sent", s.id, len(d.payload))
				}
			}
			peak := memoryOf(t, b, "VmHWM")
			t.Logf("peak %d MiB", peak)
			if peak > largeMemory {
				t.Errorf("the broker took %d MiB, want at most %d", peak, largeMemory)
			}
		})
	}
}

// TestAnnounced: a length that is only announced costs nothing.
func TestAnnounced(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	const clients = 50
	rss, data := memoryOf(t, b, "VmHWM"), memoryOf(t, b, "VmData")
	for i := range clients {
		s := join(t, &session{addr: b.MQTT, id: fmt.Sprint("liar", i), clean: true})
		// A PUBLISH before it, in the same write, tells when it has been read.
		s.done = func(*outgoing) {}
		id := s.newID()
		s.open = append(s.open, &outgoing{id: 1, packet: []byte{0x32}})
		head := append([]byte{0x32}, remainingLength(1<<28-1)...)
		must(t, s.write(slices.Concat(pack(0x32, text("a"), id), head, text("topic"), []byte{0, 9}, make([]byte, 100))), s.drain(0))
	}
	if now := memoryOf(t, b, "VmHWM"); now > rss+32 {
		t.Errorf("%d announcements took the memory from %d to %d MiB", clients, rss, now)
	}
	// Memory that is asked for and not touched is not in VmHWM.
	if now := memoryOf(t, b, "VmData"); now > data+512 {
		t.Errorf("%d announcements took the address space from %d to %d MiB", clients, data, now)
	}
}

// sysMissing are names of Mosquitto's that Naru does not have, with the reason.
var sysMissing = map[string]string{}

// TestSysNames: whoever watches Mosquitto finds the same topics.
func TestSysNames(t *testing.T) {
	peers.NeedProgram(t, mosquittoPath)
	peer, err := run(t, func(dir string, ports [2]int) (*Broker, error) {
		file := filepath.Join(dir, "mosquitto.conf")
		conf := fmt.Sprintf("listener %d 127.0.0.1\nuser root\nallow_anonymous true\nsys_interval 1\n", ports[0])
		return &Broker{
			MQTT:    fmt.Sprintf("127.0.0.1:%d", ports[0]),
			command: func() *exec.Cmd { return exec.Command(mosquittoPath, "-c", file) },
		}, os.WriteFile(file, []byte(conf), 0o600)
	})
	must(t, err)
	ours := serveNaru(t, naruBinary(t), "mqtt.sys_interval=1s")
	theirs, have := sysNames(t, peer), sysNames(t, ours)
	if len(theirs) < 40 {
		t.Errorf("mosquitto has only %d: %q", len(theirs), theirs)
	}
	for _, name := range theirs {
		reason, excused := sysMissing[name]
		switch there := slices.Contains(have, name); {
		case !there && !excused:
			t.Errorf("mosquitto has %s, Naru does not", name)
		case there && excused:
			t.Errorf("%s is there, and still in the list of what is not: %s", name, reason)
		}
	}
	for name := range sysMissing {
		if !slices.Contains(theirs, name) {
			t.Errorf("%s is in the list of what is missing, and mosquitto does not have it", name)
		}
	}
}

// sysNames are the topics under $SYS of a broker that has something to tell:
// mosquitto publishes some of them only when they change.
func sysNames(t *testing.T, b *Broker) []string {
	t.Helper()
	s := join(t, &session{addr: b.MQTT, id: "names", clean: true})
	pub := join(t, &session{addr: b.MQTT, id: "pub", keepAlive: 60})
	must(t, s.subscribe("$SYS/#", 0), pub.subscribe("busy", 1))
	names := map[string]bool{}
	// Averages come at every interval while there is something to do, so their
	// fourth time is four intervals after the first.
	for rounds := 0; rounds < 4; {
		d, err := s.take()
		must(t, err)
		names[d.topic] = true
		if d.topic == "$SYS/broker/load/bytes/received/1min" && !d.retain {
			rounds++
			must(t, pub.publish("busy", 1, true, make([]byte, 1000*rounds), 0))
			d, err := pub.take() // its own message, and the acknowledgement before or after it
			must(t, err, pub.drain(0))
			if d.topic != "busy" {
				t.Fatalf("%s on %s", d.payload, d.topic)
			}
		}
	}
	out := make([]string, 0, len(names))
	for name := range names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}
