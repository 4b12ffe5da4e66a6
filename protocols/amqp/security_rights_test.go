package amqp

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A rulebook is an authorizer that refuses some rights and remembers what it was
// asked. Rights are spelled as in "write exchange x" and "publish x k".
type rulebook struct {
	mu     sync.Mutex
	refuse []string        // guarded by mu
	asked  map[string]bool // guarded by mu
}

func (b *rulebook) Authorize(_ context.Context, _ *core.Identity, r core.Right) (bool, error) {
	verb := [...]string{"publish", "receive", "subscribe", "configure", "write", "read"}[r.Action]
	what := [...]string{r.Exchange, "queue", "exchange"}[r.Resource]
	s := fmt.Sprintf("%s %s %s", verb, what, r.Address)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[s] = true
	return !slices.Contains(b.refuse, s), nil
}

func (b *rulebook) set(refuse ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refuse, b.asked = refuse, make(map[string]bool)
}

// quickRules is a rulebook that is asked in place.
type quickRules struct{ *rulebook }

func (quickRules) Inline() {}

// rightsPaths are the ways by which a client gets at something, and the rights
// that each needs: without any of them it is refused.
var rightsPaths = []struct {
	name string
	do   func(p *peer)
	ok   frame.Method // the answer if all is allowed
	need []string
	// any says that one of what is needed is enough.
	any bool
}{
	{"publish", func(p *peer) { p.publish(1, "x", "k", persistent, "m") }, 0, []string{"publish x k"}, false},
	{"publish to a queue", func(p *peer) { p.publish(1, "", "q", transient, "m") }, 0, []string{"publish  q"}, false},
	{"publish nothing", func(p *peer) { p.publish(1, "x", "k", transient, "") }, 0, []string{"publish x k"}, false},
	{"publish, mandatory", func(p *peer) { p.Send(appendPublish(nil, 1, "x", "none", 1, transient, []byte("m"))) }, frame.MethodBasicReturn, []string{"publish x none"}, false},
	{"publish with CC", func(p *peer) { p.publish(1, "x", "k", copiesTo("CC", "k2", "k3"), "m") }, 0, []string{"publish x k", "publish x k2", "publish x k3"}, false},
	{"publish with BCC", func(p *peer) { p.publish(1, "x", "k", copiesTo("BCC", "k2"), "m") }, 0, []string{"publish x k", "publish x k2"}, false},
	{"publish in a transaction", func(p *peer) {
		p.send(1, frame.MethodTxSelect)
		p.want(1, frame.MethodTxSelectOK)
		p.publish(1, "x", "k", persistent, "m")
		p.send(1, frame.MethodTxCommit)
	}, frame.MethodTxCommitOK, []string{"publish x k"}, false},
	{"publish over a binding of exchanges", func(p *peer) { p.publish(1, "x", "to.y", transient, "m") }, 0, []string{"publish x to.y"}, false},
	{"reply", func(p *peer) { p.publish(1, "", replyTo+".of.somebody", transient, "m") }, 0, []string{"publish  " + replyTo + ".of.somebody"}, false},
	{"queue.declare", func(p *peer) { p.send(1, frame.MethodQueueDeclare, uint16(0), "new", bits(0), noTable) }, frame.MethodQueueDeclareOK, []string{"configure queue new"}, false},
	{"queue.declare of what is there", func(p *peer) { p.send(1, frame.MethodQueueDeclare, uint16(0), "q", bits(2), noTable) }, frame.MethodQueueDeclareOK, []string{"configure queue q"}, false},
	{"queue.declare, passive", func(p *peer) { p.send(1, frame.MethodQueueDeclare, uint16(0), "q", bits(1), noTable) }, frame.MethodQueueDeclareOK, []string{"configure queue q", "write queue q", "read queue q"}, true},
	{"queue.declare, passive, of none", func(p *peer) { p.send(1, frame.MethodQueueDeclare, uint16(0), "none", bits(1), noTable) }, frame.MethodChannelClose, []string{"configure queue none", "write queue none", "read queue none"}, true},
	{"queue.declare with dead letters", func(p *peer) {
		p.send(1, frame.MethodQueueDeclare, uint16(0), "dl", bits(0), props.AddStr(nil, "x-dead-letter-exchange", "y"))
	}, frame.MethodQueueDeclareOK, []string{"configure queue dl", "read queue dl", "write exchange y"}, false},
	{"exchange.declare", func(p *peer) { p.send(1, frame.MethodExchangeDeclare, uint16(0), "new", "fanout", bits(0), noTable) }, frame.MethodExchangeDeclareOK, []string{"configure exchange new"}, false},
	{"exchange.declare, passive", func(p *peer) { p.send(1, frame.MethodExchangeDeclare, uint16(0), "x", "", bits(1), noTable) }, frame.MethodExchangeDeclareOK, []string{"configure exchange x", "write exchange x", "read exchange x"}, true},
	{"exchange.declare with an alternate", func(p *peer) {
		p.send(1, frame.MethodExchangeDeclare, uint16(0), "ae", "fanout", bits(0), props.AddStr(nil, "alternate-exchange", "y"))
	}, frame.MethodExchangeDeclareOK, []string{"configure exchange ae", "read exchange ae", "write exchange y"}, false},
	{"queue.bind", func(p *peer) { p.send(1, frame.MethodQueueBind, uint16(0), "q", "x", "a.*", false, noTable) }, frame.MethodQueueBindOK, []string{"write queue q", "read exchange x", "subscribe x a.*"}, false},
	{"queue.unbind", func(p *peer) { p.send(1, frame.MethodQueueUnbind, uint16(0), "q", "x", "a.*", noTable) }, frame.MethodQueueUnbindOK, []string{"write queue q", "read exchange x"}, false},
	{"exchange.bind", func(p *peer) { p.send(1, frame.MethodExchangeBind, uint16(0), "y", "x", "a.#", false, noTable) }, frame.MethodExchangeBindOK, []string{"write exchange y", "read exchange x", "subscribe x a.#"}, false},
	{"exchange.unbind", func(p *peer) { p.send(1, frame.MethodExchangeUnbind, uint16(0), "y", "x", "a.#", false, noTable) }, frame.MethodExchangeUnbindOK, []string{"write exchange y", "read exchange x"}, false},
	{"basic.get", func(p *peer) { p.send(1, frame.MethodBasicGet, uint16(0), "q", false) }, frame.MethodBasicGetOK, []string{"read queue q"}, false},
	{"basic.consume", func(p *peer) { p.send(1, frame.MethodBasicConsume, uint16(0), "q", "c", bits(0), noTable) }, frame.MethodBasicConsumeOK, []string{"read queue q"}, false},
	{"queue.purge", func(p *peer) { p.send(1, frame.MethodQueuePurge, uint16(0), "q", false) }, frame.MethodQueuePurgeOK, []string{"read queue q"}, false},
	{"queue.delete", func(p *peer) { p.send(1, frame.MethodQueueDelete, uint16(0), "q", bits(0)) }, frame.MethodQueueDeleteOK, []string{"configure queue q"}, false},
	{"queue.delete of none", func(p *peer) { p.send(1, frame.MethodQueueDelete, uint16(0), "none", bits(0)) }, frame.MethodQueueDeleteOK, []string{"configure queue none"}, false},
	{"exchange.delete", func(p *peer) { p.send(1, frame.MethodExchangeDelete, uint16(0), "x", bits(0)) }, frame.MethodExchangeDeleteOK, []string{"configure exchange x"}, false},
}

