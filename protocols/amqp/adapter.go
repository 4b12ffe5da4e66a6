package amqp

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// An Adapter serves AMQP 0-9-1. It is a plugin of the host.
type Adapter struct {
	bus   *core.Bus
	srv   *transport.Server
	cfg   Config // at the start
	log   *slog.Logger
	hello props.Table // the server's properties

	changed atomic.Pointer[Config] // by Configure, nil before
	addrs   []net.Addr             // set by Start

	nameless atomic.Uint64 // connections whose ends do not tell them apart
}

// New makes an adapter. The version is told to clients.
func New(b *core.Bus, srv *transport.Server, cfg Config, version string, log *slog.Logger) *Adapter {
	return &Adapter{bus: b, srv: srv, cfg: cfg, log: log, hello: serverProperties(version)}
}

// serverProperties are what a client is told of the server. Clients look at the
// capabilities, and at nothing else.
func serverProperties(version string) props.Table {
	var can props.Table
	for _, c := range []string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
		"consumer_priorities", "authentication_failure_close", "per_consumer_qos", "direct_reply_to",
	} {
		can = props.AddBool(can, c, true)
	}
	t := props.AddTable(nil, "capabilities", can)
	t = props.AddStr(t, "cluster_name", "naru")
	t = props.AddStr(t, "copyright", "Copyright The Naru Authors")
	t = props.AddStr(t, "information", "Licensed under the Apache License 2.0")
	t = props.AddStr(t, "platform", "Go")
	t = props.AddStr(t, "product", "Naru")
	return props.AddStr(t, "version", version)
}

// Configure puts other limits in force, for what clients do from now on.
// Listeners stay as they are until the adapter is made anew.
func (a *Adapter) Configure(cfg Config) { a.changed.Store(&cfg) }

func (a *Adapter) conf() *Config {
	if c := a.changed.Load(); c != nil {
		return c
	}
	return &a.cfg
}

// Name returns "amqp".
func (a *Adapter) Name() string { return "amqp" }

// Start opens the listeners.
func (a *Adapter) Start(context.Context) error {
	for _, l := range a.cfg.Listeners {
		addr, err := a.srv.Listen(l.ListenConfig, a.Handler(l))
		if err != nil {
			return err
		}
		a.addrs = append(a.addrs, addr)
	}
	return nil
}

// Stop does nothing: connections are the server's to close.
func (a *Adapter) Stop(context.Context) error { return nil }

// Addrs returns the addresses that are listened on.
func (a *Adapter) Addrs() []net.Addr { return a.addrs }

// Handler returns what serves the connections of a listener.
func (a *Adapter) Handler(l Listener) func(*transport.Conn) transport.Handler {
	return func(tc *transport.Conn) transport.Handler {
		return &conn{a: a, tc: tc, listener: &l, frameMax: frame.MinFrameMax}
	}
}
