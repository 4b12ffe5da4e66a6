package bench

import (
	"context"
	"time"
)

// idle opens connections that do nothing and weighs the broker, at once and
// after a wait, for what it allocates late or gives back.
func (r *rig) idle(ctx context.Context) (Result, error) {
	before, err := r.weigh()
	if err != nil {
		return Result{}, err
	}
	clients := r.crowd()
	from, err := r.mark(0)
	if err != nil {
		return Result{}, err
	}
	if err := r.loop.raise(ctx, clients, 0, r.spec.Timeout); err != nil {
		return Result{}, err
	}
	to, err := r.mark(int64(len(clients)))
	if err != nil {
		return Result{}, err
	}
	atOnce, err := r.weigh()
	if err != nil {
		return Result{}, err
	}
	r.loop.tolerant = true // one that is dropped while idle is a result
	if err := r.keepAlive(ctx, clients); err != nil {
		return Result{}, err
	}
	end, err := r.mark(0)
	if err != nil {
		return Result{}, err
	}
	later, err := r.weigh()
	if err != nil {
		return Result{}, err
	}
	result := r.result(from, to, &r.loop.joined)
	each := func(now, then int64) float64 { return float64(now-then) / 1024 / float64(len(clients)) }
	result.Idle = &IdleFigures{
		RSSAtOnce: each(atOnce.rss, before.rss),
		PSSAtOnce: each(atOnce.pss, before.pss),
		RSSLater:  each(later.rss, before.rss),
		PSSLater:  each(later.pss, before.pss),
	}
	if end.at > to.at {
		result.Idle.CPULoad = float64(end.broker-to.broker) / float64(end.at-to.at)
	}
	result.Text = result.figure()
	return result, r.loop.leave(ctx, clients)
}

// crowd makes the clients of Idle and Connect.
func (r *rig) crowd() []*client {
	clients := make([]*client, r.spec.N)
	for i := range clients {
		clients[i] = r.client('i', i)
		clients[i].brief = r.spec.Churn
		if r.spec.Subscribe {
			clients[i].filter, clients[i].qos = r.topic(i), r.spec.QoS
		}
	}
	return clients
}

func (r *rig) weigh() (footprint, error) {
	if r.target.PID == 0 {
		return footprint{}, nil
	}
	return memory(r.target.PID)
}

// keepAlive waits as long as the scenario says and pings meanwhile, each
// client after three quarters of its keep-alive. They take turns in the order
// in which they came up, so one position is all there is to remember.
func (r *rig) keepAlive(ctx context.Context, clients []*client) error {
	begin := r.loop.now()
	end := begin + r.spec.Wait
	if r.spec.Wait == 0 {
		return nil
	}
	period := r.spec.KeepAlive * 3 / 4
	step := period / time.Duration(len(clients))
	pinged := 0
	return r.loop.until(ctx, end, func() bool {
		for step > 0 && r.loop.now() >= begin+step*time.Duration(pinged+1) {
			clients[pinged%len(clients)].ping()
			pinged++
		}
		r.loop.flush()
		r.watch(r.loop.now())
		return false
	})
}

// storm opens connections as fast as the broker takes them, or at a rate.
func (r *rig) storm(ctx context.Context) (Result, error) {
	clients := r.crowd()
	from, err := r.mark(0)
	if err != nil {
		return Result{}, err
	}
	if err := r.loop.raise(ctx, clients, r.spec.Rate, r.spec.Timeout); err != nil {
		return Result{}, err
	}
	to, err := r.mark(int64(len(clients)))
	if err != nil {
		return Result{}, err
	}
	result := r.result(from, to, &r.loop.joined)
	result.Text = result.figure()
	return result, r.loop.leave(ctx, clients)
}
