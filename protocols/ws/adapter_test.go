package ws

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt"
)

// TestProtocols: two protocols share a listener; one speaks text, and is told
// which listener its clients have come by.
func TestProtocols(t *testing.T) {
	vhosts := make(chan string, 1)
	b := newBox(t, func(o *boxOptions) {
		o.Listeners[0].VHost = "elsewhere"
		o.protocols = func(a *mqtt.Adapter) []Protocol {
			return append(carriesMQTT(a), Protocol{Names: []string{"v12.stomp"}, Text: true, Handler: func(l Listener) func(*transport.Conn) transport.Handler {
				vhosts <- l.VHost
				return func(*transport.Conn) transport.Handler { return echo{} }
			}})
		}
	})
	if v := <-vhosts; v != "elsewhere" {
		t.Errorf("the protocol is told vhost %q", v)
	}
	c := b.dial(func(d *websocket.Dialer) { d.Subprotocols = []string{"v12.stomp"} })
	for _, s := range []struct {
		send int
		data string
		want int
	}{
		{websocket.TextMessage, "grüße", websocket.TextMessage},
		{websocket.BinaryMessage, "grüße", websocket.TextMessage},
		{websocket.BinaryMessage, "gr\xc3", websocket.BinaryMessage}, // no text: a browser would end the connection
	} {
		if err := c.WriteMessage(s.send, []byte(s.data)); err != nil {
			t.Fatal(err)
		}
		if kind, got, err := c.ReadMessage(); err != nil || kind != s.want || string(got) != s.data {
			t.Errorf("%q as %d is answered by %q as %d, %v", s.data, s.send, got, kind, err)
		}
	}
}

// TestUpgradeRefused: what is no handshake for a protocol that is here is
// answered by an HTTP status and a reason.
func TestUpgradeRefused(t *testing.T) {
	b := newBox(t)
	for _, s := range []struct {
		name, old, new string
		status         string
		text           string
	}{
		{"no sub-protocol", "Sec-WebSocket-Protocol: mqtt\r\n", "", "400", "here are mqtt, mqttv3.1"},
		{"unknown sub-protocol", ": mqtt\r\n", ": chat\r\n", "400", "here are mqtt, mqttv3.1"},
		{"old version", "Version: 13", "Version: 8", "400", "13"},
		{"no key", "Sec-WebSocket-Key", "X-Key", "400", "Sec-WebSocket-Key"},
		{"not GET", "GET ", "PUT ", "405", "GET"},
		{"no Host", "Host: localhost\r\n", "", "400", "Host"},
	} {
		t.Run(s.name, func(t *testing.T) {
			c := b.tcp()
			c.write([]byte(strings.Replace(upgradeHead+"Sec-WebSocket-Protocol: mqtt\r\n\r\n", s.old, s.new, 1)))
			answer, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 "+s.status+" ") || !strings.Contains(string(answer), s.text) {
				t.Errorf("answered by %q, %v", answer, err)
			}
		})
	}
	// In a second line of offers.
	c := b.tcp()
	c.write([]byte(upgradeHead + "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"))
	if head := c.head(); !strings.HasPrefix(head, "HTTP/1.1 101 ") {
		t.Errorf("answered by %q", head)
	}
}

// TestListenInUse: the address that cannot be had is named, and what was opened
// before is closed again.
func TestListenInUse(t *testing.T) {
	b := newBox(t)
	cfg := DefaultConfig()
	cfg.Listeners = []Listener{cfg.Listeners[0], cfg.Listeners[0]}
	cfg.Listeners[0].Address, cfg.Listeners[1].Address = "127.0.0.1:0", b.addr
	second := New(b.srv, cfg, carriesMQTT(b.mqtt), b.ws.log)
	err := second.Start(t.Context())
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), b.addr) {
		t.Errorf("the address in use gives %v", err)
	}
	if err := second.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", second.Addrs()[0].String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the first listener of the adapter that has stopped: %v", err)
	}
	b.connect("first").sendHex("e0 00")
}

// TestMaxConnections: those who are too many are let go.
func TestMaxConnections(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.conn.MaxConnections = 2 })
	one, two := b.connect("one"), b.connect("two")
	c := b.tcp()
	_, _ = c.Write(append([]byte(upgradeHead+"Sec-WebSocket-Protocol: mqtt\r\n\r\n"), frame(0x82, connectPacket("three"))...))
	if answer, _ := io.ReadAll(c); strings.Contains(string(answer), "\x20\x02") { // closed, in order or not
		t.Error("a third connection is served")
	}
	for _, c := range []*client{one, two} {
		c.sendHex("c0 00")
		c.want(raw("d0 00"))
	}
	if n := b.srv.Open(); n != 2 {
		t.Errorf("%d connections are open", n)
	}
}

