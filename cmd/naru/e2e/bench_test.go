package e2e

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"

	"github.com/narumq/naru/cmd/naru/bench"
)

// TestBenchOver: the load generator counts right over everything that MQTT goes
// over, with messages in one frame or record, and in many.
func TestBenchOver(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the load runs on Linux only")
	}
	for _, load := range []struct{ kind, qos, n, size, messages string }{
		{"pairs", "2", "5", "200", "2000"},
		{"fanout", "1", "3", "100000", "100"},
	} {
		t.Run(load.kind, func(t *testing.T) {
			p := runNaru(t, naruBinary(t), t.TempDir(), "bench", load.kind, "--over", "tcp,tls,ws,wss", "--json", "--qos", load.qos,
				"--n", load.n, "--size", load.size, "--messages", load.messages, "--window", "16", "--data", t.TempDir())
			var results []bench.Result
			if err := json.Unmarshal([]byte(p.out), &results); err != nil || p.code != 0 {
				t.Fatalf("exit code %d, %v\n%s%s", p.code, err, p.out, p.err)
			}
			if len(results) != 4 {
				t.Fatalf("%d results", len(results))
			}
			for i, r := range results {
				var want int64
				fmt.Sscan(load.messages, &want)
				if load.kind == "fanout" {
					want *= 3
				}
				if r.Messages != want || r.Lost != 0 || r.Broken() != nil || r.Scenario.Over != bench.Overs()[i] {
					t.Errorf("over %v: %d messages of %d, %d lost, %v", r.Scenario.Over, r.Messages, want, r.Lost, r.Broken())
				}
			}
		})
	}
	p := runNaru(t, naruBinary(t), t.TempDir(), "bench", "--over", "carrier-pigeon")
	if p.code == 0 {
		t.Errorf("a pigeon: %+v", p)
	}
}

// TestBenchAMQP: it counts right in AMQP, and from MQTT to AMQP.
func TestBenchAMQP(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the load runs on Linux only")
	}
	p := runNaru(t, naruBinary(t), t.TempDir(), "bench", "pairs", "--protocol", "amqp,mqtt-amqp", "--json", "--qos", "0,1",
		"--n", "5", "--messages", "2000", "--window", "16", "--data", t.TempDir())
	var results []bench.Result
	if err := json.Unmarshal([]byte(p.out), &results); err != nil || p.code != 0 {
		t.Fatalf("exit code %d, %v\n%s%s", p.code, err, p.out, p.err)
	}
	if len(results) != 4 {
		t.Fatalf("%d results", len(results))
	}
	for _, r := range results {
		if r.Messages != 2000 || r.Lost != 0 || r.Broken() != nil || (r.ConfirmP99 > 0) != (r.Scenario.QoS > 0) {
			t.Errorf("%s: %d messages, %d lost, %v, acknowledged after %v", r.Label, r.Messages, r.Lost, r.Broken(), r.ConfirmP99)
		}
	}
	if p := runNaru(t, naruBinary(t), t.TempDir(), "bench", "--protocol", "semaphore"); p.code == 0 {
		t.Errorf("flags: %+v", p)
	}
}
