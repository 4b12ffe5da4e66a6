package core

import (
	"fmt"
	"slices"
	"strings"
	"testing/synctest"

	"github.com/narumq/naru/core/props"
)

// check lets the bus come to rest, and compares.
func (m *amqpModel) check() {
	m.t.Helper()
	synctest.Wait()
	m.mu.Lock()
	log := m.log
	m.log = nil
	m.mu.Unlock()
	bad := m.absorb(log)
	if bad == "" {
		bad = m.compare()
	}
	if bad != "" && m.loose {
		m.adopt()
		m.adopted++
		bad = m.compare()
	}
	if bad != "" {
		m.fatalf("%s", bad)
	}
	m.loose = false
	for _, s := range m.told {
		if !s.told {
			m.fatalf("consumer %d of %s was not told that its queue is gone", s.no, s.mq.name)
		}
	}
	m.told = nil
	for _, n := range modelQueues {
		mq := m.queues[n]
		if real := m.vh.Queue(n); (mq == nil) != (real == nil) {
			m.fatalf("queue %s: there is %v", n, real != nil)
		}
		if mq == nil {
			continue
		}
		mq.arrived, mq.handing, mq.got, mq.getting = 0, nil, nil, nil
		mq.q.eachLane(func(lane *Queue) bool {
			if problem := lane.inconsistent(); problem != "" {
				m.fatalf("%s: %s", n, problem)
			}
			return true
		})
	}
	m.others = slices.DeleteFunc(m.others, func(s *amqpConsumer) bool { return len(s.out) == 0 })
}

// absorb takes from the lists what the bus has delivered, and says what was not
// due.
func (m *amqpModel) absorb(log []amqpDelivery) string {
	for _, l := range log {
		s, d := l.to, l.d
		mq := s.mq
		due := &mq.handing
		if s.getter {
			due = &mq.got
		}
		if len(*due) == 0 {
			return fmt.Sprintf("%s: %.10q was delivered to %d, nothing is due", mq.name, d.Msg.Payload, s.no)
		}
		c := (*due)[0]
		if id := idOf(d.Msg); id != c.id {
			return fmt.Sprintf("%s: %d was delivered to %d, due is %v", mq.name, id, s.no, *due)
		}
		switch better := mq.better(s); {
		case !s.getter && s.limit > 0 && len(s.out) >= s.limit:
			return fmt.Sprintf("%s: consumer %d got more than its limit of %d", mq.name, s.no, s.limit)
		case !s.getter && better != nil:
			return fmt.Sprintf("%s: consumer %d got %d, which was for %d", mq.name, s.no, c.id, better.no)
		case !c.unsure && d.Redelivered != c.sent:
			return fmt.Sprintf("%s: %d: redelivered is %v, want %v", mq.name, c.id, d.Redelivered, c.sent)
		case d.Failures != c.failures:
			return fmt.Sprintf("%s: %d: %d failures, want %d", mq.name, c.id, d.Failures, c.failures)
		case string(d.Msg.Topic) != c.key || d.Msg.Exchange.name != c.exchange:
			return fmt.Sprintf("%s: %d: by %q %q, want %q %q", mq.name, c.id, d.Msg.Exchange.name, d.Msg.Topic, c.exchange, c.key)
		}
		*due = (*due)[1:]
		if s.noAck {
			continue
		}
		c.by, c.sent, c.unsure, c.ord, c.from = s, true, false, d.Ordinal, d.Consumer
		s.out = append(s.out, c)
		mq.list = append(mq.list, c)
		mq.sort()
	}
	for _, n := range m.names() {
		if mq := m.queues[n]; len(mq.handing)+len(mq.got) > 0 {
			return fmt.Sprintf("%s: %v and %v were not delivered", n, mq.handing, mq.got)
		}
	}
	return ""
}

// better is a consumer that comes before s and has room, or nil.
func (mq *amqpQueue) better(s *amqpConsumer) *amqpConsumer {
	if mq.o.SingleActive {
		if mq.active != s {
			return mq.active
		}
		return nil
	}
	for _, o := range mq.consumers {
		if o.priority > s.priority && (o.limit == 0 || len(o.out) < o.limit) {
			return o
		}
	}
	return nil
}

func idOf(msg *Message) (id int) {
	fmt.Sscan(string(msg.Payload), &id)
	return id
}

