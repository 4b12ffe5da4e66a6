package mqtt

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// settle takes what has arrived, or waits until nothing is due any more.
func (f *fourWorld) settle(wait bool) {
	deadline := time.Now().Add(crashPatience)
	for {
		f.take(&f.pub.fourConn, f.answered)
		if f.sub.up {
			f.take(&f.sub.fourConn, f.delivered)
		}
		due := f.due()
		switch {
		case !wait || due == "":
			return
		case time.Now().After(deadline):
			f.fatalf("waits for %s", due)
		case len(f.pub.due) > 0:
			f.pub.pipe.Wait(10 * time.Millisecond)
		default:
			f.sub.pipe.Wait(10 * time.Millisecond)
		}
	}
}

// due says what must come still, or "".
func (f *fourWorld) due() string {
	s := &f.sub
	switch {
	case len(f.pub.due) > 0:
		return fmt.Sprintf("%v %d for the publisher", f.pub.due[0].typ, f.pub.due[0].id)
	case !s.up:
		return ""
	case s.back > 0:
		return fmt.Sprintf("%d messages that came back", s.back)
	}
	for id, n := range s.rel {
		if n > 0 {
			return fmt.Sprintf("PUBREL %d for the subscriber", id)
		}
	}
	for i, e := range s.live() {
		if i == fourWindow || e.ord >= s.live()[0].ord+f.own {
			break
		}
		if !e.seen {
			return fmt.Sprintf("message %d, ordinal %d, for the subscriber, in state %d", e.no, e.ord, e.state)
		}
	}
	return ""
}

// next waits for one packet.
func (f *fourWorld) next(c *fourConn) (packet.Header, []byte) {
	for deadline := time.Now().Add(crashPatience); ; {
		h, more, err := packet.ReadHeader(c.buf)
		if err != nil {
			f.fatalf("%s got % x: %v", c.name, c.buf, err)
		}
		if !more && len(c.buf) >= h.Total() {
			body := c.buf[h.Size:h.Total()]
			f.say("%s <- %v %x % x", c.name, h.Type, h.Flags, body)
			c.buf = c.buf[h.Total():]
			return h, body
		}
		if time.Now().After(deadline) || c.pipe.Over() {
			f.fatalf("%s got % x, and no more", c.name, c.buf)
		}
		c.pipe.Wait(10 * time.Millisecond)
		c.buf = append(c.buf, c.pipe.Receive()...)
	}
}

// take hands what has arrived to do, packet by packet.
func (f *fourWorld) take(c *fourConn, do func(packet.Header, []byte)) {
	over := c.pipe.Over()
	c.buf = append(c.buf, c.pipe.Receive()...)
	for len(c.buf) > 0 {
		do(f.next(c))
	}
	if over {
		f.fatalf("the broker has closed the connection of %s", c.name)
	}
}

func (f *fourWorld) waitOver(c *fourConn) {
	for deadline := time.Now().Add(crashPatience); !c.pipe.Over(); {
		if time.Now().After(deadline) {
			f.fatalf("%s is connected still", c.name)
		}
		c.pipe.Receive()
		c.pipe.Wait(10 * time.Millisecond)
	}
}

// answered takes a packet for the publisher: it must be the answer due next.
func (f *fourWorld) answered(h packet.Header, body []byte) {
	p := &f.pub
	if len(p.due) == 0 || len(body) != 2 || p.due[0].typ != h.Type || p.due[0].id != binary.BigEndian.Uint16(body) {
		f.fatalf("the publisher got %v % x, due is %v", h.Type, body, p.due)
	}
	p.due = p.due[1:]
}

// delivered takes a packet for the subscriber.
func (f *fourWorld) delivered(h packet.Header, body []byte) {
	switch h.Type {
	case packet.PUBLISH:
		var p packet.Publish
		if err := p.Decode(h.Flags, body); err != nil {
			f.fatalf("the subscriber got PUBLISH % x: %v", body, err)
		}
		f.published(&p)
	case packet.PUBREL:
		f.released(binary.BigEndian.Uint16(body))
	default:
		f.fatalf("the subscriber got %v % x", h.Type, body)
	}
}

func (f *fourWorld) published(p *packet.Publish) {
	s := &f.sub
	i := slices.IndexFunc(s.entries, func(e *fourEntry) bool { return fmt.Sprint(e.no) == string(p.Payload) })
	if i < 0 {
		f.fatalf("the subscriber got message %s, which is not for it, or no longer", p.Payload)
	}
	e := s.entries[i]
	live := s.live()
	switch {
	case p.ID != e.id || p.QoS != e.qos:
		f.fatalf("message %d has id %d and QoS %d, not %d and %d", e.no, p.ID, p.QoS, e.id, e.qos)
	case e.undone && e.qos == 1 && p.Dup && !e.seen && s.back > 0: // its PUBACK was not on disk
		e.undone = false
		s.back--
		f.send(&s.fourConn, packet.AppendID(nil, packet.PUBACK, p.ID))
		return
	case e.seen || e.ord < s.newest:
		f.fatalf("message %d came again, or late", e.no)
	case e.state == fourComplete || e.state == fourReceived && !e.lost:
		f.fatalf("message %d came in state %d", e.no, e.state)
	case p.Dup && !e.mayDup || !p.Dup && e.sent:
		f.fatalf("message %d has DUP %v", e.no, p.Dup)
	case e.ord >= live[0].ord+f.own:
		f.fatalf("message %d has an id that message %d may have", e.no, live[0].no)
	}
	e.state, e.unsure, e.lost = fourSent, false, false
	e.seen, e.sent, s.newest = true, true, e.ord+1
	seen := 0
	for _, o := range live {
		if o.seen {
			seen++
		}
	}
	if seen > fourWindow {
		f.fatalf("%d messages are on their way to the subscriber", seen)
	}
	// Its id was free, so whatever had it before is complete on disk.
	s.entries = slices.DeleteFunc(s.entries, func(o *fourEntry) bool { return o.ord+f.own <= e.ord })
}

func (f *fourWorld) released(id uint16) {
	s := &f.sub
	if s.rel[id] > 0 {
		s.rel[id]--
		if e := s.find(id); e != nil && s.rel[id] == 0 {
			e.unsure, e.lost = false, false // PUBREL leaves when PUBREC is on disk
		}
		return
	}
	for _, e := range s.entries {
		switch {
		case e.id != id || e.qos != 2 || e.seen:
		case e.state == fourReceived:
			e.seen, e.unsure, e.lost = true, false, false
			return
		case e.undone && s.back > 0: // its PUBCOMP was not on disk
			e.undone = false
			s.back--
			f.send(&s.fourConn, packet.AppendID(nil, packet.PUBCOMP, id))
			return
		}
	}
	f.fatalf("the subscriber got PUBREL %d", id)
}
