package wheel

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

// A model drives a wheel and a plain list side by side. choose decides what is
// done, and is false when there is nothing more to do.
type model struct {
	t      testing.TB
	tick   int64
	now    int64
	wheel  *Wheel[*entry]
	list   []entry
	choose func(n int) (int, bool)
	fired  int
}

type entry struct {
	timer Timer[*entry]
	armed bool
	at    int64
	late  bool // was due when it was set
	due   bool // must fire in the Advance that runs
}

func newModel(t testing.TB, tick, now int64, timers int, choose func(int) (int, bool)) *model {
	m := &model{t: t, tick: tick, now: now, choose: choose}
	m.wheel = New[*entry](time.Duration(tick), now)
	m.list = make([]entry, timers)
	for i := range m.list {
		m.list[i].timer.Owner = &m.list[i]
	}
	return m
}

// run takes steps until there is nothing more to choose, or time ends.
func (m *model) run() {
	for m.now < 1<<61 {
		what, ok := m.choose(10)
		if !ok {
			return
		}
		switch {
		case what < 7:
			m.change()
		case what < 9:
			m.advance(m.now + m.span())
		default: // as an event loop does
			if next, ok := m.wheel.Next(); ok {
				m.advance(max(next, m.now))
			}
		}
		m.check()
	}
}

// span is anything from nothing to centuries.
func (m *model) span() int64 {
	bits, _ := m.choose(56)
	fine, _ := m.choose(256)
	return int64(1)<<bits - 1 + int64(fine)<<bits>>8
}

func (m *model) change() {
	i, _ := m.choose(len(m.list))
	e := &m.list[i]
	how, _ := m.choose(8)
	e.due = false
	switch how {
	case 0, 1:
		m.wheel.Stop(&e.timer)
		e.armed = false
		return
	case 2:
		e.at = m.now - m.span()
	case 3:
		e.at = e.at + m.span()%(2*m.tick)
	default:
		e.at = m.now + m.span()
	}
	m.wheel.Set(&e.timer, e.at)
	e.armed = true
	e.late = e.at <= 0 || (e.at-1)/m.tick+1 <= m.now/m.tick
}

func (m *model) advance(now int64) {
	m.now = now
	for i := range m.list {
		e := &m.list[i]
		e.due = e.armed && e.at <= now
	}
	last := int64(math.MinInt64)
	m.wheel.Advance(now, func(t *Timer[*entry]) {
		e := t.Owner
		switch {
		case t != &e.timer:
			m.t.Fatal("a timer with the owner of another")
		case !e.armed:
			m.t.Fatal("fired, but not armed")
		case e.at > now:
			m.t.Fatalf("fired at %d, %d early", now, e.at-now)
		case !e.due:
			m.t.Fatal("fired in the Advance it was set in")
		case t.Armed():
			m.t.Fatal("armed while it fires")
		case !e.late && e.at < last:
			m.t.Fatalf("what was set for %d fired after %d", e.at, last)
		case e.late && last > 0:
			m.t.Fatal("due when it was set, but did not fire first")
		}
		if !e.late {
			last = (e.at - 1) / m.tick * m.tick // in one tick, any order
		}
		e.armed, e.due = false, false
		m.fired++
		for again, _ := m.choose(3); again == 1; again, _ = m.choose(3) {
			m.change()
		}
	})
	for i := range m.list {
		if e := &m.list[i]; e.due && e.armed && e.at+m.tick <= now {
			m.t.Fatalf("not fired at %d, %d late", now, now-e.at)
		}
	}
}

