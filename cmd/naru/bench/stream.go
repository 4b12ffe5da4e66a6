package bench

import (
	"context"
	"time"
)

// stream runs the scenarios in which publishers and subscribers are connected
// at the same time: pairs, persistent, paced, fan-out and fan-in.
func (r *rig) stream(ctx context.Context) (Result, error) {
	subs, pubs := r.layout()
	if err := r.loop.raise(ctx, subs, 0, r.spec.Timeout); err != nil {
		return Result{}, err
	}
	if err := r.loop.raise(ctx, pubs, 0, r.spec.Timeout); err != nil {
		return Result{}, err
	}
	if r.spec.Kind == Paced {
		if err := r.pace(); err != nil {
			return Result{}, err
		}
	}
	from, to, delays, err := r.measure(ctx)
	if err != nil {
		return Result{}, err
	}
	// What comes now is one too many; give it a moment to show.
	err = r.drive(ctx, r.loop.now()+100*time.Millisecond, func() bool { return false })
	if err != nil {
		return Result{}, err
	}
	result := r.result(from, to, &delays)
	result.Text = result.figure()
	err = r.loop.leave(ctx, append(pubs, subs...))
	if err == nil && r.spec.Kind == Persistent {
		err = r.forget(ctx, len(subs))
	}
	return result, err
}

// layout makes the flows, the receivers and their clients.
func (r *rig) layout() (subs, pubs []*client) {
	s := r.spec
	switch s.Kind {
	case Fanout:
		r.flows = []*flow{newFlow(0, r.topic(0), s, s.N)}
		for i := range s.N {
			subs = append(subs, r.subscriber(i, r.topic(0), r.flows...))
		}
	case Fanin:
		for i := range s.N {
			r.flows = append(r.flows, newFlow(i, r.topic(i), s, 1))
		}
		subs = []*client{r.subscriber(0, "bench/"+r.id+"/+", r.flows...)}
	default:
		for i := range s.N {
			f := newFlow(i, r.topic(i), s, 1)
			r.flows = append(r.flows, f)
			subs = append(subs, r.subscriber(i, f.topic, f))
		}
	}
	for _, f := range r.flows {
		pubs = append(pubs, r.publisher(f))
	}
	return subs, pubs
}

// subscriber makes a client that must receive the given flows.
func (r *rig) subscriber(index int, filter string, flows ...*flow) *client {
	c := r.client('s', index)
	c.filter, c.qos = filter, r.spec.QoS
	c.receiver = newReceiver(&r.tally, flows...)
	if r.spec.Protocol != MQTT {
		c.amqp = r.peer091()
		c.amqp.queue, c.amqp.durable = filter, r.spec.QoS > 0
		if r.spec.Protocol == MQTTToAMQP {
			c.amqp.binding = routingKey(filter)
		}
	}
	c.greeting.clean = r.spec.Kind != Persistent && r.spec.Kind != Offline
	r.receivers = append(r.receivers, c.receiver)
	return c
}

func (r *rig) publisher(f *flow) *client {
	c := r.client('p', int(f.index))
	c.flow, f.pub, f.confirm = f, c, &r.tally.confirm
	if r.spec.Protocol == AMQP {
		c.amqp = r.peer091()
		c.amqp.confirms = r.spec.QoS > 0
	}
	return c
}

// begin starts every flow, with its part of the messages or without a limit.
func (r *rig) begin() {
	n := uint64(len(r.flows))
	for i, f := range r.flows {
		limit := uint64(endless)
		if r.spec.Messages > 0 {
			limit = uint64(r.spec.Messages) / n
			if uint64(i) < uint64(r.spec.Messages)%n {
				limit++
			}
		}
		f.start(limit)
	}
	r.loop.flush()
}

// measure lets the flows run and returns the marks around the measured span
// and the delays within it. All that was sent has arrived, or will not.
func (r *rig) measure(ctx context.Context) (from, to mark, delays latency, err error) {
	never := func() bool { return false }
	if r.spec.Messages > 0 {
		if from, err = r.mark(0); err != nil {
			return from, to, delays, err
		}
		r.begin()
		if err = r.drive(ctx, 0, r.settled); err != nil {
			return from, to, delays, err
		}
		to, err = r.mark(r.tally.delivered)
		return from, to, r.tally.delay, err
	}
	r.begin()
	if err = r.drive(ctx, r.loop.now()+r.spec.Warmup, never); err != nil {
		return from, to, delays, err
	}
	if from, err = r.mark(r.tally.delivered); err != nil {
		return from, to, delays, err
	}
	r.tally.delay, r.tally.confirm = latency{}, latency{}
	if err = r.drive(ctx, from.at+r.spec.Duration, never); err != nil {
		return from, to, delays, err
	}
	if to, err = r.mark(r.tally.delivered); err != nil {
		return from, to, delays, err
	}
	delays = r.tally.delay
	for _, f := range r.flows {
		f.stop()
	}
	err = r.drive(ctx, 0, r.settled)
	return from, to, delays, err
}

// forget removes the persistent sessions of subscribers, by connecting once
// more with a clean session. [MQTT-3.1.2-6]
func (r *rig) forget(ctx context.Context, sessions int) error {
	clients := make([]*client, sessions)
	for i := range clients {
		clients[i] = r.client('s', i)
		clients[i].brief = true
	}
	if err := r.loop.raise(ctx, clients, 0, r.spec.Timeout); err != nil {
		return err
	}
	return r.loop.leave(ctx, clients)
}
