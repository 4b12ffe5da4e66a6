package amqp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// patience is how long scripts and libraries wait for what must come.
const patience = 10 * time.Second

// A client is a connection by amqp091-go, with names of its own.
type client struct {
	*testing.T
	conn   *amqp091.Connection
	url    string
	prefix string
}

// TestAmqp091 is what applications do by amqp091-go, RabbitMQ's own library.
func TestAmqp091(t *testing.T) {
	t.Parallel()
	everyBroker(t, func(t *testing.T, b *Broker) {
		for _, test := range []struct {
			name string
			run  func(*client)
		}{
			{"work queue", workQueue}, {"confirms", publisherConfirms}, {"refused publishes", refusedPublishes},
			{"mandatory returns", mandatoryReturns}, {"topics", topics}, {"headers", headers},
			{"rpc by queue", rpcByQueue}, {"rpc by direct reply", rpcByDirectReply}, {"dead letters", deadLetters},
			{"priorities", priorities}, {"exclusive queues", exclusiveQueues}, {"cancel notification", cancelNotification},
			{"reconnect", reconnect}, {"transactions", transactions}, {"many channels", manyChannels},
		} {
			t.Run(test.name, func(t *testing.T) {
				c := &client{T: t, url: "amqp://guest:guest@" + b.Addr + "/", prefix: fmt.Sprintf("go%d-", plays.Add(1))}
				c.conn = c.connect()
				test.run(c)
			})
		}
	})
}

func (c *client) connect() *amqp091.Connection {
	c.Helper()
	conn, err := amqp091.Dial(c.url)
	c.must(err)
	c.Cleanup(func() { conn.Close() })
	return conn
}

func (c *client) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

func (c *client) channel(conn *amqp091.Connection) *amqp091.Channel {
	c.Helper()
	ch, err := conn.Channel()
	c.must(err)
	return ch
}

// queue declares an exclusive queue.
func (c *client) queue(ch *amqp091.Channel, args amqp091.Table) string {
	c.Helper()
	q, err := ch.QueueDeclare("", false, false, true, false, args)
	c.must(err)
	return q.Name
}

func (c *client) publish(ch *amqp091.Channel, exchange, key, body string, m amqp091.Publishing) {
	c.Helper()
	m.Body = []byte(body)
	c.must(ch.PublishWithContext(context.Background(), exchange, key, false, false, m))
}

func (c *client) consume(ch *amqp091.Channel, queue string, autoAck bool) <-chan amqp091.Delivery {
	c.Helper()
	d, err := ch.Consume(queue, "", autoAck, false, false, false, nil)
	c.must(err)
	return d
}

// next is what comes next on a channel of Go.
func next[T any](c *client, from <-chan T) T {
	c.Helper()
	select {
	case v, ok := <-from:
		if !ok {
			c.Fatal("closed")
		}
		return v
	case <-time.After(patience):
		c.Fatal("nothing comes")
		panic("unreachable")
	}
}

// bodies takes so many messages, and expects these.
func (c *client) bodies(from <-chan amqp091.Delivery, want ...string) {
	c.Helper()
	for i, w := range want {
		if d := next(c, from); string(d.Body) != w {
			c.Fatalf("message %d is %q, want %q", i, d.Body, w)
		}
	}
}

// ready waits until a queue has so many messages.
func (c *client) ready(ch *amqp091.Channel, queue string, want int) {
	c.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) { // between two questions
		q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		c.must(err)
		if q.Messages == want {
			return
		}
		if time.Now().After(deadline) {
			c.Fatalf("%s has %d messages, want %d", queue, q.Messages, want)
		}
	}
}

func workQueue(c *client) {
	const tasks, workers = 40, 3
	ch := c.channel(c.conn)
	queue := c.prefix + "tasks"
	_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
	c.must(err)
	done := make(chan string, tasks)
	var working sync.WaitGroup
	var closing []*amqp091.Channel
	for i := range workers {
		worker := c.channel(c.conn)
		closing = append(closing, worker)
		c.must(worker.Qos(1, 0, false))
		deliveries := c.consume(worker, queue, false)
		working.Go(func() {
			for n := 0; ; n++ {
				d, ok := <-deliveries
				if !ok {
					return
				}
				if i == 0 && n%2 == 0 { // now and then it fails
					d.Nack(false, true)
					continue
				}
				d.Ack(false)
				done <- string(d.Body)
			}
		})
	}
	for i := range tasks {
		c.publish(ch, "", queue, fmt.Sprint(i), amqp091.Publishing{DeliveryMode: amqp091.Persistent})
	}
	seen := map[string]bool{}
	for range tasks {
		seen[next(c, done)] = true
	}
	if len(seen) != tasks {
		c.Errorf("%d different tasks were done, want %d", len(seen), tasks)
	}
	for _, worker := range closing {
		c.must(worker.Close())
	}
	working.Wait()
	c.ready(ch, queue, 0)
}

