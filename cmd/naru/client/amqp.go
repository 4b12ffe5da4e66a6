package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// An AMQP is a connection that speaks AMQP 0-9-1, with one channel.
type AMQP struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	raw  net.Conn
	done chan struct{} // closed when the broker, or a failure, has ended it
	over chan struct{} // closed when anybody has

	mu struct {
		sync.Mutex
		err error // why
	}
}

// AMQPRefused is the broker's answer that it will not have us.
type AMQPRefused struct{ error }

// Final says that to ask again is of no use.
func (r *AMQPRefused) Final() bool { return true }

func (r *AMQPRefused) Unwrap() error { return r.error }

// An AMQPError is the broker's reason for closing a channel or the connection.
type AMQPError struct {
	Code int
	Text string
	Soft bool // it was about what we had asked, not about the connection
}

func (e *AMQPError) Error() string { return fmt.Sprintf("%d %s", e.Code, e.Text) }

// errQueueGone is the end of a consumer whose queue is deleted.
var errQueueGone = errors.New("the queue has been deleted")

// ConnectAMQP dials, logs in, and opens a channel. Without a user it is guest,
// unless a certificate says who we are.
func ConnectAMQP(ctx context.Context, o Options) (*AMQP, error) {
	return connect(ctx, o, func(patient context.Context, raw net.Conn, o Options) (a *AMQP, err error) {
		err = within(patient, raw, func() error {
			a, err = openAMQP(raw, o)
			return err
		})
		return a, err
	})
}

func openAMQP(raw net.Conn, o Options) (*AMQP, error) {
	var login amqp.Authentication = &amqp.PlainAuth{Username: o.User, Password: o.Password}
	switch {
	case o.User == "" && o.Security.CertFile != "":
		login = &amqp.ExternalAuth{}
	case o.User == "":
		login = &amqp.PlainAuth{Username: "guest", Password: "guest"}
	}
	conn, err := amqp.Open(raw, amqp.Config{
		SASL: []amqp.Authentication{login}, Vhost: o.Target.VHost, Heartbeat: o.KeepAlive, Locale: "en_US",
		Properties: amqp.Table{"product": "naru", "connection_name": o.ClientID},
	})
	if err != nil {
		return nil, refusedAMQP(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, explain(err)
	}
	a := &AMQP{conn: conn, ch: ch, raw: raw, done: make(chan struct{}), over: make(chan struct{})}
	go a.watch(ch.NotifyClose(make(chan *amqp.Error, 1)))
	return a, nil
}

// watch waits for the end of the channel, which comes with that of the connection
// at the latest.
func (a *AMQP) watch(closed <-chan *amqp.Error) {
	defer close(a.over)
	err, ok := <-closed
	if !ok {
		return // we have ended it
	}
	a.mu.Lock()
	a.mu.err = explain(err)
	a.mu.Unlock()
	close(a.done)
}

// refusedAMQP tells what is an answer to our login from what is a failure.
func refusedAMQP(err error) error {
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.AccessRefused && e.Code != amqp.NotAllowed {
		return explain(err)
	}
	if !e.Server { // it has just ended the connection
		return &AMQPRefused{fmt.Errorf("connection refused: %s", e.Reason)}
	}
	return &AMQPRefused{fmt.Errorf("connection refused: %d %s", e.Code, e.Reason)}
}

// explain has an error of AMQP say what it is about.
func explain(err error) error {
	var e *amqp.Error
	switch {
	case errors.Is(err, amqp.ErrClosed):
		return errClosed
	case !errors.As(err, &e):
		return err
	case e.Server:
		return &AMQPError{Code: e.Code, Text: e.Reason, Soft: e.Recover}
	case e.Reason == "EOF":
		return errClosed
	}
	return errors.New(e.Reason)
}

// Done is closed when the broker, or a failure, has ended the connection; Err says
// why.
func (a *AMQP) Done() <-chan struct{} { return a.done }

// Err is why the connection has ended, nil if we ended it ourselves.
func (a *AMQP) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.err
}

// failed is the error of a call, or the reason for which it could not be made.
func (a *AMQP) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, amqp.ErrClosed) {
		<-a.over
	}
	if e := a.Err(); e != nil {
		return e
	}
	return explain(err)
}

// guard cuts the connection when the context ends in the middle of a call: the
// library has no other way to give one up.
func (a *AMQP) guard(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		if !errors.Is(context.Cause(ctx), context.Canceled) {
			a.raw.Close()
			return
		}
		_ = a.raw.SetDeadline(time.Now().Add(goodbyeTime)) // Ctrl-C: what is sent may still be answered
	})
}

// Disconnect says goodbye, and waits until the broker has done all that it was
// sent.
func (a *AMQP) Disconnect() error {
	err := a.conn.CloseDeadline(time.Now().Add(goodbyeTime))
	if errors.Is(err, amqp.ErrClosed) {
		return nil
	}
	return explain(err)
}

// Close ends the connection, without a word if it has failed.
func (a *AMQP) Close() {
	var e *AMQPError
	if errors.As(a.Err(), &e) && e.Soft { // only the channel has ended
		_ = a.Disconnect()
	}
	a.raw.Close()
}
