package transport

import "sync"

const (
	smallBuffer = 4 << 10
	bigBuffer   = 64 << 10
	// Payloads from this size on are not copied into an outbox if they will
	// never change.
	byReference = 16 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	bigBuffers   = sync.Pool{New: func() any { return new([bigBuffer]byte) }}
)

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) []byte {
	switch {
	case n <= smallBuffer:
		return smallBuffers.Get().(*[smallBuffer]byte)[:0]
	case n <= bigBuffer:
		return bigBuffers.Get().(*[bigBuffer]byte)[:0]
	}
	return make([]byte, 0, n)
}

// putBuffer takes back what getBuffer gave. Other sizes are left to the
// garbage collector.
func putBuffer(b []byte) {
	switch cap(b) {
	case smallBuffer:
		smallBuffers.Put((*[smallBuffer]byte)(b[:smallBuffer]))
	case bigBuffer:
		bigBuffers.Put((*[bigBuffer]byte)(b[:bigBuffer]))
	}
}
