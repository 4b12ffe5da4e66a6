package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/narumq/naru/cmd/naru/e2e/internal/peers"
)

// killRounds is TEST_KILLS, or few enough for every day.
func killRounds(t *testing.T) int {
	text := os.Getenv("TEST_KILLS")
	if text == "" {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("TEST_KILLS=%q is not a number of rounds", text)
	}
	return n
}

const (
	killStreams  = 4  // publishers; even ones use QoS 1, odd ones QoS 2
	killWindow   = 32 // messages that each has open
	killRetained = 8  // retained topics of each
)

// TestKill kills the broker under load, again and again, and starts it on the
// same data. Whatever it has acknowledged must arrive, at QoS 2 exactly once, in
// order; and a retained message is never older than the one acknowledged last.
func TestKill(t *testing.T) {
	rounds := killRounds(t)
	b := serveNaru(t, naruBinary(t))
	k := &killing{b: b, stop: make(chan struct{})}
	var online []*killReader
	for i := range 2 {
		r := k.reader(t, fmt.Sprint("online", i))
		online = append(online, r)
	}
	offline := k.reader(t, "offline")
	must(t, offline.s.disconnect())

	var writers, readers sync.WaitGroup
	for _, r := range online {
		readers.Go(r.run)
	}
	if err := librariesThere(); err != nil && !peers.Required() {
		t.Logf("without Paho: %v", err)
	} else {
		peers.Need(t, err)
		paho := &killReader{k: k, s: &session{id: "paho"}}
		online = append(online, paho)
		p := libraries[1].start(t, b.MQTT, "paho", startOptions{filter: "kill/+", keep: true})
		readers.Go(func() { paho.runPaho(p) })
	}
	var streams []*killStream
	for i := range killStreams {
		w := k.stream(i)
		streams = append(streams, w)
		writers.Go(w.run)
	}
	for round := range rounds {
		before, more := k.acked.Load(), 200+rand.Int64N(2000)
		for k.acked.Load() < before+more && !k.failed() {
			time.Sleep(time.Millisecond) // several writers to watch
		}
		k.kill(t, streams)
		t.Logf("round %d: killed after %d acknowledgements", round, k.acked.Load()-before)
	}
	close(k.stop)
	writers.Wait()
	readers.Go(offline.run)
	readers.Wait()
	for _, err := range k.errs {
		t.Error(err)
	}
	for _, r := range append(online, offline) {
		r.check(t, streams)
	}
	k.checkRetained(t, streams)
	total := 0
	for _, w := range streams {
		total += w.next
	}
	t.Logf("%d rounds, %d messages, %d acknowledged before the end was near", rounds, total, k.acked.Load())
}

// killing is what the clients of TestKill share.
type killing struct {
	b     *Broker
	acked atomic.Int64
	stop  chan struct{} // closed when enough rounds are over
	up    sync.RWMutex  // write-locked while the broker is down

	sync.Mutex
	errs []error
}

func (k *killing) fail(err error) {
	k.Lock()
	defer k.Unlock()
	k.errs = append(k.errs, err)
}

func (k *killing) failed() bool {
	k.Lock()
	defer k.Unlock()
	return len(k.errs) > 0
}

// kill takes the broker down and up again. Nobody gets in before it is known
// that no retained message has been lost: the next one would hide that.
func (k *killing) kill(t *testing.T, streams []*killStream) {
	k.up.Lock()
	defer k.up.Unlock()
	must(t, k.b.Restart(true))
	k.checkRetained(t, streams)
}

// checkRetained finds on each retained topic what was acknowledged last, or
// something newer.
func (k *killing) checkRetained(t *testing.T, streams []*killStream) {
	t.Helper()
	var kept, got [killStreams][killRetained]int64
	missing := 0
	for i, w := range streams {
		for j := range w.kept { // while writers may still read what the dead broker has sent
			if kept[i][j] = w.kept[j].Load(); kept[i][j] > 0 {
				missing++
			}
		}
	}
	s := join(t, &session{addr: k.b.MQTT, id: "retained", clean: true})
	defer s.close()
	must(t, s.subscribe("r/#", 1))
	for missing > 0 {
		d, err := s.take()
		if err != nil {
			t.Fatalf("%d retained messages are missing: %v", missing, err)
		}
		var i, j int
		fmt.Sscanf(d.topic, "r/%d/%d", &i, &j)
		fmt.Sscan(string(d.payload), &got[i][j])
		if last := streams[i].published[j].Load(); got[i][j] < kept[i][j] || got[i][j] > last {
			t.Errorf("%s holds %d; %d was acknowledged, and %d published last", d.topic, got[i][j], kept[i][j], last)
		}
		if kept[i][j] > 0 {
			missing--
		}
	}
}

// reconnect waits until the broker is up. A session that exists must still be
// known.
func (k *killing) reconnect(s *session, known bool) error {
	k.up.RLock()
	defer k.up.RUnlock()
	if err := s.connect(); err != nil {
		return fmt.Errorf("%s: %w", s.id, err)
	}
	if known && !s.present {
		return fmt.Errorf("%s: the session is lost", s.id)
	}
	return nil
}

