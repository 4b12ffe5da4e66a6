package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// clockTick is the unit of the times in /proc/<pid>/stat. The kernel keeps
// them exactly and rounds them down to this; USER_HZ is 100 on every Linux.
const clockTick = time.Second / 100

var errProc = errors.New("unexpected form")

// cpuTime is the processor time, user and system, that a process has used in
// all its threads, those that have ended included.
func cpuTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(procPath(pid, "stat"))
	if err != nil {
		return 0, fmt.Errorf("read CPU time: %w", err)
	}
	return parseStat(text)
}

// parseStat adds up the fields utime and stime. The second field is the
// command in brackets, which may contain anything, brackets and blanks
// included, so they are counted from the last bracket.
func parseStat(text []byte) (time.Duration, error) {
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const utime, stime = 14 - 3, 15 - 3
	if len(fields) <= stime {
		return 0, fmt.Errorf("stat: %w", errProc)
	}
	user, err1 := strconv.ParseInt(string(fields[utime]), 10, 64)
	system, err2 := strconv.ParseInt(string(fields[stime]), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, fmt.Errorf("stat: %w", err)
	}
	return time.Duration(user+system) * clockTick, nil
}

// machineTime is the processor time that the whole machine has used, and what
// its hypervisor gave to others.
func machineTime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read CPU time of the machine: %w", err)
	}
	return parseMachine(text)
}

// parseMachine adds up the first line but for the fields idle and iowait, and
// for the guest times at its end, which are in the first two already.
func parseMachine(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	const idle, iowait, steal = 4, 5, 8
	if len(fields) <= steal || string(fields[0]) != "cpu" {
		return 0, fmt.Errorf("/proc/stat: %w", errProc)
	}
	var ticks int64
	for i := 1; i <= steal; i++ {
		n, err := strconv.ParseInt(string(fields[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		if i != idle && i != iowait {
			ticks += n
		}
	}
	return time.Duration(ticks) * clockTick, nil
}

// residentSize is the memory a process holds, from the file that is cheap to
// read.
func residentSize(pid int) (int64, error) {
	text, err := os.ReadFile(procPath(pid, "statm"))
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("statm: %w", errProc)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("statm: %w", err)
	}
	return pages * int64(os.Getpagesize()), nil
}

// A footprint is the memory of a process, in bytes. PSS counts a page shared
// by n processes as a n-th of a page.
type footprint struct{ rss, pss int64 }

// memory walks the page tables of a process, which is exact and slow, so it is
// for the scenarios that compare memory. The file needs the same user (or
// root) as the process; without it there is the resident size alone.
func memory(pid int) (footprint, error) {
	text, err := os.ReadFile(procPath(pid, "smaps_rollup"))
	if err != nil {
		rss, err := residentSize(pid)
		return footprint{rss: rss}, err
	}
	return parseRollup(text)
}

func parseRollup(text []byte) (footprint, error) {
	var f footprint
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) != 3 || string(fields[2]) != "kB" {
			continue
		}
		kb, err := strconv.ParseInt(string(fields[1]), 10, 64)
		if err != nil {
			return footprint{}, fmt.Errorf("smaps_rollup: %w", err)
		}
		switch string(fields[0]) {
		case "Rss:":
			f.rss = kb << 10
		case "Pss:":
			f.pss = kb << 10
		}
	}
	if f.rss == 0 {
		return footprint{}, fmt.Errorf("smaps_rollup: %w", errProc)
	}
	return f, nil
}

func procPath(pid int, file string) string {
	return "/proc/" + strconv.Itoa(pid) + "/" + file
}
