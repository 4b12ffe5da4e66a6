package core

import (
	"testing"
	"unsafe"
)

// TestSizes keeps an eye on what an idle connection costs. A field too many in
// one of these is paid a hundred thousand times.
func TestSizes(t *testing.T) {
	for _, s := range []struct {
		name      string
		size, max uintptr
	}{
		{"Queue", unsafe.Sizeof(Queue{}), 264},
		{"Session", unsafe.Sizeof(Session{}), 384},
		{"Consumer", unsafe.Sizeof(Consumer{}), 72},
		{"Principal", unsafe.Sizeof(Principal{}), 160},
		{"Publisher", unsafe.Sizeof(Publisher{}), 48},
		{"Gate", unsafe.Sizeof(Gate{}), 72},
		{"entry", unsafe.Sizeof(entry{}), 40},
	} {
		t.Logf("%s: %d bytes", s.name, s.size)
		if s.size > s.max {
			t.Errorf("%s has %d bytes, more than %d", s.name, s.size, s.max)
		}
	}
}
