package mqtt

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/narumq/naru/protocols/mqtt/packet"
)

// A crashModel is what all clients together know of what they sent and what
// they were told. It knows nothing of the broker; it says whether what arrives
// may arrive, and at the end whether all that must has.
//
// Times are counts of a clock that everybody who sends or hears something
// pushes on. What a client hears before another sends is before it for sure.
type crashModel struct {
	t      testing.TB
	seed   uint64
	clock  atomic.Int64
	failed atomic.Bool

	mu       sync.Mutex // guards what follows, and the fields of what it leads to
	msgs     []*crashMsg
	sessions []*crashSession
	groups   map[string]*crashGroup // by filter
	retained map[string]*crashTopic
}

// A crashMsg is a message that was sent, or the will of a connection.
type crashMsg struct {
	no     int
	topic  string
	qos    byte
	size   int
	from   string // client
	retain bool
	clear  bool // an empty payload: clears the retained message

	sends    int   // how often it was sent
	first    int64 // first time
	last     int64 // last time
	returned int64 // when the broker had read the last one; 0: not yet
	acked    int64 // when PUBACK or PUBREC came, or a will was due; 0: never
	will     willState
}

type willState uint8

const (
	noWill        willState = iota
	willArmed               // the connection is open
	willEnded               // it may fire, or must if the message counts as acknowledged
	willForgotten           // the client has said goodbye and seen the end
)

// certain is a time at which the message had not been published for the time
// that counts: an acknowledgement at QoS 1 is for what was sent last, at QoS 2
// perhaps for what was sent first.
func (m *crashMsg) certain() int64 {
	if m.qos == 1 {
		return m.last
	}
	return m.first
}

// A crashSession is one life of a session, from a CONNACK without session
// present to the next.
type crashSession struct {
	client     string
	persistent bool
	over       bool // another has taken its place
	connects   int
	subs       []*crashSub
	got        map[int]*receipts
	replayed   map[int]*receipts // with RETAIN
	newest     map[orderKey]int
}

// A crashSub is a SUBSCRIBE for one filter.
type crashSub struct {
	filter  string
	qos     byte
	sent    int64
	acked   int64 // 0: not
	changed int64 // when the next SUBSCRIBE or UNSUBSCRIBE for the filter was sent, 0: none
	over    int64 // when that was acknowledged
}

// receipts are how often a message came to a session.
type receipts struct {
	bare    int // at QoS 0
	count   int // at QoS 1 and 2
	twos    int // of those at QoS 2
	fresh   int // of those without DUP
	highest int // QoS
}

func (r *receipts) add(p *packet.Publish) {
	switch {
	case p.QoS == 0:
		r.bare++
		return
	case !p.Dup:
		r.fresh++
	}
	r.count++
	if p.QoS == 2 {
		r.twos++
	}
	r.highest = max(r.highest, int(p.QoS))
}

type orderKey struct {
	from        string
	pubQoS, qos byte
}

// A crashGroup is a shared subscription with a member that never leaves.
type crashGroup struct {
	pattern string
	once    bool // all its members are persistent and subscribe at QoS 2
	anchor  *crashSub
	got     map[int]int
}

// A crashTopic is what may be retained in a topic: what base says, or one of
// the later changes.
type crashTopic struct {
	base    int // number of the message that was there, or -1
	seen    int64
	changes []*crashMsg
}

func newCrashModel(t testing.TB, seed uint64) *crashModel {
	return &crashModel{
		t: t, seed: seed, retained: make(map[string]*crashTopic),
		groups: map[string]*crashGroup{
			"$share/q/s/0": {pattern: "s/0", once: true, got: make(map[int]int)},
			"$share/m/s/#": {pattern: "s/#", got: make(map[int]int)},
		},
	}
}

func (m *crashModel) now() int64 { return m.clock.Add(1) }

// errorf fails the test; what runs will stop soon.
func (m *crashModel) errorf(format string, args ...any) {
	m.t.Errorf("TEST_SEED=%d: %s", m.seed, fmt.Sprintf(format, args...))
	m.failed.Store(true)
}

