package transport

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/narumq/naru/core"
)

// TestHoldUnconfirmed: while more than the bound is not on disk, a client is not
// read and its replies stay where they are; others are served.
func TestHoldUnconfirmed(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		const bound = 20_000
		b := newBox(t, driver, func(o *boxOptions) { o.Unconfirmed = bound })
		addr := b.listen()
		c, h := b.dial(addr)
		other, _ := b.dial(addr)
		b.st.Hold()
		const messages = 2000
		var want strings.Builder
		var in []byte
		for i := range messages {
			body := fmt.Sprintf("message %06d %s", i, strings.Repeat("x", 500))
			in = append(in, frame('p', body)...)
			want.WriteString(body)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for len(in) > 0 { // in pieces, so that reads are not too large
				n, err := c.Write(in[:min(len(in), 5000)])
				if err != nil {
					t.Error(err)
					return
				}
				in = in[n:]
			}
		})
		wait(t, "it is not read", h.paused)
		feeds := h.feeds.Load()
		for range 20 {
			other.send(frame('e', "x"))
			other.want("x")
		}
		if n := h.feeds.Load() - feeds; n != 0 {
			t.Errorf("it was fed %d times", n)
		}
		if n := h.conn.Gate().Held(); n <= bound || n > bound+bigBuffer {
			t.Errorf("%d bytes are not on disk, the bound is %d", n, bound)
		}
		if _, sent := b.srv.Traffic(); sent > 20 {
			t.Errorf("%d bytes were sent before anything is on disk", sent-20)
		}
		b.st.Release()
		c.want(want.String())
		wg.Wait()
	})
}

// TestHoldReplies: replies that need no disk wait behind one that does, and not
// without bound while the disk stalls.
func TestHoldReplies(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.Unconfirmed = 20_000 })
	p, h := b.pipe()
	p.Send(frame('l', number(0)))
	b.st.Hold()
	p.Send(frame('p', "on disk"))
	for i := 0; !h.paused(); i++ {
		if i == 10 {
			t.Error("it is read, with 40000 bytes of replies waiting")
			break
		}
		p.Send(frame('n', number(4000)))
	}
	p.Send(frame('e', "last"))
	b.st.Release()
	var got []byte
	wait(t, "all replies", func() bool {
		got = append(got, p.Receive()...)
		return strings.HasSuffix(string(got), "last")
	})
	if n := h.conn.Gate().Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestHoldBacklog: when the store has too much to write, every publisher waits for
// its own, however little it is.
func TestHoldBacklog(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.core.MaxUncommitted = 1 << 16 })
	p, h := b.pipe()
	big, h2 := b.pipe()
	big.Send(frame('l', number(0)))
	b.st.Hold()
	p.Send(frame('p', "a little"))
	if h.paused() {
		t.Fatal("it is held back by nothing")
	}
	big.Send(frame('p', string(pattern(100_000))))
	p.Send(frame('p', "a little more"))
	p.Send(frame('p', "not read"))
	if !h.paused() || h.feeds.Load() != 2 {
		t.Errorf("fed %d times", h.feeds.Load())
	}
	b.st.Release()
	var got []byte
	wait(t, "all replies", func() bool {
		got = append(got, p.Receive()...)
		return string(got) == "a littlea little morenot read"
	})
	wait(t, "both go on", func() bool { return !h.paused() && !h2.paused() })
}

// TestHoldAlarm: while the disk is nearly full publishers wait, and nobody else.
func TestHoldAlarm(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		var free atomic.Int64
		var raised atomic.Bool
		b := newBox(t, driver, func(o *boxOptions) {
			o.core.MinFreeDisk = 1000
			o.core.FreeSpace = func() (int64, error) { return free.Load(), nil }
			o.core.Listeners = []core.Listener{func(e core.Event) {
				if _, ok := e.(core.AlarmRaised); ok {
					raised.Store(true)
				}
			}}
		})
		addr := b.listen()
		c, h := b.dial(addr)
		other, _ := b.dial(addr)
		wait(t, "the alarm", raised.Load)
		c.send(frame('e', "1"), frame('a', "2"), frame('e', "3"))
		c.want("1")
		wait(t, "the publisher waits", h.paused)
		c.send(frame('a', "4"))
		other.send(frame('e', "x"))
		other.want("x")
		free.Store(5000)
		c.want("234")
	})
}
