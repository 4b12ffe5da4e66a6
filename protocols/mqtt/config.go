package mqtt

import (
	"errors"
	"fmt"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// Config are the settings of the adapter.
type Config struct {
	Enabled   bool       `yaml:"enabled" doc:"Whether MQTT is served."`
	Listeners []Listener `yaml:"listeners" doc:"Where MQTT is served."`

	MaxPacketSize            int           `yaml:"max_packet_size" unit:"bytes" reload:"true" doc:"Largest packet taken from a client; a larger one closes its connection."`
	MaxInflight              int           `yaml:"max_inflight" reload:"true" doc:"Messages sent to a client at QoS 1 and 2 that it has not acknowledged; more wait."`
	MaxInboundQoS2           int           `yaml:"max_inbound_qos2" reload:"true" doc:"QoS 2 messages of a client that it has not released; one more closes its connection."`
	MaxKeepAlive             time.Duration `yaml:"max_keep_alive" reload:"true" doc:"Longest keep-alive; it holds for clients that ask for a longer one, or for none (0). 0: no ceiling."`
	MaxSubscriptions         int           `yaml:"max_subscriptions" reload:"true" doc:"Subscriptions of one session. 0: any number."`
	MaxTopicLevels           int           `yaml:"max_topic_levels" reload:"true" doc:"Levels of a topic or filter, that is one more than it has slashes; $share and the group count. A deeper filter is refused with SUBACK 0x80, a deeper topic or will topic closes the connection. 0: any number."`
	MaxClientIDLength        int           `yaml:"max_client_id_length" reload:"true" doc:"Longest client identifier, in bytes."`
	MaxQueuedMessages        int64         `yaml:"max_queued_messages" reload:"true" doc:"Messages that wait for one session; see queue_overflow. 0: as many as the disk takes."`
	MaxQueuedBytes           int64         `yaml:"max_queued_bytes" unit:"bytes" reload:"true" doc:"Bytes of payload that wait for one session; see queue_overflow. 0: as many as the disk takes."`
	QueueOverflow            string        `yaml:"queue_overflow" enum:"drop-head,reject-publish" reload:"true" doc:"What a full session queue does: drop the oldest message that was never sent, or leave the new one unacknowledged."`
	MessageExpiry            time.Duration `yaml:"message_expiry" reload:"true" doc:"Time a message may wait in a session queue. 0: for ever."`
	SessionExpiry            time.Duration `yaml:"session_expiry" reload:"true" doc:"Time a persistent session (clean session 0) lives without its client. 0: for ever."`
	DisconnectOnUnauthorized bool          `yaml:"disconnect_on_unauthorized" reload:"true" doc:"Close the connection of a client that publishes without right, instead of acknowledging and dropping the message."`
	SysInterval              time.Duration `yaml:"sys_interval" doc:"How often the topics under $SYS are published. 0: never."`
}

// A Listener is an address where MQTT is served.
type Listener struct {
	transport.ListenConfig `yaml:",inline"`
	VHost                  string `yaml:"vhost" doc:"The vhost of clients whose user name does not name one (vhost:user)."`
}

// SetDefaults gives a listener what it need not be told.
func (l *Listener) SetDefaults() { l.VHost = "/" }

// DefaultConfig returns the settings that hold where nothing is configured.
func DefaultConfig() Config {
	return Config{
		Enabled:           true,
		Listeners:         []Listener{{transport.ListenConfig{Address: "127.0.0.1:1883"}, "/"}},
		MaxPacketSize:     packet.MaxLength + packet.MaxHeader,
		MaxInflight:       100,
		MaxInboundQoS2:    65535,
		MaxSubscriptions:  65536,
		MaxTopicLevels:    200,
		MaxClientIDLength: 65535,
		QueueOverflow:     "drop-head",
		SysInterval:       10 * time.Second,
	}
}

// Validate checks the settings.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.MaxPacketSize < 64 || c.MaxPacketSize > packet.MaxLength+packet.MaxHeader {
		bad("max_packet_size must be from 64 to %d", packet.MaxLength+packet.MaxHeader)
	}
	if c.MaxInflight < 1 || c.MaxInflight > foreignIDs {
		bad("max_inflight must be from 1 to %d", foreignIDs)
	}
	if c.MaxInboundQoS2 < 1 || c.MaxInboundQoS2 > 65535 {
		bad("max_inbound_qos2 must be from 1 to 65535")
	}
	if c.MaxClientIDLength < 23 || c.MaxClientIDLength > 65535 {
		bad("max_client_id_length must be from 23 to 65535")
	}
	if c.QueueOverflow != "drop-head" && c.QueueOverflow != "reject-publish" {
		bad("queue_overflow must be drop-head or reject-publish")
	}
	for name, v := range map[string]int64{
		"max_keep_alive": int64(c.MaxKeepAlive), "max_subscriptions": int64(c.MaxSubscriptions), "max_topic_levels": int64(c.MaxTopicLevels),
		"max_queued_messages": c.MaxQueuedMessages, "max_queued_bytes": c.MaxQueuedBytes,
		"message_expiry": int64(c.MessageExpiry), "session_expiry": int64(c.SessionExpiry), "sys_interval": int64(c.SysInterval),
	} {
		if v < 0 {
			bad("%s must not be negative", name)
		}
	}
	for i := range c.Listeners {
		if c.Listeners[i].VHost == "" {
			bad("listeners.%d: no vhost", i)
		}
	}
	return errors.Join(errs...)
}

// limits returns those of every session's queue, nil if there are none.
func (c *Config) limits() *core.QueueLimits {
	l := core.QueueLimits{MaxLength: c.MaxQueuedMessages, MaxBytes: c.MaxQueuedBytes, TTL: c.MessageExpiry.Milliseconds()}
	if c.QueueOverflow == "reject-publish" {
		l.Overflow = core.RejectPublish
	}
	if l == (core.QueueLimits{}) {
		return nil
	}
	return &l
}
