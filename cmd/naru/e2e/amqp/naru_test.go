package amqp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
	"github.com/narumq/naru/plugins/authfile"
)

// A Naru is a Naru of this tree with an AMQP listener.
type Naru struct {
	Broker
	conf string // text of its configuration
}

// shared is the Naru that tests share which do nothing to it.
var shared struct {
	sync.Once
	*Naru
	err error
}

// needNaru starts it when a test first asks.
func needNaru(t *testing.T) *Broker {
	t.Helper()
	shared.Do(func() {
		var dir string
		if dir, shared.err = os.MkdirTemp("", "naru-e2e"); shared.err == nil {
			shared.Naru, shared.err = startNaru(dir)
		}
	})
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if err := shared.Dead(); err != nil {
		t.Fatal(err)
	}
	return &shared.Broker
}

// ownNaru starts one for a test that does something to it.
func ownNaru(t *testing.T) *Naru {
	t.Helper()
	n, err := startNaru(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if n.Dead() != nil {
			return
		}
		if err := n.shutDown(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func startNaru(dir string) (*Naru, error) {
	binary, err := process.Naru()
	if err != nil {
		return nil, err
	}
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	users, err := naruUsers()
	if err != nil {
		return nil, err
	}
	addr, file := fmt.Sprintf("127.0.0.1:%d", ports[0]), filepath.Join(dir, "naru.yaml")
	conf := fmt.Sprintf(naruConf, dir, addr) + users
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	command := func() *exec.Cmd { return exec.Command(binary, "serve", "--config", file) }
	n := &Naru{newBroker(dir, addr, command), conf}
	return n, n.Start()
}

// naruConf gives what rabbitDefinitions gives to RabbitMQ.
const naruConf = `
data_dir: %s/data
bus: {min_free_disk: 0}
log: {level: debug}
metrics: {enabled: false}
mqtt: {enabled: false}
ws: {enabled: false}
amqp: {listeners: [{address: "%s"}]}
vhosts: [{name: policies}, {name: small, max_connections: 1, max_queues: 1}]
policies:
  - {vhost: policies, name: length, pattern: length, apply_to: queues, definition: {max-length: 10, dead-letter-exchange: amq.direct}}
  - {vhost: policies, name: ttl, pattern: ttl, apply_to: queues, definition: {message-ttl: 100000, max-length: 3, overflow: reject-publish}}
operator_policies:
  - {vhost: policies, name: ttl, pattern: ttl, apply_to: queues, definition: {message-ttl: 2000, max-length: 5}}
`

func naruUsers() (string, error) {
	var b strings.Builder
	b.WriteString("users:\n")
	for _, u := range []struct{ name, password, more string }{
		{"guest", "guest", ""},
		{"alice", "secret", `, permissions: {/: {configure: '^(conf|own)\.', write: '^(write|own)\.|^amq\.topic$', ` +
			`read: '^(read|own)\.|^amq\.topic$'}}, topic_permissions: {/: {amq.topic: {write: '^ok\.', read: '^ok\.'}}}`},
		{"actor", "secret", ", tags: [impersonator]"},
		{"few", "secret", ", max_connections: 1, max_channels: 2"},
		{"stranger", "secret", ", permissions: {}"},
	} {
		hash, err := authfile.HashPassword([]byte(u.password))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "  %s: {password: %q%s}\n", u.name, hash, u.more)
	}
	return b.String(), nil
}

// shortOfDisk makes it believe that its disk is full, or that it is not, and
// returns when it does.
func (n *Naru) shortOfDisk(short bool) error {
	conf := n.conf
	if short {
		conf = strings.Replace(conf, "min_free_disk: 0", "min_free_disk: 1000TiB", 1)
	}
	if err := os.WriteFile(filepath.Join(n.Dir, "naru.yaml"), []byte(conf), 0o600); err != nil {
		return err
	}
	before, err := n.alarms()
	if err != nil {
		return err
	}
	if err := n.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	for deadline := time.Now().Add(startTime); ; time.Sleep(20 * time.Millisecond) { // between two looks at the log
		now, err := n.alarms()
		if err != nil || now > before {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no change of the alarm:\n%s", n.Log())
		}
	}
}

// alarms counts what the log says of the disk alarm, raised and cleared.
func (n *Naru) alarms() (int, error) {
	text, err := os.ReadFile(n.LogFile())
	return strings.Count(string(text), "alarm=disk"), err
}

// shutDown ends it in the orderly way.
func (n *Naru) shutDown() error { return n.Stop(syscall.SIGTERM) }
