package e2e

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

// A Broker is a broker under test.
type Broker struct {
	process.Process
	MQTT string // address of the MQTT listener
	WS   string // address of the WebSocket listener, "" if it has none
	AMQP string // address of the AMQP listener, "" if it has none
	// Metrics is where health and metrics are, "" if nowhere.
	Metrics string

	command func() *exec.Cmd // of its Process, which run adds
}

// startTime is how long a broker may take to listen, stopTime to stop.
const (
	startTime = 20 * time.Second
	stopTime  = 20 * time.Second
)

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
	if err != nil && b.Dead() != nil {
		return nil, b.Dead()
	}
	return c, err
}

// run starts a broker made by configure, which is given the directory and free
// ports, and stops it with the test. A port can be taken by somebody else
// between the search for it and its use; then others are tried. The test may be
// one whose subtests are asking, so failing it is left to the caller.
func run(t *testing.T, configure func(dir string, ports [2]int) (*Broker, error)) (*Broker, error) {
	var last error
	for range 3 {
		dir := t.TempDir()
		ports, err := process.FreePorts(2)
		if err != nil {
			return nil, err
		}
		b, err := configure(dir, [2]int(ports))
		if err != nil {
			return nil, err
		}
		b.Process = process.Process{
			Dir: dir, Command: b.command, StartTime: startTime, StopTime: stopTime,
			Addrs: slices.DeleteFunc([]string{b.MQTT, b.WS, b.AMQP}, func(addr string) bool { return addr == "" }),
		}
		if last = b.Start(); last == nil {
			t.Cleanup(func() { b.cleanUp(t) })
			return b, nil
		}
	}
	return nil, fmt.Errorf("start the broker: %w", last)
}

// cleanUp stops the broker in the ordinary way: one that cannot is a failure.
func (b *Broker) cleanUp(t *testing.T) {
	err := b.Dead()
	if err == nil {
		err = b.Stop(syscall.SIGTERM)
	}
	if err != nil {
		t.Error(err)
	}
}
