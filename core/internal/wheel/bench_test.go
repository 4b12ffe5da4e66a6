package wheel

import (
	"math/rand/v2"
	"testing"
	"time"
)

const million = 1_000_000

// armed is a wheel with a million keep-alives between one and two minutes.
func armed() (*Wheel[*int], []Timer[*int], []int64) {
	w := New[*int](10*time.Millisecond, 0)
	timers, at := make([]Timer[*int], million), make([]int64, million)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range timers {
		at[i] = int64(time.Minute) + r.Int64N(int64(time.Minute))
		w.Set(&timers[i], at[i])
	}
	return w, timers, at
}

func BenchmarkSetStop(b *testing.B) {
	w, _, at := armed()
	var t Timer[*int]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		w.Set(&t, at[i%million])
		w.Stop(&t)
	}
}

// Set of an armed timer far from the one before: a cache miss for it and for each of
// its neighbours.
func BenchmarkReset(b *testing.B) {
	w, timers, at := armed()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		j := i * 7919 % million
		w.Set(&timers[j], at[(i+i/million+1)%million]) // never the time it has
	}
}

// What one timer costs from Set to firing, with all the moves between levels.
func BenchmarkFire(b *testing.B) {
	w, _, at := armed()
	now := int64(0)
	b.ReportAllocs()
	for i := 0; b.Loop(); {
		now += int64(10 * time.Millisecond)
		w.Advance(now, func(t *Timer[*int]) {
			w.Set(t, now+at[i%million])
			i++
		})
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(i, 1)), "ns/timer")
	}
}

func BenchmarkNext(b *testing.B) {
	w, _, _ := armed()
	for b.Loop() {
		w.Next()
	}
}
