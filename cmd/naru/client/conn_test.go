package client

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// patience is far more than anything here takes.
const patience = 30 * time.Second

// A peer is the broker's side of a connection, as bytes in hexadecimal.
type peer struct {
	t *testing.T
	net.Conn
}

// connected returns both sides of a connection. connack is the answer to CONNECT.
func connected(t *testing.T, connack string, o Options) (*Conn, *peer) {
	t.Helper()
	c, p, err := connecting(t, connack, o)
	if err != nil {
		t.Fatal(err)
	}
	return c, p
}

func connecting(t *testing.T, connack string, o Options) (*Conn, *peer, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o.Target = Target{Scheme: "mqtt", Host: "127.0.0.1"}
	_, o.Target.Port, _ = net.SplitHostPort(l.Addr().String())
	o.ClientID = "c"
	type result struct {
		c   *Conn
		err error
	}
	done := make(chan result, 1)
	go func() {
		c, err := Connect(context.Background(), o)
		done <- result{c, err}
	}()
	n, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t, n}
	t.Cleanup(func() { n.Close() })
	if err := n.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(n, head); err != nil || head[0] != 0x10 {
		t.Fatalf("CONNECT: %x, %v", head, err)
	}
	if _, err := io.CopyN(io.Discard, n, int64(head[1])); err != nil {
		t.Fatal(err)
	}
	p.send(connack)
	if connack == "" {
		n.Close()
	}
	r := <-done
	if r.c != nil {
		t.Cleanup(r.c.Close)
	}
	return r.c, p, r.err
}

func (p *peer) send(text string) {
	p.t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.Write(b); err != nil {
		p.t.Fatal(err)
	}
}

// expect reads exactly these bytes.
func (p *peer) expect(text string) {
	p.t.Helper()
	want := strings.ReplaceAll(text, " ", "")
	b := make([]byte, len(want)/2)
	if n, err := io.ReadFull(p, b); err != nil || hex.EncodeToString(b) != want {
		p.t.Fatalf("the client sends %x (%v), want %s", b[:n], err, want)
	}
}

// expectEnd reads until the client ends the connection, and wants nothing more.
func (p *peer) expectEnd() {
	p.t.Helper()
	rest, err := io.ReadAll(p)
	if len(rest) > 0 || err != nil {
		p.t.Fatalf("the client sends %x more, %v", rest, err)
	}
}

func wait(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s does not come", what)
	}
}

const (
	accepted = "20 02 0000"
	resumed  = "20 02 0100"
)

// keeper collects payloads.
type keeper struct {
	payloads chan string
	answer   func(payload string) error
}

func newKeeper() *keeper { return &keeper{payloads: make(chan string, 100)} }

func (k *keeper) handle(m *Message) error {
	k.payloads <- string(m.Payload)
	if k.answer != nil {
		return k.answer(string(m.Payload))
	}
	return nil
}

func (k *keeper) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case have := <-k.payloads:
		if have != want {
			t.Fatalf("handled %q, want %q", have, want)
		}
	case <-time.After(patience):
		t.Fatalf("%q is not handled", want)
	}
}

// TestConnectPacket shows the whole CONNECT.
func TestConnectPacket(t *testing.T) {
	o := Options{
		ClientID: "id", User: "u", Password: "p", HasPassword: true, Persistent: true, KeepAlive: 258 * time.Second,
		Will: &Will{Topic: "w", Payload: []byte("x"), QoS: 2, Retain: true},
	}
	if have, want := hex.EncodeToString(appendConnect(nil, &o)), "101a00044d51545404f40102"+"00026964"+"000177"+"000178"+"000175"+"000170"; have != want {
		t.Errorf("CONNECT is %s, want %s", have, want)
	}
	if have, want := hex.EncodeToString(appendConnect(nil, &Options{})), "100c00044d5154540402"+"0000"+"0000"; have != want {
		t.Errorf("CONNECT is %s, want %s", have, want)
	}
	var c packet.Connect
	if err := c.Decode(appendConnect(nil, &o)[2:]); err != nil || string(c.WillTopic) != "w" || string(c.Password) != "p" {
		t.Errorf("the broker reads %+v, %v", c, err)
	}
}

