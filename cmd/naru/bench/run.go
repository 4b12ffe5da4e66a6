package bench

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"time"
)

// A Target is a broker to measure.
type Target struct {
	Name string
	Addr string // host:port, MQTT over plain TCP
	AMQP string // host:port, AMQP over plain TCP; "" if there is none
	// Layered are the addresses of MQTT over other things, where there are such.
	Layered map[Over]string
	PID     int    // 0: unknown, so there are no figures of CPU and memory
	User    string // "": anonymous

	Password string
}

// addr is where the target serves MQTT over something; "" if it does not.
func (t Target) addr(over Over) string {
	if over == TCP {
		return t.Addr
	}
	return t.Layered[over]
}

// Run runs one scenario on one target, in the calling goroutine, and leaves no
// session behind on the broker unless it fails. An error means that there is
// no figure; a broker that broke its word has a Result that says so.
func Run(ctx context.Context, t Target, s Scenario) (Result, error) {
	if err := s.Validate(); err != nil {
		return Result{}, err
	}
	if s.Protocol != MQTT && t.AMQP == "" {
		return Result{}, fmt.Errorf("%s does not serve AMQP here", t.Name)
	}
	if s.Protocol != AMQP && t.addr(s.Over) == "" {
		return Result{}, fmt.Errorf("%s does not serve MQTT over %v here", t.Name, s.Over)
	}
	limit, err := fileLimit()
	if err != nil {
		return Result{}, err
	}
	const others = 64 // files this process may have open besides
	if s.sockets()+others > limit {
		return Result{}, fmt.Errorf("scenario %s needs %d open files, the limit is %d", s.Kind, s.sockets()+others, limit)
	}
	r, err := newRig(t, s)
	if err != nil {
		return Result{}, err
	}
	defer r.loop.close()
	result, err := r.scenario(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("%s on %s: %w", s, t.Name, err)
	}
	return result, nil
}

// RunAll runs each scenario on every target before the next scenario, so that
// what is compared was measured close together, the whole as many times as
// there are rounds. What a target does not speak is left out. report, if not nil, gets each result as it comes. On an
// error the results so far are returned with it.
func RunAll(ctx context.Context, targets []Target, scenarios []Scenario, rounds int, report func(Result)) ([]Result, error) {
	var results []Result
	for range rounds {
		for _, s := range scenarios {
			for _, t := range targets {
				if t.addr(s.Over) == "" && s.Over != TCP || t.AMQP == "" && s.Protocol != MQTT {
					continue // it does not speak that
				}
				result, err := Run(ctx, t, s)
				if err != nil {
					return results, err
				}
				results = append(results, result)
				if report != nil {
					report(result)
				}
			}
		}
	}
	return results, nil
}

// A rig is one run: the connections, what they send and what has arrived.
type rig struct {
	loop      *loop
	target    Target
	spec      Scenario
	id        string // in client identifiers and topics; no two runs share it
	tally     tally
	flows     []*flow
	receivers []*receiver
	pacer     *pacer // nil but for Paced

	sampled   time.Duration // when watch last looked
	rssBefore int64
	rssPeak   int64
	heard     int64         // loop.in when watch last looked
	moved     time.Duration // when that last changed
}

func newRig(t Target, s Scenario) (*rig, error) {
	addr := t.addr(s.Over)
	if s.Protocol == AMQP {
		addr = t.AMQP
	}
	l, err := newLoop(addr, s.Over, s.Size+1024)
	if err != nil {
		return nil, err
	}
	if s.Protocol != MQTT {
		if l.amqp, err = resolve(t.AMQP); err != nil {
			l.close()
			return nil, err
		}
	}
	var id [3]byte
	_, _ = rand.Read(id[:]) // it never fails: it ends the program instead
	r := &rig{loop: l, target: t, spec: s, id: hex.EncodeToString(id[:])}
	if t.PID != 0 {
		if r.rssBefore, err = residentSize(t.PID); err != nil {
			l.close()
			return nil, err
		}
	}
	return r, nil
}

func (r *rig) scenario(ctx context.Context) (Result, error) {
	switch r.spec.Kind {
	case Idle:
		return r.idle(ctx)
	case Connect:
		return r.storm(ctx)
	case Offline:
		return r.offline(ctx)
	}
	return r.stream(ctx)
}

// client makes a client of this run. Its identifier stays below the 23
// characters that every 3.1.1 broker must take. [MQTT-3.1.3-5]
func (r *rig) client(role byte, index int) *client {
	return &client{greeting: greeting{
		id:        fmt.Sprintf("bench%s%c%d", r.id, role, index),
		user:      r.target.User,
		password:  r.target.Password,
		clean:     true,
		keepAlive: uint16(r.spec.KeepAlive / time.Second),
	}}
}

