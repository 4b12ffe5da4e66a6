package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

// unit reads docs/packaging/naru.service and returns its text and the value of a
// setting, of which there is one.
func unit(t *testing.T) (text string, setting func(name string) string) {
	t.Helper()
	b, err := os.ReadFile("../../../docs/packaging/naru.service")
	must(t, err)
	return string(b), func(name string) string {
		t.Helper()
		_, rest, found := strings.Cut(string(b), "\n"+name+"=")
		if !found {
			t.Fatalf("the unit has no %s", name)
		}
		value, _, _ := strings.Cut(rest, "\n")
		return value
	}
}

// TestUnitVerified has systemd itself read the unit.
func TestUnitVerified(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze")
	}
	text, _ := unit(t)
	file := filepath.Join(t.TempDir(), "naru.service")
	must(t, os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/bin/naru", naruBinary(t))), 0o644))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", file).CombinedOutput()
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}

// TestUnitRuns runs the binary as the unit of the package has systemd run it: with
// its command line, as a user without rights, and listened to on a socket for
// notifications. It says when it serves, gives signs of life, says when it reloads
// and when it stops, and ends well.
func TestUnitRuns(t *testing.T) {
	_, setting := unit(t)
	dir, err := os.MkdirTemp("", "naru") // the path of a Unix socket must be short
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "n"), Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { notify.Close() })
	binary, data, conf := filepath.Join(dir, "naru"), filepath.Join(dir, "data"), filepath.Join(dir, "naru.yaml")
	ports, err := process.FreePorts(2)
	must(t, err)
	packaged, err := os.ReadFile("../../../docs/packaging/naru.yaml")
	must(t, err)
	text := string(packaged)
	for old, new := range map[string]string{
		"/var/lib/naru": data, "127.0.0.1:1883": fmt.Sprint("127.0.0.1:", ports[0]), "127.0.0.1:8083": fmt.Sprint("127.0.0.1:", ports[1]),
		"127.0.0.1:5672": "127.0.0.1:0", "127.0.0.1:15692": "127.0.0.1:0",
	} {
		if !strings.Contains(text, old) {
			t.Fatalf("the configuration of the package has no %s", old)
		}
		text = strings.ReplaceAll(text, old, new)
	}
	program, err := os.ReadFile(naruBinary(t))
	must(t, err, os.WriteFile(binary, program, 0o755), os.WriteFile(conf, []byte(text), 0o644), os.Mkdir(data, 0o700), os.Chmod(dir, 0o755))

	line := strings.NewReplacer("/usr/bin/naru", binary, "/etc/naru/naru.yaml", conf).Replace(setting("ExecStart"))
	argv := strings.Fields(line)
	if argv[0] != binary || setting("Type") != "notify" {
		t.Fatalf("the unit runs %q as %s", line, setting("Type"))
	}
	var said bytes.Buffer
	cmd := naruCommand(argv[0], data, argv[1:], "NOTIFY_SOCKET="+filepath.Join(dir, "n"), "WATCHDOG_USEC=200000")
	cmd.Stdout, cmd.Stderr = &said, &said
	if os.Getuid() == 0 {
		must(t, os.Chown(data, 65534, 65534), os.Chmod(filepath.Join(dir, "n"), 0o777))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	must(t, cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	next := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		for {
			must(t, notify.SetReadDeadline(time.Now().Add(patience)))
			n, err := notify.Read(buf)
			if err != nil {
				t.Fatalf("no %s: %v\n%s", want, err, &said)
			}
			state := string(buf[:n])
			if strings.HasPrefix(state, want) {
				return
			}
			if !strings.HasPrefix(state, "WATCHDOG=1") {
				t.Fatalf("%q is told instead of %s", state, want)
			}
		}
	}
	next("READY=1")
	s := join(t, &session{addr: fmt.Sprint("127.0.0.1:", ports[0]), id: "s"})
	must(t, s.publish("a", 1, false, []byte("x"), 0), s.drain(0))
	next("WATCHDOG=1")
	next("WATCHDOG=1")
	if reload := setting("ExecReload"); reload != "/bin/kill -HUP $MAINPID" {
		t.Fatalf("the unit reloads by %q", reload)
	}
	must(t, cmd.Process.Signal(syscall.SIGHUP))
	next("RELOADING=1")
	next("READY=1")
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	next("STOPPING=1")
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("it ends with %v\n%s", err, &said)
		}
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
}
