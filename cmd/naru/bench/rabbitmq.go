package bench

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// rabbitmq is Debian's script without its wrapper, which would change to
// another user.
const rabbitmq = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// StartRabbitMQ starts Debian's RabbitMQ with its MQTT plugin on free loopback
// ports, with its data in dir and an epmd of its own, so that it meets no other
// of this machine. It has its defaults, without a log and without statistics.
func StartRabbitMQ(dir string) (Target, func() error, error) {
	fail := func(err error) (Target, func() error, error) {
		return Target{}, nil, fmt.Errorf("start rabbitmq: %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fail(err)
	}
	var addrs, ports [4]string
	for i := range addrs {
		if addrs[i], err = FreeAddr(); err != nil {
			return fail(err)
		}
		_, ports[i], _ = net.SplitHostPort(addrs[i])
	}
	amqp, mqtt, epmdPort, distPort := addrs[0], addrs[1], ports[2], ports[3]
	file := func(name string) string { return filepath.Join(dir, name) }
	for name, content := range map[string]string{
		"enabled_plugins": "[rabbitmq_mqtt].\n",
		"rabbitmq.conf": "listeners.tcp.1 = " + amqp + "\nmqtt.listeners.tcp.1 = " + mqtt +
			"\ndistribution.listener.interface = 127.0.0.1\nlog.file = false\nlog.console = true\nlog.console.level = error\n",
	} {
		if err := os.WriteFile(file(name), []byte(content), 0o600); err != nil {
			return fail(err)
		}
	}
	epmd := exec.Command("epmd", "-port", epmdPort, "-address", "127.0.0.1")
	if err := epmd.Start(); err != nil {
		return fail(err)
	}
	server := exec.Command(rabbitmq, "-noinput")
	server.Dir = dir
	server.Env = append(os.Environ(), "HOME="+dir, "LANG=C.UTF-8", "ERL_EPMD_PORT="+epmdPort, "RABBITMQ_DIST_PORT="+distPort,
		"RABBITMQ_NODENAME=bench-"+ports[0]+"@localhost",
		"RABBITMQ_MNESIA_BASE="+file("mnesia"), "RABBITMQ_LOG_BASE="+file("log"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+file("enabled_plugins"), "RABBITMQ_CONFIG_FILE="+file("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+file("none"), "RABBITMQ_CONF_ENV_FILE="+file("none"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+file("feature_flags"), "RABBITMQ_SCHEMA_DIR="+file("schema"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+file("config"), "RABBITMQ_PID_FILE="+file("pid"),
		"RABBITMQ_ALLOW_INPUT=1", // without it a shell stands between us and the process
	)
	endEpmd := func() error {
		err := epmd.Process.Kill()
		_ = epmd.Wait() // that it was killed is no news
		return err
	}
	t, stop, err := startProcess("rabbitmq", server, amqp, mqtt)
	if err != nil {
		return Target{}, nil, errors.Join(err, endEpmd())
	}
	t.Addr, t.AMQP, t.User, t.Password = mqtt, amqp, "guest", "guest"
	return t, func() error { return errors.Join(stop(), endEpmd()) }, nil
}
