package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/cmd/naru/client"
)

// pubOptions are the flags of naru pub.
type pubOptions struct {
	connectFlags
	topic    string
	message  string
	file     string
	lines    bool
	null     bool
	stdin    bool
	retain   bool
	inflight int
	repeat   int
	delay    seconds

	amqp      amqpFlags
	mandatory bool
	headers   []string
}

// A publisher is a connection to publish over.
type publisher interface {
	// Publish sends a message; Flush waits until the broker has taken all of them.
	Publish(ctx context.Context, topic string, payload []byte, qos byte, retain bool) error
	Flush(ctx context.Context) error
	// Done is closed when the connection has ended, for the reason Err.
	Done() <-chan struct{}
	Err() error
	// Acknowledged is how many messages of QoS 1 and 2 the broker has taken, at
	// the end.
	Acknowledged() int
	Disconnect() error
	Close()
}

func pubCommand() *cobra.Command {
	var o pubOptions
	cmd := &cobra.Command{
		Use:   "pub [URL] {-m MESSAGE | -f FILE | -l | -n | -s}",
		Short: "Publish messages by MQTT or AMQP, with the options of mosquitto_pub",
		Long: `Publish messages by MQTT 3.1.1 or AMQP 0-9-1, with the options of mosquitto_pub.

The broker is given by a URL, or else is mqtt://127.0.0.1:1883:

  mqtt[s]://[user[:password]@]host[:port][/topic][?qos=1&retain&id=...]
  ws[s]://[user[:password]@]host[:port][/path]?topic=...
  amqp[s]://[user[:password]@]host[:port][/vhost][?heartbeat=10&...]

Of a WebSocket the path is that of the server; the topic is given by -t or ?topic=.
By AMQP -t is the routing key for --exchange, or --queue says where to; -q 1 is a
persistent message, and confirmed. In a URL write %3F for ? and %25 for %.

It ends when the broker has acknowledged everything (QoS 1 and 2) or has read
everything (QoS 0). If something goes wrong it says how much was acknowledged.

Exit codes: 0 all is published; 1 refused, or failed; 2 wrong usage; 27 timeout (-W).`,
		Example: `  naru pub -t kitchen/light -m on
  naru pub mqtt://127.0.0.1/kitchen/light -m on -q 1 -r
  naru pub -t kitchen/light -n -r                        # remove what is retained
  tail -f app.log | naru pub -t logs/app -l -q 1         # a message for each line
  naru pub mqtts://broker.example/firmware -f image.bin -q 2
  NARU_USER=alice NARU_PASSWORD=secret naru pub wss://broker.example/mqtt -t a/b -m hello
  naru pub -t door -m open --will-topic door/state --will-payload gone --will-retain
  naru pub -t tick -m tock --repeat 10 --repeat-delay 1
  naru pub amqp://127.0.0.1 --queue jobs -m work -q 1
  naru pub amqp://alice@broker.example/tenant -t order.eu --exchange orders -f order.json --header kind=new`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.finish(cmd, o.run(cmd, args)) },
	}
	o.command(cmd)
	f := cmd.Flags()
	f.StringVarP(&o.topic, "topic", "t", "", "topic to publish to")
	f.StringVarP(&o.message, "message", "m", "", "the message")
	f.StringVarP(&o.file, "file", "f", "", "the message is what this file holds")
	f.BoolVarP(&o.lines, "stdin-line", "l", false, "each line of standard input is a message")
	f.BoolVarP(&o.null, "null-message", "n", false, "the message is empty")
	f.BoolVarP(&o.stdin, "stdin-file", "s", false, "the message is the whole of standard input")
	f.BoolVarP(&o.retain, "retain", "r", false, "the broker keeps the message for later subscribers")
	f.IntVarP(&o.inflight, "max-inflight", "M", 20, "messages that may wait for their acknowledgement")
	f.IntVar(&o.repeat, "repeat", 1, "publish the message so many times")
	f.Var(&o.delay, "repeat-delay", "seconds between two of them")
	o.amqp.register(f, "exchange to publish to", "publish to this queue")
	f.BoolVar(&o.mandatory, "mandatory", false, "AMQP: it is an error if no queue has the message (with --queue it is anyway)")
	f.StringArrayVar(&o.headers, "header", nil, "AMQP: NAME=VALUE, as often as you like")
	o.register(f)
	return cmd
}

