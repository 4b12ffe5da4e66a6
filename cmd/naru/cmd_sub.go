package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/narumq/naru/cmd/naru/client"
	"github.com/narumq/naru/cmd/naru/format"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// subOptions are the flags of naru sub.
type subOptions struct {
	connectFlags
	topics       []string
	without      []string
	count        int
	skipRetained bool
	onlyRetained bool
	leave        bool
	reconnect    bool
	amqp         amqpFlags

	format  string
	verbose bool
	noLine  bool
	json    bool
	pretty  bool
	raw     bool
}

func subCommand() *cobra.Command {
	var o subOptions
	cmd := &cobra.Command{
		Use:   "sub [URL] -t FILTER...",
		Short: "Subscribe by MQTT or AMQP and print messages, with the options of mosquitto_sub",
		Long: `Subscribe by MQTT 3.1.1 or AMQP 0-9-1 and print the messages, with the options of
mosquitto_sub.

The broker is given by a URL, or else is mqtt://127.0.0.1:1883:

  mqtt[s]://[user[:password]@]host[:port][/filter][?qos=1&id=...]
  ws[s]://[user[:password]@]host[:port][/path]?topic=...
  amqp[s]://[user[:password]@]host[:port][/vhost][?heartbeat=10&...]

Of a WebSocket the path is that of the server; the filter is given by -t or ?topic=.
By AMQP messages are taken from --queue, which must be there, and acknowledged when they
are printed; or a queue of our own is bound to --exchange with the keys of -t.

A format (-F) knows: %t topic, %p payload, %x %X payload in hexadecimal, %l its
length, %q QoS, %r retained, %m packet id, %I time by ISO 8601, %U Unix time, %j JSON,
%J JSON with a payload that is JSON itself, %% a per cent sign; @Y @m @d @H @M @S ... as
in strftime, @N nanoseconds; \n \t \r \0 \e \a \v \\. By AMQP also
%e exchange, %d redelivered, %P headers, %C content type, %D correlation id, %R reply-to.
%-20t and %20t give a width, %.5t cuts, %05l fills with zeros.

On a terminal control characters in what messages bring along are shown as escapes,
so that no message can steer the terminal; --raw prints them as they are.

Exit codes: 0 left in good order (-C, Ctrl-C); 1 refused, or the connection is lost;
2 wrong usage; 27 timeout (-W), as in mosquitto_sub.`,
		Example: `  naru sub -t 'kitchen/#' -v
  naru sub 'mqtt://alice@broker.example/kitchen/#' --json     # with NARU_PASSWORD set
  naru sub -t reply/17 -C 1 -W 5 || echo 'no answer'
  naru sub -t '#' -F '@H:@M:@S %q %-30t %p'
  naru sub -t orders -q 2 -c -i archive --reconnect >> orders.log
  naru sub -t 'config/#' --retained-only -W 2 -F '%t %p'
  naru sub 'wss://broker.example/mqtt?topic=a/b' --cafile ca.pem --pretty
  naru sub amqp://127.0.0.1 --queue jobs -C 1                 # takes one message
  naru sub amqp://127.0.0.1 -t 'kitchen.#' -F '%e %t %P %p'`,
		RunE: func(cmd *cobra.Command, args []string) error { return o.finish(cmd, o.run(cmd, args)) },
	}
	o.command(cmd)
	f := cmd.Flags()
	f.StringArrayVarP(&o.topics, "topic", "t", nil, "filter to subscribe to, as often as you like")
	f.StringArrayVarP(&o.without, "filter-out", "T", nil, "do not print messages whose topic matches this filter")
	f.IntVarP(&o.count, "count", "C", 0, "leave after so many messages")
	f.BoolVarP(&o.skipRetained, "no-retained", "R", false, "do not print retained messages")
	f.BoolVar(&o.onlyRetained, "retained-only", false, "print only retained messages; leave at the first other one")
	f.BoolVarP(&o.leave, "exit-after-subscribe", "E", false, "leave when the subscriptions are made (for -c)")
	f.BoolVar(&o.reconnect, "reconnect", false, "connect again when the connection is lost")
	f.StringVarP(&o.format, "format", "F", "", "print messages in this way")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "print the topic in front of the payload")
	f.BoolVarP(&o.noLine, "no-newline", "N", false, "no line end after a message")
	f.BoolVar(&o.json, "json", false, "print each message as a JSON object on a line of its own")
	f.BoolVar(&o.pretty, "pretty", false, "print for people, with colours on a terminal (not with NO_COLOR)")
	f.BoolVar(&o.raw, "raw", false, "let control characters through to a terminal")
	o.amqp.register(f, "exchange that -t are keys of", "take messages from this queue")
	o.register(f)
	return cmd
}

