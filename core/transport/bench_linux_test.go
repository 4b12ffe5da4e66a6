package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const echoSize = 200

// BenchmarkEcho sends messages of 200 bytes back and forth, 16 connections with
// 64 on the way each. The load comes from a process of its own, so that the CPU
// counted is the server's.
func BenchmarkEcho(b *testing.B) {
	for _, way := range []struct {
		name            string
		clients, window int
	}{{"saturated", 16, 64}, {"one-by-one", 16, 1}} {
		for _, driver := range []string{"epoll", "goroutine"} {
			b.Run(way.name+"/"+driver, func(b *testing.B) {
				x := newBox(b, func(o *boxOptions) { o.Poller = driver; o.Loops = 0 })
				addr := x.listen()
				each := max(b.N/way.clients/way.window, 1) * way.window
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), roleVariable+"=load", fmt.Sprintf("NARU_LOAD=%s %d %d %d", addr, way.clients, way.window, each))
				cmd.Stderr = os.Stderr
				before := cpu(b)
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(cpu(b)-before)/float64(each*way.clients), "cpu-ns/msg")
			})
		}
	}
}

// cpu is what this process has used, without its children.
func cpu(b testing.TB) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// load is the other side of BenchmarkEcho.
func load() error {
	var addr string
	var clients, window, each int
	if _, err := fmt.Sscan(os.Getenv("NARU_LOAD"), &addr, &clients, &window, &each); err != nil {
		return err
	}
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() { errs[i] = loadOne(addr, window, each) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func loadOne(addr string, window, each int) error {
	nc, err := dialLoad(addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	out := bytes.Repeat(frame('e', string(make([]byte, echoSize))), window)
	in := make([]byte, window*echoSize)
	for done := 0; done < each; done += window {
		if _, err := nc.Write(out); err != nil {
			return err
		}
		if _, err := io.ReadFull(nc, in); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkIdle reports what an idle connection costs that has said something
// before: heap and stacks of the process, without the handler and the client's
// side, which has no more than descriptors.
func BenchmarkIdle(b *testing.B) {
	const connections = 2000
	for _, driver := range []string{"epoll", "goroutine"} {
		b.Run(driver, func(b *testing.B) {
			x := newBox(b, func(o *boxOptions) { o.Poller = driver; o.Loops = 0; o.AuthTimeout = time.Hour })
			addr, err := x.srv.Listen(ListenConfig{Address: "127.0.0.1:0"}, func(*Conn) Handler { return echo{} })
			if err != nil {
				b.Fatal(err)
			}
			for range b.N {
				clients := make([]int, 0, connections)
				before := footprint()
				for range connections {
					clients = append(clients, idle(b, addr.(*net.TCPAddr).Port))
				}
				used := footprint() - before
				b.ReportMetric(float64(used)/connections/1024, "KB/conn")
				for _, fd := range clients {
					unix.Close(fd)
				}
				wait(b, "all are let go", func() bool { return x.srv.Open() == 0 })
			}
		})
	}
}

// footprint is the memory that is in use when nothing can be given back.
func footprint() int64 {
	for range 3 { // pools give their buffers back at the second
		runtime.GC()
	}
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// idle connects with a bare descriptor, and makes sure that the connection is
// served.
func idle(b *testing.B, port int) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		_, err = unix.Write(fd, []byte("hello"))
	}
	if err == nil {
		_, err = unix.Read(fd, make([]byte, 5))
	}
	if err != nil && !errors.Is(err, syscall.EINTR) {
		b.Fatal(strconv.Itoa(fd), err)
	}
	return fd
}
