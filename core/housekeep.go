package core

import (
	"fmt"
	"sync"
	"time"

	"github.com/narumq/naru/core/internal/wheel"
)

// housekeep does what is done from time to time.
func (b *Bus) housekeep() {
	defer b.spawned.Done()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		b.checkMemory()
		t := b.NewTurn()
		for _, vh := range b.vhosts {
			vh.retained.flush(t)
		}
		b.timers.advance(t)
		if n%10 == 0 {
			b.everySecond(t)
		}
		if n%100 == 0 {
			b.checkConsumers(t)
			b.drops.tell(b)
		}
		if n%600 == 0 {
			b.sweep(t)
		}
		t.End()
	}
}

func (b *Bus) everySecond(t *Turn) {
	b.janitor.run(t)
	b.checkDisk()
	for _, vh := range b.vhosts {
		vh.retained.trim(b.limits.Load().RetainedMemory)
	}
	if b.overBudget() {
		b.eachQueue(func(q *Queue) bool {
			q.mu.Lock()
			q.trimLocked(t)
			q.mu.Unlock()
			t.Flush()
			return b.overBudget()
		})
	}
}

func (b *Bus) sweep(t *Turn) {
	for _, s := range b.shards {
		if err := s.sweepBodies(t); err != nil {
			b.fail(err)
		}
	}
}

// checkConsumers disconnects consumers of groups and named queues that sit on
// messages: MQTT 3.1.1 has no way to give one back.
func (b *Bus) checkConsumers(t *Turn) {
	limit := b.limits.Load().DeliveryTimeout.Milliseconds()
	if limit == 0 {
		return
	}
	for _, vh := range b.vhosts {
		vh.mu.RLock()
		var kick []*Session
		for _, q := range vh.queues {
			q.eachLane(func(lane *Queue) bool {
				lane.mu.Lock()
				defer lane.mu.Unlock()
				for _, c := range lane.consumers {
					if c.unsettled > 0 && t.Now-c.progress > limit && c.isSession() {
						kick = append(kick, c.opt.Identity.session)
					}
				}
				return true
			})
		}
		vh.mu.RUnlock()
		for _, s := range kick {
			s.kick(fmt.Errorf("%w: nothing settled for %v", ErrSlow, b.limits.Load().DeliveryTimeout))
		}
	}
}

// The janitor removes the dead records of queues that fell silent before
// enough had gathered for a range delete.
type janitor struct {
	mu   sync.Mutex
	list []*Queue // guarded by mu
}

// visit has the queue looked at soon. The caller holds q.mu.
func (j *janitor) visit(q *Queue) {
	if q.disk.visited {
		return
	}
	q.needDisk().visited = true
	j.mu.Lock()
	j.list = append(j.list, q)
	j.mu.Unlock()
}

func (j *janitor) run(t *Turn) {
	j.mu.Lock()
	list := j.list
	j.list = nil
	j.mu.Unlock()
	for _, q := range list {
		q.mu.Lock()
		q.disk.visited = false
		if low := q.lowestLocked(); !q.deleted && low > q.disk.purgedTo {
			q.purgeLocked(t.part(q.sh), low)
		}
		q.mu.Unlock()
	}
}

// timers are what falls due on the bus: sessions and queues that expire, and
// their messages.
type timers struct {
	start time.Time
	mu    sync.Mutex
	wheel *wheel.Wheel[timed] // guarded by mu
}

// What is timed is told when its time has come, with no lock held.
type timed interface{ due(t *Turn) }

func (tm *timers) init() {
	tm.start = time.Now()
	tm.wheel = wheel.New[timed](100*time.Millisecond, 0)
}

// set arms a timer for a time in unix milliseconds.
func (tm *timers) set(t *wheel.Timer[timed], at int64) {
	// What is beyond a century must not overflow; it is looked at again then.
	in := min(time.Until(time.UnixMilli(at)), 100*365*24*time.Hour)
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.wheel.Set(t, int64(time.Since(tm.start)+in))
}

func (tm *timers) stop(t *wheel.Timer[timed]) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.wheel.Stop(t)
}

func (tm *timers) advance(t *Turn) {
	var due []timed
	tm.mu.Lock()
	tm.wheel.Advance(int64(time.Since(tm.start)), func(w *wheel.Timer[timed]) { due = append(due, w.Owner) })
	tm.mu.Unlock()
	for _, d := range due {
		d.due(t)
		if t.Full() {
			t.Flush()
		}
	}
}
