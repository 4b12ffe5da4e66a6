package core

import (
	"context"
	"fmt"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// alarms hold publishers back, at their next publish: those who only consume
// are not stopped, since they make things better.
type alarms struct {
	active atomic.Uint32 // a bit for each alarm that is raised

	mu      sync.Mutex
	cleared chan struct{}         // guarded by mu: closed when no alarm is left
	since   [alarmKinds]time.Time // guarded by mu
	blind   bool                  // guarded by mu: free space was not known when last asked for
}

type alarmKind uint32

const (
	diskAlarm alarmKind = iota
	memoryAlarm
	alarmKinds
)

func (k alarmKind) String() string { return [...]string{"disk", "memory"}[k] }

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

func (a *alarms) raised(k alarmKind) bool { return a.active.Load()&(1<<k) != 0 }

func (a *alarms) raise(k alarmKind) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.raised(k) {
		return false
	}
	if a.cleared == nil {
		a.cleared = make(chan struct{})
	}
	a.since[k] = time.Now()
	a.active.Or(1 << k)
	return true
}

func (a *alarms) clear(k alarmKind) (time.Duration, bool) {
	if !a.raised(k) {
		return 0, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.raised(k) {
		return 0, false
	}
	if a.active.And(^uint32(1<<k)) == 1<<k {
		close(a.cleared)
		a.cleared = nil
	}
	return time.Since(a.since[k]), true
}

// see notes whether free space is known, and says whether that is news.
func (a *alarms) see(known bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	news := a.blind == known
	a.blind = !known
	return news
}

func (b *Bus) raise(k alarmKind, detail string) {
	if b.alarms.raise(k) {
		b.emit(AlarmRaised{Alarm: k.String(), Detail: detail, Largest: b.largestQueues(5)})
	}
}

func (b *Bus) clear(k alarmKind) {
	if after, ok := b.alarms.clear(k); ok {
		b.emit(AlarmCleared{Alarm: k.String(), After: after})
	}
}

// checkDisk raises the disk alarm below the watermark and clears it when there
// is a tenth more than that.
func (b *Bus) checkDisk() {
	low := b.limits.Load().MinFreeDisk
	if b.opt.FreeSpace == nil || low == 0 {
		b.clear(diskAlarm) // there may have been a limit before
		return
	}
	free, err := b.opt.FreeSpace()
	news := b.alarms.see(err == nil)
	switch {
	case err != nil && !news:
	case err != nil:
		b.emit(AlarmRaised{Alarm: diskAlarm.String(), Detail: fmt.Sprintf("free space is not known: %v", err)})
	case free < low:
		b.raise(diskAlarm, fmt.Sprintf("%s free, and bus.min_free_disk is %s", mebibytes(free), mebibytes(low)))
	case free >= low+low/10:
		b.clear(diskAlarm)
	}
}

// checkMemory raises the memory alarm when paging to disk, which begins much
// earlier, has not helped: the disk is too slow for what comes, or very many
// clients do not take what they were sent. It clears it at three quarters.
func (b *Bus) checkMemory() {
	limit := b.limits.Load().MemoryAlarm
	if limit == 0 {
		b.clear(memoryAlarm) // there may have been a limit before
		return
	}
	held := b.memory.Load()
	for _, s := range b.shards {
		held += s.store.Pending()
	}
	switch {
	case held > limit:
		b.raise(memoryAlarm, fmt.Sprintf("%s of messages in memory and on their way to disk, and bus.memory_alarm is %s",
			mebibytes(held), mebibytes(limit)))
	case held <= limit/4*3:
		b.clear(memoryAlarm)
	}
}

// mebibytes renders a number of bytes for people.
func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

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

// Alarmed says whether publishers are held back.
func (b *Bus) Alarmed() bool { return b.alarms.active.Load() != 0 }
