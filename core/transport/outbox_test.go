package transport

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
)

// TestOutboxOrder appends at random in every way there is, to a peer that
// takes some of it now and then, and compares.
func TestOutboxOrder(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.OutboxSize = 1 << 30 })
	for seed := range uint64(10) {
		r := rand.New(rand.NewPCG(seed, 1))
		p, h := b.pipe()
		out := h.conn.Out()
		var want, got []byte
		next := func(n int) []byte {
			at := len(want) % 1000
			piece := pattern(at + n)[at:]
			want = append(want, piece...)
			return piece
		}
		for range 60 {
			b.turn(func(t *core.Turn) {
				for range r.IntN(20) {
					n := r.IntN(200)
					if r.IntN(4) == 0 {
						n = r.IntN(100_000)
					}
					piece := next(n)
					switch r.IntN(3) {
					case 0:
						out.AppendReply(t, piece)
					case 1:
						out.Lock()
						out.AppendRef(t, piece)
						out.Unlock()
					case 2: // more is asked for than is used
						out.Lock()
						out.End(t, append(out.Begin(n+r.IntN(5000)), piece...))
						out.Unlock()
					}
				}
			})
			switch r.IntN(3) {
			case 0:
				p.Limit(1 + r.IntN(50_000))
			case 1:
				got = append(got, p.Receive()...)
			}
		}
		p.Limit(0)
		got = append(got, p.Receive()...)
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: got %d bytes, want %d", seed, len(got), len(want))
		}
		if out.size != 0 || out.replies != 0 || len(out.sealed) != 0 || out.buf != nil {
			t.Fatalf("seed %d: %d bytes are counted, %d of replies, %d chunks, %d in the buffer",
				seed, out.size, out.replies, len(out.sealed), cap(out.buf))
		}
		p.Hangup(nil)
	}
}

// TestOutboxRoom: the bound holds, except for one message if nothing else
// waits; who was refused is told once, when half of it is free.
func TestOutboxRoom(t *testing.T) {
	const bound = 10_000
	b := newBox(t, func(o *boxOptions) { o.OutboxSize = bound })
	p, h := b.pipe()
	p.Limit(1)
	deliver := func(n int) (ok bool) {
		b.turn(func(t *core.Turn) { ok = h.deliver(t, pattern(n), false) })
		return ok
	}
	if !deliver(5*bound) || deliver(1) {
		t.Fatal("one message may exceed the bound if the outbox is empty, and nothing more may come then")
	}
	var got []byte
	take := func(n int) {
		for range n {
			got = append(got, p.Receive()...)
		}
	}
	p.Limit(1000)
	for len(got) < 44_000 {
		take(1)
		if h.drained.Load() != 0 && 5*bound-len(got)-1000 > bound/2 {
			t.Fatalf("told of room when %d were taken of %d", len(got), 5*bound)
		}
	}
	wait(t, "Drained", func() bool { return h.drained.Load() == 1 })
	p.Limit(0)
	take(1)
	if len(got) != 5*bound {
		t.Fatalf("got %d bytes, want %d", len(got), 5*bound)
	}

	p.Limit(1)
	if !deliver(1 + bound) {
		t.Fatal("no room in an empty outbox")
	}
	if deliver(1) { // a byte has gone, so the bound is reached exactly
		t.Fatal("the bound is exceeded")
	}
	p.Limit(0)
	take(1)
	if n := h.drained.Load(); n != 2 {
		t.Fatalf("Drained was called %d times, want 2", n)
	}
	p.Limit(1)
	deliver(1)
	if !deliver(bound) || deliver(1) {
		t.Fatal("there is room for exactly the bound")
	}
	p.Limit(0)
	take(1)
	// Nobody was refused: nobody is told.
	p.Limit(1)
	deliver(100)
	before := h.drained.Load()
	p.Limit(0)
	take(1)
	if n := h.drained.Load(); n != before {
		t.Error("Drained without a refusal")
	}
}

// TestOutboxDrained: whoever delivers when told that there is room loses
// nothing, however slow the client is.
func TestOutboxDrained(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.OutboxSize = 64 << 10 })
		c, h := b.dial(b.listen())
		const size = 12 << 20 // more than sockets hold
		var mu sync.Mutex     // Drained may come while the first is at it
		sent := 0
		pump := func(t *core.Turn) {
			mu.Lock()
			defer mu.Unlock()
			for sent < size && h.deliver(t, pattern(size)[sent:sent+4096], sent%8192 == 0) {
				sent += 4096
			}
		}
		h.onDrained = pump
		b.turn(pump)
		got, err := io.ReadAll(io.LimitReader(c, size))
		if err != nil || !bytes.Equal(got, pattern(size)) {
			t.Fatalf("got %d bytes of %d, %v", len(got), size, err)
		}
		if h.drained.Load() == 0 {
			t.Error("it was never full: this has tested nothing")
		}
	})
}

