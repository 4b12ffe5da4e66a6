package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// Options are what a connection is made with.
type Options struct {
	Target      Target
	Security    Security
	ClientID    string
	User        string
	Password    string
	HasPassword bool
	Persistent  bool          // the broker keeps the session when the connection ends
	KeepAlive   time.Duration // whole seconds; 0: none
	Patience    time.Duration // for the connection and its CONNACK
	Will        *Will
	Inflight    int // how many messages may wait for their acknowledgement

	// Handle is called for each message, one at a time, and before the message is
	// acknowledged. It is asked no more after an error; ErrEnough lets the message
	// be acknowledged all the same.
	Handle   func(*Message) error
	Received *Received // nil: none of a former connection
}

// ErrEnough is what Handle returns with the last message it wants.
var ErrEnough = errors.New("enough messages")

// A Will is published by the broker when the connection ends without DISCONNECT.
type Will struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
}

// A Message is what the broker sends. Payload is the receiver's to keep.
type Message struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	ID      uint16
}

// Received is the ids of QoS 2 messages that were handled and not released yet. It
// goes from one connection of a session to the next, so that none is handled twice.
type Received struct{ ids map[uint16]struct{} }

// goodbyeTime is how long we wait for the broker to end a connection we are done
// with, and for what is left of a handshake before.
const goodbyeTime = 5 * time.Second

// A Conn is a connection that the broker has accepted. Two goroutines belong to
// it: read, which alone calls Handle, and keepAlive. Publish, Subscribe and Flush
// are for one caller at a time.
type Conn struct {
	Present bool // the broker had a session of ours

	o        Options
	conn     net.Conn
	r        *bufio.Reader
	write    sync.Mutex // held while a packet is written
	received *Received  // owned by read
	enough   bool       // owned by read
	leaving  atomic.Bool

	turn     chan struct{} // one place, taken while a message is handled and acknowledged
	slots    chan struct{} // taken by each message that waits for its acknowledgement
	suback   chan []byte
	pong     chan struct{}
	finished chan struct{} // closed when Handle has had enough and everything is answered
	finish   func()
	done     chan struct{} // closed by read at its end
	silence  chan struct{} // closed by keepAlive at its end

	mu struct {
		sync.Mutex
		err     error           // why it ended
		waiting map[uint16]byte // QoS of what waits for its acknowledgement
		lastID  uint16
		acked   int
		pings   int       // PINGREQs without an answer
		heard   time.Time // when the broker last gave a sign of life, or was first asked for one
	}
}

// Connect dials, logs in, and begins to read.
func Connect(ctx context.Context, o Options) (*Conn, error) {
	if o.Inflight <= 0 {
		o.Inflight = 20
	}
	return connect(ctx, o, start)
}

// connect dials, and has begin log in, all within the patience of o.
func connect[C any](ctx context.Context, o Options, begin func(context.Context, net.Conn, Options) (*C, error)) (*C, error) {
	if o.Patience <= 0 {
		o.Patience = 30 * time.Second
	}
	patient, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	conn, err := dial(patient, o.Target, o.Security)
	if err != nil {
		return nil, impatience(ctx, patient, err)
	}
	c, err := begin(patient, conn, o)
	if err != nil {
		conn.Close()
		return nil, impatience(ctx, patient, err)
	}
	return c, nil
}

// within has f use a connection, which is closed if that takes longer than ctx.
func within(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err := f()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// start logs in over what dial has made.
func start(patient context.Context, conn net.Conn, o Options) (*Conn, error) {
	c := &Conn{
		o: o, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), received: o.Received,
		turn: make(chan struct{}, 1), slots: make(chan struct{}, o.Inflight), suback: make(chan []byte, 1), pong: make(chan struct{}, 1),
		finished: make(chan struct{}), done: make(chan struct{}), silence: make(chan struct{}),
	}
	c.finish = sync.OnceFunc(func() { close(c.finished) })
	c.mu.waiting = map[uint16]byte{}
	if c.received == nil {
		c.received = &Received{}
	}
	if err := within(patient, conn, c.login); err != nil {
		return nil, err
	}
	if !c.Present || c.received.ids == nil {
		c.received.ids = map[uint16]struct{}{}
	}
	go c.read()
	go c.keepAlive()
	return c, nil
}

