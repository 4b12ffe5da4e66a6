// Package process runs brokers under test. Each is a process with a directory,
// ports and a log of its own, which is stopped by its pid and can be started
// again on the same data.
package process

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/narumq/naru/cmd/naru/bench"
)

// A Process is started for the first time when all but its last fields are set.
type Process struct {
	Dir       string
	Command   func() *exec.Cmd // a new command that runs it in the foreground
	Addrs     []string         // where it listens when it has started
	StartTime time.Duration    // how long it may take to listen
	StopTime  time.Duration    // how long it may take to stop

	Cmd    *exec.Cmd     // the command that runs, or ran last
	Exited chan struct{} // closed when it has ended, by wait
}

// Start runs the process and waits until it listens. If it does not, the
// process is ended.
func (p *Process) Start() error {
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.Cmd = p.Command()
	p.Cmd.Stdout, p.Cmd.Stderr = log, log
	if err := p.Cmd.Start(); err != nil {
		return err
	}
	p.Exited = make(chan struct{})
	go wait(p.Cmd, p.Exited)
	deadline := time.Now().Add(p.StartTime)
	for _, addr := range p.Addrs {
		for !listens(addr) {
			select {
			case <-p.Exited:
				return p.Dead()
			case <-time.After(10 * time.Millisecond): // there is no signal of readiness to wait for
			}
			if time.Now().After(deadline) {
				p.Stop(os.Kill)
				return fmt.Errorf("nobody listens on %s:\n%s", addr, p.Log())
			}
		}
	}
	return nil
}

func listens(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return false
	}
	c.Close()
	return true
}

func wait(cmd *exec.Cmd, exited chan struct{}) {
	cmd.Wait()
	close(exited)
}

// Stop ends the process and waits for it.
func (p *Process) Stop(sig os.Signal) error {
	if err := p.Cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("the broker has exited:\n%s", p.Log())
	}
	select {
	case <-p.Exited:
		return nil
	case <-time.After(p.StopTime):
		p.Cmd.Process.Kill()
		<-p.Exited
		return fmt.Errorf("the broker ignores %v:\n%s", sig, p.Log())
	}
}

// Restart stops the process and starts it again on the same data and ports.
func (p *Process) Restart(kill bool) error {
	sig := os.Signal(syscall.SIGTERM)
	if kill {
		sig = os.Kill
	}
	if err := p.Stop(sig); err != nil {
		return err
	}
	return p.Start()
}

// Dead says how the process has ended, nil as long as it runs.
func (p *Process) Dead() error {
	select {
	case <-p.Exited:
		return fmt.Errorf("the broker has exited:\n%s", p.Log())
	default:
		return nil
	}
}

// LogFile is where everything is that the process has written.
func (p *Process) LogFile() string { return filepath.Join(p.Dir, "log.txt") }

// Log is the end of what the process has written, or how it has crashed.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.LogFile())
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

// FreePorts finds ports that nobody listens on.
func FreePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = bench.FreePort(); err != nil {
			return nil, err
		}
	}
	return ports, nil
}
