package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/narumq/naru/config"
	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/host"
	"github.com/narumq/naru/core/store/memstore"
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/plugins/authfile"
	"github.com/narumq/naru/plugins/operator"
	"github.com/narumq/naru/plugins/prometheus"
	"github.com/narumq/naru/protocols/amqp"
	"github.com/narumq/naru/protocols/mqtt"
	"github.com/narumq/naru/protocols/ws"
)

// A node is a whole broker: the one place where concrete types meet.
type node struct {
	cfg *config.Config
	log *slog.Logger

	store interface {
		core.Shard
		Close() error
	}
	bus  *core.Bus
	srv  *transport.Server
	auth *authfile.Auth
	mqtt *mqtt.Adapter
	amqp *amqp.Adapter
	ws   *ws.Adapter
	host *host.Host

	events  prometheus.Events // counted from the first one
	serving atomic.Bool       // all listeners are open

	closing sync.Once
	closed  error
}

func newNode(cfg *config.Config, log *slog.Logger) *node { return &node{cfg: cfg, log: log} }

// start brings the node up. After an error close must be called as well.
func (n *node) start(ctx context.Context) (err error) {
	began := time.Now()
	n.log.Info("naru", "version", version, "data", n.where(), "acknowledged_means", n.promise())
	if n.auth, err = authfile.New(n.cfg.Auth); err != nil {
		return err
	}
	if err := n.openStore(); err != nil {
		return err
	}
	options := n.busOptions()
	if options.Policies, err = n.cfg.CorePolicies(); err != nil {
		return err
	}
	if n.bus, err = core.Open(options); err != nil {
		return fmt.Errorf("open bus: %w", err)
	}
	if err := n.declare(); err != nil {
		return err
	}
	if n.srv, err = transport.NewServer(n.bus, spareProcessor(n.cfg.Transport), n.log); err != nil {
		return err
	}
	// The list of what is compiled in, in the order of start.
	plugins := []host.Plugin{connections{n.srv}, &memory{traffic: n.srv.Traffic}}
	if n.cfg.Metrics.Enabled { // health must answer before clients come
		plugins = append(plugins, prometheus.New(n.cfg.Metrics, n.metricsOf(), n.log))
	}
	if n.cfg.MQTT.Enabled {
		n.mqtt = mqtt.New(n.bus, n.srv, n.cfg.MQTT, version, n.log)
		plugins = append(plugins, n.mqtt)
	}
	if n.cfg.AMQP.Enabled {
		n.amqp = amqp.New(n.bus, n.srv, n.cfg.AMQP, version, n.log)
		plugins = append(plugins, n.amqp)
	}
	if n.cfg.WS.Enabled {
		n.ws = ws.New(n.srv, n.cfg.WS, n.overWebSocket(), n.log)
		plugins = append(plugins, n.ws)
	}
	if n.cfg.Operator.Enabled {
		o, err := n.operator()
		if err != nil {
			return err
		}
		plugins = append(plugins, o)
	}
	n.host = host.New(n.log, plugins...)
	if err := n.host.Start(ctx); err != nil {
		return err
	}
	if n.mqtt != nil {
		n.listening("mqtt", n.mqtt.Addrs(), func(i int) transport.ListenConfig { return n.cfg.MQTT.Listeners[i].ListenConfig })
	}
	if n.amqp != nil {
		n.listening("amqp", n.amqp.Addrs(), func(i int) transport.ListenConfig { return n.cfg.AMQP.Listeners[i].ListenConfig })
	}
	if n.ws != nil {
		n.listening("ws", n.ws.Addrs(), func(i int) transport.ListenConfig { return n.cfg.WS.Listeners[i].ListenConfig })
	}
	n.serving.Store(true)
	n.log.Info("ready", "after", time.Since(began).Round(time.Millisecond))
	return nil
}

// overWebSocket returns the protocols that WebSocket carries.
func (n *node) overWebSocket() []ws.Protocol {
	var carried []ws.Protocol
	if n.mqtt != nil {
		carried = append(carried, ws.Protocol{
			Names: []string{"mqtt", "mqttv3.1"},
			Handler: func(l ws.Listener) func(*transport.Conn) transport.Handler {
				return n.mqtt.Handler(mqtt.Listener{ListenConfig: l.ListenConfig, VHost: l.VHost})
			},
		})
	}
	if n.amqp != nil {
		carried = append(carried, ws.Protocol{
			Names: []string{"amqp"},
			Handler: func(l ws.Listener) func(*transport.Conn) transport.Handler {
				return n.amqp.Handler(amqp.Listener{ListenConfig: l.ListenConfig})
			},
		})
	}
	return carried
}

// connections is the transport as a plugin: the first to start and the last to
// stop, when the adapters want no more of it.
type connections struct{ srv *transport.Server }

func (connections) Name() string                     { return "transport" }
func (connections) Start(context.Context) error      { return nil }
func (c connections) Stop(ctx context.Context) error { return c.srv.Close(ctx) }

