package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// smallDisk mounts a file system of its own, so that a full disk is a real
// one. It needs root, as CI has.
func smallDisk(t *testing.T, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "naru-e2e", dir).CombinedOutput(); err != nil {
		if peers.Required() {
			t.Fatalf("mount is refused: %v %s", err, out)
		}
		t.Skipf("mount is refused: %v %s; with TEST_REQUIRE_PEERS=1 this is a failure", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			exec.Command("umount", "-l", dir).Run()
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return dir
}

func freeSpace(t *testing.T, dir string) int {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int(st.Bavail) * int(st.Bsize)
}

// wholeLog is everything that the broker has written.
func wholeLog(t *testing.T, b *Broker) string {
	t.Helper()
	text, err := os.ReadFile(b.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitLog waits for a line of the log that holds the text.
func awaitLog(t *testing.T, b *Broker, text string) (line string) {
	t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for line := range strings.Lines(wholeLog(t, b)) {
			if strings.Contains(line, text) {
				return line
			}
		}
		select {
		case <-b.Exited:
			t.Fatal(b.Dead())
		case <-time.After(20 * time.Millisecond): // a file tells nobody that it grows
		}
	}
	t.Fatalf("the log does not say %q:\n%s", text, b.Log())
	return ""
}

// A filler publishes numbered messages until it is told to stop or its
// connection ends.
type filler struct {
	s     *session
	topic string
	qos   byte
	size  int
	pause time.Duration // between messages, where the disk must last for a while
	stop  atomic.Bool
	sent  int
	acked atomic.Int64 // messages 0 to acked-1 are acknowledged
	err   error        // why it ended, to be read after it has
}

func (f *filler) run() {
	f.s.done = func(*outgoing) { f.acked.Add(1) }
	random := rand.NewChaCha8([32]byte{byte(f.size)}) // the store compresses anything else
	fill := make([]byte, f.size)
	for !f.stop.Load() && f.err == nil {
		random.Read(fill)
		f.err = f.s.publish(f.topic, f.qos, false, fmt.Appendf(nil, "%d %s", f.sent, fill), 0)
		f.sent++
		time.Sleep(f.pause) // the publisher is slow, where it should be
		if f.err == nil {
			f.err = f.s.drain(8)
		}
	}
	for f.err == nil && len(f.s.open) > 0 {
		f.err = f.s.settle()
	}
	for f.err != nil && f.s.settle() == nil { // what was acknowledged before the end
	}
}

// A counter takes the messages of a filler and sees that they come in order
// and none is missing.
type counter struct {
	s    *session
	next map[string]int
}

func (c *counter) take(t *testing.T) (topic string) {
	t.Helper()
	d, err := c.s.take()
	if err != nil {
		t.Fatalf("%s: after %v messages: %v", c.s.id, c.next, err)
	}
	n := -1
	fmt.Sscanf(string(d.payload), "%d", &n)
	switch {
	case n == c.next[d.topic]:
		c.next[d.topic]++
	case n < c.next[d.topic] && d.dup && d.qos == 1: // it may come again
	default:
		t.Fatalf("%s: number %d on %s (QoS %d, DUP %v), want %d", c.s.id, n, d.topic, d.qos, d.dup, c.next[d.topic])
	}
	return d.topic
}

// TestDiskAlarm: when space runs short publishers are held back, with their
// connections open, while consumers receive and acknowledge. When there is
// space again publishing goes on, and nothing is lost at all.
func TestDiskAlarm(t *testing.T) {
	disk := smallDisk(t, "320m")
	b := serveNaru(t, naruBinary(t), "data_dir="+disk+"/data", "bus.min_free_disk=96MiB", "store.mem_table=4MiB")
	largest := &counter{join(t, &session{addr: b.MQTT, id: "the-largest"}), map[string]int{}}
	must(t, largest.s.subscribe("fill/#", 1), largest.s.disconnect())
	minor := join(t, &session{addr: b.MQTT, id: "minor"})
	must(t, minor.subscribe("little", 1), minor.disconnect())
	f := &filler{topic: "fill/it", qos: 1, size: 32 << 10, pause: 5 * time.Millisecond}
	f.s = join(t, &session{addr: b.MQTT, id: "filler"})
	must(t, f.s.publish("little", 1, false, []byte("x"), 0), f.s.drain(0))
	var filling sync.WaitGroup
	filling.Go(f.run)
	defer filling.Wait()
	defer f.s.close()
	// Free space is looked at every second, and what the filler writes in that
	// time is little beside what it must not reach.
	ballast := filepath.Join(disk, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, freeSpace(t, disk)-60<<20), 0o600))

	line := awaitLog(t, b, "alarm: publishers wait")
	first, second := strings.Index(line, "the-largest"), strings.Index(line, "minor")
	if !strings.Contains(line, "alarm=disk") || !strings.Contains(line, "bus.min_free_disk is ") || first < 0 || second < first {
		t.Errorf("the alarm does not name the largest queues in order: %s", line)
	}
	probe := join(t, &session{addr: b.MQTT, id: "probe", keepAlive: 1})
	must(t, probe.publish("fill/probe", 1, false, []byte("0"), 0))
	must(t, largest.s.connect())
	for int64(largest.next["fill/it"]) < f.acked.Load() {
		if topic := largest.take(t); topic != "fill/it" {
			t.Fatalf("a publisher that comes during the alarm is not held back: %s", topic)
		}
	}
	// Longer than one and a half of probe's keep-alive, which must not count.
	probe.net.SetReadDeadline(time.Now().Add(2500 * time.Millisecond))
	if _, err := probe.r.ReadByte(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a publisher during the alarm is answered, or closed: %v", err)
	}
	if log := wholeLog(t, b); strings.Contains(log, "alarm cleared") {
		t.Fatalf("the alarm was over before there was space:\n%s", log)
	}

	must(t, os.Remove(ballast))
	awaitLog(t, b, "alarm cleared")
	must(t, probe.drain(0))
	before := f.acked.Load()
	for largest.next["fill/probe"] == 0 || int64(largest.next["fill/it"]) < before+50 {
		largest.take(t)
	}
	must(t, largest.s.disconnect())
	f.stop.Store(true)
	filling.Wait()
	must(t, f.err, b.Restart(true), largest.s.connect())
	for largest.next["fill/it"] < f.sent {
		largest.take(t)
	}
	must(t, minor.connect())
	expectDelivery(t, minor, "little", "x")
}

