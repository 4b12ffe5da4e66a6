package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// tree is a configuration with everything the loader knows.
type tree struct {
	DataDir string              `yaml:"data_dir" doc:"Where the data is."`
	Log     Log                 `yaml:"log" doc:"Logging."`
	MQTT    mqttSection         `yaml:"mqtt" doc:"The MQTT adapter."`
	VHosts  map[string]vhost    `yaml:"vhosts" doc:"Virtual hosts by name."`
	Users   map[string]user     `yaml:"users" doc:"Users by name." reload:"true"`
	Labels  map[string]string   `yaml:"labels" doc:"Free text by name."`
	Tokens  map[string]string   `yaml:"tokens" doc:"Tokens by name." secret:"true"`
	Matrix  [][]string          `yaml:"matrix" doc:"Lists of lists."`
	Grid    [][]point           `yaml:"grid" doc:"Lists of lists of sections."`
	Groups  map[string][]string `yaml:"groups" doc:"Lists by name."`
}

type mqttSection struct {
	MaxPacketSize int64         `yaml:"max_packet_size" unit:"bytes" doc:"Largest packet."`
	MaxInflight   uint16        `yaml:"max_inflight" unit:"messages" doc:"Receive maximum."`
	KeepAlive     time.Duration `yaml:"keep_alive" reload:"true" doc:"Longest keep-alive; 0 is off."`
	Expiry        Duration      `yaml:"expiry" doc:"Session expiry."`
	Buffer        Size          `yaml:"buffer" doc:"Buffer."`
	Small         int8          `yaml:"small" doc:"A small number."`
	Ratio         float64       `yaml:"ratio" doc:"A ratio."`
	Anonymous     bool          `yaml:"anonymous" doc:"Whether anonymous clients are let in."`
	Versions      []string      `yaml:"versions" enum:"3.1,3.1.1,5" doc:"Versions spoken."`
	Timeouts      []Duration    `yaml:"timeouts" doc:"Some timeouts."`
	Ports         []int         `yaml:"ports" doc:"Some ports."`
	Nice          *int          `yaml:"nice" doc:"Maybe a number."`
	Motto         *string       `yaml:"motto" doc:"Maybe a text."`
	Source        netip.Addr    `yaml:"source" doc:"Address to bind."`
	Password      string        `yaml:"password" secret:"true" doc:"A password."`
	Pin           int           `yaml:"pin" secret:"true" doc:"A secret number."`
	Keys          []Secret      `yaml:"keys" doc:"Secret list."`
	Listeners     []listener    `yaml:"listeners" doc:"Where to listen."`
	Limits        *limits       `yaml:"limits" doc:"Limits, if any."`

	Chunk  int32      `yaml:"chunk" unit:"bytes" doc:"A small size."`
	Huge   uint64     `yaml:"huge" unit:"bytes" doc:"A large size."`
	Peer   netip.Addr `yaml:"peer" doc:"An address."`
	Escrow netip.Addr `yaml:"escrow" secret:"true" doc:"A secret address."`
	hidden int
	Ignore func() `yaml:"-"`
}

// Bind is merged into a listener, which overrides its Validate.
type Bind struct {
	Address string `yaml:"address" doc:"Host and port."`
	Backlog int    `yaml:"backlog" doc:"Backlog."`
}

func (b *Bind) SetDefaults() { b.Backlog = 128 }

func (b *Bind) Validate() error {
	if b.Address == "" {
		return errors.New("address is missing")
	}
	return nil
}

type listener struct {
	Bind     `yaml:",inline"`
	Mode     string `yaml:"mode" enum:"tcp,tls" doc:"Transport."`
	MaxConns int    `yaml:"max_conns" doc:"Connections."`
	TLS      *tls   `yaml:"tls" doc:"TLS, if any."`
}

func (l *listener) SetDefaults() { l.Mode, l.MaxConns = "tcp", 1000 }

func (l listener) Validate() error {
	if l.Mode == "tls" && l.TLS == nil {
		return errors.New("mode tls needs the section tls")
	}
	return nil
}

type tls struct {
	Cert string `yaml:"cert" doc:"Certificate file."`
	Key  Secret `yaml:"key" doc:"Private key."`
}

type limits struct {
	Rate  int `yaml:"rate" doc:"Rate."`
	Burst int `yaml:"burst" doc:"Burst."`
}

func (l *limits) SetDefaults() { l.Rate, l.Burst = 10, 20 }

