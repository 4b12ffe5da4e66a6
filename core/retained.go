package core

import (
	"fmt"
	"strings"
	"sync"

	"github.com/tidwall/btree"
)

// retainedStore holds the retained messages of a vhost, in the order of their
// topics level by level, so that a filter is a walk over ranges and a walk can
// be interrupted and taken up again at any topic. Payloads beyond a budget
// stay on disk.
type retainedStore struct {
	vh *VHost

	mu     sync.RWMutex                     // guards what follows
	nodes  btree.Map[string, *retainedNode] // by levels: the topic with 0 for '/'
	dirty  []*retainedNode                  // set at QoS 0, not yet on their way to disk
	bytes  int64                            // of payloads in memory
	number uint64                           // of changes
}

type retainedNode struct {
	key string
	sh  *shard

	// guarded by the lock of the store
	msg    *Message // nil: cleared, or only on disk
	onDisk bool     // the payload was let go; read it from the shard
	dirty  bool
	change uint64

	// written is the last change handed to the shard; guarded by shard.seq.
	written uint64
}

// lateRetained is a change that is written when the order of commits is known:
// of two turns that change one topic, the one that changed memory last wins.
type lateRetained struct {
	node   *retainedNode
	key    []byte
	msg    *Message // nil: cleared
	change uint64
}

func (l *lateRetained) write(b Batch, scratch []byte) []byte {
	if l.node.written > l.change {
		return scratch // a later change is on its way already
	}
	l.node.written = l.change
	if l.msg == nil {
		b.Delete(l.key)
		return scratch
	}
	scratch = appendMessage(scratch[:0], l.msg)
	b.Set(l.key, scratch)
	return scratch
}

func levelKey[T ~string | ~[]byte](topic T) string {
	return strings.ReplaceAll(string(topic), "/", "\x00")
}

func topicOfKey(key string) string { return strings.ReplaceAll(key, "\x00", "/") }

// set retains a message, or clears the topic if the payload is empty. With QoS
// above 0 the change belongs to the turn's batch; at QoS 0 it follows within
// 100 ms, once for each topic however often it changed. Under $SYS nothing is
// written to disk: it is told anew after a restart.
func (r *retainedStore) set(t *Turn, m *Message) {
	key := levelKey(m.Topic)
	volatile := strings.HasPrefix(key, "$SYS\x00")
	var k *Message
	if len(m.Payload) > 0 {
		k = m.keep()
	}
	r.mu.Lock()
	n, ok := r.nodes.Get(key)
	if !ok {
		if k == nil {
			r.mu.Unlock()
			return
		}
		n = &retainedNode{key: key, sh: r.vh.bus.shardOf("r", r.vh.name, string(m.Topic))}
		r.nodes.Set(key, n)
	}
	r.bytes += k.retainedSize() - n.msg.retainedSize()
	wasHere := n.msg != nil || n.onDisk
	n.msg, n.onDisk = k, false
	r.number++
	n.change = r.number
	late := lateRetained{node: n, msg: k, change: n.change}
	switch {
	case volatile:
		if k == nil {
			r.nodes.Delete(key)
		}
	case m.QoS == AtMostOnce:
		if !n.dirty {
			n.dirty = true
			r.dirty = append(r.dirty, n)
		}
	}
	if !wasHere && k != nil {
		t.bus.retainedCount.Add(1)
	} else if wasHere && k == nil {
		t.bus.retainedCount.Add(-1)
	}
	r.mu.Unlock()
	if !volatile && m.QoS > AtMostOnce {
		late.key = retainedKey(r.vh.name, string(m.Topic))
		p := t.promise(n.sh)
		p.late = append(p.late, late)
		if k == nil {
			r.forgetLater(t, n, late.change)
		}
	}
}

func (m *Message) retainedSize() int64 {
	if m == nil {
		return 0
	}
	return m.footprint()
}

// forgetLater removes a node that this change has cleared, when that is on disk.
// Until then whoever clears the topic again finds the node, and waits as well.
func (r *retainedStore) forgetLater(t *Turn, n *retainedNode, change uint64) {
	t.following().then(change, func(*Turn) { r.forget(n, change) })
}

func (r *retainedStore) forget(n *retainedNode, change uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n.change == change && !n.dirty { // flush will hand it over once more, and forget it then
		if cur, ok := r.nodes.Get(n.key); ok && cur == n {
			r.nodes.Delete(n.key)
		}
	}
}

// flush hands what was retained at QoS 0 to the shards.
func (r *retainedStore) flush(t *Turn) {
	r.mu.Lock()
	dirty := r.dirty
	r.dirty = nil
	late := make([]lateRetained, 0, len(dirty))
	for _, n := range dirty {
		n.dirty = false
		if n.onDisk {
			continue // set again at a higher QoS, and written since
		}
		late = append(late, lateRetained{node: n, msg: n.msg, change: n.change})
	}
	r.mu.Unlock()
	for _, l := range late {
		l.key = retainedKey(r.vh.name, topicOfKey(l.node.key))
		p := t.part(l.node.sh)
		p.late = append(p.late, l)
		if l.msg == nil {
			r.forgetLater(t, l.node, l.change)
		}
	}
}

