package mqtt

import (
	"fmt"
	"testing"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// batch is what a publisher's connection hands over in one read.
const batch = 64

// publishes returns the bytes of one read, and how many messages they are.
func publishes(topic string, qos byte, size int) []byte {
	var b []byte
	payload := make([]byte, size)
	for i := range batch {
		b = packet.AppendPublishHead(b, []byte(topic), size, qos, false, false, uint16(i+1))
		b = append(b, payload...)
	}
	return b
}

// discard makes a pipe that throws away what it is sent.
func discard(p *peer) *peer {
	p.Cut()
	return p
}

// BenchmarkDeliver is the way of a message of 200 bytes from the bytes of its
// publisher to those of its subscriber, with acknowledgements, without sockets.
func BenchmarkDeliver(b *testing.B) {
	for qos := range byte(3) {
		b.Run(fmt.Sprintf("qos%d", qos), func(b *testing.B) {
			x := newBox(b)
			sub := x.connect("sub", true)
			sub.send(fmt.Sprintf("82 08 0001 0003'a/b' %02x", qos))
			sub.want(fmt.Sprintf("90 03 0001 %02x", qos))
			pub := discard(x.connect("pub", true))
			discard(sub)
			read := publishes("a/b", qos, 200)
			rel := make([]byte, 0, 4*batch)
			for i := range batch {
				rel = packet.AppendID(rel, packet.PUBREL, uint16(i+1))
			}
			acks := make([]byte, 0, 4*batch)
			next := 0
			b.ReportAllocs()
			for b.Loop() {
				pub.Send(read)
				if qos == 0 {
					continue
				}
				types := []packet.Type{packet.PUBACK}
				if qos == 2 {
					pub.Send(rel)
					types = []packet.Type{packet.PUBREC, packet.PUBCOMP}
				}
				for _, typ := range types {
					acks = acks[:0]
					for i := range batch {
						acks = packet.AppendID(acks, typ, uint16(1+(next+i)%ownIDs))
					}
					sub.Send(acks)
				}
				next += batch
			}
			perMessage(b)
			if got := x.bus.Stats().Sent[qos]; got != uint64(b.N)*batch {
				b.Fatalf("%d messages of %d were delivered", got, b.N*batch)
			}
		})
	}
}

func perMessage(b *testing.B) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/msg")
}
