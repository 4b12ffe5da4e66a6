package amqp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// The classes of SECURITY.md that concern AMQP 0-9-1, by their numbers. Those of
// the rights are in security_rights_test.go.

// TestSecurity4Bodies sends more than was announced, announces more than may be,
// and sends frames larger than was agreed.
func TestSecurity4Bodies(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.config.MaxMessageSize = 1000 })
	publish := func(size uint64, bodies ...int) func(p *peer) {
		return func(p *peer) {
			p.send(1, frame.MethodBasicPublish, uint16(0), "", "q", bits(0))
			p.Send(frame.AppendHeaderFrame(nil, 1, size, transient))
			for _, n := range bodies {
				p.Send(frame.AppendBodyFrames(nil, 1, make([]byte, n), 131072))
			}
		}
	}
	for _, c := range []struct {
		name string
		do   func(*peer)
		soft frame.Code // that ends the channel, or
		hard frame.Code // the connection
	}{
		{"more than announced", publish(10, 4, 7), 0, frame.FrameError},
		{"more in the first frame", publish(10, 11), 0, frame.FrameError},
		{"a body where none is", publish(0, 1), 0, frame.UnexpectedFrame},
		{"larger than allowed", publish(1001), frame.PreconditionFailed, 0},
		{"nonsense", publish(1 << 62), 0, frame.FrameError},
		{"negative", publish(1<<64 - 1), 0, frame.FrameError},
		{"a frame above frame_max", func(p *peer) { p.Send(frame.AppendHeader(nil, frame.FrameBody, 1, 131072+1)) }, 0, frame.FrameError},
		{"a frame of 4 GiB", func(p *peer) { p.Send(frame.AppendHeader(nil, frame.FrameMethod, 0, 1<<32-1)) }, 0, frame.FrameError},
		{"no end octet", func(p *peer) { p.Send(append(frame.AppendHeader(nil, frame.FrameHeartbeat, 0, 0), 0)) }, 0, frame.FrameError},
		{"a frame of no known type", func(p *peer) { p.Send(append(frame.AppendHeader(nil, 5, 1, 0), frame.EndOctet)) }, 0, frame.FrameError},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := b.connect()
			p.t = t
			c.do(p)
			if c.hard != 0 {
				p.wantEnd(c.hard)
			} else {
				p.wantClose(1, c.soft)
				p.openChannel(1) // the rest of the connection lives
				p.Hangup(nil)
			}
		})
	}
}

// TestSecurity4FrameMax: what is agreed holds both ways, and has a floor.
func TestSecurity4FrameMax(t *testing.T) {
	b := newBox(t)
	tune := func(frameMax uint32) *peer {
		p := b.open()
		can := props.AddTable(nil, "capabilities", props.AddBool(nil, "authentication_failure_close", true))
		p.Send(appendMethod([]byte(frame.Protocol), 0, frame.MethodConnectionStartOK, can, "ANONYMOUS", long(""), "en_US"))
		p.want(0, frame.MethodConnectionStart)
		p.want(0, frame.MethodConnectionTune)
		p.send(0, frame.MethodConnectionTuneOK, uint16(10), frameMax, uint16(0))
		return p
	}
	for _, n := range []uint32{0, 1, 8, frame.MinFrameMax - 1, 131073, 1<<32 - 1} {
		tune(n).wantEnd(frame.NotAllowed)
	}
	p := tune(frame.MinFrameMax)
	p.send(0, frame.MethodConnectionOpen, "/", "", false)
	p.want(0, frame.MethodConnectionOpenOK)
	p.openChannel(1)
	p.declare(1, "q", 0, nil)
	p.consume(1, "q", "c", 2)
	body := make([]byte, 100_000)
	p.Send(appendPublish(nil, 1, "", "q", 0, transient, body))
	p.want(1, frame.MethodBasicDeliver)
	for n := 0; n < len(body); {
		g, ok := p.next()
		if !ok || g.Total() > frame.MinFrameMax {
			t.Fatalf("a frame of %d bytes came (%v)", g.Total(), ok)
		}
		if g.Type == frame.FrameBody {
			n += len(g.payload)
		}
	}
	p.Send(frame.AppendHeader(nil, frame.FrameBody, 1, frame.MinFrameMax+1))
	p.wantEnd(frame.FrameError)

	// Before the login nothing larger than the floor is read.
	q := b.open()
	q.Send([]byte(frame.Protocol))
	q.want(0, frame.MethodConnectionStart)
	q.Send(frame.AppendHeader(nil, frame.FrameMethod, 0, 100_000))
	q.wantEnd(frame.FrameError)
}

