package mqtt

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// TestSecurity8Levels goes to the limit of levels, and beyond, with a topic, a
// filter and a will.
func TestSecurity8Levels(t *testing.T) {
	for _, limit := range []int{DefaultConfig().MaxTopicLevels, 3} {
		var log recorder
		b := newBox(t, log.record, func(o *boxOptions) { o.config.MaxTopicLevels = limit })
		w := b.witness()
		fits := "w" + strings.Repeat("/", limit-1)
		deep := "w" + strings.Repeat("/", limit)
		wild := "+" + strings.Repeat("/+", limit-1)
		p := b.connect("p", true)
		for _, f := range []string{fits, wild, strings.Repeat("/", limit-1)} {
			p.subscribe(f)
			p.want("90 03 0001 00")
		}
		log.wantNone(t)
		for _, f := range []string{deep, wild + "/+", wild + "/#", strings.Repeat("/", limit), "$share/g/" + fits, deep + deep} {
			p.subscribe(f)
			p.want("90 03 0001 80")
		}
		p.publish(fits)
		for _, to := range []*peer{p, w.peer} {
			if got := to.next(); got != string(packet.AppendPublishHead(nil, []byte(fits), 0, 0, false, false, 0)) {
				t.Errorf("published to %q, got %q", fits, got)
			}
		}
		p.publish(deep)
		p.wantOver()
		log.wantRefused(t, 6, core.ErrBadAddress, core.ErrBadAddress)

		p = b.open()
		p.Send(hello(4, 6, 0, "p", deep, ""))
		p.wantOver()
		log.wantOne(t, "", core.ErrBadAddress)
		p = b.open()
		p.Send(hello(4, 6, 0, "p", fits, ""))
		p.want("20 02 00 00")
		p.send("e0 00")
		p.wantOver()
		w.check()
	}
	b := newBox(t, func(o *boxOptions) { o.config.MaxTopicLevels = 0 })
	p := b.connect("p", true)
	p.subscribe(strings.Repeat("/", 1000))
	p.want("90 03 0001 00")
}

// TestSecurity8DeepLarge: nothing of a large payload is stored for a topic that
// will be refused.
func TestSecurity8DeepLarge(t *testing.T) {
	b := newBox(t)
	sub := b.connect("sub", false)
	sub.subscribe("#")
	sub.want("90 03 0001 00")
	sub.send("82 06 0001 0001'#'01")
	sub.want("90 03 0001 01")
	whole, _ := largePacket("w"+strings.Repeat("/", 300), 1, 7, 1<<20)
	p := b.connect("p", true)
	p.Send(whole[:len(whole)-1])
	b.bus.Sync()
	if n := b.bodies(); n != 0 {
		t.Errorf("%d chunks are stored", n)
	}
	p.Send(whole[len(whole)-1:])
	p.wantOver()
	if got := sub.Receive(); len(got) != 0 {
		t.Errorf("the subscriber got %d bytes", len(got))
	}
}

func (p *peer) subscribe(filter string) {
	s := append(appendText([]byte{0, 1}, filter), 0)
	p.Send(append(packet.AppendHeader(nil, packet.SUBSCRIBE, 2, len(s)), s...))
}

func (p *peer) publish(topic string) {
	p.Send(packet.AppendPublishHead(nil, []byte(topic), 0, 0, false, false, 0))
}

// TestSecurity8Overlap subscribes in every way that matches: a message comes
// once.
func TestSecurity8Overlap(t *testing.T) {
	b := newBox(t)
	p := b.connect("p", true)
	levels := []string{"a", "b", "c", "d", "e", "f", "g", "h"}
	n := 0
	for i := range 1 << len(levels) {
		f := make([]string, len(levels))
		for j, l := range levels {
			if f[j] = l; i&(1<<j) != 0 {
				f[j] = "+"
			}
		}
		for _, filter := range []string{strings.Join(f, "/"), strings.Join(f, "/") + "/#", strings.Join(append(f[:i%8:i%8], "#"), "/")} {
			p.subscribe(filter)
			p.want("90 03 0001 00")
			n++
		}
	}
	p.publish(strings.Join(levels, "/"))
	p.send("c0 00")
	p.want("30 11 000f'" + strings.Join(levels, "/") + "' d0 00")
	if got := b.bus.VHost("/").Session("p").Subscriptions(); got >= n || got < 2<<len(levels) {
		t.Errorf("%d subscriptions of %d", got, n)
	}
}