// TestStopDuringHandshake: Stop closes those who have not finished the request,
// and leaves to the transport those who have.
func TestStopDuringHandshake(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.conn.AuthTimeout = time.Hour })
	begun, upgraded := b.tcp(), b.upgrade()
	begun.write([]byte("GET / HTTP/1.1\r\n"))
	if err := b.ws.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(begun); errors.Is(err, syscall.ETIMEDOUT) {
		t.Errorf("the request that had begun: %v", err)
	}
	upgraded.write(frame(0x82, connectPacket("still")))
	upgraded.want(raw("82 04 20 02 00 00"))
}

func TestConfig(t *testing.T) {
	for _, s := range []struct {
		change func(*Config)
		want   string // in the error, "": there is none
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Origins = []string{"*", "https://a.example", "http://b:8080/"} }, ""},
		{func(c *Config) { c.Origins = []string{"a.example"} }, "origins.0"},
		{func(c *Config) { c.Origins = []string{"*", "https://a.example/app"} }, "origins.1"},
		{func(c *Config) { c.Origins = []string{"https://user@a.example"} }, "origins.0"},
		{func(c *Config) { c.MaxMessageSize = 1023 }, "max_message_size"},
	} {
		c := DefaultConfig()
		s.change(&c)
		if err := c.Validate(); (err == nil) != (s.want == "") || err != nil && !strings.Contains(err.Error(), s.want) {
			t.Errorf("%+v: %v, want %q", c, err, s.want)
		}
	}
	c := Config{MaxMessageSize: 1024, Listeners: []Listener{{ListenConfig: transport.ListenConfig{Address: ":1"}}}}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "listeners.0: no vhost") || c.Listeners[0].VHost != "" {
		t.Errorf("vhost %q, %v", c.Listeners[0].VHost, err)
	}
	if c.Listeners[0].SetDefaults(); c.Validate() != nil || c.Listeners[0].VHost != "/" {
		t.Errorf("by default vhost %q, %v", c.Listeners[0].VHost, c.Validate())
	}
}

// TestConfigure: what changes while the adapter runs holds for the next request,
// and leaves alone who is connected.
func TestConfigure(t *testing.T) {
	b := newBox(t)
	before := b.upgrade()
	ask := func(head string) string {
		c := b.tcp()
		c.write([]byte(upgradeHead + "Sec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n" + head + "\r\n"))
		return c.head()
	}
	const origin = "Origin: https://app.example\r\n"
	if head := ask(origin); !strings.HasPrefix(head, "HTTP/1.1 403 ") {
		t.Errorf("a page that is not listed is answered by %q", head)
	}
	cfg := DefaultConfig()
	cfg.Origins, cfg.Compression, cfg.MaxMessageSize, cfg.Page = []string{"https://app.example"}, true, 1024, false
	b.ws.Configure(cfg)
	if head := ask(origin); !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "permessage-deflate") {
		t.Errorf("a page that is listed now is answered by %q", head)
	}
	if resp, _ := b.get(http.MethodGet, "/"); resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("the page that is switched off: %s", resp.Status)
	}
	after := b.upgrade()
	large := append(raw("30 8f 10 0001'a'"), make([]byte, 2060)...)
	after.write(frame(0x82, append(connectPacket("after"), large...)))
	after.want(raw("88 02 03f1")) // 1009: too big
	before.write(frame(0x82, append(connectPacket("before"), large...)))
	before.want(raw("82 04 20 02 00 00"))

	b.ws.Configure(DefaultConfig())
	if head := ask(origin); !strings.HasPrefix(head, "HTTP/1.1 403 ") {
		t.Errorf("a page that is listed no more is answered by %q", head)
	}
	if head := ask(""); strings.Contains(head, "permessage-deflate") {
		t.Errorf("compression that is switched off again is offered: %q", head)
	}
}

// TestNoKeepAlive: a connection that was good for a page is closed, and holds
// nothing.
func TestNoKeepAlive(t *testing.T) {
	b := newBox(t)
	c := b.tcp()
	c.write([]byte("GET /page.css HTTP/1.1\r\nHost: localhost\r\n\r\n"))
	answer, err := io.ReadAll(c)
	if err != nil || !strings.Contains(string(answer), "Connection: close") {
		t.Errorf("%q, %v", answer[:min(len(answer), 300)], err)
	}
	if resp, _ := b.get(http.MethodGet, "/"); resp.ProtoMajor != 1 {
		t.Errorf("HTTP/%d", resp.ProtoMajor)
	}
}
