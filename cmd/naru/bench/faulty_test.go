package bench

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
)

// A faulty is a broker that breaks its word on purpose, so that the accounting
// is seen to notice. It knows exact topics and QoS 0 and 1, and no sessions.
type faulty struct {
	fault  func(n int, p packet) [][]byte // payloads to deliver for the n-th PUBLISH
	piece  int                            // bytes for each write to a subscriber, 0 for all at once
	listen net.Listener
	all    sync.WaitGroup
	mu     struct {
		sync.Mutex
		conns       []net.Conn
		subscribers map[string][]net.Conn
		published   int
	}
}

func startFaulty(t *testing.T, piece int, fault func(n int, p packet) [][]byte) Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &faulty{fault: fault, piece: piece, listen: l}
	b.mu.subscribers = make(map[string][]net.Conn)
	b.all.Go(b.accept)
	t.Cleanup(b.stop)
	return Target{Name: "faulty", Addr: l.Addr().String()}
}

func (b *faulty) stop() {
	b.listen.Close()
	b.mu.Lock()
	for _, c := range b.mu.conns {
		c.Close()
	}
	b.mu.Unlock()
	b.all.Wait()
}

func (b *faulty) accept() {
	for {
		c, err := b.listen.Accept()
		if err != nil {
			return
		}
		b.mu.Lock()
		b.mu.conns = append(b.mu.conns, c)
		b.mu.Unlock()
		b.all.Go(func() { b.serve(c) })
	}
}

func (b *faulty) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReader(c)
	var buf []byte
	for {
		p, n, err := cut(buf, 1<<20)
		if err != nil {
			return
		}
		if n == 0 {
			next, err := in.ReadByte()
			if err != nil {
				return
			}
			buf = append(buf, next)
			continue
		}
		if !b.handle(c, p) {
			return
		}
		buf = buf[n:]
	}
}

func (b *faulty) handle(c net.Conn, p packet) bool {
	switch p.head & 0xF0 {
	case headConnect:
		_, _ = c.Write([]byte{headConnack, 2, 0, 0})
	case headSubscribe & 0xF0:
		n := len(p.body)
		b.mu.Lock()
		topic := string(p.body[4 : n-1])
		b.mu.subscribers[topic] = append(b.mu.subscribers[topic], c)
		b.mu.Unlock()
		_, _ = c.Write([]byte{headSuback, 3, p.body[0], p.body[1], p.body[n-1]})
	case headPublish:
		b.deliver(c, p)
	case headDisconnect:
		return false
	}
	return true
}

// deliver sends under the lock, which keeps the order.
func (b *faulty) deliver(from net.Conn, p packet) {
	topic, _, id, err := p.publish()
	if err != nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.published++
	for _, payload := range b.fault(b.mu.published, p) {
		for _, to := range b.mu.subscribers[string(topic)] {
			b.write(to, appendPublish(nil, string(topic), p.qos(), uint16(b.mu.published%60000)+1, payload))
		}
	}
	if p.qos() > 0 {
		b.write(from, appendAck(nil, headPuback, id))
	}
}

func (b *faulty) write(to io.Writer, packet []byte) {
	piece := b.piece
	if piece == 0 {
		piece = len(packet)
	}
	for len(packet) > 0 {
		n := min(piece, len(packet))
		_, _ = to.Write(packet[:n])
		packet = packet[n:]
	}
}

func payloadOf(p packet) []byte {
	_, payload, _, _ := p.publish()
	return bytes.Clone(payload)
}
