package core

import (
	"sync"
	"sync/atomic"
)

// A Gate keeps the replies of one connection in order and holds them back
// until the state they promise is on disk. The replies of one Feed are one
// segment; segments leave in order: one with durable records when its commit
// is done, one without as soon as no earlier segment is open.
//
// Begin and EndFeed are called by the goroutine that feeds the connection;
// commits release segments from others.
type Gate struct {
	out  ReplyWriter
	lane uint64 // which worker releases

	mu struct {
		sync.Mutex
		segs []*segment // open segments, oldest first
		wake func()     // called once when held falls to the mark
		held int32      // bytes of open segments: see EndFeed
		mark int32
	}
}

// ReplyWriter is where replies go, as a rule the outbox of the connection.
type ReplyWriter interface {
	// AppendReply appends encoded replies. They may exceed the bound of the
	// outbox by what one turn can produce.
	AppendReply(t *Turn, b []byte)
}

type segment struct {
	gate   *Gate
	buf    []byte
	afters []func(*Turn)
	marks  []mark
	opened int64 // unix milliseconds
	began  int64 // when the turn began that waits for the disk, 0: it does not wait
	cost   int32
	done   bool
}

var segments = sync.Pool{New: func() any { return new(segment) }}

// Init must be called once before use. lane spreads connections over workers.
func (g *Gate) Init(out ReplyWriter, lane uint64) { g.out, g.lane = out, lane }

// Begin starts a segment: until EndFeed, Turn.Reply adds to it.
func (g *Gate) Begin(t *Turn) { t.promisesBefore = t.promises }

// Reply appends to the replies of the connection being fed.
func (t *Turn) Reply(b ...byte) { t.replies = append(t.replies, b...) }

// Replies gives access to the reply buffer, for encoders that append.
func (t *Turn) Replies() *[]byte { return &t.replies }

// After runs f when the replies of the present segment have left the gate, in
// order with them: what they promise is on disk then.
func (t *Turn) After(f func(*Turn)) { t.afters = append(t.afters, f) }

// A mark is what is to be seen of replies that have left.
type mark struct {
	at *atomic.Uint64
	n  uint64
}

// Mark sets at to n when the replies of the present segment have left the gate, in
// order with them. It is After for who only counts: nothing is allocated for it, and
// no function runs.
func (t *Turn) Mark(at *atomic.Uint64, n uint64) { t.marks = append(t.marks, mark{at, n}) }

// EndFeed closes the segment. consumed is the number of bytes that the client
// sent for it. While the segment is open they count as held if it has records, or
// the replies do, if they are more.
func (g *Gate) EndFeed(t *Turn, consumed int) {
	durable := t.promises != t.promisesBefore || len(t.waitFor) > 0
	if !durable && len(t.replies) == 0 && len(t.afters) == 0 && len(t.marks) == 0 {
		return
	}
	g.mu.Lock()
	if !durable && len(g.mu.segs) == 0 {
		if len(t.replies) > 0 {
			g.out.AppendReply(t, t.replies)
			t.replies = t.replies[:0]
		}
		setMarks(t.marks)
		t.marks = t.marks[:0]
		g.mu.Unlock()
		t.runAfters()
		return
	}
	s := segments.Get().(*segment)
	s.gate, s.done, s.opened = g, !durable, t.Now
	s.buf = append(s.buf[:0], t.replies...)
	s.afters = append(s.afters[:0], t.afters...)
	s.marks = append(s.marks[:0], t.marks...)
	t.replies = t.replies[:0]
	clear(t.afters)
	t.afters = t.afters[:0]
	clear(t.marks)
	t.marks = t.marks[:0]
	s.cost = int32(len(s.buf)) // as a rule less than what the client has sent
	if durable {
		s.cost, s.began = max(s.cost, int32(consumed)), t.began
		t.segs = append(t.segs, s)
	}
	g.mu.held += s.cost
	g.mu.segs = append(g.mu.segs, s)
	g.mu.Unlock()
}

// setMarks sets marks, and forgets whose they are.
func setMarks(marks []mark) {
	for i, m := range marks {
		m.at.Store(m.n)
		marks[i] = mark{}
	}
}

func (t *Turn) runAfters() {
	for i := 0; i < len(t.afters); i++ {
		f := t.afters[i]
		t.afters[i] = nil
		f(t)
	}
	t.afters = t.afters[:0]
}

// Held returns the bytes that count as held.
func (g *Gate) Held() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.mu.held)
}

// Stalled says that the oldest replies wait for the disk for more than a
// second. What tells the client that the connection lives need not wait behind
// them.
func (g *Gate) Stalled(t *Turn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.mu.segs) > 0 && t.Now-g.mu.segs[0].opened > 1000
}

// WhenBelow has wake called once when no more than mark bytes are held. It
// returns false, and does not call, when that is so already.
func (g *Gate) WhenBelow(mark int, wake func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if int(g.mu.held) <= mark {
		return false
	}
	g.mu.mark, g.mu.wake = int32(mark), wake
	return true
}

// release marks a segment as done and lets go of all that are done at the
// front. It runs on a worker.
func (g *Gate) release(t *Turn, s *segment) {
	g.mu.Lock()
	s.done = true
	var wake func()
	n := 0
	for n < len(g.mu.segs) && g.mu.segs[n].done {
		f := g.mu.segs[n]
		if f.began != 0 {
			t.Stats.confirms.note(t.began - f.began)
		}
		if len(f.buf) > 0 {
			g.out.AppendReply(t, f.buf)
		}
		setMarks(f.marks)
		t.afters = append(t.afters, f.afters...)
		g.mu.held -= f.cost
		f.recycle()
		g.mu.segs[n] = nil
		n++
	}
	g.mu.segs = append(g.mu.segs[:0], g.mu.segs[n:]...)
	if g.mu.wake != nil && g.mu.held <= g.mu.mark {
		wake, g.mu.wake = g.mu.wake, nil
	}
	g.mu.Unlock()
	if wake != nil {
		wake()
	}
	t.runAfters()
}

func (s *segment) recycle() {
	if cap(s.buf) > 1<<16 {
		s.buf = nil
	}
	clear(s.afters)
	s.gate, s.cost, s.began, s.done, s.buf, s.afters, s.marks = nil, 0, 0, false, s.buf[:0], s.afters[:0], s.marks[:0]
	segments.Put(s)
}
