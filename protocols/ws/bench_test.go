package ws

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// idleClients are as many as a benchmark of memory has.
const idleClients = 2000

// BenchmarkIdle tells what a connection costs that is logged in and silent: the
// broker's heap and stacks, without the kernel's part. The clients are
// descriptors, of which Go knows nothing.
func BenchmarkIdle(b *testing.B) {
	for _, kind := range []string{"tcp", "ws"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				x := newBox(b, func(o *boxOptions) { o.conn.AuthTimeout = time.Hour })
				before := footprint()
				fds := make([]int, idleClients)
				for i := range fds {
					fds[i] = x.idle(b, kind, fmt.Sprint("idle-", i))
				}
				b.ReportMetric(float64(footprint()-before)/idleClients, "B/conn")
				for _, fd := range fds {
					syscall.Close(fd)
				}
				x.close()
			}
		})
	}
}

// footprint is the memory in use of heap and stacks.
func footprint() int64 {
	var m runtime.MemStats
	for range 3 { // finalizers and pools take more than one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// idle logs a client in and returns its descriptor.
func (b *box) idle(tb testing.TB, kind, id string) int {
	addr := b.mqtt.Addrs()[0]
	if kind != "tcp" {
		addr = b.ws.Addrs()[0]
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: addr.(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}})
	}
	if err != nil {
		tb.Fatal(err)
	}
	hello, size := connectPacket(id), 4
	if kind != "tcp" {
		hello = append([]byte(upgradeHead+"Sec-WebSocket-Protocol: mqtt\r\n\r\n"), frame(0x82, hello)...)
		size = 160 // of the answer to the upgrade, which is a little more
	}
	if _, err := syscall.Write(fd, hello); err != nil {
		tb.Fatal(err)
	}
	var got []byte
	for buf := make([]byte, 512); len(got) < size || string(got[len(got)-4:]) != "\x20\x02\x00\x00"; {
		n, err := syscall.Read(fd, buf)
		if err != nil || n == 0 {
			tb.Fatalf("%q, then %v", got, err)
		}
		got = append(got, buf[:n]...)
	}
	return fd
}

// BenchmarkMessage tells the CPU time of one message of 200 bytes from a client
// to itself, 64 in flight, at QoS 0: of the broker and of a client that does
// next to nothing. Over WebSocket every packet is a frame, as browsers send it.
func BenchmarkMessage(b *testing.B) {
	const inFlight = 64
	packet := publishPacket("bench", make([]byte, 200))
	for _, kind := range []string{"tcp", "ws"} {
		b.Run(kind, func(b *testing.B) {
			x := newBox(b)
			hello := append(connectPacket("bench"), subscribePacket("bench")...)
			var batch []byte
			var c net.Conn
			if kind == "tcp" {
				nc, err := net.Dial("tcp", x.mqtt.Addrs()[0].String())
				if err != nil {
					b.Fatal(err)
				}
				defer nc.Close()
				if _, err := nc.Write(hello); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, make([]byte, 9)); err != nil {
					b.Fatal(err)
				}
				for range inFlight {
					batch = append(batch, packet...)
				}
				c = nc
			} else {
				r := x.upgrade()
				r.write(frame(0x82, hello))
				r.wantInside(raw("20 02 00 00 90 03 0001 00"))
				r.SetDeadline(time.Time{})
				for range inFlight {
					batch = append(batch, frame(0x82, packet)...)
				}
				c = r
			}
			read := make([]byte, 64<<10)
			began, sent := cpu(), 0
			for b.Loop() {
				if sent++; sent%inFlight != 0 {
					continue
				}
				if _, err := c.Write(batch); err != nil {
					b.Fatal(err)
				}
				// Heads of frames come on top: the last of what is awaited may
				// be read with the next batch.
				for n := 0; n < inFlight*len(packet); {
					k, err := c.Read(read)
					if err != nil {
						b.Fatal(err)
					}
					n += k
				}
			}
			b.ReportMetric(float64(cpu()-began)/float64(sent), "cpu-ns/op")
		})
	}
}

// cpu is the CPU time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
