package amqp

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"
)

// A Runner plays scripts against one broker.
type Runner struct {
	Addr     string
	Restart  func(kill bool) error // stop the broker and start it again
	Patience time.Duration         // how long an expectation waits
}

// quiet is how long connections are watched for what was not asked for, at the
// end of a script.
const quiet = 100 * time.Millisecond

// A Failure is the first step that did not go as written.
type Failure struct {
	Script *Script
	Step   *Step
	Reason error
}

func (f *Failure) String() string {
	return fmt.Sprintf("scripts/%s:%d: %s\n  script %s\n  %v", f.Script.File, f.Step.Line, f.Step.Text, f.Script.ID(), f.Reason)
}

// A performance is one run of a script.
type performance struct {
	*Runner
	conns map[string]*conn
	vars  map[string]Value
}

var plays atomic.Int64

// Play runs a script and answers the first failure, or nil. With asPeer it
// plays RabbitMQ's version.
func (r *Runner) Play(s *Script, asPeer bool) *Failure {
	steps, err := s.Steps(asPeer, fmt.Sprintf("%04x", plays.Add(1)))
	if err != nil {
		return &Failure{s, &Step{}, err}
	}
	p := &performance{Runner: r, conns: map[string]*conn{}, vars: map[string]Value{}}
	defer p.endAll()
	for i := range steps {
		for range max(1, steps[i].Times) {
			if err := p.step(&steps[i]); err != nil {
				return &Failure{s, &steps[i], err}
			}
		}
	}
	time.Sleep(quiet) // what comes unasked comes at any time; nothing announces that it will not
	for _, name := range slices.Sorted(maps.Keys(p.conns)) {
		if what := p.conns[name].unread(); what != "" {
			return &Failure{s, &steps[len(steps)-1], fmt.Errorf("after the last step %s has received %s", name, what)}
		}
	}
	return nil
}

func (p *performance) deadline() time.Time { return time.Now().Add(p.Patience) }

func (p *performance) endAll() {
	for _, c := range p.conns {
		c.end()
	}
	clear(p.conns)
}

func (p *performance) step(st *Step) error {
	switch st.Op {
	case "sleep":
		time.Sleep(st.Wait) // the script gives the reason
		return nil
	case "restart", "kill9":
		p.endAll()
		return p.Restart(st.Op == "kill9")
	}
	c := p.conns[st.Conn]
	if st.Op == "dial" || st.Op == "open" && st.Channel == 0 {
		if c != nil {
			c.end() // it was closed, or the script would not use its name again
		}
		n, err := net.Dial("tcp", p.Addr)
		if err != nil {
			return err
		}
		c = newConn(n)
		p.conns[st.Conn] = c
		if st.Op == "dial" {
			return nil
		}
		return p.handshake(c, st)
	}
	if c == nil {
		return errors.New(st.Conn + " is not open")
	}
	switch st.Op {
	case "open":
		return p.call(c, st.Channel, cmd("channel.open"), cmd("channel.open-ok"))
	case "close":
		return p.close(c, st.Channel)
	case "drop":
		c.end()
		delete(p.conns, st.Conn) // with all that has come
	case "bytes":
		c.write(st.Bytes, p.Patience)
	case "frame":
		c.write(appendFrame(nil, Frame{st.Type, st.Channel, st.Bytes}), p.Patience)
	case "send":
		return p.send(c, st.Channel, st.Command)
	case "sync":
		flow := cmd("channel.flow", "active", bit(true))
		return p.call(c, st.Channel, flow, cmd("channel.flow-ok", "active", bit(true)))
	case "call":
		return p.call(c, st.Channel, st.Command, st.OK)
	case "until":
		return p.until(c, st)
	case "silent":
		time.Sleep(st.Wait) // nothing announces that nothing will come
		if what := c.unread(); what != "" {
			return errors.New("received " + what)
		}
	default:
		return p.expect(c, st)
	}
	return nil
}

// cmd makes a command of a name and of pairs of names and values.
func cmd(name string, args ...any) *Command {
	c := &Command{Method: methods[name], Args: map[string]Value{}}
	for i := 0; i < len(args); i += 2 {
		c.Args[args[i].(string)] = args[i+1].(Value)
	}
	return c
}

// send sends a command with the values of its variables.
func (p *performance) send(c *conn, channel uint16, what *Command) error {
	resolved := *what
	resolved.Args, resolved.Props = map[string]Value{}, map[string]Value{}
	var err error
	for name, v := range what.Args {
		if resolved.Args[name], err = v.resolve(p.vars); err != nil {
			return err
		}
	}
	for name, v := range what.Props {
		if resolved.Props[name], err = v.resolve(p.vars); err != nil {
			return err
		}
	}
	if what.Method.Name == "connection.tune-ok" {
		if n := what.Args["frame-max"].Num; n >= smallest {
			c.frameMax = int(n)
		}
	}
	return c.send(&resolved, channel, p.Patience)
}