// TestSecurity5Nesting sends tables a thousand deep wherever a table may be, and
// arrays of elements that say nothing.
func TestSecurity5Nesting(t *testing.T) {
	b := newBox(t)
	deep := props.Table(nil)
	for range 1000 {
		deep = props.AddTable(nil, "t", deep)
	}
	deepArray := props.Array(nil)
	for range 1000 {
		deepArray = append([]byte{byte(props.KindArray)}, appendLength(deepArray)...)
	}
	arrays := props.AddArray(nil, "a", deepArray)
	for name, table := range map[string]props.Table{"tables": deep, "arrays": arrays} {
		headers := props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: table})
		for where, do := range map[string]func(p *peer){
			"queue.declare":    func(p *peer) { p.send(1, frame.MethodQueueDeclare, uint16(0), "q", bits(0), table) },
			"exchange.declare": func(p *peer) { p.send(1, frame.MethodExchangeDeclare, uint16(0), "x", "headers", bits(0), table) },
			"queue.bind": func(p *peer) {
				p.declare(1, "q", 0, nil)
				p.send(1, frame.MethodQueueBind, uint16(0), "q", "amq.headers", "", false, table)
			},
			"basic.consume": func(p *peer) { p.send(1, frame.MethodBasicConsume, uint16(0), "q", "", bits(0), table) },
			"basic.publish": func(p *peer) { p.Send(appendPublish(nil, 1, "amq.headers", "", 0, headers, []byte("x"))) },
		} {
			t.Run(name+" in "+where, func(t *testing.T) {
				p := b.connect()
				p.t = t
				do(p)
				g, ok := p.next()
				if !ok || g.method != frame.MethodConnectionClose {
					t.Fatalf("it is answered by %v (%v)", g, ok)
				}
			})
		}
		p := b.open()
		p.Send(appendMethod([]byte(frame.Protocol), 0, frame.MethodConnectionStartOK, table, "ANONYMOUS", long(""), "en_US"))
		p.want(0, frame.MethodConnectionStart)
		if g, ok := p.next(); ok && g.method != frame.MethodConnectionClose {
			t.Errorf("%s before the login are answered by %v", name, g)
		}
	}
	// As many elements as may be, of one byte each, in front of a thousand bindings
	// that look at the headers; and one more.
	p := b.connect()
	p.declare(1, "h", 0, nil)
	for i := range 1000 {
		p.send(1, frame.MethodQueueBind, uint16(0), "h", "amq.headers", "", true, props.AddInt32(nil, "k", int32(i)))
	}
	publish := func(n int) {
		voids := bytes.Repeat([]byte{byte(props.KindVoid)}, n)
		headers := props.AddInt32(props.AddArray(nil, "a", voids), "k", 7)
		raw := props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: headers})
		p.Send(appendPublish(nil, 1, "amq.headers", "", 0, raw, []byte("x")))
	}
	publish(props.MaxElements - 2)
	p.send(1, frame.MethodBasicGet, uint16(0), "h", true)
	p.want(1, frame.MethodBasicGetOK)
	p.content(1)
	publish(props.MaxElements - 1)
	p.wantEnd(frame.InternalError) // as RabbitMQ says of properties that it cannot read
}

func appendLength(b []byte) []byte {
	n := len(b)
	return append([]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, b...)
}

// A place is a state of a connection that a method may come in.
type place struct {
	name string
	to   func(b *box) *peer // brings a connection there
	on   uint16             // channel
	// legal are the methods that the connection outlives or ends by; nil: all.
	legal []frame.Method
}

