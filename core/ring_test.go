package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// ringModel is a ring as a plain list: live entries, and the holes that are
// not closed yet.
type ringModel struct {
	ring
	list []entry
	next uint64
	cut  bool // truncated since it was empty: only pop gives memory back
}

func (m *ringModel) check() error {
	if m.n != len(m.list) {
		return fmt.Errorf("%d entries, want %d", m.n, len(m.list))
	}
	gone := 0
	for i, want := range m.list {
		got := m.at(i)
		if got.ord != want.ord || got.state != want.state || got.msg != want.msg || got.size != want.size {
			return fmt.Errorf("entry %d is %+v, want %+v", i, *got, want)
		}
		if want.state == entryGone {
			gone++
		}
	}
	switch {
	case m.gone != gone:
		return fmt.Errorf("%d holes, want %d", m.gone, gone)
	case m.n == 0 && (m.buf != nil || m.box != nil):
		return fmt.Errorf("an empty ring has a buffer of %d", len(m.buf))
	case len(m.buf)&(len(m.buf)-1) != 0:
		return fmt.Errorf("the buffer has %d places", len(m.buf))
	case !m.cut && len(m.buf) >= 4096 && m.n < len(m.buf)/(4*ringStep):
		return fmt.Errorf("%d entries in a buffer of %d", m.n, len(m.buf))
	}
	for i := m.n; i < len(m.buf); i++ {
		if *m.at(i) != (entry{}) {
			return fmt.Errorf("place %d behind the last holds %+v", i, *m.at(i))
		}
	}
	return nil
}

func (m *ringModel) push(gap uint64) {
	m.next += 1 + gap
	e := entry{ord: m.next, size: uint32(m.next * 3), msg: &Message{}}
	if got := m.ring.push(e); got.ord != e.ord {
		panic("push returned another entry")
	}
	m.list = append(m.list, e)
}

func (m *ringModel) pop() {
	m.ring.pop()
	m.list = m.list[1:]
}

func (m *ringModel) truncate(n int) {
	m.ring.truncate(n)
	m.list = m.list[:n]
	m.cut = n > 0
}

// settle makes a hole as a settle does, and closes holes as the ring does.
func (m *ringModel) settle(i int) {
	if m.list[i].state == entryGone {
		return
	}
	m.markGone(m.at(i))
	m.list[i].state, m.list[i].msg = entryGone, nil
	for len(m.list) > 0 && m.list[0].state == entryGone {
		m.list = m.list[1:]
	}
	gone := 0
	for _, e := range m.list {
		if e.state == entryGone {
			gone++
		}
	}
	if gone > 64 && gone > len(m.list)/2 {
		var live []entry
		for _, e := range m.list {
			if e.state != entryGone {
				live = append(live, e)
			}
		}
		m.list = live
	}
}

// find compares index and find for one ordinal.
func (m *ringModel) lookup(ord uint64) error {
	want := 0
	for want < len(m.list) && m.list[want].ord < ord {
		want++
	}
	if got := m.index(ord); got != want {
		return fmt.Errorf("index of %d is %d, want %d", ord, got, want)
	}
	there := want < len(m.list) && m.list[want].ord == ord
	if e := m.ring.find(ord); (e != nil) != there || there && e != m.at(want) {
		return fmt.Errorf("find of %d gives %+v, there: %v", ord, e, there)
	}
	return nil
}

