package topic

import "math/bits"

// offsets is a set of offsets into an address, a bit for each.
type offsets []uint64

// onStack is the length of a set that a stack frame of Match keeps without
// allocating: enough for any AMQP key, which has 255 bytes at most.
const onStack = 5

// words is the length of a set for an address of n bytes. Its largest member
// is n+1, which stands for "no level left".
func words(n int) int { return (n+1)/64 + 1 }

func (o offsets) add(i int)      { o[i/64] |= 1 << (i % 64) }
func (o offsets) remove(i int)   { o[i/64] &^= 1 << (i % 64) }
func (o offsets) has(i int) bool { return o[i/64]&(1<<(i%64)) != 0 }

// next returns the smallest member that is i or larger, or -1.
func (o offsets) next(i int) int {
	w := i / 64
	if w >= len(o) {
		return -1
	}
	if rest := o[w] >> (i % 64); rest != 0 {
		return i + bits.TrailingZeros64(rest)
	}
	for w++; w < len(o); w++ {
		if o[w] != 0 {
			return w*64 + bits.TrailingZeros64(o[w])
		}
	}
	return -1
}

// copyFrom makes o the members of p that are i or larger.
func (o offsets) copyFrom(p offsets, i int) {
	copy(o, p)
	clear(o[:i/64])
	o[i/64] &= ^uint64(0) << (i % 64)
}
