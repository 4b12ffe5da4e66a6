package e2e

import (
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// typing starts pub in line mode with an input that stays open.
func typing(t *testing.T, box toolbox, port string, options ...string) (p *tool, keyboard *os.File) {
	t.Helper()
	r, keyboard, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { r.Close(); keyboard.Close() })
	return startTool(t, r, nil, command(box.pub, append([]string{"-p", port, "-t", "typed", "-l"}, options...)...)...), keyboard
}

// TestPubLosesBroker: pub says how much was acknowledged.
func TestPubLosesBroker(t *testing.T) {
	for _, q := range []string{"1", "2"} {
		b, err := startNaru(t, naruBinary(t), "default")
		must(t, err)
		box, port := ownTools(naruBinary(t)), portOf(b)
		watcher := startReady(t, box, port, "-t", "typed", "-q", q)
		p, keyboard := typing(t, box, port, "-q", q, "-M", "1")
		_, err = io.WriteString(keyboard, "one\ntwo\nthree\nfour\n")
		must(t, err)
		watcher.await("four") // so the three before it are acknowledged
		must(t, b.Restart(true))
		p.end(1)
		if said := p.err.String(); !regexp.MustCompile(`\(4 sent, [34] of them acknowledged\)\n$`).MatchString(said) {
			t.Errorf("QoS %s: it says %q", q, said)
		}
	}
}

// TestPubInterrupted: Ctrl-C ends line mode in good order, with all that was typed
// published, and is a failure where messages are missing.
func TestPubInterrupted(t *testing.T) {
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		watcher := startReady(t, box, port, "-t", "typed", "-t", "will", "-t", "repeated", "-q", "1")
		will := []string{"--will-topic", "will", "--will-payload", "will"}
		p, keyboard := typing(t, box, port, append(will, "-q", "1")...)
		_, err := io.WriteString(keyboard, "one\ntwo\n")
		must(t, err)
		watcher.await("two")
		p.signal(syscall.SIGINT)
		p.end(0)

		p = startTool(t, endless(t), nil, command(box.pub, append(will, "-p", port, "-t", "repeated", "-m", "again",
			"--repeat", "1000", "--repeat-delay", "1000", "-q", "1")...)...)
		watcher.await("again")
		p.signal(syscall.SIGTERM)
		p.end(1)
		if said := p.err.String(); !strings.Contains(said, "interrupted (1 sent, 1 of them acknowledged)") {
			t.Errorf("it says %q", said)
		}
		runTool(t, 0, command(box.pub, "-p", port, "-t", "typed", "-m", "end", "-q", "1")...)
		watcher.await("end")
		if have, want := watcher.out.String(), "ready\none\ntwo\nagain\nend\n"; have != want {
			t.Errorf("printed %q, want %q", have, want)
		}
	})
}

// TestSubInterrupted: what is printed is acknowledged when sub is interrupted, and
// what comes later waits for it.
func TestSubInterrupted(t *testing.T) {
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		keep := []string{"-t", "kept", "-q", "2", "-c", "-i", "keeper"}
		s := startReady(t, box, port, keep...)
		pub := func(text string) {
			runTool(t, 0, command(box.pub, "-p", port, "-t", "kept", "-q", "2", "-m", text)...)
		}
		pub("one")
		s.await("one")
		s.signal(syscall.SIGTERM)
		s.end(0)
		pub("two")
		pub("three")
		out, _ := runTool(t, 0, command(box.sub, append(keep, "-p", port, "-C", "1")...)...)
		rest, _ := runTool(t, 0, command(box.sub, append(keep, "-p", port, "-C", "1")...)...)
		if out+rest != "two\nthree\n" {
			t.Errorf("printed %q and %q", out, rest)
		}
	})
}

// TestSubFullDisk: a message that could not be printed stays with the broker.
func TestSubFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("there is no full disk to write to: %v", err)
	}
	toolBrokers(t, func(t *testing.T, port string) {
		box := ownTools(naruBinary(t))
		keep := command(box.sub, "-p", port, "-t", "kept", "-q", "2", "-c", "-i", "keeper")
		runTool(t, 0, command(keep, "-E")...)
		runTool(t, 0, command(box.pub, "-p", port, "-t", "kept", "-q", "2", "-m", "precious")...)
		p := startTool(t, nil, nil, command([]string{"/bin/sh", "-c", `"$@" > /dev/full`, "sh"}, keep...)...)
		p.end(1)
		if said := p.err.String(); !strings.Contains(said, "no space left") {
			t.Errorf("it says %q", said)
		}
		out, _ := runTool(t, 0, command(keep, "-C", "1")...)
		if out != "precious\n" {
			t.Errorf("printed %q", out)
		}
	})
}
