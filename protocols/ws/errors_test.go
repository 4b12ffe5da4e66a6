package ws

import (
	"fmt"
	"io"
	"testing"

	"github.com/narumq/naru/core"
)

// TestCloseCode: the codes are those of docs/protocols/ws.md.
func TestCloseCode(t *testing.T) {
	for cause, want := range map[error]int{
		nil: 1000, io.EOF: 1000, core.ErrShutdown: 1001, core.ErrProtocol: 1002, core.ErrBadAddress: 1002, errText: 1003, errInflate: 1007,
		core.ErrNotAuthorized: 1008, core.ErrTakenOver: 1008, core.ErrTooLarge: 1009,
	} {
		if cause != nil {
			cause = fmt.Errorf("because: %w", cause)
		}
		if got := closeCode(cause); got != want {
			t.Errorf("%v: %d, want %d", cause, got, want)
		}
	}
}
