package amqp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/store/memstore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// serve starts an adapter on a bus with a store in memory, and returns its address.
func serve(t *testing.T, poller string) (bus *core.Bus, addr string) {
	t.Helper()
	bus, _, addr = serveUntil(t, poller)
	return bus, addr
}

// serveUntil is serve for who stops the server in the middle.
func serveUntil(t *testing.T, poller string) (*core.Bus, *transport.Server, string) {
	t.Helper()
	return serveOn(t, poller, memstore.New())
}

// serveOn is serveUntil on a store of the test's.
func serveOn(t *testing.T, poller string, store *memstore.Store) (*core.Bus, *transport.Server, string) {
	t.Helper()
	bus, err := core.Open(core.Options{
		Config: core.DefaultConfig(), Shards: []core.Shard{store}, Fail: func(err error) { t.Errorf("the bus failed: %v", err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	log, cfg := slog.New(slog.DiscardHandler), transport.DefaultConfig()
	cfg.Poller = poller
	srv, err := transport.NewServer(bus, cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	own := amqp.DefaultConfig()
	own.Listeners[0].Address = "127.0.0.1:0"
	a := amqp.New(bus, srv, own, "test", log)
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, err := range []error{srv.Close(context.Background()), bus.Close(), store.Close()} {
			if err != nil {
				t.Errorf("close: %v", err)
			}
		}
	})
	return bus, srv, a.Addrs()[0].String()
}

// TestLastWords: a client that the broker ends is told so, by an operator and at
// the end of the broker; and one whose login is not over as well.
func TestLastWords(t *testing.T) {
	for _, poller := range []string{"", "goroutine"} {
		bus, srv, addr := serveUntil(t, poller)
		var conns [2]*rabbit.Connection
		var ends [2]chan *rabbit.Error
		for i := range conns {
			c, err := rabbit.Dial("amqp://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			conns[i], ends[i] = c, c.NotifyClose(make(chan *rabbit.Error, 1))
		}
		early, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := early.Write([]byte(frame.Protocol)); err != nil {
			t.Fatal(err)
		}
		start := make([]byte, 7)
		if _, err := io.ReadFull(early, start); err != nil {
			t.Fatal(err)
		}
		heard := make(chan []byte)
		go hear(early, heard)
		if err := bus.VHost("/").Kick(t.Context(), conns[0].LocalAddr().String()+" -> 127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if e := <-ends[0]; e == nil || e.Code != 320 || e.Reason != "CONNECTION_FORCED - closed by operator" {
			t.Errorf("who is kicked hears %v", e)
		}
		if left := slices.Collect(bus.Connections("")); len(left) != 1 {
			t.Errorf("connections that are left: %v", left)
		}
		if err := srv.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if e := <-ends[1]; e == nil || e.Code != 320 || e.Reason != "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'" {
			t.Errorf("when the broker stops a client hears %v", e)
		}
		if rest := <-heard; !bytes.Contains(rest, []byte("CONNECTION_FORCED")) {
			t.Errorf("who has not logged in hears %q", rest)
		}
	}
}

// hear reads until the server ends the connection, and closes it, as clients do.
func hear(c net.Conn, heard chan<- []byte) {
	text, _ := io.ReadAll(c) // what has come is looked at
	c.Close()
	heard <- text
}

// TestDescribeWhileBusy: operators look at connections whose clients do everything
// that changes what they see. The race detector sees whether they may.
func TestDescribeWhileBusy(t *testing.T) {
	for _, poller := range []string{"", "goroutine"} {
		t.Run("poller "+poller, func(t *testing.T) {
			bus, addr := serve(t, poller)
			c, err := rabbit.Dial("amqp://" + addr)
			if err != nil {
				t.Fatal(err)
			}
			var looking sync.WaitGroup
			over := make(chan struct{})
			looking.Add(1)
			go look(bus, over, &looking)
			for i := range 50 {
				if err := busy(c, i); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			close(over)
			looking.Wait()
			for i := range bus.Connections("") {
				t.Errorf("still there: %+v", i)
			}
			s := bus.Stats().Protocols[core.ProtocolAMQP]
			if s.Received[1] != 50 || s.Sent[1] != 50 || s.Received[0] != 0 {
				t.Errorf("50 persistent messages are counted as %v received, %v sent", s.Received, s.Sent)
			}
		})
	}
}

// TestUnconfirmed: publishes count as not confirmed from when they are taken until
// their confirm leaves, on their own channel, and only where there are confirms.
func TestUnconfirmed(t *testing.T) {
	for _, poller := range []string{"", "goroutine"} {
		store := memstore.New()
		bus, _, addr := serveOn(t, poller, store)
		c, err := rabbit.Dial("amqp://" + addr)
		if err != nil {
			t.Fatal(err)
		}
		var chans [3]*rabbit.Channel // the last one without confirms
		for i := range chans {
			if chans[i], err = c.Channel(); err != nil {
				t.Fatal(err)
			}
			if i < 2 {
				if err := chans[i].Confirm(false); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := chans[0].QueueDeclare("small", true, false, false, false, rabbit.Table{"x-max-length": 5, "x-overflow": "reject-publish"}); err != nil {
			t.Fatal(err)
		}
		var promised []*rabbit.DeferredConfirmation
		publish := func(channel, n int) {
			t.Helper()
			for range n {
				p, err := chans[channel].PublishWithDeferredConfirm("", "small", false, false, rabbit.Publishing{DeliveryMode: 2, Body: []byte("x")})
				if err != nil {
					t.Fatal(err)
				}
				if p != nil {
					promised = append(promised, p)
				}
			}
		}
		want := func(want ...int64) {
			t.Helper()
			have := make([]int64, len(chans))
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // nothing tells when they are taken
				for ch := range bus.Channels("") {
					have[ch.Number-1] = ch.Unconfirmed
				}
				if slices.Equal(have, want) {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("poller %q: not confirmed are %v, want %v", poller, have, want)
				}
			}
		}
		want(0, 0, 0)
		store.Hold()
		publish(0, 3)
		want(3, 0, 0)
		publish(1, 1)
		publish(2, 1)
		want(3, 1, 0)
		publish(0, 2) // refused, but their answers wait behind the others
		want(5, 1, 0)
		store.Release()
		acked := 0
		for _, p := range promised {
			if p.Wait() {
				acked++
			}
		}
		if acked != 4 {
			t.Errorf("%d of the publishes are acknowledged, want 4", acked)
		}
		want(0, 0, 0)
		publish(1, 1) // refused at once
		if promised[len(promised)-1].Wait() {
			t.Error("the queue takes more than five")
		}
		want(0, 0, 0)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

// look lists all that there is until over is closed.
func look(bus *core.Bus, over <-chan struct{}, done *sync.WaitGroup) {
	defer done.Done()
	for {
		select {
		case <-over:
			return
		default:
		}
		for range bus.Connections("") {
		}
		for range bus.Channels("") {
		}
		for range bus.Consumers("") {
		}
		bus.ChannelCounts()
	}
}

// busy does once what changes a channel.
func busy(c *rabbit.Connection, i int) error {
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	if i%2 == 0 {
		err = ch.Confirm(false)
	} else {
		err = ch.Tx()
	}
	if err != nil {
		return err
	}
	if err := ch.Qos(i+1, 0, i%3 == 0); err != nil {
		return err
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	come, err := ch.Consume(q.Name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	if err := ch.Publish("", q.Name, false, false, rabbit.Publishing{DeliveryMode: 2, Body: []byte("x")}); err != nil {
		return err
	}
	if i%2 == 1 {
		if err := ch.TxCommit(); err != nil {
			return err
		}
	}
	d := <-come
	if err := d.Ack(false); err != nil {
		return err
	}
	if i%5 == 0 { // the broker closes the channel
		if _, err := ch.QueueDeclarePassive("none", false, false, false, false, nil); err == nil {
			return errors.New("a queue is there that is not")
		}
		return nil
	}
	return ch.Close()
}
