package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// A ListenConfig says where and how connections are accepted. Each protocol's
// own listener has one within it.
type ListenConfig struct {
	Address string `yaml:"address" doc:"Host and port, such as 127.0.0.1:1883 or :1883."`
}

// Validate checks the settings.
func (l ListenConfig) Validate() error {
	if l.Address == "" {
		return errors.New("a listener needs an address")
	}
	return nil
}

// Listen serves the connections that arrive. newHandler makes the protocol's
// side of each. It returns the address that is really listened on.
func (s *Server) Listen(lc ListenConfig, newHandler func(*Conn) Handler) (net.Addr, error) {
	ln, err := s.bind(lc)
	if err != nil {
		return nil, err
	}
	if len(s.loops) > 0 {
		if err := s.loops[0].listen(ln.(*net.TCPListener), newHandler); err != nil {
			ln.Close()
			return nil, fmt.Errorf("listen on %s: %w", lc.Address, err)
		}
	} else {
		s.spawned.Add(1)
		go s.accept(ln, newHandler)
	}
	return ln.Addr(), nil
}

// bind opens a socket that Close will close.
func (s *Server) bind(lc ListenConfig) (net.Listener, error) {
	ln, err := net.Listen("tcp", lc.Address)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		ln.Close()
		return nil, net.ErrClosed
	}
	s.listeners = append(s.listeners, ln)
	return ln, nil
}

// Accept opens a listener for a protocol with a handshake of its own, such as
// HTTP. The connections it accepts have a Wire below them (see WireOf) for
// ServeStream; their handshakes are the caller's to bound in time.
func (s *Server) Accept(lc ListenConfig) (net.Listener, error) {
	ln, err := s.bind(lc)
	if err != nil {
		return nil, err
	}
	return wireListener{ln}, nil
}

// A wireListener accepts wires.
type wireListener struct{ net.Listener }

func (l wireListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w, err := NewWire(nc, nil)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return w, nil
}

// WireOf returns the wire below a connection that was accepted by Accept, and
// the address of its peer.
func WireOf(c net.Conn) (*Wire, netip.AddrPort) {
	for {
		switch l := c.(type) {
		case *Wire:
			return l, addrPort(l.RemoteAddr())
		case interface{ NetConn() net.Conn }: // TLS
			c = l.NetConn()
		default:
			return nil, netip.AddrPort{}
		}
	}
}
