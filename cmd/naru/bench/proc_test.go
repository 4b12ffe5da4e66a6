package bench

import (
	"os"
	"runtime"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	// The command is "a) S 1 (b", made to mislead.
	text := "42 (a) S 1 (b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 7 7 20 0 1 0 100 1 1"
	got, err := parseStat([]byte(text))
	if err != nil || got != 3*time.Second {
		t.Errorf("got %v, %v; want 3s", got, err)
	}
	for _, bad := range []string{"", "42 (a) S 1 2 3", "1 (a) S 1 42 42 0 -1 4194304 100 0 0 0 x 50 7"} {
		if _, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseMachine(t *testing.T) {
	got, err := parseMachine([]byte("cpu  100 20 30 9000 9000 5 6 7 50 0\ncpu0 1 2 3\n"))
	if err != nil || got != 1680*time.Millisecond {
		t.Errorf("got %v, %v; want 1.68s", got, err)
	}
	for _, bad := range []string{"", "cpu0 1 2 3 4 5 6 7 8\n", "cpu 1 2 3\n", "cpu 1 2 x 4 5 6 7 8\n"} {
		if _, err := parseMachine([]byte(bad)); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestParseRollup(t *testing.T) {
	text := "7ffc-7ffd ---p 00000000 00:00 0 [rollup]\nRss:    1732 kB\nPss:     329 kB\nPss_Dirty: 116 kB\n"
	got, err := parseRollup([]byte(text))
	if want := (footprint{rss: 1732 << 10, pss: 329 << 10}); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	if _, err := parseRollup([]byte("nothing of the kind\n")); err == nil {
		t.Error("no error for a file of another form")
	}
}

func TestOwnFigures(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	after := before
	for end := time.Now().Add(30 * time.Second); err == nil && after == before && time.Now().Before(end); {
		after, err = cpuTime(os.Getpid()) // which takes some
	}
	if err != nil || after <= before {
		t.Errorf("CPU time went from %v to %v, %v", before, after, err)
	}
	rss, err := residentSize(os.Getpid())
	if err != nil || rss < 1<<20 {
		t.Errorf("resident size %d, %v", rss, err)
	}
	exact, err := memory(os.Getpid())
	if err != nil || exact.rss < rss/2 || exact.rss > rss*2 {
		t.Errorf("footprint %v beside a resident size of %d, %v", exact, rss, err)
	}
	if _, err := cpuTime(1 << 30); err == nil {
		t.Error("a process that does not exist has CPU time")
	}
}
