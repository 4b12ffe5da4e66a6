package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/plugins/authfile"
)

// A configured broker is one with a file that the test rewrites.
type configured struct {
	*Broker
	t    *testing.T
	file string
	head string // data, ports: what stays the same
}

const configuredHead = `
data_dir: %s/data
bus: {min_free_disk: 0}
ws: {enabled: false}
metrics: {enabled: true, pprof: true, address: "127.0.0.1:%d"}
amqp: {enabled: false}
mqtt:
  listeners: [{address: "127.0.0.1:%d"}]
  sys_interval: 0s
`

// startConfigured starts a broker with a file; wrap may change how it is run.
func startConfigured(t *testing.T, body string, wrap func(*exec.Cmd)) *configured {
	t.Helper()
	binary := naruBinary(t)
	c := &configured{t: t}
	b, err := run(t, func(dir string, ports [2]int) (*Broker, error) {
		c.file, c.head = filepath.Join(dir, "naru.yaml"), fmt.Sprintf(configuredHead, dir, ports[1], ports[0])
		if err := os.WriteFile(c.file, []byte(c.head+body), 0o600); err != nil {
			return nil, err
		}
		return &Broker{
			MQTT: fmt.Sprintf("127.0.0.1:%d", ports[0]), Metrics: fmt.Sprintf("127.0.0.1:%d", ports[1]),
			command: func() *exec.Cmd {
				cmd := naruCommand(binary, dir, []string{"serve", "--config", c.file})
				if wrap != nil {
					wrap(cmd)
				}
				return cmd
			},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Broker = b
	return c
}

// write replaces what the test says in the file.
func (c *configured) write(body string) {
	c.t.Helper()
	must(c.t, os.WriteFile(c.file, []byte(c.head+body), 0o600))
}

// wholeLog is everything that the broker has written.
func (c *configured) wholeLog() string { return wholeLog(c.t, c.Broker) }

// hangUp sends SIGHUP and waits for the line that begins with msg=want. It
// returns what was logged since.
func (c *configured) hangUp(want string) string {
	c.t.Helper()
	before := len(c.wholeLog())
	must(c.t, c.Cmd.Process.Signal(syscall.SIGHUP))
	for deadline := time.Now().Add(patience); ; {
		if log := c.wholeLog()[before:]; strings.Contains(log, "msg="+want) || strings.Contains(log, `msg="`+want) {
			if i := strings.LastIndexByte(log, '\n'); i == len(log)-1 {
				return log
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no line %q after SIGHUP:\n%s", want, c.wholeLog()[before:])
		}
		time.Sleep(5 * time.Millisecond) // a file cannot be waited for
	}
}

func (c *configured) reload(body string) string {
	c.t.Helper()
	c.write(body)
	return c.hangUp("reloaded")
}

// refused says that a login is not accepted.
func (c *configured) refused(user, password string) {
	c.t.Helper()
	s := &session{addr: c.MQTT, id: "refused", clean: true, user: user, password: password}
	defer s.close()
	if err := s.connect(); err == nil {
		c.t.Errorf("user %q with password %q is let in", user, password)
	}
}

func (c *configured) join(id, user, password string, clean bool) *session {
	c.t.Helper()
	return join(c.t, &session{addr: c.MQTT, id: id, clean: clean, user: user, password: password})
}

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := authfile.HashPassword([]byte(password))
	must(t, err)
	return h
}

// people is a configuration with an administrator, alice, and nobody else.
func people(t *testing.T) func(acl string) string {
	admin, alice := hash(t, "open sesame"), hash(t, "secret")
	return func(acl string) string {
		return fmt.Sprintf("anonymous: {enabled: false}\nusers:\n  admin: {password: %q}\n  alice: {password: %q%s}\n", admin, alice, acl)
	}
}

// tell publishes at a QoS and waits for the acknowledgement.
func tell(t *testing.T, s *session, topic, payload string, qos byte) {
	t.Helper()
	must(t, s.publish(topic, qos, false, []byte(payload), 0), s.drain(0))
}

// TestSecurity12Reload: a right that is taken away ends with the next delivery,
// on every way a message can take, and nobody is disconnected for it.
func TestSecurity12Reload(t *testing.T) {
	conf := people(t)
	c := startConfigured(t, conf(", acl: ['readwrite room/#', 'readwrite hall/#']"), nil)
	admin := c.join("admin", "admin", "open sesame", true)
	type way struct {
		s      *session
		filter string
	}
	var ways []way
	for qos := range byte(3) {
		for _, clean := range []bool{true, false} {
			s := c.join(fmt.Sprintf("alice-%d-%v", qos, clean), "alice", "secret", clean)
			must(t, s.subscribe("room/#", qos), s.subscribe("hall/#", qos))
			ways = append(ways, way{s, "room/#"})
		}
	}
	shared := c.join("alice-shared", "alice", "secret", true)
	must(t, shared.subscribe("$share/g/room/#", 1), shared.subscribe("hall/#", 1))
	ways = append(ways, way{shared, "$share/g/room/#"})
	away := c.join("alice-away", "alice", "secret", false)
	must(t, away.subscribe("room/#", 1), away.subscribe("hall/#", 1), away.disconnect())

	for qos := range byte(3) {
		tell(t, admin, "room/1", fmt.Sprint("before ", qos), qos)
	}
	for _, w := range ways {
		for range 3 {
			if d, err := w.s.take(); err != nil || d.topic != "room/1" {
				t.Fatalf("%s: %v %v", w.s.id, d, err)
			}
		}
	}
	log := c.reload(conf(", acl: ['readwrite hall/#', 'write room/#']"))
	if !strings.Contains(log, "users.alice.acl") {
		t.Errorf("the log does not name what has changed:\n%s", log)
	}
	for qos := range byte(3) {
		tell(t, admin, "room/1", "stolen", qos)
	}
	tell(t, admin, "hall/1", "after", 2)
	must(t, away.connect())
	ways = append(ways, way{away, "room/#"})
	for _, w := range ways { // the same connections
		if d, err := w.s.take(); err != nil || d.topic != "hall/1" || string(d.payload) != "after" {
			t.Errorf("%s: %+v %v, want what is in the hall", w.s.id, d, err)
		}
	}
	// What may be written was allowed before and is now.
	tell(t, ways[0].s, "room/2", "x", 1)

	// Nobody is let in with what was valid once.
	c.reload(strings.Replace(conf(""), "alice:", "alicia:", 1))
	c.refused("alice", "secret")
	tell(t, admin, "hall/1", "stolen", 2)
	tell(t, admin, "$SYS/x", "ignored", 0)
	c.reload(conf(", acl: ['readwrite hall/#']"))
	tell(t, admin, "hall/1", "again", 2)
	for _, w := range ways {
		if d, err := w.s.take(); err != nil || string(d.payload) != "again" {
			t.Errorf("%s: %+v %v, want nothing from while alice did not exist", w.s.id, d, err)
		}
	}
}

// TestSecurity30Reload: a file that cannot be used changes nothing at all, and
// the log says what is wrong with it.
func TestSecurity30Reload(t *testing.T) {
	conf := people(t)
	rules := conf(", acl: ['readwrite hall/#']")
	c := startConfigured(t, rules, nil)
	alice := c.join("alice", "alice", "secret", true)
	voice := c.join("voice", "alice", "secret", true)
	must(t, alice.subscribe("#", 1))
	const open = "anonymous: {enabled: true}\nlog: {level: debug}\n"
	n := 0
	check := func(name string) {
		t.Helper()
		c.refused("", "")
		c.refused("alice", "wrong")
		n++
		tell(t, voice, "room/1", "not allowed", 1)
		tell(t, voice, "hall/1", fmt.Sprint(name, n), 1)
		expect := expectDelivery(t, alice, "hall/1", fmt.Sprint(name, n))
		must(t, alice.acknowledge(expect))
	}
	for _, broken := range []struct{ name, body, says string }{
		{"syntax", open + "users: {", "naru.yaml:"},
		{"unknown key", open + "anonymus: {}\n", "anonymus"},
		{"bad value", open + "bus: {queue_memory: many}\n", "bus"},
		{"empty acl", open + "users:\n  alice:\n    password: " + hash(t, "secret") + "\n    acl:\n      # - read hall/#\n", "users.alice.acl"},
		{"empty anonymous acl", "log: {level: debug}\nanonymous: {enabled: true, acl: }\n", "anonymous.acl"},
		{"bad rule", open + "acl: ['red hall/#']\n", "acl"},
		{"bad hash", open + "users: {alice: {password: plain}}\n", "users.alice.password"},
		{"twice", open + open, "anonymous"},
		{"tab", open + "users:\n\talice: {}\n", "naru.yaml:"},
		{"not UTF-8", open + "data_dir: \xff\xfe\n", "naru.yaml"},
		{"second document", open + "---\n" + rules, "second document"},
	} {
		c.write(broken.body)
		if log := c.hangUp("not reloaded"); !strings.Contains(log, broken.says) || strings.Contains(log, "msg=reloaded") {
			t.Errorf("%s: the log does not say %q:\n%s", broken.name, broken.says, log)
		}
		check(broken.name)
	}
	for name, do := range map[string]func() error{
		"empty":   func() error { return os.WriteFile(c.file, nil, 0o600) },
		"comment": func() error { return os.WriteFile(c.file, []byte("# nothing is left\n---\n"), 0o600) },
		"gone":    func() error { return nil },
		"folder":  func() error { return os.Mkdir(c.file, 0o700) },
	} {
		must(t, os.RemoveAll(c.file), do())
		c.hangUp("not reloaded")
		check(name)
		must(t, os.RemoveAll(c.file))
	}
	if log := c.wholeLog(); strings.Contains(log, "level=DEBUG") {
		t.Error("a part of a file that was refused is in force: the log level")
	}
	c.reload(rules + "log: {level: debug}\n")
	check("good")
	must(t, c.join("tell-tale", "alice", "secret", true).disconnect())
	if !strings.Contains(c.wholeLog(), "level=DEBUG") {
		t.Error("the good file is not in force")
	}
}

// TestSecurity30EmptyACL: an empty list allows nothing, from a reload on too.
func TestSecurity30EmptyACL(t *testing.T) {
	conf := people(t)
	c := startConfigured(t, conf(""), nil)
	admin := c.join("admin", "admin", "open sesame", true)
	alice := c.join("alice", "alice", "secret", true)
	adminSays, aliceSays := c.join("a2", "admin", "open sesame", true), c.join("a3", "alice", "secret", true)
	must(t, admin.subscribe("seen/#", 1), alice.subscribe("told/#", 1))
	tell(t, aliceSays, "seen/1", "before", 1)
	must(t, admin.acknowledge(expectDelivery(t, admin, "seen/1", "before")))
	c.reload(conf(", acl: []"))
	tell(t, aliceSays, "seen/1", "stolen", 1)
	tell(t, adminSays, "told/1", "stolen", 1)
	if err := alice.subscribe("told/2", 1); err == nil {
		t.Error("a user with an empty acl may subscribe")
	}
	tell(t, adminSays, "seen/2", "after", 1)
	must(t, admin.acknowledge(expectDelivery(t, admin, "seen/2", "after")))
	c.reload(conf(", acl: ['read told/#']"))
	tell(t, adminSays, "told/3", "allowed", 1)
	expectDelivery(t, alice, "told/3", "allowed")
}

// TestSecurity30Descriptors: SIGHUP while the process can open no file leaves
// everything as it is. (Mosquitto, CVE-2018-12551, let everybody in.)
func TestSecurity30Descriptors(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors in /proc")
	}
	const limit = 80
	conf := people(t)
	c := startConfigured(t, conf(", acl: ['readwrite hall/#']")+"transport: {auth_timeout: 10m}\n", func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, limit), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
	})
	alice := c.join("alice", "alice", "secret", true)
	voice := c.join("voice", "alice", "secret", true)
	must(t, alice.subscribe("#", 1))
	var idle []net.Conn
	defer func() {
		for _, n := range idle {
			n.Close()
		}
	}()
	for range limit { // those it cannot accept wait in the kernel
		n, err := net.Dial("tcp", c.MQTT)
		must(t, err)
		idle = append(idle, n)
	}
	descriptors := func() int {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", c.Cmd.Process.Pid))
		must(t, err)
		return len(open)
	}
	for deadline := time.Now().Add(patience); descriptors() < limit; {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors of %d are in use", descriptors(), limit)
		}
		time.Sleep(5 * time.Millisecond) // nothing tells when they are
	}
	c.write("anonymous: {enabled: true}\n")
	if log := c.hangUp("not reloaded"); !strings.Contains(log, "too many open files") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	tell(t, voice, "room/1", "not allowed", 1)
	tell(t, voice, "hall/1", "allowed", 1)
	must(t, alice.acknowledge(expectDelivery(t, alice, "hall/1", "allowed")))
	for _, n := range idle {
		n.Close()
	}
	idle = nil
	c.refused("", "")
	c.join("bob", "admin", "open sesame", true)
	c.reload(conf(", acl: ['readwrite room/#']")) // what was wrong is over
	tell(t, voice, "room/1", "allowed now", 1)
	expectDelivery(t, alice, "room/1", "allowed now")
}

