package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/process"
)

// crowdSize is how many clients are stuck at the same time, if the limits of
// open files let this process and the broker have so many.
const crowdSize = 10_000

// crowdMemory is what each of them may cost the broker, in bytes of resident
// memory: what it has sent (8 KiB at most), buffers, a goroutine where there is
// one, and as much again that the collector has not looked at.
const crowdMemory = 48 << 10

// A crowd is a broker whose listeners are the way in of clients that begin and do
// not go on.
type crowd struct {
	*Broker
	t       *testing.T
	timeout time.Duration // for a login
	plain   string        // addresses of listeners
	ws      string
	tls     string
	wss     string

	conns []net.Conn
	slow  []net.Conn // those of conns that send a byte now and then
	drip  []byte     // what they send
}

// newCrowd starts the broker, with so much time for a login.
func newCrowd(t *testing.T, a *authority, timeout time.Duration) *crowd {
	t.Helper()
	c := &crowd{t: t, timeout: timeout}
	b, err := run(t, func(dir string, ports [2]int) (*Broker, error) {
		more, err := process.FreePorts(3)
		if err != nil {
			return nil, err
		}
		addr := func(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
		c.plain, c.ws, c.tls, c.wss = addr(ports[0]), addr(ports[1]), addr(more[0]), addr(more[1])
		files := fmt.Sprintf("{cert: %s, key: %s}", a.file("server.pem"), a.file("server.key"))
		conf := fmt.Sprintf(`
data_dir: %s/data
bus: {min_free_disk: 0}
transport: {auth_timeout: %v}
metrics: {enabled: true, address: %q}
amqp: {enabled: false}
mqtt: {listeners: [{address: %q}, {address: %q, tls: %s}]}
ws: {listeners: [{address: %q}, {address: %q, tls: %s}]}
`, dir, timeout, addr(more[2]), c.plain, c.tls, files, c.ws, c.wss, files)
		file := filepath.Join(dir, "naru.yaml")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			return nil, err
		}
		return &Broker{MQTT: c.plain, WS: c.ws, Metrics: addr(more[2]), command: func() *exec.Cmd {
			return naruCommand(naruBinary(t), dir, []string{"serve", "--config", file})
		}}, nil
	})
	must(t, err)
	c.Broker = b
	t.Cleanup(c.close)
	return c
}

func (c *crowd) close() {
	for _, n := range c.conns {
		n.Close()
	}
}

// figure reads a metric that has no labels.
func (c *crowd) figure(name string) int {
	c.t.Helper()
	r, err := http.Get("http://" + c.Metrics + "/metrics")
	must(c.t, err)
	body, err := io.ReadAll(r.Body)
	must(c.t, err, r.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	for line := range strings.Lines(string(body)) {
		if text, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
			must(c.t, err)
			return int(v)
		}
	}
	c.t.Fatalf("no metric %s", name)
	return 0
}

// until waits for a metric to be what it should be.
func (c *crowd) until(name string, wanted func(n int) bool) {
	c.t.Helper()
	n := 0
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if n = c.figure(name); wanted(n) {
			return
		}
		time.Sleep(20 * time.Millisecond) // a metric cannot be waited for
	}
	c.t.Fatalf("%s stays %d", name, n)
}

// A beginning is what a client does before it does nothing.
type beginning struct {
	addr  string
	bytes []byte
	// shake: the bytes go through TLS, after its handshake.
	shake bool
	slow  bool
}

// begin has n clients begin, in turns of what is given.
func (c *crowd) begin(n int, begins []beginning) {
	c.t.Helper()
	for i := range n {
		b := begins[i%len(begins)]
		conn, err := net.Dial("tcp", b.addr)
		if err != nil {
			c.t.Fatalf("client %d: %v\n%s", i, err, c.Log())
		}
		c.conns = append(c.conns, conn)
		if b.slow {
			c.slow = append(c.slow, conn)
		}
		// An error is the broker's having closed already, where the machine is so slow
		// that the time for a login is over: crowded sees that.
		if b.shake {
			secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
			_, _ = secure.Write(b.bytes)
		} else if len(b.bytes) > 0 {
			_, _ = conn.Write(b.bytes)
		}
	}
}

