package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// gated is a connection of which only the gate matters.
type gated struct {
	x    *box
	gate Gate
	out  replies
}

func (x *box) newGated(lane uint64) *gated {
	g := &gated{x: x}
	g.gate.Init(&g.out, lane)
	return g
}

// in feeds: reply is what the client is told, on says in which shards it has
// something to wait for.
func (g *gated) in(t *Turn, reply string, size int, on ...int) {
	g.gate.Begin(t)
	for _, s := range on {
		t.promise(t.bus.shards[s]).batch.Set([]byte("x"+reply), []byte("v"))
	}
	t.Reply([]byte(reply)...)
	g.gate.EndFeed(t, size)
}

func (g *gated) turn(reply string, size int, on ...int) {
	g.x.turn(func(t *Turn) { g.in(t, reply, size, on...) })
}

func fourShards(t *testing.T) *box {
	var s []*testShard
	for range 4 {
		s = append(s, newTestShard())
	}
	return openBox(t, s)
}

// TestGateOrder: replies leave in the order of the turns, whichever shard is
// done first.
func TestGateOrder(t *testing.T) {
	x := fourShards(t)
	g := x.newGated(1)
	g.turn("a", 1)
	if got := g.out.String(); got != "a" {
		t.Fatalf("with nothing to wait for: %q", got)
	}
	x.hold(true)
	g.turn("b", 10, 0)
	g.turn("c", 10) // needs no disk, and waits behind b
	g.turn("d", 10, 1, 2)
	g.turn("e", 10, 3)
	g.turn("f", 10)
	for _, st := range []struct {
		release int
		want    string
	}{{3, "a"}, {1, "a"}, {0, "abc"}, {2, "abcdef"}} {
		x.shards[st.release].hold(false)
		x.syncOf(st.release)
		x.workersIdle()
		if got := g.out.String(); got != st.want {
			t.Fatalf("shard %d is done: %q, want %q", st.release, got, st.want)
		}
	}
	if n := g.gate.Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
	g.turn("g", 1)
	if got := g.out.String(); got != "abcdefg" {
		t.Errorf("afterwards: %q", got)
	}
}

// syncOf waits for what has been committed to one shard.
func (x *box) syncOf(i int) {
	done := make(chan struct{})
	x.shards[i].Commit(x.shards[i].NewBatch(), func(error) { close(done) })
	<-done
}

// TestGatesOfOneTurn: connections that are fed in one turn do not wait for each
// other's records unless they share the batch.
func TestGatesOfOneTurn(t *testing.T) {
	x := newBox(t)
	durable, other := x.newGated(1), x.newGated(2)
	x.hold(true)
	x.turn(func(t *Turn) {
		other.in(t, "1", 1)
		durable.in(t, "a", 1, 0)
		other.in(t, "2", 1)
		durable.in(t, "b", 1)
	})
	x.workersIdle()
	if a, b := durable.out.String(), other.out.String(); a != "" || b != "12" {
		t.Errorf("before the commit: %q and %q", a, b)
	}
	x.hold(false)
	x.settle()
	if a := durable.out.String(); a != "ab" {
		t.Errorf("after the commit: %q", a)
	}
}

