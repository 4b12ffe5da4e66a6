package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/narumq/naru/plugins/authfile"
)

// A said is what a command has come to.
type said struct {
	out, err string
	code     int
}

// runNaru runs the binary in a directory.
func runNaru(t *testing.T, binary, dir string, args ...string) said {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd := naruCommand(binary, dir, args)
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("naru %q: %v", args, err)
	}
	return said{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// operate runs a command that must succeed on the node's own directory.
func (b *Broker) operate(t *testing.T, binary string, args ...string) string {
	t.Helper()
	s := runNaru(t, binary, b.Dir, args...)
	if s.code != 0 || s.err != "" {
		t.Fatalf("naru %q: exit code %d\n%s%s", args, s.code, s.out, s.err)
	}
	return s.out
}

// objects runs a list with --json.
func (b *Broker) objects(t *testing.T, binary string, args ...string) (all []map[string]any) {
	t.Helper()
	text := b.operate(t, binary, append(append([]string{"list"}, args...), "--json")...)
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		t.Fatalf("naru list %q --json: %v\n%s", args, err, text)
	}
	return all
}

// row finds the object whose field has a value.
func row(t *testing.T, all []map[string]any, field, value string) map[string]any {
	t.Helper()
	i := slices.IndexFunc(all, func(o map[string]any) bool { return o[field] == value })
	if i < 0 {
		t.Fatalf("nothing has the %s %q: %v", field, value, all)
	}
	return all[i]
}

// queueSetting declares a queue "jobs" that jobs/# leads to.
const queueSetting = `vhosts=[{name: /, queues: [{name: jobs, bindings: [{key: "jobs/#"}]}]}]`

