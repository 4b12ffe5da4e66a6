package core

import (
	"reflect"
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

// TestDeclaredAnewBeforeItIsGone: a queue is deleted in a turn that commits behind the
// one in which another made a queue of that name. Whenever a crash falls, there is one
// queue of the name, what is published goes there alone, and nothing stays of the other.
func TestDeclaredAnewBeforeItIsGone(t *testing.T) {
	for _, priorities := range []uint8{0, 3} {
		x := newBox(t)
		o := QueueOptions{Durable: true, MaxPriority: priorities}
		q := x.named("q", o)
		x.bindQueue(q, fanoutExchange, "", SyntaxAMQP)
		x.fillLane("q", 0, true, "former")
		x.fillLane("q", 2, true, "former")
		x.rest(nil)
		x.hold(true)
		gone := x.NewTurn()
		if _, err := x.VHost("/").Drop(gone, q, false, false); err != nil {
			t.Fatal(err)
		}
		x.named("q", o)
		gone.End()
		x.crashes(func(y *box, n int) {
			y.fillLane("q", 0, true, "new")
			y.rest(nil)
			want := 1
			if n == 0 {
				want = 3 // nothing has happened
			}
			if got := len(y.keys(keyEntry)); got != want {
				t.Errorf("priorities %d, after %d commits: %d messages on disk, want %d", priorities, n, got, want)
			}
			if got := y.taker(y.VHost("/").Queue("q"), 0).now(); len(got) != want {
				t.Errorf("priorities %d, after %d commits: %q came, want %d", priorities, n, got, want)
			}
			if err := y.VHost("/").DeleteQueue(t.Context(), "q"); err != nil {
				t.Error(err)
			}
			if left := append(y.leftBehind(), y.keys(keyQueue)...); len(left) > 0 || y.VHost("/").declared != 0 {
				t.Errorf("priorities %d, after %d commits: %d declared, left %q", priorities, n, y.VHost("/").declared, left)
			}
		})
		x.hold(false)
	}
}

// TestGroupAnewBeforeItIsGone is the same for a shared subscription.
func TestGroupAnewBeforeItIsGone(t *testing.T) {
	x := newBox(t)
	a, b := x.connect("a", persistent), x.connect("b", persistent)
	a.subscribe("$share/g/x", AtLeastOnce)
	x.rest(nil)
	x.hold(true)
	gone := x.NewTurn()
	if err := a.s.Unsubscribe(gone, "$share/g/x"); err != nil {
		t.Fatal(err)
	}
	b.subscribe("$share/g/x", AtLeastOnce)
	gone.End()
	x.crashes(func(y *box, n int) {
		y.connect("pub").publish("x", "1", AtLeastOnce)
		y.rest(nil)
		if got := len(y.keys(keyEntry)); got != 1 {
			t.Errorf("after %d commits: %d messages", n, got)
		}
		if q := y.VHost("/").Queue("$share/g/x"); q == nil || q.Info().Ready != 1 {
			t.Errorf("after %d commits the group has nothing", n)
		}
	})
	x.hold(false)
}

// TestDeclaredAgain: the configuration may declare what a client has declared before.
// The queue stays what it is, with its messages, however often the node starts; of one
// without arguments the limits are changed.
func TestDeclaredAgain(t *testing.T) {
	limits := QueueLimits{MaxLength: 20}
	for _, arguments := range []string{"", "x-max-priority"} {
		o := QueueOptions{
			Durable: true, MaxPriority: 5, Expires: 1 << 40, DeliveryLimit: 3, SingleActive: true, Quorum: true,
			DeadLetter: &DeadLetter{Exchange: "x"}, Limits: QueueLimits{TTL: 1 << 40}, Arguments: []byte(arguments),
		}
		want := o
		if arguments == "" {
			want.Limits = limits
		}
		x := newBox(t)
		x.named("q", o)
		x.fillLane("q", 5, true, "5")
		x.fillLane("q", 0, true, "0")
		x.settle()
		for range 3 {
			x = x.crash()
			q := x.named("q", QueueOptions{Durable: true, Limits: limits})
			x.settle()
			got := q.Options()
			if string(got.Arguments) != arguments {
				t.Errorf("arguments %q are %q", arguments, got.Arguments)
			}
			got.Arguments = want.Arguments // nil or empty
			if !reflect.DeepEqual(got, want) {
				t.Errorf("arguments %q:\n%+v\nwant %+v", arguments, got, want)
			}
			if n := q.Info().Ready; n != 2 {
				t.Errorf("arguments %q: %d messages are left of 2", arguments, n)
			}
		}
	}
}
