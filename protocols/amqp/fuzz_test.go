package amqp

import (
	"encoding/binary"
	"testing"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// fuzzFrames makes of any bytes frames that a client might send: methods with
// arguments, contents in and out of place, and sometimes what is no frame.
func fuzzFrames(data []byte) (out []byte) {
	next := func() byte {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return b
	}
	for len(data) > 0 && len(out) < 1<<16 {
		op := next()
		ch := uint16(op & 3)
		if ch == 3 {
			ch = 1
		}
		switch op >> 2 {
		case 0:
			out = frame.AppendHeartbeat(out)
		case 1, 2, 3: // a content header
			size := uint64(next() % 20)
			if size == 19 {
				size = 1 << (next() % 64)
			}
			out = frame.AppendHeaderFrame(out, ch, size, fuzzProperties(next))
		case 4, 5: // a body
			out = frame.AppendBodyFrames(out, ch, make([]byte, next()%20), frame.MinFrameMax)
		case 6: // a frame with anything in it
			n := min(int(next()), len(data))
			out = frame.AppendHeader(out, frame.Type(1+op&3), ch, uint32(n))
			out = append(append(out, data[:n]...), frame.EndOctet)
			data = data[n:]
		case 7:
			out = append(out, next())
		case 8, 9, 10, 11, 12, 13, 14, 15, 16, 17: // a whole publish
			m := [...]string{"", "amq.topic", "amq.headers", "x1", "x2"}[next()%5]
			out = appendPublish(out, 1, m, fuzzNames[int(next())%len(fuzzNames)], bits(next()&1), fuzzProperties(next), make([]byte, next()))
		default:
			s := signatures[int(next())%len(signatures)]
			out = appendMethod(out, ch, s.m, argumentsOf(s.args, next)...)
		}
	}
	return out
}

func fuzzProperties(next func() byte) []byte {
	switch n := next(); n % 8 {
	case 0:
		return transient
	case 1:
		return persistent
	case 2:
		return []byte{n, next(), next(), next()} // nonsense as a rule
	case 3:
		p := props.Properties{Has: props.HasExpiration, Expiration: []byte(fuzzNames[int(next())%len(fuzzNames)])}
		return props.AppendProperties(nil, &p)
	case 4:
		var keys props.Array
		keys = props.PushStr(keys, fuzzNames[int(next())%len(fuzzNames)])
		p := props.Properties{Has: props.HasHeaders, Headers: props.AddArray(nil, [...]string{"CC", "BCC"}[n>>3&1], keys)}
		return props.AppendProperties(nil, &p)
	case 5:
		p := props.Properties{Has: props.HasReplyTo | props.HasPriority, ReplyTo: []byte(replyTo), Priority: next()}
		return props.AppendProperties(nil, &p)
	}
	return []byte{0, 0}
}

// FuzzFeed feeds a connection what a client may send or may not: the broker
// answers or ends the connection, and another one does not notice.
func FuzzFeed(f *testing.F) {
	methods := func(ms ...any) []byte {
		b := []byte{0}
		for i := 0; i < len(ms); i += 2 {
			for n, s := range signatures {
				if s.m == ms[i] {
					b = append(append(b, 18<<2|1, byte(n)), ms[i+1].(string)...)
				}
			}
		}
		return b
	}
	f.Add(append([]byte{1}, frame.Protocol...))
	f.Add(append([]byte{1}, appendHandshake(nil, nil)...))
	f.Add(methods(frame.MethodQueueDeclare, "\x00\x01\x02\x00", frame.MethodBasicConsume, "\x00\x01\x0e\x00\x00", frame.MethodBasicAck, "\x01\x00"))
	f.Add(methods(frame.MethodTxSelect, "", frame.MethodQueueDeclare, "\x00\x01\x00\x21", frame.MethodTxCommit, ""))
	f.Add(methods(frame.MethodConfirmSelect, "\x00", frame.MethodExchangeDeclare, "\x00\x03\x05\x00\x00", frame.MethodExchangeBind, "\x00\x03\x0c\x0a\x00\x00"))
	f.Add([]byte{0, 18<<2 | 1, 32, 0, 1, 0, 27, 8 << 2, 0, 1, 0, 1, 5, 8 << 2, 0, 1, 0, 1, 5, 18<<2 | 1, 51, 0, 1, 0})
	b := newBox(f)
	other := b.connect()
	other.declare(1, "witness", 0, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 4096 {
			return
		}
		p := &peer{Pipe: b.pipe(), t: t}
		if data[0]&1 == 1 {
			p.Send(data[1:])
		} else {
			can := props.AddTable(nil, "capabilities", props.AddBool(nil, "consumer_cancel_notify", true))
			p.Send(appendMethod(appendHandshake(nil, can), 1, frame.MethodChannelOpen, ""))
			p.Send(fuzzFrames(data[1:]))
			p.send(0, frame.MethodConnectionClose, uint16(200), "", uint16(0), uint16(0))
			if whole(fuzzFrames(data[1:])) {
				for { // until it is over, and all of it is frames
					if _, ok := p.next(); !ok {
						break
					}
				}
			}
		}
		p.Hangup(nil)
		w := &peer{Pipe: other.Pipe, t: t}
		w.publish(1, "", "witness", transient, "x")
		w.send(1, frame.MethodBasicGet, uint16(0), "witness", true)
		w.want(1, frame.MethodBasicGetOK)
		if _, body := w.content(1); string(body) != "x" {
			t.Fatalf("the other connection gets %q", body)
		}
		for _, name := range fuzzNames {
			if name == "" || len(name) > 9 {
				continue
			}
			w.send(1, frame.MethodQueueDelete, uint16(0), name, bits(0))
			w.want(1, frame.MethodQueueDeleteOK)
			if name[0] == 'x' {
				w.send(1, frame.MethodExchangeDelete, uint16(0), name, bits(0))
				w.want(1, frame.MethodExchangeDeleteOK)
			}
		}
	})
}

// whole says whether b ends where a frame ends: if not, what follows is part of
// its last frame.
func whole(b []byte) bool {
	for len(b) >= frame.HeaderSize {
		n := uint64(binary.BigEndian.Uint32(b[3:])) + frame.Overhead
		if n > uint64(len(b)) {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}
