package transport

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/narumq/naru/core"
)

// inBubble runs a test in which time passes only when everybody waits.
func inBubble(t *testing.T, f func(t *testing.T, b *box), change ...func(*boxOptions)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, change...)
		f(t, b)
		b.close()
	})
}

// TestMaxConnections: whoever is too many is closed without a word, until
// somebody has gone.
func TestMaxConnections(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver, func(o *boxOptions) { o.MaxConnections = 2; o.Loops = 2 })
		addr := b.listen()
		first, _ := b.dial(addr)
		second, h := b.dial(addr)
		for range 10 {
			c := dial(t, addr)
			if got, err := io.ReadAll(c); len(got) > 0 || err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatalf("one too many got %q, %v", got, err)
			}
			c.Close()
		}
		for _, c := range []*client{first, second} {
			c.send(frame('e', "still here"))
			c.want("still here")
		}
		if n := b.srv.Open(); n != 2 || len(b.probes) != 0 {
			t.Errorf("%d connections, %d handlers too many", n, len(b.probes))
		}
		second.Close()
		h.ended(io.EOF)
		wait(t, "it is let go", func() bool { return b.srv.Open() == 1 })
		c, _ := b.dial(addr)
		c.send(frame('e', "room for me"))
		c.want("room for me")
	})
}

// TestMaxConnectionsLog: those turned away are told of together, with the limit.
func TestMaxConnectionsLog(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		time.Sleep(time.Second) // virtual: past the first look
		b.pipe()
		for range 50 {
			if b.srv.NewPipe(b.handler) != nil {
				t.Fatal("one too many")
			}
		}
		time.Sleep(time.Minute) // virtual
		if b.log.count("max_connections") != 1 || b.log.count("count=50 max_connections=1") != 1 {
			t.Errorf("the log says:\n%s", b.log)
		}
	}, func(o *boxOptions) { o.MaxConnections = 1; o.AuthTimeout = time.Hour })
}

// TestAuthBytes: the first packet is bounded by what it announces and by what has
// come; after login it is not.
func TestAuthBytes(t *testing.T) {
	const limit = 1000
	b := newBox(t, func(o *boxOptions) { o.AuthBytes = limit })
	for _, s := range []struct {
		name  string
		mute  bool
		send  [][]byte
		large bool
	}{
		{"as long as allowed", false, [][]byte{frame('e', string(pattern(limit-4)))}, false},
		{"in pieces", false, [][]byte{frame('e', string(pattern(limit-4)))[:500], frame('e', string(pattern(limit-4)))[500:]}, false},
		{"announces too much", false, [][]byte{frame('e', string(pattern(limit-3)))[:10]}, true},
		{"announces nothing and sends too much", true, [][]byte{frame('e', string(pattern(2*limit)))[:limit], {1}}, true},
		{"announces nothing", true, [][]byte{frame('e', string(pattern(limit-4)))[:limit-1], pattern(limit - 4)[limit-5:]}, false},
		{"many small ones", false, [][]byte{bytes.Repeat(frame('s', "small"), limit)}, false},
		{"a small one that must wait, and more behind it", false,
			[][]byte{append(frame('w', "login"), bytes.Repeat(frame('s', "small"), limit)...)}, false},
		{"after login", false, [][]byte{frame('l', number(0)), frame('e', string(pattern(10*limit)))}, false},
	} {
		p, h := b.pipe()
		h.mute = s.mute
		for _, data := range s.send {
			p.Send(data)
		}
		if h.waits.Load() > 0 || h.paused() {
			b.pass <- struct{}{}
			wait(t, "it goes on", func() bool { return !h.paused() })
		}
		switch {
		case s.large:
			h.ended(core.ErrTooLarge)
		case len(h.closed) > 0:
			t.Errorf("%s: ended with %v", s.name, <-h.closed)
		default:
			p.Hangup(nil)
		}
	}
}

// TestAuthTimeout: who does not log in is ended in time, whatever it sends or
// waits for meanwhile; who does is not.
func TestAuthTimeout(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		p, h := b.pipe()
		_, silent := b.pipe()
		waiting, w := b.pipe()
		waiting.Send(frame('w', "a back end that does not answer"))
		in, logged := b.pipe()
		in.Send(frame('l', number(0)))
		for range 99 {
			time.Sleep(100 * time.Millisecond) // virtual
			p.Send(frame('e', "x"))
		}
		synctest.Wait()
		if len(h.closed)+len(silent.closed)+len(w.closed) > 0 {
			t.Error("ended before 10s")
		}
		time.Sleep(400 * time.Millisecond) // virtual
		synctest.Wait()
		for _, h := range []*probe{h, silent, w} {
			if len(h.closed) != 1 {
				t.Fatal("not ended after 10.3s")
			}
			h.ended(core.ErrKeepAlive)
		}
		if w.stopped.Load() != 1 {
			t.Error("the Wait goes on")
		}
		time.Sleep(time.Hour) // virtual
		if len(logged.closed) != 0 {
			t.Errorf("logged in, and ended with %v", <-logged.closed)
		}
	}, func(o *boxOptions) { o.AuthTimeout = 10 * time.Second })
}

