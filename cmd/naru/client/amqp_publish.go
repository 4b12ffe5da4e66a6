package client

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// AMQPRoute says where messages are published, and how.
type AMQPRoute struct {
	Exchange  string
	Mandatory bool // it is an error if no queue has a message
	Headers   map[string]string
}

// An AMQPPublisher publishes. Publish and Flush are for one caller at a time.
type AMQPPublisher struct {
	*AMQP
	route AMQPRoute
	table amqp.Table

	slots    chan struct{} // taken by each message that waits for its confirm
	pending  chan *amqp.DeferredConfirmation
	settled  chan struct{} // closed by confirms at its end
	gathered chan struct{} // closed by returns at its end
	told     chan struct{} // closed by blockings at its end

	// owned by confirms until settled is closed, or all slots are taken
	acked, nacked int
	// owned by returns until gathered is closed
	returned int
	first    amqp.Return // of them
}

// PublishAMQP opens a connection for publishing. confirms says that messages are to
// be confirmed. blocked is called, from a goroutine of its own, when the broker holds
// us back (connection.blocked), with its reason, and with false when that is over;
// not after Disconnect or Close.
func PublishAMQP(ctx context.Context, o Options, r AMQPRoute, confirms bool, blocked func(on bool, reason string)) (*AMQPPublisher, error) {
	a, err := ConnectAMQP(ctx, o)
	if err != nil {
		return nil, err
	}
	p := &AMQPPublisher{
		AMQP: a, route: r, slots: make(chan struct{}, max(o.Inflight, 1)), pending: make(chan *amqp.DeferredConfirmation, max(o.Inflight, 1)),
		settled: make(chan struct{}), gathered: make(chan struct{}), told: make(chan struct{}),
	}
	for k, v := range r.Headers {
		if p.table == nil {
			p.table = make(amqp.Table)
		}
		p.table[k] = v
	}
	if confirms {
		if err := a.ch.Confirm(false); err != nil {
			a.Close()
			return nil, a.failed(ctx, err)
		}
	}
	go p.returns(a.ch.NotifyReturn(make(chan amqp.Return, 1)))
	go p.confirms()
	go p.blockings(a.conn.NotifyBlocked(make(chan amqp.Blocking, 1)), blocked)
	return p, nil
}

// blockings passes on what changes. A broker may repeat itself.
func (p *AMQPPublisher) blockings(come <-chan amqp.Blocking, blocked func(on bool, reason string)) {
	defer close(p.told)
	var now amqp.Blocking
	for b := range come {
		if b != now {
			now = b
			blocked(b.Active, b.Reason)
		}
	}
}

// Disconnect and Close are those of the connection. Nobody is told anything after
// them.
func (p *AMQPPublisher) Disconnect() error {
	err := p.AMQP.Disconnect()
	<-p.told
	return err
}

func (p *AMQPPublisher) Close() {
	p.AMQP.Close()
	<-p.told
}

// returns gathers what comes back because no queue has it.
func (p *AMQPPublisher) returns(back <-chan amqp.Return) {
	defer close(p.gathered)
	for r := range back {
		if p.returned++; p.returned == 1 {
			p.first = r
		}
	}
}

// confirms waits for the broker's word on each message, in their order.
func (p *AMQPPublisher) confirms() {
	defer close(p.settled)
	for c := range p.pending {
		<-c.Done() // also when the channel ends
		switch {
		case c.Acked():
			p.acked++
		case !p.ch.IsClosed():
			p.nacked++
		}
		<-p.slots
	}
}

// Publish sends a message. At QoS 1 and 2 it is persistent, waits for a place in
// the window, and is confirmed: Flush waits for that.
func (p *AMQPPublisher) Publish(ctx context.Context, key string, payload []byte, qos byte, _ bool) error {
	m := amqp.Publishing{Headers: p.table, Body: payload, DeliveryMode: amqp.Transient}
	if qos > 0 {
		m.DeliveryMode = amqp.Persistent
		if err := p.take(ctx); err != nil {
			return err
		}
	}
	defer p.guard(ctx)()
	c, err := p.ch.PublishWithDeferredConfirm(p.route.Exchange, key, p.route.Mandatory, false, m)
	if err != nil {
		return p.failed(ctx, err)
	}
	if c != nil {
		p.pending <- c // there is room: it has a slot
	}
	return nil
}

// take waits for a place in the window.
func (p *AMQPPublisher) take(ctx context.Context) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-p.done:
		return p.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Flush waits until everything is confirmed, and the broker has read what is not
// to be. It is an error if something was refused, or is in no queue though that was
// mandatory. Nothing can be published any more.
func (p *AMQPPublisher) Flush(ctx context.Context) error {
	for range cap(p.slots) {
		if err := p.take(ctx); err != nil {
			return err
		}
	}
	stop := p.guard(ctx)
	err := p.ch.Close() // its answer comes behind all that has come back
	stop()
	if err != nil {
		return p.failed(ctx, err)
	}
	<-p.gathered
	<-p.over
	switch err := p.Err(); {
	case err != nil: // the broker was quicker
		return err
	case p.returned > 0:
		why := fmt.Sprintf("exchange %q with the key %q leads nowhere", p.first.Exchange, p.first.RoutingKey)
		if p.first.Exchange == "" {
			why = fmt.Sprintf("there is no queue %q", p.first.RoutingKey)
		}
		return fmt.Errorf("%d of the messages came back: %s (%d %s)", p.returned, why, p.first.ReplyCode, p.first.ReplyText)
	case p.nacked > 0:
		return fmt.Errorf("the broker has refused %d of the messages", p.nacked)
	}
	return nil
}

// Acknowledged is how many messages the broker has confirmed. It is for when nothing
// is published any more.
func (p *AMQPPublisher) Acknowledged() int {
	close(p.pending)
	p.raw.Close() // the rest will not come
	<-p.settled
	return p.acked
}
