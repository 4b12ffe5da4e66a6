package amqp

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
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
	peers.NeedProgram(t, rabbitDir+"rabbitmq-server")
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
		errs = append(errs, shared.shutDown(), os.RemoveAll(shared.Dir))
	}
	errs = append(errs, process.RemoveNaru())
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func (b *Broker) runner() *Runner {
	return &Runner{Addr: b.Addr, Restart: b.Restart, Patience: patience}
}
