package amqp

import (
	"net"
	"testing"

	"github.com/narumq/naru/core/props"
	"github.com/narumq/naru/core/transport"
	"github.com/narumq/naru/protocols/amqp/frame"
)

// TestAnonymousListener: a listener may take no client without a name.
func TestAnonymousListener(t *testing.T) {
	no := false
	b := newBox(t, func(o *boxOptions) {
		o.config.Listeners = []Listener{
			{transport.ListenConfig{Address: "127.0.0.1:0"}},
			{transport.ListenConfig{Address: "127.0.0.1:0", Anonymous: &no}},
		}
	})
	can := props.AddTable(nil, "capabilities", props.AddBool(nil, "authentication_failure_close", true))
	for i, want := range []frame.Method{frame.MethodConnectionOpenOK, frame.MethodConnectionClose} {
		c, err := net.Dial("tcp", b.a.Addrs()[i].String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(appendHandshake(nil, can)); err != nil {
			t.Fatal(err)
		}
		var last frame.Method
		for buf := make([]byte, 0, 4096); last != frame.MethodConnectionOpenOK && last != frame.MethodConnectionClose; {
			n, err := c.Read(buf[len(buf):cap(buf)])
			if err != nil {
				t.Fatalf("listener %d: %v after %v", i, err, last)
			}
			buf = buf[:len(buf)+n]
			for g, rest, ok, err := takeFrame(buf); ok || err != nil; g, rest, ok, err = takeFrame(buf) {
				if err != nil {
					t.Fatal(err)
				}
				last, buf = g.method, rest
			}
		}
		if last != want {
			t.Errorf("listener %d: %v, want %v", i, last, want)
		}
	}
}