// TestReload: limits change for those who are connected, and what needs a
// restart is named, each time, until it has had one.
func TestReload(t *testing.T) {
	c := startConfigured(t, "", nil)
	s := c.join("s", "", "", true)
	voice := c.join("voice", "", "", true)
	must(t, s.subscribe("a", 1))
	log := c.reload("transport: {outbox_size: 2MiB, max_connections: 2, loops: 1}\nstore: {sync: interval}\nvhosts: [{name: more}]\nlog: {level: debug, format: json}\n")
	for _, want := range []string{"transport.outbox_size", "log.level", "level=WARN", "store.sync", "transport.loops", "vhosts.0", "log.format"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not name %s:\n%s", want, log)
		}
	}
	if strings.Contains(log, "store.sync_interval") || strings.Contains(log, "data_dir") {
		t.Errorf("the log names what has not changed:\n%s", log)
	}
	c.refused("", "") // the third
	c.head = strings.Replace(c.head, "sys_interval", "max_packet_size: 100\n  sys_interval", 1)
	log = c.reload("store: {sync: interval}\n")
	if !strings.Contains(log, "mqtt.max_packet_size") || !strings.Contains(log, "store.sync") || strings.Contains(log, "vhosts") {
		t.Errorf("the second reload says\n%s", log)
	}
	c.join("third", "", "", true)
	tell(t, voice, "a", "short", 1)
	must(t, s.acknowledge(expectDelivery(t, s, "a", "short")))
	must(t, voice.publish("a", 1, false, bytes.Repeat([]byte("x"), 200), 0))
	if err := voice.drain(0); err == nil {
		t.Error("a packet that is too large by the new limit is taken")
	}
	must(t, c.Restart(false)) // and the file is good for a start
}