// newMsg makes a message with a number, which it carries.
func (m *crashModel) newMsg(msg crashMsg) *crashMsg {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.no = len(m.msgs)
	m.msgs = append(m.msgs, &msg)
	if msg.retain {
		t := m.topicLocked(msg.topic)
		t.changes = append(t.changes, &msg)
	}
	return &msg
}

// sending is called before a message is sent, sent when the broker has read it.
func (m *crashModel) sending(msg *crashMsg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.sends++
	msg.last = m.now()
	if msg.sends == 1 {
		msg.first = msg.last
	}
	msg.returned = 0
}

func (m *crashModel) sent(msg *crashMsg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.returned = m.now()
}

func (m *crashModel) acknowledged(msg *crashMsg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if msg.acked == 0 {
		msg.acked = m.now()
	}
}

// willEnds notes how the connection of a will has ended.
func (m *crashModel) willEnds(msg *crashMsg, s willState, due bool) {
	if msg == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	msg.will = s
	if due {
		msg.acked = m.now()
	}
}

// payload is the number of the message and bytes that follow from it.
func (msg *crashMsg) payload() []byte {
	if msg.clear {
		return nil
	}
	b := append(strconv.AppendInt(nil, int64(msg.no), 10), '|')
	for i := range msg.size {
		b = append(b, byte(msg.no+i*7))
	}
	return b
}

func (m *crashModel) find(p *packet.Publish) *crashMsg {
	head, _, ok := bytes.Cut(p.Payload, []byte{'|'})
	no, err := strconv.Atoi(string(head))
	if !ok || err != nil || no < 0 || no >= len(m.msgs) {
		return nil
	}
	msg := m.msgs[no]
	if msg.topic != string(p.Topic) || !bytes.Equal(msg.payload(), p.Payload) {
		return nil
	}
	return msg
}

func (m *crashModel) newSession(client string, persistent bool) *crashSession {
	s := &crashSession{
		client: client, persistent: persistent,
		got: make(map[int]*receipts), replayed: make(map[int]*receipts), newest: make(map[orderKey]int),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sessions = append(m.sessions, s)
	return s
}

func (m *crashModel) endSession(s *crashSession) {
	if s == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.over = true
}

// subscribing notes a SUBSCRIBE (qos 0 to 2) or UNSUBSCRIBE (remove) that is
// about to be sent. It returns what is to be called when the answer is here.
func (m *crashModel) subscribing(s *crashSession, filter string, qos byte, remove bool) (acked func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	var former []*crashSub
	for _, sub := range s.subs {
		if sub.filter == filter && sub.over == 0 {
			former = append(former, sub)
			if sub.changed == 0 {
				sub.changed = now
			}
		}
	}
	var sub *crashSub
	if !remove {
		sub = &crashSub{filter: filter, qos: qos, sent: now}
		s.subs = append(s.subs, sub)
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		now := m.now()
		for _, f := range former {
			f.over = now
		}
		if sub != nil {
			sub.acked = now
		}
	}
}

// subscribed says whether an acknowledged subscription is there.
func (m *crashModel) subscribed(s *crashSession, filter string) *crashSub {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(s.subs, func(sub *crashSub) bool {
		return sub.filter == filter && sub.acked != 0 && sub.changed == 0
	})
	if i < 0 {
		return nil
	}
	return s.subs[i]
}

// complete says whether a session that subscribed to the retained messages that
// never change has all of them.
func (m *crashModel) complete(s *crashSession) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(s.replayed) == crashKept || !slices.ContainsFunc(s.subs, func(sub *crashSub) bool { return sub.filter == "k/#" })
}

// same says whether a PUBLISH is the message of this number.
func (m *crashModel) same(no int, p *packet.Publish) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg := m.find(p)
	return msg != nil && msg.no == no
}

// anchored notes that a group has a member for ever, from now on.
func (m *crashModel) anchored(filter string, sub *crashSub) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.groups[filter]; g.anchor == nil {
		g.anchor = sub
	}
}

