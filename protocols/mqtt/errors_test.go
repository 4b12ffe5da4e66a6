package mqtt

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/mqtt/packet"
)

// generous is a deadline for what takes milliseconds, also where others use the
// machine.
func generous() time.Time { return time.Now().Add(30 * time.Second) }

func untilDeadline(t testing.TB, deadline time.Time) time.Duration {
	t.Helper()
	d := time.Until(deadline)
	if d <= 0 {
		t.Fatal("what was waited for has not come")
	}
	return d
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := generous(); !is(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(time.Millisecond) // between two looks
	}
}

// A recorder gathers what would be lines of the log that tell of something
// wrong.
type recorder struct {
	mu    sync.Mutex
	lines []line
}

// A line is an event with a cause.
type line struct {
	client string
	event  core.Event
	cause  error
	count  int64 // of what was refused
}

// record is an option of a box.
func (r *recorder) record(o *boxOptions) { o.core.Listeners = append(o.core.Listeners, r.listen) }

func (r *recorder) listen(e core.Event) {
	var l line
	switch e := e.(type) {
	case core.LoginRefused:
		l = line{e.Identity.ClientID, e, e.Cause, 0}
	case core.Disconnected:
		l = line{e.Identity.ClientID, e, e.Cause, 0}
	case core.PublishRefused:
		l = line{e.Identity.ClientID, e, e.Cause, e.Count}
	case core.SubscribeRefused:
		l = line{e.Identity.ClientID, e, e.Cause, e.Count}
	case core.AuthorizerFailed:
		l = line{e.Identity.ClientID, e, e.Err, 0}
	}
	if l.cause != nil {
		r.mu.Lock()
		r.lines = append(r.lines, l)
		r.mu.Unlock()
	}
}

func (r *recorder) take() []line {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lines
	r.lines = nil
	return l
}

// wantOne waits for the line about a client, and checks that it is the only
// one and has one of these causes.
func (r *recorder) wantOne(t testing.TB, client string, causes ...error) {
	t.Helper()
	eventually(t, "a line of the log", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.lines) > 0
	})
	lines := r.take()
	if len(lines) != 1 || lines[0].client != client ||
		!slices.ContainsFunc(causes, func(c error) bool { return errors.Is(lines[0].cause, c) }) {
		t.Fatalf("lines %+v, want one of %q because of %v", lines, client, causes)
	}
}

// wantRefused waits for lines that tell of n refusals and, unless end is nil,
// for one that says why the connection ended.
func (r *recorder) wantRefused(t testing.TB, n int64, cause, end error) {
	t.Helper()
	ends := 0
	eventually(t, "lines about refusals, and the end", func() bool {
		for _, l := range r.take() {
			switch {
			case l.count > 0 && errors.Is(l.cause, cause):
				n -= l.count
			case end != nil && errors.Is(l.cause, end):
				ends++
			default:
				t.Fatalf("line %+v", l)
			}
		}
		return n <= 0 && (end == nil || ends > 0)
	})
	if n < 0 || ends > 1 {
		t.Errorf("%d refusals and %d ends too many", -n, ends-1)
	}
}

func (r *recorder) wantNone(t testing.TB) {
	t.Helper()
	if lines := r.take(); len(lines) > 0 {
		t.Fatalf("lines %+v, want none", lines)
	}
}

// expected is the table once more, by name and by what the standard offers.
var expected = map[string]errorRow{
	"ErrBadCredentials": {core.ErrBadCredentials, 4, closes, closes},
	"ErrNotAuthorized":  {core.ErrNotAuthorized, 5, drops, drops},
	"ErrBadAddress":     {core.ErrBadAddress, 5, closes, closes},
	"ErrNotFound":       {core.ErrNotFound, 4, drops, drops},
	"ErrExists":         {core.ErrExists, 5, drops, drops},
	"ErrIdentifier":     {core.ErrIdentifier, 2, closes, closes},
	"ErrInUse":          {core.ErrInUse, 5, drops, drops},
	"ErrNotEmpty":       {core.ErrNotEmpty, 5, drops, drops},
	"ErrQuota":          {core.ErrQuota, 3, ignores, drops},
	"ErrTooLarge":       {core.ErrTooLarge, 5, closes, closes},
	"ErrUnavailable":    {core.ErrUnavailable, 3, ignores, drops},
	"ErrProtocol":       {core.ErrProtocol, 5, closes, closes},
	"ErrTakenOver":      {core.ErrTakenOver, 3, closes, closes},
	"ErrKeepAlive":      {core.ErrKeepAlive, 3, closes, closes},
	"ErrSlow":           {core.ErrSlow, 3, closes, closes},
	"ErrShutdown":       {core.ErrShutdown, 3, closes, closes},
	"ErrKicked":         {core.ErrKicked, 3, closes, closes},
}