// TestGateModel feeds some connections at random, in turns that share commits,
// over four shards that finish at random. Each must see its replies in order,
// and none before its own commit.
func TestGateModel(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		x := fourShards(t)
		var conns []*gated
		for i := range 5 {
			conns = append(conns, x.newGated(uint64(i)))
		}
		// commits in each shard before a reply may leave
		type need struct{ conn, upTo, shard, commits int }
		var needs []need
		handed := make([]int, 4)
		want := make([]string, len(conns))
		before := x.done()
		x.hold(true)
		for n := range 60 {
			var fed []need
			used := map[int]bool{}
			x.turn(func(tn *Turn) {
				for range 1 + rnd.IntN(3) {
					c := rnd.IntN(len(conns))
					reply := fmt.Sprintf("%d.%d ", n, c)
					var on []int
					if rnd.IntN(3) > 0 {
						on = rnd.Perm(4)[:1+rnd.IntN(2)]
					}
					want[c] += reply
					for _, s := range on {
						used[s] = true
						fed = append(fed, need{c, len(want[c]), s, 0})
					}
					conns[c].in(tn, reply, 1, on...)
				}
			})
			for s := range used {
				handed[s]++
			}
			for _, f := range fed {
				f.commits = handed[f.shard]
				needs = append(needs, f)
			}
			if rnd.IntN(4) == 0 {
				s := rnd.IntN(4)
				x.shards[s].hold(false)
				x.syncOf(s)
				x.shards[s].hold(true)
				handed[s]++ // the one of syncOf
				x.workersIdle()
			}
			done := x.done()
			for c, g := range conns {
				got := g.out.String()
				if !strings.HasPrefix(want[c], got) {
					t.Fatalf("seed %d: connection %d got %q of %q", seed, c, got, want[c])
				}
				for _, nd := range needs {
					if nd.conn == c && len(got) >= nd.upTo && done[nd.shard]-before[nd.shard] < nd.commits {
						t.Fatalf("seed %d: connection %d got %q before shard %d had it", seed, c, got, nd.shard)
					}
				}
			}
		}
		x.hold(false)
		x.settle()
		for c, g := range conns {
			if got := g.out.String(); got != want[c] || g.gate.Held() != 0 {
				t.Fatalf("seed %d: connection %d got %q of %q, %d held", seed, c, got, want[c], g.gate.Held())
			}
		}
	}
}

// done is the number of commits that each shard has done.
func (x *box) done() []int {
	var n []int
	for _, s := range x.shards {
		s.mu.Lock()
		n = append(n, s.commits)
		s.mu.Unlock()
	}
	return n
}

// TestGateAfter: what runs after the replies runs in their order, once, and
// with no lock held.
func TestGateAfter(t *testing.T) {
	x := newBox(t)
	g := x.newGated(1)
	var mu sync.Mutex
	var ran []string
	feed := func(name string, on ...int) {
		x.turn(func(t *Turn) {
			g.gate.Begin(t)
			for _, s := range on {
				t.promise(t.bus.shards[s]).batch.Set([]byte(name), nil)
			}
			t.Reply([]byte(name)...)
			t.After(func(*Turn) {
				g.gate.Held() // would not come back under the lock
				mu.Lock()
				defer mu.Unlock()
				ran = append(ran, name+" after "+g.out.String())
			})
			g.gate.EndFeed(t, 1)
		})
	}
	feed("a")
	x.hold(true)
	feed("b", 0)
	feed("c")
	x.hold(false)
	x.settle()
	mu.Lock()
	defer mu.Unlock()
	if want := []string{"a after a", "b after abc", "c after abc"}; !slices.Equal(ran, want) {
		t.Errorf("ran %q, want %q", ran, want)
	}
}

// TestGateMarks: a counter says which replies have left, also when what would leave
// later alone waits for nothing.
func TestGateMarks(t *testing.T) {
	x := fourShards(t)
	g := x.newGated(1)
	var a, b atomic.Uint64
	feed := func(at *atomic.Uint64, n uint64, on ...int) {
		x.turn(func(t *Turn) {
			g.gate.Begin(t)
			for _, s := range on {
				t.promise(t.bus.shards[s]).batch.Set([]byte("x"), nil)
			}
			t.Reply('r')
			t.Mark(at, n)
			g.gate.EndFeed(t, 1)
		})
	}
	want := func(when string, wantA, wantB uint64) {
		t.Helper()
		if a.Load() != wantA || b.Load() != wantB {
			t.Errorf("%s: %d and %d, want %d and %d", when, a.Load(), b.Load(), wantA, wantB)
		}
	}
	feed(&a, 1)
	want("with nothing to wait for", 1, 0)
	x.hold(true)
	feed(&a, 2, 0)
	feed(&b, 1)
	feed(&a, 3, 1)
	feed(&b, 2, 2)
	want("held", 1, 0)
	for _, st := range []struct {
		release    int
		when       string
		nowA, nowB uint64
	}{{2, "the last one is done", 1, 0}, {0, "the first as well", 2, 1}, {1, "all are", 3, 2}} {
		x.shards[st.release].hold(false)
		x.syncOf(st.release)
		x.workersIdle()
		want(st.when, st.nowA, st.nowB)
	}
	x.turn(func(t *Turn) { // a turn that has been used is used again
		g.gate.Begin(t)
		a.Store(9)
		t.Reply('r')
		g.gate.EndFeed(t, 1)
	})
	want("afterwards", 9, 2)
}

