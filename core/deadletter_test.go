package core

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
)

// However a crash falls, a message that is dead-lettered is in its queue or in the
// one for dead letters: never in none of them, and never in both.
func TestDeadLetterIsInOnePlace(t *testing.T) {
	for name, die := range map[string]func(x *box, k *taker){
		"rejected": func(_ *box, k *taker) { k.settle(Rejected, k.take()...) },
		"failed":   func(_ *box, k *taker) { k.settle(Failed, k.take()...) },
		"too many": func(x *box, k *taker) {
			x.turn(func(tn *Turn) { k.c.Stop(tn) })
			k.settle(Released, k.take()...)
			x.fill("q", 1, 2, true)
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBox(t)
			o := QueueOptions{Durable: true, DeadLetter: &DeadLetter{Key: "dead", HasKey: true}, Limits: QueueLimits{MaxLength: 1}}
			if name == "failed" {
				o.DeliveryLimit = AtOnce
			}
			q := x.named("q", o)
			x.named("dead", QueueOptions{Durable: true})
			x.fill("q", 0, 1, true)
			x.rest(nil)
			k := x.taker(q, 1)
			x.hold(true)
			die(x, k)
			x.workersIdle()
			if n := x.shards[0].waiting(); n == 0 {
				t.Fatal("nothing waits for the disk")
			}
			x.crashes(func(y *box, n int) {
				there := 0
				for _, name := range []string{"q", "dead"} {
					for _, payload := range y.taker(y.VHost("/").Queue(name), 0).now() {
						if payload == number(0) {
							there++
						}
					}
				}
				if there != 1 {
					t.Errorf("after %d commits the message is there %d times", n, there)
				}
			})
		})
	}
}

// TestDyingTakesNoRoom: what a full queue drops does not count while it is on its way
// to the dead letters, or more would be dropped for it.
func TestDyingTakesNoRoom(t *testing.T) {
	for name, limits := range map[string]QueueLimits{"length": {MaxLength: 10}, "bytes": {MaxBytes: 10 * 80}} {
		x := newBox(t)
		dead := x.named("dead", QueueOptions{})
		q := x.named("q", QueueOptions{Limits: limits, DeadLetter: &DeadLetter{Key: "dead", HasKey: true}})
		x.fill("q", 0, 15, false) // one turn
		x.settle()
		if left, died := q.Info().Ready, dead.Info().Ready; left != 10 || died != 5 {
			t.Errorf("%s: %d are left and %d died, want 10 and 5", name, left, died)
		}
	}
}

// TestNoDeadLetterUnderSys: a queue cannot have its messages told as the broker's own.
func TestNoDeadLetterUnderSys(t *testing.T) {
	for key, want := range map[string][]string{"$SYS": {}, "$SYS.broker.version": {}, "$SYSTEM.a": {number(0)}, "a.$SYS": {number(0)}} {
		x := newBox(t)
		x.named("q", QueueOptions{
			Limits: QueueLimits{MaxLength: 1}, DeadLetter: &DeadLetter{Exchange: topicExchange, Key: key, HasKey: true},
		})
		c := x.connect("c")
		for _, filter := range []string{"#", "$SYS/#", "$SYSTEM/#"} {
			c.subscribe(filter, AtLeastOnce)
		}
		x.fill("q", 0, 2, false)
		x.settle()
		if got := texts(c.take()); !slices.Equal(got, want) {
			t.Errorf("by %q came %q, want %q", key, got, want)
		}
	}
}

// TestDeadLettersWaitTogether: while it must be asked whether those who get the dead
// letters may, one asks for all that die in a queue meanwhile.
func TestDeadLettersWaitTogether(t *testing.T) {
	const n = 50
	asked, answer := new(atomic.Int32), make(chan struct{})
	x := newBox(t, withRules(slowRules{&rulebook{rule: anything}, asked, answer}))
	q := x.named("q", QueueOptions{Durable: true, DeadLetter: &DeadLetter{Exchange: topicExchange, Key: "dead", HasKey: true}})
	c := x.connect("c")
	go func() {
		for range 2 { // whether c may subscribe, and p publish
			answer <- struct{}{}
		}
	}()
	if err := c.trySubscribe("dead", AtLeastOnce); err != nil {
		t.Fatal(err)
	}
	p := x.publisher()
	for i := range n {
		if err := x.retry(func(tn *Turn) (Wait, error) {
			m := tn.Message()
			m.Exchange, m.Topic, m.Syntax, m.Payload = x.VHost("/").Exchange(""), []byte("q"), SyntaxAMQP, []byte(number(i))
			m.QoS, m.Persistent = AtLeastOnce, true
			return p.Publish(tn, m)
		}); err != nil {
			t.Fatal(err)
		}
	}
	before := asked.Load()
	k := x.takerWith(q, ConsumerOptions{QoS: AtLeastOnce, Identity: NewPrincipal(Identity{VHost: "/"})})
	_, ds := k.failed(n)
	for _, d := range ds {
		k.settle(Rejected, d)
	}
	x.eventually("somebody asks", func() bool { return asked.Load() > before })
	close(answer)
	x.eventually("all come", func() bool { c.sink.Lock(); defer c.sink.Unlock(); return len(c.got) == n })
	if got := asked.Load() - before; got != 1 {
		t.Errorf("it was asked %d times", got)
	}
	got := texts(c.take())
	for i, payload := range got {
		if payload != number(i) {
			t.Fatalf("dead letter %d is %q", i, payload)
		}
	}
}

// slowRules waits before it answers.
type slowRules struct {
	*rulebook
	asked  *atomic.Int32
	answer chan struct{}
}

func (s slowRules) Authorize(ctx context.Context, id *Identity, r Right) (bool, error) {
	s.asked.Add(1)
	select {
	case <-s.answer:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return s.rulebook.Authorize(ctx, id, r)
}
