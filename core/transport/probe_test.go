package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/core"
)

// errBad is why a probe ends a connection.
var errBad = errors.New("bad frame")

// A probe is the smallest protocol that has everything the transport cares
// for. A frame is a command, the length of the body in three bytes, the body:
//
//	e  reply the body
//	n  reply as many bytes as the body says (pattern)
//	d  deliver the body, if there is room
//	b  deliver as many bytes by reference
//	p  retain a message, and reply the body when that is on disk
//	a  publish a message as a client does, then reply the body
//	l  log in, with a silence of so many milliseconds; reply the body
//	w  wait for the box, then reply the body
//	s  do nothing
//	q  reply the body and end
//	x  reply the body and end with errBad
type probe struct {
	box    *box
	conn   *Conn
	pub    *core.Publisher
	closed chan error

	feeds   atomic.Int64
	drained atomic.Int64
	quiets  atomic.Int64
	dropped atomic.Int64
	waits   atomic.Int64
	stopped atomic.Int64 // waits whose context ended

	onDrained func(*core.Turn) // set before there is anything to drain

	// owned by Feed, or by the test while nothing is fed
	onFeed   func()
	single   bool // consume one frame in each Feed
	mute     bool // do not say how much is needed
	waited   bool
	borrowed [][]byte // bodies of s, as they were given
	owned    []bool
	lengths  []int // of data, in each Feed
}

const frameHead = 4

func frame(command byte, body string) []byte {
	b := []byte{command, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}
	return append(b, body...)
}

func number(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// pattern returns n bytes in which each place can be told from its neighbours.
func pattern(n int) []byte {
	patterns.Lock()
	defer patterns.Unlock()
	for i := len(patterns.b); i < n; i++ {
		patterns.b = append(patterns.b, byte(i>>16^i>>8^i))
	}
	return patterns.b[:n:n]
}

var patterns struct {
	sync.Mutex
	b []byte // guarded; what is there never changes
}

func (p *probe) Feed(t *core.Turn, data []byte) (r Result) {
	p.feeds.Add(1)
	if p.onFeed != nil {
		p.onFeed()
	}
	p.lengths = append(p.lengths, len(data))
	p.owned = append(p.owned, p.conn.Owned())
	for {
		rest := data[r.Consumed:]
		if len(rest) < frameHead {
			if len(rest) > 0 && !p.mute {
				r.Need = frameHead
			}
			return r
		}
		total := frameHead + int(rest[1])<<16 + int(rest[2])<<8 + int(rest[3])
		if len(rest) < total {
			if !p.mute {
				r.Need = total
			}
			return r
		}
		w, end, cause := p.act(t, rest[0], rest[frameHead:total])
		if w != nil {
			r.Wait = w
			return r
		}
		r.Consumed += total
		if end {
			r.End, r.Cause = true, cause
			return r
		}
		if p.single {
			return r
		}
	}
}

func (p *probe) act(t *core.Turn, command byte, body []byte) (w core.Wait, end bool, cause error) {
	switch command {
	case 'e':
		t.Reply(body...)
	case 'n':
		t.Reply(pattern(int(binary.BigEndian.Uint32(body)))...)
	case 'd':
		p.deliver(t, body, false)
	case 'b':
		p.deliver(t, pattern(int(binary.BigEndian.Uint32(body))), true)
	case 'p':
		m := t.Message()
		m.Exchange, m.Topic, m.Payload = p.pub.VHost().Topics(), []byte("kept"), body
		m.QoS, m.Retain, m.Persistent = core.AtLeastOnce, true, true
		if w, cause = p.pub.Publish(t, m); w == nil && cause == nil {
			t.Reply(body...)
		}
		return w, cause != nil, cause
	case 'a':
		m := t.Message()
		m.Exchange, m.Topic, m.Payload = p.pub.VHost().Topics(), []byte("news"), body
		if w, cause = p.pub.Publish(t, m); w == nil && cause == nil {
			t.Reply(body...)
		}
		return w, cause != nil, cause
	case 'l':
		p.conn.LoggedIn(time.Duration(binary.BigEndian.Uint32(body)) * time.Millisecond)
		t.Reply(body...)
	case 'w':
		if !p.waited {
			p.waited = true
			return p.await, false, nil
		}
		p.waited = false
		t.Reply(body...)
	case 's':
		p.borrowed = append(p.borrowed, body)
	case 'q', 'x':
		t.Reply(body...)
		if command == 'x' {
			cause = errBad
		}
		return nil, true, cause
	default:
		return nil, true, errBad
	}
	return nil, false, nil
}

func (p *probe) await(ctx context.Context) {
	p.waits.Add(1)
	select {
	case <-p.box.pass:
	case <-ctx.Done():
		p.stopped.Add(1)
	}
}

// deliver appends to the outbox, if there is room.
func (p *probe) deliver(t *core.Turn, b []byte, ref bool) bool {
	out := p.conn.Out()
	out.Lock()
	defer out.Unlock()
	if !out.Room(len(b)) {
		p.dropped.Add(1)
		return false
	}
	if ref {
		out.AppendRef(t, b)
	} else {
		out.End(t, append(out.Begin(len(b)), b...))
	}
	return true
}

func (p *probe) Drained(t *core.Turn) {
	p.drained.Add(1)
	if p.onDrained != nil {
		p.onDrained(t)
	}
}

func (p *probe) Quiet() { p.quiets.Add(1) }

func (p *probe) Closed(_ *core.Turn, cause error) { p.closed <- cause }

var _ Handler = (*probe)(nil)

// echo replies all that comes. It has no state.
type echo struct{}

func (echo) Feed(t *core.Turn, data []byte) Result {
	t.Reply(data...)
	return Result{Consumed: len(data)}
}
func (echo) Drained(*core.Turn)       {}
func (echo) Quiet()                   {}
func (echo) Closed(*core.Turn, error) {}