func (o *pubOptions) run(cmd *cobra.Command, args []string) error {
	f := cmd.Flags()
	c, err := o.options(f, args, "pub")
	if err != nil {
		return err
	}
	if err := o.check(f.Changed, c.Target); err != nil {
		return err
	}
	o.retain = o.retain || c.Target.Retain
	c.Inflight = o.inflight
	ctx, cancel := o.limit(cmd.Context())
	defer cancel()
	var payload []byte
	if !o.lines {
		if payload, err = o.payload(cmd.InOrStdin()); err != nil {
			return err
		}
		if most := client.MaxPayload(o.topic); len(payload) > most && !c.Target.AMQP() {
			return fmt.Errorf("the message has %d bytes, and MQTT carries %d at most", len(payload), most)
		}
	}
	conn, err := o.connect(ctx, cmd, c)
	if err != nil {
		return err
	}
	var sent int
	if o.lines {
		sent, err = o.publishLines(ctx, conn, cmd.InOrStdin())
	} else {
		sent, err = o.publishRepeatedly(ctx, conn, payload)
	}
	return o.goodbye(ctx, conn, sent, err)
}

// connect makes a connection of the protocol that the URL names.
func (o *pubOptions) connect(ctx context.Context, cmd *cobra.Command, c client.Options) (publisher, error) {
	if !c.Target.AMQP() {
		conn, err := client.Connect(ctx, c)
		if err != nil {
			return nil, connectError(c.Target, err)
		}
		return conn, nil
	}
	route := client.AMQPRoute{Exchange: o.amqp.exchange, Mandatory: o.mandatory}
	if o.amqp.queue != "" { // every queue has its name as a key of the default exchange
		route.Exchange, route.Mandatory = "", o.mandatory || !cmd.Flags().Changed("mandatory")
	}
	var err error
	if route.Headers, err = parseHeaders(o.headers); err != nil {
		return nil, err
	}
	conn, err := client.PublishAMQP(ctx, c, route, o.qos > 0, func(on bool, reason string) {
		if on {
			o.warn(cmd.ErrOrStderr(), cmd, fmt.Errorf("the broker holds publishers back: %s", printable(reason)))
		} else {
			o.warn(cmd.ErrOrStderr(), cmd, errors.New("the broker takes messages again"))
		}
	})
	if err != nil {
		return nil, connectError(c.Target, err)
	}
	return conn, nil
}

// check finds contradictions, and the topic.
func (o *pubOptions) check(changed func(flag string) bool, t client.Target) error {
	if o.topic == "" && len(t.Topics) > 0 {
		if len(t.Topics) > 1 {
			return usagef("one topic, not %d", len(t.Topics))
		}
		o.topic = t.Topics[0]
	}
	if err := o.checkTopic(changed, t); err != nil {
		return err
	}
	sources := 0
	for _, name := range []string{"message", "file", "stdin-line", "null-message", "stdin-file"} {
		if changed(name) {
			sources++
		}
	}
	switch {
	case sources == 0:
		return usagef("no message: -m, -f, -l, -n or -s")
	case sources > 1:
		return usagef("one of -m, -f, -l, -n and -s, but not several")
	case o.repeat < 1 || o.inflight < 1 || o.inflight > 65535:
		return usagef("--repeat is at least 1, --max-inflight between 1 and 65535")
	case o.lines && changed("repeat"):
		return usagef("lines (-l) cannot be repeated")
	}
	return nil
}

