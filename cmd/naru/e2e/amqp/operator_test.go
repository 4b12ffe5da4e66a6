package amqp

import (
	"strings"
	"testing"
	"time"
)

// The tests of this file do something to RabbitMQ as a whole, so they run one
// after the other and before all that is parallel.

// A conversation is a script that a test plays line by line, because it does
// something to the broker in between.
type conversation struct {
	*testing.T
	p *performance
}

func converse(t *testing.T, r *Runner) *conversation {
	c := &conversation{t, &performance{Runner: r, conns: map[string]*conn{}, vars: map[string]Value{}}}
	t.Cleanup(c.p.endAll)
	return c
}

func (c *conversation) do(lines ...string) {
	c.Helper()
	for _, line := range lines {
		st, err := parseStep(line)
		if err != nil {
			c.Fatalf("%s: %v", line, err)
		}
		if err := c.p.step(&st); err != nil {
			c.Fatalf("%s: %v", line, err)
		}
	}
}

// TestBlocked: connections that publish are told when the broker runs short of
// memory or disk, and when it has enough again. Who does not publish is told
// nothing, nor who did not announce that it listens.
func TestBlocked(t *testing.T) {
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		r := needRabbit(t)
		blocked(t, r.runner(), "low on memory", func(short bool) error {
			mark := "0.4"
			if short {
				mark = "0.0000001"
			}
			return r.ctl("set_vm_memory_high_watermark", mark)
		})
	})
	t.Run("naru", func(t *testing.T) {
		t.Parallel()
		n := ownNaru(t)
		blocked(t, n.runner(), "low on disk", n.shortOfDisk)
	})
}

func blocked(t *testing.T, r *Runner, reason string, short func(bool) error) {
	c := converse(t, r)
	c.do("idle open", "idle.1 open", "deaf open capabilities={}", "deaf.1 open", "told open", "told.1 open",
		"told.1 call queue.declare queue='blocked' durable",
		"told.1 basic.publish routing-key='blocked' | | 'x'", "told.1 sync")
	if err := short(true); err != nil {
		t.Fatal(err)
	}
	c.do("late open", "late.1 open", // who connects now may do all but publish
		"late.1 until queue.declare queue='blocked' passive -> message-count=1",
		"told.1 basic.publish routing-key='blocked' | | 'x'",
		"told < connection.blocked reason='"+reason+"'",
		"deaf.1 basic.publish routing-key='blocked' | | 'x'",
		"late.1 basic.publish routing-key='blocked' | | 'x'",
		"late < connection.blocked reason='"+reason+"'",
		"idle silent 300ms", "idle.1 sync",
		"idle.1 until queue.declare queue='blocked' passive -> message-count=1")
	if err := short(false); err != nil {
		t.Fatal(err)
	}
	c.do("told < connection.unblocked", "late < connection.unblocked", "told.1 sync", "late.1 sync", "deaf.1 sync",
		"idle.1 until queue.declare queue='blocked' passive -> message-count=4",
		"idle.1 call queue.delete queue='blocked' -> message-count=4")
}

// TestForced: a connection that the operator closes is told so.
func TestForced(t *testing.T) {
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		r := needRabbit(t)
		forced(t, r.runner(), func() error {
			return r.ctl("close_all_connections", "--vhost", "policies", "time to go")
		})
	})
	t.Run("naru", func(t *testing.T) {
		t.Parallel()
		n := ownNaru(t)
		forced(t, n.runner(), n.shutDown)
	})
}

func forced(t *testing.T, r *Runner, force func() error) {
	c := converse(t, r)
	c.do("c1 open vhost='policies'", "c1.1 open")
	done := make(chan error, 1)
	go func() { done <- force() }() // a broker that shuts down waits for our close-ok
	c.p.Patience = time.Minute      // rabbitmqctl can take its time
	c.do("c1 < connection-error 320 none 'CONNECTION_FORCED - '...")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRestart: what a restart of the broker leaves, and what it takes.
func TestRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("takes the time of a start of RabbitMQ")
	}
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		restarted(t, needRabbit(t).runner(), "restart")
	})
	for _, how := range []string{"restart", "kill9"} {
		t.Run("naru "+how, func(t *testing.T) {
			t.Parallel()
			restarted(t, ownNaru(t).runner(), how)
		})
	}
}

