package e2e

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	amqp "github.com/rabbitmq/amqp091-go"
)

// wsConn is a WebSocket connection as a stream of bytes, whatever messages they
// come in.
type wsConn struct {
	*websocket.Conn
	rest []byte
}

func (c *wsConn) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		_, b, err := c.ReadMessage()
		if err != nil {
			return 0, err
		}
		c.rest = b
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

// Write sends what a client writes cut into pieces: frames of AMQP need not be
// messages of WebSocket.
func (c *wsConn) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), 100)
		if err := c.WriteMessage(websocket.BinaryMessage, rest[:n]); err != nil {
			return 0, err
		}
		rest = rest[n:]
	}
	return len(p), nil
}

func (c *wsConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// TestAMQPOverWebSocket has a client of AMQP come by WebSocket, and exchange
// messages with one of MQTT.
func TestAMQPOverWebSocket(t *testing.T) {
	b := serveNaru(t, naruBinary(t))
	dial := func(string, string) (net.Conn, error) {
		d := websocket.Dialer{Subprotocols: []string{"amqp"}}
		ws, _, err := d.Dial("ws://"+b.WS+"/any/path", nil)
		if err != nil {
			return nil, err
		}
		if ws.Subprotocol() != "amqp" {
			t.Errorf("sub-protocol %q", ws.Subprotocol())
		}
		return &wsConn{Conn: ws}, nil
	}
	c, err := amqp.DialConfig("amqp://guest:guest@"+b.WS+"/", amqp.Config{Dial: dial, Heartbeat: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclare("over-ws", true, false, false, false, nil)
	if err == nil {
		err = ch.QueueBind(q.Name, "from.*", "amq.topic", false, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := ch.Consume(q.Name, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	own := join(t, &session{addr: b.MQTT, id: "own"})
	if err := own.subscribe("to/#", 1); err != nil {
		t.Fatal(err)
	}
	if err := own.publish("from/mqtt", 1, false, []byte("there"), 0); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-got:
		if d.RoutingKey != "from.mqtt" || string(d.Body) != "there" || d.DeliveryMode != amqp.Persistent {
			t.Errorf("got %+v", d)
		}
		if err := d.Ack(false); err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	body := make([]byte, 300_000) // several frames, and many messages of WebSocket
	for i := range body {
		body[i] = byte(i)
	}
	if err := ch.Publish("amq.topic", "to.mqtt", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body}); err != nil {
		t.Fatal(err)
	}
	if d, err := own.take(); err != nil || d.topic != "to/mqtt" || d.qos != 1 || !bytes.Equal(d.payload, body) {
		t.Errorf("got %.100q (%v)", fmt.Sprint(d), err)
	}
}