// checkTopic says whether a message can be published where it is to go.
func (o *pubOptions) checkTopic(changed func(flag string) bool, t client.Target) error {
	if t.AMQP() {
		var keys []string
		if o.topic != "" {
			keys = []string{o.topic}
		}
		// Another exchange may look at the headers only, or at nothing.
		err := o.amqp.checkAMQP(changed, t, keys, !changed("exchange") && !changed("topic"))
		switch {
		case err != nil:
			return err
		case o.retain:
			return errNoRetain
		case o.amqp.queue != "":
			o.topic = o.amqp.queue
		}
		return nil
	}
	if o.topic == "" {
		return usagef("no topic: -t, or a path in the URL")
	}
	if err := client.CheckTopic(o.topic); err != nil {
		return usagef("topic %q: %w", o.topic, err)
	}
	return nil
}

// payload is the one message of all but line mode.
func (o *pubOptions) payload(in io.Reader) ([]byte, error) {
	switch {
	case o.file != "":
		return os.ReadFile(o.file)
	case o.stdin:
		return io.ReadAll(in)
	}
	return []byte(o.message), nil
}

func (o *pubOptions) publishRepeatedly(ctx context.Context, conn publisher, payload []byte) (sent int, err error) {
	for sent < o.repeat {
		if sent > 0 && o.delay > 0 {
			select {
			case <-time.After(time.Duration(o.delay)):
			case <-conn.Done():
				return sent, conn.Err()
			case <-ctx.Done():
				return sent, context.Cause(ctx)
			}
		}
		if err := conn.Publish(ctx, o.topic, payload, byte(o.qos), o.retain); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// publishLines publishes each line, without its end. Ctrl-C ends it like the end
// of the input: what was read is published.
func (o *pubOptions) publishLines(ctx context.Context, conn publisher, in io.Reader) (sent int, err error) {
	lines := make(chan []byte)
	failed := make(chan error, 1)
	// It may wait in Read for ever, and ends with the process then.
	go readLines(ctx, in, lines, failed)
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return sent, <-failed
			}
			if err := conn.Publish(ctx, o.topic, line, byte(o.qos), o.retain); err != nil {
				return sent, err
			}
			sent++
		case <-conn.Done():
			return sent, conn.Err()
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return sent, cause
			}
			return sent, nil
		}
	}
}

// readLines sends lines until the input ends, and then why.
func readLines(ctx context.Context, in io.Reader, lines chan<- []byte, failed chan<- error) {
	r := bufio.NewReaderSize(in, 64<<10)
	defer close(lines)
	for {
		line, err := r.ReadBytes('\n')
		if len(line) > 0 {
			select {
			case lines <- bytes.TrimSuffix(line, []byte("\n")):
			case <-ctx.Done():
				failed <- nil
				return
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			failed <- err
			return
		}
	}
}

// goodbyePatience is how long we wait for acknowledgements after Ctrl-C.
const goodbyePatience = 5 * time.Second

// goodbye waits for what is due, leaves, and says what became of the messages.
func (o *pubOptions) goodbye(ctx context.Context, conn publisher, sent int, err error) error {
	flush := ctx
	if errors.Is(context.Cause(ctx), context.Canceled) {
		var cancel context.CancelFunc
		flush, cancel = context.WithTimeoutCause(context.WithoutCancel(ctx), goodbyePatience, errors.New("interrupted"))
		defer cancel()
	}
	if err == nil || errors.Is(err, context.Canceled) {
		if e := conn.Flush(flush); e != nil {
			err = e
		}
	}
	select {
	case <-conn.Done():
		conn.Close()
	default:
		err = errors.Join(err, conn.Disconnect())
	}
	if errors.Is(err, context.Canceled) {
		err = errors.New("interrupted")
	}
	switch {
	case err == nil:
		return nil
	case o.qos == 0:
		return fmt.Errorf("%w (%d sent)", err, sent)
	}
	return fmt.Errorf("%w (%d sent, %d of them acknowledged)", err, sent, conn.Acknowledged())
}