// check compares everything that can be asked between the steps.
func (m *model) check() {
	armed, late, earliest := 0, false, int64(math.MaxInt64)
	for i := range m.list {
		e := &m.list[i]
		if e.timer.Armed() != e.armed {
			m.t.Fatalf("Armed is %v", !e.armed)
		}
		if e.armed {
			armed++
			late = late || e.late
			earliest = min(earliest, e.at)
		}
	}
	if m.wheel.Len() != armed {
		m.t.Fatalf("Len is %d, want %d", m.wheel.Len(), armed)
	}
	next, ok := m.wheel.Next()
	if ok != (armed > 0) {
		m.t.Fatalf("Next says %v with %d timers", ok, armed)
	}
	if ok && next >= max(earliest, m.now)+m.tick {
		m.t.Fatalf("Next is %d, but a timer is due at %d", next, earliest)
	}
	if ok && !late && next < m.now-m.now%m.tick+m.tick {
		m.t.Fatalf("Next is %d at %d: nothing to do so early", next, m.now)
	}
}

func TestModel(t *testing.T) {
	for _, tick := range []int64{1, 7, int64(time.Millisecond), int64(100 * time.Millisecond)} {
		for seed := range uint64(10) {
			t.Run(fmt.Sprintf("tick %d/seed %d", tick, seed), func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, uint64(tick)))
				steps, span := 30_000, 20+r.IntN(26)
				choose := func(n int) (int, bool) {
					if n == 56 {
						n = span // so that some runs stay in the low levels
					}
					steps--
					return r.IntN(n), steps > 0
				}
				m := newModel(t, tick, r.Int64N(1<<50), 1+r.IntN(100), choose)
				m.run()
				if m.fired < 100 {
					t.Errorf("only %d fired", m.fired)
				}
			})
		}
	}
}

func FuzzWheel(f *testing.F) {
	f.Add([]byte{0, 0, 7, 30, 1, 9, 9, 9}, int64(1))
	f.Add([]byte("set and advance, again and again, and stop in between"), int64(1000))
	f.Fuzz(func(t *testing.T, script []byte, tick int64) {
		if tick <= 0 || tick > int64(time.Hour) || len(script) > 10_000 {
			return
		}
		choose := func(n int) (int, bool) {
			if len(script) == 0 {
				return 0, false
			}
			b := script[0]
			script = script[1:]
			return int(b) % n, true
		}
		newModel(t, tick, 0, 20, choose).run()
	})
}

type wheelOf = Wheel[int]

func collect(w *wheelOf, now int64) []int {
	var fired []int
	w.Advance(now, func(t *Timer[int]) { fired = append(fired, t.Owner) })
	return fired
}

func TestAccuracy(t *testing.T) {
	const tick = 10
	for at := int64(-5); at < 10_000; at += 7 {
		w := New[int](tick, 0)
		var timer Timer[int]
		w.Set(&timer, at)
		for now := int64(0); ; now++ {
			if len(collect(w, now)) > 0 {
				if now < at || now >= max(at, 0)+tick {
					t.Errorf("set for %d, fired at %d", at, now)
				}
				break
			}
			if now > at+tick {
				t.Fatalf("set for %d, not fired at %d", at, now)
			}
		}
	}
}

// From milliseconds to as far as an int64 goes, woken only when Next says so.
func TestFar(t *testing.T) {
	const year = int64(365 * 24 * time.Hour)
	for _, start := range []int64{0, 1, int64(time.Hour) + 12345, 70 * year} {
		w := New[int](time.Millisecond, start)
		spans := []int64{int64(time.Millisecond), int64(time.Second), int64(time.Hour), year / 12, year, 20 * year, 136 * year}
		timers := make([]Timer[int], len(spans))
		for i, span := range spans {
			timers[i].Owner = i
			w.Set(&timers[i], start+span)
		}
		var never Timer[int]
		w.Set(&never, math.MaxInt64)
		for i, span := range spans {
			for wakes := 0; ; wakes++ {
				next, ok := w.Next()
				if !ok || wakes > levels {
					t.Fatalf("timer %d: Next %v after %d wakes", i, ok, wakes)
				}
				if fired := collect(w, next); len(fired) > 0 {
					if len(fired) != 1 || fired[0] != i || next < start+span || next-start-span >= int64(time.Millisecond) {
						t.Fatalf("fired %v at +%d, want %d at +%d", fired, next-start, i, span)
					}
					break
				}
			}
		}
		if next, ok := w.Next(); w.Len() != 1 || !ok || next <= start {
			t.Errorf("the timer for ever: Len %d, Next %d %v", w.Len(), next, ok)
		}
		w.Stop(&never)
		if _, ok := w.Next(); ok || w.Len() != 0 {
			t.Error("not empty after the last Stop")
		}
	}
}

