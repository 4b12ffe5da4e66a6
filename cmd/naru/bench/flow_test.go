package bench

import (
	"encoding/binary"
	"errors"
	"testing"
)

// testFlow is a flow with a window, on a client without a socket.
func testFlow(qos byte, window, readers int) *flow {
	s := Defaults(Pairs)
	s.QoS, s.Window = qos, window
	f := newFlow(3, "bench/x/3", s, readers)
	f.pub = &client{loop: detached(), stage: up, flow: f}
	return f
}

func TestCreditIsBoundedBothWays(t *testing.T) {
	f := testFlow(1, 4, 2)
	f.start(endless)
	f.pub.loop.fill()
	if f.next != 4 || f.credit() != 0 {
		t.Fatalf("sent %d of a window of 4, credit %d", f.next, f.credit())
	}
	steps := []struct {
		what string
		do   func() error
		want uint64 // credit
	}{
		{"acknowledged", func() error { return f.acknowledge(headPuback, 1, 1) }, 0},
		{"one reader", func() error { f.arrived(0, 1); return nil }, 0},
		{"the other reader", func() error { f.arrived(0, 1); return nil }, 1},
		{"a later one first", func() error { f.arrived(2, 1); f.arrived(2, 1); return f.acknowledge(headPuback, 3, 1) }, 1},
		{"the gap closes", func() error { f.arrived(1, 1); f.arrived(1, 1); return f.acknowledge(headPuback, 2, 1) }, 3},
	}
	for _, step := range steps {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := f.credit(); got != step.want {
			t.Fatalf("%s: credit %d, want %d", step.what, got, step.want)
		}
	}
}

func TestAcknowledgementsThatAreNotDue(t *testing.T) {
	f := testFlow(2, 4, 0)
	f.start(2)
	f.pub.loop.fill()
	for _, wrong := range []struct {
		head byte
		id   uint16
	}{
		{headPuback, 1},  // QoS 2 is answered with PUBREC
		{headPubcomp, 1}, // before PUBREC
		{headPubrec, 0},
		{headPubrec, 3},             // not sent
		{headPubrec, 1 + idCycle/2}, // same slot, other message
	} {
		if err := f.acknowledge(wrong.head, wrong.id, 1); !errors.Is(err, errSurprise) {
			t.Errorf("%#x of %d: got %v", wrong.head, wrong.id, err)
		}
	}
	for _, head := range []byte{headPubrec, headPubcomp} {
		for id := range uint16(2) {
			if err := f.acknowledge(head, id+1, 1); err != nil {
				t.Fatalf("%#x of %d: %v", head, id+1, err)
			}
		}
	}
	if !f.settled() {
		t.Error("all is acknowledged and the flow is not settled")
	}
	if err := f.acknowledge(headPubcomp, 1, 1); err == nil {
		t.Error("a second PUBCOMP passed")
	}
}

// Identifiers and slots wrap around; every message keeps its own.
func TestManyLaps(t *testing.T) {
	f := testFlow(1, 100, 1)
	f.start(3*idCycle + 17)
	for !f.settled() {
		f.pub.loop.fill()
		for out := f.pub.out; len(out) > 0; {
			p, size, err := cut(out, 1<<20)
			if err != nil || size == 0 {
				t.Fatalf("cannot read what was sent: %v", err)
			}
			_, payload, id, err := p.publish()
			if err != nil {
				t.Fatal(err)
			}
			n := binary.BigEndian.Uint64(payload[4:])
			if id != uint16(n%idCycle)+1 {
				t.Fatalf("message %d has identifier %d", n, id)
			}
			f.arrived(n, 1)
			if err := f.acknowledge(headPuback, id, 1); err != nil {
				t.Fatalf("message %d: %v", n, err)
			}
			out = out[size:]
		}
		f.pub.out = f.pub.out[:0]
	}
	if f.next != 3*idCycle+17 {
		t.Errorf("settled after %d", f.next)
	}
}

func TestForgive(t *testing.T) {
	f := testFlow(0, 4, 1)
	f.start(endless)
	f.pub.loop.fill()
	f.arrived(2, 1)
	f.forgive(2)
	if f.credit() != 4 {
		t.Fatalf("credit %d after all is forgiven", f.credit())
	}
	f.pub.loop.fill()
	f.arrived(1, 3) // forgiven already: must not pay for a later message
	if f.credit() != 0 {
		t.Errorf("credit %d for a message that was given up", f.credit())
	}
}
