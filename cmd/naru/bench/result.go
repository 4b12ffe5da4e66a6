package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// A Result is what came out of one scenario on one target. A figure that was
// not or could not be measured is 0.
type Result struct {
	Target   string   `json:"target"`
	Scenario Scenario `json:"scenario"`
	Label    string   `json:"label"` // of the scenario: results with the same label compare
	Text     string   `json:"text"`  // the figure, for people

	// Messages is what was delivered in the measured span, each message once
	// for each subscriber; for Connect and Idle it is connections.
	Messages  int64         `json:"messages"`
	Elapsed   time.Duration `json:"elapsed_ns"`
	PerSecond float64       `json:"per_second"`

	// BrokerCPU is the figure: microseconds of processor time, user and
	// system, of the broker for each of Messages.
	BrokerCPU float64 `json:"broker_cpu_us_per_message"`
	// OwnCPU is the same of this process, which shares the machine.
	OwnCPU float64 `json:"own_cpu_us_per_message"`

	// Others is how many cores the rest of the machine kept busy meanwhile.
	// Much of it makes a figure worthless, since caches and waits are shared.
	Others float64 `json:"other_cores"`

	P50 time.Duration `json:"p50_ns"` // from send to arrival; for Connect, to the last answer
	P99 time.Duration `json:"p99_ns"`

	// From send to the acknowledgement that the publisher gets, of QoS 1 or of AMQP.
	ConfirmP50 time.Duration `json:"confirm_p50_ns,omitempty"`
	ConfirmP99 time.Duration `json:"confirm_p99_ns,omitempty"`

	RSSBefore int64 `json:"rss_before"`
	RSSAfter  int64 `json:"rss_after"`
	RSSPeak   int64 `json:"rss_peak"` // of samples, four each second

	BytesRead    int64 `json:"bytes_read"`
	BytesWritten int64 `json:"bytes_written"`

	// These count the whole run, warm-up and tail included.
	Published  int64 `json:"published"`
	Lost       int64 `json:"lost"`
	Duplicates int64 `json:"duplicates"`
	Reordered  int64 `json:"reordered"`
	Corrupt    int64 `json:"corrupt"` // wrong topic or altered payload
	Dropped    int64 `json:"dropped"` // connections the broker closed

	Idle    *IdleFigures    `json:"idle,omitempty"`
	Offline *OfflineFigures `json:"offline,omitempty"`
}

// IdleFigures are what an idle connection costs: memory above that of the
// broker before the first one, in KiB for each connection.
type IdleFigures struct {
	RSSAtOnce float64 `json:"rss_kib_at_once"`
	PSSAtOnce float64 `json:"pss_kib_at_once"`
	RSSLater  float64 `json:"rss_kib_later"` // after the wait
	PSSLater  float64 `json:"pss_kib_later"`
	// CPULoad is the share of one core that the broker used during the wait.
	CPULoad float64 `json:"cpu_load"`
}

// OfflineFigures are the two halves of Offline. The CPU figure of the result
// is the sum of theirs.
type OfflineFigures struct {
	PublishPerSecond float64 `json:"publish_per_second"`
	PublishCPU       float64 `json:"publish_cpu_us_per_message"`
	DrainPerSecond   float64 `json:"drain_per_second"`
	DrainCPU         float64 `json:"drain_cpu_us_per_message"`
	// From CONNECT to the first message, over the sessions.
	FirstMedian time.Duration `json:"first_median_ns"`
	FirstMax    time.Duration `json:"first_max_ns"`
	// The longest such time for one more message, after all others have passed
	// through: what is left of them must not stand in the way.
	NextMax time.Duration `json:"next_max_ns"`
}

// Broken says what the broker did that the QoS of the scenario does not
// allow; nil if it kept its word. Repetition is allowed at QoS 1, loss at
// QoS 0, while an altered message or one out of order [MQTT-4.6.0-6] never is.
func (r Result) Broken() error {
	var faults []string
	add := func(n int64, what string, allowed bool) {
		if n > 0 && !allowed {
			faults = append(faults, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(r.Lost, "lost", r.Scenario.QoS == 0)
	add(r.Duplicates, "duplicated", r.Scenario.QoS == 1)
	add(r.Reordered, "out of order", false)
	add(r.Corrupt, "corrupt", false)
	add(r.Dropped, "connections dropped", false)
	if faults == nil {
		return nil
	}
	return fmt.Errorf("%s on %s: %s", r.Label, r.Target, strings.Join(faults, ", "))
}

// Cost is the figure that two brokers are compared by, and its unit: less is
// better. 0 is unknown.
func (r Result) Cost() (float64, string) {
	switch r.Scenario.Kind {
	case Idle:
		if r.Idle == nil {
			return 0, "KiB/connection"
		}
		return r.Idle.RSSLater, "KiB/connection"
	case Connect:
		return r.BrokerCPU, "us/connect"
	}
	return r.BrokerCPU, "us/message"
}

// figure is the result as one line.
func (r Result) figure() string {
	cost, unit := r.Cost()
	parts := []string{"cost unknown"}
	if cost > 0 {
		parts[0] = fmt.Sprintf("%.2f %s", cost, unit)
	}
	if r.PerSecond > 0 {
		parts = append(parts, fmt.Sprintf("%.0f/s", r.PerSecond))
	}
	if r.P99 > 0 {
		parts = append(parts, fmt.Sprintf("p50 %v p99 %v", short(r.P50), short(r.P99)))
	}
	if r.ConfirmP99 > 0 {
		parts = append(parts, fmt.Sprintf("acknowledged p50 %v p99 %v", short(r.ConfirmP50), short(r.ConfirmP99)))
	}
	if i := r.Idle; i != nil {
		parts = append(parts, fmt.Sprintf("RSS %.2f then %.2f, PSS %.2f then %.2f KiB, load %.1f%%",
			i.RSSAtOnce, i.RSSLater, i.PSSAtOnce, i.PSSLater, 100*i.CPULoad))
	}
	if o := r.Offline; o != nil {
		parts = append(parts, fmt.Sprintf("publish %.0f/s %.2f us, drain %.0f/s %.2f us, first message after %v (at most %v), one more after at most %v, peak %d MiB",
			o.PublishPerSecond, o.PublishCPU, o.DrainPerSecond, o.DrainCPU, short(o.FirstMedian), short(o.FirstMax), short(o.NextMax), r.RSSPeak>>20))
	}
	if err := r.Broken(); err != nil {
		parts = append(parts, "BROKEN: "+err.Error())
	} else if r.Lost > 0 || r.Duplicates > 0 {
		parts = append(parts, fmt.Sprintf("%d lost, %d duplicates", r.Lost, r.Duplicates))
	}
	if r.Others > 0.2 {
		parts = append(parts, fmt.Sprintf("others used %.1f cores", r.Others))
	}
	return strings.Join(parts, ", ")
}

// short leaves three digits of a duration or so.
func short(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// WriteJSON writes the results as one indented array.
func WriteJSON(w io.Writer, results []Result) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(results)
}
