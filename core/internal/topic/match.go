package topic

// A matching is one call of Match.
//
// The tree is entered at the root with the first level of the address and
// followed to every child that takes the level. Without a multi wildcard in
// the middle of a filter, each node can be reached in one way only, with one
// offset into the address: that is node, below.
//
// Behind a multi wildcard in the middle, the rest of the filter may begin at
// any later level. Trying one after the other is exponential in the number of
// such wildcards (#.a.#.a.#.a against a.a.a.a.a), and needs a record of the
// leaves called already. Instead, such a node is entered once, with the set of
// all offsets it can be reached with: that is nodeSet. The work for each node
// is bounded by the levels of the address, that of a Match by nodes times
// levels, and no leaf can come up twice.
type matching[T any] struct {
	syntax  Syntax
	address []byte
	f       func(*T)
	levels  offsets // where levels begin, and "no level left"
}

// Match calls f once for the leaf of each filter that matches the address. It
// does not allocate, save for an address longer than any AMQP key in a tree
// that has a multi wildcard in the middle of a filter.
func (t *Trie[T]) Match(address []byte, f func(*T)) {
	if leaf := t.exact[string(address)]; leaf != nil {
		f(leaf)
	}
	if t.wild == 0 {
		return
	}
	m := matching[T]{syntax: t.syntax, address: address, f: f}
	var buf [onStack]uint64
	if t.inner > 0 {
		if m.levels = buf[:]; words(len(address)) > onStack {
			m.levels = make(offsets, words(len(address)))
		}
		m.levels.add(len(address) + 1)
		for at := first(len(address)); at <= len(address); {
			m.levels.add(at)
			at = t.syntax.endBytes(address, at) + 1
		}
	}
	at := first(len(address))
	if at == 0 && address[0] == '$' {
		// Only the literal way out of the root [MQTT-4.7.2-1].
		end := t.syntax.endBytes(address, 0)
		if n := t.root.childBytes(address[:end]); n != nil {
			m.node(n, end+1)
		}
		return
	}
	m.node(&t.root, at)
}

// node goes on from a node with the level at the offset.
func (m *matching[T]) node(n *node[T], at int) {
	for {
		if n.tail != nil {
			m.f(n.tail)
		}
		if n.many != nil {
			m.spread(n.many, at)
		}
		if at > len(m.address) {
			if n.leaf != nil {
				m.f(n.leaf)
			}
			return
		}
		end := m.syntax.endBytes(m.address, at)
		c := n.childBytes(m.address[at:end])
		at = end + 1
		// Recursion only where the way forks: a filter of 30,000 single
		// wildcards must not cost a stack of that depth.
		if c == nil {
			c = n.one
		} else if n.one != nil {
			m.node(n.one, at)
		}
		if c == nil {
			return
		}
		n = c
	}
}

// spread enters a node behind a multi wildcard that stands at the offset.
func (m *matching[T]) spread(n *node[T], at int) {
	var buf [onStack]uint64
	set := offsets(buf[:])
	if len(m.levels) > onStack {
		set = make(offsets, len(m.levels))
	}
	set.copyFrom(m.levels, at)
	m.nodeSet(n, set)
}

// nodeSet is node for all the offsets in the set, which is not empty and is
// used up.
func (m *matching[T]) nodeSet(n *node[T], set offsets) {
	none := len(m.address) + 1
	if n.tail != nil {
		m.f(n.tail)
	}
	if n.leaf != nil && set.has(none) {
		m.f(n.leaf)
	}
	if n.many != nil {
		// A multi wildcard further along has nothing to add to the first.
		m.spread(n.many, set.next(0))
	}
	set.remove(none)
	if n.one == nil && len(n.few) == 0 && n.lots == nil {
		return
	}

	var buf [onStack]uint64
	after := offsets(buf[:])
	if len(m.levels) > onStack {
		after = make(offsets, len(m.levels))
	}
	if n.one != nil {
		for at := set.next(0); at >= 0; at = set.next(at + 1) {
			after.add(m.levels.next(at + 1))
		}
		if after.next(0) >= 0 {
			m.nodeSet(n.one, after)
		}
	}
	for at := set.next(0); at >= 0; at = set.next(at + 1) {
		level := m.address[at : m.levels.next(at+1)-1]
		c := n.childBytes(level)
		if c == nil {
			continue
		}
		// The child is entered once, with all its offsets: equal levels
		// further along are taken out of the set here.
		clear(after)
		for same := at; same >= 0; same = set.next(same + 1) {
			next := m.levels.next(same + 1)
			if string(m.address[same:next-1]) == string(level) {
				set.remove(same)
				after.add(next)
			}
		}
		m.nodeSet(c, after)
	}
}