// any says whether a retained message may match the filter, without looking
// far: whoever subscribes must not wait for a search.
func (r *retainedStore) any(filter string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if strings.ContainsAny(filter, "+#") {
		return r.nodes.Len() > 0
	}
	_, found := r.nodes.Get(levelKey(filter))
	return found
}

// walkBudget is how many keys that do not match are looked at in one walk.
const walkBudget = 4096

// walk calls f for the retained messages that match, in the order of their
// keys, from the one after the key given on, until f returns false. f is
// called under the lock. If the walk has looked at too many keys that do not
// match, reached is the key after which another one goes on.
func (r *retainedStore) walk(filter, after string, f func(*retainedNode) bool) (reached string) {
	levels := strings.Split(filter, "/")
	from := after
	if after != "" {
		from += "\x00"
	}
	if first := levels[0]; first != "+" && first != "#" && from < first {
		from = first
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	misses := 0
	for more := true; more; {
		more = false
		r.nodes.Ascend(from, func(key string, n *retainedNode) bool {
			ok, next := seek(levels, key)
			if ok {
				if n.msg == nil && !n.onDisk {
					return true
				}
				return f(n)
			}
			if next == "" {
				return false
			}
			if misses++; misses == walkBudget {
				reached = key
				return false
			}
			if next <= key {
				return true // the next key may match
			}
			from, more = next, true
			return false
		})
	}
	return reached
}

// seek compares a key with a filter. If they do not match, next is where the
// walk goes on: "" at the end, the key itself for the key that follows.
func seek(levels []string, key string) (ok bool, next string) {
	const after = "\x01" // sorts behind all that lies below a level
	if key[0] == '$' && (levels[0] == "+" || levels[0] == "#") {
		return false, "%" // the byte after '$'
	}
	start, backTo := 0, -1 // where the level begins; where the last + level ended
	for i, want := range levels {
		if want == "#" {
			return true, ""
		}
		if start > len(key) {
			// The key ends before the filter does: a/# matches a, and what lies
			// below the key may match.
			return false, key
		}
		end := start + strings.IndexByte(key[start:], 0)
		if end < start {
			end = len(key)
		}
		have := key[start:end]
		switch {
		case want == "+":
			backTo = end
		case have < want:
			return false, key[:start] + want
		case have > want:
			if backTo < 0 {
				return false, ""
			}
			return false, key[:backTo] + after
		}
		start = end + 1
		if i == len(levels)-1 && end < len(key) {
			// The key goes on below: skip the branch.
			return false, key[:end] + after
		}
	}
	return true, ""
}

// read returns the message of a node, from disk if it must.
func (r *retainedStore) read(n *retainedNode) (*Message, error) {
	r.mu.RLock()
	m, onDisk := n.msg, n.onDisk
	r.mu.RUnlock()
	if m != nil || !onDisk {
		return m, nil
	}
	var err error
	_, e := n.sh.store.Get(retainedKey(r.vh.name, topicOfKey(n.key)), func(v []byte) {
		rd := reader{b: v}
		m = rd.message(r.vh)
		err = rd.err
	})
	if e != nil {
		err = e
	}
	if err != nil {
		return nil, fmt.Errorf("read retained message of %q: %w", topicOfKey(n.key), err)
	}
	return m, nil
}

// trim lets go of payloads beyond the budget, once they are on disk. It is
// called from time to time, by one goroutine.
func (r *retainedStore) trim(budget int64) {
	r.mu.RLock()
	over := r.bytes - budget
	r.mu.RUnlock()
	if over <= 0 {
		return
	}
	var large []*retainedNode
	r.mu.RLock()
	r.nodes.Scan(func(_ string, n *retainedNode) bool {
		if n.msg != nil && !n.dirty && !strings.HasPrefix(n.key, "$SYS\x00") {
			large = append(large, n)
			over -= n.msg.footprint()
		}
		return over > 0
	})
	r.mu.RUnlock()
	for _, n := range large {
		r.mu.RLock()
		change, m := n.change, n.msg
		r.mu.RUnlock()
		if m == nil {
			continue
		}
		// What a reader would get from the shard must be this very change.
		same := false
		n.sh.seq.Lock()
		written := n.written == change
		n.sh.seq.Unlock()
		if written {
			key := retainedKey(r.vh.name, topicOfKey(n.key))
			_, err := n.sh.store.Get(key, func(v []byte) { same = string(v) == string(appendMessage(nil, m)) })
			if err != nil {
				return
			}
		}
		if !same {
			continue
		}
		r.mu.Lock()
		if n.change == change && n.msg == m {
			n.msg, n.onDisk = nil, true
			r.bytes -= m.footprint()
		}
		r.mu.Unlock()
	}
}