// What cannot be told apart from never, and what was before the clock began.
func TestEnds(t *testing.T) {
	for _, tick := range []int64{1, 7, 1000, int64(time.Hour)} {
		w := New[int](time.Duration(tick), -500)
		var past, first, last Timer[int]
		w.Set(&last, math.MaxInt64)
		w.Set(&first, 1)
		w.Set(&past, -1)
		if fired := collect(w, -400); len(fired) != 1 || past.Armed() {
			t.Errorf("tick %d: %d fired before the clock began", tick, len(fired))
		}
		if fired := collect(w, tick); len(fired) != 1 || first.Armed() {
			t.Errorf("tick %d: %d fired at the first tick", tick, len(fired))
		}
		for range levels {
			next, ok := w.Next()
			if !ok || next <= 0 {
				t.Fatalf("tick %d: Next is %d %v", tick, next, ok)
			}
			if fired := collect(w, next); len(fired) > 0 && next < math.MaxInt64 {
				t.Fatalf("tick %d: the last one fired at %d", tick, next)
			}
			if !last.Armed() || next == math.MaxInt64 {
				break
			}
		}
		if next, ok := w.Next(); ok && next < math.MaxInt64 {
			t.Errorf("tick %d: Next is %d, not for ever", tick, next)
		}
	}
}

func TestOrder(t *testing.T) {
	w := New[int](1, 0)
	timers := make([]Timer[int], 5000)
	for i := range timers {
		timers[i].Owner = i
	}
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(timers)) {
		w.Set(&timers[i], int64(i+1))
	}
	for i, owner := range collect(w, 1<<40) {
		if owner != i {
			t.Fatalf("number %d to fire is %d", i, owner)
		}
	}
}

