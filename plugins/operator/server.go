package operator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/narumq/naru/core"
)

// Options are what the server is made of.
type Options struct {
	Bus      *core.Bus
	Socket   string // path
	Version  string
	Data     string // where the node keeps its data
	Promises string // what an acknowledgement means
	Log      *slog.Logger

	Connections func() int64    // open ones, logged in or not
	Plugins     func() []Plugin // that run
	// Backup writes a copy of the store to a directory that does not exist; nil:
	// there is nothing on disk. StoreBytes is its size.
	Backup     func(dir string) error
	StoreBytes func() int64
}

// A Server answers the operator. It is a plugin of the host.
type Server struct {
	opt     Options
	started time.Time
	http    *http.Server
	own     fs.FileInfo // of the socket
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	backups sync.Mutex // one at a time
}

// New returns a server that Start starts.
func New(o Options) *Server { return &Server{opt: o, started: time.Now()} }

// Name returns "operator".
func (s *Server) Name() string { return "operator" }

// Start listens on the socket.
func (s *Server) Start(context.Context) error {
	ln, err := listen(s.opt.Socket)
	if err != nil {
		return err
	}
	if s.own, err = os.Lstat(s.opt.Socket); err != nil {
		ln.Close()
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.http = &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(s.opt.Log.Handler(), slog.LevelDebug),
	}
	s.wg.Add(1)
	go s.serve(ln)
	return nil
}

func (s *Server) serve(ln net.Listener) {
	defer s.wg.Done()
	if err := s.http.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		s.opt.Log.Error("the operator's socket has failed", "err", err)
	}
}

// stopGrace is how long a request may go on that has been told to end: one whose
// client does not read cannot.
const stopGrace = time.Second

// Stop ends what is under way, and removes the socket.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	grace, cancel := context.WithTimeout(ctx, stopGrace)
	defer cancel()
	err := s.http.Shutdown(grace)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	s.wg.Wait()
	for !s.backups.TryLock() { // a backup cannot be ended, and clears up behind itself
		select {
		case <-ctx.Done():
			return errors.Join(err, fmt.Errorf("a backup is under way: %w", ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
	if st, e := os.Lstat(s.opt.Socket); e == nil && os.SameFile(st, s.own) {
		err = errors.Join(err, os.Remove(s.opt.Socket))
	}
	return err
}

// Addrs returns the address that is listened on.
func (s *Server) Addrs() []net.Addr {
	return []net.Addr{&net.UnixAddr{Name: s.opt.Socket, Net: "unix"}}
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, s.status)
	mux.HandleFunc("GET "+pathPlugins, func(w http.ResponseWriter, _ *http.Request) { answer(w, s.opt.Plugins()) })
	s.lists(mux)
	mux.HandleFunc("POST "+pathKick, s.kick)
	mux.HandleFunc("POST "+pathPurge, s.purge)
	mux.HandleFunc("POST "+pathDelete+"{what}", s.delete)
	mux.HandleFunc("POST "+pathBackup, s.backup)
	return mux
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	b := s.opt.Bus
	g, st := b.Gauges(), b.Stats()
	r := Status{
		Version: s.opt.Version, PID: os.Getpid(), Started: s.started.UTC(), Data: s.opt.Data, Promises: s.opt.Promises,
		Alarms: []string{}, Connections: s.opt.Connections(), Sessions: g.Sessions, Bindings: g.Bindings,
		Retained: g.Retained, QueueMemory: g.QueueMemory,
	}
	depths := b.Depths()
	r.Queues, r.Shared = depths[core.KindNamed].Queues, depths[core.KindGroup].Queues
	for _, d := range depths {
		r.Stored += d.Ready + d.Unsettled
		r.StoredBytes += d.Bytes
	}
	for name, raised := range b.Alarms() {
		if raised {
			r.Alarms = append(r.Alarms, name)
		}
	}
	for qos := range st.Received {
		r.ReceivedTotal += int64(st.Received[qos] - st.Protocols[core.ProtocolInternal].Received[qos])
		r.SentTotal += int64(st.Sent[qos])
	}
	for _, n := range st.Dropped {
		r.DroppedTotal += int64(n)
	}
	if s.opt.StoreBytes != nil {
		r.StoreBytes = s.opt.StoreBytes()
	}
	r.ProcessMemory, r.GoroutineCount = processFigures()
	answer(w, r)
}

// answer sends v.
func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	newEncoder(w).Encode(v) //nolint:errcheck // nobody is left to be told
}

// refuse tells an error.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, errBadRequest), errors.Is(err, core.ErrBadAddress):
		code = http.StatusBadRequest
	case errors.Is(err, core.ErrNotFound):
		code = http.StatusNotFound
	case errors.Is(err, errBusy):
		code = http.StatusConflict
	case errors.Is(err, context.Canceled):
		code, err = http.StatusServiceUnavailable, fmt.Errorf("the node stops: %w", err)
	case errors.Is(err, context.DeadlineExceeded):
		code = http.StatusGatewayTimeout
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	newEncoder(w).Encode(failure{err.Error()}) //nolint:errcheck // as above
}

var (
	errBadRequest = errors.New("bad request")
	errBusy       = errors.New("another one is under way")
)

// maxRequest is enough for any name.
const maxRequest = 1 << 20

// ask reads the body of a request.
func ask(w http.ResponseWriter, r *http.Request, to any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		refuse(w, fmt.Errorf("%w: %w", errBadRequest, err))
		return false
	}
	return true
}
