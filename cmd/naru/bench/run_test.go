package bench

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

func needsLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the load runs on Linux only")
	}
}

// small is a scenario that is over in a moment.
func small(kind Kind, qos byte, n int, messages int64) Scenario {
	s := Defaults(kind)
	s.QoS, s.N, s.Messages, s.Timeout = qos, n, messages, 5*time.Second
	return s
}

// counts is what of a Result the faults change.
type counts struct{ delivered, lost, repeated, reordered, corrupt int64 }

// A broker's faults show, each as what it is and no more of them than there were.
func TestFaultsShow(t *testing.T) {
	needsLinux(t)
	every := func(k int, faulty func(payload []byte) [][]byte) func(int, packet) [][]byte {
		return func(n int, p packet) [][]byte {
			if n%k == 0 {
				return faulty(payloadOf(p))
			}
			return [][]byte{payloadOf(p)}
		}
	}
	var kept []byte // a message held back until the next one has gone
	tests := []struct {
		name   string
		qos    byte
		piece  int
		fault  func(int, packet) [][]byte
		want   counts
		broken string // in the fault report; "" for none
	}{
		{"honest", 1, 0,
			every(1, func(b []byte) [][]byte { return [][]byte{b} }),
			counts{delivered: 1050}, ""},
		{"honest, byte by byte", 1, 1,
			every(1, func(b []byte) [][]byte { return [][]byte{b} }),
			counts{delivered: 1050}, ""},
		{"loses at QoS 0", 0, 0,
			every(100, func([]byte) [][]byte { return nil }),
			counts{delivered: 1040, lost: 10}, ""},
		{"loses the last at QoS 0", 0, 0, // which nothing shows but the time that passes
			every(1050, func([]byte) [][]byte { return nil }),
			counts{delivered: 1049, lost: 1}, ""},
		{"repeats at QoS 0", 0, 0,
			every(100, func(b []byte) [][]byte { return [][]byte{b, b} }),
			counts{delivered: 1050, repeated: 10}, "10 duplicated"},
		{"repeats at QoS 1", 1, 0,
			every(100, func(b []byte) [][]byte { return [][]byte{b, b} }),
			counts{delivered: 1050, repeated: 10}, ""},
		{"alters a byte", 0, 0,
			every(100, func(b []byte) [][]byte { b[len(b)-1]++; return [][]byte{b} }),
			counts{delivered: 1040, corrupt: 10, lost: 10}, "10 corrupt"},
		{"cuts a payload", 0, 0,
			every(100, func(b []byte) [][]byte { return [][]byte{b[:10]} }),
			counts{delivered: 1040, corrupt: 10, lost: 10}, "10 corrupt"},
		{"swaps two", 0, 0,
			func(n int, p packet) [][]byte {
				switch {
				case n%100 == 75:
					kept = payloadOf(p)
					return nil
				case kept != nil:
					late := kept
					kept = nil
					return [][]byte{payloadOf(p), late}
				}
				return [][]byte{payloadOf(p)}
			},
			counts{delivered: 1050, reordered: 10}, "10 out of order"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			// One pair, so that the n-th publish is the n-th message.
			got, err := Run(t.Context(), startFaulty(t, test.piece, test.fault), small(Pairs, test.qos, 1, 1050))
			if err != nil {
				t.Fatal(err)
			}
			has := counts{got.Messages, got.Lost, got.Duplicates, got.Reordered, got.Corrupt}
			if has != test.want {
				t.Errorf("got %+v, want %+v", has, test.want)
			}
			report := ""
			if err := got.Broken(); err != nil {
				report = err.Error()
			}
			if (report == "") != (test.broken == "") || !strings.Contains(report, test.broken) {
				t.Errorf("fault report %q, want %q", report, test.broken)
			}
		})
	}
}

// At QoS 1 a message that never comes ends the run after the timeout, lost.
func TestLossAtQoS1(t *testing.T) {
	needsLinux(t)
	target := startFaulty(t, 0, func(n int, p packet) [][]byte {
		if n > 900 {
			return nil
		}
		return [][]byte{payloadOf(p)}
	})
	s := small(Pairs, 1, 1, 1000)
	s.Timeout = 500 * time.Millisecond
	got, err := Run(t.Context(), target, s)
	if err != nil {
		t.Fatal(err)
	}
	// The window closes 64 messages behind the last that arrived.
	if got.Messages != 900 || got.Published != 964 || got.Lost != 64 || got.Broken() == nil {
		t.Errorf("%d of %d delivered, %d lost, %v", got.Messages, got.Published, got.Lost, got.Broken())
	}
}

// Cancelling ends a run at once and leaves nothing behind.
func TestCancel(t *testing.T) {
	needsLinux(t)
	target := startFaulty(t, 0, func(_ int, p packet) [][]byte { return [][]byte{payloadOf(p)} })
	files := openFiles(t)
	ctx, cancel := context.WithCancel(t.Context())
	cause := time.AfterFunc(100*time.Millisecond, cancel)
	defer cause.Stop()
	s := small(Pairs, 0, 10, 0)
	s.Duration = time.Minute
	begin := time.Now()
	if _, err := Run(ctx, target, s); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	// The broker, in this process, closes its side a moment later.
	for deadline := time.Now().Add(5 * time.Second); openFiles(t) > files; {
		if time.Now().After(deadline) {
			t.Fatalf("%d files open, %d before", openFiles(t), files)
		}
		time.Sleep(time.Millisecond) // nothing tells when a peer has closed
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Targets take turns within a scenario, and what was measured before an error
// is not lost.
func TestRunAll(t *testing.T) {
	needsLinux(t)
	echo := func(_ int, p packet) [][]byte { return [][]byte{payloadOf(p)} }
	a, b := startFaulty(t, 0, echo), startFaulty(t, 0, echo)
	a.Name, b.Name = "a", "b"
	scenarios := []Scenario{small(Pairs, 0, 1, 10), small(Fanout, 1, 2, 10)}
	var order []string
	note := func(r Result) { order = append(order, string(r.Scenario.Kind)+" "+r.Target) }
	results, err := RunAll(t.Context(), []Target{a, b}, scenarios, 2, note)
	want := strings.Repeat("pairs a,pairs b,fanout a,fanout b,", 2)
	if got := strings.Join(order, ",") + ","; err != nil || got != want || len(results) != 8 {
		t.Errorf("%d results, %v, in the order %s", len(results), err, got)
	}
	nobody := Target{Name: "nobody", Addr: "127.0.0.1:1"}
	results, err = RunAll(t.Context(), []Target{a, nobody}, scenarios, 1, nil)
	if err == nil || !strings.Contains(err.Error(), "nobody") || len(results) != 1 {
		t.Errorf("%d results before %v", len(results), err)
	}
}

func TestRunRefuses(t *testing.T) {
	needsLinux(t)
	if _, err := Run(t.Context(), Target{Addr: "127.0.0.1:1"}, Scenario{Kind: "storm"}); err == nil {
		t.Error("an unknown scenario ran")
	}
	huge := Defaults(Idle)
	huge.N = 1 << 30
	if _, err := Run(t.Context(), Target{Addr: "127.0.0.1:1"}, huge); err == nil || !strings.Contains(err.Error(), "open files") {
		t.Errorf("a billion connections: %v", err)
	}
	// Nobody listens on port 1.
	if _, err := Run(t.Context(), Target{Addr: "127.0.0.1:1"}, small(Pairs, 0, 1, 1)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("no broker: %v", err)
	}
}
