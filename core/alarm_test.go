package core

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// disk is free space that a test decides about.
type disk struct {
	free atomic.Int64
	bad  atomic.Bool
}

func (d *disk) space() (int64, error) {
	if d.bad.Load() {
		return 0, errors.New("no such disk")
	}
	return d.free.Load(), nil
}

func withDisk(d *disk, least int64) func(*Options) {
	return func(o *Options) { o.FreeSpace, o.MinFreeDisk = d.space, least }
}

// TestDiskAlarm: publishers wait at their next publish, everything else goes
// on, and they go on when there is a tenth more than the watermark.
func TestDiskAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		d.free.Store(5000)
		log := new(eventLog)
		x := newBox(t, withDisk(d, 1000), log.listen)
		sub, pub := x.connect("sub", persistent), x.connect("pub")
		sub.subscribe("a", AtLeastOnce)
		pub.publish("a", "1", AtLeastOnce)
		x.settle()

		d.free.Store(999)
		x.checkDisk()
		x.checkDisk() // told once
		raised := eventsOf[AlarmRaised](log)
		if len(raised) != 1 || raised[0].Alarm != "disk" || len(raised[0].Largest) != 1 || raised[0].Largest[0].Name != "sub" {
			t.Fatalf("raised %+v", raised)
		}
		done := make(chan error)
		go func() { done <- pub.tryPublish("a", "2", AtLeastOnce, false) }()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("published under the alarm: %v", err)
		default:
		}
		// Those who consume, subscribe and come go on.
		got := sub.take()
		if s := texts(got); !slices.Equal(s, []string{"1"}) {
			t.Errorf("got %q", s)
		}
		sub.accept(got...)
		sub.subscribe("b", AtLeastOnce)
		x.connect("late").close(true)
		x.settle()
		if n, _ := x.Stored(); n != 0 {
			t.Errorf("%d messages are left", n)
		}
		// The broker's own messages go on as well.
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Topic = x.VHost("/").Topics(), []byte("$SYS/a")
			if wait, err := x.VHost("/").NewInternalPublisher().Publish(tn, m); wait != nil || err != nil {
				t.Errorf("internal: wait %v, %v", wait != nil, err)
			}
		})

		d.free.Store(1099)
		x.checkDisk()
		synctest.Wait()
		if len(eventsOf[AlarmCleared](log)) != 0 {
			t.Error("cleared at less than a tenth above")
		}
		time.Sleep(10 * time.Second) // in the bubble: housekeeping changes nothing
		d.free.Store(1100)
		x.checkDisk()
		x.checkDisk()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := sub.payloads(1); !slices.Equal(got, []string{"2"}) {
			t.Errorf("then got %q", got)
		}
		cleared := eventsOf[AlarmCleared](log)
		if len(cleared) != 1 || cleared[0].Alarm != "disk" || cleared[0].After < 10*time.Second {
			t.Errorf("cleared %+v", cleared)
		}
		if n := len(eventsOf[AlarmRaised](log)); n != 1 {
			t.Errorf("raised %d times", n)
		}
	})
}

// TestAlarmComesRound: housekeeping looks at the disk every second, and an
// alarm can come again.
func TestAlarmComesRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		log := new(eventLog)
		newBox(t, withDisk(d, 1000), log.listen)
		for round := range 3 {
			for _, free := range []int64{0, 2000} {
				d.free.Store(free)
				time.Sleep(1100 * time.Millisecond) // in the bubble
				synctest.Wait()
			}
			if r, c := len(eventsOf[AlarmRaised](log)), len(eventsOf[AlarmCleared](log)); r != round+1 || c != round+1 {
				t.Fatalf("round %d: raised %d times, cleared %d times", round, r, c)
			}
		}
	})
}

// TestAlarmUnknownSpace: a disk that cannot be asked holds nobody back, and is
// told once and not every second.
func TestAlarmUnknownSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		d.bad.Store(true)
		log := new(eventLog)
		x := newBox(t, withDisk(d, 1000), log.listen)
		time.Sleep(10 * time.Second) // in the bubble
		x.connect("pub").publish("a", "x", AtLeastOnce)
		if n := len(eventsOf[AlarmRaised](log)); n != 1 {
			t.Errorf("told %d times", n)
		}
		d.bad.Store(false)
		d.free.Store(500)
		time.Sleep(2 * time.Second)
		if n := len(eventsOf[AlarmRaised](log)); n != 2 {
			t.Errorf("told %d times when space is known, and low", n)
		}
	})
}