// observe returns what a queue holds, in order.
func (m *amqpModel) observe(mq *amqpQueue) []*amqpCopy {
	var out []*amqpCopy
	mq.q.eachLane(func(lane *Queue) bool {
		prio := 0
		if lane != mq.q {
			prio = int(lane.named.opt.lane)
		}
		lane.mu.Lock()
		defer lane.mu.Unlock()
		add := func(e *entry) {
			msg := e.msg
			c := &amqpCopy{
				id: idOf(msg), prio: prio, expires: e.expires, failures: e.failures(), size: int64(e.size), deaths: deathsOf(msg),
				key: string(msg.Topic), exchange: msg.Exchange.name, persistent: msg.Persistent, unsure: true, ord: e.ord, from: e.cons,
			}
			cc, _ := props.HeadersOf(msg.Props).Get("CC")
			for it := cc.Array().Iter(); it.Next(); {
				c.cc = append(c.cc, string(it.Value().Bytes()))
			}
			if c.from != nil {
				c.by = m.sinkOf(c.from)
			}
			out = append(out, c)
		}
		ring := func(r *ring) {
			for i := range r.n {
				if e := r.at(i); e.state != entryGone {
					add(e)
				}
			}
		}
		ring(&lane.head)
		if g := lane.far.gap; g.n > 0 {
			var there []entry
			err := lane.sh.store.Scan(entryKey(lane.id, g.lo), entryKey(lane.id, g.hi), func(k, v []byte) bool {
				e, err := lane.decodeEntry(ordinalOf(k), v)
				if err == nil && !g.settled(ordinalOf(k)) && (e.flags&flagDurable != 0 || ordinalOf(k) >= lane.disk.bootNext) {
					there = append(there, e)
				}
				return true
			})
			if err == nil && lane.disk.failures {
				err = lane.loadFailures(there)
			}
			if err != nil {
				m.t.Fatal(err)
			}
			for i := range there {
				add(&there[i])
			}
		}
		ring(&lane.far.tail)
		return true
	})
	return out
}

func (m *amqpModel) sinkOf(c *Consumer) *amqpConsumer { return c.sink.(*amqpConsumer) }

func copyLines(list []*amqpCopy) string {
	var b strings.Builder
	for _, c := range list {
		fmt.Fprintf(&b, "\n\t%v", c)
	}
	return b.String()
}

// compare says how the queues differ from what they should hold.
func (m *amqpModel) compare() string {
	for _, n := range m.names() {
		mq := m.queues[n]
		got := m.observe(mq)
		for i := range max(len(got), len(mq.list)) {
			if i >= len(got) || i >= len(mq.list) || got[i].String() != mq.list[i].String() {
				return fmt.Sprintf("%s holds%s\nwant%s", n, copyLines(got[i:]), copyLines(mq.list[i:]))
			}
		}
		ready, size := mq.ready()
		if i := mq.q.Info(); i.Ready != int64(ready) || int(i.Unsettled) != len(mq.list)-ready || i.Consumers != len(mq.consumers) {
			return fmt.Sprintf("%s: %+v, want %d ready of %d bytes, %d unsettled, %d consumers", n, i, ready, size, len(mq.list)-ready, len(mq.consumers))
		}
	}
	return ""
}

// adopt takes over what the queues hold, after a step whose outcome depends on
// the order of what happened at the same time. Nothing may be there that was not
// there before.
func (m *amqpModel) adopt() {
	for _, n := range m.names() {
		mq := m.queues[n]
		for _, s := range mq.consumers {
			s.out = nil
		}
	}
	for _, s := range m.others {
		if m.queues[s.mq.name] == s.mq {
			s.out = nil
		}
	}
	for _, n := range m.names() {
		mq := m.queues[n]
		mq.list, mq.handing, mq.got = m.observe(mq), nil, nil
		for _, c := range mq.list {
			if c.id > m.nextID {
				m.fatalf("%s holds %v, which was never published", n, c)
			}
			m.nextSeq++
			c.seq = m.nextSeq
			if c.by != nil {
				c.by.out = append(c.by.out, c)
			}
		}
	}
}

// end deletes everything, and looks for what is left behind.
func (m *amqpModel) end() {
	m.note("the end")
	for _, n := range m.names() {
		mq := m.queues[n]
		m.turn(func(t *Turn) {
			if _, err := m.vh.Drop(t, mq.q, false, false); err != nil {
				m.fatalf("drop %s: %v", n, err)
			}
		})
		m.forget(mq)
	}
	synctest.Wait()
	if left := m.x.leftBehind(); len(left) > 0 {
		m.fatalf("all queues are gone, but %d keys are left: %q", len(left), left[:min(len(left), 5)])
	}
	if n := m.x.memory.Load(); n != 0 {
		m.fatalf("all queues are gone, but %d bytes are counted", n)
	}
	if m.adopted > m.step/10 {
		m.t.Errorf("%d of %d steps had more than one right outcome: the model knows too little", m.adopted, m.step)
	}
	m.t.Logf("%d steps, %d adopted, deaths %v", m.step, m.adopted, m.died)
}
