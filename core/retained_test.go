package core

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// matches is the rule of MQTT for filters, word for word.
func matches(filter, topic string) bool {
	f, a := strings.Split(filter, "/"), strings.Split(topic, "/")
	if topic[0] == '$' && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, want := range f {
		switch {
		case want == "#":
			return len(a) >= i
		case i >= len(a), want != "+" && want != a[i]:
			return false
		}
	}
	return len(f) == len(a)
}

// found are the retained messages that a filter finds, by topic.
func (x *box) found(filter string) map[string]string {
	out := map[string]string{}
	r := &x.VHost("/").retained
	var nodes []*retainedNode
	r.walk(filter, "", func(n *retainedNode) bool {
		nodes = append(nodes, n)
		return true
	})
	for _, n := range nodes {
		m, err := r.read(n)
		if err != nil {
			x.t.Fatal(err)
		}
		if m != nil {
			out[string(m.Topic)] = string(m.Payload)
		}
	}
	return out
}

var (
	retainedLevels = []string{"", "a", "b", "ab", "a.b", "$a", "+x", "\x01", "~"}
	filterLevels   = []string{"", "a", "b", "ab", "a.b", "$a", "+", "+", "+", "\x01"}
)

func randomTopic(rnd *rand.Rand) string {
	for {
		var l []string
		for range 1 + rnd.IntN(4) {
			l = append(l, retainedLevels[rnd.IntN(len(retainedLevels))])
		}
		if s := strings.Join(l, "/"); s != "" && !strings.Contains(s, "+") {
			return s
		}
	}
}

func randomFilter(rnd *rand.Rand) string {
	for {
		var l []string
		for range 1 + rnd.IntN(4) {
			l = append(l, filterLevels[rnd.IntN(len(filterLevels))])
		}
		if rnd.IntN(3) == 0 {
			l = append(l, "#")
		}
		if s := strings.Join(l, "/"); s != "" {
			return s
		}
	}
}

// TestRetainedModel sets, replaces and clears at random and compares with a
// map: what filters find now, and what is there after a crash. What was changed
// at QoS 0 may be lost with the last moments before it; here they are waited
// for.
func TestRetainedModel(t *testing.T) {
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var x *box
		if seed%2 == 0 {
			x = newBox(t)
		} else {
			x = fourShards(t)
		}
		c := x.connect("c")
		model := map[string]string{}
		for n := range 400 {
			topic := randomTopic(rnd)
			payload := ""
			if rnd.IntN(3) > 0 {
				payload = fmt.Sprint(n)
			}
			if err := c.tryPublish(topic, payload, QoS(rnd.IntN(3)), true); err != nil {
				t.Fatal(err)
			}
			if model[topic] = payload; payload == "" {
				delete(model, topic)
			}
			if n%40 == 39 {
				x.compareRetained(t, rnd, model)
			}
			if n%100 == 99 {
				x.turn(func(t *Turn) { x.VHost("/").retained.flush(t) })
				x.settle()
				x = x.crash()
				c = x.connect("c")
				x.compareRetained(t, rnd, model)
			}
			if n == 250 { // all payloads to disk
				x.turn(func(t *Turn) { x.VHost("/").retained.flush(t) })
				x.settle()
				x.VHost("/").retained.trim(0)
				x.compareRetained(t, rnd, model)
			}
		}
	}
}

func (x *box) compareRetained(t *testing.T, rnd *rand.Rand, model map[string]string) {
	t.Helper()
	for i := range 60 {
		filter := randomFilter(rnd)
		if i == 0 {
			filter = "#"
		}
		want := map[string]string{}
		for topic, p := range model {
			if matches(filter, topic) {
				want[topic] = p
			}
		}
		if got := x.found(filter); !maps.Equal(got, want) {
			t.Fatalf("%q finds %q, want %q", filter, got, want)
		}
	}
	if n := x.Gauges().Retained; n != int64(len(model)) {
		t.Fatalf("%d are counted, %d are there", n, len(model))
	}
}

// TestWalkResumes interrupts a walk after each message and takes it up again.
func TestWalkResumes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	x := newBox(t)
	c := x.connect("c")
	for range 200 {
		if err := c.tryPublish(randomTopic(rnd), "x", AtMostOnce, true); err != nil {
			t.Fatal(err)
		}
	}
	r := &x.VHost("/").retained
	for range 300 {
		filter := randomFilter(rnd)
		var whole, steps []string
		r.walk(filter, "", func(n *retainedNode) bool { whole = append(whole, n.key); return true })
		for after, more := "", true; more; {
			more = false
			r.walk(filter, after, func(n *retainedNode) bool {
				steps = append(steps, n.key)
				after, more = n.key, true
				return false
			})
		}
		if !slices.Equal(whole, steps) || !slices.IsSorted(whole) {
			t.Fatalf("%q: at once %q, step by step %q", filter, whole, steps)
		}
	}
}

