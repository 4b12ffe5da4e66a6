package transport

import (
	"errors"
	"time"
)

// Config are the limits of connections, shared by all listeners of a server.
type Config struct {
	MaxConnections int           `yaml:"max_connections" reload:"true" doc:"Connections at the same time, of all listeners; more are closed when they arrive. 0: as many as the process has descriptors for."`
	AuthTimeout    time.Duration `yaml:"auth_timeout" reload:"true" doc:"Time from accept until the client must have logged in."`
	AuthBytes      int           `yaml:"auth_bytes" unit:"bytes" reload:"true" doc:"Size of the first packet, before login. The largest legal MQTT CONNECT has 327,699 bytes; 80KiB takes the longest client identifier and refuses only CONNECTs with a will or password of tens of kilobytes."`
	OutboxSize     int           `yaml:"outbox_size" unit:"bytes" reload:"true" doc:"Bytes waiting for a client that reads slowly, from which on QoS 0 messages are dropped and others wait in their queue. One message may exceed it if nothing else waits."`
	Unconfirmed    int           `yaml:"unconfirmed" unit:"bytes" reload:"true" doc:"Bytes a client may have sent that are not yet on disk, from which on it is not read until they are."`
	Poller         string        `yaml:"poller" enum:"auto,epoll,goroutine" doc:"Who waits for sockets: an epoll loop for each processor (Linux), or a goroutine for each connection."`
	Loops          int           `yaml:"loops" doc:"Event loops; 0: one for each processor."`
}

// DefaultConfig returns the limits that hold where nothing is configured.
func DefaultConfig() Config {
	return Config{
		AuthTimeout: 10 * time.Second,
		AuthBytes:   80 << 10,
		OutboxSize:  1 << 20,
		Unconfirmed: 1 << 20,
		Poller:      "auto",
	}
}

// Validate checks the limits.
func (c Config) Validate() error {
	switch {
	case c.MaxConnections < 0 || c.Loops < 0:
		return errors.New("max_connections and loops must not be negative")
	case c.AuthTimeout <= 0:
		return errors.New("auth_timeout must be positive")
	case c.AuthBytes < 128 || max(c.AuthBytes, c.OutboxSize, c.Unconfirmed) > 1<<30 || c.OutboxSize < 1024 || c.Unconfirmed < 1024:
		return errors.New("auth_bytes must be from 128 to 1GiB, outbox_size and unconfirmed from 1KiB to 1GiB")
	}
	return nil
}
