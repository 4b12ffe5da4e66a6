package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/plugins/authfile"
	"github.com/narumq/naru/plugins/operator"
	"github.com/narumq/naru/plugins/prometheus"
	"github.com/narumq/naru/protocols/amqp"
	"github.com/narumq/naru/protocols/mqtt"
	"github.com/narumq/naru/protocols/ws"
)

// Config is the whole configuration of a broker: one field for each section of
// the file. The structs of the sections stand in the packages that own them.
type Config struct {
	DataDir   string            `yaml:"data_dir" doc:"Directory that holds the broker's data; relative paths start from the working directory."`
	Log       Log               `yaml:"log" doc:"What is logged, and in which form."`
	Store     Store             `yaml:"store" doc:"How data is kept."`
	Bus       core.Config       `yaml:"bus" doc:"Limits of the message bus."`
	Transport transport.Config  `yaml:"transport" doc:"Limits of connections."`
	VHosts    []VHost           `yaml:"vhosts" doc:"Namespaces of queues, sessions, retained messages and rights. The vhost / is always there; one that is taken out of here stays while something durable is in it."`
	Auth      authfile.Config   `yaml:",inline"`
	MQTT      mqtt.Config       `yaml:"mqtt" doc:"The MQTT adapter."`
	AMQP      amqp.Config       `yaml:"amqp" doc:"The AMQP 0-9-1 adapter."`
	Metrics   prometheus.Config `yaml:"metrics" doc:"Health and metrics over HTTP, for this machine."`
	WS        ws.Config         `yaml:"ws" doc:"MQTT and AMQP over WebSocket."`
	Operator  operator.Config   `yaml:"operator" doc:"The operator's command line."`

	Policies         []Policy `yaml:"policies" reload:"true" doc:"Properties of queues and exchanges by their names, on top of those they are declared with. Of a number that both say, the lesser one counts; of the rest, what a queue was declared with."`
	OperatorPolicies []Policy `yaml:"operator_policies" reload:"true" doc:"Policies that bound what policies and declarations ask for: of a number, the lesser one counts; of overflow, this one and not that of a policy."`
}

// Log is the section log.
type Log struct {
	Level  string `yaml:"level" enum:"debug,info,warn,error" reload:"true" doc:"Least severe level that is written."`
	Format string `yaml:"format" enum:"text,json" doc:"Form of a log line."`
}

// Store is the section store.
type Store struct {
	Engine       string        `yaml:"engine" enum:"pebble,memory" doc:"Where data is: in data_dir, or in memory, where it ends with the process."`
	Sync         string        `yaml:"sync" enum:"always,interval,os" doc:"What an acknowledgement means. always: on disk (fsync). interval: on disk within sync_interval. os: with the operating system."`
	SyncInterval time.Duration `yaml:"sync_interval" doc:"With sync interval: how often."`
	Cache        int64         `yaml:"cache" unit:"bytes" doc:"Memory for blocks read from disk."`
	MemTable     int64         `yaml:"mem_table" unit:"bytes" doc:"Memory in which writes gather before they become a table; up to four times as much may be in use."`
}

// VHost is an element of the section vhosts.
type VHost struct {
	Name   string  `yaml:"name" doc:"The name."`
	Queues []Queue `yaml:"queues" doc:"Queues that are declared at the start, if they are not there. One that a client has declared with arguments stays as it is; of others length, bytes and overflow become these. Bindings are added and never removed, and no queue is deleted."`

	MaxConnections int `yaml:"max_connections" doc:"Connections at the same time. Negative: any number; 0: none."`
	MaxQueues      int `yaml:"max_queues" doc:"Queues that there may be. Negative: any number; 0: none but those above."`
}

// SetDefaults gives a vhost what it need not be told.
func (v *VHost) SetDefaults() { v.MaxConnections, v.MaxQueues = core.Unlimited, core.Unlimited }

// Queue is a queue that is declared at the start.
type Queue struct {
	Name      string    `yaml:"name" doc:"The name, at most 255 bytes."`
	Durable   bool      `yaml:"durable" doc:"Whether it survives a restart, with the persistent messages in it."`
	MaxLength int64     `yaml:"max_length" doc:"Messages that may wait in it. 0: any number."`
	MaxBytes  int64     `yaml:"max_bytes" unit:"bytes" doc:"Bytes of payload that may wait in it. 0: any number."`
	Overflow  string    `yaml:"overflow" enum:"drop-head,reject-publish" doc:"What a full queue does."`
	Bindings  []Binding `yaml:"bindings" doc:"What leads to it, beside the default exchange."`
}

// SetDefaults gives a queue what it need not be told.
func (q *Queue) SetDefaults() { q.Durable, q.Overflow = true, "drop-head" }

