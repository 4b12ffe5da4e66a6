package amqp

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/narumq/naru/core"
)

// A crashModel is what all clients together know of what they sent and what they
// were told. It says after each cut whether the queues hold what they must, and
// nothing that they must not.
type crashModel struct {
	t      testing.TB
	seed   uint64
	failed atomic.Bool

	mu     sync.Mutex // guards what follows, and the fields of what it leads to
	msgs   []*crashMsg
	txs    []*crashTx
	topo   []*crashTopology
	counts struct{ confirmed, committed, rolledBack, moved, buried, delivered int }
}

var crashQueues = []string{"work", "dead", "prio", "tx", "done"}

// A crashMsg is a message, which carries its number.
type crashMsg struct {
	no       int
	queue    string
	size     int
	fleeting bool     // not persistent
	tx       *crashTx // that publishes it

	durable bool   // it was confirmed, seen by somebody, or found after a cut
	place   string // where it was found last, "" before
	gone    bool   // it was not found after a cut, and must not come back

	// since the last cut
	acked    bool       // an acknowledgement was sent
	rejected bool       // a reject was sent, that dead-letters
	moves    []*crashTx // that acknowledge it and publish it to "done"
}

func (m *crashMsg) String() string {
	return fmt.Sprintf("message %d for %s (tx %v, durable %v, found in %q, gone %v, acked %v, rejected %v, moves %v)",
		m.no, m.queue, m.tx, m.durable, m.place, m.gone, m.acked, m.rejected, m.moves)
}

type txState uint8

const (
	txOpen       txState = iota
	txSent               // tx.commit was sent
	txDone               // tx.commit-ok has come
	txRolledBack         // tx.rollback was sent, or the connection was lost before tx.commit
)

func (x *crashTx) String() string {
	if x == nil {
		return "none"
	}
	return fmt.Sprintf("%d:%d", x.no, x.state)
}

// A crashTx is a transaction.
type crashTx struct {
	no        int
	state     txState
	publishes []*crashMsg
	moves     []*crashMsg
}

// A crashTopology is an exchange, a queue and a binding between them.
type crashTopology struct {
	exchange, queue string
	asked           topologyState // what was asked for last
	told            topologyState // what was answered last
}

type topologyState uint8

const (
	nothing topologyState = iota
	hasExchange
	hasQueue
	hasBinding
	deletedQueue
	deletedExchange
)

func newCrashModel(t testing.TB, seed uint64) *crashModel { return &crashModel{t: t, seed: seed} }

// errorf fails the test; what runs will stop soon.
func (m *crashModel) errorf(format string, args ...any) {
	m.t.Errorf("TEST_SEED=%d: %s", m.seed, fmt.Sprintf(format, args...))
	m.failed.Store(true)
}

func (m *crashModel) newMsg(msg crashMsg) *crashMsg {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.no = len(m.msgs)
	m.msgs = append(m.msgs, &msg)
	if msg.tx != nil {
		msg.tx.publishes = append(msg.tx.publishes, &msg)
	}
	return &msg
}

func (m *crashModel) newTx() *crashTx {
	m.mu.Lock()
	defer m.mu.Unlock()
	x := &crashTx{no: len(m.txs)}
	m.txs = append(m.txs, x)
	return x
}