// TestOperatorLists shows a node with one of everything, as tables and as JSON.
// What clients have chosen does no harm to a terminal, and no secret comes out.
func TestOperatorLists(t *testing.T) {
	binary := naruBinary(t)
	hash, err := authfile.HashPassword([]byte("open sesame"))
	must(t, err)
	b := serveNaru(t, binary, queueSetting, fmt.Sprintf("users={ann: {password: %q}}", hash))
	const odd = "odd\x1b[31m\tname\u009b\u202e\x7f" // escape sequences, of one byte and of two, and text that runs backwards
	live := join(t, &session{addr: b.MQTT, id: odd, clean: true})
	must(t, live.subscribe("a/+", 1))
	away := join(t, &session{addr: b.MQTT, id: "away"})
	must(t, away.subscribe("a/#", 2), away.subscribe("$share/g/s/#", 1), away.disconnect())
	pub := join(t, &session{addr: b.MQTT, id: "pub", clean: true})
	must(t, pub.publish("a/b", 1, true, []byte("kept"), 0), pub.drain(0))
	for range 3 {
		must(t, pub.publish("jobs/x", 1, false, []byte("12345"), 0))
	}
	must(t, pub.publish("s/x", 1, false, []byte("1"), 0), pub.drain(0), pub.disconnect())
	expectDelivery(t, live, "a/b", "kept") // and is not acknowledged

	c := row(t, b.objects(t, binary, "connections"), "client_id", odd)
	if c["in_flight"] != 1.0 || c["protocol"] != "mqtt" || c["vhost"] != "/" || c["anonymous"] != true ||
		!strings.HasPrefix(fmt.Sprint(c["peer"]), "127.0.0.1:") || c["since"] == nil {
		t.Errorf("connection: %v", c)
	}
	s := row(t, b.objects(t, binary, "sessions", "--match", "a*"), "client_id", "away")
	if s["ready"] != 1.0 || s["subscriptions"] != 2.0 || s["connected"] != false || s["offline"] == nil {
		t.Errorf("session: %v", s)
	}
	if q := row(t, b.objects(t, binary, "queues"), "name", "jobs"); q["ready"] != 3.0 || q["bytes"] != 15.0 || q["durable"] != true {
		t.Errorf("queue: %v", q)
	}
	if q := row(t, b.objects(t, binary, "queues"), "name", "$share/g/s/#"); q["kind"] != "shared" || q["ready"] != 1.0 || q["members"] != 1.0 {
		t.Errorf("shared subscription: %v", q)
	}
	if s := row(t, b.objects(t, binary, "subscriptions"), "filter", "a/#"); s["qos"] != 2.0 || s["client_id"] != "away" {
		t.Errorf("subscription: %v", s)
	}
	if r := row(t, b.objects(t, binary, "retained", "a/+"), "topic", "a/b"); r["bytes"] != 4.0 || r["qos"] != 1.0 {
		t.Errorf("retained: %v", r)
	}
	if r := b.objects(t, binary, "retained", "b/#"); len(r) != 0 {
		t.Errorf("retained that does not match: %v", r)
	}
	if d := row(t, b.objects(t, binary, "bindings"), "key", "jobs/#"); d["exchange"] != "amq.topic" || d["queue"] != "jobs" {
		t.Errorf("binding: %v", d)
	}
	var st map[string]any
	must(t, json.Unmarshal([]byte(b.operate(t, binary, "status", "--json")), &st))
	for field, want := range map[string]any{
		"sessions": 2.0, "queues": 1.0, "shared_subscriptions": 1.0, "stored_messages": 6.0, "promises": "on disk (fsync)",
		"received_messages": 5.0, // and nothing of the broker's own
	} {
		if st[field] != want {
			t.Errorf("status: %s is %v, want %v", field, st[field], want)
		}
	}

	control := regexp.MustCompile("[^\n -~\u00a1-\u2027\u2030-\U0010ffff]")
	for _, args := range [][]string{
		{"list", "connections"}, {"list", "sessions"}, {"list", "subscriptions"}, {"list", "queues"}, {"list", "retained"},
		{"list", "bindings"}, {"status"}, {"plugins"},
	} {
		for _, args := range [][]string{args, append(slices.Clone(args), "--json")} {
			out := b.operate(t, binary, args...)
			if bad := control.FindString(out); bad != "" {
				t.Errorf("naru %q prints %q:\n%q", args, bad, out)
			}
			if strings.Contains(out, "argon2") || strings.Contains(out, "sesame") {
				t.Errorf("naru %q tells a secret:\n%s", args, out)
			}
		}
	}
	table := b.operate(t, binary, "list", "connections")
	if !regexp.MustCompile(`(?m)^NAME +USER +VHOST +PROTOCOL +PEER +STATE +CHANNELS +SINCE +IN FLIGHT +CLIENT NAME\n` +
		regexp.QuoteMeta(`odd\x1b[31m\tname\u009b\u202e\x7f`) + ` +- +/ +mqtt +127\.0\.0\.1:\d+ +running +0 +[-\d]+ [:\d]+ +1 +-$`).MatchString(table) {
		t.Errorf("the table of connections:\n%s", table)
	}
	for name, address := range map[string]string{"mqtt": regexp.QuoteMeta(b.MQTT), "operator": `.*naru\.sock`} {
		if out := b.operate(t, binary, "plugins"); !regexp.MustCompile(`(?m)^` + name + ` +` + address + `$`).MatchString(out) {
			t.Errorf("plugins:\n%s", out)
		}
	}
	if s := runNaru(t, binary, b.Dir, "kick", "a\x1b[0m"); s.code != 1 || strings.Contains(s.err, "\x1b") || !strings.Contains(s.err, "not found") {
		t.Errorf("kick of nobody: %+v", s)
	}
}

