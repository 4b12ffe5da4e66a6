package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

// detached is a loop without sockets: clients on it are fed by hand.
func detached() *loop { return &loop{buf: make([]byte, 64<<10)} }

// message is number n of a flow, as it would come back from a broker.
func message(f *flow, n uint64, id uint16) []byte {
	payload := make([]byte, headerSize, headerSize+len(f.body))
	binary.BigEndian.PutUint32(payload, f.index)
	binary.BigEndian.PutUint64(payload[4:], n)
	return appendPublish(nil, f.topic, f.qos, id, append(payload, f.body...))
}

// feed hands the stream to a client in pieces, through the same joint as a
// read: the torn rest in front, the new bytes behind it.
func feed(c *client, stream []byte, piece int) {
	for len(stream) > 0 {
		n := min(piece, len(stream))
		buf := append(bytes.Clone(c.rest), stream[:n]...)
		c.take(buf, 1)
		// The read buffer is used again: nothing may still point into it.
		for i := range buf {
			buf[i] = 0xEE
		}
		stream = stream[n:]
	}
}

// However the bytes are split, the client ends up in the same state.
func TestSplitPackets(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		for _, piece := range []int{1, 2, 3, 7, 100, 1 << 20} {
			f := testFlow(qos, 5, 1)
			f.start(5)
			f.pub.loop.fill() // as if they had been sent
			var count tally
			l := detached()
			c := &client{loop: l, stage: greeted, filter: f.topic, qos: qos, receiver: newReceiver(&count, f)}
			l.clients = []*client{c}

			stream := []byte{headConnack, 2, 0, 0, headSuback, 3, 0, 1, qos}
			want := appendSubscribe(nil, 1, f.topic, qos)
			for n := range uint64(5) {
				id := uint16(n + 300)
				stream = append(stream, message(f, n, id)...)
				switch qos {
				case 1:
					want = appendAck(want, headPuback, id)
				case 2:
					want = appendAck(want, headPubrec, id)
					stream = appendAck(stream, headPubrel, id)
					want = appendAck(want, headPubcomp, id)
				}
			}
			stream = append(stream, headPingresp, 0, headPublish) // and a torn one
			feed(c, stream, piece)

			if l.failure != nil {
				t.Fatalf("QoS %d, pieces of %d: %v", qos, piece, l.failure)
			}
			if c.stage != up || count.delivered != 5 || count.corrupt != 0 {
				t.Errorf("QoS %d, pieces of %d: stage %d, %d delivered, %d corrupt", qos, piece, c.stage, count.delivered, count.corrupt)
			}
			if !bytes.Equal(c.out, want) {
				t.Errorf("QoS %d, pieces of %d: answered %q, want %q", qos, piece, c.out, want)
			}
			if !bytes.Equal(c.rest, []byte{headPublish}) {
				t.Errorf("QoS %d, pieces of %d: keeps %q", qos, piece, c.rest)
			}
		}
	}
}

// What a broker must not send ends the run.
func TestSurprises(t *testing.T) {
	tests := []struct {
		name   string
		stage  stage
		stream []byte
		want   error // nil: any
	}{
		{"refused", greeted, []byte{headConnack, 2, 0, 5}, nil},
		{"CONNACK twice", up, []byte{headConnack, 2, 0, 0}, errSurprise},
		{"CONNACK too short", greeted, []byte{headConnack, 1, 0}, errShort},
		{"no session to resume", greeted, []byte{headConnack, 2, 0, 0}, errAmnesia},
		{"subscription refused", subscribing, []byte{headSuback, 3, 0, 1, 0x80}, nil},
		{"PUBLISH to a publisher", up, []byte("\x30\x05\x00\x01txy"), errSurprise},
		{"PUBACK to a subscriber", up, []byte{headPuback, 2, 0, 1}, errSurprise},
		{"CONNECT from a broker", up, []byte{headConnect, 0}, errSurprise},
		{"endless length", up, []byte{headPublish, 0x80, 0x80, 0x80, 0x80}, errLength},
	}
	for _, test := range tests {
		l := detached()
		c := &client{loop: l, stage: test.stage, resumes: test.want == errAmnesia, sock: -1}
		l.clients = []*client{c}
		feed(c, test.stream, len(test.stream))
		if l.failure == nil || test.want != nil && !errors.Is(l.failure, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, l.failure, test.want)
		}
		if c.stage != closed {
			t.Errorf("%s: the connection is still open", test.name)
		}
	}
}
