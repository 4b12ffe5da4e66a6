package client

import (
	"context"
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// An AMQPSource says where messages are taken from: from a queue that there is, or
// from one of our own that keys of an exchange lead to.
type AMQPSource struct {
	Queue    string
	Exchange string
	Keys     []string
}

// prefetch is how many messages we may have that are not acknowledged.
const prefetch = 100

// Consume has handle called for each message, and acknowledges those that it has
// handled. one says that there must be no message in our hands but the one that is
// being handled. It ends with an error, or without one when handle returns
// ErrEnough.
func (a *AMQP) Consume(ctx context.Context, s AMQPSource, one bool, handle func(*amqp.Delivery) error) error {
	const tag = "naru-sub"
	come, err := a.begin(ctx, s, one, tag)
	if err != nil {
		return a.failed(ctx, err)
	}
	for {
		select {
		case d, ok := <-come:
			if !ok {
				return a.silence(ctx)
			}
			err := handle(&d)
			if errors.Is(err, ErrEnough) {
				// Nobody must send the next one when this one is settled.
				if err := a.ch.Cancel(tag, false); err != nil {
					return a.failed(ctx, err)
				}
			} else if err != nil {
				return err
			}
			if err := d.Ack(false); err != nil {
				return a.failed(ctx, err)
			}
			if err != nil {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *AMQP) begin(ctx context.Context, s AMQPSource, one bool, tag string) (<-chan amqp.Delivery, error) {
	defer a.guard(ctx)()
	most := prefetch
	if one {
		most = 1
	}
	if err := a.ch.Qos(most, 0, false); err != nil {
		return nil, err
	}
	queue := s.Queue
	if queue == "" {
		q, err := a.ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return nil, err
		}
		queue = q.Name
		for _, key := range s.Keys {
			if err := a.ch.QueueBind(queue, key, s.Exchange, false, nil); err != nil {
				return nil, err
			}
		}
	}
	return a.ch.Consume(queue, tag, false, false, false, false, nil)
}

// silence says why no message will come any more.
func (a *AMQP) silence(ctx context.Context) error {
	if !a.ch.IsClosed() {
		return errQueueGone
	}
	return a.failed(ctx, amqp.ErrClosed)
}
