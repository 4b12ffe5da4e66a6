package amqp_test

import (
	"errors"
	"testing"

	rabbit "github.com/rabbitmq/amqp091-go"
)

// TestPublishAfterDelete: a channel remembers the exchange it published to, but
// not beyond its end, and not when another has its name.
func TestPublishAfterDelete(t *testing.T) {
	_, addr := serve(t, "")
	c, err := rabbit.Dial("amqp://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	pub, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	other, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	fanout := func(queue string) {
		t.Helper()
		if err := other.ExchangeDeclare("x", "fanout", false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := other.QueueDeclare(queue, false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := other.QueueBind(queue, "", "x", false, nil); err != nil {
			t.Fatal(err)
		}
	}
	// publish returns when the broker has seen it, and says how the channel is.
	publish := func() error {
		if err := pub.Publish("x", "", false, false, rabbit.Publishing{}); err != nil {
			return err
		}
		return pub.Qos(1, 0, false)
	}
	fanout("one")
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	if err := other.ExchangeDelete("x", false, false); err != nil {
		t.Fatal(err)
	}
	fanout("two")
	if err := publish(); err != nil {
		t.Fatal(err)
	}
	for _, queue := range []string{"one", "two"} {
		if q, err := other.QueueDeclarePassive(queue, false, false, false, false, nil); err != nil || q.Messages != 1 {
			t.Errorf("queue %s has %d messages, want 1 (%v)", queue, q.Messages, err)
		}
	}
	if err := other.ExchangeDelete("x", false, false); err != nil {
		t.Fatal(err)
	}
	closed := &rabbit.Error{}
	if err := publish(); !errors.As(err, &closed) || closed.Code != rabbit.NotFound {
		t.Errorf("published to an exchange that is gone: %v", err)
	}
}
