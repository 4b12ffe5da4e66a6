package memstore

import (
	"bytes"

	"github.com/tidwall/btree"

	"github.com/narumq/naru/core"
)

type opKind uint8

const (
	opSet opKind = iota
	opDelete
	opDeleteRange
)

type op struct {
	kind  opKind
	key   string
	value []byte // opSet; never written again: readers and snapshots share it
	hi    string // opDeleteRange
}

type batch struct {
	ops  []op
	size int
}

func (b *batch) Set(key, value []byte) {
	b.ops = append(b.ops, op{kind: opSet, key: string(key), value: bytes.Clone(value)})
	b.size += len(key) + len(value)
}

func (b *batch) Delete(key []byte) {
	b.ops = append(b.ops, op{kind: opDelete, key: string(key)})
	b.size += len(key)
}

func (b *batch) DeleteRange(lo, hi []byte) {
	if bytes.Compare(lo, hi) < 0 {
		b.ops = append(b.ops, op{kind: opDeleteRange, key: string(lo), hi: string(hi)})
		b.size += len(lo) + len(hi)
	}
}

func (b *batch) Len() int  { return len(b.ops) }
func (b *batch) Size() int { return b.size }

type tree = btree.Map[string, []byte]

func (b *batch) apply(t *tree) {
	for i := range b.ops {
		switch o := &b.ops[i]; o.kind {
		case opSet:
			t.Set(o.key, o.value)
		case opDelete:
			t.Delete(o.key)
		case opDeleteRange:
			var dead []string
			t.Ascend(o.key, func(k string, _ []byte) bool {
				if k >= o.hi {
					return false
				}
				dead = append(dead, k)
				return true
			})
			for _, k := range dead {
				t.Delete(k)
			}
		}
	}
}

var _ core.Batch = (*batch)(nil)
