package transport

import (
	"bufio"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// readProxyHeader reads the header of the PROXY protocol, and sets the peer of
// the wire to the client that it names. What was read beyond it, the wire gives
// to who reads next.
func readProxyHeader(w *Wire) error {
	r := bufio.NewReaderSize(w.Conn, 512)
	h, err := proxyproto.Read(r)
	if err != nil {
		return err
	}
	if n := r.Buffered(); n > 0 {
		rest, _ := r.Peek(n) // it is there
		w.head = append([]byte(nil), rest...)
	}
	w.peer, w.proxied = proxiedPeer(h, w.peer), true
	return nil
}

// proxiedPeer returns the peer that a header names, seen from this machine. Rights
// hang on whether that is a loopback address, so nobody gets one who only might
// be here: not a client of which a proxy on this machine says nothing, and not
// one that a proxy elsewhere calls local, which is local there.
func proxiedPeer(h *proxyproto.Header, proxy netip.AddrPort) netip.AddrPort {
	told := netip.AddrPort{}
	if a, ok := h.SourceAddr.(*net.TCPAddr); ok && h.Command.IsProxy() {
		told = addrPort(a)
	}
	here := proxy.Addr().IsLoopback()
	switch {
	case told.IsValid() && (here || !told.Addr().IsLoopback()):
		return told
	case here:
		return netip.AddrPort{}
	}
	return proxy
}
