package amqp

import (
	"os/exec"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

// A Broker is a broker under test.
type Broker struct {
	process.Process
	Addr string // of the AMQP listener
}

// startTime is how long a broker may take to listen, stopTime to stop.
// RabbitMQ takes ten seconds where there is little else to do.
const (
	startTime = 90 * time.Second
	stopTime  = 60 * time.Second
)

func newBroker(dir, addr string, command func() *exec.Cmd) Broker {
	return Broker{Addr: addr, Process: process.Process{
		Dir: dir, Command: command, Addrs: []string{addr}, StartTime: startTime, StopTime: stopTime,
	}}
}
