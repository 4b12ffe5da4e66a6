package core

import (
	"slices"
	"testing"
)

// TestFoundBeforeItsTurnEnds: a queue or a lane is found as soon as it is made. What
// others do to it comes behind its record on disk, even if the turn that has made it
// ends later: what they were told of is there after a crash, and what they deleted is
// not.
func TestFoundBeforeItsTurnEnds(t *testing.T) {
	o := QueueOptions{Durable: true, MaxPriority: 5}
	for what, begun := range map[string]func(x *box, tn *Turn) error{
		"a queue": func(x *box, tn *Turn) error {
			_, err := x.VHost("/").DeclareQueue(tn, "q", o)
			return err
		},
		"a lane": func(x *box, tn *Turn) error {
			x.named("q", o)
			return x.publisher().toLane(tn, "q", "its first", 3, true)
		},
	} {
		begin := func() (x *box, first *Turn) {
			x = newBox(t)
			first = x.NewTurn()
			if err := begun(x, first); err != nil {
				t.Fatal(err)
			}
			return x, first
		}
		x, first := begin()
		x.fillLane("q", 3, true, "confirmed")
		x.Sync()
		y := x.crash()
		first.End()
		if q := y.VHost("/").Queue("q"); q == nil {
			t.Errorf("%s: gone with a confirmed message", what)
		} else if got := y.taker(q, 0).now(); !slices.Equal(got, []string{"confirmed"}) {
			t.Errorf("%s: %q are there", what, got)
		}

		x, first = begin()
		x.turn(func(tn *Turn) {
			if _, err := x.VHost("/").Drop(tn, x.VHost("/").Queue("q"), false, false); err != nil {
				t.Fatal(err)
			}
		})
		first.End()
		x.settle()
		if left := x.keys(keyQueue); len(left) > 0 {
			t.Errorf("%s: deleted, and left on disk: %q", what, left)
		}
		if y := x.crash(); y.VHost("/").Queue("q") != nil {
			t.Errorf("%s: deleted, and back", what)
		}
	}
}