// TestErrorTable reads the core's errors from its source, so that none is
// without a row.
func TestErrorTable(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../../core/errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				if name.IsExported() {
					names = append(names, name.Name)
				}
			}
		}
		return true
	})
	if len(names) != len(expected) || len(names) != len(errorTable) {
		t.Errorf("%d errors in the core, %d rows, %d rows here", len(names), len(errorTable), len(expected))
	}
	for _, name := range names {
		want, ok := expected[name]
		if !ok {
			t.Errorf("%s has no row", name)
			continue
		}
		if got := rowOf(fmt.Errorf("a: %w", fmt.Errorf("b: %w", want.err))); *got != want {
			t.Errorf("%s: %+v, want %+v", name, *got, want)
		}
	}
	if got := rowOf(io.ErrUnexpectedEOF); *got != (errorRow{nil, 3, drops, drops}) {
		t.Errorf("an error that is not the core's: %+v", *got)
	}
}

// gatekeeper answers a login with the error that the client id names.
type gatekeeper struct{}

func (gatekeeper) Authenticate(_ context.Context, c *core.Credentials) (core.Identity, error) {
	if row, ok := expected[c.ClientID]; ok {
		return core.Identity{}, fmt.Errorf("of the test: %w", row.err)
	}
	if c.ClientID == "other" {
		return core.Identity{}, io.ErrUnexpectedEOF
	}
	return c.Identity, nil
}

// censor refuses messages with the error that the payload names.
type censor struct{}

func (censor) Inline() {}

func (censor) Intercept(_ context.Context, _ *core.Identity, m *core.Message) error {
	if row, ok := expected[string(m.Payload)]; ok {
		return fmt.Errorf("of the test: %w", row.err)
	}
	if string(m.Payload) == "other" {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// TestErrorAnswers has each error happen at login and at publishing.
func TestErrorAnswers(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) {
		o.core.Authenticator, o.core.Interceptors = gatekeeper{}, []core.Interceptor{censor{}}
	})
	w := b.witness()
	names := []string{"other"}
	for name := range expected {
		names = append(names, name)
	}
	for _, name := range names {
		row, cause := other, io.ErrUnexpectedEOF
		if e, ok := expected[name]; ok {
			row, cause = e, e.err
		}
		t.Run(name, func(t *testing.T) {
			b.in(t, w.peer)
			p := b.open()
			p.Send(hello(4, 2, 0, name))
			p.want(fmt.Sprintf("20 02 00 %02x", byte(row.connect)))
			p.wantOver()
			log.wantOne(t, name, cause)

			for qos := range byte(3) {
				id := fmt.Sprintf("publisher %d", qos)
				p = b.connect(id, true)
				p.Send(append(packet.AppendPublishHead(nil, []byte("w/x"), len(name), qos, false, false, 9), name...))
				p.send("c0 00")
				switch {
				case row.publish == closes:
					p.wantOver()
				case row.publish == ignores || qos == 0:
					p.want("d0 00")
				default:
					p.want(fmt.Sprintf("%d0 02 0009 d0 00", 3+qos))
				}
				log.wantOne(t, id, cause)
				if row.publish != closes {
					p.send("e0 00")
					p.wantOver()
				}
			}
			w.check()
		})
	}
}

// TestRefusedPublishAtQoS2 keeps no id of a message that was not taken.
func TestRefusedPublishAtQoS2(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.core.Interceptors = []core.Interceptor{censor{}} })
	w := b.witness()
	p := b.connect("p", false)
	p.send("34 15 0003'w/x'0009'ErrUnavailable' c0 00") // not acknowledged: the client will try again
	p.want("d0 00")
	p.send("3c 09 0003'w/x'0009'ok' c0 00")
	p.want("50 02 0009 d0 00")
	w.want("30 07 0003'w/x''ok'")
	w.check()
}