// TestQoS2Once: what is sent again over the next connection of a session is not
// handled again, and in a new session it is.
func TestQoS2Once(t *testing.T) {
	for _, test := range []struct {
		connack string
		again   bool
	}{{resumed, false}, {accepted, true}} {
		k, received := newKeeper(), &Received{}
		o := Options{Persistent: true, Handle: k.handle, Received: received}
		c, p := connected(t, accepted, o)
		p.send("34 06 0001 74 0007 61") // QoS 2, topic t, id 7, "a"
		p.expect("50 02 0007")
		k.expect(t, "a")
		p.Close()
		wait(t, "the end", c.Done())
		if err := c.Err(); err == nil {
			t.Error("the connection ends without an error")
		}

		_, p = connected(t, test.connack, o)
		p.send("3c 06 0001 74 0007 61") // with DUP
		p.expect("50 02 0007")
		p.send("62 02 0007")
		p.expect("70 02 0007")
		p.send("34 06 0001 74 0007 62") // the id is free again
		p.expect("50 02 0007")
		if test.again {
			k.expect(t, "a")
		}
		k.expect(t, "b")
	}
}

// TestWindow: no more messages are on their way than allowed, ids are not used
// twice at a time, and the error at the end comes with what was acknowledged.
func TestWindow(t *testing.T) {
	c, p := connected(t, accepted, Options{Inflight: 2})
	result := make(chan error, 1)
	go func() {
		for _, q := range []byte{1, 2, 1, 1} {
			if err := c.Publish(context.Background(), "t", []byte("x"), q, false); err != nil {
				result <- err
				return
			}
		}
		result <- c.Flush(context.Background())
	}()
	p.expect("32 06 0001 74 0001 78")
	p.expect("34 06 0001 74 0002 78")
	p.send("50 02 0002")
	p.expect("62 02 0002") // and no third message before it
	p.send("40 02 0002")   // a PUBACK does not settle QoS 2
	p.send("40 02 0009")   // nor an id that nobody knows anything
	p.send("d0 00")
	wait(t, "PINGRESP", c.pong) // all before it is worked off
	if n := c.Acknowledged(); n != 0 {
		t.Errorf("%d are acknowledged before any is", n)
	}
	p.send("70 02 0002")
	p.expect("32 06 0001 74 0003 78")
	p.send("40 02 0001")
	p.expect("32 06 0001 74 0004 78")
	p.Close()
	if err := <-result; err == nil {
		t.Error("the loss of the connection is not told")
	}
	if n := c.Acknowledged(); n != 2 {
		t.Errorf("%d are acknowledged, want 2", n)
	}
}

// TestFlush: it waits for all acknowledgements, and then for the PINGRESP.
func TestFlush(t *testing.T) {
	c, p := connected(t, accepted, Options{})
	if err := errors.Join(c.Publish(context.Background(), "t", nil, 0, true), c.Publish(context.Background(), "t", nil, 1, false)); err != nil {
		t.Fatal(err)
	}
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush(context.Background()) }()
	p.expect("31 03 0001 74")
	p.expect("32 05 0001 74 0001")
	p.send("40 02 0001")
	p.expect("c0 00")
	select {
	case err := <-flushed:
		t.Fatalf("it does not wait for PINGRESP: %v", err)
	default:
	}
	p.send("d0 00")
	if err := <-flushed; err != nil {
		t.Fatal(err)
	}
	left := make(chan error, 1)
	go func() { left <- c.Disconnect() }()
	p.expect("e0 00")
	p.Close()
	if err := <-left; err != nil || c.Err() != nil {
		t.Errorf("goodbye: %v, %v", err, c.Err())
	}
}

// TestFlushFails: a broker that closes instead has not read everything.
func TestFlushFails(t *testing.T) {
	c, p := connected(t, accepted, Options{})
	flushed := make(chan error, 1)
	go func() { flushed <- c.Flush(context.Background()) }()
	p.expect("c0 00")
	p.Close()
	if err := <-flushed; err == nil {
		t.Error("it has not noticed")
	}
}