// dripUntil sends byte after byte for the slow clients until end is closed.
func (c *crowd) dripUntil(end <-chan struct{}) {
	for i := 0; ; i++ {
		for _, n := range c.slow {
			_, _ = n.Write(c.drip[i%len(c.drip) : i%len(c.drip)+1]) // it is closed at some time
		}
		select {
		case <-end:
			return
		case <-time.After(200 * time.Millisecond): // they are slow
		}
	}
}

// goneByItself reads from each connection until the broker has closed it, in
// order or not.
func (c *crowd) goneByItself() {
	c.t.Helper()
	end := time.Now().Add(c.timeout + patience)
	for i, n := range c.conns {
		_ = n.SetReadDeadline(end)
		if _, err := io.Copy(io.Discard, n); errors.Is(err, os.ErrDeadlineExceeded) {
			c.t.Fatalf("client %d of %d is not closed %v after the time for a login", i, len(c.conns), patience)
		}
	}
}

// clientHello is the first flight of a TLS client.
func clientHello(t *testing.T) []byte {
	t.Helper()
	one, other := net.Pipe()
	defer other.Close()
	go func() {
		_ = tls.Client(one, &tls.Config{ServerName: "localhost"}).Handshake() // fails when the pipe closes
		one.Close()
	}()
	head := make([]byte, 5)
	_, err := io.ReadFull(other, head)
	must(t, err)
	b := append(head, make([]byte, binary.BigEndian.Uint16(head[3:]))...)
	_, err = io.ReadFull(other, b[5:])
	must(t, err)
	return b
}

// A wayIn is what the crowd does at some listeners, what the slow ones of it send
// there, and the URL of an honest client.
type wayIn struct {
	name   string
	begins func(c *crowd) []beginning
	drip   []byte
	url    func(c *crowd) string
}