// note changes what is known, under the lock.
func (m *crashModel) note(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// body is the number of the message and bytes that follow from it.
func (msg *crashMsg) body() []byte {
	b := append(strconv.AppendInt(nil, int64(msg.no), 10), '|')
	for i := range msg.size {
		b = append(b, byte(msg.no+i*7))
	}
	return b
}

func (m *crashModel) find(body []byte) *crashMsg {
	head, _, ok := bytes.Cut(body, []byte{'|'})
	no, err := strconv.Atoi(string(head))
	m.mu.Lock()
	defer m.mu.Unlock()
	if !ok || err != nil || no < 0 || no >= len(m.msgs) || !bytes.Equal(m.msgs[no].body(), body) {
		return nil
	}
	return m.msgs[no]
}

// seen takes a message that a consumer of a queue gets: it may be there, and what
// is shown is on disk.
func (m *crashModel) seen(queue string, body []byte) *crashMsg {
	msg := m.find(body)
	if msg == nil {
		m.errorf("%s delivers what was never sent: %.20q", queue, body)
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.counts.delivered++
	if bad := m.mayLocked(msg, queue); bad != "" {
		m.errorf("%s delivers %v: %s", queue, msg, bad)
	}
	msg.durable = msg.durable || !msg.fleeting
	if msg.tx != nil && msg.tx.state == txSent {
		for _, o := range msg.tx.publishes { // it has been committed as a whole
			o.durable = true
		}
	}
	return msg
}

// mayLocked says why a message must not be in a queue, or "".
func (m *crashModel) mayLocked(msg *crashMsg, queue string) string {
	switch {
	case msg.gone:
		return "it was gone"
	case msg.tx != nil && msg.tx.state == txOpen:
		return "its transaction is not committed"
	case msg.tx != nil && msg.tx.state == txRolledBack:
		return "its transaction was rolled back"
	case queue == "dead" && (msg.queue == "work" && msg.rejected || msg.place == "dead"):
	case queue == "done" && msg.place == "done":
	case queue == "done" && msg.queue == "tx":
		for _, x := range msg.moves {
			if x.state == txSent || x.state == txDone {
				return ""
			}
		}
		return "nobody has moved it there"
	case queue == "tx" && slices.ContainsFunc(msg.moves, func(x *crashTx) bool { return x.state == txDone }):
		return "it was moved to done"
	case queue != msg.queue, msg.place != "" && msg.place != queue:
		return "it does not belong there"
	}
	return ""
}

// check compares what the queues hold after a cut with what they may and must.
func (m *crashModel) check(there map[string]map[int]int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	in := make(map[int]string)
	for _, queue := range crashQueues {
		for no, n := range there[queue] {
			msg := m.msgs[no]
			if n > 1 || in[no] != "" {
				m.errorf("%s holds %v %d times, and %q holds it too", queue, msg, n, in[no])
			}
			if msg.fleeting {
				m.errorf("%s holds %v, which is not persistent", queue, msg)
			}
			if bad := m.mayLocked(msg, queue); bad != "" {
				m.errorf("%s holds %v: %s", queue, msg, bad)
			}
			in[no] = queue
		}
	}
	for _, x := range m.txs {
		m.checkTxLocked(x, in)
	}
	for _, msg := range m.msgs {
		where := in[msg.no]
		if msg.durable && !msg.fleeting && where == "" && !msg.acked && !msg.gone {
			m.errorf("%v is lost", msg)
		}
		if where == "" {
			msg.gone = true
			continue
		}
		msg.durable, msg.place = true, where
		msg.acked, msg.rejected, msg.moves = false, false, nil
	}
	m.txs = nil
}

// checkTxLocked says whether a transaction has happened as a whole or not at all.
func (m *crashModel) checkTxLocked(x *crashTx, in map[int]string) {
	if x.state != txSent && x.state != txDone {
		x.state = txRolledBack
		return
	}
	happened := x.state == txDone
	for _, msg := range x.publishes {
		happened = happened || in[msg.no] != "" || msg.durable
	}
	for _, msg := range x.moves {
		happened = happened || in[msg.no] == "done" && len(msg.moves) == 1 // or another may have done it
	}
	for _, msg := range x.publishes {
		if happened && in[msg.no] == "" && !msg.acked {
			m.errorf("transaction %v has happened, but %v is not there", x, msg)
		}
	}
	for _, msg := range x.moves {
		if happened && in[msg.no] != "done" && !(in[msg.no] == "" && msg.acked) {
			m.errorf("transaction %v has happened, but %v is in %q", x, msg, in[msg.no])
		}
		if !happened && in[msg.no] == "" && !msg.acked {
			m.errorf("transaction %v has not happened, but %v is gone", x, msg)
		}
	}
	x.state = txDone
	if !happened {
		x.state = txRolledBack
	}
}

// checkTopology compares what was declared.
func (m *crashModel) checkTopology(bus *core.Bus) {
	m.mu.Lock()
	defer m.mu.Unlock()
	vh := bus.VHost("/")
	bound := make(map[string]bool)
	for b := range bus.Bindings("/") {
		bound[b.Exchange+" "+b.Queue] = true
	}
	for _, tp := range m.topo {
		x, q := vh.Exchange(tp.exchange) != nil, vh.Queue(tp.queue) != nil
		b := bound[tp.exchange+" "+tp.queue]
		must := func(is bool, what string, from, to topologyState) {
			switch {
			case !is && tp.told >= from && tp.asked < to:
				m.errorf("the %s of %+v is lost", what, *tp)
			case is && (tp.asked < from || tp.told >= to):
				m.errorf("the %s of %+v is there", what, *tp)
			}
		}
		must(x, "exchange", hasExchange, deletedExchange)
		must(q, "queue", hasQueue, deletedQueue)
		must(b, "binding", hasBinding, deletedQueue)
	}
	m.topo = nil
}