func copiesTo(header string, keys ...string) []byte {
	var list props.Array
	for _, k := range keys {
		list = props.PushStr(list, k)
	}
	return props.AppendProperties(nil, &props.Properties{Has: props.HasHeaders, Headers: props.AddArray(nil, header, list)})
}

// answer waits for the answer to a path: the first method on channel 1, or the
// answer to a flow where there is none.
func (p *peer) answer() got {
	p.t.Helper()
	p.send(1, frame.MethodChannelFlow, true)
	for {
		g, ok := p.next()
		if !ok {
			p.t.Fatal("the connection is over")
		}
		if g.Type == frame.FrameMethod && g.Channel == 1 {
			return g
		}
	}
}

func refused(g got) bool {
	var c frame.Close
	return g.method == frame.MethodChannelClose && c.Decode(g.payload) == nil && c.ReplyCode == frame.AccessRefused
}

// TestSecurity11Matrix takes each path with all rights, and without each of those
// that it needs: then nothing happens and nothing is told.
func TestSecurity11Matrix(t *testing.T) {
	for _, inline := range []bool{true, false} {
		rules := &rulebook{}
		rules.set()
		b := newBox(t, func(o *boxOptions) {
			o.core.Authorizer = rules
			if inline {
				o.core.Authorizer = quickRules{rules}
			}
		})
		prepare := func(t *testing.T) *peer {
			rules.set()
			b.bus.RevokeRights()
			p := b.connect()
			p.t = t
			for _, n := range []string{"q", "new", "dl"} {
				p.send(1, frame.MethodQueueDelete, uint16(0), n, bits(0))
				p.want(1, frame.MethodQueueDeleteOK)
			}
			for _, n := range []string{"x", "y", "new", "ae"} {
				p.send(1, frame.MethodExchangeDelete, uint16(0), n, bits(0))
				p.want(1, frame.MethodExchangeDeleteOK)
			}
			p.declare(1, "q", 2, nil)
			for _, n := range []string{"x", "y"} {
				p.send(1, frame.MethodExchangeDeclare, uint16(0), n, "topic", bits(2), noTable)
				p.want(1, frame.MethodExchangeDeclareOK)
			}
			for _, k := range []string{"k", "k2", "k3"} {
				p.send(1, frame.MethodQueueBind, uint16(0), "q", "x", k, true, noTable)
			}
			p.send(1, frame.MethodExchangeBind, uint16(0), "y", "x", "to.*", true, noTable)
			p.send(1, frame.MethodQueueBind, uint16(0), "q", "y", "#", true, noTable)
			p.publish(1, "", "q", transient, "first")
			p.send(1, frame.MethodChannelFlow, true)
			p.want(1, frame.MethodChannelFlowOK)
			return p
		}
		ready := func() int64 { return b.vhost().Queue("q").Info().Ready }
		for _, path := range rightsPaths {
			t.Run(fmt.Sprintf("%s/inline=%v", path.name, inline), func(t *testing.T) {
				p := prepare(t)
				path.do(p)
				want := path.ok
				if want == 0 {
					want = frame.MethodChannelFlowOK
				}
				if g := p.answer(); g.method != want || refused(g) {
					t.Fatalf("with all rights it is answered by %v", g)
				}
				for _, n := range path.need {
					if rules.mu.Lock(); !rules.asked[n] && !path.any {
						t.Errorf("%q was not asked", n)
					}
					rules.mu.Unlock()
				}
				p.Hangup(nil)
				for i, n := range path.need {
					without := []string{n}
					if path.any {
						if without = path.need; i > 0 {
							break
						}
					}
					p := prepare(t)
					rules.set(without...)
					b.bus.RevokeRights()
					path.do(p)
					if g := p.answer(); !refused(g) {
						t.Errorf("without %q it is answered by %v", without, g)
					}
					if n := ready(); n != 1 {
						t.Errorf("without %q there are %d messages", without, n)
					}
					p.Hangup(nil)
				}
				if path.any { // each of them is enough
					for _, n := range path.need {
						p := prepare(t)
						rules.set(slices.DeleteFunc(slices.Clone(path.need), func(o string) bool { return o == n })...)
						b.bus.RevokeRights()
						path.do(p)
						if g := p.answer(); refused(g) {
							t.Errorf("with %q alone it is refused", n)
						}
						p.Hangup(nil)
					}
				}
			})
		}
	}
}