func publisherConfirms(c *client) {
	ch := c.channel(c.conn)
	queue := c.queue(ch, nil)
	c.must(ch.Confirm(false))
	var all []*amqp091.DeferredConfirmation
	for i := range 200 {
		m := amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: fmt.Append(nil, i)}
		d, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, m)
		c.must(err)
		all = append(all, d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, d := range all {
		if ok, err := d.WaitContext(ctx); err != nil || !ok {
			c.Fatalf("publish %d: %v, %v", i, ok, err)
		}
	}
	c.ready(ch, queue, 200)
}

func refusedPublishes(c *client) {
	ch := c.channel(c.conn)
	queue := c.queue(ch, amqp091.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	c.must(ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, 2))
	for i, want := range []bool{true, false} {
		c.publish(ch, "", queue, "x", amqp091.Publishing{})
		if got := next(c, confirms); got.Ack != want || got.DeliveryTag != uint64(i+1) {
			c.Errorf("publish %d is confirmed by %+v", i+1, got)
		}
	}
}

func mandatoryReturns(c *client) {
	ch := c.channel(c.conn)
	c.must(ch.Confirm(false))
	returns := ch.NotifyReturn(make(chan amqp091.Return, 1))
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, 1))
	m := amqp091.Publishing{MessageId: "7", Body: []byte("back")}
	c.must(ch.PublishWithContext(context.Background(), "", c.prefix+"nowhere", true, false, m))
	r := next(c, returns)
	if r.ReplyCode != amqp091.NoRoute || r.ReplyText != "NO_ROUTE" || r.MessageId != "7" || string(r.Body) != "back" {
		c.Errorf("returned is %+v", r)
	}
	if got := next(c, confirms); !got.Ack {
		c.Error("it is nacked")
	}
}

func topics(c *client) {
	ch := c.channel(c.conn)
	exchange := c.prefix + "logs"
	c.must(ch.ExchangeDeclare(exchange, "topic", false, true, false, false, nil))
	queue := c.queue(ch, nil)
	c.must(ch.QueueBind(queue, "*.error", exchange, false, nil))
	c.must(ch.QueueBind(queue, "kern.#", exchange, false, nil))
	for _, key := range []string{"kern.error", "kern", "cron.error", "cron", "kern.a.b"} {
		c.publish(ch, exchange, key, key, amqp091.Publishing{})
	}
	c.bodies(c.consume(ch, queue, true), "kern.error", "kern", "cron.error", "kern.a.b")
}

func headers(c *client) {
	ch := c.channel(c.conn)
	queue := c.queue(ch, nil)
	mine := c.prefix + "h"
	c.must(ch.QueueBind(queue, "", "amq.headers", false, amqp091.Table{"x-match": "any", mine: int32(1), "other": c.prefix}))
	for body, h := range map[string]amqp091.Table{"no": {mine: int64(2)}, "yes": {mine: int64(1), "other": "x"}} {
		c.publish(ch, "amq.headers", "", body, amqp091.Publishing{Headers: h})
	}
	c.bodies(c.consume(ch, queue, true), "yes")
	c.ready(ch, queue, 0)
}

func rpcByQueue(c *client) {
	rpc(c, func(ch *amqp091.Channel) string { return c.queue(ch, nil) })
}

func rpcByDirectReply(c *client) {
	rpc(c, func(*amqp091.Channel) string { return "amq.rabbitmq.reply-to" })
}

func rpc(c *client, replyQueue func(*amqp091.Channel) string) {
	server := c.channel(c.connect())
	service := c.queue(server, nil)
	requests := c.consume(server, service, true)
	var serving sync.WaitGroup
	serving.Go(func() {
		for d := range requests {
			m := amqp091.Publishing{CorrelationId: d.CorrelationId, Body: append([]byte("answer to "), d.Body...)}
			server.PublishWithContext(context.Background(), "", d.ReplyTo, false, false, m)
		}
	})
	ch := c.channel(c.conn)
	replyTo := replyQueue(ch)
	answers := c.consume(ch, replyTo, true)
	for _, id := range []string{"1", "2", "3"} {
		c.publish(ch, "", service, id, amqp091.Publishing{ReplyTo: replyTo, CorrelationId: id})
		if d := next(c, answers); d.CorrelationId != id || string(d.Body) != "answer to "+id {
			c.Errorf("the answer to %s is %q with %s", id, d.Body, d.CorrelationId)
		}
	}
	c.must(server.Close())
	serving.Wait()
}

