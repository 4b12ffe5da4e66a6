package e2e

import (
	"bytes"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"
)

// A Runner plays scripts against one broker.
type Runner struct {
	Dial     func(transport string) (net.Conn, error) // transport: "" for TCP, "ws"
	Restart  func(kill bool) error                    // stop the broker and start it again
	Patience time.Duration                            // how long an expectation waits
}

// quiet is how long connections are watched for surplus packets at the end of
// a script. All are watched at once.
const quiet = 150 * time.Millisecond

// A Failure is the first step that did not go as written.
type Failure struct {
	Script *Script
	Step   *Step
	Reason string // may have several lines
}

func (f *Failure) String() string {
	return fmt.Sprintf("mqtt/%s:%d: %s\n  script %s\n  %s",
		f.Script.File, f.Step.Line, f.Step.Text, f.Script.ID(), strings.ReplaceAll(f.Reason, "\n", "\n  "))
}

// A performance is one run of a script.
type performance struct {
	*Runner
	conns map[string]*conn
	vars  map[string][]byte // captured values
}

// Play runs a script and returns the first failure, or nil.
func (r *Runner) Play(s *Script) *Failure {
	p := &performance{Runner: r, conns: map[string]*conn{}, vars: map[string][]byte{}}
	defer p.endAll()
	for i := range s.Steps {
		if reason := p.step(&s.Steps[i]); reason != "" {
			return &Failure{s, &s.Steps[i], reason}
		}
	}
	if reason := p.surplus(quiet); reason != "" {
		return &Failure{s, &s.Steps[len(s.Steps)-1], "after the last step: " + reason}
	}
	return nil
}

// step does one step; the answer is why it failed, or "".
func (p *performance) step(st *Step) string {
	if st.Conn != "" && st.Op != opOpen && p.conns[st.Conn] == nil {
		return st.Conn + " is not open"
	}
	c := p.conns[st.Conn]
	switch st.Op {
	case opOpen:
		return p.openConn(st)
	case opSend, opTrickle:
		return p.send(c, st)
	case opExpect:
		return p.expect(c, st.Pattern)
	case opUnordered:
		return p.unordered(c, slices.Clone(st.Set))
	case opHTTP:
		return p.http(c, st.Words[0], st.Words[1])
	case opClosed:
		return p.closed(c, st.From, st.To)
	case opAnyClosed:
		data, closed := c.await(p.deadline(), func([]byte, bool) bool { return false })
		if !closed {
			return "the connection stays open"
		}
		c.consume(len(data))
	case opSilent:
		return p.silent(st.Conn, st.To)
	case opClose, opReset:
		return p.end(st.Conn, st.Op == opReset)
	case opEither:
		return p.either(st.Words, st.Pattern)
	case opDiffer:
		return p.differ(st.Set)
	case opSleep:
		time.Sleep(st.To) // the script gives the reason
	case opRestart, opKill:
		return p.restart(st.Op == opKill)
	}
	return ""
}

func (p *performance) deadline() time.Time { return time.Now().Add(p.Patience) }

func (p *performance) openConn(st *Step) string {
	if old := p.conns[st.Conn]; old != nil {
		if data, closed := old.unread(); !closed || len(data) > 0 {
			return st.Conn + " is open already"
		}
		old.end(false)
	}
	n, err := p.Dial(st.Words[0])
	if err != nil {
		return err.Error()
	}
	p.conns[st.Conn] = newConn(n)
	return ""
}

func (p *performance) send(c *conn, st *Step) string {
	b, err := st.Pattern.Bytes(p.vars)
	if err != nil {
		return err.Error()
	}
	if st.Op == opSend {
		c.send(b, p.Patience)
		return ""
	}
	for i := range b {
		c.send(b[i:i+1], p.Patience)
		time.Sleep(time.Millisecond) // so that the broker reads each byte alone
	}
	return ""
}

// end closes from our side; bytes that have come and that the script did not
// ask for are a failure.
func (p *performance) end(name string, reset bool) string {
	c := p.conns[name]
	data, _ := c.unread()
	c.end(reset)
	delete(p.conns, name)
	if len(data) > 0 {
		return "unread bytes on " + name + "\nreceived " + describe(data)
	}
	return ""
}

func (p *performance) differ(sides []Pattern) string {
	a, err := sides[0].Bytes(p.vars)
	if err != nil {
		return err.Error()
	}
	b, err := sides[1].Bytes(p.vars)
	if err != nil {
		return err.Error()
	}
	if bytes.Equal(a, b) {
		return fmt.Sprintf("both are %x", a)
	}
	return ""
}

// restart takes the broker down and up again; the connections of the script
// are gone with it, whatever the dying broker still sent on them.
func (p *performance) restart(kill bool) string {
	if reason := p.surplus(0); reason != "" {
		return "before the restart: " + reason
	}
	if err := p.Restart(kill); err != nil {
		return err.Error()
	}
	p.endAll()
	return ""
}

// surplus reports unread bytes on any connection, after waiting for them for
// some time.
func (p *performance) surplus(wait time.Duration) string {
	deadline := time.Now().Add(wait)
	for _, name := range slices.Sorted(maps.Keys(p.conns)) {
		data, _ := p.conns[name].await(deadline, func(data []byte, _ bool) bool { return len(data) > 0 })
		if len(data) > 0 {
			return "unread bytes on " + name + "\nreceived " + describe(data)
		}
	}
	return ""
}

func (p *performance) endAll() {
	for _, c := range p.conns {
		c.end(false)
	}
	clear(p.conns)
}
