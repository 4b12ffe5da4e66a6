package amqp

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/store/pebblestore"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// box is a real bus, transport and adapter, with bytes fed in and read out.
type box struct {
	t   testing.TB
	st  *pebblestore.Store
	bus *core.Bus
	srv *transport.Server
	a   *Adapter
}

type boxOptions struct {
	fs     vfs.FS
	store  pebblestore.Options
	config Config
	core   core.Options
	conn   transport.Config
}

func newBox(t testing.TB, change ...func(*boxOptions)) *box {
	t.Helper()
	b := openBox(t, change...)
	t.Cleanup(b.close)
	return b
}

func openBox(t testing.TB, change ...func(*boxOptions)) *box {
	t.Helper()
	o := boxOptions{fs: vfs.NewMem(), config: DefaultConfig(), conn: transport.DefaultConfig()}
	o.core.Config = core.DefaultConfig()
	o.core.Fail = func(err error) { t.Errorf("the bus failed: %v", err) }
	o.config.Listeners = nil
	o.conn.Poller = "goroutine"
	for _, f := range change {
		f(&o)
	}
	b := &box{t: t}
	var err error
	o.store.FS = o.fs
	if b.st, err = pebblestore.Open("store", o.store); err != nil {
		t.Fatal(err)
	}
	o.core.Shards = []core.Shard{b.st}
	if b.bus, err = core.Open(o.core); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if b.srv, err = transport.NewServer(b.bus, o.conn, log); err != nil {
		t.Fatal(err)
	}
	b.a = New(b.bus, b.srv, o.config, "test", log)
	if err := b.a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *box) close() {
	ctx := b.t.Context()
	for _, err := range []error{b.a.Stop(ctx), b.srv.Close(ctx), b.bus.Close(), b.st.Close()} {
		if err != nil {
			b.t.Errorf("close: %v", err)
		}
	}
}

func (b *box) vhost() *core.VHost { return b.bus.VHost("/") }

func (b *box) pipe() *transport.Pipe { return b.open().Pipe }

// Arguments of methods that need more than a Go type of their own.
type (
	long string // a long string
	bits byte   // flags, the first of them in the lowest bit
)

// appendMethod writes a method frame as a client does.
func appendMethod(b []byte, ch uint16, m frame.Method, args ...any) []byte {
	p := binary.BigEndian.AppendUint32(nil, uint32(m))
	for _, a := range args {
		switch v := a.(type) {
		case string:
			p = append(append(p, byte(len(v))), v...)
		case long:
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(v))), v...)
		case props.Table:
			p = append(binary.BigEndian.AppendUint32(p, uint32(len(v))), v...)
		case bool:
			if v {
				p = append(p, 1)
			} else {
				p = append(p, 0)
			}
		case bits:
			p = append(p, byte(v))
		case uint16:
			p = binary.BigEndian.AppendUint16(p, v)
		case uint32:
			p = binary.BigEndian.AppendUint32(p, v)
		case uint64:
			p = binary.BigEndian.AppendUint64(p, v)
		default:
			panic(fmt.Sprintf("argument %T of %v", a, m))
		}
	}
	b = frame.AppendHeader(b, frame.FrameMethod, ch, uint32(len(p)))
	return append(append(b, p...), frame.EndOctet)
}

// appendPublish writes a whole basic.publish.
func appendPublish(b []byte, ch uint16, exchange, key string, flags bits, raw, body []byte) []byte {
	b = appendMethod(b, ch, frame.MethodBasicPublish, uint16(0), exchange, key, flags)
	b = frame.AppendHeaderFrame(b, ch, uint64(len(body)), raw)
	return frame.AppendBodyFrames(b, ch, body, frame.MinFrameMax)
}

// appendHandshake writes what a client says until its connection is open.
func appendHandshake(b []byte, clientProperties props.Table) []byte {
	b = append(b, frame.Protocol...)
	b = appendMethod(b, 0, frame.MethodConnectionStartOK, clientProperties, "ANONYMOUS", long(""), "en_US")
	b = appendMethod(b, 0, frame.MethodConnectionTuneOK, uint16(2047), uint32(131072), uint16(0))
	return appendMethod(b, 0, frame.MethodConnectionOpen, "/", "", false)
}

