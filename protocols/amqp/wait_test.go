package amqp

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"github.com/narumq/naru/core"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// A stamp is an interceptor that is called outside Feed, and marks what it sees.
type stamp struct{}

func (stamp) Intercept(_ context.Context, _ *core.Identity, m *core.Message) error {
	m.Payload = append(m.Payload, '!')
	return nil
}

// TestWaitInBody: the last frame of a body is fed again after its right, an
// interceptor or both had to be waited for, and is in the message once.
func TestWaitInBody(t *testing.T) {
	const most = frame.MinFrameMax - frame.Overhead
	for n := range 8 {
		right, intercepted, tx := n&1 != 0, n&2 != 0, n&4 != 0
		t.Run(fmt.Sprintf("right=%v/interceptor=%v/tx=%v", right, intercepted, tx), func(t *testing.T) {
			rights := &rulebook{}
			rights.set()
			b := newBox(t, func(o *boxOptions) {
				if o.core.Authorizer = rights; !right {
					o.core.Authorizer = quickRules{rights}
				}
				if intercepted {
					o.core.Interceptors = []core.Interceptor{stamp{}}
				}
			})
			sub, pub := b.connect(), b.connect()
			sub.declare(1, "q", 0, nil)
			sub.consume(1, "q", "c", 2)
			if tx {
				pub.send(1, frame.MethodTxSelect)
				pub.want(1, frame.MethodTxSelectOK)
			}
			for i, size := range []int{1, most, most + 1, 2 * most, 3*most - 1, 200_000} {
				body := bytes.Repeat([]byte{byte(i)}, size)
				body[0], body[size-1] = '<', '>'
				b.bus.RevokeRights() // so that they are asked for again
				pub.publish(1, "", "q", transient, string(body))
				if tx {
					pub.send(1, frame.MethodTxCommit)
					pub.want(1, frame.MethodTxCommitOK)
				}
				if intercepted {
					body = append(body, '!')
				}
				if _, _, got := sub.delivery(1); !bytes.Equal(got, body) {
					t.Errorf("%d bytes came of %d, or others", len(got), len(body))
				}
			}
		})
	}
}