// TestSecurity11Revoked takes rights away from a connection that uses them: what
// it does next is refused. A consumer goes on, as in RabbitMQ, which asks when it
// begins.
func TestSecurity11Revoked(t *testing.T) {
	rules := &rulebook{}
	rules.set()
	b := newBox(t, func(o *boxOptions) { o.core.Authorizer = quickRules{rules} })
	p := b.connect()
	p.declare(1, "q", 2, nil)
	p.publish(1, "", "q", transient, "1")
	p.consume(1, "q", "c", 2)
	if _, _, body := p.delivery(1); string(body) != "1" {
		t.Fatalf("got %q", body)
	}
	p.openChannel(2)
	p.publish(2, "", "q", transient, "2") // a route is remembered now
	p.delivery(1)
	rules.set("publish  q", "read queue q")
	b.bus.RevokeRights()
	p.publish(2, "", "q", transient, "3")
	p.wantClose(2, frame.AccessRefused)
	p.openChannel(2)
	p.send(2, frame.MethodBasicGet, uint16(0), "q", true)
	p.wantClose(2, frame.AccessRefused)
	p.openChannel(2)
	p.send(2, frame.MethodBasicConsume, uint16(0), "q", "d", bits(0), noTable)
	p.wantClose(2, frame.AccessRefused)
	other := b.connect()
	rules.set("read queue q")
	b.bus.RevokeRights()
	other.publish(1, "", "q", transient, "4")
	if _, _, body := p.delivery(1); string(body) != "4" {
		t.Fatalf("got %q", body)
	}
}

