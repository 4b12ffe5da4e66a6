package amqp_test

import (
	"context"
	"encoding/binary"
	"log/slog"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// batch is what a publisher's connection hands over in one read.
const batch = 64

// A link is a publisher and a consumer of one queue, without sockets, and the
// bytes of what they send.
type link struct {
	bus      *core.Bus
	pub, sub *transport.Pipe
	publish  []byte // batch messages
	acks     bool   // the consumer acknowledges
	tag      uint64
}

// method is a method frame on a channel.
func method(channel uint16, m frame.Method, args string) []byte {
	b := frame.AppendHeader(nil, frame.FrameMethod, channel, uint32(4+len(args)))
	b = binary.BigEndian.AppendUint32(b, uint32(m))
	return append(append(b, args...), frame.EndOctet)
}

func newLink(t testing.TB, persistent, confirms, acks bool) *link {
	t.Helper()
	store, log, cfg := memstore.New(), slog.New(slog.DiscardHandler), transport.DefaultConfig()
	bus, err := core.Open(core.Options{
		Config: core.DefaultConfig(), Shards: []core.Shard{store}, Fail: func(err error) { t.Errorf("the bus failed: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Poller = "goroutine"
	srv, err := transport.NewServer(bus, cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{srv.Close(context.Background()), bus.Close(), store.Close()} {
			if err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	handler := amqp.New(bus, srv, amqp.DefaultConfig(), "test", log).Handler(amqp.Listener{})
	open := func(more ...[]byte) *transport.Pipe {
		p := srv.NewPipe(handler)
		p.Send([]byte(frame.Protocol))
		p.Send(method(0, frame.MethodConnectionStartOK, "\x00\x00\x00\x00\x09ANONYMOUS\x00\x00\x00\x00\x05en_US"))
		p.Send(method(0, frame.MethodConnectionTuneOK, "\x07\xff\x00\x02\x00\x00\x00\x00"))
		p.Send(method(0, frame.MethodConnectionOpen, "\x01/\x00\x00"))
		p.Send(method(1, frame.MethodChannelOpen, "\x00"))
		for _, b := range more {
			p.Send(b)
		}
		p.Cut() // what comes from here on is thrown away
		return p
	}
	flags, mode := "\x00", byte(1)
	if persistent {
		flags, mode = "\x02", 2
	}
	noAck := "\x02"
	if acks {
		noAck = "\x00"
	}
	l := &link{bus: bus, acks: acks}
	l.sub = open(
		method(1, frame.MethodQueueDeclare, "\x00\x00\x01q"+flags+"\x00\x00\x00\x00"),
		method(1, frame.MethodBasicConsume, "\x00\x00\x01q\x00"+noAck+"\x00\x00\x00\x00"))
	if confirms {
		l.pub = open(method(1, frame.MethodConfirmSelect, "\x00"))
	} else {
		l.pub = open()
	}
	for range batch {
		l.publish = append(l.publish, method(1, frame.MethodBasicPublish, "\x00\x00\x00\x01q\x00")...)
		l.publish = frame.AppendHeaderFrame(l.publish, 1, 200, []byte{0x10, 0, mode})
		l.publish = frame.AppendBodyFrames(l.publish, 1, make([]byte, 200), frame.MinFrameMax)
	}
	return l
}

// run publishes a batch, and acknowledges the one of before.
func (l *link) run() {
	l.pub.Send(l.publish)
	if l.acks {
		l.tag += batch
		var ack [21]byte
		l.sub.Send(append(binary.BigEndian.AppendUint64(append(ack[:0], 1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80), l.tag), 1, frame.EndOctet))
	}
}

// TestDeliverAllocates: a message that is delivered at once and not acknowledged
// allocates nothing on its way, one that waits for its acknowledgement is kept:
// itself and its bytes.
func TestDeliverAllocates(t *testing.T) {
	for _, test := range []struct {
		name string
		acks bool
		want float64
	}{{"at most once", false, 0}, {"acknowledged", true, 2}} {
		l := newLink(t, false, false, test.acks)
		l.run()
		// Half of one is for the turn, the buffers, and what the pools of the race
		// detector lose on purpose.
		if got := testing.AllocsPerRun(50, l.run) / batch; got > test.want+0.5 {
			t.Errorf("%s: %.2f allocations for each message, want %v", test.name, got, test.want)
		}
		if s := l.bus.Stats().Protocols[core.ProtocolAMQP]; s.Sent[0]+s.Sent[1] != 52*batch {
			t.Errorf("%s: %v are delivered, want %d", test.name, s.Sent, 52*batch)
		}
	}
}

// BenchmarkDeliver is the way of a message of 200 bytes from the bytes of its
// publisher to those of its consumer, with acknowledgements, without sockets.
func BenchmarkDeliver(b *testing.B) {
	for _, how := range []struct {
		name                       string
		persistent, confirms, acks bool
	}{{"transient", false, false, false}, {"acked", false, false, true}, {"confirmed", false, true, true}} {
		b.Run(how.name, func(b *testing.B) {
			l := newLink(b, how.persistent, how.confirms, how.acks)
			b.ReportAllocs()
			for b.Loop() {
				l.run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*batch), "ns/msg")
		})
	}
}
