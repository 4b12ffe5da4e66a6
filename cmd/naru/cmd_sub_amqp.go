package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/narumq/naru/cmd/naru/client"
	"github.com/narumq/naru/cmd/naru/format"
)

// stayAMQP is one connection that consumes, from its beginning to its end.
func (o *subOptions) stayAMQP(ctx context.Context, c client.Options, p *printer) error {
	a, err := client.ConnectAMQP(ctx, c)
	if err != nil {
		return connectError(c.Target, err)
	}
	from := client.AMQPSource{Queue: o.amqp.queue, Exchange: o.amqp.exchange, Keys: o.topics}
	err = a.Consume(ctx, from, o.count > 0, func(d *amqp.Delivery) error { return p.print(fromAMQP(d)) })
	select {
	case <-a.Done():
		a.Close()
		// What the broker says no to now, such as a queue that is not there, it
		// will say no to again.
		return &lostError{error: err, worthwhile: !refusal(err)}
	default:
	}
	if e := a.Disconnect(); err == nil {
		return e
	}
	return err
}

// refusal says whether the broker has closed the channel for what we have asked.
func refusal(err error) bool {
	var e *client.AMQPError
	return errors.As(err, &e) && e.Soft
}

// fromAMQP is a delivery as a format knows messages.
func fromAMQP(d *amqp.Delivery) *format.Message {
	m := &format.Message{Topic: d.RoutingKey, Payload: d.Body, Time: time.Now()}
	if d.DeliveryMode == amqp.Persistent {
		m.QoS = 1
	}
	x := &format.AMQP{Exchange: d.Exchange, Redelivered: d.Redelivered, Headers: fields(d.Headers)}
	for _, p := range []struct{ name, value string }{
		{"content_type", d.ContentType}, {"content_encoding", d.ContentEncoding}, {"correlation_id", d.CorrelationId},
		{"reply_to", d.ReplyTo}, {"expiration", d.Expiration}, {"message_id", d.MessageId}, {"type", d.Type}, {"user_id", d.UserId},
		{"app_id", d.AppId},
	} {
		if p.value != "" {
			x.Properties = append(x.Properties, format.Field{Name: p.name, Value: p.value})
		}
	}
	if d.Priority > 0 {
		x.Properties = append(x.Properties, format.Field{Name: "priority", Value: int64(d.Priority)})
	}
	if !d.Timestamp.IsZero() {
		x.Properties = append(x.Properties, format.Field{Name: "timestamp", Value: d.Timestamp.Unix()})
	}
	m.AMQP = x
	return m
}

// fields are the entries of a table by their names.
func fields(t amqp.Table) []format.Field {
	all := make([]format.Field, 0, len(t))
	for _, name := range slices.Sorted(maps.Keys(t)) {
		all = append(all, format.Field{Name: name, Value: fieldValue(t[name])})
	}
	return all
}

// fieldValue has one of the few types that a format knows.
func fieldValue(v any) any {
	switch v := v.(type) {
	case nil, bool, string, int64:
		return v
	case int8:
		return int64(v)
	case byte:
		return int64(v)
	case int16:
		return int64(v)
	case uint16:
		return int64(v)
	case int32:
		return int64(v)
	case uint32:
		return int64(v)
	case float32:
		return fieldValue(float64(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
		return v
	case time.Time:
		return v.Unix()
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case amqp.Table:
		return fields(v)
	case []any:
		all := make([]any, len(v))
		for i := range v {
			all[i] = fieldValue(v[i])
		}
		return all
	case amqp.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	}
	return fmt.Sprint(v)
}
