package amqp

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

const (
	rabbitDir   = "/usr/lib/rabbitmq/bin/" // not the wrappers in /usr/sbin, which change to another user
	rabbitTried = "3.10.8"                 // the version that the scripts know
)

// A Rabbit is a RabbitMQ with an epmd of its own, so that it meets no other
// RabbitMQ of this machine.
type Rabbit struct {
	Broker
	epmd *exec.Cmd
	env  []string

	mu    sync.Mutex // guards what follows, and the process after its first start
	lives int        // how often it has been started again
}

// maxLives is how often a RabbitMQ that has ended by itself is started again.
const maxLives = 2

// again does what f does, and once more if RabbitMQ has crashed meanwhile: that
// says nothing about what it would have answered. It happens on a machine that is
// very busy.
func (r *Rabbit) again(tell func(format string, args ...any), f func() *Failure) *Failure {
	for {
		life := r.life()
		failure := f()
		if failure == nil || !r.revived(life, tell) {
			return failure
		}
	}
}

func (r *Rabbit) life() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lives
}

// revived starts RabbitMQ again if it has ended. It says whether there is another
// one than in this life.
func (r *Rabbit) revived(life int, tell func(format string, args ...any)) bool {
	r.mu.Lock()
	exited := r.Exited
	r.mu.Unlock()
	select {
	case <-exited:
	case <-time.After(500 * time.Millisecond): // the sockets of a process go before it has ended
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lives != life {
		return true
	}
	if r.Dead() == nil || r.lives == maxLives {
		return false
	}
	r.lives++
	tell("RabbitMQ is started again: %v", r.Dead())
	if err := r.Start(); err != nil {
		tell("it does not start: %v", err)
	}
	return true
}

// startRabbit starts RabbitMQ in a directory of its own, on free ports of the
// loopback interface, with no plugins but two types of exchange.
func startRabbit() (*Rabbit, error) {
	dir, err := os.MkdirTemp("", "rabbitmq-e2e")
	if err != nil {
		return nil, err
	}
	var last error
	for i := range 3 { // a port can be taken by somebody else before it is used
		r, err := configureRabbit(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		if err := r.epmd.Start(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		if last = r.Start(); last == nil {
			return r, nil
		}
		r.epmd.Process.Kill()
		r.epmd.Wait()
	}
	return nil, errors.Join(last, os.RemoveAll(dir))
}

func configureRabbit(dir string) (*Rabbit, error) {
	ports, err := process.FreePorts(3)
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	file := func(name string) string { return filepath.Join(dir, name) }
	if err := os.MkdirAll(file("home"), 0o700); err != nil {
		return nil, err
	}
	for name, content := range map[string]string{
		"enabled_plugins":  "[rabbitmq_consistent_hash_exchange, rabbitmq_random_exchange].\n",
		"definitions.json": rabbitDefinitions,
		"rabbitmq.conf":    fmt.Sprintf(rabbitConf, addr, file("definitions.json")),
	} {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	epmdPort := fmt.Sprint(ports[1])
	env := append(os.Environ(), "HOME="+file("home"), "LANG=C.UTF-8", "ERL_EPMD_PORT="+epmdPort,
		fmt.Sprintf("RABBITMQ_NODENAME=e2e-%d@localhost", ports[0]),
		"RABBITMQ_MNESIA_BASE="+file("mnesia"), "RABBITMQ_LOG_BASE="+file("log"),
		fmt.Sprint("RABBITMQ_DIST_PORT=", ports[2]),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+file("enabled_plugins"), "RABBITMQ_CONFIG_FILE="+file("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+file("none"), "RABBITMQ_CONF_ENV_FILE="+file("none"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+file("feature_flags"), "RABBITMQ_SCHEMA_DIR="+file("schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+file("config"), "RABBITMQ_PID_FILE="+file("pid"),
		"RABBITMQ_ALLOW_INPUT=1", // without it a shell stands between us and the process
	)
	command := func() *exec.Cmd {
		c := exec.Command(rabbitDir+"rabbitmq-server", "-noinput")
		c.Env, c.Dir = env, dir
		return c
	}
	epmd := exec.Command("epmd", "-port", epmdPort, "-address", "127.0.0.1")
	return &Rabbit{Broker: newBroker(dir, addr, command), epmd: epmd, env: env}, nil
}

// end stops RabbitMQ, its epmd, and removes its files.
func (r *Rabbit) end() error {
	err := r.Stop(syscall.SIGTERM)
	r.epmd.Process.Kill()
	r.epmd.Wait()
	return errors.Join(err, os.RemoveAll(filepath.Dir(r.Dir)))
}

// ctl runs rabbitmqctl, which takes a second or two.
func (r *Rabbit) ctl(args ...string) error {
	c := exec.Command(rabbitDir+"rabbitmqctl", args...)
	c.Env = r.env
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("rabbitmqctl %v: %w\n%s", args, err, out)
	}
	return nil
}

// The limit of a message's size is that of later versions.
const rabbitConf = `
listeners.tcp.1 = %s
distribution.listener.interface = 127.0.0.1
log.file = false
log.console = true
log.console.level = info
max_message_size = 16777216
load_definitions = %s
`

// rabbitDefinitions are the users and vhosts that the scripts count on. Naru is
// given the same in naruConf.
const rabbitDefinitions = `{
"users": [
	{"name": "guest", "password": "guest", "tags": ["administrator"]},
	{"name": "alice", "password": "secret", "tags": []},
	{"name": "actor", "password": "secret", "tags": ["impersonator"]},
	{"name": "few", "password": "secret", "tags": [], "limits": {"max-connections": 1, "max-channels": 2}},
	{"name": "stranger", "password": "secret", "tags": []}],
"vhosts": [{"name": "/"}, {"name": "policies"}, {"name": "small"}],
"permissions": [
	{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
	{"user": "guest", "vhost": "policies", "configure": ".*", "write": ".*", "read": ".*"},
	{"user": "guest", "vhost": "small", "configure": ".*", "write": ".*", "read": ".*"},
	{"user": "few", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
	{"user": "actor", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
	{"user": "alice", "vhost": "/", "configure": "^(conf|own)\\.", "write": "^(write|own)\\.|^amq\\.topic$", "read": "^(read|own)\\.|^amq\\.topic$"}],
"topic_permissions": [
	{"user": "alice", "vhost": "/", "exchange": "amq.topic", "write": "^ok\\.", "read": "^ok\\."}],
"policies": [
	{"vhost": "policies", "name": "length", "pattern": "length", "apply-to": "queues", "priority": 0,
		"definition": {"max-length": 10, "dead-letter-exchange": "amq.direct"}},
	{"vhost": "policies", "name": "ttl", "pattern": "ttl", "apply-to": "queues", "priority": 0,
		"definition": {"message-ttl": 100000, "max-length": 3, "overflow": "reject-publish"}}],
"parameters": [
	{"vhost": "small", "component": "vhost-limits", "name": "limits", "value": {"max-connections": 1, "max-queues": 1}},
	{"vhost": "policies", "component": "operator_policy", "name": "ttl", "value":
		{"pattern": "ttl", "apply-to": "queues", "priority": 0, "definition": {"message-ttl": 2000, "max-length": 5}}}]
}`