var (
	noTable    props.Table
	transient  = []byte{0x10, 0, 1}
	persistent = []byte{0x10, 0, 2}
)

// peer is a client of frames.
type peer struct {
	*transport.Pipe
	t    testing.TB
	conn *conn // what serves it
	buf  []byte
}

func (b *box) open() *peer {
	p := &peer{t: b.t}
	handler := b.a.Handler(Listener{transport.ListenConfig{Address: "pipe"}})
	p.Pipe = b.srv.NewPipe(func(tc *transport.Conn) transport.Handler {
		p.conn = handler(tc).(*conn)
		return p.conn
	})
	return p
}

// connect opens a connection and channel 1.
func (b *box) connect() *peer {
	b.t.Helper()
	can := props.AddBool(props.AddBool(nil, "consumer_cancel_notify", true), "authentication_failure_close", true)
	p := b.open()
	p.Send(appendHandshake(nil, props.AddTable(nil, "capabilities", can)))
	for _, m := range []frame.Method{frame.MethodConnectionStart, frame.MethodConnectionTune, frame.MethodConnectionOpenOK} {
		p.want(0, m)
	}
	p.openChannel(1)
	return p
}

func (p *peer) openChannel(ch uint16) {
	p.t.Helper()
	p.send(ch, frame.MethodChannelOpen, "")
	p.want(ch, frame.MethodChannelOpenOK)
}

func (p *peer) send(ch uint16, m frame.Method, args ...any) {
	p.Send(appendMethod(nil, ch, m, args...))
}

// A got is a frame that the broker has sent.
type got struct {
	frame.Header
	method  frame.Method
	payload []byte // the arguments of a method
}

func (g got) String() string {
	if g.Type == frame.FrameMethod {
		return fmt.Sprintf("%v on channel %d: %q", g.method, g.Channel, g.payload)
	}
	return fmt.Sprintf("frame of type %d on channel %d: %.50q", g.Type, g.Channel, g.payload)
}

// takeFrame takes the first frame of b.
func takeFrame(b []byte) (g got, rest []byte, ok bool, err error) {
	h, more, err := frame.ReadHeader(b)
	if err != nil || more || len(b) < h.Total() {
		return got{}, b, false, err
	}
	payload, err := h.Payload(b)
	if err != nil {
		return got{}, b, false, err
	}
	g = got{Header: h, payload: payload}
	if h.Type == frame.FrameMethod {
		if g.method, g.payload, err = frame.ReadMethod(payload); err != nil {
			return got{}, b, false, err
		}
	}
	return g, b[h.Total():], true, nil
}

// next waits for a frame. ok is false if the connection is over first.
func (p *peer) next() (g got, ok bool) {
	p.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		g, rest, ok, err := takeFrame(p.buf)
		if err != nil {
			p.t.Fatalf("the broker sent % x: %v", p.buf, err)
		}
		p.buf = rest
		if ok {
			return g, true
		}
		over := p.Wait(time.Until(deadline))
		more := p.Receive()
		p.buf = append(p.buf, more...)
		if over && len(more) == 0 {
			return got{}, false
		}
		if len(more) == 0 && time.Now().After(deadline) {
			p.t.Fatalf("nothing comes; the broker has sent % x", p.buf)
		}
	}
}

// want waits for this method, and returns its arguments.
func (p *peer) want(ch uint16, m frame.Method) []byte {
	p.t.Helper()
	g, ok := p.next()
	if !ok || g.Type != frame.FrameMethod || g.Channel != ch || g.method != m {
		p.t.Fatalf("got %v (%v), want %v on channel %d", g, ok, m, ch)
	}
	return g.payload
}