// TestOperatorChanges: each change is on disk when the command returns: a node
// that is killed right after it comes back without what was taken away.
func TestOperatorChanges(t *testing.T) {
	binary := naruBinary(t)
	b := serveNaru(t, binary)
	pub := join(t, &session{addr: b.MQTT, id: "pub", clean: true})
	gone := join(t, &session{addr: b.MQTT, id: "gone", will: &delivery{topic: "will", payload: []byte("x")}})
	must(t, gone.subscribe("a", 1))
	kicked := join(t, &session{addr: b.MQTT, id: "kicked"})
	must(t, kicked.subscribe("a", 1))
	watch := join(t, &session{addr: b.MQTT, id: "watch", clean: true})
	must(t, watch.subscribe("will", 0))
	busy := join(t, &session{addr: b.MQTT, id: "busy"})
	must(t, busy.subscribe("w", 2))
	must(t, pub.publish("w", 2, false, []byte("one"), 0), pub.publish("w", 1, false, []byte("two"), 0), pub.drain(0))
	one, two := expectDelivery(t, busy, "w", "one"), expectDelivery(t, busy, "w", "two")
	busy.close() // neither is acknowledged
	// A reconnect takes the session over, so that the former connection is over.
	must(t, busy.connect(), busy.disconnect())
	for i := range 5 {
		must(t, pub.publish("w", 1, false, fmt.Appendf(nil, "more %d", i), 0))
	}
	for _, topic := range []string{"r/1", "r/2", "keep"} {
		must(t, pub.publish(topic, 1, true, []byte("x"), 0))
	}
	must(t, pub.drain(0))

	if out := b.operate(t, binary, "purge", "--session", "busy"); out != "5 messages removed from busy\n" {
		t.Errorf("purge: %q", out)
	}
	if out := b.operate(t, binary, "delete", "retained", "r/#"); out != "2 retained messages of r/# are deleted\n" {
		t.Errorf("delete retained: %q", out)
	}
	b.operate(t, binary, "delete", "session", "gone")
	if _, _, err := gone.next(); err == nil {
		t.Error("the client whose session is deleted is sent something instead of the end")
	}
	expectDelivery(t, watch, "will", "x")
	b.operate(t, binary, "kick", "kicked")
	if _, _, err := kicked.next(); err == nil {
		t.Error("a client that is kicked is sent something instead of the end")
	}
	must(t, b.Restart(true))

	must(t, gone.connect(), kicked.connect(), busy.connect())
	if gone.present || !kicked.present || !busy.present {
		t.Errorf("sessions present: deleted %v, kicked %v, purged %v", gone.present, kicked.present, busy.present)
	}
	pub = join(t, &session{addr: b.MQTT, id: "pub", clean: true})
	must(t, pub.publish("w", 1, false, []byte("after"), 0), pub.drain(0))
	for _, old := range []*delivery{one, two} {
		d := expectDelivery(t, busy, "w", string(old.payload))
		if !d.dup || d.id != old.id {
			t.Errorf("%q comes again with DUP %v and id %d, want DUP and %d", d.payload, d.dup, d.id, old.id)
		}
		must(t, busy.acknowledge(d))
	}
	expectDelivery(t, busy, "w", "after")
	fresh := join(t, &session{addr: b.MQTT, id: "fresh", clean: true})
	must(t, fresh.subscribe("#", 1))
	expectDelivery(t, fresh, "keep", "x")
	must(t, pub.publish("end", 1, false, []byte("x"), 0))
	expectDelivery(t, fresh, "end", "x")
}

// TestOperatorDeletesQueue: with all it holds, and it does not come back.
func TestOperatorDeletesQueue(t *testing.T) {
	binary := naruBinary(t)
	b := serveNaru(t, binary, queueSetting)
	s := join(t, &session{addr: b.MQTT, id: "s", clean: true})
	for range 4 {
		must(t, s.publish("jobs/1", 1, false, []byte("x"), 0))
	}
	must(t, s.drain(0))
	if out := b.operate(t, binary, "purge", "jobs"); out != "4 messages removed from jobs\n" {
		t.Errorf("purge: %q", out)
	}
	must(t, s.publish("jobs/1", 1, false, []byte("x"), 0), s.drain(0))
	b.operate(t, binary, "delete", "queue", "jobs")
	if s := runNaru(t, binary, b.Dir, "delete", "queue", "jobs"); s.code != 1 || !strings.Contains(s.err, "not found") {
		t.Errorf("delete twice: %+v", s)
	}
	if q := b.objects(t, binary, "queues"); len(q) != 0 {
		t.Errorf("queues: %v", q)
	}
	must(t, s.publish("jobs/1", 1, false, []byte("to nobody"), 0), s.drain(0))
	must(t, b.Restart(true)) // the configuration declares it anew, empty
	if q := row(t, b.objects(t, binary, "queues"), "name", "jobs"); q["ready"] != 0.0 {
		t.Errorf("declared again: %v", q)
	}
}

