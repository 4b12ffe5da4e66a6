package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/narumq/naru/config"
	"github.com/narumq/naru/core/transport"
)

// TestOpenTo: the log does not call this machine's only what a proxy opens to
// others, and not open to anonymous clients what is not.
func TestOpenTo(t *testing.T) {
	e := startEdge(t, `mqtt: {listeners: [{address: "127.0.0.1:0"}]}`)
	no, yes := false, true
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
	secure := func(clientAuth, userFrom string) *transport.TLS {
		return &transport.TLS{ClientAuth: clientAuth, UserFrom: userFrom}
	}
	const some, none = "; anonymous clients from this machine only", "; no anonymous clients"
	for _, c := range []struct {
		a         net.Addr
		l         transport.ListenConfig
		where     string
		anonymous string
	}{
		{local, transport.ListenConfig{}, "this machine only", some},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 1}, transport.ListenConfig{Anonymous: &yes}, "this machine only", some},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 1}, transport.ListenConfig{}, "every address that reaches it", some},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, transport.ListenConfig{}, "this machine only", some},
		{local, transport.ListenConfig{ProxyProtocol: true}, "the clients of a proxy on this machine, wherever they are", some},
		{&net.UnixAddr{Name: "/run/s", Net: "unix"}, transport.ListenConfig{ProxyProtocol: true}, "the clients of a proxy on this machine, wherever they are", some},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 5), Port: 1}, transport.ListenConfig{ProxyProtocol: true}, "the clients of every proxy that reaches it", some},
		{local, transport.ListenConfig{Anonymous: &no}, "this machine only", none},
		{local, transport.ListenConfig{TLS: secure("none", "cn")}, "this machine only", some},
		{local, transport.ListenConfig{TLS: secure("optional", "cn")}, "this machine only", some},
		{local, transport.ListenConfig{TLS: secure("required", "cn")}, "this machine only, with a client certificate", none},
		{local, transport.ListenConfig{TLS: secure("required", "none")}, "this machine only, with a client certificate", some},
		{local, transport.ListenConfig{Anonymous: &no, TLS: secure("required", "none")}, "this machine only, with a client certificate", none},
	} {
		got := e.node.openTo(c.a, c.l)
		if where, _, _ := strings.Cut(got, "; "); where != c.where || !strings.HasSuffix(got, c.anonymous) {
			t.Errorf("%v, %+v: open to %q, want %q and %q", c.a, c.l, got, c.where, c.anonymous)
		}
	}
}

// TestListenerVHost: a listener that names no vhost has the one that is always
// there. Asking whether settings are valid does not change them.
func TestListenerVHost(t *testing.T) {
	for _, protocol := range []string{"mqtt", "ws"} {
		load := func(listeners string) (config.Config, error) {
			c := config.Default()
			_, err := config.Load(&c, config.Sources{Set: []string{"vhosts=[{name: other}]", protocol + ".listeners=" + listeners}})
			return c, err
		}
		c, err := load(`[{address: "127.0.0.1:1"}, {address: "127.0.0.1:2", vhost: other}]`)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		if protocol == "mqtt" {
			got = []string{c.MQTT.Listeners[0].VHost, c.MQTT.Listeners[1].VHost}
		} else {
			got = []string{c.WS.Listeners[0].VHost, c.WS.Listeners[1].VHost}
		}
		if want := []string{"/", "other"}; !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, want %q", protocol, got, want)
		}
		if _, err := load(`[{address: "127.0.0.1:1", vhost: ""}]`); err == nil || !strings.Contains(err.Error(), "no vhost") {
			t.Errorf("%s: an empty vhost: %v", protocol, err)
		}
	}
	c := config.Default()
	c.MQTT.Listeners[0].VHost, c.WS.Listeners[0].VHost = "", ""
	if c.MQTT.Validate() == nil || c.WS.Validate() == nil || c.MQTT.Listeners[0].VHost != "" || c.WS.Listeners[0].VHost != "" {
		t.Errorf("%q and %q after Validate", c.MQTT.Listeners[0].VHost, c.WS.Listeners[0].VHost)
	}
}

// TestReloadOrigins: a web page that is added to the configuration of a running
// node may connect.
func TestReloadOrigins(t *testing.T) {
	src := source{set: []string{
		"store.engine=memory", "operator.enabled=false", "metrics.enabled=false", "amqp.enabled=false", "mqtt.listeners.0.address=127.0.0.1:0",
		"ws.listeners.0.address=127.0.0.1:0",
	}}
	cfg, report, err := src.load()
	if err != nil {
		t.Fatal(err)
	}
	log, level := newLogger(t.Output(), cfg.Log)
	n := newNode(cfg, log)
	t.Cleanup(func() {
		if err := n.close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask := func() int {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, "http://"+n.ws.Addrs()[0].String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{
			"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
			"Sec-WebSocket-Protocol": "mqtt", "Origin": "https://app.example",
		} {
			r.Header.Set(k, v)
		}
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusSwitchingProtocols {
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		return resp.StatusCode
	}
	if code := ask(); code != http.StatusForbidden {
		t.Errorf("before: %d", code)
	}
	rel := newReloader(n, level, src, report)
	rel.src.set = append(rel.src.set, "ws.origins=[https://app.example]")
	done, err := rel.reload()
	if err != nil || len(done.Changed) != 1 || !strings.HasPrefix(done.Changed[0], "ws.origins") || len(done.Restart) != 0 {
		t.Fatalf("%+v, %v", done, err)
	}
	if code := ask(); code != http.StatusSwitchingProtocols {
		t.Errorf("after: %d", code)
	}
}