// What ends a subscriber that has nothing to complain of.
var (
	errNotRetained = errors.New("a message that was not retained")
	errNoReader    = errors.New("nobody reads the output")
	errAllRefused  = errors.New("all subscriptions were refused")
)

func (o *subOptions) run(cmd *cobra.Command, args []string) error {
	c, err := o.options(cmd.Flags(), args, "sub")
	if err != nil {
		return err
	}
	p, err := o.printer(cmd)
	if err != nil {
		return err
	}
	if err := o.check(cmd.Flags().Changed, c.Target); err != nil {
		return err
	}
	// Where the reader of a pipe goes away we want to say goodbye to the broker.
	signal.Ignore(syscall.SIGPIPE)
	defer signal.Reset(syscall.SIGPIPE)
	ctx, cancel := o.limit(cmd.Context())
	defer cancel()
	c.Handle, c.Received = p.handle, &client.Received{}
	err = o.subscribe(ctx, cmd, func(again bool) error {
		if c.Target.AMQP() {
			return o.stayAMQP(ctx, c, p)
		}
		return o.stay(ctx, cmd, c, again)
	})
	if errors.Is(err, context.Canceled) || errors.Is(err, errNotRetained) || errors.Is(err, errNoReader) {
		return nil
	}
	return err
}

func (o *subOptions) check(changed func(flag string) bool, t client.Target) error {
	o.topics = append(o.topics, t.Topics...)
	if t.AMQP() {
		switch {
		case changed("qos") || t.HasQoS:
			return usagef("AMQP does not subscribe with a quality of service: every message is acknowledged")
		case o.count < 0:
			return usagef("-C is at least 1")
		}
		return o.amqp.checkAMQP(changed, t, o.topics, true)
	}
	if len(o.topics) == 0 {
		return usagef("no topic: -t, or a path in the URL")
	}
	for _, f := range slices.Concat(o.topics, o.without) {
		if err := client.CheckFilter(f); err != nil {
			return usagef("filter %q: %w", f, err)
		}
	}
	switch {
	case o.count < 0:
		return usagef("-C is at least 1")
	case o.skipRetained && o.onlyRetained:
		return usagef("-R and --retained-only leave nothing to print")
	}
	return nil
}

