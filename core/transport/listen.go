package transport

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
)

// A ListenConfig says where and how connections are accepted. Each protocol's
// own listener has one within it.
type ListenConfig struct {
	Address        string `yaml:"address" doc:"Host and port, such as 127.0.0.1:1883 or :1883; or unix: and the path of a Unix socket, whose clients count as clients of this machine."`
	Mode           string `yaml:"mode" doc:"Permissions of the Unix socket, in octal: who may write to it may connect. Absent: 0660."`
	MaxConnections int    `yaml:"max_connections" doc:"Connections of this listener at the same time; more are closed when they arrive. 0: as many as transport.max_connections allows."`
	Anonymous      *bool  `yaml:"anonymous" doc:"false: nobody comes in here without a user name or a certificate. Absent or true: as the section anonymous says."`
	ProxyProtocol  bool   `yaml:"proxy_protocol" doc:"Each connection begins with a header of the PROXY protocol, version 1 or 2, which says who the real client is; one without is closed. Only the proxy should be able to reach such a listener."`
	TLS            *TLS   `yaml:"tls" doc:"Encryption. Absent: none."`
}

const unixPrefix = "unix:"

// Validate checks the settings, but not the files that they name.
func (l ListenConfig) Validate() error {
	var errs []error
	path, isUnix := strings.CutPrefix(l.Address, unixPrefix)
	switch {
	case l.Address == "":
		errs = append(errs, errors.New("a listener needs an address"))
	case isUnix && path == "":
		errs = append(errs, errors.New("unix: needs the path of a socket"))
	case !isUnix:
		errs = append(errs, checkAddress(l.Address))
	}
	if _, err := l.mode(); err != nil {
		errs = append(errs, err)
	} else if l.Mode != "" && !isUnix {
		errs = append(errs, errors.New("mode is for Unix sockets"))
	}
	if l.MaxConnections < 0 {
		errs = append(errs, errors.New("max_connections must not be negative"))
	}
	return errors.Join(errs...)
}

// checkAddress says what is wrong with a host and a port. Whether the host is there
// is seen when it is listened on.
func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q is not a host and a port, such as 127.0.0.1:1883, or :1883 for all addresses", address)
	}
	if _, err := net.LookupPort("tcp", port); err != nil || port == "" {
		return fmt.Errorf("address %q: %q is no port: a number from 0 to 65535", address, port)
	}
	return nil
}

// mode is that of a Unix socket.
func (l ListenConfig) mode() (uint32, error) {
	if l.Mode == "" {
		return 0o660, nil
	}
	m, err := strconv.ParseUint(l.Mode, 8, 32)
	if err != nil || m > 0o777 {
		return 0, fmt.Errorf("mode %q is not one such as 0660", l.Mode)
	}
	return uint32(m), nil
}

// plain says that connections can be served as they are accepted.
func (l ListenConfig) plain() bool {
	return l.TLS == nil && !l.ProxyProtocol && !strings.HasPrefix(l.Address, unixPrefix)
}

// Listen serves the connections that arrive. newHandler makes the protocol's
// side of each. It returns the address that is really listened on.
func (s *Server) Listen(lc ListenConfig, newHandler func(*Conn) Handler) (net.Addr, error) {
	e, err := s.newEntrance(lc)
	if err != nil {
		return nil, err
	}
	switch {
	case !lc.plain():
		e.timed = true
		e.pass = func(w *Wire, st *tlsConn) {
			if st == nil {
				s.ServeStream(w, Plain(w), false, newHandler)
			} else {
				s.ServeStream(w, newTLSStream(st), false, newHandler)
			}
		}
		s.spawned.Add(1)
		go s.accept(e.ln, e.take)
	case len(s.loops) > 0:
		if err := s.loops[0].listen(e.ln.(*net.TCPListener), e.door, newHandler); err != nil {
			e.ln.Close()
			return nil, fmt.Errorf("listen on %s: %w", lc.Address, err)
		}
	default:
		s.spawned.Add(1)
		go s.accept(e.ln, func(nc net.Conn) { s.serve(nc.(*net.TCPConn), e.door, newHandler) })
	}
	return e.ln.Addr(), nil
}

// Accept opens a listener for a protocol with a handshake of its own, such as
// HTTP. What it gives is a *Wire, or a *tls.Conn of which the handshake is over,
// with a Wire below (see WireOf) for ServeStream. They count as connections until
// they are closed, and have no deadline: the further handshake is the caller's
// to bound in time.
func (s *Server) Accept(lc ListenConfig) (net.Listener, error) {
	e, err := s.newEntrance(lc)
	if err != nil {
		return nil, err
	}
	q := &acceptQueue{Listener: e.ln, ready: make(chan net.Conn), done: make(chan struct{})}
	e.pass = q.put
	if err := s.keep(q); err != nil {
		return nil, err
	}
	s.spawned.Add(1)
	go s.accept(e.ln, e.take)
	return q, nil
}

// bind opens a socket that Close will close.
func (s *Server) bind(lc ListenConfig) (ln net.Listener, err error) {
	if path, ok := strings.CutPrefix(lc.Address, unixPrefix); ok {
		mode, err := lc.mode()
		if err != nil {
			return nil, err
		}
		if ln, err = listenUnix(path, mode); err != nil {
			return nil, err
		}
	} else if ln, err = net.Listen("tcp", lc.Address); err != nil {
		return nil, err
	}
	return ln, s.keep(ln)
}

// keep has Close close a listener, or does so if it has come before.
func (s *Server) keep(ln net.Listener) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		ln.Close()
		return net.ErrClosed
	}
	s.listeners = append(s.listeners, ln)
	return nil
}

// WireOf returns the wire below a connection that was accepted by Accept, nil of
// any other.
func WireOf(c net.Conn) *Wire {
	for {
		switch l := c.(type) {
		case *Wire:
			return l
		case interface{ NetConn() net.Conn }: // TLS
			c = l.NetConn()
		default:
			return nil
		}
	}
}
