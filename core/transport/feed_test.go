package transport

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/narumq/naru/core"
)

// TestFeedBytes sends frames byte by byte: every split there is.
func TestFeedBytes(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, _ := b.dial(b.listen())
		for _, body := range []string{"one", "", "three", strings.Repeat("long", 40)} {
			f := frame('e', body)
			for i := range f {
				c.send(f[i : i+1])
			}
			c.want(body)
		}
	})
}

// TestFeedNeed counts: a packet is looked at when its header is there, and when
// all of it is, however small the pieces are.
func TestFeedNeed(t *testing.T) {
	b := newBox(t)
	p, h := b.pipe()
	p.Send(frame('l', number(0)))
	p.Receive()
	for _, s := range []struct{ size, piece, feeds int }{
		{10, 1, 3}, // one byte, the header, all
		{10, 4, 2},
		{10, 14, 1},
		{20_000, 3, 3},
		{20_000, 7, 2},
		{20_000, 1000, 2},
		{3_000_000, 999, 2},
	} {
		before := h.feeds.Load()
		body := string(pattern(s.size))
		for f := frame('e', body); len(f) > 0; {
			n := min(s.piece, len(f))
			p.Send(f[:n])
			f = f[n:]
		}
		if n := h.feeds.Load() - before; n != int64(s.feeds) {
			t.Errorf("%d bytes in pieces of %d were fed %d times, want %d", s.size, s.piece, n, s.feeds)
		}
		if got := p.Receive(); string(got) != body {
			t.Errorf("%d bytes in pieces of %d: got %s", s.size, s.piece, short(got))
		}
	}
}

// TestFeedNoNeed: without Need, every piece is fed with all that is there.
func TestFeedNoNeed(t *testing.T) {
	b := newBox(t)
	p, h := b.pipe()
	h.mute = true
	f := frame('e', "abcdef")
	for i := range f {
		p.Send(f[i : i+1])
	}
	if want := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}; fmt.Sprint(h.lengths) != fmt.Sprint(want) {
		t.Errorf("was fed %v bytes, want %v", h.lengths, want)
	}
	if got := p.Receive(); string(got) != "abcdef" {
		t.Errorf("got %q", got)
	}
}

// TestFeedRest: a handler that consumes one frame is fed the rest.
func TestFeedRest(t *testing.T) {
	b := newBox(t)
	p, h := b.pipe()
	h.single = true
	p.Send(bytes.Join([][]byte{frame('e', "a"), frame('e', "b"), frame('e', "c"), frame('e', "half")[:6]}, nil))
	if want := []int{21, 16, 11, 6}; fmt.Sprint(h.lengths) != fmt.Sprint(want) {
		t.Errorf("was fed %v bytes, want %v", h.lengths, want)
	}
	p.Send([]byte("lf"))
	if got := p.Receive(); string(got) != "abchalf" {
		t.Errorf("got %q", got)
	}
}

// TestFeedSplits cuts random frames at random places, with and without large
// ones, and compares what comes back.
func TestFeedSplits(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.OutboxSize = 64 << 20 })
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 0))
		p, h := b.pipe()
		h.single = seed%3 == 0
		h.mute = seed%4 == 1
		p.Send(frame('l', number(0)))
		var in, want []byte
		p.Receive()
		for range 1 + r.IntN(12) {
			size := r.IntN(300)
			if r.IntN(4) == 0 {
				size = r.IntN(200_000)
			}
			at := r.IntN(1000)
			body := pattern(at + size)[at:]
			command := "es"[r.IntN(2)]
			in = append(in, frame(command, string(body))...)
			if command == 'e' {
				want = append(want, body...)
			}
		}
		largest := 1 + r.IntN(1<<(4+r.IntN(16)))
		if seed%4 == 1 {
			largest += 2000 // all that is there is fed each time
		}
		for len(in) > 0 {
			n := min(len(in), 1+r.IntN(largest))
			p.Send(in[:n])
			in = in[n:]
		}
		if got := p.Receive(); !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got %s, want %s", seed, short(got), short(want))
		}
		p.Hangup(nil)
	}
}

// TestFeedOwned: a large packet is read into a buffer of its own. Its memory
// grows with what has arrived and not with what was announced, and what a
// handler keeps of it by reference stays as it was.
func TestFeedOwned(t *testing.T) {
	b := newBox(t)
	p, h := b.pipe()
	p.Send(frame('l', number(0)))
	const size = 8 << 20
	body := pattern(size)
	f := frame('s', string(body))
	p.Send(f[:100])
	h.inside(func(_ *core.Turn, c *Conn) {
		if c.pend == nil || cap(c.pend) > smallBuffer {
			t.Errorf("100 bytes of %d are kept in %d", size, cap(c.pend))
		}
	})
	sent := 100
	for sent < 1<<20 {
		p.Send(f[sent : sent+1000])
		sent += 1000
		h.inside(func(_ *core.Turn, c *Conn) {
			if len(c.pend) != sent || cap(c.pend) > 2*sent+2*bigBuffer {
				t.Fatalf("%d bytes are kept as %d in %d", sent, len(c.pend), cap(c.pend))
			}
		})
	}
	p.Send(f[sent:])
	if n := len(h.owned); !h.owned[n-1] || h.owned[0] {
		t.Errorf("owned: %v; want the large packet alone", h.owned)
	}
	// Others follow, in the same buffers if those were shared.
	p.Send(bytes.Repeat(frame('s', strings.Repeat("x", 1000)), 500))
	if !bytes.Equal(h.borrowed[0], body) {
		t.Error("the body of the large packet has changed")
	}
	h.inside(func(_ *core.Turn, c *Conn) {
		if c.pend != nil || c.owned {
			t.Errorf("%d bytes are still held", cap(c.pend))
		}
	})
}

// TestFeedPoison: what a handler keeps without asking is overwritten, in test
// builds, so that other tests find it.
func TestFeedPoison(t *testing.T) {
	if !poison {
		t.Skip("with -race only")
	}
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.dial(b.listen())
		c.send(frame('s', "borrowed"), frame('e', "x"))
		c.want("x")
		h.inside(func(*core.Turn, *Conn) {
			if got := h.borrowed[0]; !bytes.Equal(got, bytes.Repeat([]byte{0xdb}, 8)) {
				t.Errorf("after Feed the body is still %q", got)
			}
		})
	})
}
