package wheel

// The lists are rings without a head: a pointer to the first, nil if empty.
// The last is first.prev, so appending needs no second pointer, and a ring of
// one still tells armed from not.

// push appends the timer.
func push[T any](list **Timer[T], t *Timer[T]) {
	first := *list
	if first == nil {
		t.next, t.prev = t, t
		*list = t
		return
	}
	last := first.prev
	t.next, t.prev = first, last
	last.next, first.prev = t, t
}

// remove takes out a timer of the ring. list matters only if the timer is the
// first.
func remove[T any](list **Timer[T], t *Timer[T]) {
	if *list == t {
		if *list = t.next; t.next == t {
			*list = nil
		}
	}
	t.prev.next, t.next.prev = t.next, t.prev
	t.next, t.prev = nil, nil
}

// splice appends all of other and empties it.
func splice[T any](list, other **Timer[T]) {
	a, b := *list, *other
	*other = nil
	switch {
	case b == nil:
	case a == nil:
		*list = b
	default:
		lastA, lastB := a.prev, b.prev
		lastA.next, b.prev = b, lastA
		lastB.next, a.prev = a, lastB
	}
}