// TestSecurity8Subscriptions holds a session to its number of subscriptions,
// and a packet to its number of filters.
func TestSecurity8Subscriptions(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) { o.config.MaxSubscriptions = 10 })
	p := b.connect("p", false)
	for i := range 12 {
		p.subscribe(fmt.Sprintf("%x", i))
		if i < 10 {
			p.want("90 03 0001 00")
			continue
		}
		p.want("90 03 0001 80")
	}
	p.subscribe("0") // again is no new one
	p.want("90 03 0001 00")
	p.subscribe("$share/g/0")
	p.want("90 03 0001 80")
	p.send("a2 05 0002 0001'0'")
	p.want("b0 02 0002")
	p.subscribe("a")
	p.want("90 03 0001 00")
	if n := b.bus.Gauges().Bindings; n != 10 {
		t.Errorf("%d bindings", n)
	}
	// A hundred thousand filters at once.
	s := append([]byte{0, 3}, strings.Repeat("\x00\x01a\x00", 100_000)...)
	p.Send(append(packet.AppendHeader(nil, packet.SUBSCRIBE, 2, len(s)), s...))
	p.wantOver()
	log.wantRefused(t, 3, core.ErrQuota, packet.ErrFilters)
}

// slowRights is an authorizer that must be asked outside Feed. It allows what it
// is asked for in odd places.
type slowRights struct{ asked atomic.Int64 }

func (s *slowRights) Authorize(context.Context, *core.Identity, core.Right) (bool, error) {
	return s.asked.Add(1)%2 == 1, nil
}

// TestSecurity8SlowRights subscribes to more filters at once than answers are
// remembered: each is asked for once.
func TestSecurity8SlowRights(t *testing.T) {
	const filters = 600
	rights := &slowRights{}
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) { o.core.Authorizer = rights })
	p := b.connect("p", false)
	s := []byte{0, 1}
	for i := range filters {
		s = append(appendText(s, fmt.Sprint(i)), 1)
	}
	p.Send(append(packet.AppendHeader(nil, packet.SUBSCRIBE, 2, len(s)), s...))
	want := append(packet.AppendSubackHead(nil, 1, filters), bytes.Repeat([]byte{1, packet.SubscribeFailure}, filters/2)...)
	if got := p.next(); got != string(want) {
		t.Errorf("got % x", got)
	}
	if n := rights.asked.Load(); n != filters {
		t.Errorf("asked %d times about %d filters", n, filters)
	}
	p.send("82 06 0002 0001'a'00") // the next packet begins at its beginning
	p.want("90 03 0002 00")
	p.send("e0 00")
	p.wantOver()
	log.wantRefused(t, filters/2, core.ErrNotAuthorized, nil)
}

// BenchmarkLevels publishes below forty filters that fork all along the topic,
// and below one that is all wildcards. The cost grows as the levels do: ns/level
// must not.
func BenchmarkLevels(b *testing.B) {
	forks := func(levels int) (filters []string) {
		for i := range 20 {
			at := i * levels / 20
			filters = append(filters,
				strings.Repeat("a/", at)+"+"+strings.Repeat("/a", levels-at-2)+"/#",
				strings.Repeat("+/", at)+"#")
		}
		return filters
	}
	one := func(levels int) []string { return []string{"+" + strings.Repeat("/+", levels-1)} }
	for name, filters := range map[string]func(int) []string{"forks": forks, "one": one} {
		for _, levels := range []int{25, 50, 100, 200} {
			b.Run(fmt.Sprintf("%s/%d", name, levels), func(b *testing.B) {
				x := newBox(b)
				p := discard(x.connect("p", true))
				for _, f := range filters(levels) {
					p.subscribe(f)
				}
				// Different at the end each time, lest the route be remembered.
				topic := []byte(strings.Repeat("a/", levels-1))
				n := int64(0)
				for b.Loop() {
					n++
					t := strconv.AppendInt(topic, n, 10)
					p.Send(packet.AppendPublishHead(nil, t, 0, 0, false, false, 0))
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(levels), "ns/level")
				if sent := x.bus.Stats().Sent[0]; sent != uint64(n) {
					b.Fatalf("%d of %d were delivered", sent, n)
				}
			})
		}
	}
}