// Binding leads from an exchange to a queue.
type Binding struct {
	Exchange string `yaml:"exchange" doc:"The exchange: amq.topic, amq.direct or amq.fanout."`
	Key      string `yaml:"key" doc:"The key, or for amq.topic a pattern such as sensors/+/temperature."`
	Syntax   string `yaml:"syntax" enum:"mqtt,amqp" doc:"How a pattern is written: mqtt (a/+/#) or amqp (a.*.#)."`
}

// SetDefaults gives a binding what it need not be told.
func (b *Binding) SetDefaults() { b.Exchange, b.Syntax = "amq.topic", "mqtt" }

// Default is the configuration of a broker that was told nothing.
func Default() Config {
	return Config{
		DataDir:   "./naru-data",
		Log:       Log{Level: "info", Format: "text"},
		Store:     Store{Engine: "pebble", Sync: "always", SyncInterval: time.Second, Cache: 32 << 20, MemTable: 16 << 20},
		Bus:       core.DefaultConfig(),
		Transport: transport.DefaultConfig(),
		Auth:      authfile.DefaultConfig(),
		MQTT:      mqtt.DefaultConfig(),
		AMQP:      amqp.DefaultConfig(),
		Metrics:   prometheus.DefaultConfig(),
		WS:        ws.DefaultConfig(),
		Operator:  operator.DefaultConfig(),
	}
}

// Validate reports what no single section can know.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.DataDir == "" {
		bad("data_dir: must not be empty")
	}
	if c.Store.SyncInterval <= 0 {
		bad("store.sync_interval: must be positive")
	}
	names := make(map[string]bool)
	for i, v := range c.VHosts {
		switch {
		case v.Name == "":
			bad("vhosts.%d: no name", i)
		case names[v.Name]:
			bad("vhosts.%d.name: there are two vhosts %q", i, v.Name)
		}
		names[v.Name] = true
		for j, q := range v.Queues {
			if q.Name == "" {
				bad("vhosts.%d.queues.%d: no name", i, j)
			}
			if q.MaxLength < 0 || q.MaxBytes < 0 {
				bad("vhosts.%d.queues.%d: max_length and max_bytes must not be negative", i, j)
			}
		}
	}
	names["/"] = true
	there := func(vhost, format string, args ...any) {
		if !names[vhost] {
			bad("%s: there is no vhost %q", fmt.Sprintf(format, args...), vhost)
		}
	}
	for i, l := range c.MQTT.Listeners {
		there(l.VHost, "mqtt.listeners.%d.vhost", i)
	}
	for i, l := range c.WS.Listeners {
		there(l.VHost, "ws.listeners.%d.vhost", i)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Auth.Users)) {
		u := c.Auth.Users[name]
		for _, v := range given(u.VHosts) {
			there(v, "users.%s.vhosts", name)
		}
		for _, v := range slices.Sorted(maps.Keys(given(u.Permissions))) {
			there(v, "users.%s.permissions", name)
		}
		for _, v := range slices.Sorted(maps.Keys(u.TopicPermissions)) {
			there(v, "users.%s.topic_permissions", name)
		}
	}
	for _, v := range given(c.Auth.Anonymous.VHosts) {
		there(v, "anonymous.vhosts")
	}
	if _, err := c.CorePolicies(); err != nil {
		errs = append(errs, err)
	}
	for i, p := range c.Policies {
		there(p.VHost, "policies.%d.vhost", i)
	}
	for i, p := range c.OperatorPolicies {
		there(p.VHost, "operator_policies.%d.vhost", i)
	}
	return errors.Join(errs...)
}

// CheckFiles reads the files that the listeners name, as they do when the node
// starts: the error is what it would not start for. doubts is what it would tell
// as a warning. Of a protocol that is not served no file is looked at then or now.
func (c *Config) CheckFiles() (doubts []string, err error) {
	var errs []error
	check := func(enabled bool, path string, i int, l transport.ListenConfig) {
		if !enabled || l.TLS == nil {
			return
		}
		path = fmt.Sprintf("%s.listeners.%d.tls", path, i)
		found, err := l.TLS.CheckFiles()
		for _, d := range found {
			doubts = append(doubts, path+": "+d)
		}
		for _, err := range parts(err) {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	for i, l := range c.MQTT.Listeners {
		check(c.MQTT.Enabled, "mqtt", i, l.ListenConfig)
	}
	for i, l := range c.AMQP.Listeners {
		check(c.AMQP.Enabled, "amqp", i, l.ListenConfig)
	}
	carries := c.MQTT.Enabled || c.AMQP.Enabled // else WebSocket is not served
	for i, l := range c.WS.Listeners {
		check(c.WS.Enabled && carries, "ws", i, l.ListenConfig)
	}
	return doubts, errors.Join(errs...)
}

// given is what p points at, or nothing.
func given[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
