package ws

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/narumq/naru/core/transport"
)

// Config are the settings of the adapter.
type Config struct {
	Enabled   bool       `yaml:"enabled" doc:"Whether WebSocket is served."`
	Listeners []Listener `yaml:"listeners" doc:"Where WebSocket is served, on any path. The sub-protocol decides what is spoken: mqtt, mqttv3.1 or amqp."`

	Origins        []string `yaml:"origins" reload:"true" doc:"Origins of web pages that may connect, such as https://app.example.com; '*' is any. Pages of the same host and of localhost may always. Programs that send no Origin are not asked for one."`
	MaxMessageSize int64    `yaml:"max_message_size" unit:"bytes" reload:"true" doc:"Largest WebSocket message from a client, both as sent and as inflated; a larger one closes its connection. How large a packet may be is a matter of its protocol."`
	Compression    bool     `yaml:"compression" reload:"true" doc:"Whether permessage-deflate is offered. It saves bytes where payloads are text, and costs several times the CPU."`
	Page           bool     `yaml:"page" reload:"true" doc:"Whether an example page that connects, subscribes and publishes is served at /."`
}

// A Listener is an address where WebSocket is served.
type Listener struct {
	transport.ListenConfig `yaml:",inline"`
	VHost                  string `yaml:"vhost" doc:"The vhost of clients whose user name does not name one (vhost:user)."`
}

// SetDefaults gives a listener what it need not be told.
func (l *Listener) SetDefaults() { l.VHost = "/" }

// DefaultConfig returns the settings that hold where nothing is configured.
func DefaultConfig() Config {
	return Config{
		Enabled:        true,
		Listeners:      []Listener{{transport.ListenConfig{Address: "127.0.0.1:8083"}, "/"}},
		MaxMessageSize: 256 << 20,
		Page:           true,
	}
}

// Validate checks the settings.
func (c *Config) Validate() error {
	var errs []error
	if c.MaxMessageSize < 1024 {
		errs = append(errs, errors.New("max_message_size must be at least 1024"))
	}
	for i, o := range c.Origins {
		if o == "*" {
			continue
		}
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			errs = append(errs, fmt.Errorf("origins.%d: %q is not of the form https://host", i, o))
		}
	}
	for i := range c.Listeners {
		if c.Listeners[i].VHost == "" {
			errs = append(errs, fmt.Errorf("listeners.%d: no vhost", i))
		}
	}
	return errors.Join(errs...)
}