// TestBackupRestore makes a backup under load and goes on from it elsewhere: all
// that was acknowledged before is there, in order and with the sessions.
func TestBackupRestore(t *testing.T) {
	binary := naruBinary(t)
	b := serveNaru(t, binary)
	keeper := join(t, &session{addr: b.MQTT, id: "keeper"})
	must(t, keeper.subscribe("load/+", 1))
	held := join(t, &session{addr: b.MQTT, id: "held"})
	must(t, held.subscribe("h", 2))
	pub := join(t, &session{addr: b.MQTT, id: "pub"})
	must(t, pub.publish("h", 2, false, []byte("in flight"), 0), pub.publish("r", 1, true, []byte("kept"), 0), pub.drain(0))
	flight := expectDelivery(t, held, "h", "in flight") // received, and not acknowledged
	must(t, keeper.disconnect())

	const publishers = 3
	var mu sync.Mutex
	var acked [publishers]int
	var warm, running sync.WaitGroup
	warm.Add(publishers)
	stop := make(chan struct{})
	for i := range publishers {
		s := join(t, &session{addr: b.MQTT, id: fmt.Sprint("load", i)})
		s.done = func(*outgoing) {
			mu.Lock()
			defer mu.Unlock()
			if acked[i]++; acked[i] == 300 {
				warm.Done()
			}
		}
		running.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					s.drain(0)
					return
				default:
				}
				if s.publish(fmt.Sprint("load/", i), 1, false, fmt.Appendf(nil, "%d %0500d", n, 0), n) != nil || s.drain(20) != nil {
					t.Errorf("publisher %d was cut off", i)
					return
				}
			}
		})
	}
	warm.Wait()
	mu.Lock()
	before := acked
	mu.Unlock()
	backup := filepath.Join(t.TempDir(), "backup")
	out := b.operate(t, binary, "backup", backup)
	if !strings.HasPrefix(out, "backup of ") || !strings.Contains(out, backup) {
		t.Errorf("backup says %q", out)
	}
	close(stop)
	running.Wait()
	if s := runNaru(t, binary, b.Dir, "backup", backup); s.code != 1 || !strings.Contains(s.err, "not empty") {
		t.Errorf("backup to the same place: %+v", s)
	}
	if s := runNaru(t, binary, b.Dir, "restore", backup, "--force"); s.code != 1 || !strings.Contains(s.err, "a node is running on it") {
		t.Errorf("restore under a running node: %+v", s)
	}
	if s := runNaru(t, binary, b.Dir, "restore", backup, "--force", "--set", "operator.socket=elsewhere"); s.code != 1 || !strings.Contains(s.err, "in use") {
		t.Errorf("restore under a running node with another socket: %+v", s)
	}

	must(t, b.Stop(syscall.SIGTERM))
	if s := runNaru(t, binary, b.Dir, "restore", backup); s.code != 1 || !strings.Contains(s.err, "--force") {
		t.Errorf("restore over data: %+v", s)
	}
	if out := b.operate(t, binary, "restore", backup, "--force"); !strings.Contains(out, "store.before-restore-") || !strings.Contains(out, "is restored as of") {
		t.Errorf("restore says %q", out)
	}
	must(t, b.Start())
	must(t, keeper.connect(), held.connect())
	if !keeper.present || !held.present {
		t.Errorf("sessions present: %v, %v", keeper.present, held.present)
	}
	if d := expectDelivery(t, held, "h", "in flight"); !d.dup || d.id != flight.id {
		t.Errorf("what was in flight comes with DUP %v and id %d, want DUP and %d", d.dup, d.id, flight.id)
	}
	var next [publishers]int
	for i := range publishers {
		for next[i] < before[i] {
			d, err := keeper.take()
			if err != nil {
				t.Fatalf("%v of the %v that were acknowledged before the backup: %v", next, before, err)
			}
			var from, n int
			fmt.Sscanf(d.topic, "load/%d", &from)
			fmt.Sscanf(string(d.payload), "%d", &n)
			if n != next[from] {
				t.Fatalf("%s: message %d, want %d", d.topic, n, next[from])
			}
			next[from]++
		}
	}
	if r := row(t, b.objects(t, binary, "retained"), "topic", "r"); r["bytes"] != 4.0 {
		t.Errorf("retained: %v", r)
	}
	entries, err := filepath.Glob(filepath.Join(b.Dir, "naru-data", ".restoring-*"))
	if err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// TestRestoreRefuses: what is no backup, or no longer a whole one, changes nothing.
