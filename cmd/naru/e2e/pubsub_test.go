package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestPubSub: what our tools and Mosquitto's publish, ours and Mosquitto's print,
// over both brokers, at each QoS.
func TestPubSub(t *testing.T) {
	boxes := toolboxes(t)
	toolBrokers(t, func(t *testing.T, port string) {
		for _, sub := range boxes {
			for qos := range 3 {
				t.Run(fmt.Sprintf("to %s at QoS %d", sub.name, qos), func(t *testing.T) {
					q := fmt.Sprint(qos)
					s := startReady(t, sub, port, "-q", q, "-t", "m/#", "-C", fmt.Sprint(1+2*len(boxes)), "-F", "%t|%q|%r|%p")
					want := "ready|" + q + "|1|ready\n"
					for _, pub := range boxes {
						runTool(t, 0, command(pub.pub, "-p", port, "-t", "m/"+pub.name, "-m", "Grüße", "-q", q)...)
						runTool(t, 0, command(pub.pub, "-p", port, "-t", "m/"+pub.name, "-n", "-q", q)...)
						want += fmt.Sprintf("m/%s|%s|0|Grüße\nm/%[1]s|%[2]s|0|\n", pub.name, q)
					}
					if have := s.end(0); have != want {
						t.Errorf("printed %q, want %q", have, want)
					}
				})
			}
		}
	})
}

// TestPubLines: 10,000 lines arrive in their order, and pub ends when they are
// acknowledged.
func TestPubLines(t *testing.T) {
	var lines strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&lines, "line %d%s\n", i, strings.Repeat(" and more", i%7))
	}
	b, err := startNaru(t, naruBinary(t), "default")
	must(t, err)
	box, port := ownTools(naruBinary(t)), portOf(b)
	for _, q := range []string{"1", "2"} {
		t.Run("QoS "+q, func(t *testing.T) {
			runTool(t, 0, command(box.sub, "-p", port, "-q", q, "-c", "-i", "lines"+q, "-t", "lines/"+q, "-E")...)
			p := startTool(t, strings.NewReader(lines.String()), nil, command(box.pub, "-p", port, "-q", q, "-t", "lines/"+q, "-l")...)
			p.end(0)
			out, _ := runTool(t, 0, command(box.sub, "-p", port, "-q", q, "-c", "-i", "lines"+q, "-t", "lines/"+q, "-C", "10000")...)
			if out != lines.String() {
				t.Errorf("%d bytes came out, want %d: %.200q", len(out), lines.Len(), out)
			}
		})
	}
}

// TestPubLastLine: a line without an end is one, an empty line too.
func TestPubLastLine(t *testing.T) {
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		s := startReady(t, box, port, "-t", "l", "-C", "5", "-q", "1", "-F", "%p|%l")
		startTool(t, strings.NewReader("a\n\nb\r\nc"), nil, command(box.pub, "-p", port, "-t", "l", "-l", "-q", "1")...).end(0)
		if have, want := s.end(0), "ready|5\na|1\n|0\nb\r|2\nc|1\n"; have != want {
			t.Errorf("printed %q, want %q", have, want)
		}
	})
}

// TestPubFile: 5 MB of any bytes, from a file and from standard input.
func TestPubFile(t *testing.T) {
	big := make([]byte, 5_000_000)
	for i, random := 0, rand.New(rand.NewPCG(1, 2)); i < len(big); i++ {
		big[i] = byte(random.Uint32())
	}
	file := filepath.Join(t.TempDir(), "big")
	must(t, os.WriteFile(file, big, 0o600))
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		for _, q := range []string{"0", "1", "2"} {
			s := startReady(t, box, port, "-t", "f", "-C", "3", "-q", q, "-N")
			runTool(t, 0, command(box.pub, "-p", port, "-t", "f", "-f", file, "-q", q)...)
			startTool(t, bytes.NewReader(big), nil, command(box.pub, "-p", port, "-t", "f", "-s", "-q", q)...).end(0)
			if have := s.end(0); have != "ready"+string(big)+string(big) {
				t.Errorf("QoS %s: %d bytes came out, and are not what was sent", q, len(have))
			}
		}
	})
}

