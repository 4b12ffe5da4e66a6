// Package amqp serves AMQP 0-9-1, as clients of RabbitMQ expect it.
//
// Its one idea: a channel is a place where methods wait for their contents and
// deliveries for their acknowledgements, and nothing more. Exchanges, queues,
// bindings, what is confirmed and when, who is served next: all that is the
// bus's. What a channel promises (delivery tags, the order of replies, publisher
// confirms, transactions) is here.
//
// The in-half of a connection (parsing, channels, what is being published) is
// owned by Feed. The out-half (delivery tags, what is not acknowledged) is
// guarded by the out lock.
package amqp
