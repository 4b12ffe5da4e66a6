package mqtt

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// largePacket is a PUBLISH with random bytes, so that a wrong chunk shows.
func largePacket(topic string, qos byte, id uint16, size int) (whole, payload []byte) {
	payload = make([]byte, size)
	r := rand.NewChaCha8([32]byte{byte(size)})
	_, _ = r.Read(payload)
	return append(packet.AppendPublishHead(nil, []byte(topic), size, qos, false, false, id), payload...), payload
}

// receiveLarge waits for a PUBLISH of this payload and returns its packet id.
func (p *peer) receiveLarge(payload []byte) uint16 {
	p.t.Helper()
	deadline := generous()
	for {
		h, more, err := packet.ReadHeader(p.buf)
		if err != nil {
			p.t.Fatal(err)
		}
		if !more && len(p.buf) >= h.Total() {
			var pub packet.Publish
			if err := pub.Decode(h.Flags, p.buf[h.Size:h.Total()]); err != nil {
				p.t.Fatal(err)
			}
			if !bytes.Equal(pub.Payload, payload) {
				p.t.Fatalf("%d bytes of payload came, not those %d that were sent", len(pub.Payload), len(payload))
			}
			p.buf = p.buf[h.Total():]
			return pub.ID
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%d bytes came in time", len(p.buf))
		}
		p.Wait(time.Second)
		p.buf = append(p.buf, p.Receive()...)
	}
}

func TestLargePayloads(t *testing.T) {
	for _, size := range []int{core256 - 1, core256, 3*core256 + 17, 20 << 20} {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("%d at QoS %d", size, qos), func(t *testing.T) {
				fs := vfs.NewMem()
				keep := func(o *boxOptions) { o.fs = fs }
				b := newBox(t, keep)
				for i := range 2 { // two sessions share the body
					sub := b.connect(fmt.Sprintf("sub%d", i), false)
					sub.send(fmt.Sprintf("82 06 0001 0001'a' %02x", qos))
					sub.want(fmt.Sprintf("90 03 0001 %02x", qos))
					sub.send("e0 00")
					sub.wantOver()
				}
				pub := b.connect("pub", true)
				whole, payload := largePacket("a", qos, 7, size)
				// In pieces that meet the borders of chunks in odd places.
				for rest := whole; len(rest) > 0; {
					n := min(len(rest), 100_001)
					pub.Send(rest[:n])
					rest = rest[n:]
				}
				pub.want(fmt.Sprintf("%x0 02 0007", 3+qos))
				live := b.connect("sub0", false)
				id := live.receiveLarge(payload)
				live.send(fmt.Sprintf("%x0 02 %04x c0 00", 3+qos, id))
				if qos == 2 {
					live.want(fmt.Sprintf("62 02 %04x", id))
					live.send(fmt.Sprintf("70 02 %04x", id))
				}
				live.want("d0 00")
				b.close()

				b = newBox(t, keep)
				b.connect("sub1", false).receiveLarge(payload)
			})
		}
	}
}

const core256 = 256 << 10

func TestLargePublishThatNeverEnds(t *testing.T) {
	b := newBox(t)
	sub := b.connect("sub", false)
	sub.send("82 06 0001 0001'a' 01")
	sub.want("90 03 0001 01")
	pub := b.connect("pub", true)
	whole, _ := largePacket("a", 1, 7, 2<<20)
	pub.Send(whole[:1<<20])
	b.bus.Sync()
	if n := b.bodies(); n == 0 {
		t.Fatal("nothing was stored while it arrived")
	}
	pub.Hangup(nil)
	b.bus.Sync()
	if n := b.bodies(); n != 0 {
		t.Fatalf("%d chunks of it are left", n)
	}
	if got := sub.Receive(); len(got) != 0 {
		t.Fatalf("the subscriber got % x", got)
	}
}

// bodies counts the chunks of payloads that are stored apart.
func (b *box) bodies() (n int) {
	b.t.Helper()
	err := b.st.Scan([]byte{'y'}, []byte{'z'}, func(_, _ []byte) bool { n++; return true })
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}
