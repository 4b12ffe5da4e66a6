package ws

import (
	"bufio"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core/transport"
)

// handler serves the requests of a listener.
func (a *Adapter) handler(l Listener) http.Handler {
	makers := make(map[string]func(*transport.Conn) transport.Handler)
	for name, p := range a.protocols {
		makers[name] = p.Handler(l)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.wg.Add(1) // an upgrade outlives what count counts
		defer a.wg.Done()
		if !websocket.IsWebSocketUpgrade(r) {
			a.servePage(w, r)
			return
		}
		cfg := a.conf()
		if !cfg.allowed(r) {
			a.refuse(w, r, http.StatusForbidden, "pages of this origin may not connect; the broker's configuration lists those that may in ws.origins")
			return
		}
		name := a.choose(r)
		if name == "" {
			a.refuse(w, r, http.StatusBadRequest, fmt.Sprintf("offer a sub-protocol in Sec-WebSocket-Protocol; here are %s",
				strings.Join(slices.Sorted(maps.Keys(a.protocols)), ", ")))
			return
		}
		a.upgrade(w, r, cfg, name, makers[name])
	})
}

// choose returns the first sub-protocol offered that is served here.
func (a *Adapter) choose(r *http.Request) string {
	for _, line := range r.Header.Values("Sec-Websocket-Protocol") {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.TrimSpace(name)
			if _, ok := a.protocols[name]; ok {
				return name
			}
		}
	}
	return ""
}

// upgrade makes a WebSocket of a request and hands it to the transport.
func (a *Adapter) upgrade(w http.ResponseWriter, r *http.Request, cfg *Config, name string, make func(*transport.Conn) transport.Handler) {
	h := &hijacker{ResponseWriter: w}
	u := a.upgrader
	u.EnableCompression = cfg.Compression
	conn, err := u.Upgrade(h, r, http.Header{"Sec-Websocket-Protocol": {name}})
	if err != nil {
		return // and has been answered, or there is nobody left
	}
	conn.SetReadLimit(cfg.MaxMessageSize)
	s := &stream{ws: conn, br: h.br, in: h.in, text: a.protocols[name].Text, max: cfg.MaxMessageSize}
	a.srv.ServeStream(transport.WireOf(h.in), s, true, func(tc *transport.Conn) transport.Handler {
		s.conn = tc
		return make(tc)
	})
}

// refuse answers a request that is not served. Nothing of the request is told
// but where it came from: its head may hold secrets.
func (a *Adapter) refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	a.log.Debug("WebSocket refused", "peer", r.RemoteAddr, "status", status, "reason", text)
	http.Error(w, text, status)
}

// refuseUpgrade is refuse for what gorilla finds wrong.
func (a *Adapter) refuseUpgrade(w http.ResponseWriter, r *http.Request, status int, reason error) {
	w.Header().Set("Sec-Websocket-Version", "13")
	a.refuse(w, r, status, reason.Error())
}

// A hijacker takes the connection from net/http and gives gorilla a small
// buffer for it. What has been read already is not lost.
type hijacker struct {
	http.ResponseWriter
	in *ahead
	br *bufio.Reader
}

// frameBuffer is the size of the buffer that every connection has: enough for
// the head of a frame and for a whole control frame. gorilla takes none of 256
// bytes or less.
const frameBuffer = 272

// Hijack is called by gorilla.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, brw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.in = newAhead(nc, brw.Reader)
	h.br = bufio.NewReaderSize(h.in, frameBuffer)
	return h.in, bufio.NewReadWriter(h.br, bufio.NewWriterSize(nc, frameBuffer)), nil
}
