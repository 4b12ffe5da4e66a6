package main

import (
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/plugins/prometheus"
)

// metricsOf returns what health and metrics are read from.
func (n *node) metricsOf() prometheus.Sources {
	src := prometheus.Sources{
		Version: version, Bus: n.bus, Events: &n.events, Ready: n.ready,
		Sockets: func() (open int64, accepted, received, sent uint64) {
			received, sent = n.srv.Traffic()
			return n.srv.Open(), n.srv.Accepted(), received, sent
		},
	}
	if s, ok := n.store.(*pebblestore.Store); ok {
		src.Store = func() prometheus.Store {
			m := s.Metrics()
			f := prometheus.Store{
				Commits: m.Commits, Groups: m.Groups, Bytes: m.Bytes, Pending: m.Pending, DiskBytes: m.DiskBytes,
			}
			if m.Pebble != nil {
				f.Fsync = m.Pebble.LogWriter.FsyncLatency
			}
			return f
		}
	}
	return src
}
