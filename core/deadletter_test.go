package core

import "testing"

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
