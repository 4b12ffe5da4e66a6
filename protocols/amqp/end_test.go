package amqp

import (
	"bytes"
	"io"
	"testing"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// TestEndOfChannels: what the channels of a connection give back at its end goes to
// none of its other channels, which would take it with them, or count it as failed
// once more.
func TestEndOfChannels(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *peer)
	}{
		{"close", func(p *peer) {
			p.send(0, frame.MethodConnectionClose, uint16(200), "bye", uint16(0), uint16(0))
			p.want(0, frame.MethodConnectionCloseOK)
		}},
		{"failure", func(p *peer) {
			p.send(99, frame.MethodTxSelect)
			p.want(0, frame.MethodConnectionClose)
		}},
	} {
		for _, noAck := range []bool{true, false} {
			name, flags := c.name+"/ack", bits(0)
			if noAck {
				name, flags = c.name+"/no-ack", 2
			}
			t.Run(name, func(t *testing.T) {
				b := newBox(t)
				p, other := b.connect(), b.connect()
				p.declare(1, "q", 2, props.AddStr(nil, "x-queue-type", "quorum"))
				p.publish(1, "", "q", persistent, "x")
				p.consume(1, "q", "c", 0)
				p.delivery(1)
				for ch := uint16(2); ch < 50; ch++ {
					p.openChannel(ch)
					p.consume(ch, "q", "c", flags)
				}
				c.end(p)
				if g, ok := p.next(); ok {
					t.Errorf("behind the end of the connection: %v", g)
				}
				if i := b.vhost().Queue("q").Info(); i.Ready != 1 {
					t.Fatalf("the message has gone: %+v", i)
				}
				other.consume(1, "q", "c", 0)
				d, raw, _ := other.delivery(1)
				once := props.AddInt64(nil, countHeader, 1)
				if !d.redelivered || !bytes.Contains(raw, once) {
					t.Errorf("got %+v with %q, which failed once", d, raw)
				}
			})
		}
	}
}

// TestEndOfConnections: when the broker stops, what one connection gives back goes to
// no other that is about to be ended.
func TestEndOfConnections(t *testing.T) {
	b := newBox(t)
	peers := make([]*peer, 50)
	for i := range peers {
		peers[i] = b.connect()
		peers[i].declare(1, "q", 2, nil)
	}
	peers[0].publish(1, "", "q", persistent, "x")
	peers[0].consume(1, "q", "c", 0)
	peers[0].delivery(1)
	for _, p := range peers[1:] {
		p.consume(1, "q", "c", 2)
	}
	done := make(chan error)
	go func() { done <- b.srv.Close(t.Context()) }()
	for _, p := range peers {
		p.want(0, frame.MethodConnectionClose)
		p.Hangup(io.EOF)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if i := b.vhost().Queue("q").Info(); i.Ready != 1 {
		t.Errorf("the message has gone: %+v", i)
	}
}
