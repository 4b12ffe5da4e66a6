package e2e

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// clientMessages is how many messages each library publishes at each QoS.
const clientMessages = 300

// payloadsFor are numbered payloads that together hold every byte, as far as
// the library can send it; the last one holds them all.
func payloadsFor(l library) [][]byte {
	var all [256]byte
	for i := range all {
		all[i] = byte(i)
	}
	out := make([][]byte, clientMessages)
	for i := range out {
		out[i] = fmt.Appendf(nil, "%04d:", i)
		if i == clientMessages-1 {
			out[i] = append(out[i], all[:]...)
			continue
		}
		for j := range 64 {
			b := byte(i*31 + j*7)
			if l.lines && (b == 0 || b == '\n') {
				b = 0xff
			}
			out[i] = append(out[i], b)
		}
	}
	return out
}

// TestClients: what any library publishes, every library receives: all of it,
// in order, unchanged, at the QoS it was sent with, and nothing twice, since no
// connection breaks.
func TestClients(t *testing.T) {
	peers.Need(t, librariesThere())
	b := serveNaru(t, naruBinary(t))
	own := join(t, &session{addr: b.MQTT, id: "own"})
	sayReady(t, own)

	var subscribers []*program
	for _, l := range libraries {
		subscribers = append(subscribers, l.start(t, b.MQTT, "sub-"+l.name, startOptions{filter: "m/+/+"}))
	}
	want := map[string][][]byte{}
	for _, l := range libraries {
		for qos := range byte(3) {
			topic := fmt.Sprintf("m/%s/%d", l.name, qos)
			want[topic] = payloadsFor(l)
			l.publish(t, b.MQTT, topic, qos, want[topic])
		}
	}
	for i, p := range subscribers {
		t.Run("to "+libraries[i].name, func(t *testing.T) { p.t = t; receiveAll(t, p, want) })
	}
	// What comes twice comes before this, or after the connection has broken.
	must(t, own.publish("m/all/2", 2, false, []byte("end"), 0), own.drain(0))
	for _, p := range subscribers {
		p.t = t
		if e := p.next(); e.Topic != "m/all/2" || string(e.Payload) != "end" {
			t.Errorf("%s receives one more: %d bytes on %s", p.name, len(e.Payload), e.Topic)
		}
	}
}

// receiveAll takes everything that is wanted, in the order of each topic.
func receiveAll(t *testing.T, p *program, want map[string][][]byte) {
	t.Helper()
	total := 0
	for _, payloads := range want {
		total += len(payloads)
	}
	next := map[string]int{}
	for n := range total {
		e := p.next()
		payloads := want[e.Topic]
		i := next[e.Topic]
		if i == len(payloads) || !bytes.Equal(e.Payload, payloads[i]) {
			t.Fatalf("message %d is %.20q on %s, want its number %d (of %d)", n, e.Payload, e.Topic, i, len(payloads))
		}
		if qos := e.Topic[len(e.Topic)-1] - '0'; e.QoS != qos || e.Retain {
			t.Fatalf("message %d on %s has QoS %d and RETAIN %v", i, e.Topic, e.QoS, e.Retain)
		}
		next[e.Topic]++
	}
}

// A way is how libraries reach the broker.
type way struct {
	libraries []library
	there     func() error         // says which of them is missing
	addr      func(*Broker) string // where they connect
}

// everyWay runs a test over TCP and over WebSocket.
func everyWay(t *testing.T, test func(t *testing.T, w way)) {
	for name, w := range map[string]way{
		"tcp": {libraries, librariesThere, func(b *Broker) string { return b.MQTT }},
		"ws":  {webLibraries, webLibrariesThere, func(b *Broker) string { return b.WS }},
	} {
		t.Run(name, func(t *testing.T) {
			peers.Need(t, w.there())
			test(t, w)
		})
	}
}

// TestClientsOffline: a persistent session of each library is kept when its
// program has ended, and is sent all that came meanwhile, over a restart of the
// broker.
func TestClientsOffline(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := serveNaru(t, naruBinary(t))
		own := join(t, &session{addr: b.MQTT, id: "own"})
		sayReady(t, own)
		for _, l := range w.libraries {
			l.start(t, w.addr(b), "off-"+l.name, startOptions{filter: "off/+", keep: true}).kill()
		}
		want := map[string][][]byte{}
		for qos := byte(1); qos <= 2; qos++ {
			topic := fmt.Sprint("off/", qos)
			for _, payload := range payloadsFor(library{}) {
				must(t, own.publish(topic, qos, false, payload, 0))
				want[topic] = append(want[topic], payload)
			}
		}
		must(t, own.drain(0))
		must(t, b.Restart(false))
		for _, l := range w.libraries {
			t.Run(l.name, func(t *testing.T) {
				receiveAll(t, l.start(t, w.addr(b), "off-"+l.name, startOptions{keep: true}), want)
			})
		}
	})
}

// TestClientsWill: the will of each library is sent when its process is killed,
// and not when it has said goodbye.
func TestClientsWill(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := serveNaru(t, naruBinary(t))
		own := join(t, &session{addr: b.MQTT, id: "own"})
		sayReady(t, own)
		must(t, own.subscribe("will/#", 1))
		for _, l := range w.libraries {
			p := l.start(t, w.addr(b), "will-"+l.name, startOptions{filter: "x", will: "will/" + l.name})
			p.kill()
			want := "\x00gone\xff"
			if l.lines { // it takes its will from the command line
				want = "gone"
			}
			must(t, own.acknowledge(expectDelivery(t, own, "will/"+l.name, want)))
			if l.lines {
				continue // ends by a signal only
			}
			p = l.start(t, w.addr(b), "bye-"+l.name, startOptions{filter: "x", will: "will/bye"})
			p.do("disconnect", map[string]any{})
			p.finish()
		}
		must(t, own.publish("will/none", 1, false, []byte("after the last"), 0))
		for {
			d, err := own.receive()
			must(t, err)
			if d.topic == "will/none" {
				break
			}
			t.Errorf("%s is sent though its client said goodbye", d.topic)
		}
	})
}
