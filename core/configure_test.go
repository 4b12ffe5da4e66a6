package core

import "testing"

// TestConfigure: other limits hold from the next look on, and an alarm does not
// outlive the limit that raised it.
func TestConfigure(t *testing.T) {
	x := newBox(t, func(o *Options) {
		o.MinFreeDisk = 0
		o.FreeSpace = func() (int64, error) { return 1000, nil }
	})
	look := func(disk, memory bool) {
		t.Helper()
		x.checkDisk()
		x.checkMemory()
		if a := x.Alarms(); a["disk"] != disk || a["memory"] != memory || len(a) != 2 {
			t.Errorf("alarms %v, want disk %v and memory %v", a, disk, memory)
		}
	}
	limits := DefaultConfig()
	change := func(f func(*Config)) { f(&limits); x.Configure(limits) }

	look(false, false)
	change(func(c *Config) { c.MinFreeDisk = 1001 })
	look(true, false)
	change(func(c *Config) { c.MinFreeDisk = 0 })
	look(false, false)
	x.memory.Add(1 << 30) // as if queues held it
	defer x.memory.Add(-1 << 30)
	look(false, true)
	change(func(c *Config) { c.MemoryAlarm = 0 })
	look(false, false)
	change(func(c *Config) { c.MemoryAlarm = 1 << 28 })
	look(false, true)
	change(func(c *Config) { c.MemoryAlarm = 1 << 31 })
	look(false, false)
	if over := x.overBudget(); !over {
		t.Error("a gigabyte is within the budget")
	}
	change(func(c *Config) { c.QueueMemory = 1 << 31 })
	if over := x.overBudget(); over {
		t.Error("the budget is what it was")
	}
}
