package ws

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// allowed says whether a web page of the request's Origin may connect. A
// browser lets any page of the world open a WebSocket to this machine, so the
// page must be of the host that it talks to, of localhost, or listed.
//
// What reaches a loopback address by a name that is not this machine's own was
// led here by somebody's DNS (rebinding): there the same host proves nothing.
func (c *Config) allowed(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	switch len(origins) {
	case 0:
		return true // not a browser
	case 1:
	default:
		return false
	}
	u, err := url.Parse(origins[0])
	if err != nil || u.Host == "" {
		return c.lists(origins[0]) // such as null, which only * can list
	}
	from, to := u.Hostname(), hostOf(r.Host)
	if isLocal(from) {
		return true
	}
	same := strings.EqualFold(from, to) && (isOwn(to) || !atLoopback(r))
	return same || c.lists(origins[0])
}

func (c *Config) lists(origin string) bool {
	for _, o := range c.Origins {
		if o == "*" || strings.EqualFold(strings.TrimSuffix(o, "/"), origin) {
			return true
		}
	}
	return false
}

// hostOf returns the host of a Host header.
func hostOf(hostPort string) string {
	if h, _, err := net.SplitHostPort(hostPort); err == nil {
		return h
	}
	return strings.Trim(hostPort, "[]")
}

// isLocal says whether a name can be nothing but this machine.
func isLocal(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// isOwn says whether a name is one of this machine's.
func isOwn(host string) bool {
	if isLocal(host) {
		return true
	}
	name, err := os.Hostname()
	return err == nil && strings.EqualFold(host, name)
}

// atLoopback says whether a request has come in at a loopback address.
func atLoopback(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return true
	}
	tcp, ok := addr.(*net.TCPAddr)
	return !ok || tcp.IP.IsLoopback()
}
