package amqp_test

import (
	"testing"
	"time"

	rabbit "github.com/rabbitmq/amqp091-go"

	"github.com/narumq/naru/core"
)

func dial(t *testing.T, addr string) (*rabbit.Connection, *rabbit.Channel) {
	c, err := rabbit.Dial("amqp://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := c.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return c, ch
}

func TestReviewedTxRecover(t *testing.T) {
	_, addr := serve(t, "")
	_, ch := dial(t, addr)
	if _, err := ch.QueueDeclare("q", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	ch.Publish("", "q", false, false, rabbit.Publishing{Body: []byte("x")})
	ch.Tx()
	d, ok, err := ch.Get("q", false)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	d.Ack(false)
	//lint:ignore SA1019 what clients may still do is what is tested
	err = ch.Recover(true)
	if err == nil {
		err = ch.TxCommit()
	}
	if err != nil {
		t.Error(err)
	}
	if _, ok, err := ch.Get("q", true); ok || err != nil {
		t.Error("what a transaction had acknowledged is there still:", ok, err)
	}
}

type owner struct{}

func (owner) Kick(error) {}

func TestReviewedGroupQoS0(t *testing.T)      { groupQoS0(t, false) }
func TestReviewedGroupQoS0Panic(t *testing.T) { groupQoS0(t, true) }

func groupQoS0(t *testing.T, full bool) {
	bus, addr := serve(t, "")
	c, ch := dial(t, addr)
	defer c.Close()
	vh := bus.VHost("/")
	tt := bus.NewTurn()
	s, _, _, err := vh.OpenSession(tt, core.SessionRequest{Principal: core.NewPrincipal(core.Identity{VHost: "/", ClientID: "m", Protocol: "mqtt"}), ClientID: "m", Clean: true, Owner: owner{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Subscribe(tt, "$share/g/x", 1, 0); err != nil {
		t.Fatal(err)
	}
	tt.End()
	closed := ch.NotifyClose(make(chan *rabbit.Error, 1))
	if full {
		ch.Qos(1, 0, true)
	}
	ds, err := ch.Consume("$share/g/x", "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := vh.NewPublisher(core.NewPrincipal(core.Identity{VHost: "/", ClientID: "p", Protocol: "mqtt"}))
	for range 2 {
		tt = bus.NewTurn()
		m := tt.Message()
		m.Exchange, m.Topic, m.Payload = vh.Topics(), []byte("x"), []byte("hello")
		t.Log(p.Publish(tt, m))
		tt.End()
	}
	if full {
		ch.Qos(0, 0, true)
		return // Close is answered after the turn in which the broker died
	}
	d := <-ds
	t.Log(string(d.Body), d.DeliveryTag, d.Ack(false))
	select {
	case e := <-closed:
		t.Errorf("channel closed: %v", e)
	case <-time.After(500 * time.Millisecond):
	}
}

func TestReviewedPool(t *testing.T) {
	bus, addr := serve(t, "")
	c, ch := dial(t, addr)
	defer c.Close()
	vh := bus.VHost("/")
	ch.QueueDeclare("q", false, false, false, false, nil)
	ch.QueueBind("q", "", "amq.fanout", false, nil)
	ds, err := ch.Consume("q", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	tt := bus.NewTurn()
	s, _, _, err := vh.OpenSession(tt, core.SessionRequest{Principal: core.NewPrincipal(core.Identity{VHost: "/", ClientID: "m", Protocol: "mqtt"}), ClientID: "m", Clean: true, Owner: owner{}})
	if err != nil {
		t.Fatal(err)
	}
	s.Start(tt, refuser{}, 10, 65535)
	if _, err := s.Subscribe(tt, "$queue/q", 1, 0); err != nil {
		t.Fatal(err)
	}
	tt.End()
	for range 10 {
		ch.Publish("amq.fanout", "", false, false, rabbit.Publishing{Body: []byte("x")})
	}
	n := 0
	for {
		select {
		case <-ds:
			n++
			continue
		case <-time.After(700 * time.Millisecond):
		}
		break
	}
	t.Logf("%d of 10 came to the AMQP consumer; the MQTT one took none", n)
	if n != 10 {
		t.Error("lost")
	}
}

type refuser struct{}

func (refuser) Deliver(*core.Turn, core.Delivery) core.Verdict { return core.Refused }

func TestReviewedExclusiveMQTT(t *testing.T) {
	bus, addr := serve(t, "")
	c, ch := dial(t, addr)
	defer c.Close()
	vh := bus.VHost("/")
	ch.QueueDeclare("q", false, false, true, false, nil)
	tt := bus.NewTurn()
	defer tt.End()
	s, _, _, err := vh.OpenSession(tt, core.SessionRequest{Principal: core.NewPrincipal(core.Identity{VHost: "/", ClientID: "m", Protocol: "mqtt"}), ClientID: "m", Clean: true, Owner: owner{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Subscribe(tt, "$queue/q", 1, 0); err == nil {
		t.Error("MQTT consumes an exclusive queue of another connection")
	}
}
