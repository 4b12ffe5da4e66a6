package pebblestore

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/narumq/naru/core"
)

// Everything below is measured in CPU of the process, kernel time included,
// because Pebble works in goroutines of its own and the machine is shared:
// time on the clock says little. TEST_BENCH_DIR chooses the disk.

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident returns the present memory of the process in MiB.
func resident() float64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.Atoi(strings.Fields(string(b))[1])
	return float64(pages) * float64(os.Getpagesize()) / (1 << 20)
}

func benchStore(b *testing.B, o Options) *Store {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("TEST_BENCH_DIR"), "pebblestore")
	if err != nil {
		b.Fatal(err)
	}
	s, err := Open(dir, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(); err != nil {
			b.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			b.Error(err)
		}
	})
	return s
}

func messageKey(queue, ordinal uint64) []byte {
	k := make([]byte, 0, 17)
	k = append(k, 'm')
	k = binary.BigEndian.AppendUint64(k, queue)
	return binary.BigEndian.AppendUint64(k, ordinal)
}

// payloads are half noise, half text, as messages are.
func payloads() *[512][]byte {
	var ps [512][]byte
	r := rand.New(rand.NewPCG(1, 2))
	for n := range ps {
		p := make([]byte, 230)
		for i := range p {
			if i < 115 {
				p[i] = byte(r.Uint32())
			} else {
				p[i] = "temperature: 21.5 "[i%18]
			}
		}
		ps[n] = p
	}
	return &ps
}

// purge is how many dead records core gathers before one DeleteRange.
const purge = 1024

// A feed writes messages to a queue and removes them by whole prefixes, keeping
// backlog of them alive.
type feed struct {
	store   core.Shard
	queue   uint64
	backlog uint64
	values  *[512][]byte
	next    uint64
	purged  uint64
	counter [20]byte
}

// batch adds n messages, the queue's counters as core writes them with every
// batch, and the range delete when its time has come.
func (f *feed) batch(n int) core.Batch {
	b := f.store.NewBatch()
	for range n {
		b.Set(messageKey(f.queue, f.next), f.values[f.next%512])
		f.next++
	}
	binary.BigEndian.PutUint64(f.counter[:], f.next)
	b.Set(append([]byte{'c'}, messageKey(f.queue, 0)[1:9]...), f.counter[:])
	for f.next-f.purged >= f.backlog+purge {
		b.DeleteRange(messageKey(f.queue, f.purged), messageKey(f.queue, f.purged+purge))
		f.purged += purge
	}
	return b
}

// BenchmarkMessage: one operation is one message, written, synced, removed.
func BenchmarkMessage(b *testing.B) { benchMessages(b, Options{}) }

// BenchmarkEngine is the same without a disk: what Pebble and we cost.
func BenchmarkEngine(b *testing.B) { benchMessages(b, Options{FS: vfs.NewMem()}) }

func benchMessages(b *testing.B, o Options) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			s := benchStore(b, o)
			f := &feed{store: s, queue: 1, values: payloads(), backlog: 100}
			done := make(chan error)
			b.ResetTimer()
			start := cpu()
			for i := 0; i < b.N; i += n {
				s.Commit(f.batch(n), func(err error) { done <- err })
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			report(b, s, start)
		})
	}
	for _, n := range []int{16, 64, 256} {
		b.Run(fmt.Sprintf("inflight=%d", n), func(b *testing.B) {
			s := benchStore(b, o)
			f := &feed{store: s, queue: 1, values: payloads(), backlog: 100}
			done := make(chan error, n)
			told := func(err error) { done <- err }
			b.ResetTimer()
			start := cpu()
			sent := 0
			for ; sent < min(n, b.N); sent++ {
				s.Commit(f.batch(1), told)
			}
			for got := 0; got < b.N; got++ {
				if err := <-done; err != nil {
					b.Fatal(err)
				}
				if sent < b.N {
					s.Commit(f.batch(1), told)
					sent++
				}
			}
			report(b, s, start)
		})
	}
}

func report(b *testing.B, s *Store, start time.Duration) {
	b.StopTimer()
	b.ReportMetric(float64(cpu()-start)/float64(b.N)/1e3, "cpu-us/msg")
	b.ReportMetric(float64(b.N)/float64(max(1, s.count.groups.Load())), "msg/sync")
	b.ReportMetric(resident(), "RSS-MiB")
	m := s.db.Metrics()
	var written uint64 // to tables; Total() would count the log too
	for _, l := range m.Levels {
		written += l.TableBytesFlushed + l.TableBytesCompacted
	}
	b.ReportMetric(float64(written)/float64(b.N), "table-B/msg")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHead passes messages through a queue with a backlog and reads on
// from the lowest live key every 64 messages, as a queue does that pages.
func BenchmarkHead(b *testing.B) {
	for _, backlog := range []uint64{100, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("backlog=%d", backlog), func(b *testing.B) {
			s := benchStore(b, Options{})
			f := &feed{store: s, queue: 1, values: payloads(), backlog: backlog}
			const n = 64
			done := make(chan error)
			commit := func() {
				s.Commit(f.batch(n), func(err error) { done <- err })
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
			for f.next < backlog+n {
				commit()
			}
			var worst, total time.Duration
			b.ResetTimer()
			start := cpu()
			scans := 0
			for i := 0; i < b.N; i += n {
				commit()
				low := f.next - backlog
				began := time.Now()
				read := uint64(0)
				err := s.Scan(messageKey(1, low), messageKey(1, f.next), func(k, _ []byte) bool {
					if got := binary.BigEndian.Uint64(k[9:]); got != low+read {
						b.Fatalf("found %d, want %d", got, low+read)
					}
					read++
					return read < n
				})
				if err != nil || read != n {
					b.Fatal(read, err)
				}
				took := time.Since(began)
				worst, total, scans = max(worst, took), total+took, scans+1
			}
			report(b, s, start)
			b.ReportMetric(float64(total)/float64(scans)/1e3, "scan64-us")
			b.ReportMetric(float64(worst)/1e3, "worst-us")
		})
	}
}
