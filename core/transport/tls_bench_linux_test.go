package transport

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// tlsVariable says that the other side of a benchmark speaks TLS.
const tlsVariable = "NARU_LOAD_TLS"

func dialLoad(addr string) (net.Conn, error) {
	if os.Getenv(tlsVariable) != "" {
		return tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	}
	return net.Dial("tcp", addr)
}

// BenchmarkEchoTLS is BenchmarkEcho with TLS, beside the same without: over
// goroutines, because that is who serves TLS.
func BenchmarkEchoTLS(b *testing.B) {
	for _, way := range []struct {
		name            string
		clients, window int
	}{{"saturated", 16, 64}, {"one-by-one", 16, 1}} {
		for _, layer := range []string{"plain", "tls"} {
			b.Run(way.name+"/"+layer, func(b *testing.B) {
				x := newTLSBox(b, func(_ *tlsBox, lc *ListenConfig) {
					if layer != "tls" {
						lc.TLS = nil
					}
				}, func(o *boxOptions) { o.Loops = 0 })
				each := max(b.N/way.clients/way.window, 1) * way.window
				cmd := exec.Command(os.Args[0])
				cmd.Env = append(os.Environ(), roleVariable+"=load", fmt.Sprintf("NARU_LOAD=%s %d %d %d", x.addr, way.clients, way.window, each))
				if layer == "tls" {
					cmd.Env = append(cmd.Env, tlsVariable+"=1")
				}
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

// BenchmarkHandshake reports the CPU of the server for a connection.
func BenchmarkHandshake(b *testing.B) {
	x := newTLSBox(b, nil)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleVariable+"=load", tlsVariable+"=1", fmt.Sprintf("NARU_LOAD=%s %d 1 1", x.addr, b.N))
	cmd.Stderr = os.Stderr
	before := cpu(b)
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/conn")
}

const idleConnections = 2000

// BenchmarkIdleTLS reports what an idle connection with TLS costs that has said
// something before. Its clients are in a process of their own.
func BenchmarkIdleTLS(b *testing.B) {
	x := newTLSBox(b, nil, func(o *boxOptions) { o.Loops = 0; o.AuthTimeout = time.Hour })
	pair := x.files.put("idle", x.ca.issue("broker"))
	addr, err := x.srv.Listen(ListenConfig{Address: "127.0.0.1:0", TLS: &TLS{Cert: pair.Cert, Key: pair.Key}},
		func(*Conn) Handler { return echo{} })
	if err != nil {
		b.Fatal(err)
	}
	for range b.N {
		before := footprint()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), roleVariable+"=idle", "NARU_LOAD="+addr.String())
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			b.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(footprint()-before)/idleConnections/1024, "KB/conn")
		in.Close()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		wait(b, "all are let go", func() bool { return x.srv.Open() == 0 })
	}
}

// idleTLS is the other side of BenchmarkIdleTLS.
func idleTLS() error {
	for range idleConnections {
		c, err := tls.Dial("tcp", os.Getenv("NARU_LOAD"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
			return err
		}
	}
	fmt.Println("all are there")
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