func places() []place {
	begin := func(steps int) func(*box) *peer {
		return func(b *box) *peer {
			p := b.open()
			can := props.AddTable(nil, "capabilities", props.AddBool(nil, "authentication_failure_close", true))
			said := [][]byte{
				[]byte(frame.Protocol),
				appendMethod(nil, 0, frame.MethodConnectionStartOK, can, "ANONYMOUS", long(""), "en_US"),
				appendMethod(nil, 0, frame.MethodConnectionTuneOK, uint16(10), uint32(131072), uint16(0)),
			}
			for _, s := range said[:steps] {
				p.Send(s)
			}
			p.want(0, frame.MethodConnectionStart)
			if steps > 1 {
				p.want(0, frame.MethodConnectionTune)
			}
			return p
		}
	}
	open := func(do ...any) func(*box) *peer {
		return func(b *box) *peer {
			p := b.connect()
			for _, d := range do {
				switch d := d.(type) {
				case []byte:
					p.Send(d)
				case frame.Method:
					p.want(1, d)
				}
			}
			return p
		}
	}
	goodbye := []frame.Method{frame.MethodConnectionClose}
	var clients []frame.Method
	for _, s := range signatures {
		switch s.m {
		case frame.MethodChannelOpen, frame.MethodChannelOpenOK, frame.MethodAccessRequestOK, frame.MethodBasicReturn, frame.MethodBasicDeliver,
			frame.MethodBasicGetOK, frame.MethodBasicGetEmpty, frame.MethodBasicQosOK, frame.MethodBasicConsumeOK, frame.MethodBasicRecoverOK:
		default:
			server := strings.HasSuffix(s.m.String(), "-ok") && s.m != frame.MethodChannelCloseOK && s.m != frame.MethodChannelFlowOK && s.m != frame.MethodBasicCancelOK
			if s.m.Class() != frame.ClassConnection && !server {
				clients = append(clients, s.m)
			}
		}
	}
	publish := appendMethod(nil, 1, frame.MethodBasicPublish, uint16(0), "", "q", bits(0))
	failed := appendMethod(nil, 1, frame.MethodQueueDelete, uint16(0), "", bits(0))
	return []place{
		{"before start-ok", begin(1), 0, append([]frame.Method{frame.MethodConnectionStartOK}, goodbye...)},
		{"before start-ok, on channel 1", begin(1), 1, []frame.Method{}},
		{"before tune-ok", begin(2), 0, append([]frame.Method{frame.MethodConnectionTuneOK}, goodbye...)},
		{"before open", begin(3), 0, append([]frame.Method{frame.MethodConnectionOpen}, goodbye...)},
		{"before open, on channel 1", begin(3), 1, []frame.Method{}},
		{"channel 0", open(), 0, append([]frame.Method{frame.MethodConnectionUpdateSecret}, goodbye...)},
		{"no channel", open(), 5, []frame.Method{frame.MethodChannelOpen}},
		{"channel", open(), 1, clients},
		{"confirm channel", open(appendMethod(nil, 1, frame.MethodConfirmSelect, false), frame.MethodConfirmSelectOK), 1, clients},
		{"tx channel", open(appendMethod(nil, 1, frame.MethodTxSelect), frame.MethodTxSelectOK), 1, clients},
		{"before a header", open(publish), 1, []frame.Method{}},
		{"before a body", open(publish, frame.AppendHeaderFrame(nil, 1, 10, transient)), 1, []frame.Method{}},
		{"closing channel", open(failed, frame.MethodChannelClose), 1, nil},
	}
}

// TestSecurity9Matrix sends every method in every state. What is illegal ends the
// connection with a reason, and nothing after it.
func TestSecurity9Matrix(t *testing.T) {
	b := newBox(t)
	w := b.connect()
	w.declare(1, "witness", 0, nil)
	for _, pl := range places() {
		t.Run(pl.name, func(t *testing.T) {
			for _, s := range signatures {
				p := pl.to(b)
				p.t = t
				p.send(pl.on, s.m, harmless(s.m, s.args)...)
				p.send(0, frame.MethodConnectionClose, uint16(200), "", uint16(0), uint16(0))
				legal := pl.legal == nil || slices.Contains(pl.legal, s.m)
				var last got
				for {
					g, ok := p.next()
					if !ok {
						break
					}
					if last.method == frame.MethodConnectionClose {
						t.Errorf("%v: %v comes after the end", s.m, g)
					}
					last = g
				}
				switch refused := last.method == frame.MethodConnectionClose; {
				case refused == legal:
					t.Errorf("%v: the last thing is %v, legal is %v", s.m, last, legal)
				case refused:
					var c frame.Close
					if err := c.Decode(last.payload); err != nil || c.ReplyCode < 500 || c.ReplyCode == frame.InternalError {
						t.Errorf("%v ends the connection with %v %q", s.m, c.ReplyCode, c.ReplyText)
					}
				}
			}
		})
	}
	w.send(1, frame.MethodQueueDeclare, uint16(0), "witness", bits(1), noTable)
	w.want(1, frame.MethodQueueDeclareOK)
}

// harmless makes arguments of which none is wrong in itself.
func harmless(m frame.Method, signature string) []any {
	switch m {
	case frame.MethodConnectionStartOK:
		return []any{noTable, "ANONYMOUS", long(""), "en_US"}
	case frame.MethodConnectionTuneOK:
		return []any{uint16(10), uint32(131072), uint16(0)}
	case frame.MethodConnectionOpen:
		return []any{"/", "", false}
	case frame.MethodChannelFlow:
		return []any{true}
	case frame.MethodBasicRecover, frame.MethodBasicRecoverAsync:
		return []any{true}
	}
	return argumentsOf(signature, func() byte { return 0 })
}

// TestSecurity9Garbage is not AMQP at all.
func TestSecurity9Garbage(t *testing.T) {
	b := newBox(t)
	for _, s := range []string{"GET / HTTP/1.1\r\n", "AMQP\x00\x01\x00\x00", "AMQP\x03\x01\x00\x00", "\x10\x0c\x00\x04MQTT\x04\x02"} {
		p := b.open()
		p.Send([]byte(s))
		for !p.Over() {
			p.Wait(0)
		}
		if got := p.Receive(); string(got) != frame.Protocol {
			t.Errorf("%q is answered by %q", s, got)
		}
	}
}