// TestPubRepeat: --repeat sends as often as it says.
func TestPubRepeat(t *testing.T) {
	b, err := startNaru(t, naruBinary(t), "default")
	must(t, err)
	box, port := ownTools(naruBinary(t)), portOf(b)
	s := startReady(t, box, port, "-t", "r", "-C", "5", "-q", "1")
	runTool(t, 0, command(box.pub, "-p", port, "-t", "r", "-m", "again", "-q", "1", "--repeat", "3", "--repeat-delay", "0.01")...)
	runTool(t, 0, command(box.pub, "-p", port, "-t", "r", "-m", "end", "-q", "1")...)
	if have, want := s.end(0), "ready\nagain\nagain\nagain\nend\n"; have != want {
		t.Errorf("printed %q, want %q", have, want)
	}
}

// TestSubWill: the will is published when the tool is killed, and not when it is
// interrupted or its reader goes away.
func TestSubWill(t *testing.T) {
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		watcher := startReady(t, box, port, "-q", "2", "-t", "will/#", "-t", "end/#", "-F", "%t %p %q")
		will := func(name string) []string {
			return []string{"-t", "x", "--will-topic", "will/" + name, "--will-payload", "gone", "--will-qos", "2"}
		}
		startReady(t, box, port, will("killed")...).kill()
		watcher.await("will/killed gone 2\n")

		interrupted := startReady(t, box, port, will("interrupted")...)
		interrupted.signal(syscall.SIGINT)
		interrupted.end(0)

		r, w, err := os.Pipe()
		must(t, err)
		deaf := startTool(t, nil, nil, "/bin/sh", "-c", `"$@" | head -n 1; exit 0`, "sh", box.sub[0], "sub", "-p", port, "-t", "ready",
			"-t", "x", "--will-topic", "will/deaf", "--will-payload", "gone")
		r.Close()
		w.Close()
		deaf.await("ready")
		// head has gone when it has written its line, or soon after.
		for done := false; !done; {
			select {
			case <-deaf.exited:
				done = true
			default:
				runTool(t, 0, command(box.pub, "-p", port, "-t", "x", "-m", "anybody there?")...)
			}
		}
		deaf.end(0)
		runTool(t, 0, command(box.pub, "-p", port, "-t", "end/all", "-m", ".", "-q", "2")...)
		watcher.await("end/all")
		if out := watcher.out.String(); strings.Contains(out, "interrupted") || strings.Contains(out, "deaf") {
			t.Errorf("a will was published of a tool that left in good order:\n%s", out)
		}
	})
}

// TestToolTimeout: -W ends with 27, whether messages are missing or the broker.
func TestToolTimeout(t *testing.T) {
	toolBrokers(t, func(t *testing.T, port string) {
		for _, box := range toolboxes(t) {
			runTool(t, 27, command(box.sub, "-p", port, "-t", "nothing", "-C", "1", "-W", "1")...)
		}
	})
	l, err := net.Listen("tcp", "127.0.0.1:0") // it accepts, and says nothing
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	box := ownTools(naruBinary(t))
	for _, argv := range [][]string{
		command(box.sub, "-p", port, "-t", "nothing", "-W", "0.3"),
		command(box.pub, "-p", port, "-t", "nothing", "-m", "x", "-W", "0.3"),
	} {
		if _, said := runTool(t, 27, argv...); !strings.Contains(said, "timed out") {
			t.Errorf("%q says %q", argv, said)
		}
	}
}