// openStore opens the store, in memory if the configuration says so.
func (n *node) openStore() error {
	if n.cfg.Store.Engine == "memory" {
		n.store = memstore.New()
		return nil
	}
	if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	s, err := pebblestore.Open(filepath.Join(n.cfg.DataDir, operator.StoreDir), pebblestore.Options{
		Sync: n.cfg.Store.Sync, Interval: n.cfg.Store.SyncInterval,
		CacheSize: n.cfg.Store.Cache, MemTableSize: n.cfg.Store.MemTable,
		Logger: n.log.With("part", "store"), Fail: n.die,
	})
	if err != nil {
		return err
	}
	n.store = s
	return nil
}

func (n *node) busOptions() core.Options {
	o := core.Options{
		Config: n.cfg.Bus, Shards: []core.Shard{n.store}, Authenticator: n.auth, Authorizer: n.auth,
		Listeners: []core.Listener{logEvents(n.log), n.events.Listen}, Fail: n.die,
	}
	for _, v := range n.cfg.VHosts {
		o.VHosts = append(o.VHosts, v.Name)
		if o.VHostLimits == nil {
			o.VHostLimits = make(map[string]core.VHostLimits)
		}
		o.VHostLimits[v.Name] = core.VHostLimits{Connections: v.MaxConnections, Queues: v.MaxQueues}
	}
	if n.cfg.Store.Engine != "memory" {
		o.FreeSpace = n.freeSpace
	}
	return o
}

// die ends the process: the store has failed, and whatever is acknowledged from
// now on could be lost.
func (n *node) die(err error) {
	n.log.Error("cannot go on: nothing can be made durable any more", "err", err)
	os.Exit(3)
}

func (n *node) freeSpace() (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(n.cfg.DataDir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

// declare makes the queues of the configuration.
func (n *node) declare() error {
	t := n.bus.NewTurn()
	defer t.End()
	for _, v := range n.cfg.VHosts {
		vh := n.bus.VHost(v.Name)
		for _, q := range v.Queues {
			limits := core.QueueLimits{MaxLength: q.MaxLength, MaxBytes: q.MaxBytes}
			if q.Overflow == "reject-publish" {
				limits.Overflow = core.RejectPublish
			}
			queue, err := vh.DeclareQueue(t, q.Name, core.QueueOptions{Durable: q.Durable, Limits: limits})
			if err != nil {
				return fmt.Errorf("vhost %q: %w", v.Name, err)
			}
			for _, b := range q.Bindings {
				syntax := core.SyntaxMQTT
				if b.Syntax == "amqp" {
					syntax = core.SyntaxAMQP
				}
				if err := vh.BindQueue(t, queue, b.Exchange, b.Key, syntax); err != nil {
					return fmt.Errorf("vhost %q, queue %q: %w", v.Name, q.Name, err)
				}
			}
		}
	}
	return nil
}

// close stops the node, within ctx as far as clients are concerned. It may be
// called more than once.
func (n *node) close(ctx context.Context) error {
	n.closing.Do(func() {
		var errs []error
		if n.host != nil {
			errs = append(errs, n.host.Stop(ctx))
		} else if n.srv != nil {
			errs = append(errs, n.srv.Close(ctx))
		}
		if n.bus != nil {
			errs = append(errs, n.bus.Close())
		}
		if n.store != nil {
			errs = append(errs, n.store.Close())
		}
		n.closed = errors.Join(errs...)
	})
	return n.closed
}

// where and promise are what the first line of the log says.
func (n *node) where() string {
	if n.cfg.Store.Engine == "memory" {
		return "in memory, gone with this process"
	}
	if dir, err := filepath.Abs(n.cfg.DataDir); err == nil {
		return dir
	}
	return n.cfg.DataDir
}

func (n *node) promise() string {
	switch {
	case n.cfg.Store.Engine == "memory":
		return "in memory"
	case n.cfg.Store.Sync == "interval":
		return fmt.Sprintf("on disk within %v", n.cfg.Store.SyncInterval)
	case n.cfg.Store.Sync == "os":
		return "handed to the operating system"
	}
	return "on disk (fsync)"
}

// listening tells where a protocol is open, and to whom.
func (n *node) listening(protocol string, addrs []net.Addr, listener func(i int) transport.ListenConfig) {
	for i, a := range addrs {
		n.log.Info("listening", "protocol", protocol, "address", a.String(), "open_to", n.openTo(a, listener(i)))
	}
}

// openTo says who can use a listener. Those behind a proxy may be anywhere.
func (n *node) openTo(a net.Addr, l transport.ListenConfig) string {
	local := a.Network() == "unix"
	if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		local = ap.Addr().IsLoopback()
	}
	where := "every address that reaches it"
	switch {
	case local && l.ProxyProtocol:
		where = "the clients of a proxy on this machine, wherever they are"
	case l.ProxyProtocol:
		where = "the clients of every proxy that reaches it"
	case local:
		where = "this machine only"
	}
	anonymous := l.Anonymous == nil || *l.Anonymous
	if l.TLS != nil && l.TLS.ClientAuth == "required" {
		where += ", with a client certificate"
		anonymous = anonymous && l.TLS.UserFrom == "none" // else it names a user
	}
	return where + "; " + n.auth.Summary(anonymous)
}
