package amqp

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/suite"
)

// A fakeBroker sends the same to everyone who connects, and then may close. It
// is what a runner must see through.
type fakeBroker struct {
	reply string // commands, a line each, or "raw " and bytes
	close bool
}

func (f fakeBroker) runner(t *testing.T) *Runner {
	var reply []byte
	for line := range strings.Lines(f.reply) {
		in := &scanner{strings.TrimSpace(line)}
		if in.accept("raw ") {
			b, err := in.bytes()
			if err != nil {
				t.Fatal(err)
			}
			reply = append(reply, b...)
			continue
		}
		c, err := in.command()
		if err != nil {
			t.Fatal(err)
		}
		b, err := c.frames(1, smallest)
		if err != nil {
			t.Fatal(err)
		}
		reply = append(reply, b...)
	}
	addr := suite.Fake(t, func(c net.Conn) {
		c.Write(reply)
		for buf := make([]byte, 100); !f.close; { // until the script ends the connection
			if _, err := c.Read(buf); err != nil {
				return
			}
		}
	})
	return &Runner{Addr: addr, Patience: 1500 * time.Millisecond}
}

// TestRunner: the runner notices what is wrong, and only that.
func TestRunner(t *testing.T) {
	deliver := fakeBroker{reply: "basic.deliver consumer-tag='t' delivery-tag=1 routing-key='q' | headers={a=1 b='x'} | 'body'"}
	tests := []struct {
		name   string
		fake   fakeBroker
		script string
		want   string // a part of the failure, "" for success
	}{
		{"right", deliver, "c1.1 < basic.deliver consumer-tag='t' delivery-tag=1 routing-key='q' | headers={b='x' a=1} | 'body'", ""},
		{"patterns", deliver, "c1.1 < basic.deliver consumer-tag=_ delivery-tag=_ routing-key='q'... | headers={a=1 ...} | _", ""},
		{"an argument", deliver, "c1.1 < basic.deliver consumer-tag='t' delivery-tag=2 routing-key='q' | _ | _", "differs delivery-tag"},
		{"an argument that is not named", deliver, "c1.1 < basic.deliver consumer-tag='t' delivery-tag=1 | _ | _", "differs routing-key"},
		{"a flag", deliver, "c1.1 < basic.deliver consumer-tag='t' delivery-tag=1 redelivered routing-key='q' | _ | _", "differs redelivered"},
		{"a header too many", deliver, "c1.1 < basic.deliver consumer-tag=_ delivery-tag=_ routing-key=_ | headers={a=1} | _", "differs headers"},
		{"a header of another type", deliver, "c1.1 < basic.deliver consumer-tag=_ delivery-tag=_ routing-key=_ | headers={a=l:1 ...} | _", "differs headers"},
		{"a property missing", deliver, "c1.1 < basic.deliver consumer-tag=_ delivery-tag=_ routing-key=_ | headers=_ priority=1 | _", "differs priority"},
		{"a property too many", deliver, "c1.1 < basic.deliver consumer-tag=_ delivery-tag=_ routing-key=_ | | _", "differs headers"},
		{"the body", deliver, "c1.1 < basic.deliver consumer-tag=_ delivery-tag=_ routing-key=_ | _ | 'bodY'", "differs the body"},
		{"a variable", deliver, "c1.1 < basic.deliver consumer-tag=$x delivery-tag=_ routing-key=$x | _ | _", "differs routing-key"},
		{"another method", deliver, "c1.1 < basic.get-empty", "another method"},
		{"another channel", deliver, "c1.2 < basic.get-empty", "it has received on channel 1 basic.deliver"},
		{"unread at the end", deliver, "sleep 1s # it is there by then", "after the last step c1 has received on channel 1 basic.deliver"},
		{"silence", deliver, "c1 silent 3s", "received on channel 1"},
		{"nothing", fakeBroker{}, "c1.1 < basic.get-empty", "received nothing"},
		{"closed instead", fakeBroker{close: true}, "c1.1 < basic.get-empty", "closed"},
		{"a close", fakeBroker{close: true}, "c1 < close", ""},
		{"a close that does not come", fakeBroker{}, "c1 < close", "stays open"},
		{"a close too early", fakeBroker{close: true}, "c1 < close after 200ms", "already"},
		{"words before a close", fakeBroker{reply: "basic.get-empty", close: true}, "c1 < close", "received on channel 1 basic.get-empty"},
		{"raw bytes", fakeBroker{reply: "raw 'AMQP' 00000901"}, "c1 < bytes 'AMQP' 00000901", ""},
		{"other raw bytes", fakeBroker{reply: "raw 'AMQP' 00000900"}, "c1 < bytes 'AMQP' 00000901", "received 414d515000000900"},
		{"no frame", fakeBroker{reply: "raw 'AMQP' 00000901"}, "c1.1 < basic.get-empty", "no frame begins with"},
		{"a bad frame end", fakeBroker{reply: "raw 08 0000 00000000 cd"}, "c1 < heartbeat", "a frame ends with 0xcd"},
		{"a heartbeat", fakeBroker{reply: "raw 08 0000 00000000 ce"}, "c1 < heartbeat", ""},
		{"a heartbeat is no news", fakeBroker{reply: "raw 08 0000 00000000 ce"}, "c1 silent 50ms", ""},
		{"confirms", fakeBroker{reply: "basic.ack delivery-tag=2\nbasic.ack delivery-tag=3 multiple\nbasic.nack delivery-tag=4"}, "c1.1 confirms 1-3 !4", ""},
		{"a nack", fakeBroker{reply: "basic.nack delivery-tag=1"}, "c1.1 confirms 1", "received basic.nack"},
		{"an ack", fakeBroker{reply: "basic.ack delivery-tag=1"}, "c1.1 confirms !1", "received basic.ack"},
		{"too few confirms", fakeBroker{reply: "basic.ack delivery-tag=1"}, "c1.1 confirms 1 2", "still to come are [2]"},
		{"a confirm twice", fakeBroker{reply: "basic.ack delivery-tag=1\nbasic.ack delivery-tag=1"}, "c1.1 confirms 1 2", "received basic.ack delivery-tag=1, still"},
		{"an error", fakeBroker{reply: "channel.close reply-code=404 reply-text='NOT_FOUND - x' class-id=50 method-id=10"},
			"c1.1 < channel-error 404 queue.declare 'NOT_FOUND - '...", ""},
		{"another error", fakeBroker{reply: "channel.close reply-code=404 reply-text='NOT_FOUND - x' class-id=50 method-id=10"},
			"c1.1 < channel-error 404 queue.bind 'NOT_FOUND - '...", "differs method-id"},
		{"a call", fakeBroker{reply: "queue.declare-ok queue='q' message-count=1"}, "c1.1 call queue.declare queue='q' -> message-count=1", ""},
		{"a call without its answer", fakeBroker{reply: "queue.declare-ok queue='q' message-count=1"}, "c1.1 call queue.declare queue='q'", "differs message-count"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			scripts, err := parseFile("fake.txt", "== fake\nc1 dial\n"+test.script)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if f := test.fake.runner(t).Play(scripts[0], false); f != nil {
				got = f.String()
			}
			if test.want == "" && got != "" || !strings.Contains(got, test.want) {
				t.Errorf("the failure is %q, want %q", got, test.want)
			}
		})
	}
}

