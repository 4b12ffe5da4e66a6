package mqtt

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/core"
)

// What reviews have found, so that it does not come back.

// The same QoS 2 PUBLISH comes twice in one read, as when it was sent again
// behind a pause of ours.
func TestQoS2TwiceInOneRead(t *testing.T) {
	b := newBox(t)
	pub := b.connect("pub", false)
	sub := b.connect("sub", true)
	sub.send("82 08 0001 0003'a/b'02")
	sub.want("90 03 0001 02")
	pub.send("34 09 0003'a/b'0007'hi' 3c 09 0003'a/b'0007'hi' c0 00")
	pub.want("50 02 0007 50 02 0007 d0 00")
	sub.want("34 09 0003'a/b'0001'hi'")
	pub.send("62 02 0007")
	pub.want("70 02 0007")
	sub.send("c0 00")
	sub.want("d0 00")
}

// burst publishes n messages at QoS 2 to a shared subscription with one member,
// which answers everything, and returns how many came.
func burst(t *testing.T, b *box, n int) int {
	sub := b.connect("sub", false)
	sub.send("82 11 0001 000c'$share/g/a/b'02")
	sub.want("90 03 0001 02")
	pub := b.connect("pub", false)
	var s, acks strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&s, "34 09 0003'a/b' %04x 'hi' ", i)
		fmt.Fprintf(&acks, "50 02 %04x ", i)
	}
	pub.send(s.String())
	pub.want(acks.String())
	total := 0
	for end := time.Now().Add(20 * time.Second); total < n && time.Now().Before(end); {
		sub.Wait(time.Second)
		sub.buf = append(sub.buf, sub.Receive()...)
		for len(sub.buf) >= 2 && len(sub.buf) >= 2+int(sub.buf[1]) {
			p := sub.buf[:2+int(sub.buf[1])]
			sub.buf = sub.buf[len(p):]
			switch p[0] >> 4 {
			case 3:
				total++
				sub.send(fmt.Sprintf("50 02 %04x", binary.BigEndian.Uint16(p[7:])))
			case 6:
				sub.send(fmt.Sprintf("70 02 %04x", binary.BigEndian.Uint16(p[2:])))
			default:
				t.Fatalf("packet % x", p)
			}
		}
	}
	return total
}

// More than fit in flight go through a shared subscription.
func TestSharedQoS2GoesOn(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.config.MaxInflight = 10 })
	if n := burst(t, b, 100); n != 100 {
		t.Errorf("%d of 100 messages came, though every one was answered", n)
	}
}

// What a group has taken is not subject to the limits of the member it goes to.
func TestSharedQoS2IntoAFullSession(t *testing.T) {
	for _, overflow := range []string{"drop-head", "reject-publish"} {
		b := newBox(t, func(o *boxOptions) { o.config.MaxQueuedMessages, o.config.QueueOverflow = 5, overflow })
		if n := burst(t, b, 20); n != 20 {
			t.Errorf("%s: 20 messages were acknowledged and %d came", overflow, n)
		}
	}
}

// A health check that connects and closes is not worth a line; who sends half a
// CONNECT is.
func TestSilentConnectionsAreNotTold(t *testing.T) {
	told := 0
	b := newBox(t, func(o *boxOptions) {
		o.core.Listeners = append(o.core.Listeners, func(e core.Event) {
			if _, ok := e.(core.LoginRefused); ok {
				told++
			}
		})
	})
	b.open().Hangup(io.EOF)
	if told != 0 {
		t.Error("told of a connection that never said anything")
	}
	b.open().send("20 02 0000")
	if told != 1 {
		t.Errorf("told %d times of a connection that began with CONNACK", told)
	}
}

// A client that is refused again and again is told of once, and then in sums.
func TestRefusalsAreGathered(t *testing.T) {
	events, count := 0, int64(0)
	b := newBox(t, func(o *boxOptions) {
		o.core.Listeners = append(o.core.Listeners, func(e core.Event) {
			if e, ok := e.(core.PublishRefused); ok {
				events++
				count += e.Count
			}
		})
	})
	pub := b.connect("pub", true)
	for range 1000 {
		pub.send("30 08 0006'$SYS/a'")
	}
	pub.send("c0 00")
	pub.want("d0 00")
	pub.send("e0 00")
	pub.wantOver()
	if events > 3 || count != 1000 {
		t.Errorf("%d events for %d of 1000 refused messages", events, count)
	}
}