// TestAuthTimeoutSocket is the same with sockets.
func TestAuthTimeoutSocket(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		in, h := b.dial(addr)
		in.send(frame('l', number(0)))
		in.want(number(0))
		cfg := b.srv.cfg
		cfg.AuthTimeout = 300 * time.Millisecond // too little for a login on a busy machine
		b.srv.Configure(cfg)
		out, h2 := b.dial(addr)
		h2.ended(core.ErrKeepAlive)
		out.wantEOF()
		in.send(frame('e', "still here"))
		in.want("still here")
		if len(h.closed) != 0 {
			t.Errorf("logged in, and ended with %v", <-h.closed)
		}
	})
}

// TestSilence: the longest pause between reads is kept to the tick of the wheel.
func TestSilence(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		p, h := b.pipe()
		p.Send(frame('l', number(3000)))
		for range 50 {
			time.Sleep(2900 * time.Millisecond) // virtual
			p.Send(frame('e', "x")[:1+len(h.lengths)%5])
			p.Send(frame('e', "x")[1+(len(h.lengths)-1)%5:])
		}
		synctest.Wait()
		if len(h.closed) != 0 {
			t.Fatalf("ended with %v", <-h.closed)
		}
		time.Sleep(2900 * time.Millisecond) // virtual
		synctest.Wait()
		if len(h.closed) != 0 {
			t.Fatalf("ended with %v after 2.9s", <-h.closed)
		}
		time.Sleep(400 * time.Millisecond) // virtual
		synctest.Wait()
		if len(h.closed) != 1 {
			t.Fatal("not ended after 3.3s of silence")
		}
		h.ended(core.ErrKeepAlive)
		// It is no concern of the transport to log: the handler does, once.
		if s := b.log.String(); s != "" {
			t.Errorf("logged: %s", s)
		}
	})
}

// TestSilenceWhileWaiting: who is not read cannot be blamed for silence.
func TestSilenceWhileWaiting(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		p, h := b.pipe()
		p.Send(frame('l', number(3000)))
		p.Send(frame('w', "x"))
		time.Sleep(time.Minute) // virtual
		synctest.Wait()
		if len(h.closed) != 0 {
			t.Fatalf("ended with %v while it waited", <-h.closed)
		}
		b.pass <- struct{}{}
		time.Sleep(2800 * time.Millisecond) // virtual: its time begins anew
		synctest.Wait()
		if len(h.closed) != 0 {
			t.Fatalf("ended with %v after the Wait", <-h.closed)
		}
		time.Sleep(500 * time.Millisecond) // virtual
		synctest.Wait()
		h.ended(core.ErrKeepAlive)
	})
}

// TestQuiet: a connection that says nothing is told to give memory back, one
// that does is not.
func TestQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T, b *box) {
		quiet, q := b.pipe()
		quiet.Send(frame('l', number(0)))
		busy, h := b.pipe()
		busy.Send(frame('l', number(0)))
		for range 10 {
			time.Sleep(quietTime / 2) // virtual
			busy.Send(frame('e', "x"))
		}
		synctest.Wait()
		if q.quiets.Load() == 0 {
			t.Error("nothing was read for five minutes, and Quiet was not called")
		}
		if n := h.quiets.Load(); n != 0 {
			t.Errorf("Quiet was called %d times for a busy connection", n)
		}
		if len(q.closed)+len(h.closed) != 0 {
			t.Error("a silence of any length was allowed")
		}
	})
}

// TestSilenceSocket: keep-alive with sockets, where each loop has its wheel.
func TestSilenceSocket(t *testing.T) {
	drivers(t, func(t *testing.T, driver func(*boxOptions)) {
		b := newBox(t, driver)
		addr := b.listen()
		c, h := b.dial(addr)
		c.send(frame('l', number(200)))
		c.want(number(200))
		h.ended(core.ErrKeepAlive)
		c.wantEOF()
	})
}