// delivered takes a PUBLISH that is new to the client: at QoS 2, its id was not
// known. It returns the number of the message.
func (m *crashModel) delivered(s *crashSession, p *packet.Publish) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	msg := m.find(p)
	if msg == nil {
		m.errorf("%s got what was never sent: topic %q, %d bytes %.20q", s.client, p.Topic, len(p.Payload), p.Payload)
		return -1
	}
	group := m.groupLocked(s, msg)
	if bad := m.mayLocked(s, msg, p, group); bad != "" {
		m.errorf("%s got message %d of %s on %s at QoS %d (DUP %v, RETAIN %v), published at %d %d times: %s",
			s.client, msg.no, msg.from, msg.topic, p.QoS, p.Dup, p.Retain, msg.qos, msg.sends, bad)
	}
	got := s.got
	if p.Retain {
		got = s.replayed
	}
	r := got[msg.no]
	if r == nil {
		r = new(receipts)
		got[msg.no] = r
	}
	r.add(p)
	if group != nil {
		group.got[msg.no]++
	}
	if bad := m.countLocked(s, msg, p, r, group); bad != "" {
		m.errorf("%s got message %d of %s on %s at QoS %d (published at %d %d times), %+v: %s",
			s.client, msg.no, msg.from, msg.topic, p.QoS, msg.qos, msg.sends, *r, bad)
	}
	return msg.no
}

// groupLocked returns the shared subscription by which s gets msg. A client is
// in one group at most.
func (m *crashModel) groupLocked(s *crashSession, msg *crashMsg) *crashGroup {
	for _, sub := range s.subs {
		if g := m.groups[sub.filter]; g != nil && crashMatch(g.pattern, msg.topic) {
			return g
		}
	}
	return nil
}

// mayLocked says why a message may not arrive, or "".
func (m *crashModel) mayLocked(s *crashSession, msg *crashMsg, p *packet.Publish, group *crashGroup) string {
	switch {
	case p.Dup && s.connects == 1 && group == nil:
		return "DUP in the first connection of a session"
	case p.Retain != strings.HasPrefix(msg.topic, "k/"):
		return "RETAIN"
	case msg.will == willArmed:
		return "a will whose client is connected"
	case msg.will == willForgotten:
		return "a will after DISCONNECT"
	case group != nil:
		if p.QoS > msg.qos {
			return "QoS above that of the publisher"
		}
		return ""
	}
	best := -1
	for _, sub := range s.subs {
		if crashMatch(sub.filter, msg.topic) && (sub.over == 0 || msg.first < sub.over) {
			best = max(best, int(min(sub.qos, msg.qos)))
		}
	}
	switch {
	case best < 0:
		return "there is no subscription for it"
	case int(p.QoS) > best:
		return fmt.Sprintf("QoS above %d", best)
	}
	if msg.topic[0] != 'd' || p.QoS == 0 || s.got[msg.no] != nil {
		return ""
	}
	key := orderKey{msg.from, msg.qos, p.QoS}
	newest := s.newest[key]
	if newest > msg.no && (msg.qos == 2 || msg.sends == 1 || sure(s, msg)) {
		return fmt.Sprintf("out of order, after %d", newest)
	}
	s.newest[key] = max(newest, msg.no)
	return ""
}

// sure says whether a subscription that nothing is lost of was there when the
// message was first sent, and is still: if not, what was sent twice may come the
// second time only.
func sure(s *crashSession, msg *crashMsg) bool {
	return slices.ContainsFunc(s.subs, func(sub *crashSub) bool {
		return sub.qos > 0 && sub.acked != 0 && sub.acked < msg.first && sub.changed == 0 && crashMatch(sub.filter, msg.topic)
	})
}

// countLocked says what is wrong with the number of times a message came.
func (m *crashModel) countLocked(s *crashSession, msg *crashMsg, p *packet.Publish, r *receipts, group *crashGroup) string {
	most := msg.sends
	switch {
	case p.Retain:
		most = 0
		for _, sub := range s.subs {
			if crashMatch(sub.filter, msg.topic) {
				most++
			}
		}
	case msg.qos == 2 || msg.will != noWill:
		most = 1
	}
	switch {
	case p.QoS == 0:
		// It waits for no commit: what a crash takes back, and the publisher sends
		// again, comes again.
		if r.bare > msg.sends {
			return "too often"
		}
	case group == nil && (p.QoS == 2 && r.count > most || r.fresh > most):
		return "too often"
	case group != nil && s.persistent && r.twos > most:
		// A member that had it at QoS 1, and has subscribed anew, may get it at
		// QoS 2 as well.
		return "too often"
	case group != nil && group.once && msg.qos == 2 && group.got[msg.no] > 1:
		return "it came to another member too"
	}
	return ""
}

