package e2e

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// webLibraries are clients that connect by WebSocket: the two that others have
// written, and the script of the broker's own example page.
var webLibraries = []library{
	{name: "paho", start: script(python, pahoPy, "ws"), publish: publisher(python, pahoPy, "ws")},
	{name: "mqttjs", start: script("node", mqttJS, "ws"), publish: publisher("node", mqttJS, "ws")},
	{name: "page", start: script("node", pageJS), publish: publisher("node", pageJS)},
}

const (
	pageJS = "clients/page.mjs"
	wsMod  = "clients/node_modules/ws" // comes with mqtt.js
)

// webLibrariesThere says which of them is missing.
func webLibrariesThere() error {
	if _, err := os.Stat(wsMod); err != nil {
		return fmt.Errorf("ws: %w", err)
	}
	return librariesThere()
}

// TestWebClients is TestClients over WebSocket: what is published over it
// arrives over it, and by TCP.
func TestWebClients(t *testing.T) {
	peers.Need(t, webLibrariesThere())
	b := serveNaru(t, naruBinary(t))
	own := join(t, &session{addr: b.MQTT, id: "own"})
	sayReady(t, own)
	subscribers := []*program{libraries[0].start(t, b.MQTT, "sub-tcp", startOptions{filter: "m/+/+"})}
	for _, l := range webLibraries {
		subscribers = append(subscribers, l.start(t, b.WS, "sub-"+l.name, startOptions{filter: "m/+/+"}))
	}
	want := map[string][][]byte{}
	for _, l := range webLibraries {
		for qos := range byte(3) {
			topic := fmt.Sprintf("m/%s/%d", l.name, qos)
			want[topic] = payloadsFor(l)
			l.publish(t, b.WS, topic, qos, want[topic])
		}
	}
	for _, p := range subscribers {
		t.Run("to "+p.name, func(t *testing.T) { p.t = t; receiveAll(t, p, want) })
	}
}

// browser returns a Chromium, or says why there is none.
func browser() (string, error) {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("no Chromium is installed")
}

// TestPageInBrowser uses the example page as a person does: connect, subscribe,
// publish at each QoS, see hostile bytes as text, be told what goes wrong.
func TestPageInBrowser(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	own := join(t, &session{addr: b.MQTT, id: "own"})
	must(t, own.subscribe("demo/#", 2))
	page := openTab(t, "http://"+b.WS+"/")
	page.fill("connect", map[string]string{"id": "a-browser"})
	page.until("document.getElementById('state').textContent === 'connected'")
	page.fill("subscribe", map[string]string{"filter": "demo/#", "qos": "2"})
	page.until("document.querySelectorAll('#filters li').length === 1")
	for qos := range 3 {
		topic := fmt.Sprint("demo/", qos)
		page.fill("publish", map[string]string{"topic": topic, "qos": fmt.Sprint(qos), "payload": "grüße"})
		page.until(fmt.Sprintf("document.querySelectorAll('#messages tr').length === %d", qos+1))
		d := expectDelivery(t, own, topic, "grüße")
		must(t, own.acknowledge(d))
		if got := page.eval("[...document.querySelector('#messages tr').children].slice(1).map((e) => e.textContent).join('|')"); got != fmt.Sprintf("%s|grüße|%d|", topic, qos) {
			t.Errorf("the page shows %v", got)
		}
	}
	page.until("document.getElementById('acknowledged').textContent === '2'")
	const hostile = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	must(t, own.publish("demo/"+hostile, 1, true, []byte(hostile), 0), own.publish("demo/bytes", 0, false, []byte{0xff, 0}, 0))
	page.until("document.querySelectorAll('#messages tr').length === 5")
	if got := page.eval("document.querySelectorAll('#messages tr')[1].children[2].textContent"); got != hostile {
		t.Errorf("the hostile message is shown as %v", got)
	}
	if got := page.eval("document.querySelectorAll('#messages tr')[0].children[2].textContent"); got != "ff 00" {
		t.Errorf("bytes are shown as %v", got)
	}
	if page.eval("document.title === 'owned' || document.querySelectorAll('#messages img, #messages script').length > 0") != false {
		t.Error("a message has become a part of the page")
	}
	if file := os.Getenv("NARU_SCREENSHOT"); file != "" {
		picture, err := base64.StdEncoding.DecodeString(page.call("Page.captureScreenshot", nil)["data"].(string))
		must(t, err, os.WriteFile(file, picture, 0o644))
	}
	page.eval("document.querySelector('#filters button').click()")
	page.until("document.querySelectorAll('#filters li').length === 0")
	page.eval("document.getElementById('disconnect').click()")
	page.until("document.getElementById('state').textContent === 'not connected' && document.getElementById('error').hidden")
	if len(page.errors) > 0 {
		t.Errorf("the browser complains: %v", page.errors)
	}
	page.fill("connect", map[string]string{"url": "ws://127.0.0.1:1/mqtt"})
	page.until("document.getElementById('error').textContent.startsWith('no connection')")
}
