package bench

import "time"

// A pacer sends one message after the other at a fixed rate, from one flow
// after the other, so that the broker finds a single message in each read.
type pacer struct {
	flows []*flow
	every time.Duration // from one message to the next
	start time.Duration
	sent  int64
	held  bool // the next flow was out of credit when its message was due
}

// fastestTick bounds the wake-ups; above that rate several messages, of
// different flows, leave in one turn.
const fastestTick = 50 * time.Microsecond

// pace gives the run a pacer and the loop a clock to go with it.
func (r *rig) pace() error {
	for _, f := range r.flows {
		f.paced = true
	}
	every := time.Second / time.Duration(r.spec.Rate)
	r.pacer = &pacer{flows: r.flows, every: max(every, 1), start: r.loop.now()}
	return r.loop.poll.tick(max(every, fastestTick))
}

// send sends what is due. A flow without credit holds up those behind it, and
// its message is then stamped with the moment it was due: the wait is the
// broker's doing and must show as latency. When this process itself is late,
// as it is by a few microseconds each time, the stamp is the moment of sending.
func (p *pacer) send(now time.Duration) {
	for {
		due := p.start + time.Duration(p.sent)*p.every
		if due > now {
			return
		}
		f := p.flows[p.sent%int64(len(p.flows))]
		if f.credit() == 0 {
			p.held = true
			return
		}
		stamp := now
		if p.held {
			stamp = due
		}
		p.held = false
		f.send(1, stamp)
		p.sent++
	}
}
