package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/narumq/naru/core"
)

// startIn starts a node on a data directory, with vhosts and users as given.
func startIn(t *testing.T, dir, yaml string) *node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "naru.yaml")
	text := yaml + `
data_dir: ` + dir + `
bus: {min_free_disk: 0}
amqp: {listeners: [{address: "127.0.0.1:0"}]}
mqtt: {enabled: false}
ws: {enabled: false}
metrics: {enabled: false}
operator: {enabled: false}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := (&source{file: file}).load()
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(cfg, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { halt(t, n) })
	if err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func halt(t *testing.T, n *node) {
	t.Helper()
	if err := n.close(context.Background()); err != nil {
		t.Errorf("close: %v", err)
	}
}

// enter opens a vhost as guest.
func enter(t *testing.T, n *node, vhost string) (*rabbit.Channel, error) {
	t.Helper()
	c, err := rabbit.DialConfig("amqp://"+n.amqp.Addrs()[0].String(), rabbit.Config{Vhost: vhost})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { c.Close() }) // it may have ended
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch, nil
}

// TestRemovedVHost: docs/operations.md says what becomes of a vhost that is taken out
// of the configuration. While it holds something durable it is served as before, but
// for its limits; without, it is gone.
func TestRemovedVHost(t *testing.T) {
	dir := t.TempDir()
	n := startIn(t, dir, `vhosts: [{name: old, max_queues: 1, queues: [{name: jobs}]}, {name: empty}]`)
	ch, err := enter(t, n, "old")
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	confirm, err := ch.PublishWithDeferredConfirm("", "jobs", true, false, rabbit.Publishing{DeliveryMode: rabbit.Persistent, Body: []byte("x")})
	if err != nil || !confirm.Wait() {
		t.Fatalf("not confirmed: %v", err)
	}
	if _, err := ch.QueueDeclare("more", true, false, false, false, nil); err == nil {
		t.Error("there is no limit of queues to begin with")
	}
	halt(t, n)

	n = startIn(t, dir, "")
	var names []string
	for _, vh := range n.bus.VHosts() {
		names = append(names, vh.Name())
	}
	if got := strings.Join(names, " "); got != "/ old" {
		t.Errorf("vhosts: %s", got)
	}
	if l := n.bus.VHostLimits("old"); l.Connections != core.Unlimited || l.Queues != core.Unlimited {
		t.Errorf("limits: %+v", l)
	}
	if _, err := enter(t, n, "empty"); err == nil || !strings.Contains(err.Error(), "vhost empty not found") {
		t.Errorf("a vhost that held nothing: %v", err)
	}
	ch, err = enter(t, n, "old")
	if err != nil {
		t.Fatal(err)
	}
	if d, ok, err := ch.Get("jobs", true); err != nil || !ok || string(d.Body) != "x" {
		t.Errorf("what was in its queue: %q, %v, %v", d.Body, ok, err)
	}
	if _, err := ch.QueueDelete("jobs", false, false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("passing", false, false, true, false, nil); err != nil { // not durable
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("durable", "fanout", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	halt(t, n)

	n = startIn(t, dir, "")
	if ch, err = enter(t, n, "old"); err != nil {
		t.Fatalf("while an exchange is left: %v", err)
	}
	if err := ch.ExchangeDelete("durable", false, false); err != nil {
		t.Fatal(err)
	}
	halt(t, n)

	n = startIn(t, dir, "")
	if _, err := enter(t, n, "old"); err == nil || !strings.Contains(err.Error(), "vhost old not found") {
		t.Errorf("when nothing is left in it: %v", err)
	}
}

// TestRemovedVHostNamed: nothing in the configuration may name a vhost that is not in
// it, whatever is on disk.
func TestRemovedVHostNamed(t *testing.T) {
	for _, yaml := range []string{
		"users: {alice: {certificate: true, vhosts: [old]}}", "users: {alice: {certificate: true, permissions: {old: {}}}}", "anonymous: {vhosts: [old]}",
		"mqtt: {listeners: [{address: '127.0.0.1:0', vhost: old}]}", "policies: [{name: p, vhost: old, pattern: x, definition: {max-length: '1'}}]",
	} {
		file := filepath.Join(t.TempDir(), "naru.yaml")
		if err := os.WriteFile(file, []byte(yaml+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := (&source{file: file}).load(); err == nil || !strings.Contains(err.Error(), `there is no vhost "old"`) {
			t.Errorf("%s: %v", yaml, err)
		}
	}
}
