package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/config"
	"github.com/narumq/naru/core"
)

// What a start has to read in BenchmarkStart.
const (
	startSessions = 100_000
	startMessages = 1_000_000
)

// startConfig is a node on a directory that serves nobody.
func startConfig(b *testing.B, dir string) *config.Config {
	b.Helper()
	src := source{set: []string{
		"data_dir=" + dir, "bus.min_free_disk=0", "operator.enabled=false", "metrics.enabled=false", "amqp.enabled=false",
		"mqtt.listeners.0.address=127.0.0.1:0", "mqtt.sys_interval=0", "ws.enabled=false",
	}}
	cfg, _, err := src.load()
	if err != nil {
		b.Fatal(err)
	}
	return cfg
}

func startNode(b *testing.B, dir string) *node {
	b.Helper()
	n := newNode(startConfig(b, dir), slog.New(slog.DiscardHandler))
	if err := n.start(context.Background()); err != nil {
		b.Fatal(err)
	}
	return n
}

func stopNode(b *testing.B, n *node) {
	b.Helper()
	if err := n.close(context.Background()); err != nil {
		b.Fatal(err)
	}
}

// nobody is the owner of a session that is made by hand.
type nobody struct{}

func (nobody) Kick(error) {}

// fill makes the sessions, each with a subscription of its own, and then their
// messages, by the bus itself: as a broker would that had been told by clients.
func fill(b *testing.B, n *node) {
	b.Helper()
	vh := n.bus.VHost("/")
	for i := 0; i < startSessions; {
		t := n.bus.NewTurn()
		for end := min(i+500, startSessions); i < end; i++ {
			id := fmt.Sprintf("device-%06d", i)
			who := core.NewPrincipal(core.Identity{VHost: "/", ClientID: id, Protocol: "mqtt", Anonymous: true})
			s, _, wait, err := vh.OpenSession(t, core.SessionRequest{Principal: who, ClientID: id, Owner: nobody{}})
			if err != nil || wait != nil {
				b.Fatal(wait != nil, err)
			}
			if wait, err := s.Subscribe(t, fmt.Sprintf("devices/%06d/+", i), core.AtLeastOnce, 0); err != nil || wait != nil {
				b.Fatal(wait != nil, err)
			}
			s.Close(t, true)
		}
		t.End()
		n.bus.Sync()
	}
	pub, noise := vh.NewInternalPublisher(), rand.NewChaCha8([32]byte{})
	for i := 0; i < startMessages; {
		t := n.bus.NewTurn()
		for end := min(i+500, startMessages); i < end; i++ {
			m := t.Message()
			payload := make([]byte, 200)
			_, _ = noise.Read(payload) // which does not compress, and does not fail
			m.Exchange, m.Topic, m.Payload = vh.Topics(), fmt.Appendf(nil, "devices/%06d/x", i%startSessions), payload
			m.QoS, m.Persistent = core.AtLeastOnce, true
			if wait, err := pub.Publish(t, m); err != nil || wait != nil {
				b.Fatal(wait != nil, err)
			}
		}
		t.End()
		if i%10_000 == 0 {
			n.bus.Sync()
		}
	}
	n.bus.Sync()
}

// BenchmarkStart is the time from the start to the moment that clients are
// served, with 100,000 sessions away, each with a subscription, and 1,000,000
// messages of 200 bytes waiting for them. The store is made once: with
// TEST_BENCH_DIR there, for the next run too. What it reads is in the cache of
// the system, as after a restart of the process, not of the machine.
func BenchmarkStart(b *testing.B) {
	root := os.Getenv("TEST_BENCH_DIR")
	if root == "" {
		root = b.TempDir()
	}
	dir := filepath.Join(root, fmt.Sprintf("naru-start-%d-%d", startSessions, startMessages))
	if _, err := os.Stat(filepath.Join(dir, "whole")); err != nil {
		if err := os.RemoveAll(dir); err != nil {
			b.Fatal(err)
		}
		n := startNode(b, dir)
		fill(b, n)
		stopNode(b, n)
		if err := os.WriteFile(filepath.Join(dir, "whole"), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var used time.Duration
	var memory uint64
	for b.Loop() {
		b.StopTimer()
		runtime.GC()
		before, heap := processTime(b), heapInUse()
		b.StartTimer()
		n := startNode(b, dir)
		b.StopTimer()
		used += processTime(b) - before
		if stored, _ := n.bus.Stored(); stored != startMessages || n.bus.Gauges().Sessions != startSessions {
			b.Fatalf("%d messages, %d sessions", stored, n.bus.Gauges().Sessions)
		}
		memory = heapInUse() - heap
		stopNode(b, n)
		b.StartTimer()
	}
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(memory)/startSessions, "B/session")
}

// processTime is the CPU that this process has used.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