// checkAll says whether everything that was promised has arrived. Nothing is
// on its way any more.
func (m *crashModel) checkAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.sessions {
		if !s.persistent || s.over {
			continue
		}
		for _, msg := range m.msgs {
			want := m.mustLocked(s, msg)
			if got := s.got[msg.no]; want > 0 && (got == nil || got.highest < want) {
				m.errorf("%s has not got message %d of %s on %s at QoS %d (sent %d to %d, acknowledged at %d, will %d): %+v",
					s.client, msg.no, msg.from, msg.topic, want, msg.first, msg.last, msg.acked, msg.will, got)
			}
		}
	}
	for filter, g := range m.groups {
		for _, msg := range m.msgs {
			if g.anchor == nil || msg.qos == 0 || msg.acked == 0 || msg.certain() < g.anchor.acked || !crashMatch(g.pattern, msg.topic) {
				continue
			}
			if g.got[msg.no] == 0 {
				m.errorf("no member of %s has got message %d of %s on %s at QoS %d", filter, msg.no, msg.from, msg.topic, msg.qos)
			}
		}
	}
}

// mustLocked returns the QoS at which a message must have come to a session, 0
// if it need not.
func (m *crashModel) mustLocked(s *crashSession, msg *crashMsg) int {
	if msg.qos == 0 || msg.acked == 0 || msg.retain {
		return 0
	}
	best := 0
	for _, sub := range s.subs {
		if sub.acked != 0 && sub.acked < msg.certain() && (sub.changed == 0 || msg.acked < sub.changed) && crashMatch(sub.filter, msg.topic) {
			best = max(best, int(min(sub.qos, msg.qos)))
		}
	}
	return best
}

func (m *crashModel) topicLocked(topic string) *crashTopic {
	t := m.retained[topic]
	if t == nil {
		t = &crashTopic{base: -1}
		m.retained[topic] = t
	}
	return t
}

// checkRetained compares what a restarted broker retains, by topic, with what
// it may. What it retains is durable, and from now on the last that is known.
func (m *crashModel) checkRetained(have map[string]*packet.Publish) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for topic := range have {
		if m.retained[topic] == nil {
			m.errorf("%q is retained in %q, where nothing was", have[topic].Payload, topic)
		}
	}
	for topic, t := range m.retained {
		no := -1
		if p := have[topic]; p != nil {
			if msg := m.find(p); msg != nil {
				no = msg.no
			} else {
				m.errorf("%q is retained in %q, which was never sent", p.Payload, topic)
			}
		}
		if may := t.may(); !slices.Contains(may, no) {
			m.errorf("message %d is retained in %q, which must be one of %v (-1: none)", no, topic, may)
		}
		t.base, t.seen = no, m.now()
		t.changes = slices.DeleteFunc(t.changes, func(c *crashMsg) bool { return c.acked != 0 || c.qos == 0 })
	}
}

// may returns the numbers of the messages that may be retained: those that no
// acknowledged one has followed for sure.
func (t *crashTopic) may() []int {
	floor := t.seen // whatever was over by then is not the last
	for _, c := range t.changes {
		if c.qos > 0 && c.acked != 0 {
			floor = max(floor, c.certain())
		}
	}
	var may []int
	if t.seen >= floor {
		may = append(may, t.base)
	}
	for _, c := range t.changes {
		if c.returned != 0 && c.returned < floor {
			continue
		}
		if c.clear {
			may = append(may, -1)
		} else {
			may = append(may, c.no)
		}
	}
	return may
}

// crashMatch matches the few kinds of filter that are used here.
func crashMatch(filter, topic string) bool {
	head, wild := filter[:len(filter)-1], filter[len(filter)-1]
	if wild == '#' || wild == '+' {
		return strings.HasPrefix(topic, head)
	}
	return filter == topic
}