func TestRestoreRefuses(t *testing.T) {
	binary := naruBinary(t)
	b := serveNaru(t, binary)
	s := join(t, &session{addr: b.MQTT, id: "s"})
	must(t, s.publish("r", 1, true, []byte("kept"), 0), s.drain(0))
	must(t, os.Truncate(b.LogFile(), 0), b.Restart(true)) // now there is a table beside the log
	awaitLog(t, b, "msg=ready")
	s = join(t, &session{addr: b.MQTT, id: "s"})
	must(t, s.publish("r2", 1, true, []byte("kept"), 0), s.drain(0))
	dir := t.TempDir()
	whole := filepath.Join(dir, "whole")
	b.operate(t, binary, "backup", whole)
	logs, err := filepath.Glob(filepath.Join(whole, "store", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("no log in the backup: %v", err)
	}
	log := "store/" + filepath.Base(logs[0])
	// spoil changes one byte of a file; a negative place counts from its end.
	spoil := func(pattern string, at int) func(dir string) error {
		return func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, "store", pattern))
			if err != nil || len(files) == 0 {
				return fmt.Errorf("no %s in the backup: %w", pattern, err)
			}
			content, err := os.ReadFile(files[0])
			if err != nil {
				return err
			}
			content[(len(content)+at)%len(content)] ^= 1
			return os.WriteFile(files[0], content, 0o600)
		}
	}
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"no manifest":      {func(dir string) error { return os.Remove(filepath.Join(dir, "naru-backup.json")) }, "is no backup"},
		"file missing":     {func(dir string) error { return os.Remove(filepath.Join(dir, log)) }, "not complete"},
		"file cut":         {func(dir string) error { return os.Truncate(filepath.Join(dir, log), 1) }, "damaged"},
		"log changed":      {spoil("*.log", -8), "damaged"}, // where it could have been cut off
		"manifest changed": {spoil("MANIFEST-*", -3), "damaged"},
		"table changed":    {spoil("*.sst", 0), "damaged"},
		"newer": {func(dir string) error {
			return replace(filepath.Join(dir, "naru-backup.json"), `"format": 1`, `"format": 2`)
		}, "use a newer naru"},
		"outside": {func(dir string) error {
			return replace(filepath.Join(dir, "naru-backup.json"), `"`+log+`"`, `"../../etc/passwd"`)
		}, "not within"},
		"no store": {func(dir string) error {
			return replace(filepath.Join(dir, "naru-backup.json"), `"`+log+`"`, `"naru-backup.json"`)
		}, "naru-backup.json"},
	} {
		t.Run(name, func(t *testing.T) {
			spoiled := filepath.Join(t.TempDir(), "backup")
			must(t, os.CopyFS(spoiled, os.DirFS(whole)), c.spoil(spoiled))
			data := filepath.Join(t.TempDir(), "data")
			s := runNaru(t, binary, dir, "restore", spoiled, "--set", "data_dir="+data)
			if s.code != 1 || !strings.Contains(s.err, c.want) {
				t.Errorf("%+v, want %q", s, c.want)
			}
			if _, err := os.Stat(filepath.Join(data, "store")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a store is there nevertheless: %v", err)
			}
		})
	}
	if out := runNaru(t, binary, dir, "restore", whole, "--set", "data_dir="+filepath.Join(dir, "data")); out.code != 0 {
		t.Errorf("the whole one: %+v", out)
	}
	if s := runNaru(t, binary, dir, "restore", whole, "--set", "store.engine=memory"); s.code != 1 || !strings.Contains(s.err, "memory") {
		t.Errorf("restore for a store in memory: %+v", s)
	}
}

// replace changes a text in a file, which must be there.
func replace(file, old, new string) error {
	text, err := os.ReadFile(file)
	if err == nil && !bytes.Contains(text, []byte(old)) {
		err = fmt.Errorf("%s does not contain %s:\n%s", file, old, text)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, bytes.ReplaceAll(text, []byte(old), []byte(new)), 0o600)
}