// impatience puts the reason for which a connection attempt was given up in the
// place of what this did to the socket.
func impatience(ctx, patient context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if patient.Err() != nil {
		return errors.New("the broker does not answer")
	}
	return err
}

func (c *Conn) login() error {
	if _, err := c.conn.Write(appendConnect(nil, &c.o)); err != nil {
		return err
	}
	h, body, err := c.readPacket()
	if err != nil {
		return fmt.Errorf("no answer to CONNECT: %w", err)
	}
	if h.Type != packet.CONNACK {
		return fmt.Errorf("the broker answers CONNECT by %v: it does not speak MQTT", h.Type)
	}
	c.Present, err = decodeConnack(body)
	return err
}

// Done is closed when the connection has ended; Err says why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Finished is closed when Handle has had enough and the last message is
// acknowledged in full.
func (c *Conn) Finished() <-chan struct{} { return c.finished }

// Err is why the connection ended, nil if we ended it ourselves.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err
}

// ended is Err for who still wanted something.
func (c *Conn) ended() error {
	if err := c.Err(); err != nil {
		return err
	}
	return errClosed
}

// Acknowledged is how many messages of QoS 1 and 2 the broker has taken.
func (c *Conn) Acknowledged() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.acked
}

// fail ends the connection. The first reason counts.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.mu.err == nil {
		c.mu.err = err
	}
	c.mu.Unlock()
	c.conn.Close()
}

// send writes a packet whole.
func (c *Conn) send(parts ...[]byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	for _, p := range parts {
		if _, err := c.conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

// Disconnect says goodbye and waits for the broker to end the connection, which
// it does when it has read all that was sent. Messages that come meanwhile are
// not handled, and not acknowledged.
func (c *Conn) Disconnect() error {
	c.leaving.Store(true)
	// A message that has been handled must be acknowledged before we go, or it is
	// handled again the next time.
	select {
	case c.turn <- struct{}{}:
		<-c.turn
	case <-time.After(goodbyeTime):
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(goodbyeTime))
	err := c.send(packet.AppendHeader(nil, packet.DISCONNECT, 0, 0))
	if err == nil {
		select {
		case <-c.done:
		case <-time.After(goodbyeTime / 2): // brokers should end it, but need not
		}
	}
	c.Close()
	return err
}

// Close ends the connection without a word, so that the broker publishes the will.
func (c *Conn) Close() {
	c.leaving.Store(true)
	c.conn.Close()
	// A Handle that is stuck in its output must not keep us.
	select {
	case <-c.done:
		<-c.silence
	case <-time.After(goodbyeTime):
	}
}

// keepAlive asks for a sign of life, and ends the connection when there is none.
func (c *Conn) keepAlive() {
	defer close(c.silence)
	if c.o.KeepAlive <= 0 {
		<-c.done
		return
	}
	tick := time.NewTicker(c.o.KeepAlive / 2)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
		}
		// While a packet is being written the broker hears of us; while a message is
		// being handled nobody reads the answer.
		if len(c.turn) > 0 || !c.write.TryLock() {
			continue
		}
		c.write.Unlock()
		c.mu.Lock()
		silent := c.mu.pings > 0 && time.Since(c.mu.heard) > c.o.KeepAlive
		ask := c.mu.pings == 0
		c.mu.Unlock()
		if silent {
			c.fail(errors.New("no sign of life from the broker"))
			return
		}
		if ask {
			if err := c.ping(); err != nil {
				c.fail(err)
				return
			}
		}
	}
}

// heard notes a sign of life. An answer may stand in line behind messages that
// take long to handle, so each of them counts.
func (c *Conn) heard() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.heard = time.Now()
}

func (c *Conn) ping() error {
	c.mu.Lock()
	if c.mu.pings++; c.mu.pings == 1 {
		c.mu.heard = time.Now()
	}
	c.mu.Unlock()
	return c.send(packet.AppendHeader(nil, packet.PINGREQ, 0, 0))
}