func waysIn(t *testing.T) []wayIn {
	t.Helper()
	longID := strings.Repeat("x", 60_000) // a legal CONNECT that would take long, byte by byte
	connect := pack(0x10, append(text("MQTT"), 4, 2, 0, 0), text(longID))
	upgrade := []byte("GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
	// A frame of 64 KiB with the mask 0, in which the CONNECT begins.
	frame := append([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, connect...)
	padded := []byte("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 8<<10))
	hello := clientHello(t)
	after := func(b []byte) []byte { return append(bytes.Clone(upgrade), b...) }
	return []wayIn{
		{"plain", func(c *crowd) []beginning {
			return []beginning{
				{addr: c.plain}, {addr: c.plain, bytes: connect[:1]}, {addr: c.plain, bytes: connect[:9]},
				{addr: c.plain, bytes: connect[:8<<10]}, {addr: c.plain, slow: true},
			}
		}, connect, func(c *crowd) string { return "mqtt://" + c.plain }},
		{"WebSocket", func(c *crowd) []beginning {
			return []beginning{
				{addr: c.ws}, {addr: c.ws, bytes: upgrade[:1]}, {addr: c.ws, bytes: upgrade[:len(upgrade)-2]}, {addr: c.ws, bytes: padded},
				{addr: c.ws, bytes: upgrade}, {addr: c.ws, bytes: after(frame[:1])}, {addr: c.ws, bytes: after(frame[:20])},
				{addr: c.ws, bytes: after(frame[:8<<10])}, {addr: c.ws, slow: true}, {addr: c.ws, bytes: upgrade, slow: true},
			}
		}, upgrade, func(c *crowd) string { return "ws://" + c.ws }},
		{"TLS", func(c *crowd) []beginning {
			var all []beginning
			for range 4 { // handshakes that are completed cost both sides most: one in sixteen
				all = append(all, beginning{addr: c.tls}, beginning{addr: c.tls, bytes: hello[:1]}, beginning{addr: c.wss, bytes: hello[:len(hello)/2]},
					beginning{addr: c.tls, slow: true}, beginning{addr: c.wss}, beginning{addr: c.wss, slow: true}, beginning{addr: c.tls, bytes: hello[:len(hello)-1]})
			}
			return append(all, beginning{addr: c.tls, bytes: hello}, beginning{addr: c.wss, bytes: hello},
				beginning{addr: c.tls, bytes: connect[:8<<10], shake: true}, beginning{addr: c.wss, bytes: after(frame[:8<<10]), shake: true})
		}, hello, func(c *crowd) string { return "wss://" + c.wss }},
	}
}

// TestSecurity1Crowd: ten thousand clients that begin and do not go on, or go on
// a byte at a time. They cost little, others are served by the same way in, and
// all are closed when the time for a login is over, with nothing left behind.
func TestSecurity1Crowd(t *testing.T) {
	n := crowdSize
	var limit syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit)) // the broker has the same
	if most := int(limit.Cur) - 1000; most < n {
		t.Logf("%d files may be open: %d clients instead of %d", limit.Cur, most, n)
		n = most
	}
	a := newAuthority(t, t.TempDir(), "ca")
	a.server(t, "server", []net.IP{net.IPv4(127, 0, 0, 1)}, "localhost")
	for _, way := range waysIn(t) {
		t.Run(way.name, func(t *testing.T) {
			// They must all be there at once: a machine that is too slow for that is given
			// more time.
			for _, timeout := range []time.Duration{6 * time.Second, 20 * time.Second, time.Minute} {
				c := newCrowd(t, a, timeout)
				c.drip = way.drip
				if c.crowded(n, way.begins(c), way.url(c)) {
					return
				}
				c.close()
				t.Logf("%d clients have not begun within %v", n, timeout)
			}
			t.Fatal("it takes them for ever to begin")
		})
	}
}

// crowded lets the crowd in and sees it out, or says that there was no time to
// have them all at once.
func (c *crowd) crowded(n int, begins []beginning, url string) bool {
	c.t.Helper()
	var options []string
	if strings.HasPrefix(url, "wss") {
		options = []string{"--insecure"}
	}
	pub := func(text string) {
		c.t.Helper()
		runTool(c.t, 0, command([]string{naruBinary(c.t), "pub", url, "-t", "m", "-q", "1", "-r", "-m", text}, options...)...)
	}
	pub("before")
	honest := startTool(c.t, nil, nil, command([]string{naruBinary(c.t), "sub", url, "-t", "m", "-q", "1", "-C", "3"}, options...)...)
	honest.await("before")
	c.until("naru_connections", func(n int) bool { return n == 1 })
	before, threads := c.figure("process_resident_memory_bytes"), c.figure("go_goroutines")
	files := c.figure("process_open_fds")

	c.begin(n, begins)
	end := make(chan struct{})
	var dripping sync.WaitGroup
	dripping.Go(func() { c.dripUntil(end) })
	defer dripping.Wait()
	defer close(end)
	pub("meanwhile")
	honest.await("meanwhile")
	memory := c.figure("process_resident_memory_bytes") - before
	if c.figure("naru_connections") < n+1 {
		return false
	}
	c.t.Logf("%d clients: %d KiB of memory each", n, memory/n>>10)
	if memory > n*crowdMemory {
		c.t.Errorf("%d clients before login cost %d bytes each, want at most %d", n, memory/n, crowdMemory)
	}
	c.goneByItself()
	pub("after")
	if got := honest.end(0); got != "before\nmeanwhile\nafter\n" {
		c.t.Errorf("the honest client has received %q", got)
	}
	c.until("naru_connections", func(n int) bool { return n == 0 })
	c.until("go_goroutines", func(n int) bool { return n <= threads+20 }) // some of the broker's own come and go
	c.until("process_open_fds", func(n int) bool { return n <= files+20 })
	return true
}