// TestOperatorUsage: wrong usage ends with code 2 and says what would be right;
// every command has help with examples; without a node there is a hint.
func TestOperatorUsage(t *testing.T) {
	binary, dir := naruBinary(t), t.TempDir()
	for _, args := range [][]string{
		{"purge"}, {"purge", "a", "b"}, {"kick"}, {"list"}, {"list", "cats"}, {"list", "sessions", "extra"}, {"delete"},
		{"delete", "session"}, {"delete", "everything", "x"}, {"backup"}, {"restore"}, {"status", "now"}, {"status", "--nonsense"},
		{"list", "sessions", "--nonsense"}, {"plugins", "x"}, {"restore", "a", "--nonsense"}, {"list", "--json", "queues"},
		{"serve", "naru.yaml"}, {"serve", "--nonsense"}, {"config", "naru.yaml"}, {"check"}, {"passwd", "alice"}, {"version", "x"}, {"bench", "--nonsense"},
	} {
		if s := runNaru(t, binary, dir, args...); s.code != 2 || !strings.Contains(s.err, "Usage:\n  naru "+args[0]) || s.out != "" {
			t.Errorf("naru %q: code %d\n%s%s", args, s.code, s.out, s.err)
		}
	}
	for args, says := range map[string]string{
		"list cats --socket s": `naru list: "cats" is none of`, "list sessions x": "naru list sessions: ", "serve naru.yaml": "--config",
		"delete queue": "NAME is missing",
	} {
		if s := runNaru(t, binary, dir, strings.Fields(args)...); !strings.Contains(s.err, says) {
			t.Errorf("naru %s: %s\nwant %s", args, s.err, says)
		}
	}
	for _, name := range []string{
		"status", "list", "list sessions", "list retained", "list exchanges", "list channels", "list consumers", "purge", "delete", "delete session", "delete queue", "delete retained",
		"kick", "backup", "restore", "plugins",
	} {
		s := runNaru(t, binary, dir, append(strings.Fields(name), "--help")...)
		if s.code != 0 || !strings.Contains(s.out, "Examples:\n  naru "+name) || !strings.Contains(s.out, "Usage:") {
			t.Errorf("naru %s --help: %+v", name, s)
		}
	}
	for _, args := range [][]string{
		{"status"}, {"list", "queues"}, {"purge", "q"}, {"kick", "c"}, {"delete", "queue", "q"}, {"backup", "x"}, {"plugins"},
	} {
		if s := runNaru(t, binary, dir, args...); s.code != 1 || !strings.Contains(s.err, "Is the node running?") {
			t.Errorf("naru %q without a node: %+v", args, s)
		}
	}
	if s := runNaru(t, binary, dir, "completion", "bash"); s.code != 0 || !strings.Contains(s.out, "naru") {
		t.Errorf("completion: %+v", s)
	}
	b := serveNaru(t, binary)
	join(t, &session{addr: b.MQTT, id: "sensor-1", clean: true})
	join(t, &session{addr: b.MQTT, id: "other", clean: true})
	if s := runNaru(t, binary, b.Dir, "__complete", "kick", "sens"); !strings.HasPrefix(s.out, "sensor-1\n:") {
		t.Errorf("completion of a client id: %+v", s)
	}
	if s := runNaru(t, binary, b.Dir, "kick", "nobody", "other", "no-one"); s.code != 1 || s.out != "other is disconnected\n" ||
		!strings.Contains(s.err, "nobody") || !strings.Contains(s.err, "no-one") {
		t.Errorf("kick of one that is there and two that are not: %+v", s)
	}
}

// TestOperatorSocket: nobody but its owner can use it, in whatever directory; one
// that a killed process left behind is replaced, and it goes with the node.
func TestOperatorSocket(t *testing.T) {
	binary := naruBinary(t)
	open, err := os.MkdirTemp("", "naru-socket") // t.TempDir lets nobody else in
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(open) })
	must(t, os.Chmod(open, 0o755))
	socket := filepath.Join(open, "naru.sock")
	b := serveNaru(t, binary, "operator.socket="+socket)
	must(t, os.Truncate(b.LogFile(), 0), b.Restart(true)) // it is there when the node starts again
	awaitLog(t, b, "msg=ready")
	st, err := os.Stat(socket)
	must(t, err)
	if st.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v", st.Mode())
	}
	if s := runNaru(t, binary, open, "status", "--socket", socket); s.code != 0 {
		t.Errorf("its owner: %+v", s)
	}
	if os.Getuid() == 0 {
		copied := filepath.Join(open, "naru")
		text, err := os.ReadFile(binary)
		must(t, err, os.WriteFile(copied, text, 0o755))
		other := naruCommand(copied, open, []string{"status", "--socket", socket})
		other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := other.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "Only the user that runs the node") {
			t.Errorf("another user: %v\n%s", err, out)
		}
	}
	second := runNaru(t, binary, t.TempDir(), "serve", "--set", "operator.socket="+socket, "--set", "mqtt.listeners.0.address=127.0.0.1:0",
		"--set", "ws.enabled=false", "--set", "metrics.enabled=false", "--set", "amqp.enabled=false")
	if second.code != 1 || !strings.Contains(second.err, "another process listens") {
		t.Errorf("a second node with the same socket: %+v", second)
	}
	must(t, b.Stop(syscall.SIGTERM))
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
	if entries, err := filepath.Glob(filepath.Join(open, ".naru-*")); err != nil || len(entries) > 0 {
		t.Errorf("left behind: %v %v", entries, err)
	}
	must(t, b.Start())
}
