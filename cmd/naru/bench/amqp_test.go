package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"
)

func TestEncodeAMQP(t *testing.T) {
	tests := []struct {
		name      string
		got, want []byte
	}{
		{"publish, persistent", appendAMQPPublish(nil, "q", true, []byte("xy")),
			[]byte("\x01\x00\x01\x00\x00\x00\x0a\x00\x3c\x00\x28\x00\x00\x00\x01q\x00\xce" +
				"\x02\x00\x01\x00\x00\x00\x0f\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x10\x00\x02\xce" +
				"\x03\x00\x01\x00\x00\x00\x02xy\xce")},
		{"ack", appendAMQPAck(nil, 258, false),
			[]byte("\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x01\x02\x00\xce")},
		{"ack of all", appendAMQPAck(nil, 1, true),
			[]byte("\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x01\x01\xce")},
	}
	for _, test := range tests {
		if !bytes.Equal(test.got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, test.got, test.want)
		}
	}
	for n := range len(tests[1].got) {
		if _, size, err := cutFrame(tests[1].got[:n], 100); size != 0 || err != nil {
			t.Errorf("%d bytes of a frame: %d, %v", n, size, err)
		}
	}
	broken := bytes.Clone(tests[1].got)
	broken[len(broken)-1] = 0
	for _, max := range []int{10, 100} { // too large, and without an end
		if _, _, err := cutFrame(broken, max); err == nil {
			t.Errorf("a broken frame passed where %d bytes fit", max)
		}
	}
}

// amqpFlow is a flow of AMQP with a window, on a client without a socket.
func amqpFlow(window int) *flow {
	s := Defaults(Pairs)
	s.Protocol, s.QoS, s.Window = AMQP, 1, window
	f := newFlow(3, "bench/x/3", s, 1)
	f.pub = &client{loop: detached(), stage: up, flow: f, amqp: &peer091{}}
	return f
}

// However the bytes are split, every delivery arrives, and is acknowledged.
func TestSplitDeliveries(t *testing.T) {
	for _, piece := range []int{1, 3, 50, 1 << 20} {
		f := amqpFlow(5)
		f.start(5)
		f.pub.loop.fill()
		// What a broker sends is what was published, but for the method.
		var stream []byte
		deliver := uint64(0)
		for out := f.pub.out; len(out) > 0; {
			fr, n, err := cutFrame(out, 1<<20)
			if err != nil || n == 0 {
				t.Fatalf("cannot read what was sent: %v", err)
			}
			if fr.kind == frameMethod {
				deliver++
				stream = appendMethod(stream, 1, basicDeliver, func(b []byte) []byte {
					b = binary.BigEndian.AppendUint64(appendShort(b, "tag"), deliver)
					return appendShort(appendShort(append(b, 0), ""), f.key)
				})
			} else {
				stream = append(stream, out[:n]...)
			}
			out = out[n:]
		}
		var count tally
		c := &client{loop: detached(), stage: up, receiver: newReceiver(&count, f), amqp: &peer091{queue: "q"}}
		for len(stream) > 0 {
			n := min(piece, len(stream))
			buf := append(bytes.Clone(c.rest), stream[:n]...)
			c.takeFrames(buf, 1)
			for i := range buf {
				buf[i] = 0xEE // the read buffer is used again
			}
			stream = stream[n:]
		}
		if count.delivered != 5 || count.corrupt+count.late+count.repeated != 0 || c.amqp.settled != 5 {
			t.Errorf("pieces of %d: %d delivered, %d corrupt, %d late, %d repeated, acknowledged up to %d",
				piece, count.delivered, count.corrupt, count.late, count.repeated, c.amqp.settled)
		}
	}
}

func TestConfirms(t *testing.T) {
	f := amqpFlow(4)
	f.start(endless)
	f.pub.loop.fill()
	for n := range uint64(4) {
		f.arrived(n, 1)
	}
	steps := []struct {
		tag      uint64
		multiple bool
		credit   uint64
		wrong    bool
	}{
		{5, false, 0, true}, // not sent
		{0, true, 0, true},
		{2, false, 0, false},
		{2, false, 0, true}, // again
		{3, true, 3, false}, // 1 and 3, of which 2 is no part any more
		{1, false, 3, true},
		{4, true, 4, false},
	}
	for _, s := range steps {
		err := f.confirmed(s.tag, s.multiple, 2)
		if (err != nil) != s.wrong || s.wrong && !errors.Is(err, errSurprise) {
			t.Errorf("confirm %d, %v: %v", s.tag, s.multiple, err)
		}
		if got := f.credit(); got != s.credit {
			t.Errorf("after confirm %d, %v: credit %d, want %d", s.tag, s.multiple, got, s.credit)
		}
	}
	if f.confirm.count != 4 {
		t.Errorf("%d confirms in the figures", f.confirm.count)
	}
}

// On a real broker every message arrives, once, in both protocols and across.
func TestAccountingRabbitMQ(t *testing.T) {
	needsLinux(t)
	if _, err := os.Stat(rabbitmq); err != nil {
		t.Skip("rabbitmq-server is not installed")
	}
	target, stop, err := StartRabbitMQ(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	for _, p := range Protocols() {
		for qos := range byte(2) {
			s := small(Pairs, qos, 3, 600)
			s.Protocol = p
			got, err := Run(t.Context(), target, s)
			if err != nil {
				t.Fatal(err)
			}
			if got.Messages != 600 || got.Lost != 0 || got.Broken() != nil {
				t.Errorf("%v: %d messages, %d lost, %v", s, got.Messages, got.Lost, got.Broken())
			}
			if confirmed := got.ConfirmP99 > 0; confirmed != (qos > 0) {
				t.Errorf("%v: acknowledged after %v", s, got.ConfirmP99)
			}
		}
	}
}
