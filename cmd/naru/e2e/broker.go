package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// A Broker is a broker process under test, with a data directory and ports of
// its own. It can be stopped and started again on the same data.
type Broker struct {
	MQTT string // address of the MQTT listener
	WS   string // address of the WebSocket listener, "" if it has none
	AMQP string // address of the AMQP listener, "" if it has none
	// Metrics is where health and metrics are, "" if nowhere.
	Metrics string

	dir     string
	command func() *exec.Cmd // a new command that runs it in the foreground
	proc    *exec.Cmd
	exited  chan struct{} // closed by waitProcess
}

// startTime is how long a broker may take to listen, stopTime to stop.
const (
	startTime = 20 * time.Second
	stopTime  = 20 * time.Second
)

// start runs the process and waits until it listens.
func (b *Broker) start() error {
	log, err := os.OpenFile(b.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	b.proc = b.command()
	b.proc.Stdout, b.proc.Stderr = log, log
	if err := b.proc.Start(); err != nil {
		return err
	}
	b.exited = make(chan struct{})
	go b.waitProcess(b.proc, b.exited)
	deadline := time.Now().Add(startTime)
	for _, addr := range []string{b.MQTT, b.WS, b.AMQP} {
		for addr != "" {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-b.exited:
				return fmt.Errorf("the broker has exited:\n%s", b.Log())
			case <-time.After(10 * time.Millisecond): // there is no signal of readiness to wait for
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("nobody listens on %s:\n%s", addr, b.Log())
			}
		}
	}
	return nil
}

func (b *Broker) waitProcess(proc *exec.Cmd, exited chan struct{}) {
	proc.Wait()
	close(exited)
}

// stop ends the process by its pid and waits for it.
func (b *Broker) stop(sig os.Signal) error {
	if err := b.proc.Process.Signal(sig); err != nil {
		return fmt.Errorf("the broker has exited:\n%s", b.Log())
	}
	select {
	case <-b.exited:
		return nil
	case <-time.After(stopTime):
		b.proc.Process.Kill()
		<-b.exited
		return fmt.Errorf("the broker ignores %v:\n%s", sig, b.Log())
	}
}

// Restart stops the broker and starts it again on the same data and ports.
func (b *Broker) Restart(kill bool) error {
	sig := os.Signal(syscall.SIGTERM)
	if kill {
		sig = os.Kill
	}
	if err := b.stop(sig); err != nil {
		return err
	}
	return b.start()
}

// Runner plays scripts against this broker.
func (b *Broker) Runner() *Runner {
	return &Runner{Dial: b.dial, Restart: b.Restart, Patience: 5 * time.Second}
}

func (b *Broker) dial(transport string) (net.Conn, error) {
	addr := b.MQTT
	if transport == "ws" {
		addr = b.WS
	}
	if addr == "" {
		return nil, errors.New("this broker has no WebSocket listener")
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		select {
		case <-b.exited:
			return nil, fmt.Errorf("the broker has exited:\n%s", b.Log())
		default:
		}
	}
	return c, err
}

func (b *Broker) log() string { return filepath.Join(b.dir, "log") }

// Log is the end of what the broker has written.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.log())
	if err != nil {
		return err.Error()
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], nil))
}

// run starts a broker made by configure, which is given the directory and free
// ports, and stops it with the test. A port can be taken by somebody else
// between the search for it and its use; then others are tried. The test may be
// one whose subtests are asking, so failing it is left to the caller.
func run(t *testing.T, configure func(dir string, ports [2]int) (*Broker, error)) (*Broker, error) {
	var last error
	for range 3 {
		dir := t.TempDir()
		ports, err := freePorts()
		if err != nil {
			return nil, err
		}
		b, err := configure(dir, ports)
		if err != nil {
			return nil, err
		}
		b.dir = dir
		if last = b.start(); last == nil {
			t.Cleanup(func() { b.cleanUp(t) })
			return b, nil
		}
		if b.exited != nil {
			b.proc.Process.Kill()
			<-b.exited
		}
	}
	return nil, fmt.Errorf("start the broker: %w", last)
}

// cleanUp stops the broker in the ordinary way: one that cannot is a failure.
func (b *Broker) cleanUp(t *testing.T) {
	select {
	case <-b.exited:
		t.Errorf("the broker has exited:\n%s", b.Log())
		return
	default:
	}
	if err := b.stop(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// freePorts finds two ports that nobody listens on.
func freePorts() (ports [2]int, err error) {
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports, err
		}
		defer l.Close()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