// TestRetainedCrashes: a retained message that was acknowledged is there after
// a crash, and of several changes of one topic the last that was made.
func TestRetainedCrashes(t *testing.T) {
	x := newBox(t)
	c := x.connect("c")
	publish := func(payload string, qos QoS) {
		err := c.feedRetry("ack "+payload+",", func(tn *Turn) (Wait, error) {
			m := tn.Message()
			m.Exchange, m.Topic, m.Payload, m.QoS, m.Retain = c.pub.vh.topics, []byte("a"), []byte(payload), qos, true
			m.Persistent = qos > 0
			return c.pub.Publish(tn, m)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	x.hold(true)
	for _, p := range []string{"1", "2", ""} {
		publish(p, AtLeastOnce)
	}
	x.workersIdle()
	if got := c.out.String(); got != "" {
		t.Fatalf("acknowledged %q before it is on disk", got)
	}
	var want []map[string]string
	for _, p := range []string{"", "1", "2", ""} {
		want = append(want, map[string]string{"a": p})
		if p == "" {
			want[len(want)-1] = map[string]string{}
		}
	}
	if n := x.shards[0].waiting(); n != 3 {
		t.Fatalf("%d commits", n)
	}
	x.crashes(func(y *box, n int) {
		if got := y.found("#"); !maps.Equal(got, want[n]) {
			t.Errorf("%d commits done: %q", n, got)
		}
	})
}

// TestRetainedOutOfOrder: two turns that change one topic and commit in the
// other order leave what was changed last in memory.
func TestRetainedOutOfOrder(t *testing.T) {
	for _, second := range []string{"2", ""} {
		x := newBox(t)
		c := x.connect("c")
		if err := c.tryPublish("a", "0", AtLeastOnce, true); err != nil {
			t.Fatal(err)
		}
		early, late := x.NewTurn(), x.NewTurn()
		c.publishIn(early, "a", "1", AtLeastOnce, true)
		c.publishIn(late, "a", second, AtLeastOnce, true)
		late.End()
		early.End()
		x.settle()
		now, then := x.found("#"), x.crash().found("#")
		if now["a"] != second || !maps.Equal(now, then) {
			t.Errorf("%q in memory, %q on disk, want %q", now, then, second)
		}
	}
}

// TestRetainedCoalesced: at QoS 0 a topic is written once in a while, however
// often it changes, and nobody waits for it.
func TestRetainedCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBox(t)
		c := x.connect("c")
		x.settle()
		x.hold(true)
		for i := range 1000 {
			c.feed(1, func(tn *Turn) { c.publishIn(tn, fmt.Sprint("a/", i%3), fmt.Sprint(i), AtMostOnce, true) })
		}
		if n := x.shards[0].waiting(); n != 0 {
			t.Fatalf("%d commits at once", n)
		}
		time.Sleep(150 * time.Millisecond) // in the bubble: housekeeping comes round
		if n := x.shards[0].waiting(); n != 1 {
			t.Errorf("%d commits later", n)
		}
		x.hold(false)
		x.settle()
		want := map[string]string{"a/0": "999", "a/1": "997", "a/2": "998"}
		if got := x.crash().found("#"); !maps.Equal(got, want) {
			t.Errorf("after a crash: %q", got)
		}
	})
}

// TestRetainedSys: what is under $SYS is not written and not there after a
// crash; and clients cannot set it.
func TestRetainedSys(t *testing.T) {
	x := newBox(t)
	c := x.connect("c")
	if err := c.tryPublish("$SYS/a", "x", AtMostOnce, true); err == nil {
		t.Error("a client publishes under $SYS")
	}
	set := func(payload string) {
		x.turn(func(tn *Turn) {
			m := tn.Message()
			m.Exchange, m.Topic, m.Payload, m.Retain = x.VHost("/").Topics(), []byte("$SYS/a"), []byte(payload), true
			m.QoS = AtLeastOnce
			if wait, err := x.VHost("/").NewInternalPublisher().Publish(tn, m); wait != nil || err != nil {
				t.Fatal(err)
			}
		})
	}
	set("1")
	if got := x.found("$SYS/#"); got["$SYS/a"] != "1" {
		t.Errorf("found %q", got)
	}
	x.turn(func(t *Turn) { x.VHost("/").retained.flush(t) })
	x.settle()
	if got := x.crash().found("$SYS/#"); len(got) != 0 {
		t.Errorf("after a crash: %q", got)
	}
	set("")
	if got := x.found("$SYS/#"); len(got) != 0 || x.Gauges().Retained != 0 {
		t.Errorf("cleared: %q, %d counted", got, x.Gauges().Retained)
	}
}

// TestRetainedMemory: payloads beyond the budget leave memory when they are on
// disk, can be replaced there, and are read back, also after a crash.
func TestRetainedMemory(t *testing.T) {
	small := func(o *Options) { o.RetainedMemory = 2000 }
	x := newBox(t, small)
	c := x.connect("c")
	want := map[string]string{}
	for i := range 50 {
		topic, payload := fmt.Sprint("a/", i), strings.Repeat(fmt.Sprint(i%10), 200)
		want[topic] = payload
		if err := c.tryPublish(topic, payload, AtLeastOnce, true); err != nil {
			t.Fatal(err)
		}
	}
	for _, y := range []*box{x, nil} {
		x.settle()
		if y == nil {
			y = x.crash(small)
			c = y.connect("c")
		}
		r := &y.VHost("/").retained
		r.trim(2000)
		if r.bytes > 2500 {
			t.Errorf("%d bytes in memory", r.bytes)
		}
		if got := y.found("#"); !maps.Equal(got, want) {
			t.Error("not all is found")
		}
		for i := range 25 { // change and clear what is on disk only
			topic, payload := fmt.Sprint("a/", 2*i), fmt.Sprint(i)
			if i%2 == 0 {
				payload = ""
				delete(want, topic)
			} else {
				want[topic] = payload
			}
			if err := c.tryPublish(topic, payload, QoS(i%3), true); err != nil {
				t.Fatal(err)
			}
		}
		if got := y.found("#"); !maps.Equal(got, want) {
			t.Error("not all is found after the changes")
		}
		y.turn(func(t *Turn) { r.flush(t) })
		y.settle()
	}
}
