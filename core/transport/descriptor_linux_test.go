package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/narumq/naru/core"
)

// descriptors returns how many the process has.
func descriptors(t testing.TB) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestCloseDescriptors: after Close no descriptor is left, of connections in
// every state.
func TestCloseDescriptors(t *testing.T) {
	first := newBox(t) // Go's own poller takes its descriptors for good
	c, _ := first.dial(first.listen())
	c.Close()
	first.close()
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		before := descriptors(t)
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 3; o.MaxConnections = 10 })
		addr := b.listen()
		b.listen()
		var clients []*client
		open := func() *probe {
			c, h := b.dial(addr)
			clients = append(clients, c)
			return h
		}
		open()
		open().conn.Kick(errBad) // its peer does not close: it lingers
		full := open()
		b.turn(func(t *core.Turn) { full.deliver(t, pattern(12<<20), true) })
		wait(t, "the socket is full", full.full)
		waiting := open()
		clients[3].send(frame('w', "x"))
		wait(t, "waiting", func() bool { return waiting.waits.Load() == 1 })
		gone := open()
		clients[4].Close()
		gone.ended(io.EOF)
		for range 10 { // some of them too many
			clients = append(clients, dial(t, addr))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := b.srv.Close(ctx); err != nil {
			t.Error(err)
		}
		for _, c := range clients {
			c.Close()
		}
		wait(t, "as many descriptors as before", func() bool { return descriptors(t) == before })
	})
}

// TestDescriptorReuse: connections come and go while others write to them. A
// descriptor is given to the next connection as soon as it is released, and
// must never see what was meant for its predecessor.
func TestDescriptorReuse(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.Loops = 2; o.OutboxSize = 1 << 16 })
		addr := b.listen()
		var present [4]atomic.Pointer[probe]
		stop := make(chan struct{})
		var writers, clients sync.WaitGroup
		for i := range 8 {
			writers.Go(func() {
				for n := i; ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					h := present[n%len(present)].Load()
					if h == nil {
						continue
					}
					id := bytes.Repeat([]byte(fmt.Sprintf("%08d", h.conn.started%100_000_000)), 50)
					b.turn(func(t *core.Turn) { h.deliver(t, id, false) })
				}
			})
		}
		var mu sync.Mutex // a client and its probe find each other one at a time
		for i := range present {
			clients.Go(func() {
				for round := range 60 {
					mu.Lock()
					c, h := b.dial(addr)
					mu.Unlock()
					id := fmt.Sprintf("%08d", h.conn.started%100_000_000)
					present[i].Store(h)
					got := make([]byte, 4000)
					n, err := io.ReadFull(c, got)
					if err != nil {
						t.Errorf("round %d: %v", round, err)
					}
					for at := 0; at+8 <= n; at += 8 {
						if s := string(got[at : at+8]); s != id {
							t.Errorf("round %d: %s was sent %q", round, id, s)
							break
						}
					}
					if round%2 == 0 { // either side is the first
						h.conn.Kick(errBad)
					}
					c.Close()
				}
			})
		}
		clients.Wait()
		close(stop)
		writers.Wait()
	})
}

const outOfDescriptors = "NARU_TEST_OUT_OF_DESCRIPTORS"

// TestOutOfDescriptors: when the process has no descriptor left, those who are
// there are served on, and those who wait are as soon as there is one. A process
// of its own has its limit lowered.
func TestOutOfDescriptors(t *testing.T) {
	if name := os.Getenv(outOfDescriptors); name != "" {
		useUpDescriptors(t, name)
		return
	}
	for _, name := range []string{"epoll", "goroutine"} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
			cmd.Env = append(os.Environ(), outOfDescriptors+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

func useUpDescriptors(t *testing.T, driver string) {
	b := newBox(t, func(o *boxOptions) { o.Poller = driver })
	addr := b.listen()
	c, _ := b.dial(addr)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 100, Max: 100}); err != nil {
		t.Fatal(err)
	}
	before := descriptors(t)
	for streak := 1; streak <= 2; streak++ {
		var taken []int
		for {
			fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				break
			}
			taken = append(taken, fd)
		}
		last := len(taken) - 1
		unix.Close(taken[last]) // for the client's side
		late := dial(t, addr)
		wait(t, "an attempt to accept", func() bool { return b.log.count("accept failed") >= streak })
		for range 200 {
			c.send(frame('e', "served on"))
			c.want("served on")
		}
		idle := cpu(t)
		time.Sleep(500 * time.Millisecond) // nothing is to do, and nothing should be done
		if used := time.Duration(cpu(t) - idle); used > 150*time.Millisecond {
			t.Errorf("half a second without descriptors has cost %v of CPU", used)
		}
		for _, fd := range taken[:last] {
			unix.Close(fd)
		}
		late.send(frame('e', "here I am"))
		late.want("here I am")
		// One line for each time that it began, with the cause.
		if n := b.log.count("too many open files"); n != streak {
			t.Fatalf("%d lines in the log, want %d:\n%.2000s", n, streak, b.log)
		}
		late.Close()
		wait(t, "as many descriptors as before", func() bool { return descriptors(t) == before })
	}
}

// TestTCPNoDelay: small replies do not wait for acknowledgements.
func TestTCPNoDelay(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		_, h := b.dial(b.listen())
		h.inside(func(_ *core.Turn, c *Conn) {
			control(t, c, func(fd int) {
				if on, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY); err != nil || on == 0 {
					t.Errorf("TCP_NODELAY is %d, %v", on, err)
				}
			})
		})
	})
}

// control gives access to the descriptor of a connection. It is called where
// the connection is fed.
func control(t testing.TB, c *Conn, f func(fd int)) {
	t.Helper()
	switch r := c.run.(type) {
	case *polledConn:
		f(r.fd)
	case *goConn:
		if err := r.link.(*tcpLink).raw.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
			t.Error(err)
		}
	default:
		t.Fatalf("a %T has no descriptor", r)
	}
}

// small gives a connection the smallest send buffer there is.
func small(t testing.TB, c *Conn) {
	t.Helper()
	control(t, c, func(fd int) {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1); err != nil {
			t.Error(err)
		}
	})
}

// slowSocket connects, with the smallest send buffer on our side.
func (b *box) slowSocket(addr net.Addr) (*client, *probe) {
	b.t.Helper()
	c, h := b.dial(addr)
	h.inside(func(_ *core.Turn, c *Conn) { small(b.t, c) })
	return c, h
}