// TestHandleFails: a message that cannot be handled is not acknowledged, those
// behind it are not handled, and the broker hears goodbye.
func TestHandleFails(t *testing.T) {
	k := newKeeper()
	broken := errors.New("disk full")
	k.answer = func(payload string) error {
		if payload == "b" {
			return broken
		}
		return nil
	}
	c, p := connected(t, accepted, Options{Handle: k.handle})
	p.send("32 06 0001 74 0001 61" + "32 06 0001 74 0002 62" + "32 06 0001 74 0003 63")
	p.expect("40 02 0001" + "e0 00")
	k.expect(t, "a")
	k.expect(t, "b")
	p.Close()
	wait(t, "the end", c.Done())
	if !errors.Is(c.Err(), broken) || len(k.payloads) > 0 {
		t.Errorf("it ends with %v, %d more handled", c.Err(), len(k.payloads))
	}
}

// TestEnough: the last message is acknowledged in full, and no other.
func TestEnough(t *testing.T) {
	k := newKeeper()
	k.answer = func(string) error { return ErrEnough }
	c, p := connected(t, accepted, Options{Handle: k.handle})
	p.send("34 06 0001 74 0001 61" + "32 06 0001 74 0002 62" + "d0 00")
	p.expect("50 02 0001")
	wait(t, "PINGRESP", c.pong) // all before it is worked off
	select {
	case <-c.Finished():
		t.Fatal("finished before PUBREL")
	default:
	}
	p.send("62 02 0001")
	p.expect("70 02 0001")
	wait(t, "the finish", c.Finished())
	left := make(chan error, 1)
	go func() { left <- c.Disconnect() }()
	p.expect("e0 00")
	if err := p.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	p.expectEnd()
	if err := <-left; err != nil || len(k.payloads) != 1 {
		t.Errorf("goodbye: %v, %d handled", err, len(k.payloads))
	}
}

// bubble returns both sides of a connection within synctest.
func bubble(t *testing.T, o Options) (*Conn, *peer) {
	t.Helper()
	ours, theirs := net.Pipe()
	p := &peer{t, theirs}
	type result struct {
		c   *Conn
		err error
	}
	done := make(chan result)
	go func() {
		c, err := start(t.Context(), ours, o)
		done <- result{c, err}
	}()
	p.expect(hex.EncodeToString(appendConnect(nil, &o)))
	p.send(accepted)
	r := <-done
	if r.err != nil {
		t.Fatal(r.err)
	}
	return r.c, p
}

// TestKeepAlive: pings go on while they are answered, and silence ends it; but not
// while a message is being handled, when nobody reads the answer.
func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handling := make(chan struct{})
		c, p := bubble(t, Options{KeepAlive: time.Minute, Handle: func(*Message) error { <-handling; return nil }})
		for range 5 {
			p.expect("c0 00")
			p.send("d0 00")
		}
		p.expect("c0 00")
		p.send("30 03 0001 74") // and no answer
		time.Sleep(time.Hour)   // of the bubble: the message takes that long to print
		select {
		case <-c.Done():
			t.Fatalf("it ends while a message is handled: %v", c.Err())
		default:
		}
		close(handling)
		time.Sleep(45 * time.Second) // of the bubble: the answer stood behind the message
		p.send("d0 00")
		p.expect("c0 00")
		<-c.Done()
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), "sign of life") {
			t.Errorf("it ends with %v", err)
		}
		c.Close()
	})
}

// TestLeaveWhileHandling: a message that is being handled when we leave is
// acknowledged before the goodbye, and none is handled after it. Who cannot get
// rid of its message leaves without.
func TestLeaveWhileHandling(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			handling, handled := make(chan struct{}), 0
			c, p := bubble(t, Options{Handle: func(*Message) error { handled++; <-handling; return nil }})
			p.send("32 06 0001 74 0001 61")
			synctest.Wait()
			left := make(chan error, 1)
			go func() { left <- c.Disconnect() }()
			synctest.Wait()
			if !stuck {
				close(handling)
				p.expect("40 02 0001")
			}
			p.expect("e0 00")
			p.Close()
			if stuck {
				time.Sleep(time.Hour) // of the bubble: longer than anybody waits
				close(handling)
			}
			<-left
			<-c.Done()
			if handled != 1 {
				t.Errorf("%d messages were handled", handled)
			}
		})
	}
}

