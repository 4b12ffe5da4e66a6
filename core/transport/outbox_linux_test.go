package transport

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
)

// TestOutboxPartial: a socket with the smallest buffer there is takes a few
// kilobytes at a time, so that every write is a partial one.
func TestOutboxPartial(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		c, h := b.slowSocket(b.listen())
		var pieces []int
		var want []byte
		r := rand.New(rand.NewPCG(1, 2))
		for range 400 {
			n := 1 + r.IntN(200)
			if r.IntN(8) == 0 {
				n = byReference + r.IntN(20_000)
			}
			pieces = append(pieces, n)
			want = append(want, pattern(n)...)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for len(pieces) > 0 {
				b.turn(func(t *core.Turn) {
					for _, n := range pieces[:4] {
						out := h.conn.Out()
						out.Lock()
						out.AppendRef(t, pattern(n))
						out.Unlock()
					}
					pieces = pieces[4:]
				})
			}
		})
		got, err := io.ReadAll(io.LimitReader(c, int64(len(want))))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("got %d bytes, want %d; %v", len(got), len(want), err)
		}
		wg.Wait()
		h.conn.Kick(errBad)
		c.wantEOF()
	})
}

// TestOutboxNotRead: a client that does not read its replies is not read, so
// that what waits for it is bounded; when it reads, everything is there.
func TestOutboxNotRead(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		const bound = 100_000
		b := newBox(t, driver, func(o *boxOptions) { o.OutboxSize = bound })
		addr := b.listen()
		c, h := b.slowSocket(addr)
		other, _ := b.dial(addr)
		c.send(frame('l', number(0)))
		c.want(number(0))
		const asked, size = 3000, 1000
		var wg sync.WaitGroup
		wg.Go(func() {
			f := bytes.Join([][]byte{frame('n', number(size)), frame('s', string(pattern(4000)))}, nil)
			for range asked {
				if _, err := c.Write(f); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wait(t, "it is not read while others are", func() bool {
			feeds := h.feeds.Load()
			for range 20 {
				other.send(frame('e', "x"))
				other.want("x")
			}
			return h.paused() && h.feeds.Load() == feeds
		})
		out := h.conn.Out()
		out.Lock()
		held := out.size
		out.Unlock()
		if held > 2*bound {
			t.Errorf("%d bytes wait, the bound is %d", held, bound)
		}
		for range asked {
			c.want(string(pattern(size)))
		}
		wg.Wait()
	})
}
