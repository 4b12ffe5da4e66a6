package transport

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/internal/tasks"
	"github.com/narumq/naru/core/internal/wheel"
)

// A Server owns listeners and the connections they accept. All its methods may
// be called from any goroutine.
type Server struct {
	bus *core.Bus
	cfg Config // at the start
	log *slog.Logger

	ctx      context.Context
	stop     context.CancelFunc
	started  time.Time
	spawned  tasks.Group
	loops    []*loop // none where goroutines serve
	nextLoop atomic.Uint32

	changed  atomic.Pointer[Config] // by Configure, nil before
	open     atomic.Int64           // connections
	lanes    atomic.Uint64
	received atomic.Uint64 // bytes
	sent     atomic.Uint64
	ending   atomic.Bool  // Close has been called
	turned   atomic.Int64 // refused for MaxConnections since it was last told

	mu        sync.Mutex
	listeners []net.Listener      // guarded by mu
	doors     []*door             // guarded by mu: of the listeners
	keyrings  []*keyring          // guarded by mu: of those with TLS
	wires     map[*Wire]struct{}  // guarded by mu: accepted, and not yet served
	conns     map[*Conn]struct{}  // guarded by mu: those served by goroutines
	closed    bool                // guarded by mu
	timers    *wheel.Wheel[*Conn] // guarded by mu: of connections served by goroutines
	down      chan struct{}       // closed when Close is over
}

// NewServer starts a server without listeners.
func NewServer(b *core.Bus, cfg Config, log *slog.Logger) (*Server, error) {
	s := &Server{bus: b, cfg: cfg, log: log, started: time.Now(), conns: make(map[*Conn]struct{}), wires: make(map[*Wire]struct{}), down: make(chan struct{})}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.timers = wheel.New[*Conn](100*time.Millisecond, 0)
	switch {
	case cfg.Poller == "epoll" && !canPoll:
		return nil, errors.New("poller epoll is for Linux only")
	case canPoll && cfg.Poller != "goroutine":
		if err := s.startLoops(); err != nil {
			return nil, err
		}
	}
	s.spawned.Add(1)
	go s.housekeep()
	return s, nil
}

// Configure puts other limits in force: those of login for connections that are
// accepted from now on, the others at once. What there is stays: who is connected,
// and what waits for them. Poller and Loops stay as they are.
func (s *Server) Configure(cfg Config) { s.changed.Store(&cfg) }

func (s *Server) limits() *Config {
	if c := s.changed.Load(); c != nil {
		return c
	}
	return &s.cfg
}

// now is the server's clock, in nanoseconds.
func (s *Server) now() int64 { return int64(time.Since(s.started)) }

// Open returns the number of connections.
func (s *Server) Open() int64 { return s.open.Load() }

// AuthTimeout is the time that a client has for its login, and for a handshake
// of its own before that.
func (s *Server) AuthTimeout() time.Duration { return s.limits().AuthTimeout }

// Accepted returns the number of connections since the start.
func (s *Server) Accepted() uint64 { return s.lanes.Load() }

// Traffic returns the bytes received and sent since the start.
func (s *Server) Traffic() (received, sent uint64) { return s.received.Load(), s.sent.Load() }

// Close stops listening and ends every connection: each handler's Closed is
// called with core.ErrShutdown, and what outboxes hold has until ctx ends to go
// out. It may be called more than once; every call returns when it is done.
func (s *Server) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.down
		return nil
	}
	s.closed = true
	s.ending.Store(true)
	defer close(s.down)
	listeners, wires := s.listeners, slices.Collect(maps.Keys(s.wires))
	s.mu.Unlock()
	for _, l := range s.loops {
		l.unlisten()
	}
	for _, ln := range listeners {
		ln.Close()
	}
	for _, w := range wires { // that ends their handshakes
		w.Close()
	}
	for _, c := range s.onGoroutines() {
		c.Kick(core.ErrShutdown)
	}
	for _, l := range s.loops {
		l.kickAll(core.ErrShutdown)
	}
	// Clients that close in answer let their connections go at once; the others
	// are let go after the linger time.
	for s.open.Load() > 0 && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	s.stop()
	for _, l := range s.loops {
		l.close()
	}
	for _, c := range s.onGoroutines() {
		c.run.post(c, func(t *core.Turn, c *Conn) { c.gone(t, core.ErrShutdown) })
	}
	s.spawned.Wait()
	return nil
}

// onGoroutines returns the connections that are not served by a loop.
func (s *Server) onGoroutines() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	conns := make([]*Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// newConn sets up a connection that has been accepted through a door, if it was
// accepted at all. It returns nil if there are too many; counted says that it
// has been counted already.
func (s *Server) newConn(peer netip.AddrPort, sock socket, run runner, d *door, counted bool) *Conn {
	if !counted && !s.enter(d) {
		return nil
	}
	c := &Conn{
		srv: s, peer: peer, door: d, started: s.now(), run: run,
		limit: int32(s.limits().AuthBytes), lastRead: s.now(),
	}
	c.out.conn, c.out.sock = c, sock
	c.gate.Init(&c.out, s.lanes.Add(1))
	c.timer.Owner = c
	return c
}

// left is called once for every connection, when its socket is let go.
func (s *Server) left(c *Conn) {
	if w := c.wire(); w == nil || w.door == nil { // otherwise its Close tells
		s.exit(c.door)
	}
	c.run.arm(c, -1)
	c.run.leave(c)
}

// housekeep fires the timers of connections that are served by goroutines, and
// tells of connections that were turned away.
func (s *Server) housekeep() {
	defer s.spawned.Done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		s.fireTimers()
		if n%100 == 0 {
			if k := s.turned.Swap(0); k > 0 {
				s.log.Warn("connections refused: max_connections is reached", "count", k, "max_connections", s.limits().MaxConnections)
			}
			s.tellDoors()
		}
	}
}

func (s *Server) fireTimers() {
	var due []*Conn
	s.mu.Lock()
	s.timers.Advance(s.now(), func(t *wheel.Timer[*Conn]) { due = append(due, t.Owner) })
	s.mu.Unlock()
	for _, c := range due {
		c.run.post(c, func(t *core.Turn, c *Conn) { c.tick(t) })
	}
}

// armShared sets the timer of a connection that is not served by a loop.
func (s *Server) armShared(c *Conn, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at < 0 {
		s.timers.Stop(&c.timer)
	} else {
		s.timers.Set(&c.timer, at)
	}
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}
