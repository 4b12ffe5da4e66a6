package transport

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestTLSManyRecords: what came in many records is fed at once, so that it is
// one turn.
func TestTLSManyRecords(t *testing.T) {
	b := newTLSBox(t, nil)
	c, h := b.dialTLS()
	c.send(frame('w', "hold"))
	wait(t, "waiting", func() bool { return h.waits.Load() == 1 && h.paused() })
	feeds := h.feeds.Load()
	for range 100 { // each Write is a record
		c.send(frame('e', "x"))
	}
	const all = 100 * (frameHead + 1 + 22) // with what a record adds
	wait(t, "all has arrived", func() bool {
		n := 0
		err := h.conn.wire().raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
		return err == nil && n >= all
	})
	b.pass <- struct{}{}
	c.want("hold" + strings.Repeat("x", 100))
	if n := h.feeds.Load() - feeds; n > 4 {
		t.Errorf("100 records were fed in %d pieces", n)
	}
}