// wantClose waits for the end of the channel with this code, and agrees.
func (p *peer) wantClose(ch uint16, code frame.Code) {
	p.t.Helper()
	var c frame.Close
	if err := c.Decode(p.want(ch, frame.MethodChannelClose)); err != nil || c.ReplyCode != code {
		p.t.Fatalf("channel.close with %+v, want %v (%v)", c, code, err)
	}
	p.send(ch, frame.MethodChannelCloseOK)
}

// wantEnd waits for the end of the connection with this code.
func (p *peer) wantEnd(code frame.Code) {
	p.t.Helper()
	var c frame.Close
	if err := c.Decode(p.want(0, frame.MethodConnectionClose)); err != nil || c.ReplyCode != code {
		p.t.Fatalf("connection.close with %+v, want %v (%v)", c, code, err)
	}
	if g, ok := p.next(); ok {
		p.t.Fatalf("got %v after the end", g)
	}
}

// content waits for the header and body of a message.
func (p *peer) content(ch uint16) (raw, body []byte) {
	p.t.Helper()
	g, ok := p.next()
	var c frame.Content
	if !ok || g.Type != frame.FrameHeader || g.Channel != ch || c.Decode(g.payload) != nil {
		p.t.Fatalf("got %v (%v), want a content header", g, ok)
	}
	for uint64(len(body)) < c.BodySize {
		g, ok := p.next()
		if !ok || g.Type != frame.FrameBody || g.Channel != ch {
			p.t.Fatalf("got %v (%v), want a body", g, ok)
		}
		body = append(body, g.payload...)
	}
	return c.Properties, body
}

// declare declares a queue: flags are durable 2, exclusive 4, auto-delete 8.
func (p *peer) declare(ch uint16, name string, flags bits, args props.Table) {
	p.t.Helper()
	p.send(ch, frame.MethodQueueDeclare, uint16(0), name, flags, args)
	p.want(ch, frame.MethodQueueDeclareOK)
}

// A delivered is what basic.deliver says.
type delivered struct {
	consumer, exchange, key string
	tag                     uint64
	redelivered             bool
}

func decodeDeliver(args []byte) (d delivered) {
	text := func() string {
		n := int(args[0])
		s := string(args[1 : 1+n])
		args = args[1+n:]
		return s
	}
	d.consumer = text()
	d.tag, d.redelivered = binary.BigEndian.Uint64(args), args[8] != 0
	args = args[9:]
	d.exchange, d.key = text(), text()
	return d
}

// delivery waits for a message.
func (p *peer) delivery(ch uint16) (d delivered, raw, body []byte) {
	p.t.Helper()
	d = decodeDeliver(p.want(ch, frame.MethodBasicDeliver))
	raw, body = p.content(ch)
	return d, raw, body
}

func (p *peer) consume(ch uint16, queue, tag string, flags bits) {
	p.t.Helper()
	p.send(ch, frame.MethodBasicConsume, uint16(0), queue, tag, flags, noTable)
	p.want(ch, frame.MethodBasicConsumeOK)
}

func (p *peer) publish(ch uint16, exchange, key string, raw []byte, body string) {
	p.Send(appendPublish(nil, ch, exchange, key, 0, raw, []byte(body)))
}

func TestFirstConversation(t *testing.T) {
	b := newBox(t)
	p := b.connect()
	p.declare(1, "q", 2, nil)
	p.send(1, frame.MethodConfirmSelect, false)
	p.want(1, frame.MethodConfirmSelectOK)
	p.publish(1, "", "q", persistent, "hello")
	p.want(1, frame.MethodBasicAck)
	p.consume(1, "q", "c", 0)
	d, raw, body := p.delivery(1)
	if d != (delivered{"c", "", "q", 1, false}) || string(raw) != string(persistent) || string(body) != "hello" {
		t.Fatalf("got %+v % x %q", d, raw, body)
	}
	p.send(1, frame.MethodBasicAck, uint64(1), false)
	p.send(0, frame.MethodConnectionClose, uint16(200), "bye", uint16(0), uint16(0))
	p.want(0, frame.MethodConnectionCloseOK)
}
