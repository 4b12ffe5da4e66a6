package amqp

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
)

// rabbit is the one RabbitMQ of this process.
var rabbit struct {
	sync.Once
	*Rabbit
	err error
}

// needRabbit starts RabbitMQ when a test first asks for it.
func needRabbit(t *testing.T) *Rabbit {
	t.Helper()
	if _, err := os.Stat(rabbitDir + "rabbitmq-server"); err != nil {
		if os.Getenv(requirePeers) == "1" {
			t.Fatalf("%v (.ci/peers installs it)", err)
		}
		t.Skipf("%v (.ci/peers installs it); with %s=1 this is a failure", err, requirePeers)
	}
	rabbit.Do(func() { rabbit.Rabbit, rabbit.err = startRabbit() })
	if rabbit.err != nil {
		t.Fatal(rabbit.err)
	}
	return rabbit.Rabbit
}

func TestMain(m *testing.M) {
	code := m.Run()
	var errs []error
	if rabbit.Rabbit != nil {
		errs = append(errs, rabbit.end())
	}
	if shared.Naru != nil {
		errs = append(errs, shared.shutDown(), os.RemoveAll(shared.dir))
	}
	if built.dir != "" {
		errs = append(errs, os.RemoveAll(built.dir))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func (b *Broker) runner() *Runner {
	return &Runner{Addr: b.Addr, Restart: b.Restart, Patience: patience}
}
