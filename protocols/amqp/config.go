package amqp

import (
	"errors"
	"fmt"
	"time"

	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// Config are the settings of the adapter.
type Config struct {
	Enabled   bool       `yaml:"enabled" doc:"Whether AMQP 0-9-1 is served."`
	Listeners []Listener `yaml:"listeners" doc:"Where AMQP is served."`

	FrameMax        int           `yaml:"frame_max" unit:"bytes" reload:"true" doc:"Largest frame, offered to clients, which may ask for less."`
	ChannelMax      int           `yaml:"channel_max" reload:"true" doc:"Channels that a connection may have open at a time."`
	Heartbeat       time.Duration `yaml:"heartbeat" reload:"true" doc:"Interval of heartbeats that is offered; the client decides. 0: none are offered."`
	MaxMessageSize  int           `yaml:"max_message_size" unit:"bytes" reload:"true" doc:"Largest body of a message; a larger one closes its channel with 406."`
	MaxConsumers    int           `yaml:"max_consumers" reload:"true" doc:"Consumers of one channel. 0: any number."`
	DefaultPrefetch int           `yaml:"default_prefetch" reload:"true" doc:"Unacknowledged messages of a consumer on a channel that has not said basic.qos. 0: any number."`
}

// A Listener is an address where AMQP is served. The vhost is the client's to
// choose.
type Listener struct {
	transport.ListenConfig `yaml:",inline"`
}

// DefaultConfig returns the settings that hold where nothing is configured.
func DefaultConfig() Config {
	return Config{
		Enabled:        true,
		Listeners:      []Listener{{transport.ListenConfig{Address: "127.0.0.1:5672"}}},
		FrameMax:       131072,
		ChannelMax:     2047,
		Heartbeat:      60 * time.Second,
		MaxMessageSize: 16 << 20,
	}
}

// maxMessage is a body that fits into a packet of MQTT with the longest topic.
const maxMessage = 255 << 20

// maxBody is a ceiling above which a content header is taken for nonsense.
const maxBody = 512 << 20

// Validate checks the settings.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.FrameMax < frame.MinFrameMax || c.FrameMax > 16<<20 {
		bad("frame_max must be from %d to %d", frame.MinFrameMax, 16<<20)
	}
	if c.ChannelMax < 1 || c.ChannelMax > 65535 {
		bad("channel_max must be from 1 to 65535")
	}
	if c.Heartbeat < 0 || c.Heartbeat > 65535*time.Second {
		bad("heartbeat must be from 0s to 65535s")
	}
	if c.MaxMessageSize < 1 || c.MaxMessageSize > maxMessage {
		bad("max_message_size must be from 1 to %d, which every protocol can carry", maxMessage)
	}
	if c.MaxConsumers < 0 {
		bad("max_consumers must not be negative")
	}
	if c.DefaultPrefetch < 0 || c.DefaultPrefetch > 65535 {
		bad("default_prefetch must be from 0 to 65535")
	}
	return errors.Join(errs...)
}