func deadLetters(c *client) {
	ch := c.channel(c.conn)
	dead := c.queue(ch, nil)
	queue := c.queue(ch, amqp091.Table{
		"x-message-ttl": int32(100), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	c.publish(ch, "", queue, "x", amqp091.Publishing{Headers: amqp091.Table{"mine": "1"}})
	d := next(c, c.consume(ch, dead, true))
	deaths, ok := d.Headers["x-death"].([]any)
	if !ok || len(deaths) != 1 || d.Headers["mine"] != "1" {
		c.Fatalf("the headers are %v", d.Headers)
	}
	if death := deaths[0].(amqp091.Table); death["reason"] != "expired" || death["queue"] != queue || death["count"] != int64(1) {
		c.Errorf("the death is %v", death)
	}
}

func priorities(c *client) {
	ch := c.channel(c.conn)
	queue := c.queue(ch, amqp091.Table{"x-max-priority": 9})
	for _, p := range []uint8{1, 9, 5, 9} {
		c.publish(ch, "", queue, fmt.Sprint(p), amqp091.Publishing{Priority: p})
	}
	c.ready(ch, queue, 4)
	c.bodies(c.consume(ch, queue, true), "9", "9", "5", "1")
}

func exclusiveQueues(c *client) {
	queue := c.queue(c.channel(c.conn), nil)
	other := c.connect()
	for _, code := range []int{amqp091.ResourceLocked, amqp091.NotFound} {
		_, err := c.channel(other).QueueDeclarePassive(queue, false, false, false, false, nil)
		var failed *amqp091.Error
		if !errors.As(err, &failed) || failed.Code != code {
			c.Errorf("%v, want code %d", err, code)
		}
		if code == amqp091.ResourceLocked {
			c.must(c.conn.Close()) // with it goes the queue
		}
	}
}

func cancelNotification(c *client) {
	ch := c.channel(c.conn)
	queue := c.queue(ch, nil)
	told := ch.NotifyCancel(make(chan string, 1))
	deliveries, err := ch.Consume(queue, "me", false, false, false, false, nil)
	c.must(err)
	_, err = c.channel(c.conn).QueueDelete(queue, false, false, false)
	c.must(err)
	if tag := next(c, told); tag != "me" {
		c.Errorf("cancelled is %q", tag)
	}
	select {
	case _, ok := <-deliveries:
		if ok {
			c.Error("a delivery of a deleted queue")
		}
	case <-time.After(patience):
		c.Error("the deliveries do not end")
	}
}

// reconnect: what was not acknowledged when the connection broke comes again,
// and what was confirmed is there.
func reconnect(c *client) {
	queue := c.prefix + "again"
	ch := c.channel(c.conn)
	_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
	c.must(err)
	c.must(ch.Confirm(false))
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, 1))
	for _, body := range []string{"a", "b", "c"} {
		c.publish(ch, "", queue, body, amqp091.Publishing{DeliveryMode: amqp091.Persistent})
		next(c, confirms)
	}
	broken := c.connect()
	deliveries := c.consume(c.channel(broken), queue, false)
	c.must(next(c, deliveries).Ack(false))
	c.bodies(deliveries, "b", "c")
	c.must(broken.CloseDeadline(time.Now().Add(patience)))
	again := c.consume(c.channel(c.connect()), queue, false)
	for _, body := range []string{"b", "c"} {
		if d := next(c, again); string(d.Body) != body || !d.Redelivered {
			c.Errorf("%q comes with redelivered %v, want %q", d.Body, d.Redelivered, body)
		}
	}
}

func transactions(c *client) {
	ch, other := c.channel(c.conn), c.channel(c.conn)
	queue := c.queue(ch, nil)
	c.must(ch.Tx())
	c.publish(ch, "", queue, "gone", amqp091.Publishing{})
	c.must(ch.TxRollback())
	c.publish(ch, "", queue, "kept", amqp091.Publishing{})
	c.ready(other, queue, 0)
	c.must(ch.TxCommit())
	c.ready(other, queue, 1)
	c.bodies(c.consume(other, queue, true), "kept")
}

func manyChannels(c *client) {
	const channels = 400
	queue := c.queue(c.channel(c.conn), nil)
	var working sync.WaitGroup
	failed := make(chan error, channels)
	for i := range channels {
		working.Go(func() {
			ch, err := c.conn.Channel()
			if err == nil {
				err = ch.PublishWithContext(context.Background(), "", queue, false, false, amqp091.Publishing{Body: fmt.Append(nil, i)})
			}
			if err == nil {
				err = ch.Close()
			}
			failed <- err
		})
	}
	working.Wait()
	for range channels {
		c.must(<-failed)
	}
	c.ready(c.channel(c.conn), queue, channels)
}