// TestDiskFull: where the disk is full all the same, the broker ends if it
// cannot write its log, and waits if it is tables that it cannot write. It can be
// told to stop while it waits, and goes on when there is space. In every case
// what was acknowledged is there afterwards.
func TestDiskFull(t *testing.T) {
	for _, test := range []struct {
		name     string
		memTable string // the log takes most space with large ones, tables with small ones
		space    bool   // is given to a broker that waits; or else it is stopped
	}{{"log", "16MiB", false}, {"tables, then SIGTERM", "4MiB", false}, {"tables, then space", "4MiB", true}} {
		t.Run(test.name, func(t *testing.T) {
			f := startFilling(t, "store.mem_table="+test.memTable)
			waits := f.awaitFull(t)
			if waits && test.space {
				f.grow(t)
				for before := f.acked(); f.acked() < before+200; {
					select {
					case <-f.b.Exited:
						t.Fatal(f.b.Dead())
					case <-time.After(time.Millisecond): // four fillers to watch
					}
				}
				f.stop()
				must(t, f.b.Restart(true))
			} else {
				f.end(t, waits)
				f.stop()
				f.grow(t)
				must(t, f.b.Start())
			}
			f.check(t)
		})
	}
}

// A filling is a broker on a small disk without an alarm, and publishers that
// do not stop.
type filling struct {
	b       *Broker
	disk    string
	keeper  *counter
	fillers []*filler
	running sync.WaitGroup
}

func startFilling(t *testing.T, setting string) *filling {
	f := &filling{disk: smallDisk(t, "96m")}
	f.b = serveNaru(t, naruBinary(t), "data_dir="+f.disk+"/data", "bus.min_free_disk=0", setting)
	f.keeper = &counter{join(t, &session{addr: f.b.MQTT, id: "keeper"}), map[string]int{}}
	must(t, f.keeper.s.subscribe("fill/+", 2), f.keeper.s.disconnect())
	for i, size := range []int{200, 5000, 60000, 600000} {
		w := &filler{topic: fmt.Sprint("fill/", i), qos: byte(1 + i%2), size: size}
		w.s = join(t, &session{addr: f.b.MQTT, id: fmt.Sprint("filler", i)})
		f.fillers = append(f.fillers, w)
		f.running.Go(w.run)
	}
	t.Cleanup(f.stop)
	return f
}

func (f *filling) acked() (n int64) {
	for _, w := range f.fillers {
		n += w.acked.Load()
	}
	return n
}

// awaitFull returns when the broker has ended or says that it has no space for
// tables.
func (f *filling) awaitFull(t *testing.T) (waits bool) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-f.b.Exited:
			return false
		case <-time.After(10 * time.Millisecond): // a file tells nobody that it grows
		}
		if strings.Contains(wholeLog(t, f.b), "no space for the store") {
			return true
		}
	}
	t.Fatalf("the disk does not get full:\n%s", f.b.Log())
	return false
}

// end stops a broker that waits, and looks at how it ended.
func (f *filling) end(t *testing.T, waits bool) {
	if waits {
		// Somebody else takes what little there may be, so that it goes on waiting.
		os.WriteFile(filepath.Join(f.disk, "ballast"), make([]byte, 96<<20), 0o600)
		if err := f.b.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Logf("it has ended by itself: %v", err)
		}
	}
	select {
	case <-f.b.Exited:
	case <-time.After(drainLimit):
		f.b.Cmd.Process.Kill()
		<-f.b.Exited
		t.Errorf("SIGTERM is ignored for %v:\n%s", drainLimit, f.b.Log())
	}
	// When nothing was on its way at that moment it can stop in order.
	if code := f.b.Cmd.ProcessState.ExitCode(); code != 3 && !(waits && code == 0) {
		t.Errorf("exit code %d, want 3:\n%s", code, f.b.Log())
	}
	log := wholeLog(t, f.b)
	if !strings.Contains(log, "no space left on device") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if n := strings.Count(log, "no space"); n > 20 {
		t.Errorf("the log says so %d times, and may be on the same disk", n)
	}
}

func (f *filling) grow(t *testing.T) {
	if out, err := exec.Command("mount", "-o", "remount,size=2g", f.disk).CombinedOutput(); err != nil {
		t.Fatalf("more space: %v %s", err, out)
	}
}

// stop ends the publishers. They may be in the middle of something.
func (f *filling) stop() {
	for _, w := range f.fillers {
		w.stop.Store(true)
		w.s.close()
	}
	f.running.Wait()
}

// check has the keeper receive all that was acknowledged.
func (f *filling) check(t *testing.T) {
	must(t, f.keeper.s.connect())
	if !f.keeper.s.present {
		t.Error("the session is lost")
	}
	for _, w := range f.fillers {
		for int64(f.keeper.next[w.topic]) < w.acked.Load() {
			f.keeper.take(t)
		}
		t.Logf("%s: %d acknowledged, %d sent", w.topic, w.acked.Load(), w.sent)
	}
}
