package mqtt

import (
	"encoding/binary"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// largePublish is the size from which on the payload of a PUBLISH is stored
// while it arrives.
const largePublish = 2 * core.ChunkSize

// A large is a large PUBLISH at QoS 1 or 2 that is arriving.
type large struct {
	body  *core.BodyWriter // nil if nothing durable wants it
	start int              // of the payload, in the packet
	ready int              // bytes of payload that are stored
}

// await says what must have been read before it is worth feeding again, and
// stores what has arrived of a large payload. What is wrong with the packet is
// found when it is whole.
func (c *conn) await(t *core.Turn, h packet.Header, rest []byte, r *transport.Result) {
	total := h.Total()
	r.Need, r.Whole = total, total
	if total < largePublish || h.Type != packet.PUBLISH || h.Flags&6 == 0 || !c.running || r.Consumed > 0 {
		return
	}
	if c.large == nil && !c.beginLarge(t, h, rest, r) {
		return
	}
	if l := c.large; l.body != nil {
		r.Held = l.body.Write(t, rest[l.start:])
		l.ready += r.Held
		r.Need = min(total, l.start+l.ready+core.ChunkSize)
	}
}

// beginLarge reads what stands before the payload and asks the bus to store
// what will come. It returns false if it is too early.
func (c *conn) beginLarge(t *core.Turn, h packet.Header, rest []byte, r *transport.Result) bool {
	body := rest[h.Size:]
	if len(body) < 2 {
		r.Need = h.Size + 2
		return false
	}
	start := 2 + int(binary.BigEndian.Uint16(body)) + 2
	if len(body) < start {
		r.Need = min(h.Total(), h.Size+start)
		return false
	}
	var p packet.Publish
	if p.Decode(h.Flags, body[:start]) != nil || c.a.conf().tooDeep(p.Topic) || p.QoS == 2 && c.session.Knows(p.ID) {
		c.large = &large{}
		return true
	}
	w, wait, err := c.pub.StoreBody(t, c.message(t, &p))
	if wait != nil {
		r.Wait = wait
		return false
	}
	if err != nil { // told when the packet is whole
		w = nil
	}
	c.large = &large{body: w, start: h.Size + start}
	return true
}

// published is called when the bus has taken the message, or refused it.
func (l *large) published(t *core.Turn, err error) {
	if err != nil {
		l.abort(t)
	}
}

// abort removes what has been stored of a message that will not be.
func (l *large) abort(t *core.Turn) {
	if l != nil && l.body != nil {
		l.body.Abort(t)
	}
}
