package prometheus

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Config is the section metrics.
type Config struct {
	Enabled     bool   `yaml:"enabled" doc:"Serve /healthz, /readyz and /metrics over HTTP."`
	Address     string `yaml:"address" doc:"Where: host and port. The host must be a loopback address or localhost, unless allow_remote says otherwise."`
	AllowRemote bool   `yaml:"allow_remote" doc:"Accept an address that other machines reach. There is no login and no encryption: whoever reaches it reads it."`
	Pprof       bool   `yaml:"pprof" doc:"Serve /debug/pprof as well: profiles of the running process. They cost CPU while they are taken."`
}

// DefaultConfig has the port of RabbitMQ's plugin, for this machine only.
func DefaultConfig() Config { return Config{Enabled: true, Address: "127.0.0.1:15692"} }

// Validate checks the settings.
func (c Config) Validate() error {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil || port == "" {
		return errors.New("address must be a host and a port, such as 127.0.0.1:15692")
	}
	if !c.AllowRemote && !local(host) {
		return fmt.Errorf("address: other machines may reach %s, and there is no login: set metrics.allow_remote to allow that", c.Address)
	}
	return nil
}

// local says whether a host, as it is written, is this machine only. No name but
// localhost is: what others stand for may change.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}
