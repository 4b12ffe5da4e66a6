// Package wheel keeps many timers that are set and stopped far more often than
// they fire: keep-alives, expiries, delays of wills.
//
// Time is counted in ticks, and a tick is written as a number with 64 as its
// base. A timer waits at the level of the highest digit in which its tick
// differs from the present one, in the slot of that digit. All slots of a
// level therefore lie ahead of the present and behind the levels below, a
// timer's slot follows from its tick alone, and every timer an int64 can
// express has one: no range to configure, no overflow list. When the present
// comes to a slot above the lowest level, its timers are spread over the levels
// below; each moves at most once for each level, most are stopped or set again
// before.
//
// Times are nanoseconds on the owner's monotonic clock, such as
// int64(time.Since(start)). What is before zero counts as zero.
//
// A Wheel has no lock and no goroutine. Its owner sleeps until Next, and then
// calls Advance.
package wheel

import (
	"math"
	"math/bits"
	"time"
)

const (
	digit  = 6 // bits
	slots  = 1 << digit
	levels = (63 + digit - 1) / digit // enough for the ticks of any int64
)

// A Timer belongs to whoever embeds it; the Wheel only links it into its
// lists, so that setting and stopping never allocate. The zero Timer is ready
// for use and not armed. An armed Timer must not be copied or moved, and
// belongs to one Wheel.
//
// Owner is the way back from a Timer that fires. It is a type parameter
// because that is what costs least: 32 bytes in all if it is a pointer, 40 if
// it is an interface, because the owners are of several types. A function for
// each Timer would be an allocation for each, and getting from the address of
// the embedded Timer to the object around it would need package unsafe.
type Timer[T any] struct {
	Owner      T
	next, prev *Timer[T] // a ring; nil: not armed
	tick       int64     // the first tick at which it may fire
}

// Armed reports whether the timer is set and has not fired or been stopped.
func (t *Timer[T]) Armed() bool { return t.next != nil }

// A Wheel holds armed timers.
type Wheel[T any] struct {
	size  int64 // of a tick
	now   int64 // ticks
	armed int
	// What was due when it was set waits in due for the next Advance; what
	// the running Advance has found waits in firing for its turn.
	due, firing *Timer[T]
	used        [levels]uint64 // a bit for each slot that is not empty
	slot        [levels][slots]*Timer[T]
}

// New returns a Wheel at the time now. The tick is its accuracy, and has no
// bearing on its cost.
func New[T any](tick time.Duration, now int64) *Wheel[T] {
	w := &Wheel[T]{size: max(int64(tick), 1)}
	w.now = w.floor(now)
	return w
}

// Len is the number of armed timers.
func (w *Wheel[T]) Len() int { return w.armed }

// Set arms the timer for the time at, whether or not it was armed. It fires in
// the first Advance that is told a time not before at and, at most, one tick
// later. Set in a callback, it does not fire in the same Advance, even if it
// is due: otherwise one that sets itself for now would never let it end.
func (w *Wheel[T]) Set(t *Timer[T], at int64) {
	tick := w.floor(at)
	if at > 0 && at%w.size != 0 {
		tick++ // never early
	}
	if t.Armed() {
		if t.tick == tick && tick > w.now {
			return
		}
		w.Stop(t)
	}
	t.tick = tick
	w.armed++
	if tick <= w.now {
		push(&w.due, t)
		return
	}
	w.place(t)
}

// Stop disarms the timer, if it is armed. It will not fire, not even if it is
// due and a callback of the running Advance stops it.
func (w *Wheel[T]) Stop(t *Timer[T]) {
	if !t.Armed() {
		return
	}
	w.armed--
	if t.tick > w.now {
		level, slot := w.where(t)
		list := &w.slot[level][slot]
		if remove(list, t); *list == nil {
			w.used[level] &^= 1 << slot
		}
		return
	}
	if w.firing == t {
		remove(&w.firing, t)
		return
	}
	remove(&w.due, t) // or from the middle of firing, which is the same
}

// Advance moves the present to now and calls fire for every timer that is due,
// in the order of their ticks after those that were due when they were set.
// The timer is no longer armed in the call, which may set and stop any timer,
// but must not call Advance. A now before the present counts as the present.
func (w *Wheel[T]) Advance(now int64, fire func(*Timer[T])) {
	splice(&w.firing, &w.due)
	// All that is due is taken out before the first call, so that callbacks
	// find the wheel at the present.
	target := w.floor(now)
	for {
		level, slot, tick, ok := w.first()
		if !ok || tick > target {
			break
		}
		w.now = tick
		list := w.slot[level][slot]
		w.slot[level][slot] = nil
		w.used[level] &^= 1 << slot
		if level == 0 {
			splice(&w.firing, &list)
			continue
		}
		for list != nil {
			t := list
			remove(&list, t)
			w.place(t) // what is due comes to the lowest level, and is next
		}
	}
	w.now = max(w.now, target)
	for w.firing != nil {
		t := w.firing
		remove(&w.firing, t)
		w.armed--
		fire(t)
	}
}

// Next returns a time before which Advance has nothing to do, and false if no
// timer is armed. At that time it may have no more to do than to spread a slot
// over the levels below; an owner that calls Advance at each Next does so at
// most once for each level before a timer fires.
func (w *Wheel[T]) Next() (at int64, ok bool) {
	if w.due != nil || w.firing != nil {
		return w.now * w.size, true
	}
	_, _, tick, ok := w.first()
	if tick > math.MaxInt64/w.size {
		return math.MaxInt64, ok // rounding up has left the range
	}
	return tick * w.size, ok
}

// first returns the slot that the present comes to first, and the tick at
// which it does.
func (w *Wheel[T]) first() (level, slot int, tick int64, ok bool) {
	for level, used := range w.used {
		if used != 0 {
			slot := bits.TrailingZeros64(used)
			above := w.now >> (level * digit) >> digit << digit // the digits above
			return level, slot, (above | int64(slot)) << (level * digit), true
		}
	}
	return 0, 0, 0, false
}

// where returns the slot of a timer that is not due. It stays the same until
// the present comes to that slot.
func (w *Wheel[T]) where(t *Timer[T]) (level, slot int) {
	level = (bits.Len64(uint64(t.tick^w.now)|1) - 1) / digit
	return level, int(t.tick>>(level*digit)) & (slots - 1)
}

func (w *Wheel[T]) place(t *Timer[T]) {
	level, slot := w.where(t)
	push(&w.slot[level][slot], t)
	w.used[level] |= 1 << slot
}

// floor returns the tick that a time lies in.
func (w *Wheel[T]) floor(at int64) int64 { return max(at, 0) / w.size }