func (l *limits) Validate() error {
	var errs []error
	if l.Rate < 1 {
		errs = append(errs, errors.New("rate must be positive"))
	}
	if l.Burst < l.Rate {
		errs = append(errs, errors.New("burst must be at least rate"))
	}
	return errors.Join(errs...)
}

type vhost struct {
	Policy struct {
		MaxLength int `yaml:"max_length" doc:"Longest queue."`
	} `yaml:"policy" doc:"Policy."`
}

type user struct {
	Password Secret   `yaml:"password" doc:"Password."`
	Tags     []string `yaml:"tags" doc:"Tags."`
}

type point struct {
	X int `yaml:"x" doc:"X."`
	Y int `yaml:"y" doc:"Y."`
}

func newTree() *tree {
	return &tree{
		DataDir: "./naru-data",
		Log:     Log{Level: "info", Format: "text"},
		MQTT: mqttSection{
			MaxPacketSize: 1 << 20, MaxInflight: 64, KeepAlive: time.Minute, Expiry: Duration(7 * day),
			Peer:      netip.MustParseAddr("192.0.2.7"),
			Versions:  []string{"3.1.1", "5"},
			Listeners: []listener{{Bind: Bind{Address: "127.0.0.1:1883", Backlog: 128}, Mode: "tcp", MaxConns: 1000}},
		},
		Users: map[string]user{"guest": {Password: "guest"}},
	}
}

func TestDefaultConfig(t *testing.T) {
	c := Default()
	if err := CheckDocs(&c); err != nil {
		t.Error(err)
	}
	if _, err := Load(&c, Sources{}); err != nil {
		t.Error(err)
	}
	if _, err := Load(&c, Sources{Set: []string{"data_dir="}}); err == nil || err.Error() != "data_dir: must not be empty" {
		t.Errorf("empty data_dir: %v", err)
	}
}

// TestValidate: what only the whole configuration can know is wrong is told with its
// path, and what is right is taken.
func TestValidate(t *testing.T) {
	const bob = "users:\n  bob:\n    certificate: true\n    "
	for text, want := range map[string]string{
		"vhosts: [{name: a}, {name: /}]\n" + bob + "vhosts: [a, /]":             "",
		"vhosts: [{name: a}, {name: b}, {name: a}]":                             `vhosts.2.name: there are two vhosts "a"`,
		"vhosts: [{queues: []}]":                                                "vhosts.0: no name",
		"vhosts: [{name: a, queues: [{max_length: 1}]}]":                        "vhosts.0.queues.0: no name",
		"vhosts: [{name: a, queues: [{name: q, max_length: -1}]}]":              "vhosts.0.queues.0: max_length and max_bytes must not be negative",
		"mqtt: {listeners: [{address: ':1', vhost: a}]}":                        `mqtt.listeners.0.vhost: there is no vhost "a"`,
		"mqtt: {listeners: [{address: ''}]}":                                    "mqtt.listeners.0: a listener needs an address",
		"amqp: {listeners: [{address: 5672}]}":                                  `amqp.listeners.0: address "5672" is not a host and a port, such as 127.0.0.1:1883, or :1883 for all addresses`,
		"ws: {listeners: [{address: ':1', vhost: a}]}":                          `ws.listeners.0.vhost: there is no vhost "a"`,
		bob + "vhosts: [a]":                                                     `users.bob.vhosts: there is no vhost "a"`,
		bob + "permissions: {a: {read: .*}}":                                    `users.bob.permissions: there is no vhost "a"`,
		bob + "permissions: {/: {read: .*}}":                                    "",
		bob + "topic_permissions: {a: {amq.topic: {read: .*}}}":                 `users.bob.topic_permissions: there is no vhost "a"`,
		"anonymous: {vhosts: [a]}":                                              `anonymous.vhosts: there is no vhost "a"`,
		"policies: [{name: p, pattern: x, vhost: a, definition: {expires: 1}}]": `policies.0.vhost: there is no vhost "a"`,
	} {
		c := Default()
		_, err := loadText(&c, text+"\n", Sources{})
		if got := fmt.Sprint(err); got != want && (want != "" || err != nil) {
			t.Errorf("%s\n%v\nwant %s", text, err, want)
		}
	}
}

var (
	_ defaulter                = (*listener)(nil)
	_ validator                = listener{}
	_ encoding.TextUnmarshaler = (*Size)(nil)
	_ encoding.TextMarshaler   = Size(0)
	_ encoding.TextUnmarshaler = (*Duration)(nil)
	_ encoding.TextMarshaler   = Duration(0)
)