// TestToolLogin: a wrong password is told as such, and a right one may come by
// flags, URL or environment.
func TestToolLogin(t *testing.T) {
	b, err := startNaru(t, naruBinary(t), "acl")
	must(t, err)
	binary, port := naruBinary(t), portOf(b)
	at := "127.0.0.1:" + port
	for _, test := range []struct {
		name string
		code int
		says string
		env  []string
		args []string
	}{
		{"flags", 0, "", nil, []string{"-p", port, "-u", "alice", "-P", "secret"}},
		{"URL", 0, "", nil, []string{"mqtt://alice:secret@" + at}},
		{"environment", 0, "", []string{"NARU_USER=alice", "NARU_PASSWORD=secret"}, []string{"-L", "mqtt://" + at}},
		{"password from the environment", 0, "", []string{"NARU_USER=nobody", "NARU_PASSWORD=open sesame"}, []string{"mqtt://admin@" + at}},
		{"flags before URL", 0, "", []string{"NARU_PASSWORD=no"}, []string{"mqtt://alice:wrong@" + at, "-P", "secret"}},
		{"wrong password", 1, "not authorized", nil, []string{"mqtt://alice:wrong@" + at}},
		{"nobody", 1, "not authorized", nil, []string{"mqtt://" + at}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, what := range [][]string{{"pub", "-t", "a/open/b", "-m", "x", "-q", "1"}, {"sub", "-t", "a/open/b", "-E"}} {
				p := startTool(t, nil, test.env, command([]string{binary}, append(what, test.args...)...)...)
				p.end(test.code)
				said := p.err.String()
				if (test.says == "") != (said == "") || !strings.Contains(strings.ReplaceAll(said, "bad user name or password", "not authorized"), test.says) {
					t.Errorf("%q says %q, want %q", p.cmd.Args, said, test.says)
				}
				if strings.Contains(said, "wrong") {
					t.Errorf("the password is printed: %q", said)
				}
			}
		})
	}
	t.Run("refused subscription", func(t *testing.T) {
		argv := []string{binary, "sub", "-p", port, "-u", "alice", "-P", "secret"}
		_, said := runTool(t, 1, command(argv, "-t", "a/writeonly/b")...)
		if !strings.Contains(said, `refuses the subscription to "a/writeonly/b"`) || !strings.Contains(said, "all subscriptions") {
			t.Errorf("it says %q", said)
		}
		_, said = runTool(t, 0, command(argv, "-t", "a/writeonly/b", "-t", "a/open/b", "-E")...)
		if !strings.Contains(said, `"a/writeonly/b"`) || strings.Contains(said, "all subscriptions") {
			t.Errorf("it says %q", said)
		}
	})
}

// TestSubReconnect: a persistent subscriber goes on where it was, after a restart
// and after a crash, with nothing lost and nothing twice.
func TestSubReconnect(t *testing.T) {
	b, err := startNaru(t, naruBinary(t), "default")
	must(t, err)
	box, port := ownTools(naruBinary(t)), portOf(b)
	s := startReady(t, box, port, "-q", "2", "-c", "-i", "loyal", "-t", "m", "--reconnect")
	pub := func(text string) { runTool(t, 0, command(box.pub, "-p", port, "-t", "m", "-q", "2", "-m", text)...) }
	want := "ready\n" // once: a session that is still there is not subscribed again
	for _, kill := range []bool{false, true} {
		must(t, b.Restart(kill))
		for _, name := range []string{"first", "second", "third"} {
			text := fmt.Sprintf("%s after restart, killed: %t", name, kill)
			want += text + "\n"
			pub(text)
			if name != "first" { // the others come over a connection that is there
				s.await(text)
			}
		}
	}
	s.signal(syscall.SIGINT)
	if have := s.end(0); have != want {
		t.Errorf("printed %q, want %q", have, want)
	}
	if said := s.err.String(); strings.Count(said, "trying again") < 2 {
		t.Errorf("it says %q of two restarts", said)
	}
	lost := startReady(t, box, port, "-t", "m")
	must(t, b.Restart(true))
	lost.end(1)
	if said := lost.err.String(); said == "" {
		t.Error("the loss of the connection is not told")
	}
}

// TestSubRetained: -R, --retained-only and -T.
func TestSubRetained(t *testing.T) {
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		for _, name := range []string{"r/1", "r/2"} {
			runTool(t, 0, command(box.pub, "-p", port, "-t", name, "-m", "kept", "-r", "-q", "1")...)
		}
		only := startReady(t, box, port, "-t", "r/#", "-T", "r/2", "--retained-only", "-v")
		fresh := startTool(t, nil, nil, command(box.sub, "-p", port, "-t", "r/#", "-R", "-v", "-C", "1")...)
		for done := false; !done; { // fresh cannot say that it has subscribed
			select {
			case <-fresh.exited:
				done = true
			default:
				runTool(t, 0, command(box.pub, "-p", port, "-t", "r/3", "-m", "new", "-q", "1")...)
			}
		}
		if have, want := fresh.end(0), "r/3 new\n"; have != want {
			t.Errorf("-R prints %q, want %q", have, want)
		}
		if have, want := only.end(0), "r/1 kept\nready ready\n"; have != want {
			t.Errorf("--retained-only prints %q, want %q", have, want)
		}
	})
}
