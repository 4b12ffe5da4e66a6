package bench

import "sort"

// A sequence remembers which numbers of one flow have been seen by one
// receiver. Nearly always they come in order, so it is one counter and an
// empty list: the spans that were jumped over and have not come since.
type sequence struct {
	next uint64
	gaps []span // ascending, disjoint, all below next
}

// A span is the numbers from, from+1, ... to-1.
type span struct{ from, to uint64 }

// A sighting is what one number turned out to be.
type sighting uint8

const (
	fresh    sighting = iota // the next one, or one further on
	late                     // jumped over before, arrives after a later one
	repeated                 // seen already
)

// see notes n. skipped is the span that n jumped over, empty if none.
func (s *sequence) see(n uint64) (what sighting, skipped span) {
	if n >= s.next {
		skipped = span{s.next, n}
		if n > s.next {
			s.gaps = append(s.gaps, skipped)
		}
		s.next = n + 1
		return fresh, skipped
	}
	if s.fill(n) {
		return late, span{}
	}
	return repeated, span{}
}

// fill takes n out of the gap it lies in, if it lies in one.
func (s *sequence) fill(n uint64) bool {
	at := sort.Search(len(s.gaps), func(i int) bool { return s.gaps[i].to > n })
	if at == len(s.gaps) || s.gaps[at].from > n {
		return false
	}
	gap := s.gaps[at]
	left, right := span{gap.from, n}, span{n + 1, gap.to}
	switch {
	case left.from == left.to && right.from == right.to:
		s.gaps = append(s.gaps[:at], s.gaps[at+1:]...)
	case left.from == left.to:
		s.gaps[at] = right
	case right.from == right.to:
		s.gaps[at] = left
	default:
		s.gaps = append(s.gaps, span{})
		copy(s.gaps[at+1:], s.gaps[at:])
		s.gaps[at], s.gaps[at+1] = left, right
	}
	return true
}

// missing counts what has not come of the first total numbers.
func (s *sequence) missing(total uint64) uint64 {
	var n uint64
	for _, gap := range s.gaps {
		n += gap.to - gap.from
	}
	if total > s.next {
		n += total - s.next
	}
	return n
}
