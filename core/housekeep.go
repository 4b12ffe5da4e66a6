package core

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
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
		vh.retained.trim(b.cfg.RetainedMemory)
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
	limit := b.cfg.DeliveryTimeout.Milliseconds()
	if limit == 0 {
		return
	}
	for _, vh := range b.vhosts {
		vh.mu.RLock()
		var kick []*Session
		for _, q := range vh.queues {
			q.mu.Lock()
			for _, c := range q.consumers {
				if c.unsettled > 0 && t.Now-c.progress > limit && c.opt.Identity.session != nil {
					kick = append(kick, c.opt.Identity.session)
				}
			}
			q.mu.Unlock()
		}
		vh.mu.RUnlock()
		for _, s := range kick {
			s.kick(fmt.Errorf("%w: nothing settled for %v", ErrSlow, b.cfg.DeliveryTimeout))
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

// timers are the session expiries of the bus.
type timers struct {
	start time.Time
	mu    sync.Mutex
	wheel *wheel.Wheel[*Session] // guarded by mu
}

func (tm *timers) init() {
	tm.start = time.Now()
	tm.wheel = wheel.New[*Session](100*time.Millisecond, 0)
}

// set arms a timer for a time in unix milliseconds.
func (tm *timers) set(t *wheel.Timer[*Session], at int64) {
	in := time.Until(time.UnixMilli(at))
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.wheel.Set(t, int64(time.Since(tm.start)+in))
}

func (tm *timers) stop(t *wheel.Timer[*Session]) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.wheel.Stop(t)
}

func (tm *timers) advance(t *Turn) {
	var due []*Session
	tm.mu.Lock()
	tm.wheel.Advance(int64(time.Since(tm.start)), func(w *wheel.Timer[*Session]) { due = append(due, w.Owner) })
	tm.mu.Unlock()
	for _, s := range due {
		s.expire(t)
		if t.Full() {
			t.Flush()
		}
	}
}

// alarms hold publishers back.
type alarms struct {
	active atomic.Int32

	mu      sync.Mutex
	cleared chan struct{} // guarded by mu: closed when no alarm is left
	since   time.Time     // guarded by mu
}

func (a *alarms) wait(ctx context.Context) {
	a.mu.Lock()
	cleared := a.cleared
	a.mu.Unlock()
	if cleared == nil {
		return
	}
	select {
	case <-cleared:
	case <-ctx.Done():
	}
}

func (a *alarms) raise() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cleared != nil {
		return false
	}
	a.cleared, a.since = make(chan struct{}), time.Now()
	a.active.Store(1)
	return true
}

func (a *alarms) clear() (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cleared == nil {
		return 0, false
	}
	a.active.Store(0)
	close(a.cleared)
	a.cleared = nil
	return time.Since(a.since), true
}

// checkDisk raises the disk alarm below the watermark and clears it when there
// is a tenth more than that.
func (b *Bus) checkDisk() {
	if b.opt.FreeSpace == nil || b.cfg.MinFreeDisk == 0 {
		return
	}
	free, err := b.opt.FreeSpace()
	if err != nil {
		b.emit(AlarmRaised{Alarm: "disk", Detail: fmt.Sprintf("free space is not known: %v", err)})
		return
	}
	switch {
	case free < b.cfg.MinFreeDisk:
		if b.alarms.raise() {
			b.emit(AlarmRaised{
				Alarm:   "disk",
				Detail:  fmt.Sprintf("%d bytes free, %d wanted: publishers wait", free, b.cfg.MinFreeDisk),
				Largest: b.largestQueues(5),
			})
		}
	case free >= b.cfg.MinFreeDisk+b.cfg.MinFreeDisk/10:
		if after, ok := b.alarms.clear(); ok {
			b.emit(AlarmCleared{Alarm: "disk", After: after})
		}
	}
}

func (b *Bus) largestQueues(n int) []QueueInfo {
	var all []QueueInfo
	b.eachQueue(func(q *Queue) bool {
		if i := q.Info(); i.Bytes > 0 {
			all = append(all, i)
		}
		return true
	})
	sort.Slice(all, func(i, j int) bool { return all[i].Bytes > all[j].Bytes })
	return all[:min(n, len(all))]
}
