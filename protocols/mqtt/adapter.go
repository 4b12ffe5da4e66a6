package mqtt

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
)

// An Adapter serves MQTT. It is a plugin of the host.
type Adapter struct {
	bus *core.Bus
	srv *transport.Server
	cfg settings // at the start
	log *slog.Logger
	ids idSpace

	changed atomic.Pointer[settings] // by Configure, nil before

	connected atomic.Int64
	most      atomic.Int64 // connected at the same time
	logins    atomic.Uint64

	addrs []net.Addr // set by Start
	sys   *sys
	stop  context.CancelFunc
	wg    sync.WaitGroup
}

// New makes an adapter. The version is told under $SYS.
func New(b *core.Bus, srv *transport.Server, cfg Config, version string, log *slog.Logger) *Adapter {
	return &Adapter{bus: b, srv: srv, cfg: settings{cfg, cfg.limits()}, log: log, ids: fullSpace, sys: newSys(version)}
}

// settings are a configuration with what follows from it.
type settings struct {
	Config
	queue *core.QueueLimits // of session queues
}

// Configure puts other limits in force, for what clients send from now on, and
// for sessions that connect from now on. Listeners and sys_interval stay as
// they are until the adapter is made anew.
func (a *Adapter) Configure(cfg Config) { a.changed.Store(&settings{cfg, cfg.limits()}) }

func (a *Adapter) conf() *settings {
	if s := a.changed.Load(); s != nil {
		return s
	}
	return &a.cfg
}

// Name returns "mqtt".
func (a *Adapter) Name() string { return "mqtt" }

// Start opens the listeners.
func (a *Adapter) Start(context.Context) error {
	for _, l := range a.cfg.Listeners {
		if a.bus.VHost(l.VHost) == nil {
			return fmt.Errorf("listener %s: vhost %q: %w", l.Address, l.VHost, core.ErrNotFound)
		}
		addr, err := a.srv.Listen(l.ListenConfig, a.Handler(l))
		if err != nil {
			return err
		}
		a.addrs = append(a.addrs, addr)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	if a.cfg.SysInterval > 0 {
		a.wg.Add(1)
		go a.tellSys(ctx)
	}
	return nil
}

// Stop ends what Start began; connections are the server's to close.
func (a *Adapter) Stop(context.Context) error {
	if a.stop != nil {
		a.stop()
	}
	a.wg.Wait()
	return nil
}

// Addrs returns the addresses that are listened on.
func (a *Adapter) Addrs() []net.Addr { return a.addrs }

// Handler returns what serves the connections of a listener.
func (a *Adapter) Handler(l Listener) func(*transport.Conn) transport.Handler {
	return func(tc *transport.Conn) transport.Handler {
		return &conn{a: a, tc: tc, listener: &l}
	}
}

// joined and left count clients that have logged in.
func (a *Adapter) joined() {
	a.logins.Add(1)
	n := a.connected.Add(1)
	for {
		most := a.most.Load()
		if n <= most || a.most.CompareAndSwap(most, n) {
			return
		}
	}
}

func (a *Adapter) left() { a.connected.Add(-1) }