// receive takes the next command of a channel and compares it.
func (p *performance) receive(c *conn, channel uint16, want *Command) error {
	got, err := c.next(channel, p.deadline())
	if err != nil {
		if other := c.unread(); other != "" {
			return fmt.Errorf("%w; it has received %s", err, other)
		}
		return err
	}
	if differs := got.match(want, p.vars); differs != "" {
		return fmt.Errorf("received %s\n    want %s\n  differs %s", got, want, differs)
	}
	return nil
}

func (p *performance) call(c *conn, channel uint16, request, answer *Command) error {
	if err := p.send(c, channel, request); err != nil {
		return err
	}
	return p.receive(c, channel, answer)
}

// until repeats a call until its answer is the one that is wanted. It is for
// what the broker does in its own time.
func (p *performance) until(c *conn, st *Step) error {
	deadline := p.deadline()
	for {
		if err := p.send(c, st.Channel, st.Command); err != nil {
			return err
		}
		got, err := c.next(st.Channel, deadline)
		if err != nil {
			return err
		}
		differs := got.match(st.OK, p.vars)
		if differs == "" {
			return nil
		}
		if got.Method != st.OK.Method || time.Now().After(deadline) {
			return fmt.Errorf("received %s\n    want %s\n  differs %s", got, st.OK, differs)
		}
		time.Sleep(20 * time.Millisecond) // between two questions
	}
}

// close ends a channel or a connection in the orderly way.
func (p *performance) close(c *conn, channel uint16) error {
	class := "connection"
	if channel != 0 {
		class = "channel"
	}
	closing := cmd(class+".close", "reply-code", integer(200), "reply-text", text("OK"))
	if err := p.call(c, channel, closing, cmd(class+".close-ok")); err != nil || channel != 0 {
		return err
	}
	c.end() // RabbitMQ leaves this to us
	return nil
}

// closed waits for the end of a connection, with nothing before it.
func (p *performance) closed(c *conn, notBefore time.Duration) error {
	err := c.await(p.deadline().Add(notBefore), func(ended bool) (bool, error) {
		if err := c.parseLocked(false); err != nil {
			return false, err
		}
		return ended || len(c.mu.frames) > 0, nil
	})
	if err != nil {
		return errors.New("the connection stays open")
	}
	if what := c.unread(); what != "" {
		return errors.New("received " + what)
	}
	if after := time.Since(c.sent); after < notBefore {
		return fmt.Errorf("closed after %v already", after.Round(time.Millisecond))
	}
	return nil
}

// fullCapabilities are those that every client library announces.
var fullCapabilities = Value{Kind: 'F', Fields: []Field{
	{"authentication_failure_close", bit(true)}, {"basic.nack", bit(true)}, {"connection.blocked", bit(true)},
	{"consumer_cancel_notify", bit(true)}, {"exchange_exchange_bindings", bit(true)}, {"publisher_confirms", bit(true)},
}}

// handshake does everything from the protocol header to connection.open-ok.
func (p *performance) handshake(c *conn, st *Step) error {
	get := func(name, other string) string {
		if v, ok := st.Opts[name]; ok {
			return v.(string)
		}
		return other
	}
	c.write([]byte("AMQP\x00\x00\x09\x01"), p.Patience)
	if _, err := c.next(0, p.deadline()); err != nil {
		return err
	}
	capabilities := fullCapabilities
	if v, ok := st.Opts["capabilities"]; ok {
		capabilities = v.(Value)
	}
	start := cmd("connection.start-ok", "mechanism", text("PLAIN"), "locale", text("en_US"),
		"response", text("\x00"+get("user", "guest")+"\x00"+get("password", "guest")),
		"client-properties", Value{Kind: 'F', Fields: []Field{{"capabilities", capabilities}}})
	if err := c.send(start, 0, p.Patience); err != nil {
		return err
	}
	offer, err := c.next(0, p.deadline())
	if err != nil {
		return err
	}
	if offer.Method.Name != "connection.tune" {
		return fmt.Errorf("received %s", offer)
	}
	tune := cmd("connection.tune-ok", "heartbeat", integer(0))
	for _, name := range []string{"channel-max", "frame-max"} {
		tune.Args[name] = offer.Args[name]
	}
	for _, name := range []string{"channel-max", "frame-max", "heartbeat"} {
		if v, ok := st.Opts[name]; ok {
			tune.Args[name] = integer(v.(int))
		}
	}
	if err := p.send(c, 0, tune); err != nil {
		return err
	}
	return p.call(c, 0, cmd("connection.open", "virtual-host", text(get("vhost", "/"))), cmd("connection.open-ok"))
}
