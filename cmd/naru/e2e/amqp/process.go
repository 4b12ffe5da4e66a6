package amqp

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// A Broker is a broker process under test, with a data directory and a port of
// its own. It can be stopped and started again on the same data.
type Broker struct {
	Addr string // of the AMQP listener

	dir     string
	command func() *exec.Cmd // a new command that runs it in the foreground
	proc    *exec.Cmd
	exited  chan struct{} // closed by wait
}

// startTime is how long a broker may take to listen, stopTime to stop.
// RabbitMQ takes ten seconds where there is little else to do.
const (
	startTime = 90 * time.Second
	stopTime  = 60 * time.Second
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
	go wait(b.proc, b.exited)
	for deadline := time.Now().Add(startTime); ; {
		c, err := net.Dial("tcp", b.Addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-b.exited:
			return fmt.Errorf("the broker has exited:\n%s", b.Log())
		case <-time.After(10 * time.Millisecond): // there is no signal of readiness to wait for
		}
		if time.Now().After(deadline) {
			b.stop(os.Kill)
			return fmt.Errorf("nobody listens on %s:\n%s", b.Addr, b.Log())
		}
	}
}

func wait(proc *exec.Cmd, exited chan struct{}) {
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

// Restart stops the broker and starts it again on the same data and port.
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

func (b *Broker) log() string { return filepath.Join(b.dir, "log.txt") }

// Log is the end of what the broker has written, or how it has crashed.
func (b *Broker) Log() string {
	text, err := os.ReadFile(b.log())
	if err != nil {
		return err.Error()
	}
	for _, crash := range []string{"panic: ", "fatal error: "} {
		if i := bytes.Index(text, []byte(crash)); i >= 0 {
			lines := bytes.SplitAfter(text[i:], []byte("\n"))
			return string(bytes.Join(lines[:min(40, len(lines))], nil))
		}
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], nil))
}

// Dead says how the broker has ended, nil as long as it runs.
func (b *Broker) Dead() error {
	select {
	case <-b.exited:
		return fmt.Errorf("the broker has exited:\n%s", b.Log())
	default:
		return nil
	}
}

// freePorts finds ports that nobody listens on.
func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
