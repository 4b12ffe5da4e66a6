package core

import "context"

// Getter returns a consumer that is served only when it asks, by Get.
func (q *Queue) Getter(sink Sink, opt ConsumerOptions) *Consumer {
	c := &Consumer{q: q, sink: sink, opt: opt, stopped: true}
	if q.named != nil && q.named.lanes != nil {
		c.credit = &laneCredit{root: c}
	}
	return c
}

// Get offers the next message to the sink of a getter, which must take it: got
// says that there was one. A Wait means that it must be read from disk first.
func (c *Consumer) Get(t *Turn) (got bool, w Wait) {
	if c.credit != nil {
		return c.getLanes(t)
	}
	return c.get(t)
}

func (c *Consumer) get(t *Turn) (got bool, w Wait) {
	q := c.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return false, nil
	}
	if q.named != nil {
		q.named.used = t.Now
	}
	for {
		e := q.nextLocked(t)
		switch {
		case e == nil && q.far.loading:
			return false, q.far.wait()
		case e == nil:
			return false, nil
		case e.flags&flagPending != 0: // published just now: who asks behind it finds it
			return false, q.needFar().wait()
		case q.expiredLocked(t, e):
			q.dieLocked(t, e, DiedExpired)
			continue
		}
		if q.kind != KindNamed { // a group: what its members may have is asked for each message
			r := receiveRight(e.msg)
			switch t.bus.may(c.opt.Identity, r) {
			case denied:
				return false, nil
			case unknown:
				return false, t.bus.askAll([]*Principal{c.opt.Identity}, r)
			}
		}
		if !c.offerLocked(t, e.msg, e) {
			return false, nil
		}
		q.tookLocked(t, e)
		q.expireLocked(t)
		return true, nil
	}
}

// wait returns a Wait for what is being read from the gap, or is on its way to
// disk.
func (f *far) wait() Wait {
	if f.loaded == nil {
		f.loaded = make(chan struct{})
	}
	loaded := f.loaded
	return func(ctx context.Context) {
		select {
		case <-loaded:
		case <-ctx.Done():
		}
	}
}

// wake ends the waits: there is more in memory, or on disk, than there was.
func (f *far) wake() {
	if f.loaded != nil {
		close(f.loaded)
		f.loaded = nil
	}
}
