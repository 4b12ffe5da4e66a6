package amqp_test

import (
	"runtime"
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"
)

// one delivery is never acknowledged, all others are: how much memory does the channel keep?
func TestReviewedLent(t *testing.T) {
	_, addr := serve(t, "")
	c, ch := dial(t, addr)
	defer c.Close()
	ch.QueueDeclare("q", false, false, false, false, nil)
	ch.Qos(100, 0, false)
	ds, _ := ch.Consume("q", "", false, false, false, false, nil)
	pub, _ := c.Channel()
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse
	}
	pub.Publish("", "q", false, false, rabbit.Publishing{Body: []byte("stuck")})
	<-ds
	before := heap()
	const n = 100_000
	go func() {
		for range n {
			pub.Publish("", "q", false, false, rabbit.Publishing{Body: []byte("x")})
		}
	}()
	for range n {
		d := <-ds
		d.Ack(false)
	}
	time.Sleep(300 * time.Millisecond) // the last acknowledgements are on their way
	if each := int64(heap()-before) / n; each > 12 {
		t.Errorf("%d bytes for each acknowledged delivery", each)
	}
}