func (r *rig) topic(index int) string { return fmt.Sprintf("bench/%s/%d", r.id, index) }

// drive takes turns until done, until end (0: never), or until nothing has
// come from the broker for as long as the scenario's timeout.
func (r *rig) drive(ctx context.Context, end time.Duration, done func() bool) error {
	r.moved = r.loop.now()
	return r.loop.until(ctx, end, func() bool {
		now := r.loop.now()
		if r.pacer != nil {
			r.pacer.send(now)
			r.loop.flush() // before the turn waits
		}
		return r.watch(now) || done()
	})
}

const (
	watchEvery = 250 * time.Millisecond
	// A QoS 0 message that has not come after forgiveAfter never will.
	forgiveAfter = 2 * time.Second
)

// watch looks after the run every now and then: it samples the broker's
// memory, forgives what QoS 0 lost, and is true when all has come to a halt.
func (r *rig) watch(now time.Duration) (halted bool) {
	if now-r.sampled < watchEvery {
		return false
	}
	r.sampled = now
	if r.target.PID != 0 {
		if rss, err := residentSize(r.target.PID); err == nil {
			r.rssPeak = max(r.rssPeak, rss)
		}
	}
	if r.spec.QoS == 0 {
		for _, f := range r.flows {
			if f.head < f.next && now-f.moved > forgiveAfter {
				f.forgive(now)
			}
		}
	}
	if r.heard != r.loop.in {
		r.heard, r.moved = r.loop.in, now
	}
	return now-r.moved > r.spec.Timeout
}

// settled is true when every flow is done.
func (r *rig) settled() bool {
	for _, f := range r.flows {
		if !f.settled() {
			return false
		}
	}
	return true
}

// A mark is the state of all counters at one moment.
type mark struct {
	at                   time.Duration
	broker, own, machine time.Duration // CPU
	count                int64         // of whatever the scenario measures
	in, out              int64
}

func (r *rig) mark(count int64) (mark, error) {
	m := mark{count: count, in: r.loop.in, out: r.loop.out}
	var err error
	if r.target.PID != 0 {
		if m.broker, err = cpuTime(r.target.PID); err != nil {
			return mark{}, err
		}
	}
	if m.own, err = cpuTime(os.Getpid()); err != nil {
		return mark{}, err
	}
	if m.machine, err = machineTime(); err != nil {
		return mark{}, err
	}
	m.at = r.loop.now()
	return m, nil
}

// perUnit is CPU time in microseconds for each of n.
func perUnit(cpu time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(cpu) / float64(time.Microsecond) / float64(n)
}

// rate is n per second.
func rate(n int64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// result makes the figures of what lies between two marks. delays is where
// the quantiles come from, nil for none.
func (r *rig) result(from, to mark, delays *latency) Result {
	n := to.count - from.count
	result := Result{
		Target:       r.target.Name,
		Scenario:     r.spec,
		Label:        r.spec.String(),
		Messages:     n,
		Elapsed:      to.at - from.at,
		PerSecond:    rate(n, to.at-from.at),
		BrokerCPU:    perUnit(to.broker-from.broker, n),
		OwnCPU:       perUnit(to.own-from.own, n),
		RSSBefore:    r.rssBefore,
		BytesRead:    to.in - from.in,
		BytesWritten: to.out - from.out,
		Duplicates:   r.tally.repeated,
		Reordered:    r.tally.late,
		Corrupt:      r.tally.corrupt,
		Dropped:      int64(r.loop.dropped),
	}
	if delays != nil {
		result.P50, result.P99 = delays.quantile(0.50), delays.quantile(0.99)
		result.ConfirmP50, result.ConfirmP99 = r.tally.confirm.quantile(0.50), r.tally.confirm.quantile(0.99)
	}
	if r.target.PID != 0 && result.Elapsed > 0 {
		others := (to.machine - from.machine) - (to.broker - from.broker) - (to.own - from.own)
		result.Others = max(float64(others)/float64(result.Elapsed), 0)
	}
	for _, f := range r.flows {
		result.Published += int64(f.next)
	}
	for _, receiver := range r.receivers {
		result.Lost += receiver.lost()
	}
	if r.target.PID != 0 {
		// A broker that is gone by now has no size; the figures stand.
		result.RSSAfter, _ = residentSize(r.target.PID)
	}
	result.RSSPeak = max(r.rssPeak, result.RSSBefore, result.RSSAfter)
	return result
}
