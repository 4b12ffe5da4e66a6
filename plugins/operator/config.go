package operator

// Config is the section operator.
type Config struct {
	Enabled bool   `yaml:"enabled" doc:"Whether the node listens for the operator's command line (naru status, list, purge and so on)."`
	Socket  string `yaml:"socket" doc:"Path of its Unix socket, which only the owner of the process can use. Empty: naru.sock in data_dir."`
}

// DefaultConfig returns what holds where nothing is configured.
func DefaultConfig() Config { return Config{Enabled: true} }