func restarted(t *testing.T, r *Runner, how string) {
	c := converse(t, r)
	c.do(strings.Split(strings.TrimSpace(`
c1 open
c1.1 open
c1.1 call confirm.select
c1.1 call exchange.declare exchange='rs-durable' type='topic' durable
c1.1 call exchange.declare exchange='rs-auto' type='fanout' durable auto-delete
c1.1 call exchange.declare exchange='rs-transient' type='topic'
c1.1 call queue.declare queue='rs-durable' durable arguments={x-max-length=10 x-message-ttl=l:600000 x-max-priority=5}
c1.1 call queue.declare queue='rs-transient'
c1.1 call queue.declare queue='rs-exclusive' durable exclusive
c1.1 call queue.declare queue='rs-unacked' durable
c1.1 call queue.bind queue='rs-durable' exchange='rs-durable' routing-key='a.#'
c1.1 call queue.bind queue='rs-durable' exchange='rs-auto'
c1.1 call queue.bind queue='rs-durable' exchange='rs-transient' routing-key='#'
c1.1 call queue.bind queue='rs-transient' exchange='rs-durable' routing-key='a.#'
c1.1 basic.publish exchange='rs-durable' routing-key='a.b' | delivery-mode=2 priority=1 headers={h=[1 'x']} | 'persistent'
c1.1 confirms 1
c1.1 basic.publish exchange='rs-durable' routing-key='a.b' | delivery-mode=1 | 'transient'
c1.1 confirms 2
c1.1 basic.publish exchange='rs-durable' routing-key='a.c' | delivery-mode=2 priority=5 | 'urgent'
c1.1 confirms 3
c1.1 basic.publish routing-key='rs-unacked' | delivery-mode=2 | 'u1'
c1.1 basic.publish routing-key='rs-unacked' | delivery-mode=2 | 'u2'
c1.1 basic.publish routing-key='rs-unacked' | delivery-mode=2 | 'u3'
c1.1 confirms 4-6
c1.2 open
c1.2 call tx.select
c1.2 call basic.consume queue='rs-unacked' consumer-tag='t'
c1.2 < basic.deliver consumer-tag='t' delivery-tag=1 routing-key='rs-unacked' | delivery-mode=2 | 'u1'
c1.2 < basic.deliver consumer-tag='t' delivery-tag=2 routing-key='rs-unacked' | delivery-mode=2 | 'u2'
c1.2 < basic.deliver consumer-tag='t' delivery-tag=3 routing-key='rs-unacked' | delivery-mode=2 | 'u3'
c1.2 basic.ack delivery-tag=1
c1.2 call tx.commit
c1.2 basic.ack delivery-tag=2
`), "\n")...)
	c.do(how)
	c.do(strings.Split(strings.TrimSpace(`
c1 open
c1.1 open
c1.1 call exchange.declare exchange='rs-durable' type='topic' durable
c1.1 call queue.declare queue='rs-durable' durable arguments={x-max-length=10 x-message-ttl=l:600000 x-max-priority=5} -> message-count=2
c1.1 basic.get queue='rs-durable' no-ack
c1.1 < basic.get-ok delivery-tag=1 redelivered=_ exchange='rs-durable' routing-key='a.c' message-count=1 | delivery-mode=2 priority=5 | 'urgent'
c1.1 basic.get queue='rs-durable' no-ack
c1.1 < basic.get-ok delivery-tag=2 redelivered=_ exchange='rs-durable' routing-key='a.b' | delivery-mode=2 priority=1 headers={h=[1 'x']} | 'persistent'
c1.1 basic.publish exchange='rs-durable' routing-key='a.z' mandatory | | 'bound still'
c1.1 basic.publish exchange='rs-auto' mandatory | | 'bound still'
c1.1 basic.publish exchange='rs-durable' routing-key='b' mandatory | | 'back'
c1.1 < basic.return reply-code=312 reply-text='NO_ROUTE' exchange='rs-durable' routing-key='b' | | 'back'
c1.1 call queue.declare queue='rs-unacked' durable -> message-count=2
c1.1 basic.get queue='rs-unacked' no-ack
c1.1 < basic.get-ok delivery-tag=3 redelivered=_ routing-key='rs-unacked' message-count=1 | delivery-mode=2 | 'u2'
c1.1 basic.get queue='rs-unacked' no-ack
c1.1 < basic.get-ok delivery-tag=4 redelivered=_ routing-key='rs-unacked' | delivery-mode=2 | 'u3'
c1.1 queue.declare queue='rs-transient' passive
c1.1 < channel-error 404 queue.declare 'NOT_FOUND - no queue \'rs-transient\' in vhost \'/\''
c1.1 open
c1.1 queue.declare queue='rs-exclusive' passive
c1.1 < channel-error 404 queue.declare 'NOT_FOUND - no queue \'rs-exclusive\' in vhost \'/\''
c1.1 open
c1.1 exchange.declare exchange='rs-transient' passive
c1.1 < channel-error 404 exchange.declare 'NOT_FOUND - no exchange \'rs-transient\' in vhost \'/\''
c1.1 open
c1.1 call queue.delete queue='rs-durable' -> message-count=2
c1.1 call queue.delete queue='rs-unacked'
c1.1 exchange.declare exchange='rs-auto' passive
c1.1 < channel-error 404 exchange.declare 'NOT_FOUND - no exchange \'rs-auto\' in vhost \'/\''
c1.1 open
c1.1 call exchange.delete exchange='rs-durable'
`), "\n")...)
}
