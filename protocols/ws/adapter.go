package ws

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core/transport"
)

// A Protocol is what a sub-protocol stands for.
type Protocol struct {
	// Names are the sub-protocols, such as mqtt.
	Names []string
	// Text says that messages are text, as far as they can be. Where it is not
	// set a text message ends the connection.
	Text bool
	// Handler returns what serves the connections of a listener.
	Handler func(Listener) func(*transport.Conn) transport.Handler
}

// An Adapter serves WebSocket. It is a plugin of the host.
type Adapter struct {
	srv       *transport.Server
	cfg       Config // at the start
	log       *slog.Logger
	protocols map[string]Protocol
	upgrader  websocket.Upgrader

	changed atomic.Pointer[Config] // by Configure, nil before

	servers []*http.Server // set by Start
	addrs   []net.Addr     // set by Start
	wg      sync.WaitGroup // listeners, and connections that are HTTP still
}

// New makes an adapter that leads to these protocols.
func New(srv *transport.Server, cfg Config, protocols []Protocol, log *slog.Logger) *Adapter {
	a := &Adapter{srv: srv, cfg: cfg, log: log, protocols: make(map[string]Protocol)}
	for _, p := range protocols {
		for _, n := range p.Names {
			a.protocols[n] = p
		}
	}
	a.upgrader = websocket.Upgrader{
		HandshakeTimeout: srv.AuthTimeout(),
		WriteBufferPool:  &sync.Pool{},
		CheckOrigin:      func(*http.Request) bool { return true }, // asked already
		Error:            a.refuseUpgrade,
	}
	return a
}

// Configure puts other settings in force, for requests from now on: connections
// that have been upgraded keep theirs. Listeners stay as they are until the
// adapter is made anew, and so does the time of a login as far as it is HTTP.
func (a *Adapter) Configure(cfg Config) { a.changed.Store(&cfg) }

func (a *Adapter) conf() *Config {
	if c := a.changed.Load(); c != nil {
		return c
	}
	return &a.cfg
}

// Name returns "ws".
func (a *Adapter) Name() string { return "ws" }

// Start opens the listeners. Without a protocol to carry there are none.
func (a *Adapter) Start(context.Context) error {
	if len(a.protocols) == 0 {
		a.log.Warn("WebSocket is not served: no protocol that it could carry is enabled")
		return nil
	}
	for _, l := range a.cfg.Listeners {
		ln, err := a.srv.Accept(l.ListenConfig)
		if err != nil {
			return fmt.Errorf("listen on %s: %w", l.Address, err)
		}
		a.addrs = append(a.addrs, ln.Addr())
		s := a.server(l)
		a.servers = append(a.servers, s)
		a.wg.Add(1)
		go a.serve(s, ln)
	}
	return nil
}

// maxHeader is the room for the head of a request, of which browsers fill a
// good part with cookies.
const maxHeader = 12 << 10 // net/http adds 4 KiB

// server is what speaks HTTP at a listener. A connection has one request, for
// an upgrade or for a file of the page, and the time of a login for it.
func (a *Adapter) server(l Listener) *http.Server {
	s := &http.Server{
		Handler:           a.handler(l),
		ReadHeaderTimeout: a.srv.AuthTimeout(),
		ReadTimeout:       a.srv.AuthTimeout(),
		WriteTimeout:      a.srv.AuthTimeout(),
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(httpLog{a.log.Handler()}, slog.LevelDebug),
		ConnState:         a.count,
		Protocols:         new(http.Protocols),
	}
	s.Protocols.SetHTTP1(true) // an upgrade needs it
	s.SetKeepAlivesEnabled(false)
	return s
}

// count has Stop wait for connections that are HTTP still.
func (a *Adapter) count(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		a.wg.Add(1)
	case http.StateHijacked, http.StateClosed:
		a.wg.Done()
	}
}

func (a *Adapter) serve(s *http.Server, ln net.Listener) {
	defer a.wg.Done()
	if err := s.Serve(ln); !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		a.log.Error("WebSocket is served no more", "address", ln.Addr().String(), "err", err)
	}
}

// Stop ends what Start began; connections that have been upgraded are the
// server's to close.
func (a *Adapter) Stop(context.Context) error {
	var errs []error
	for _, s := range a.servers {
		if err := s.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	a.wg.Wait()
	return errors.Join(errs...)
}

// Addrs returns the addresses that are listened on.
func (a *Adapter) Addrs() []net.Addr { return a.addrs }

// httpLog tells what net/http has to say: of a client at level debug, of the
// listener as an error.
type httpLog struct{ slog.Handler }

func (h httpLog) Handle(ctx context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "http: Accept error") {
		r.Level = slog.LevelError
	}
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h httpLog) Enabled(context.Context, slog.Level) bool { return true }