// TestLogin: every way not to be let in, and its text.
func TestLogin(t *testing.T) {
	for connack, says := range map[string]string{
		"20 02 0001": "3.1.1", "20 02 0002": "client id", "20 02 0003": "not available",
		"20 02 0004": "user name or password", "20 02 0005": "not authorized", "20 02 0006": "unknown",
		"20 02 0200": "malformed", "20 01 00": "malformed", "d0 00": "does not speak MQTT", "": "no answer",
		"ff ff ff ff ff": "length",
	} {
		c, p, err := connecting(t, connack, Options{Patience: patience})
		if err == nil || c != nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want %q", connack, err, says)
		}
		p.Close()
	}
	for _, code := range []packet.ConnectCode{packet.BadCredentials, packet.NotAuthorized, packet.ServerUnavailable} {
		if final := (&Refused{Code: code}).Final(); final == (code == packet.ServerUnavailable) {
			t.Errorf("CONNACK %d is final: %v", code, final)
		}
	}
}

// TestBadPackets: what a broker must not send ends the connection with a reason.
func TestBadPackets(t *testing.T) {
	for bytes, says := range map[string]string{
		"10 00":                         "must not",
		"20 02 0000":                    "must not",
		"90 01 00":                      "SUBACK",
		"40 01 00":                      "PUBACK",
		"40 02 0000":                    "PUBACK",
		"36 06 0001 74 0001 61":         "PUBLISH",
		"30 02 0005":                    "PUBLISH",
		"30 05 0001 74":                 "inside a packet",
		"30 ff ff ff 7f 0001 74 6162":   "inside a packet", // and takes no 256 MB
		"90 03 0001 00 90 03 0001 00":   "nobody waits",
		"30 ff ff ff ff ff ff ff ff ff": "length",
	} {
		c, p := connected(t, accepted, Options{Handle: func(*Message) error { return nil }})
		p.send(bytes)
		p.Close()
		wait(t, "the end", c.Done())
		if err := c.Err(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", bytes, err, says)
		}
	}
}

// TestSubscribe: the answers, and too few of them.
func TestSubscribe(t *testing.T) {
	for suback, ok := range map[string]bool{"90 04 0001 01 80": true, "90 03 0001 01": false} {
		c, p := connected(t, accepted, Options{})
		done := make(chan error, 1)
		go func() {
			codes, err := c.Subscribe(context.Background(), []string{"a", "b/#"}, 1)
			if err == nil && (codes[0] != 1 || codes[1] != packet.SubscribeFailure) {
				err = errors.New("wrong codes")
			}
			done <- err
		}()
		p.expect("82 0c 0001 0001 61 01 0003 622f23 01")
		p.send(suback)
		if err := <-done; (err == nil) != ok {
			t.Errorf("%s: %v", suback, err)
		}
	}
}

// TestCancel: a context ends what waits, with its cause.
func TestCancel(t *testing.T) {
	c, p := connected(t, accepted, Options{Inflight: 1})
	cause := errors.New("no more time")
	ctx, cancel := context.WithCancelCause(context.Background())
	if err := c.Publish(ctx, "t", nil, 1, false); err != nil {
		t.Fatal(err)
	}
	p.expect("32 05 0001 74 0001")
	waiting := make(chan error, 2)
	go func() { waiting <- c.Publish(ctx, "t", nil, 1, false) }()
	go func() { waiting <- c.Flush(ctx) }()
	cancel(cause)
	for range 2 {
		if err := <-waiting; !errors.Is(err, cause) {
			t.Errorf("it ends with %v", err)
		}
	}
	ctx, cancel = context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := Connect(ctx, Options{Target: DefaultTarget()}); !errors.Is(err, cause) {
		t.Errorf("Connect ends with %v", err)
	}
}
