package bench

import (
	"context"
	"slices"
	"time"
)

// offline lets persistent sessions fill while nobody is connected to them,
// then drains them. It is the scenario in which a queue outgrows memory.
func (r *rig) offline(ctx context.Context) (Result, error) {
	var subs, pubs []*client
	for i := range r.spec.N {
		// No reader while it is published: the acknowledgement alone returns
		// the credit.
		f := newFlow(i, r.topic(i), r.spec, 0)
		r.flows = append(r.flows, f)
		subs = append(subs, r.subscriber(i, f.topic, f))
		pubs = append(pubs, r.publisher(f))
	}
	if err := r.loop.raise(ctx, subs, 0, r.spec.Timeout); err != nil {
		return Result{}, err
	}
	if err := r.loop.leave(ctx, subs); err != nil {
		return Result{}, err
	}
	if err := r.loop.raise(ctx, pubs, 0, r.spec.Timeout); err != nil {
		return Result{}, err
	}

	begun, err := r.mark(0)
	if err != nil {
		return Result{}, err
	}
	r.begin()
	if err := r.drive(ctx, 0, r.settled); err != nil {
		return Result{}, err
	}
	stored, err := r.mark(0)
	if err != nil {
		return Result{}, err
	}
	returning, err := r.drain(ctx, subs)
	if err != nil {
		return Result{}, err
	}
	drained, err := r.mark(r.tally.delivered)
	if err != nil {
		return Result{}, err
	}

	result := r.result(begun, drained, nil)
	result.Offline = &OfflineFigures{
		PublishPerSecond: rate(result.Published, stored.at-begun.at),
		PublishCPU:       perUnit(stored.broker-begun.broker, result.Published),
		DrainPerSecond:   rate(result.Messages, drained.at-stored.at),
		DrainCPU:         perUnit(drained.broker-stored.broker, result.Messages),
	}
	result.Offline.FirstMedian, result.Offline.FirstMax = first(returning)
	if returning, err = r.once(ctx, returning); err != nil {
		return Result{}, err
	}
	_, result.Offline.NextMax = first(returning)
	result.Text = result.figure()
	if err := r.loop.leave(ctx, append(pubs, returning...)); err != nil {
		return Result{}, err
	}
	return result, r.forget(ctx, len(subs))
}

// once has every session store and fetch one more message, now that all the
// others have passed through its queue.
func (r *rig) once(ctx context.Context, subs []*client) ([]*client, error) {
	if err := r.loop.leave(ctx, subs); err != nil {
		return nil, err
	}
	for _, f := range r.flows {
		f.start(f.next + 1)
	}
	r.loop.flush()
	if err := r.drive(ctx, 0, r.settled); err != nil {
		return nil, err
	}
	return r.drain(ctx, subs)
}

// drain brings the subscribers back, under their old names and without a new
// subscription, and waits until all that was stored has come.
func (r *rig) drain(ctx context.Context, subs []*client) ([]*client, error) {
	returning := make([]*client, len(subs))
	for i, c := range subs {
		c.receiver.first = 0
		returning[i] = &client{greeting: c.greeting, resumes: true, receiver: c.receiver}
	}
	if err := r.loop.raise(ctx, returning, 0, r.spec.Timeout); err != nil {
		return nil, err
	}
	var stored int64
	for _, f := range r.flows {
		stored += int64(f.next)
	}
	return returning, r.drive(ctx, 0, func() bool { return r.tally.delivered >= stored })
}

// first is how long it took from CONNECT to the first message, of those that
// got one.
func first(clients []*client) (median, longest time.Duration) {
	var waits []time.Duration
	for _, c := range clients {
		if c.receiver.first > 0 {
			waits = append(waits, c.receiver.first-c.hello)
		}
	}
	if len(waits) == 0 {
		return 0, 0
	}
	slices.Sort(waits)
	return waits[len(waits)/2], waits[len(waits)-1]
}
