package main

import (
	"net"
	"os"
	"path/filepath"

	"github.com/narumq/naru/config"
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/plugins/operator"
)

// operatorSocket is where the node listens for the operator.
func operatorSocket(cfg *config.Config) string {
	if cfg.Operator.Socket != "" {
		return cfg.Operator.Socket
	}
	return filepath.Join(cfg.DataDir, operator.SocketName)
}

// operator returns the plugin that serves the operator's command line.
func (n *node) operator() (*operator.Server, error) {
	if n.cfg.Operator.Socket == "" { // with a store in memory there may be no such directory
		if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
			return nil, err
		}
	}
	o := operator.Options{
		Bus: n.bus, Socket: operatorSocket(n.cfg), Version: version, Data: n.where(), Promises: n.promise(),
		Log: n.log.With("part", "operator"), Connections: n.srv.Open, Plugins: n.running,
	}
	if s, ok := n.store.(*pebblestore.Store); ok {
		o.Backup = s.Backup
		o.StoreBytes = func() int64 { return s.Metrics().DiskBytes }
	}
	return operator.New(o), nil
}

// running lists the plugins, with the addresses that they listen on.
func (n *node) running() []operator.Plugin {
	var all []operator.Plugin
	for _, p := range n.host.Plugins() {
		row := operator.Plugin{Name: p.Name(), Listens: []string{}}
		if l, ok := p.(interface{ Addrs() []net.Addr }); ok {
			for _, a := range l.Addrs() {
				row.Listens = append(row.Listens, a.String())
			}
		}
		all = append(all, row)
	}
	return all
}
