// Package bench drives an MQTT 3.1.1 or AMQP 0-9-1 broker and reports what one delivered
// message costs it: the figure is the broker's own CPU time, read from /proc
// before and after, divided by the messages that arrived.
//
// Throughput says little on a machine where generator and broker share two
// cores, and it changes from day to day; CPU per message, taken for two
// brokers in one run, gives a ratio that holds. So the generator must be cheap
// and must not shape the result: one goroutine (the caller's) owns every
// connection through one epoll set, reads whatever is there into one large
// buffer, and writes once per connection at the end of each turn.
//
// The nouns: a [Target] is a broker process, a [Scenario] a pattern of load, a
// [Result] what came out of one on the other. A flow is the sequence of
// messages one publisher sends to one topic; a receiver counts what reaches
// one subscriber, message by message, so that a loss, a repetition or a
// foreign byte shows. A flow has credit: it never has more than a window of
// messages that somebody still lacks.
//
// The load runs on Linux only; elsewhere [Run] answers errors.ErrUnsupported.
package bench