func TestRing(t *testing.T) {
	type step func(m *ringModel)
	push := func(n int, gap uint64) step {
		return func(m *ringModel) {
			for range n {
				m.push(gap)
			}
		}
	}
	pop := func(n int) step {
		return func(m *ringModel) {
			for range n {
				m.pop()
			}
		}
	}
	settle := func(at ...int) step {
		return func(m *ringModel) {
			for _, i := range at {
				m.settle(i)
			}
		}
	}
	truncate := func(n int) step { return func(m *ringModel) { m.truncate(n) } }
	for _, c := range []struct {
		name  string
		steps []step
		n     int
		buf   int
	}{
		{"nothing", nil, 0, 0},
		{"one", []step{push(1, 0)}, 1, 16},
		{"full", []step{push(16, 0)}, 16, 16},
		{"grown", []step{push(17, 0)}, 17, 64},
		{"grown around the end", []step{push(16, 0), pop(10), push(11, 0)}, 17, 64},
		{"beyond the pools", []step{push(1025, 0)}, 1025, 4096},
		{"shrunk", []step{push(1025, 0), pop(600)}, 425, 1024},
		{"emptied by pop", []step{push(100, 0), pop(100)}, 0, 0},
		{"emptied by settles", []step{push(3, 0), settle(1, 2, 0)}, 0, 0},
		{"hole in the middle", []step{push(5, 0), settle(2)}, 5, 16},
		{"holes at the front go", []step{push(5, 0), settle(1, 2, 0)}, 2, 16},
		{"truncated", []step{push(40, 0), truncate(7), push(1, 0)}, 8, 64},
		{"truncated holes", []step{push(9, 0), settle(3, 7), truncate(5)}, 5, 16},
		{"truncated to nothing", []step{push(40, 0), truncate(0)}, 0, 0},
		{"compacted", []step{push(200, 0), func(m *ringModel) {
			for i := 1; i <= 101; i++ {
				m.settle(i)
			}
		}}, 99, 256},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := &ringModel{}
			for _, s := range c.steps {
				s(m)
			}
			if err := m.check(); err != nil {
				t.Fatal(err)
			}
			if m.n != c.n || len(m.buf) != c.buf {
				t.Errorf("%d entries in a buffer of %d, want %d in %d", m.n, len(m.buf), c.n, c.buf)
			}
		})
	}
}

func TestRingIndex(t *testing.T) {
	for _, gap := range []uint64{0, 1, 7} {
		m := &ringModel{next: 100}
		for i := range 70 {
			m.push(gap * uint64(i%3))
		}
		for ord := range m.next + 5 {
			if err := m.lookup(ord); err != nil {
				t.Fatalf("gap %d: %v", gap, err)
			}
		}
		if err := m.lookup(1 << 63); err != nil {
			t.Error(err)
		}
	}
}

func TestRingModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		m := &ringModel{}
		grow := true
		for range 2000 {
			switch k := r.IntN(100); {
			case k < 3:
				grow = !grow
			case k < 60 && grow, k < 20:
				for range 1 + r.IntN(1+int(seed)*5) {
					m.push(uint64(max(0, r.IntN(12)-9)))
				}
			case k < 70 && m.n > 0:
				for range min(m.n, 1+r.IntN(1+int(seed)*5)) {
					m.pop()
				}
			case k < 95 && m.n > 0:
				for range 1 + r.IntN(40) {
					if m.n > 0 {
						m.settle(r.IntN(m.n))
					}
				}
			case k < 97 && m.n > 0 && !grow:
				m.truncate(r.IntN(m.n + 1))
			}
			if err := m.check(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if m.n > 0 {
				if err := m.lookup(m.list[0].ord + uint64(r.IntN(2*m.n+2))); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		}
	}
}

func TestOrdHeap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var h ordHeap
		count := make(map[uint64]int)
		for range 1 + r.IntN(60) {
			v := uint64(r.IntN(50))
			h.push(v)
			count[v]++
			if r.IntN(3) == 0 {
				count[h[0]]--
				h.pop()
			}
		}
		last := uint64(0)
		for len(h) > 0 {
			if h[0] < last {
				t.Fatalf("%d after %d", h[0], last)
			}
			last = h[0]
			count[last]--
			h.pop()
		}
		if h != nil {
			t.Fatal("an empty heap keeps its memory")
		}
		for v, n := range count {
			if n != 0 {
				t.Fatalf("%d is there %d times too often", v, -n)
			}
		}
	}
}
