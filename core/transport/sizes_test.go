package transport

import (
	"testing"
	"unsafe"
)

// TestSizes keeps an eye on what an idle connection costs.
func TestSizes(t *testing.T) {
	for _, s := range []struct {
		name      string
		size, max uintptr
	}{
		{"Conn", unsafe.Sizeof(Conn{}), 384},
		{"Outbox", unsafe.Sizeof(Outbox{}), 112},
	} {
		t.Logf("%s: %d bytes", s.name, s.size)
		if s.size > s.max {
			t.Errorf("%s has %d bytes, more than %d", s.name, s.size, s.max)
		}
	}
}
