package topic

import "strings"

// A node is the place in the trie that the levels so far lead to. A trie of
// many filters is mostly nodes, and most nodes have one child or none, so the
// literal children are a slice until there are too many to go through one by
// one. A multi wildcard at the end of a filter, much the commonest place,
// costs a pointer here and no node.
type node[T any] struct {
	leaf *T       // of the filter that ends here
	tail *T       // of the filter that ends here with a multi wildcard
	one  *node[T] // behind a single wildcard
	many *node[T] // behind a multi wildcard that is not the last level
	few  []edge[T]
	lots map[string]*node[T] // instead of few
}

type edge[T any] struct {
	level string
	to    *node[T]
}

const (
	maxFew  = 8 // beyond it, few becomes lots
	minLots = 4 // below it, lots becomes few again; a map never shrinks

	// A level is a part of the filter it first came with and would keep all
	// of it in memory, also when that filter is gone; a filter may have
	// 64 KiB. Levels of filters longer than this are copied.
	maxShared = 128
)

// child returns the child at the literal level, or nil.
func (n *node[T]) child(level string) *node[T] {
	if n.lots != nil {
		return n.lots[level]
	}
	for i := range n.few {
		if n.few[i].level == level {
			return n.few[i].to
		}
	}
	return nil
}

// childBytes is child for a level of an address; the conversions in it do not
// allocate.
func (n *node[T]) childBytes(level []byte) *node[T] {
	if n.lots != nil {
		return n.lots[string(level)]
	}
	for i := range n.few {
		if n.few[i].level == string(level) {
			return n.few[i].to
		}
	}
	return nil
}

// next returns the child at a level of a filter, or nil. A tail has none.
func (n *node[T]) next(k kind, level string) *node[T] {
	switch k {
	case one:
		return n.one
	case many:
		return n.many
	case literal:
		return n.child(level)
	}
	return nil
}

// grow is next, but makes the child if it is missing.
func (n *node[T]) grow(k kind, level string, shared bool) *node[T] {
	if c := n.next(k, level); c != nil {
		return c
	}
	c := new(node[T])
	switch k {
	case one:
		n.one = c
	case many:
		n.many = c
	default:
		if !shared {
			level = strings.Clone(level)
		}
		n.add(level, c)
	}
	return c
}

func (n *node[T]) add(level string, c *node[T]) {
	if n.lots == nil && len(n.few) < maxFew {
		n.few = append(n.few, edge[T]{level, c})
		return
	}
	if n.lots == nil {
		n.lots = make(map[string]*node[T], 2*maxFew)
		for _, e := range n.few {
			n.lots[e.level] = e.to
		}
		n.few = nil
	}
	n.lots[level] = c
}

// cut removes a child.
func (n *node[T]) cut(k kind, level string) {
	switch {
	case k == one:
		n.one = nil
	case k == many:
		n.many = nil
	case n.lots != nil:
		delete(n.lots, level)
		if len(n.lots) < minLots {
			for level, c := range n.lots {
				n.few = append(n.few, edge[T]{level, c})
			}
			n.lots = nil
		}
	default:
		for i := range n.few {
			if n.few[i].level == level {
				last := len(n.few) - 1
				n.few[i] = n.few[last]
				n.few[last] = edge[T]{}
				n.few = n.few[:last]
				break
			}
		}
		if len(n.few) == 0 {
			n.few = nil
		}
	}
}

// size is the number of leaves and children. A node other than the root has
// one at least.
func (n *node[T]) size() int {
	size := len(n.few) + len(n.lots)
	if n.leaf != nil {
		size++
	}
	if n.tail != nil {
		size++
	}
	if n.one != nil {
		size++
	}
	if n.many != nil {
		size++
	}
	return size
}
