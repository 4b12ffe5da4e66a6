package topic

// A Trie maps filters of one syntax to leaves of type T and finds the leaves
// of all filters that match an address.
//
// Most filters in the field have no wildcard. Those are kept in a plain map,
// where a match is one lookup, and do not make the tree deeper or wider. Only
// filters with wildcards are in the tree, a node for each level.
//
// Put and Delete need the Trie to themselves. Get, Match, Walk and Len change
// nothing, not even scratch space, and may run at the same time; the owner has
// an RWMutex around them. A leaf is the owner's: the Trie never looks into it,
// and a pointer to it stays good until its filter is deleted.
type Trie[T any] struct {
	syntax Syntax
	exact  map[string]*T
	root   node[T]
	wild   int // filters in the tree
	inner  int // those of them with a multi wildcard that is not last
}

// New returns an empty Trie, which costs next to nothing.
func New[T any](s Syntax) *Trie[T] {
	return &Trie[T]{syntax: s}
}

// Len is the number of filters.
func (t *Trie[T]) Len() int { return len(t.exact) + t.wild }

// Get returns the leaf of the filter, or nil if it has none.
func (t *Trie[T]) Get(filter string) *T {
	if !t.syntax.Wild(filter) {
		return t.exact[filter]
	}
	n := &t.root
	for at := 0; at <= len(filter); {
		k, end := t.syntax.level(filter, at)
		if k == tail {
			return n.tail
		}
		if n = n.next(k, filter[at:end]); n == nil {
			return nil
		}
		at = end + 1
	}
	return n.leaf
}

// Put returns the leaf of the filter and makes a zero one if it has none. The
// Trie keeps the string.
func (t *Trie[T]) Put(filter string) *T {
	if !t.syntax.Wild(filter) {
		leaf := t.exact[filter]
		if leaf == nil {
			if t.exact == nil {
				t.exact = make(map[string]*T)
			}
			leaf = new(T)
			t.exact[filter] = leaf
		}
		return leaf
	}
	n, inner := &t.root, false
	leaf := &n.leaf
	for at := 0; at <= len(filter); {
		k, end := t.syntax.level(filter, at)
		if k == tail {
			leaf = &n.tail
			break
		}
		inner = inner || k == many
		n = n.grow(k, filter[at:end], len(filter) <= maxShared)
		leaf = &n.leaf
		at = end + 1
	}
	if *leaf == nil {
		*leaf = new(T)
		t.wild++
		if inner {
			t.inner++
		}
	}
	return *leaf
}

// Delete removes the filter and its leaf, and every node that served only it.
func (t *Trie[T]) Delete(filter string) {
	if !t.syntax.Wild(filter) {
		delete(t.exact, filter)
		if len(t.exact) == 0 {
			t.exact = nil // a map never shrinks
		}
		return
	}
	// On the way down, remember the last node that is needed for more than
	// this filter: the branch that leaves it is what goes.
	var (
		n, stem    = &t.root, &t.root
		stemKind   kind
		stemLevel  string
		leaf       = &n.leaf
		inner, cut bool
	)
	for at := 0; at <= len(filter); {
		k, end := t.syntax.level(filter, at)
		if k == tail {
			leaf = &n.tail
			break
		}
		inner = inner || k == many
		if !cut || n.size() > 1 {
			stem, stemKind, stemLevel, cut = n, k, filter[at:end], true
		}
		if n = n.next(k, filter[at:end]); n == nil {
			return
		}
		leaf = &n.leaf
		at = end + 1
	}
	if *leaf == nil {
		return
	}
	*leaf = nil
	t.wild--
	if inner {
		t.inner--
	}
	if cut && n.size() == 0 {
		stem.cut(stemKind, stemLevel)
	}
}

// Walk calls f for every filter, in no particular order, until f returns
// false. f must not change the Trie.
func (t *Trie[T]) Walk(f func(filter string, leaf *T) bool) {
	for filter, leaf := range t.exact {
		if !f(filter, leaf) {
			return
		}
	}
	t.walk(&t.root, nil, f)
}

// walk goes through a node. path is the filter that leads to it, with a
// separator at its end; nodes do not keep it, because only Walk asks.
func (t *Trie[T]) walk(n *node[T], path []byte, f func(string, *T) bool) bool {
	if n.leaf != nil && !f(string(path[:len(path)-1]), n.leaf) {
		return false
	}
	if n.tail != nil && !f(string(append(path, t.syntax.Many)), n.tail) {
		return false
	}
	if n.one != nil && !t.walk(n.one, append(path, t.syntax.One, t.syntax.Separator), f) {
		return false
	}
	if n.many != nil && !t.walk(n.many, append(path, t.syntax.Many, t.syntax.Separator), f) {
		return false
	}
	for _, e := range n.few {
		if !t.walk(e.to, append(append(path, e.level...), t.syntax.Separator), f) {
			return false
		}
	}
	for level, c := range n.lots {
		if !t.walk(c, append(append(path, level...), t.syntax.Separator), f) {
			return false
		}
	}
	return true
}