// TestOutboxReference: large payloads that never change are not copied.
func TestOutboxReference(t *testing.T) {
	b := newBox(t)
	p, h := b.pipe()
	p.Limit(1)
	out := h.conn.Out()
	b.turn(func(t *core.Turn) { h.deliver(t, []byte("ab"), false) }) // the pipe is full
	large, less := bytes.Repeat([]byte("l"), byReference), bytes.Repeat([]byte("s"), byReference-1)
	tn := b.bus.NewTurn()
	out.Lock()
	before := len(out.sealed)
	out.AppendRef(tn, large)
	last := out.sealed[len(out.sealed)-1]
	if len(out.sealed) != before+1 || &last.b[0] != &large[0] || last.pooled {
		t.Error("the large payload was copied")
	}
	out.AppendRef(tn, less)
	if len(out.buf) != len(less) || &out.buf[0] == &less[0] {
		t.Error("the small payload was not copied")
	}
	out.Unlock()
	tn.End()
	p.Limit(0)
	if got, want := p.Receive(), "ab"+string(large)+string(less); string(got) != want {
		t.Errorf("got %d bytes, want %d", len(got), len(want))
	}
}

// TestOutboxConcurrent: many turns append to one outbox; the bytes of each
// arrive whole, and in their order.
func TestOutboxConcurrent(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.OutboxSize = 1 << 30 })
		c, h := b.dial(b.listen())
		const writers, messages = 8, 600
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := 0; i < messages; {
					tn := b.bus.NewTurn()
					for range 1 + i%7 {
						m := make([]byte, 8, 8+i*37%20_000)
						binary.BigEndian.PutUint32(m, uint32(w))
						binary.BigEndian.PutUint32(m[4:], uint32(cap(m)-8))
						m = append(m, pattern(cap(m)-8)...)
						switch i % 3 {
						case 0:
							h.conn.Out().AppendReply(tn, m)
						default:
							h.deliver(tn, m, i%3 == 1)
						}
						i++
					}
					tn.End()
				}
			})
		}
		var counts [writers]int
		head := make([]byte, 8)
		for range writers * messages {
			if _, err := io.ReadFull(c, head); err != nil {
				t.Fatal(err)
			}
			w, n := binary.BigEndian.Uint32(head), binary.BigEndian.Uint32(head[4:])
			if w >= writers || int(n) != cap(make([]byte, 0, counts[w]*37%20_000)) {
				t.Fatalf("a message of writer %d with %d bytes at %d", w, n, counts[w%writers])
			}
			c.want(string(pattern(int(n))))
			counts[w]++
		}
		wg.Wait()
	})
}

// stalled is a socket whose write does not come back before it is told to.
type stalled struct {
	entered, goOn chan struct{}
	released      chan struct{}
}

func (s *stalled) write(bufs [][]byte) (n int, err error) {
	s.entered <- struct{}{}
	<-s.goOn
	for _, b := range bufs {
		n += len(b)
	}
	return n, nil
}
func (s *stalled) finish()  {}
func (s *stalled) release() { close(s.released) }

// TestOutboxRelease: a descriptor that somebody writes to is released by the
// writer, when it has come back.
func TestOutboxRelease(t *testing.T) {
	b := newBox(t)
	_, h := b.pipe()
	s := &stalled{make(chan struct{}), make(chan struct{}), make(chan struct{})}
	out := &Outbox{conn: h.conn, sock: s}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.turn(func(t *core.Turn) { out.AppendReply(t, []byte("x")) })
	}()
	<-s.entered
	out.close()
	out.close()
	select {
	case <-s.released:
		t.Fatal("released under a write")
	default:
	}
	b.turn(func(t *core.Turn) { out.AppendReply(t, []byte("too late")) })
	s.goOn <- struct{}{}
	<-done
	<-s.released // a second time would have panicked
}

// broken is a socket whose peer has reset the connection.
type broken struct{ released int }

func (*broken) write([][]byte) (int, error) { return 0, errBad }
func (*broken) finish()                     {}
func (s *broken) release()                  { s.released++ }

// TestOutboxBroken: a write of the last replies that fails does not release the
// descriptor. The loop has it still, and would read from whoever gets it next.
func TestOutboxBroken(t *testing.T) {
	b := newBox(t)
	_, h := b.pipe()
	s := &broken{}
	out := &Outbox{conn: h.conn, sock: s}
	b.turn(func(t *core.Turn) {
		out.AppendReply(t, []byte("goodbye"))
		out.finish(t)
	})
	if !out.dead || s.released != 0 {
		t.Errorf("released %d times before it is closed", s.released)
	}
	out.close()
	out.close()
	if s.released != 1 {
		t.Errorf("released %d times", s.released)
	}
}

// TestOutboxUnread: replies that were taken do not count, even if the outbox
// is never empty.
func TestOutboxUnread(t *testing.T) {
	const bound = 10_000
	b := newBox(t, func(o *boxOptions) { o.OutboxSize = bound })
	p, h := b.pipe()
	p.Send(frame('l', number(0)))
	p.Receive()
	p.Limit(4000)
	p.Send(frame('n', number(4000)))
	p.Send(frame('n', number(4000))) // one is in the pipe, and one waits from now on
	for i := range 20 {
		p.Send(frame('n', number(4000)))
		if h.paused() {
			t.Fatalf("it is not read after %d replies, with %d bytes waiting", i+3, h.conn.Out().size)
		}
		p.Receive()
	}
	// Who takes nothing is not read.
	for range 3 {
		p.Send(frame('n', number(4000)))
	}
	if !h.paused() {
		t.Fatal("it is read on, with more than the bound waiting")
	}
	feeds := h.feeds.Load()
	p.Send(frame('e', "last"))
	if h.feeds.Load() != feeds {
		t.Fatal("it was fed")
	}
	var got []byte
	wait(t, "the last reply", func() bool {
		got = append(got, p.Receive()...)
		return bytes.HasSuffix(got, []byte("last"))
	})
}
