package mqtt

import "github.com/narumq/naru/core"

// refusals gathers what is refused on one connection, so that a client that
// goes on and on does not fill the log: the first is told at once, what follows
// every ten seconds, and the rest at the end.
type refusals struct {
	publishes, subscribes refusal
}

type refusal struct {
	told  int64 // unix milliseconds
	count int64 // since then
	last  func(count int64) core.Event
}

const refusalPause = 10_000 // milliseconds

func (r *refusal) add(t *core.Turn, event func(count int64) core.Event) {
	r.count++
	r.last = event
	if t.Now-r.told >= refusalPause {
		r.tell(t)
	}
}

func (r *refusal) tell(t *core.Turn) {
	if r.count > 0 {
		t.Event(r.last(r.count))
	}
	r.told, r.count, r.last = t.Now, 0, nil
}

// clip shortens a topic or filter for the log.
func clip(b []byte) string {
	const most = 256
	if len(b) > most {
		return string(b[:most]) + "..."
	}
	return string(b)
}

func (c *conn) refusedPublish(t *core.Turn, topic []byte, err error) {
	name := clip(topic)
	c.refusals().publishes.add(t, func(n int64) core.Event {
		return core.PublishRefused{Identity: &c.who.Identity, Topic: name, Cause: err, Count: n}
	})
}

func (c *conn) refusedSubscribe(t *core.Turn, filter []byte, err error) {
	name := clip(filter)
	c.refusals().subscribes.add(t, func(n int64) core.Event {
		return core.SubscribeRefused{Identity: &c.who.Identity, Filter: name, Cause: err, Count: n}
	})
}

func (c *conn) refusals() *refusals {
	if c.gathered == nil {
		c.gathered = &refusals{}
	}
	return c.gathered
}

// tellRefusals tells what has gathered, at the end.
func (c *conn) tellRefusals(t *core.Turn) {
	if c.gathered != nil {
		c.gathered.publishes.tell(t)
		c.gathered.subscribes.tell(t)
	}
}
