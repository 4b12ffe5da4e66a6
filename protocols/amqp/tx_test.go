package amqp

import (
	"testing"

	"github.com/narumq/naru/protocols/amqp/frame"
)

// TestRecoverInTransaction: basic.recover gives back what the open transaction has
// not acknowledged. What it has goes with the commit, and can be given back after a
// rollback.
func TestRecoverInTransaction(t *testing.T) {
	for _, c := range []struct {
		end, ok frame.Method
		left    []string
	}{
		{frame.MethodTxCommit, frame.MethodTxCommitOK, []string{"2"}},
		{frame.MethodTxRollback, frame.MethodTxRollbackOK, []string{"1", "2"}},
	} {
		t.Run(c.end.String(), func(t *testing.T) {
			b := newBox(t)
			p := b.connect()
			p.declare(1, "q", 0, nil)
			p.publish(1, "", "q", transient, "1")
			p.publish(1, "", "q", transient, "2")
			p.send(1, frame.MethodTxSelect)
			p.want(1, frame.MethodTxSelectOK)
			p.consume(1, "q", "c", 0)
			p.delivery(1)
			p.delivery(1)
			p.send(1, frame.MethodBasicAck, uint64(1), false)
			again := func(want ...string) {
				t.Helper()
				p.send(1, frame.MethodBasicRecover, true)
				p.want(1, frame.MethodBasicRecoverOK)
				for _, text := range want {
					if d, _, body := p.delivery(1); !d.redelivered || string(body) != text {
						t.Errorf("what comes again is %+v %q, want %q", d, body, text)
					}
				}
			}
			again("2")
			p.send(1, c.end)
			p.want(1, c.ok)
			again(c.left...)
			if i := b.vhost().Queue("q").Info(); i.Ready != 0 || int(i.Unsettled) != len(c.left) {
				t.Errorf("%q should be left: %+v", c.left, i)
			}
		})
	}
}
