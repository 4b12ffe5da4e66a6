package pebblestore

import "github.com/cockroachdb/pebble/v2"

// maxGroup bounds what shares one write. It is far above what arrives during a
// sync; after a stall of the disk it keeps the first dones from waiting for
// everything that piled up. A single batch may be larger.
const maxGroup = 4 << 20

// A group is what becomes durable with one write.
type group struct {
	commits []commit
	changes int
	size    int // bytes, as Pending counts them
}

// nextGroup takes commits from the front of list.
func nextGroup(list []commit) group {
	var g group
	for n, c := range list {
		if n > 0 && g.size+c.batch.Size() > maxGroup {
			break
		}
		g.commits = list[:n+1]
		g.changes += c.batch.Len()
		g.size += c.batch.Size()
	}
	return g
}

// merge returns all changes of the group in one batch, in their order. It may
// be one of the group's own.
func (g *group) merge(db *pebble.DB) (*pebble.Batch, error) {
	for _, c := range g.commits {
		if c.batch.Len() == g.changes {
			return c.batch.pb, nil
		}
	}
	all := db.NewBatchWithSize(g.size + 64)
	for _, c := range g.commits {
		if err := all.Apply(c.batch.pb, nil); err != nil {
			return nil, err
		}
	}
	return all, nil
}
