package amqp

import (
	"testing"

	"github.com/narumq/naru/protocols/amqp/frame"
)

// TestGetsInOneRead: however many basic.get come at once, those are answered that the
// client takes the answers of, whether or not the first waits for the disk.
func TestGetsInOneRead(t *testing.T) {
	for _, raw := range [][]byte{transient, persistent} {
		const n, size = 300, 100_000
		b := newBox(t)
		p, pub := b.connect(), b.connect()
		p.declare(1, "q", 2, nil)
		p.declare(1, "other", 2, nil)
		for range n {
			pub.publish(1, "", "q", transient, string(make([]byte, size)))
		}
		p.Limit(1)
		in := appendPublish(nil, 1, "", "other", 0, raw, []byte("x"))
		for range n {
			in = appendMethod(in, 1, frame.MethodBasicGet, uint16(0), "q", false)
		}
		p.Send(in)
		b.bus.Sync()
		left := b.vhost().Queue("q").Info().Ready
		if left < n/2 {
			t.Errorf("%d of %d are in the queue, though the client takes none", left, n)
		}
		p.Limit(0)
		for range n {
			p.want(1, frame.MethodBasicGetOK)
			p.content(1)
		}
	}
}