// TestSecurity27Caps: whatever a client may choose the number of has a ceiling.
func TestSecurity27Caps(t *testing.T) {
	b := newBox(t, func(o *boxOptions) { o.config.ChannelMax, o.config.MaxConsumers = 5, 3 })
	connect := func() *peer {
		p := b.open()
		p.Send(appendMethod([]byte(frame.Protocol), 0, frame.MethodConnectionStartOK, noTable, "ANONYMOUS", long(""), "en_US"))
		p.send(0, frame.MethodConnectionTuneOK, uint16(5), uint32(131072), uint16(0))
		p.send(0, frame.MethodConnectionOpen, "/", "", false)
		for _, m := range []frame.Method{frame.MethodConnectionStart, frame.MethodConnectionTune, frame.MethodConnectionOpenOK} {
			p.want(0, m)
		}
		p.openChannel(1)
		return p
	}
	t.Run("channels", func(t *testing.T) {
		p := connect()
		for ch := uint16(2); ch <= 5; ch++ {
			p.openChannel(ch)
		}
		p.send(6, frame.MethodChannelOpen, "")
		p.wantEnd(frame.NotAllowed)
	})
	t.Run("channel numbers", func(t *testing.T) {
		p := connect()
		for range 1000 { // the same ones again and again
			p.openChannel(2)
			p.send(2, frame.MethodChannelClose, uint16(200), "", uint16(0), uint16(0))
			p.want(2, frame.MethodChannelCloseOK)
		}
	})
	t.Run("consumers", func(t *testing.T) {
		p := connect()
		p.declare(1, "c", 0, nil)
		for i := range 3 {
			p.consume(1, "c", fmt.Sprint(i), 0)
		}
		p.send(1, frame.MethodBasicConsume, uint16(0), "c", "3", bits(0), noTable)
		p.wantEnd(frame.NotAllowed)
	})
	t.Run("priorities", func(t *testing.T) {
		for _, n := range []int64{256, 1 << 40, -1} {
			p := connect()
			p.send(1, frame.MethodQueueDeclare, uint16(0), "p", bits(0), props.AddInt64(nil, "x-max-priority", n))
			p.wantClose(1, frame.PreconditionFailed)
		}
	})
	t.Run("weights", func(t *testing.T) {
		p := connect()
		p.declare(1, "w", 0, nil)
		p.send(1, frame.MethodExchangeDeclare, uint16(0), "h", "x-consistent-hash", bits(0), noTable)
		p.want(1, frame.MethodExchangeDeclareOK)
		for _, weight := range []string{"0", "-1", "1000001", "99999999999999999999", "x", ""} {
			p.send(1, frame.MethodQueueBind, uint16(0), "w", "h", weight, false, noTable)
			p.wantClose(1, frame.PreconditionFailed)
			p.openChannel(1)
		}
	})
	t.Run("transaction", func(t *testing.T) {
		p := connect()
		p.declare(1, "t", 0, nil)
		p.send(1, frame.MethodTxSelect)
		p.want(1, frame.MethodTxSelectOK)
		one := appendPublish(nil, 1, "", "t", 0, transient, nil)
		many := bytes.Repeat(one, maxTxPublishes/64)
		for range 65 {
			p.Send(many)
		}
		p.wantClose(1, frame.PreconditionFailed)
		if n := b.vhost().Queue("t").Info().Ready; n != 0 {
			t.Errorf("%d messages of it are there", n)
		}
	})
	t.Run("carbon copies", func(t *testing.T) {
		p := connect()
		p.declare(1, "cc", 0, nil)
		var keys props.Array
		for range 250 {
			keys = props.PushStr(keys, "cc")
		}
		raw := props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: props.AddArray(nil, "BCC", keys)})
		p.Send(appendPublish(nil, 1, "", "cc", 0, raw, []byte("x")))
		p.send(1, frame.MethodQueueDeclare, uint16(0), "cc", bits(1), noTable)
		p.want(1, frame.MethodQueueDeclareOK)
		if n := b.vhost().Queue("cc").Info().Ready; n != 1 {
			t.Errorf("%d copies", n)
		}
		keys = props.PushStr(keys, "cc")
		raw = props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: props.AddArray(nil, "BCC", keys)})
		p.Send(appendPublish(nil, 1, "", "cc", 0, raw, []byte("x")))
		p.wantClose(1, frame.PreconditionFailed)
	})
	t.Run("patterns", func(t *testing.T) {
		p := connect()
		p.declare(1, "#", 0, nil)
		p.send(1, frame.MethodQueueBind, uint16(0), "#", "amq.topic", "#.a.#.b.#", false, noTable)
		p.wantClose(1, frame.PreconditionFailed)
	})
}