// TestScriptErrors: what makes no sense is no script.
func TestScriptErrors(t *testing.T) {
	for _, text := range []string{
		"c1 open",
		"== a\nc1 sing",
		"== a\nsleep 1s",
		"== a\nc1.1 queue.sing",
		"== a\nc1.1 queue.declare name='x'",
		"== a\nc1.1 queue.declare queue=5",
		"== a\nc1.1 queue.declare queue='x",
		"== a\nc1.1 queue.declare queue='x' queue='y'",
		"== a\nc1.1 queue.declare durable queue",
		"== a\nc1.1 basic.publish",
		"== a\nc1.1 basic.publish | | nothing",
		"== a\nc1.1 basic.publish | colour='red' | 'x'",
		"== a\nc1.1 queue.declare arguments={a}",
		"== a\nc1.1 queue.declare arguments={a=}",
		"== a\nc1.1 call basic.publish | | 'x'",
		"== a\nc1.1 < channel-error 404 queue.sing 'x'",
		"== a\nc1.1 confirms one",
		"== a\nc1 open colour='red'",
		"== a\nrabbitmq: is different",
	} {
		if _, err := parseFile("bad.txt", text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestCommandsSurvive: what the client encodes it decodes again, for every
// method and every property.
func TestCommandsSurvive(t *testing.T) {
	values := map[string]string{
		"bit": "t:true", "octet": "7", "short": "65535", "long": "4294967295", "longlong": "5000000000",
		"shortstr": "'short'", "longstr": "'long'*100",
		"table": "{S='x' x=x:'y' I=-1 l=l:-5 b=b:-1 B=B:255 s=s:-1 u=u:65535 i=i:4294967295 t=t:true T=T:1 d=d:1.5 f=f:-0.5 D=D:2/314 V=V F={a=[1 {b='c'}]}}",
	}
	for _, m := range methods {
		var text strings.Builder
		text.WriteString(m.Name)
		for _, a := range m.Fields {
			if !a.Reserved() {
				text.WriteString(" " + a.Name + "=" + values[a.Type])
			}
		}
		if m.Content() {
			text.WriteString(" |")
			for _, p := range properties {
				text.WriteString(" " + p.Name + "=" + values[p.Type])
			}
			text.WriteString(" | 'body'*2000")
		}
		want, err := (&scanner{text.String()}).command()
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.frames(3, smallest)
		if err != nil {
			t.Fatal(err)
		}
		var frames []Frame
		for len(b) > 0 {
			f, rest, ok, err := cutFrame(b)
			if err != nil || !ok {
				t.Fatalf("%s: %v", m.Name, err)
			}
			if len(f.Payload) > smallest-8 {
				t.Errorf("%s has a frame of %d bytes", m.Name, len(f.Payload))
			}
			frames, b = append(frames, f), rest
		}
		got, n, err := assemble(frames, 3)
		if err != nil || n != len(frames) {
			t.Errorf("%s: %d of %d frames, %v", m.Name, n, len(frames), err)
			continue
		}
		if differs := got.match(want, nil); differs != "" {
			t.Errorf("%s\nwant %s\ndiffers %s", got, want, differs)
		}
	}
}
