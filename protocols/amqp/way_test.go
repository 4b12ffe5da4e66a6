package amqp

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// batch is how many messages are fed at a time.
const batch = 64

// publishes are a batch of basic.publish with a body of 200 bytes.
func publishes(exchange, key string, raw []byte) []byte {
	return bytes.Repeat(appendPublish(nil, 1, exchange, key, 0, raw, make([]byte, 200)), batch)
}

// discard has the broker's bytes thrown away.
func discard(p *peer) *transport.Pipe {
	p.Cut()
	return p.Pipe
}

// BenchmarkWay is the way of a message from a publisher to a consumer: not
// persistent and without acknowledgement, and persistent with confirm and
// acknowledgement.
func BenchmarkWay(b *testing.B) {
	b.Run("transient", func(b *testing.B) {
		x := newBox(b)
		sub, pub := x.connect(), x.connect()
		sub.declare(1, "q", 0, nil)
		sub.consume(1, "q", "c", 2)
		discard(sub)
		out, read := discard(pub), publishes("", "q", transient)
		b.ReportAllocs()
		for b.Loop() {
			out.Send(read)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/msg")
	})
	b.Run("persistent", func(b *testing.B) {
		x := newBox(b)
		sub, pub := x.connect(), x.connect()
		sub.declare(1, "q", 2, nil)
		sub.consume(1, "q", "c", 0)
		discard(sub)
		pub.send(1, frame.MethodConfirmSelect, false)
		out, read := discard(pub), publishes("", "q", persistent)
		tag := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			out.Send(read)
			x.bus.Sync()
			for x.vhost().Queue("q").Info().Unsettled < batch {
				x.bus.Sync() // until all are with the consumer
			}
			tag += batch
			sub.Send(appendMethod(nil, 1, frame.MethodBasicAck, tag, true))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/msg")
	})
}

// TestDeliverDoesNotAllocate: what is delivered as it is published costs no
// memory, by whichever exchange and whatever its properties.
func TestDeliverDoesNotAllocate(t *testing.T) {
	headers := props.AppendProperties(nil, &props.Properties{
		Has: props.HasHeaders | props.HasDeliveryMode | props.HasContentType | props.HasMessageID, DeliveryMode: 1,
		ContentType: []byte("text/plain"), MessageID: []byte("17"), Headers: props.AddStr(nil, "a", "b"),
	})
	for _, exchange := range []string{"", "amq.direct", "amq.topic", "amq.fanout", "amq.headers", "other"} {
		for name, raw := range map[string][]byte{"none": {0, 0}, "mode": transient, "many": headers} {
			for _, confirm := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/confirm=%v", exchange, name, confirm), func(t *testing.T) {
					x := newBox(t)
					sub, pub := x.connect(), x.connect()
					sub.send(1, frame.MethodExchangeDeclare, uint16(0), "other", "topic", bits(0), noTable)
					sub.want(1, frame.MethodExchangeDeclareOK)
					sub.declare(1, "q", 0, nil)
					if exchange != "" {
						sub.send(1, frame.MethodQueueBind, uint16(0), "q", exchange, "q", false, noTable)
						sub.want(1, frame.MethodQueueBindOK)
					}
					sub.consume(1, "q", "c", 2)
					discard(sub)
					if confirm {
						pub.send(1, frame.MethodConfirmSelect, false)
					}
					out, read := discard(pub), publishes(exchange, "q", raw)
					for range 20 {
						out.Send(read) // until buffers have their size
					}
					most := 0.1
					if exchange == "amq.headers" {
						most = 4 // its way is found for each message
					}
					if n := testing.AllocsPerRun(20, func() { out.Send(read) }) / batch; n > most {
						t.Errorf("%.2f allocations for each message", n)
					}
				})
			}
		}
	}
}
