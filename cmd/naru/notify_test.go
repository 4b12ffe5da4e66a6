package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/config"
)

// manager is the service manager's end of the socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

// newManager listens, and has the environment say so.
func newManager(t *testing.T, watchdog time.Duration) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "naru") // short: a socket's path has 107 bytes at most
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", strconv.FormatInt(watchdog.Microseconds(), 10))
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	return &manager{t, conn}
}

// next returns the next message, but for signs of life that are not asked for.
func (m *manager) next(life bool) string {
	m.t.Helper()
	buf := make([]byte, 1024)
	for {
		m.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		n, err := m.conn.Read(buf)
		if err != nil {
			m.t.Fatal(err)
		}
		if s := string(buf[:n]); life || s != "WATCHDOG=1" {
			return s
		}
	}
}

// TestNotify runs a whole node under a service manager: ready, alive, reloaded,
// stopping.
func TestNotify(t *testing.T) {
	m := newManager(t, 20*time.Millisecond)
	src := source{set: []string{
		"store.engine=memory", "mqtt.listeners.0.address=127.0.0.1:0", "ws.enabled=false", "metrics.enabled=false", "amqp.enabled=false",
	}}
	cfg, report, err := src.load()
	if err != nil {
		t.Fatal(err)
	}
	log, level := newLogger(t.Output(), cfg.Log)
	n := newNode(cfg, log)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, n, newReloader(n, level, src, report)) }()
	if s := m.next(true); !strings.HasPrefix(s, "READY=1") {
		t.Errorf("first %q", s)
	}
	for range 3 {
		if s := m.next(true); s != "WATCHDOG=1" {
			t.Errorf("a sign of life is %q", s)
		}
	}
	if v := os.Getenv("NOTIFY_SOCKET"); v != "" {
		t.Errorf("children will find NOTIFY_SOCKET=%s", v)
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	if s := m.next(false); s != "RELOADING=1" {
		t.Errorf("at SIGHUP %q", s)
	}
	if s := m.next(false); s != "READY=1" {
		t.Errorf("after it %q", s)
	}
	cancel()
	if s := m.next(false); !strings.HasPrefix(s, "STOPPING=1") {
		t.Errorf("at the end %q", s)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestNotifyHangs: a node that does not answer gives no sign of life, and one
// that answers again does.
func TestNotifyHangs(t *testing.T) {
	m := newManager(t, 20*time.Millisecond)
	tell := newNotifier(slog.New(slog.NewTextHandler(t.Output(), nil)))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	asked := 0
	go func() {
		defer close(ended)
		tell.watch(ctx, func(context.Context) error {
			switch asked++; {
			case asked < 5:
				return errors.New("it hangs")
			case asked == 5:
				tell.tell("now")
			}
			return nil
		})
	}()
	if s := m.next(true); s != "now" {
		t.Errorf("a node that hangs says %q", s)
	}
	if s := m.next(true); s != "WATCHDOG=1" {
		t.Errorf("one that hangs no more says %q", s)
	}
	cancel()
	<-ended
}

// TestNotifyNobody: without a manager, or with a watchdog for another process.
func TestNotifyNobody(t *testing.T) {
	newManager(t, time.Second)
	t.Setenv("WATCHDOG_PID", "1")
	if n := newNotifier(slog.New(slog.DiscardHandler)); n.watchdog != 0 {
		t.Error("it heeds the watchdog of another process")
	}
	n := newNotifier(slog.New(slog.DiscardHandler)) // the environment is empty now
	if n.conn != nil || n.watchdog != 0 {
		t.Error("it tells somebody")
	}
	n.ready("x")
	n.watch(t.Context(), nil)
}

// TestReloadKeys: what the reference calls reloadable is what reload puts in
// force, no more and no less.
func TestReloadKeys(t *testing.T) {
	c := config.Default()
	never := map[string]bool{
		"transport.poller": true, "transport.loops": true, "mqtt.enabled": true, "mqtt.sys_interval": true, "log.format": true,
		"ws.enabled": true, "amqp.enabled": true,
	}
	seen := 0
	for _, k := range config.Keys(&c) {
		section, _, _ := strings.Cut(k.Path, ".")
		section = strings.TrimSuffix(section, "[]")
		want := false
		switch section {
		case "bus", "transport", "mqtt", "amqp", "ws", "log":
			want = section != k.Path && !never[k.Path] && !strings.HasPrefix(k.Path, section+".listeners")
		case "users", "anonymous", "acl", "policies", "operator_policies":
			want = true
		}
		if k.Reload != want {
			t.Errorf("%s: the reference says %v, and reload %v", k.Path, k.Reload, want)
		}
		if want {
			seen++
		}
	}
	if seen < 30 {
		t.Errorf("only %d keys can be reloaded", seen)
	}
}
