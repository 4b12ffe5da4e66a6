package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// newTerminal opens a pseudo terminal: what a program writes to tty comes out of
// the other end, untouched.
func newTerminal(t *testing.T) (other, tty *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { other.Close() })
	must(t, unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	must(t, err)
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { tty.Close() })
	settings, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	must(t, err)
	settings.Oflag &^= unix.OPOST // else \n becomes \r\n
	must(t, unix.IoctlSetTermios(int(tty.Fd()), unix.TCSETS, settings))
	return other, tty
}

// onTerminal runs a program with a terminal as its output, and returns that.
func onTerminal(t *testing.T, env []string, argv ...string) string {
	t.Helper()
	other, tty := newTerminal(t)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Env = tty, append(os.Environ(), env...)
	must(t, cmd.Start())
	tty.Close()
	text, _ := io.ReadAll(other) // it ends with EIO when nobody has the terminal open
	must(t, cmd.Wait())
	return string(text)
}

// TestSubOnTerminal: no message steers a terminal, unless --raw is given; a pipe
// has every byte, and no colours.
func TestSubOnTerminal(t *testing.T) {
	b, err := startNaru(t, naruBinary(t), "default")
	must(t, err)
	box, port := ownTools(naruBinary(t)), portOf(b)
	evil := "red\x1b[31m\x1b]0;title\x07\r\x9b2J\u009b\x7fend"
	safe := `red\x1b[31m\x1b]0;title\x07\x0d\x9b2J\u009b\x7fend`
	p := startTool(t, strings.NewReader(evil), nil, command(box.pub, "-p", port, "-t", "evil", "-s", "-r", "-q", "1")...)
	p.end(0)
	runTool(t, 0, command(box.pub, "-p", port, "-t", "json", "-m", `{"a":1}`, "-r", "-q", "1")...)
	sub := func(options ...string) []string {
		return command(box.sub, append([]string{"-p", port, "-C", "1"}, options...)...)
	}
	plain := []string{"TERM=xterm"}
	for _, test := range []struct {
		name, want string
		env        []string
		argv       []string
	}{
		{"payload", safe + "\n", plain, sub("-t", "evil")},
		{"format", "\x1b[1mevil " + safe + "\n", plain, sub("-t", "evil", "-F", `\e[1m%t %p`)},
		{"raw", evil + "\n", plain, sub("-t", "evil", "--raw")},
	} {
		if have := onTerminal(t, test.env, test.argv...); have != test.want {
			t.Errorf("%s: %q, want %q", test.name, have, test.want)
		}
	}
	if have, _ := runTool(t, 0, sub("-t", "evil")...); have != evil+"\n" {
		t.Errorf("a pipe: %q, want %q", have, evil+"\n")
	}
	const colored = "\x1b[36m\"a\"\x1b[0m: \x1b[33m1\x1b[0m"
	if have := onTerminal(t, []string{"TERM=xterm"}, sub("-t", "json", "--pretty")...); !strings.Contains(have, colored) {
		t.Errorf("--pretty on a terminal: %q", have)
	}
	for name, have := range map[string]string{
		"NO_COLOR":      onTerminal(t, []string{"NO_COLOR=1", "TERM=xterm"}, sub("-t", "json", "--pretty")...),
		"dumb terminal": onTerminal(t, []string{"TERM=dumb"}, sub("-t", "json", "--pretty")...),
	} {
		if strings.Contains(have, "\x1b") || !strings.Contains(have, `"a": 1`) {
			t.Errorf("--pretty with %s: %q", name, have)
		}
	}
	if have, _ := runTool(t, 0, sub("-t", "json", "--pretty")...); strings.Contains(have, "\x1b") || !strings.Contains(have, `"a": 1`) {
		t.Errorf("--pretty in a pipe: %q", have)
	}
}