// TestBadInputIsToldOnce: whatever is wrong, the operator reads one line about
// it, with the cause.
func TestBadInputIsToldOnce(t *testing.T) {
	var log recorder
	b := newBox(t, log.record, func(o *boxOptions) {
		o.config.MaxPacketSize, o.config.MaxClientIDLength, o.config.MaxSubscriptions = 1000, 30, 1
		o.core.Authorizer = only("mine")
	})
	w := b.connect("onlooker", true)
	tests := []struct {
		name  string
		first []byte // instead of a CONNECT
		then  string
		cause error
		says  string
		lives bool
	}{
		{"not MQTT", []byte("GET / HTTP/1.1\r\n\r\n"), "", core.ErrProtocol, "this is HTTP", false},
		{"TLS", raw("16 03 01 0200 01"), "", core.ErrProtocol, "this is TLS", false},
		{"AMQP", []byte("AMQP\x00\x00\x09\x01"), "", core.ErrProtocol, "this is AMQP", false},
		{"nothing known", []byte("EHLO me\r\n"), "", core.ErrProtocol, "PUBACK", false},
		{"wrong name", raw("10 0d 0004'MQTX'04 02 0000 0001'c'"), "", packet.ErrProtocol, "not the MQTT protocol", false},
		{"MQTT 5", raw("10 0e 0004'MQTT'05 02 0000 00 0001'c'"), "", core.ErrProtocol, "level 5", false},
		{"cut off", raw("10 0d 0004'MQTT'04 02 0000 0003'c'"), "", packet.ErrShort, "CONNECT", false},
		{"long id", hello(4, 2, 0, strings.Repeat("x", 31)), "", core.ErrIdentifier, "31 bytes", false},
		{"no id", hello(4, 0, 0, ""), "", core.ErrIdentifier, "empty", false},
		{"no id in 3.1", hello(3, 2, 0, ""), "", core.ErrIdentifier, "empty", false},
		{"will to a wildcard", hello(4, 6, 0, "c", "a/#", ""), "", core.ErrBadAddress, "will", false},
		{"will to nothing", hello(4, 6, 0, "c", "", ""), "", core.ErrBadAddress, "will", false},
		{"too large", raw("10 e7 07 0004"), "", core.ErrTooLarge, "limit 1000", false},
		{"long publish", nil, "30 e7 07 0004", core.ErrTooLarge, "limit 1000", false},
		{"odd id", nil, "32 05 0001't'0000", packet.ErrID, "PUBLISH", false},
		{"no topic", nil, "30 02 0000", core.ErrBadAddress, "publish", false},
		{"odd filter", nil, "82 07 0001 0002'##'00", core.ErrBadAddress, "##", false},
		{"odd unsubscribe", nil, "a2 06 0001 0002'##'", core.ErrBadAddress, "##", false},
		{"second CONNECT", nil, "10 0d 0004'MQTT'04 02 0000 0001'c'", core.ErrProtocol, "second CONNECT", false},
		{"forbidden publish", nil, "30 07 0005'yours'", core.ErrNotAuthorized, "yours", true},
		{"forbidden filter", nil, "82 0a 0001 0005'yours'00", core.ErrNotAuthorized, "yours", true},
		{"missing queue", nil, "82 0d 0001 0008'$queue/x'00", core.ErrNotAuthorized, "$queue/x", true},
		{"odd share", nil, "82 0e 0001 0009'$share/g/'00", core.ErrNotFound, "$share/g/", true},
		{"$SYS", nil, "30 08 0006'$SYS/x'", core.ErrNotAuthorized, "$SYS/x", true},
		{"too many subscriptions", nil, "82 09 0001 0004'mine'00 82 09 0002 0004'mine'01 82 0b 0003 0006'mine/#'00", core.ErrQuota, "1 subscriptions", true},
		{"silent end", nil, "", io.EOF, "EOF", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b.in(t, w)
			p := b.open()
			if test.first != nil {
				p.Send(test.first)
			} else {
				p.Send(hello(4, 2, 0, "c"))
				p.want("20 02 00 00")
				p.send(test.then)
			}
			if test.cause == io.EOF {
				p.Hangup(io.EOF)
			}
			var lines []line
			eventually(t, "a line", func() bool { lines = append(lines, log.take()...); return len(lines) > 0 })
			if test.lives {
				p.send("c0 00 e0 00")
			}
			p.untilOver()
			w.send("c0 00")
			w.want("d0 00")
			lines = append(lines, log.take()...)
			if len(lines) != 1 || !errors.Is(lines[0].cause, test.cause) || !strings.Contains(lines[0].cause.Error(), test.says) {
				t.Errorf("lines %+v, want one because of %v that says %q", lines, test.cause, test.says)
			}
		})
	}
}

// TestPortCheck: who comes and goes without a word leaves no line; one byte is
// a word, and silence until the time to log in is over is told.
func TestPortCheck(t *testing.T) {
	var log recorder
	b := newBox(t, log.record)
	b.open().Hangup(io.EOF)
	log.wantNone(t)
	p := b.open()
	p.Send([]byte{0x10})
	p.Hangup(io.EOF)
	log.wantOne(t, "", io.EOF)
	b = newBox(t, log.record, func(o *boxOptions) { o.conn.AuthTimeout = 100 * time.Millisecond })
	b.open().untilOver()
	log.wantOne(t, "", core.ErrKeepAlive)
}

// only is an authorizer that knows one topic.
type only string

func (only) Inline() {}

func (o only) Authorize(_ context.Context, _ *core.Identity, r core.Right) (bool, error) {
	return strings.HasPrefix(string(r.Address), string(o)), nil
}
