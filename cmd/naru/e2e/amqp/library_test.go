package amqp

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

const (
	python     = "/usr/bin/python3" // Debian's, which has Debian's pika
	pikaPy     = "../clients/amqp_pika.py"
	amqplibJS  = "../clients/amqp_amqplib.js"
	amqplibMod = "../clients/node_modules/amqplib"
)

// everyBroker runs a test against RabbitMQ and against Naru, which must behave
// alike.
func everyBroker(t *testing.T, test func(t *testing.T, b *Broker)) {
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		test(t, &needRabbit(t).Broker)
	})
	t.Run("naru", func(t *testing.T) {
		t.Parallel()
		test(t, needNaru(t))
	})
}

// TestPika: what applications do by pika.
func TestPika(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command(python, "-c", "import pika").CombinedOutput(); err != nil {
		peers.Need(t, fmt.Errorf("pika: %w\n%s", err, out))
	}
	everyBroker(t, func(t *testing.T, b *Broker) { scenarios(t, b, python, pikaPy) })
}

// TestAmqplib: what applications do by amqplib for Node.
func TestAmqplib(t *testing.T) {
	t.Parallel()
	_, err := os.Stat(amqplibMod)
	peers.Need(t, err)
	everyBroker(t, func(t *testing.T, b *Broker) { scenarios(t, b, "node", amqplibJS) })
}

// scenarios runs a program that tells, scenario by scenario, what went wrong.
func scenarios(t *testing.T, b *Broker, interpreter, file string) {
	host, port, err := net.SplitHostPort(b.Addr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, file, host, port, fmt.Sprintf("lib%d", plays.Add(1)))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	told := 0
	for lines := bufio.NewScanner(out); lines.Scan(); told++ {
		var scenario struct{ Name, Error string }
		if err := json.Unmarshal(lines.Bytes(), &scenario); err != nil {
			t.Errorf("%q: %v", lines.Text(), err)
			continue
		}
		t.Run(scenario.Name, func(t *testing.T) {
			if scenario.Error != "" {
				t.Error(scenario.Error)
			}
		})
	}
	if err := cmd.Wait(); err != nil || told < 20 {
		t.Errorf("%d scenarios were told of, then: %v\n%s", told, err, &stderr)
	}
}
