package core

import (
	"fmt"
	"slices"
)

// Consume takes from a declared queue. Errors: ErrInUse if another consumer wants
// it alone, or this one does and there are others; ErrNotFound if the queue has
// gone.
func (q *Queue) Consume(t *Turn, sink Sink, opt ConsumerOptions) (*Consumer, error) {
	c := &Consumer{q: q, sink: sink, opt: opt}
	if err := q.admit(c); err != nil {
		return nil, err
	}
	if c.credit != nil {
		c.resumeLanes(t)
		return c, nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deliverLocked(t)
	return c, nil
}

// shared says whether a queue is for anybody to consume. Errors: ErrInUse.
func (q *Queue) shared() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.named; n != nil && (n.opt.Owner != nil || n.exclusive != nil) {
		return fmt.Errorf("queue %q: %w", q.name, ErrInUse)
	}
	return nil
}

// admit attaches a consumer, if it may be.
func (q *Queue) admit(c *Consumer) error {
	n := q.named
	if n == nil || n.lanes == nil {
		return q.admitHere(c)
	}
	c.credit = &laneCredit{root: c}
	n.lanes.mu.Lock()
	defer n.lanes.mu.Unlock()
	err := q.admitHere(c)
	if err == nil {
		q.attachLanes(c)
	}
	return err
}

func (q *Queue) admitHere(c *Consumer) error {
	n := q.named
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.deleted:
		return fmt.Errorf("queue %q: %w", q.name, ErrNotFound)
	case n == nil:
	case n.opt.Owner != nil && n.opt.Owner != c.opt.Identity:
		return fmt.Errorf("queue %q: %w", q.name, ErrInUse)
	case n.exclusive != nil, c.opt.Exclusive && len(q.consumers) > 0, c.opt.Exclusive && n.opt.SingleActive:
		return fmt.Errorf("queue %q: %w", q.name, ErrInUse)
	case c.opt.Exclusive:
		n.exclusive = c
	}
	q.attachLocked(c)
	return nil
}

// attachLocked puts a consumer behind those of its priority.
func (q *Queue) attachLocked(c *Consumer) {
	n := q.named
	if n == nil {
		q.consumers = append(q.consumers, c)
		return
	}
	n.consumed = true
	n.ranked = n.ranked || n.opt.SingleActive || c.opt.Priority != 0
	at := len(q.consumers)
	for at > 0 && q.consumers[at-1].opt.Priority < c.opt.Priority {
		at--
	}
	q.consumers = slices.Insert(q.consumers, at, c)
	if n.active == nil {
		q.activateLocked(c)
	}
}

// activateLocked has a queue with a single active consumer serve this one from now
// on, which may be nil.
func (q *Queue) activateLocked(c *Consumer) {
	n := q.named
	if !n.opt.SingleActive || n.root != nil {
		return
	}
	n.active = c
	if n.lanes != nil {
		var k *laneCredit
		if c != nil {
			k = c.credit
		}
		n.lanes.active.Store(k)
	}
}

// activeServesLocked has the single active consumer of a queue with priorities take
// from the highest lane first, if there is one.
func (q *Queue) activeServesLocked(t *Turn) bool {
	n := q.named
	if n == nil || n.lanes == nil || n.active == nil {
		return false
	}
	t.Do(n.active.resumeLanes)
	return true
}

// servesLocked says whether the consumer is one that gets messages now.
func (q *Queue) servesLocked(c *Consumer) bool {
	n := q.named
	switch {
	case n == nil || !n.opt.SingleActive:
		return true
	case n.root != nil:
		return n.root.named.lanes.active.Load() == c.credit
	}
	return n.active == c
}

// detachLocked takes a consumer off the list.
func (q *Queue) detachLocked(t *Turn, c *Consumer) {
	i := slices.Index(q.consumers, c)
	if i < 0 {
		return // stopped before, or one that gets
	}
	q.consumers = slices.Delete(q.consumers, i, i+1)
	n := q.named
	if n == nil {
		return
	}
	if n.exclusive == c {
		n.exclusive = nil
	}
	if n.active == c {
		q.activateLocked(nil)
		if len(q.consumers) > 0 {
			q.activateLocked(q.consumers[0])
		}
	}
	if len(q.consumers) > 0 {
		return
	}
	n.used = t.Now
	if n.opt.AutoDelete {
		t.Do(func(t *Turn) {
			if _, err := q.vh.Drop(t, q, true, false); err != nil {
				return // it has a consumer again, or has gone already
			}
		})
	}
}

// Stop ends deliveries to the consumer. What it has it may still settle; Cancel
// gives it back.
func (c *Consumer) Stop(t *Turn) {
	if c.credit == nil {
		c.stop(t)
		return
	}
	c.eachLane(true, func(k *Consumer) { k.stop(t) })
}

func (c *Consumer) stop(t *Turn) {
	q := c.q
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.gone || c.stopped {
		return
	}
	c.stopped = true
	q.detachLocked(t, c)
	if !q.activeServesLocked(t) {
		q.deliverLocked(t) // another may be the active one now
	}
}

// Holds says whether the consumer has something that it has not settled. What it
// had of a queue that is gone went with it.
func (c *Consumer) Holds() bool {
	c.q.mu.Lock()
	defer c.q.mu.Unlock()
	switch {
	case c.q.deleted:
		return false
	case c.credit != nil:
		return c.credit.used.Load() > 0
	}
	return c.unsettled > 0
}

// lendByRankLocked finds a consumer for e where some come before others. Those
// of one priority take turns: who was served goes behind them.
func (q *Queue) lendByRankLocked(t *Turn, e *entry) bool {
	for i, c := range q.consumers {
		if !q.servesLocked(c) || !q.tryLocked(t, c, e) {
			continue
		}
		last := i
		for last+1 < len(q.consumers) && q.consumers[last+1].opt.Priority == c.opt.Priority {
			last++
		}
		copy(q.consumers[i:last], q.consumers[i+1:last+1])
		q.consumers[last] = c
		return true
	}
	return false
}

func (q *Queue) tryLocked(t *Turn, c *Consumer, e *entry) bool {
	if c.paused || !c.creditLocked() || !q.spanLocked(t, c, e.ord) {
		return false
	}
	if q.nameless(c, e) {
		return q.rejectNamelessLocked(t, e)
	}
	if e.state != entryReceived && q.permitsLocked(t, c, e) != allowed || !c.offerLocked(t, e.msg, e) {
		return false
	}
	q.tookLocked(t, e)
	return true
}
