package bench

import (
	"os"
	"strings"
	"testing"
	"time"
)

func startMosquitto(t *testing.T, extra ...string) Target {
	t.Helper()
	needsLinux(t)
	if _, err := os.Stat(mosquitto); err != nil {
		t.Skip("mosquitto is not installed")
	}
	target, stop, err := StartMosquitto(t.TempDir(), extra...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return target
}

// Over TLS too every message arrives, once.
func TestAccountingTLS(t *testing.T) {
	needsLinux(t)
	if _, err := os.Stat(mosquitto); err != nil {
		t.Skip("mosquitto is not installed")
	}
	dir := t.TempDir()
	cert, key, err := WriteCertificate(dir)
	if err != nil {
		t.Fatal(err)
	}
	target, stop, err := StartMosquittoTLS(dir, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, s := range []Scenario{small(Pairs, 1, 10, 10_000), small(Fanout, 0, 20, 200)} {
		s.Over = TLS
		got, err := Run(t.Context(), target, s)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[Kind]int64{Pairs: 10_000, Fanout: 4_000}[s.Kind]; got.Messages != want || got.Broken() != nil || got.Lost > 0 {
			t.Errorf("%v: %d messages, want %d; %d lost, %v", s, got.Messages, want, got.Lost, got.Broken())
		}
	}
	s := small(Pairs, 1, 1, 1)
	s.Over = WS
	if _, err := Run(t.Context(), target, s); err == nil || !strings.Contains(err.Error(), "does not serve") {
		t.Errorf("over WebSocket, which it does not have: %v", err)
	}
}

// On a real broker every message arrives, once, and the figures are there.
func TestAccounting(t *testing.T) {
	target := startMosquitto(t)
	tests := []struct {
		scenario Scenario
		want     int64
	}{
		{small(Pairs, 0, 10, 20_003), 20_003}, // not a multiple of the pairs
		{small(Pairs, 1, 10, 20_000), 20_000},
		{small(Pairs, 2, 10, 10_000), 10_000},
		{small(Persistent, 1, 10, 10_000), 10_000},
		{small(Persistent, 2, 10, 5_000), 5_000},
		{small(Paced, 1, 20, 2_000), 2_000},
		{small(Fanout, 0, 50, 500), 25_000},
		{small(Fanout, 1, 50, 500), 25_000},
		{small(Fanin, 1, 20, 20_000), 20_000},
		{small(Offline, 1, 5, 20_000), 20_000},
		{small(Offline, 2, 5, 10_000), 10_000},
	}
	for _, test := range tests {
		t.Run(test.scenario.String(), func(t *testing.T) {
			got, err := Run(t.Context(), target, test.scenario)
			if err != nil {
				t.Fatal(err)
			}
			if got.Messages != test.want {
				t.Errorf("%d delivered, want %d", got.Messages, test.want)
			}
			if err := got.Broken(); err != nil || got.Lost > 0 || got.Duplicates > 0 {
				t.Errorf("%d lost, %d duplicates, %v", got.Lost, got.Duplicates, err)
			}
			if got.Published != test.scenario.Messages {
				t.Errorf("%d published, want %d", got.Published, test.scenario.Messages)
			}
			// 10 us each with a factor of 20 either way: it is a test of the
			// arithmetic, not of the broker.
			if got.BrokerCPU < 0.5 || got.BrokerCPU > 200 || got.OwnCPU <= 0 {
				t.Errorf("broker %.2f us for each message, own %.2f", got.BrokerCPU, got.OwnCPU)
			}
			if got.PerSecond <= 0 || got.RSSBefore <= 0 || got.RSSPeak < got.RSSBefore {
				t.Errorf("%.0f/s, RSS %d, peak %d", got.PerSecond, got.RSSBefore, got.RSSPeak)
			}
			if size := got.Messages * int64(test.scenario.Size); got.BytesRead < size {
				t.Errorf("%d bytes read for %d of payload", got.BytesRead, size)
			}
			if got.Offline == nil && (got.P50 <= 0 || got.P99 < got.P50) {
				t.Errorf("p50 %v, p99 %v", got.P50, got.P99)
			}
			if o := got.Offline; o != nil && (o.PublishPerSecond <= 0 || o.DrainPerSecond <= 0 || o.FirstMedian <= 0 || o.FirstMax < o.FirstMedian || o.NextMax <= 0) {
				t.Errorf("offline figures %+v", *o)
			}
		})
	}
}

// By duration, only the span between the marks counts.
func TestDuration(t *testing.T) {
	target := startMosquitto(t)
	s := small(Pairs, 1, 10, 0)
	s.Warmup, s.Duration = 200*time.Millisecond, 500*time.Millisecond
	got, err := Run(t.Context(), target, s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Elapsed < s.Duration || got.Elapsed > s.Duration+2*time.Second {
		t.Errorf("took %v, want %v", got.Elapsed, s.Duration)
	}
	if got.Messages == 0 || got.Messages >= got.Published || got.Lost != 0 || got.BrokerCPU <= 0 {
		t.Errorf("%d of %d in the measured span, %d lost, %.2f us", got.Messages, got.Published, got.Lost, got.BrokerCPU)
	}
}

func TestConnections(t *testing.T) {
	target := startMosquitto(t)
	idle := small(Idle, 0, 300, 0)
	idle.Messages, idle.Wait, idle.KeepAlive, idle.Subscribe = 0, 1500*time.Millisecond, time.Second, true
	storm := small(Connect, 0, 2000, 0)
	churn := storm
	churn.Churn = true
	paced := small(Connect, 0, 200, 0)
	paced.Rate = 500
	for _, s := range []Scenario{idle, storm, churn, paced} {
		t.Run(s.String(), func(t *testing.T) {
			got, err := Run(t.Context(), target, s)
			if err != nil {
				t.Fatal(err)
			}
			if got.Messages != int64(s.N) || got.P50 <= 0 {
				t.Errorf("%d connections of %d, p50 %v", got.Messages, s.N, got.P50)
			}
			// Without its pings Mosquitto would have dropped them all at 1.5
			// times the keep-alive.
			if got.Dropped != 0 {
				t.Errorf("%d connections dropped", got.Dropped)
			}
			if s.Kind == Idle && (got.Idle == nil || got.Idle.RSSLater <= 0) {
				t.Errorf("idle figures %+v", got.Idle)
			}
			if s.Rate > 0 && got.PerSecond > 1.2*float64(s.Rate) {
				t.Errorf("%.0f connects each second, asked for %d", got.PerSecond, s.Rate)
			}
		})
	}
}

// A login is sent, and a broker that closes a connection ends the run.
func TestLoginAndRefusal(t *testing.T) {
	target := startMosquitto(t, "max_connections 3")
	target.User, target.Password = "somebody", "secret"
	if _, err := Run(t.Context(), target, small(Pairs, 0, 1, 10)); err != nil {
		t.Errorf("with a user name: %v", err)
	}
	// The fourth connection is closed: an error, not a hang.
	begin := time.Now()
	if _, err := Run(t.Context(), target, small(Pairs, 0, 4, 10)); err == nil || time.Since(begin) > 10*time.Second {
		t.Errorf("a refused connection: %v after %v", err, time.Since(begin))
	}
}

func TestStartCommandFails(t *testing.T) {
	needsLinux(t)
	begin := time.Now()
	_, _, err := StartCommand("liar", []string{"sh", "-c", "echo no such luck >&2; exit 3"}, "127.0.0.1:1")
	if err == nil || !strings.Contains(err.Error(), "no such luck") || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v", err)
	}
	if time.Since(begin) > 5*time.Second {
		t.Errorf("took %v to notice", time.Since(begin))
	}
	if _, _, err := StartCommand("nothing", nil, "127.0.0.1:1"); err == nil {
		t.Error("an empty command started")
	}
}
