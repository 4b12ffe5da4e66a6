package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scrape reads the metrics of a node whose names begin with prefix, by what
// stands before the value.
func scrape(t *testing.T, address, prefix string) map[string]float64 {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %s, %v", r.Status, err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(body)) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if all[name], err = strconv.ParseFloat(value, 64); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// TestFsyncSeconds: the histogram of syncs moves with each commit of the real
// store, and counts seconds: syncs follow one another, so that all of them
// together cannot take longer than the node lives.
func TestFsyncSeconds(t *testing.T) {
	began := time.Now()
	src := source{set: []string{
		"data_dir=" + t.TempDir(), "bus.min_free_disk=0", "operator.enabled=false", "metrics.address=127.0.0.1:0",
		"mqtt.listeners.0.address=127.0.0.1:0", "mqtt.sys_interval=0", "ws.enabled=false", "amqp.enabled=false",
	}}
	cfg, _, err := src.load()
	if err != nil {
		t.Fatal(err)
	}
	log, _ := newLogger(t.Output(), cfg.Log)
	n := newNode(cfg, log)
	t.Cleanup(func() {
		if err := n.close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if err := n.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var address string
	for _, p := range n.host.Plugins() {
		if p.Name() == "metrics" {
			address = p.(interface{ Addrs() []net.Addr }).Addrs()[0].String()
		}
	}
	before := scrape(t, address, "naru_fsync_seconds")
	const commits = 50
	for range commits + 1 { // the last may be told before it is counted
		b, done := n.store.NewBatch(), make(chan error)
		b.Set([]byte("~test"), make([]byte, 100))
		n.store.Commit(b, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	after := scrape(t, address, "naru_fsync_seconds")
	count := after["naru_fsync_seconds_count"] - before["naru_fsync_seconds_count"]
	if count < commits || after[`naru_fsync_seconds_bucket{le="+Inf"}`] != after["naru_fsync_seconds_count"] {
		t.Errorf("%v syncs are counted for %d commits:\n%v", count, commits, after)
	}
	sum, lived := after["naru_fsync_seconds_sum"]-before["naru_fsync_seconds_sum"], time.Since(began).Seconds()
	if sum <= 0 || sum > lived {
		t.Errorf("%v syncs took %v s of a life of %v s", count, sum, lived)
	}
	// A bucket for a tenth of a millisecond tells a good disk from a bad one, one of
	// seconds a bad one from none.
	for _, bound := range []float64{1e-4, 1} {
		near := false
		for name := range after {
			_, text, _ := strings.Cut(name, `le="`)
			le, err := strconv.ParseFloat(strings.TrimSuffix(text, `"}`), 64)
			near = near || err == nil && le >= bound/2 && le <= 2*bound
		}
		if !near {
			t.Errorf("no bucket is near %v s: %v", bound, after)
		}
	}
}