// subscribe stays until there is enough, or no way to go on.
func (o *subOptions) subscribe(ctx context.Context, cmd *cobra.Command, stay func(again bool) error) error {
	const shortest, longest = 250 * time.Millisecond, 15 * time.Second
	pause := shortest
	for again := false; ; again = true {
		began := time.Now()
		err := stay(again)
		var refused interface {
			error
			Final() bool
		}
		lost := &lostError{}
		switch {
		case err == nil, ctx.Err() != nil, !o.reconnect, errors.Is(err, errAllRefused),
			errors.As(err, &refused) && refused.Final(),
			!errors.As(err, &lost) && !again:
			return err
		case errors.As(err, &lost) && !lost.worthwhile:
			return err
		}
		if time.Since(began) > longest { // it had worked
			pause = shortest
		}
		o.warn(cmd.ErrOrStderr(), cmd, fmt.Errorf("%w; trying again in %v", err, pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		pause = min(2*pause, longest)
	}
}

// A lostError is the end of a connection that had been made.
type lostError struct {
	error
	worthwhile bool // to make it again
}

func (e *lostError) Unwrap() error { return e.error }

// stay is one connection from its beginning to its end.
func (o *subOptions) stay(ctx context.Context, cmd *cobra.Command, c client.Options, again bool) error {
	conn, err := client.Connect(ctx, c)
	if err != nil {
		return connectError(c.Target, err)
	}
	// A session that the broker has kept has its subscriptions, and to make them
	// again would bring all retained messages again.
	if !again || !conn.Present {
		if err := o.ask(ctx, cmd, conn); err != nil {
			return o.end(ctx, conn, err)
		}
		if o.leave {
			return conn.Disconnect()
		}
	}
	select {
	case <-conn.Finished():
		return conn.Disconnect()
	case <-conn.Done():
		select {
		case <-conn.Finished():
			return nil
		default:
		}
		return o.end(ctx, conn, conn.Err())
	case <-ctx.Done():
		return o.end(ctx, conn, context.Cause(ctx))
	}
}

// ask subscribes, and tells what was refused.
func (o *subOptions) ask(ctx context.Context, cmd *cobra.Command, conn *client.Conn) error {
	codes, err := conn.Subscribe(ctx, o.topics, byte(o.qos))
	if err != nil {
		return err
	}
	refused := 0
	for i, code := range codes {
		if code == packet.SubscribeFailure {
			refused++
			o.warn(cmd.ErrOrStderr(), cmd, fmt.Errorf("the broker refuses the subscription to %q", o.topics[i]))
		}
	}
	if refused == len(codes) {
		return errAllRefused
	}
	return nil
}

// end leaves a connection, in good order if there is still one.
func (o *subOptions) end(ctx context.Context, conn *client.Conn, err error) error {
	select {
	case <-conn.Done():
		conn.Close()
		ours := errors.Is(err, errNotRetained) || errors.Is(err, errNoReader) || errors.As(err, new(*printError))
		return &lostError{error: err, worthwhile: !ours}
	default:
	}
	if e := conn.Disconnect(); e != nil && ctx.Err() == nil {
		err = errors.Join(err, e)
	}
	return err
}

// A printError is why a message could not be printed.
type printError struct{ error }

// A printer writes messages, and knows how many it wants.
type printer struct {
	o      *subOptions
	out    io.Writer
	warn   func(error)
	format *format.Format
	pretty *format.Pretty // instead of format
	left   int            // 0: no limit
	b      []byte
}

func (o *subOptions) printer(cmd *cobra.Command) (*printer, error) {
	tty := terminal(cmd.OutOrStdout())
	p := &printer{o: o, out: cmd.OutOrStdout(), left: o.count}
	p.warn = func(err error) { o.warn(cmd.ErrOrStderr(), cmd, err) }
	text := "%p"
	switch {
	case o.format != "" && (o.json || o.pretty || o.verbose):
		return nil, usagef("-F stands alone, without --json, --pretty and -v")
	case o.format != "":
		text = o.format
	case o.json:
		text = "%j"
	case o.verbose:
		text = "%t %p"
	}
	var err error
	if p.format, err = format.Parse(text); err != nil {
		return nil, usagef("-F: %w", err)
	}
	p.format.Safe = tty && !o.raw
	if o.pretty {
		_, plain := os.LookupEnv("NO_COLOR")
		p.pretty = &format.Pretty{JSON: o.json, Safe: p.format.Safe, Color: tty && !plain && os.Getenv("TERM") != "dumb"}
	}
	return p, nil
}

// handle prints a message. The broker has its acknowledgement only if that worked.
func (p *printer) handle(m *client.Message) error {
	if p.o.onlyRetained && !m.Retain {
		return errNotRetained
	}
	if p.o.skipRetained && m.Retain || p.unwanted(m.Topic) {
		return nil
	}
	return p.print(&format.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retain: m.Retain, ID: m.ID, Time: time.Now()})
}

// print prints a message.
func (p *printer) print(fm *format.Message) error {
	var err error
	if p.pretty != nil {
		p.b = p.pretty.Append(p.b[:0], fm)
	} else if p.b, err = p.format.Append(p.b[:0], fm); err != nil {
		p.warn(fmt.Errorf("topic %q: %w", fm.Topic, err))
		return nil
	}
	if !p.o.noLine {
		p.b = append(p.b, '\n')
	}
	if _, err := p.out.Write(p.b); errors.Is(err, syscall.EPIPE) {
		return errNoReader
	} else if err != nil {
		return &printError{err}
	}
	if p.left > 0 {
		if p.left--; p.left == 0 {
			return client.ErrEnough
		}
	}
	return nil
}

func (p *printer) unwanted(topic string) bool {
	return slices.ContainsFunc(p.o.without, func(filter string) bool { return topic != "" && client.Matches(filter, topic) })
}