// TestSecurity11Exclusive: what belongs to another connection is out of reach by
// every method, and by the name of its replies nothing can be had.
func TestSecurity11Exclusive(t *testing.T) {
	b := newBox(t)
	owner := b.connect()
	owner.declare(1, "mine", 4, nil)
	owner.consume(1, replyTo, "r", 2)
	owner.openChannel(2)
	owner.publish(1, "", "mine", props.AppendProperties(nil, &props.Properties{Has: props.HasReplyTo, ReplyTo: []byte(replyTo)}), "x")
	owner.send(1, frame.MethodBasicGet, uint16(0), "mine", true)
	owner.want(1, frame.MethodBasicGetOK)
	raw, _ := owner.content(1)
	s, err := props.Scan(raw)
	if err != nil || !strings.HasPrefix(string(s.ReplyTo), replyTo+".") {
		t.Fatalf("reply-to is %q, %v", s.ReplyTo, err)
	}
	replies := string(s.ReplyTo)
	for _, name := range []string{"mine", replies} {
		for what, args := range map[frame.Method][]any{
			frame.MethodQueueBind:    {uint16(0), name, "amq.topic", "#", false, noTable},
			frame.MethodQueuePurge:   {uint16(0), name, false},
			frame.MethodQueueDelete:  {uint16(0), name, bits(0)},
			frame.MethodBasicGet:     {uint16(0), name, false},
			frame.MethodBasicConsume: {uint16(0), name, "", bits(0), noTable},
		} {
			p := b.connect()
			p.send(1, what, args...)
			var c frame.Close
			if err := c.Decode(p.want(1, frame.MethodChannelClose)); err != nil || c.ReplyCode != frame.ResourceLocked && c.ReplyCode != frame.AccessRefused && c.ReplyCode != frame.NotFound {
				t.Errorf("%v of %s: %v %q", what, name, c.ReplyCode, c.ReplyText)
			}
			p.Hangup(nil)
		}
	}
	p := b.connect()
	p.publish(1, "", replies, transient, "answer")
	if _, _, body := owner.delivery(1); string(body) != "answer" {
		t.Errorf("the reply is %q", body)
	}
}
