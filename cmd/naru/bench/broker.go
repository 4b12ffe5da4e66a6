package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	startTimeout = 90 * time.Second // RabbitMQ takes ten where there is little else to do
	stopTimeout  = 30 * time.Second
)

// mosquitto is where Debian puts it, a directory that is not on every PATH.
const mosquitto = "/usr/sbin/mosquitto"

// StartMosquitto starts Debian's Mosquitto on a free loopback port, with its
// data in dir. Its limits are lifted and its logging is off, so that it is
// compared at its best; it does not write messages to disk unless extra, which
// is lines of its configuration, says "persistence true".
func StartMosquitto(dir string, extra ...string) (Target, func() error, error) {
	addr, err := FreeAddr()
	if err != nil {
		return Target{}, nil, err
	}
	self, err := user.Current()
	if err != nil {
		return Target{}, nil, fmt.Errorf("start mosquitto: %w", err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return Target{}, nil, fmt.Errorf("start mosquitto: %w", err)
	}
	host, port, _ := net.SplitHostPort(addr)
	lines := append([]string{
		"listener " + port + " " + host,
		"allow_anonymous true",
		"user " + self.Username, // as root it would become somebody who cannot write to dir
		"persistence_location " + dir + "/",
		"log_dest none",
		"sys_interval 0",
		"set_tcp_nodelay true",
		// 0 would be no limit, and then packet identifiers in flight repeat
		// once a backlog of more than 65,535 messages is drained.
		"max_inflight_messages 1000",
		"max_queued_messages 0",
		"max_queued_bytes 0",
	}, extra...)
	config := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return Target{}, nil, fmt.Errorf("start mosquitto: %w", err)
	}
	return StartCommand("mosquitto", []string{mosquitto, "-c", config}, addr)
}

// StartMosquittoTLS is StartMosquitto with a second listener, for TLS.
func StartMosquittoTLS(dir, cert, key string) (Target, func() error, error) {
	addr, err := FreeAddr()
	if err != nil {
		return Target{}, nil, err
	}
	host, port, _ := net.SplitHostPort(addr)
	t, stop, err := StartMosquitto(dir, "listener "+port+" "+host, "certfile "+cert, "keyfile "+key)
	t.Layered = map[Over]string{TLS: addr}
	return t, stop, err
}

// StartCommand starts a broker and returns when it accepts connections at
// addr, and at the other addresses. argv must run it in the foreground and as the very process whose CPU
// is to be measured. The function it returns stops the broker and waits for
// it; it must be called once.
func StartCommand(name string, argv []string, addr string, others ...string) (Target, func() error, error) {
	if len(argv) == 0 {
		return Target{}, nil, fmt.Errorf("start %s: empty command", name)
	}
	return startProcess(name, exec.Command(argv[0], argv[1:]...), addr, others...)
}

func startProcess(name string, cmd *exec.Cmd, addr string, others ...string) (Target, func() error, error) {
	p := &process{name: name, cmd: cmd, gone: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.last, &p.last
	if err := p.cmd.Start(); err != nil {
		return Target{}, nil, fmt.Errorf("start %s: %w", name, err)
	}
	go p.reap()
	for _, a := range append([]string{addr}, others...) {
		if err := p.await(a); err != nil {
			return Target{}, nil, errors.Join(err, p.stop())
		}
	}
	return Target{Name: name, Addr: addr, PID: p.cmd.Process.Pid}, p.stop, nil
}

// A process is a broker that was started here. Its goroutine, reap, ends with
// it; stop waits for that.
type process struct {
	name string
	cmd  *exec.Cmd
	last tail
	gone chan struct{} // closed by reap
}

func (p *process) reap() {
	// How it ended is in ProcessState, which stop does not care about: it was
	// told to.
	_ = p.cmd.Wait()
	close(p.gone)
}

// await returns when somebody accepts connections at addr.
func (p *process) await(addr string) error {
	retry := time.NewTicker(20 * time.Millisecond)
	defer retry.Stop()
	deadline := time.After(startTimeout)
	for {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-retry.C:
		case <-p.gone:
			return fmt.Errorf("start %s: it ended at once (%v): %s", p.name, p.cmd.ProcessState, p.last.String())
		case <-deadline:
			return fmt.Errorf("start %s: no answer at %s after %v: %w", p.name, addr, startTimeout, err)
		}
	}
}

// stop ends the process, by force if it does not end by itself.
func (p *process) stop() error {
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	select {
	case <-p.gone:
		return err
	case <-time.After(stopTimeout):
	}
	err = p.cmd.Process.Kill()
	<-p.gone
	return errors.Join(fmt.Errorf("stop %s: killed after %v", p.name, stopTimeout), err)
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu struct {
		sync.Mutex
		text []byte
	}
}

const tailSize = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.text = append(t.mu.text, b...)
	if over := len(t.mu.text) - tailSize; over > 0 {
		t.mu.text = append(t.mu.text[:0], t.mu.text[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.mu.text))
}