func TestCallback(t *testing.T) {
	// The wheel has gone to 1000 before the first call.
	setup := func() (*wheelOf, []Timer[int]) {
		w := New[int](1, 0)
		timers := make([]Timer[int], 5)
		for i := range timers {
			timers[i].Owner = i
			w.Set(&timers[i], int64(10*(i+1)))
		}
		return w, timers
	}
	tests := map[string]struct {
		on   int // the timer whose callback acts
		act  func(w *wheelOf, timers []Timer[int])
		want []int // to fire at 1000
		then []int // to fire at 1000 again
		last []int // to fire at 2000
	}{
		"nothing":           {0, func(*wheelOf, []Timer[int]) {}, []int{0, 1, 2, 3, 4}, nil, nil},
		"set itself":        {2, func(w *wheelOf, ts []Timer[int]) { w.Set(&ts[2], 1500) }, []int{0, 1, 2, 3, 4}, nil, []int{2}},
		"set itself as due": {2, func(w *wheelOf, ts []Timer[int]) { w.Set(&ts[2], 1000) }, []int{0, 1, 2, 3, 4}, []int{2}, nil},
		"set itself back":   {0, func(w *wheelOf, ts []Timer[int]) { w.Set(&ts[0], 5) }, []int{0, 1, 2, 3, 4}, []int{0}, nil},
		"stop itself":       {2, func(w *wheelOf, ts []Timer[int]) { w.Stop(&ts[2]) }, []int{0, 1, 2, 3, 4}, nil, nil},
		"stop next":         {0, func(w *wheelOf, ts []Timer[int]) { w.Stop(&ts[1]) }, []int{0, 2, 3, 4}, nil, nil},
		"stop last":         {0, func(w *wheelOf, ts []Timer[int]) { w.Stop(&ts[4]) }, []int{0, 1, 2, 3}, nil, nil},
		"stop all": {0, func(w *wheelOf, ts []Timer[int]) {
			for i := range ts {
				w.Stop(&ts[i])
			}
		}, []int{0}, nil, nil},
		"put off next":       {0, func(w *wheelOf, ts []Timer[int]) { w.Set(&ts[1], 1001) }, []int{0, 2, 3, 4}, nil, []int{1}},
		"set next as it was": {0, func(w *wheelOf, ts []Timer[int]) { w.Set(&ts[1], 20) }, []int{0, 2, 3, 4}, []int{1}, nil},
		"set due and stop":   {4, func(w *wheelOf, ts []Timer[int]) { w.Set(&ts[0], 1); w.Set(&ts[1], 1); w.Stop(&ts[0]) }, []int{0, 1, 2, 3, 4}, []int{1}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w, timers := setup()
			var fired []int
			w.Advance(1000, func(timer *Timer[int]) {
				fired = append(fired, timer.Owner)
				if timer.Owner == test.on {
					test.act(w, timers)
				}
			})
			then := collect(w, 1000)
			last := collect(w, 2000)
			if fmt.Sprint(fired, then, last) != fmt.Sprint(test.want, test.then, test.last) {
				t.Errorf("fired %v, then %v, at last %v; want %v, %v, %v", fired, then, last, test.want, test.then, test.last)
			}
			if w.Len() != 0 {
				t.Errorf("%d are left", w.Len())
			}
		})
	}
}

// A callback that panics loses no timer but its own.
func TestCallbackPanics(t *testing.T) {
	w := New[int](1, 0)
	timers := make([]Timer[int], 3)
	for i := range timers {
		timers[i].Owner = i
		w.Set(&timers[i], 5)
	}
	func() {
		defer func() { _ = recover() }()
		w.Advance(5, func(*Timer[int]) { panic("callback") })
	}()
	if at, ok := w.Next(); !ok || at > 5 {
		t.Errorf("Next is %d, %v", at, ok)
	}
	w.Stop(&timers[1])
	if fired := collect(w, 5); len(fired) != 1 || fired[0] != 2 || w.Len() != 0 {
		t.Errorf("fired %v, %d left", fired, w.Len())
	}
}

func TestTimeGoesBack(t *testing.T) {
	w := New[int](1, 1000)
	var timer Timer[int]
	w.Set(&timer, 1010)
	collect(w, 1005)
	collect(w, 3)
	if at, _ := w.Next(); at != 1010 {
		t.Errorf("Next is %d", at)
	}
	w.Set(&timer, 900)
	if fired := collect(w, 4); len(fired) != 1 {
		t.Error("what is due does not fire")
	}
}

func TestSizeAndAllocations(t *testing.T) {
	if n := unsafe.Sizeof(Timer[*int]{}); n > 32 && unsafe.Sizeof(n) == 8 {
		t.Errorf("a Timer has %d bytes", n)
	}
	if n := unsafe.Sizeof(Timer[any]{}); n > 40 && unsafe.Sizeof(n) == 8 {
		t.Errorf("a Timer with an interface has %d bytes", n)
	}
	w := New[int](1, 0)
	timers := make([]Timer[int], 100)
	now, fired := int64(0), 0
	allocs := testing.AllocsPerRun(100, func() {
		for i := range timers {
			w.Set(&timers[i], now+int64(i*i))
		}
		w.Stop(&timers[50])
		now += 5000
		w.Advance(now, func(*Timer[int]) { fired++ })
		w.Next()
	})
	if allocs != 0 || fired == 0 {
		t.Errorf("%v allocations, %d fired", allocs, fired)
	}
}
