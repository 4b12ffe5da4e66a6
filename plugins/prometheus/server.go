package prometheus

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"sync"
	"time"

	prom "github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A Server serves health and metrics. It is a plugin of the host.
type Server struct {
	cfg  Config
	src  Sources
	log  *slog.Logger
	http *http.Server
	addr net.Addr      // set by Start
	done chan struct{} // closed when nothing is served any more
}

const (
	// aliveTime is how long the workers may take to answer /healthz.
	aliveTime = 5 * time.Second
	// maxScrapes at the same time: each looks at every queue.
	maxScrapes = 2
	// maxConns keeps whoever reaches the listener from taking the descriptors
	// that clients need.
	maxConns = 64
)

// New makes a server.
func New(cfg Config, src Sources, log *slog.Logger) *Server {
	s := &Server{cfg: cfg, src: src, log: log, done: make(chan struct{})}
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second,
		WriteTimeout: 2 * time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.With("part", "metrics").Handler(), slog.LevelDebug),
	}
	return s
}

// Name returns "metrics".
func (s *Server) Name() string { return "metrics" }

// Start listens.
func (s *Server) Start(ctx context.Context) error {
	if err := s.cfg.Validate(); err != nil {
		return err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("%w (metrics.address names another address, metrics.enabled=false none)", err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !s.cfg.AllowRemote && (!ok || !a.IP.IsLoopback()) {
		ln.Close()
		return fmt.Errorf("%s is %s, which other machines may reach: set metrics.allow_remote to allow that", s.cfg.Address, ln.Addr())
	}
	s.addr = ln.Addr()
	s.log.Info("listening", "protocol", "http", "address", s.addr.String(), "for", "health and metrics", "pprof", s.cfg.Pprof)
	go s.serve(&bounded{Listener: ln, free: make(chan struct{}, maxConns)})
	return nil
}

func (s *Server) serve(ln net.Listener) {
	defer close(s.done)
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("metrics are not served any more", "err", err)
	}
}

// Stop ends what Start began.
func (s *Server) Stop(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	<-s.done
	return err
}

// Addrs returns the address that is listened on.
func (s *Server) Addrs() []net.Addr { return []net.Addr{s.addr} }

func (s *Server) handler() http.Handler {
	reg := prom.NewRegistry()
	reg.MustRegister(&collector{Sources: s.src}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", index)
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: 30 * time.Second}))
	if s.cfg.Pprof {
		// Not cmdline: arguments may hold a secret (--set).
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", http.NotFound)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return s.guard(mux)
}

// guard refuses what a web page elsewhere has a browser on this machine ask: the
// name in its request is the page's own, made to resolve to loopback.
func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if !s.cfg.AllowRemote && !local(host) {
			http.Error(w, "this listener is for this machine", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

func index(w http.ResponseWriter, _ *http.Request) {
	io.WriteString(w, "naru\n\n/healthz  does it live?\n/readyz   does it serve?\n/metrics  for Prometheus\n")
}

// healthz is for whoever restarts what hangs. A broker that waits, for its disk
// or because of an alarm, lives.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), aliveTime)
	defer cancel()
	answer(w, s.src.Bus.Alive(ctx))
}

// readyz is for whoever sends clients here: from the moment that all listeners
// are open until it stops. An alarm does not count: consumers must get in to
// make things better.
func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) { answer(w, s.src.Ready()) }

func answer(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ok")
}

// A bounded listener has so many connections at most; more wait to be accepted.
type bounded struct {
	net.Listener
	free chan struct{} // holds one for each connection
}

func (b *bounded) Accept() (net.Conn, error) {
	b.free <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.free
		return nil, err
	}
	return &boundedConn{Conn: c, free: b.free}, nil
}

type boundedConn struct {
	net.Conn
	free chan struct{}
	once sync.Once
}

func (c *boundedConn) Close() error {
	c.once.Do(func() { <-c.free })
	return c.Conn.Close()
}