// TestAlarmHoldsWill: a will waits for the alarm like every message, and is on
// disk meanwhile.
func TestAlarmHoldsWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		d.free.Store(5000)
		log := new(eventLog)
		x := newBox(t, withDisk(d, 1000), log.listen)
		sub := x.connect("sub", persistent)
		sub.subscribe("w", AtLeastOnce)
		c := x.connect("c", withWill(x, "w", "will", AtLeastOnce))
		x.settle()
		d.free.Store(0)
		x.checkDisk()
		c.close(false)
		x.settle()
		if n := len(eventsOf[WillPublished](log)); n != 0 {
			t.Fatal("published under the alarm")
		}
		// A crash meanwhile forgets nothing.
		y := x.crash()
		if got := y.connect("sub", persistent).payloads(1); !slices.Equal(got, []string{"will"}) {
			t.Errorf("after a crash: got %q", got)
		}
		d.free.Store(5000)
		x.checkDisk()
		synctest.Wait()
		if got := sub.payloads(1); !slices.Equal(got, []string{"will"}) {
			t.Errorf("got %q", got)
		}
		if n := len(eventsOf[WillPublished](log)); n != 1 {
			t.Errorf("told %d times", n)
		}
	})
}

// TestCloseUnderAlarm: the bus can be closed while somebody waits for an alarm
// to end.
func TestCloseUnderAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		x := newBox(t, withDisk(d, 1000))
		c := x.connect("c", withWill(x, "w", "will", AtLeastOnce))
		x.checkDisk()
		c.close(false)
		x.Close()
		if n := x.crash().Stats().Received[1]; n != 1 {
			t.Errorf("%d wills after the next start", n)
		}
	})
}

// TestBacklogged: the bound on what is on its way to disk is that of the shard
// that has most.
func TestBacklogged(t *testing.T) {
	shards := []*testShard{newTestShard(), newTestShard()}
	x := openBox(t, shards, func(o *Options) { o.MaxUncommitted = 1 << 16 })
	for i, tc := range []struct {
		bytes [2]int64
		want  bool
	}{{[2]int64{1 << 16, 1 << 16}, false}, {[2]int64{0, 1<<16 + 1}, true}, {[2]int64{0, 0}, false}} {
		for j, s := range shards {
			s.mu.Lock()
			s.backlog = tc.bytes[j]
			s.mu.Unlock()
		}
		if x.Backlogged() != tc.want {
			t.Errorf("case %d: %v", i, !tc.want)
		}
	}
}

// TestMemoryAlarm: what is on its way to disk counts, and publishers wait until
// it is three quarters of the limit; under two alarms they wait for both.
func TestMemoryAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(disk)
		d.free.Store(5000)
		log := new(eventLog)
		x := newBox(t, withDisk(d, 1000), log.listen, func(o *Options) { o.MemoryAlarm = 1 << 20 })
		pub := x.connect("pub")
		backlog := func(n int64) {
			x.shards[0].mu.Lock()
			x.shards[0].backlog = n
			x.shards[0].mu.Unlock()
			time.Sleep(150 * time.Millisecond) // in the bubble: housekeeping comes round
			synctest.Wait()
		}
		waits := func() bool {
			var wait Wait
			x.turn(func(tn *Turn) {
				m := tn.Message()
				m.Exchange, m.Topic = x.VHost("/").Topics(), []byte("a")
				var err error
				if wait, err = pub.pub.Publish(tn, m); err != nil {
					t.Error(err)
				}
			})
			return wait != nil
		}
		for i, st := range []struct {
			backlog, free int64
			want          bool
		}{
			{1 << 20, 5000, false},
			{1<<20 + 1, 5000, true},
			{1<<20 - 1, 5000, true},
			{3<<18 + 1, 0, true},
			{3 << 18, 0, true}, // the disk is left
			{0, 5000, false},
			{1 << 21, 0, true},
			{1 << 21, 5000, true}, // memory is left
			{0, 5000, false},
		} {
			d.free.Store(st.free)
			x.checkDisk()
			backlog(st.backlog)
			if got := waits(); got != st.want {
				t.Errorf("step %d: waits %v", i, got)
			}
		}
		kinds := map[string]int{}
		for _, e := range eventsOf[AlarmRaised](log) {
			kinds["raised "+e.Alarm]++
		}
		for _, e := range eventsOf[AlarmCleared](log) {
			kinds["cleared "+e.Alarm]++
		}
		for _, k := range []string{"raised disk", "raised memory", "cleared disk", "cleared memory"} {
			if kinds[k] != 2 {
				t.Errorf("%s %d times", k, kinds[k])
			}
		}
	})
}