// TestGateBound: the bytes of open segments are counted, and whoever waits is
// woken once, when there are few enough.
func TestGateBound(t *testing.T) {
	x := fourShards(t)
	g := x.newGated(1)
	x.hold(true)
	g.turn("a", 100, 0)
	g.turn("b", 1000) // needs no disk: only its reply counts
	g.turn("c", 50, 1)
	if n := g.gate.Held(); n != 151 {
		t.Fatalf("%d bytes are held", n)
	}
	if g.gate.WhenBelow(151, func() { t.Error("woken though there was no need to wait") }) {
		t.Error("151 are not below 151")
	}
	woken := 0
	var mu sync.Mutex
	if !g.gate.WhenBelow(60, func() { mu.Lock(); woken++; mu.Unlock() }) {
		t.Fatal("151 are below 60")
	}
	for i, want := range []int{0, 1, 1} {
		shard := []int{1, 0, 2}[i] // c cannot leave before a
		x.shards[shard].hold(false)
		x.syncOf(shard)
		x.workersIdle()
		mu.Lock()
		if woken != want {
			t.Errorf("shard %d is done: woken %d times", shard, woken)
		}
		mu.Unlock()
	}
	if n := g.gate.Held(); n != 0 {
		t.Errorf("%d bytes are held", n)
	}
}

// TestGateStalled: it is told when the oldest replies wait for more than a
// second, and no longer when they have left.
func TestGateStalled(t *testing.T) {
	x := newBox(t)
	g := x.newGated(1)
	x.hold(true)
	g.turn("a", 1, 0)
	opened := func() int64 {
		g.gate.mu.Lock()
		defer g.gate.mu.Unlock()
		return g.gate.mu.segs[0].opened
	}()
	tn := x.NewTurn()
	defer tn.End()
	for after, want := range map[int64]bool{0: false, 1000: false, 1001: true, 60000: true} {
		tn.Now = opened + after
		if g.gate.Stalled(tn) != want {
			t.Errorf("after %d ms: %v", after, !want)
		}
	}
	x.hold(false)
	x.settle()
	if tn.Now = opened + 60000; g.gate.Stalled(tn) {
		t.Error("with nothing held")
	}
}

// TestGateAwaits: a reply that waits for the commit of an earlier turn leaves
// with it, also when its own turn writes nothing.
func TestGateAwaits(t *testing.T) {
	x := fourShards(t)
	g := x.newGated(1)
	x.hold(true)
	var first *commit
	x.turn(func(t *Turn) {
		t.promise(t.bus.shards[2]).batch.Set([]byte("k"), nil)
		first = t.following()
	})
	x.turn(func(t *Turn) {
		g.gate.Begin(t)
		t.await(first)
		t.Reply('a')
		g.gate.EndFeed(t, 1)
	})
	x.turn(func(t *Turn) {
		g.gate.Begin(t)
		t.await(first)
		t.promise(t.bus.shards[0]).batch.Set([]byte("l"), nil)
		t.Reply('b')
		g.gate.EndFeed(t, 1)
	})
	x.shards[0].hold(false)
	x.syncOf(0)
	x.workersIdle()
	if got := g.out.String(); got != "" {
		t.Fatalf("%q left before the commit they wait for", got)
	}
	x.shards[2].hold(false)
	x.syncOf(2)
	x.workersIdle()
	if got := g.out.String(); got != "ab" {
		t.Errorf("got %q", got)
	}
	x.turn(func(t *Turn) { // it is over by now
		g.gate.Begin(t)
		t.await(first)
		t.Reply('c')
		g.gate.EndFeed(t, 1)
	})
	if got := g.out.String(); got != "abc" {
		t.Errorf("then got %q", got)
	}
}