// A killStream publishes numbers in order, and on some of them the same as
// retained messages.
type killStream struct {
	k     *killing
	s     *session
	index int
	next  int // the number published next
	// By retained topic: the numbers published and acknowledged last. They
	// begin at 1; 0 is none.
	published, kept [killRetained]atomic.Int64
}

func (k *killing) stream(i int) *killStream {
	w := &killStream{k: k, index: i, s: &session{addr: k.b.MQTT, id: fmt.Sprint("stream", i)}}
	w.s.done = func(m *outgoing) {
		k.acked.Add(1)
		if m.tag > 0 {
			w.kept[m.tag%killRetained].Store(int64(m.tag))
		}
	}
	return w
}

func (w *killStream) qos() byte { return byte(1 + w.index%2) }

// run publishes until the rounds are over and everything is acknowledged; the
// last number is followed by the word end.
func (w *killStream) run() {
	defer w.s.close()
	known, ended := false, false
	for {
		if err := w.k.reconnect(w.s, known); err != nil {
			w.k.fail(err)
			return
		}
		known = true
		err := w.s.resend()
		for err == nil && !ended {
			select {
			case <-w.k.stop:
				err, ended = w.publish("end"), true
			default:
				err = w.publish(strconv.Itoa(w.next))
				w.next++
			}
			if err == nil {
				err = w.s.drain(killWindow)
			}
		}
		if err == nil {
			err = w.s.drain(0)
		}
		if err == nil {
			return
		}
	}
}

// publish sends a number; every seventh is one that is retained as well. An
// error is that of the connection: what was not sent is sent again.
func (w *killStream) publish(payload string) error {
	topic := fmt.Sprintf("kill/%d", w.index)
	n := w.next
	err := w.s.publish(topic, w.qos(), false, []byte(payload+strings.Repeat(" ", 100)), 0)
	if n%7 == 1 && payload != "end" {
		w.published[n%killRetained].Store(int64(n))
		keep := fmt.Sprintf("r/%d/%d", w.index, n%killRetained)
		if e := w.s.publish(keep, w.qos(), true, []byte(payload), n); err == nil {
			err = e
		}
	}
	return err
}

// A killReader is a persistent session that receives every stream.
type killReader struct {
	k     *killing
	s     *session
	got   [killStreams][]int // numbers in the order of their arrival
	ended [killStreams]int   // how often the end has come
}

func (k *killing) reader(t *testing.T, id string) *killReader {
	r := &killReader{k: k, s: join(t, &session{addr: k.b.MQTT, id: id})}
	must(t, r.s.subscribe("kill/+", 2))
	return r
}

// run receives until every stream has ended.
func (r *killReader) run() {
	defer r.s.close()
	for {
		if err := r.k.reconnect(r.s, true); err != nil {
			r.k.fail(err)
			return
		}
		for {
			d, err := r.s.take()
			if err != nil {
				break
			}
			if r.note(d.topic, d.payload); r.allEnded() {
				return
			}
		}
		if r.k.failed() {
			return
		}
	}
}

// runPaho does the same with a client that finds its way back by itself.
func (r *killReader) runPaho(p *program) {
	for !r.allEnded() {
		select {
		case e, ok := <-p.told:
			if !ok || e.Error != "" {
				r.k.fail(fmt.Errorf("%s has ended: %s", p.name, e.Error))
				return
			}
			if e.Done == "" {
				r.note(e.Topic, e.Payload)
			}
		case <-time.After(patience):
			r.k.fail(fmt.Errorf("%s receives nothing any more, the ends so far are %v", p.name, r.ended))
			return
		}
	}
}

func (r *killReader) note(topic string, payload []byte) {
	var i, n int
	fmt.Sscanf(topic, "kill/%d", &i)
	if strings.HasPrefix(string(payload), "end") {
		r.ended[i]++
	} else if _, err := fmt.Sscan(string(payload), &n); err == nil {
		r.got[i] = append(r.got[i], n)
	}
}

func (r *killReader) allEnded() bool {
	for _, n := range r.ended {
		if n == 0 {
			return false
		}
	}
	return true
}

// check compares what has come with what was published: all of it, because
// every publisher has waited for its last acknowledgement. A repetition at QoS 1
// may come out of turn; what is new must come in order.
func (r *killReader) check(t *testing.T, streams []*killStream) {
	for i, w := range streams {
		next, repeated := 0, 0
		for _, n := range r.got[i] {
			switch {
			case n == next:
				next++
			case n < next:
				repeated++
			default:
				t.Errorf("%s: stream %d (QoS %d): %d comes where %d should", r.s.id, i, w.qos(), n, next)
				next = n + 1
			}
		}
		if next != w.next {
			t.Errorf("%s: stream %d (QoS %d): %d messages, %d were published", r.s.id, i, w.qos(), next, w.next)
		}
		if w.qos() == 2 && (repeated > 0 || r.ended[i] != 1) {
			t.Errorf("%s: stream %d: %d messages at QoS 2 came again, the end came %d times", r.s.id, i, repeated, r.ended[i])
		}
	}
}
