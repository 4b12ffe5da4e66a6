package core

import "encoding/binary"

// Where failed deliveries have a limit, or their number is shown, it is kept on
// disk beside the entry, so that what kills its consumers is not given new lives by
// a restart. An entry whose deliveries never fail has no such record, and one that
// does need not be written anew.
//
// Nobody waits for the records: a crash can take back what was counted last. But an
// entry stays in memory until its own is on disk, or it would be read back without.
// One that stays behind when its entry is gone does no harm, for an ordinal is never
// used again, and goes with the records below the head.

// noteFailuresLocked writes down how often e has failed, if e is on disk or on its
// way there.
func (q *Queue) noteFailuresLocked(t *Turn, e *entry) {
	if e.flags&(flagDurable|flagStored|flagSpilling) != 0 && q.writeFailuresLocked(t, e) {
		t.part(q.sh).awaits(q, e.ord)
		e.flags |= flagSpilling
	}
}

// writeFailuresLocked puts into the batch how often e has failed, if it has and
// somebody counts.
func (q *Queue) writeFailuresLocked(t *Turn, e *entry) (written bool) {
	if e.failures() == 0 || !q.named.opt.Quorum && q.named.deliveryLimit == 0 {
		return false
	}
	q.needDisk().failures = true
	t.part(q.sh).batch.Set(failuresKey(q.id, e.ord), binary.AppendUvarint(nil, uint64(e.failures())))
	return true
}

// forgetFailuresLocked removes what noteFailuresLocked has written.
func (q *Queue) forgetFailuresLocked(p *part, ord uint64, failures int) {
	if failures > 0 && q.disk.failures {
		p.batch.Delete(failuresKey(q.id, ord))
	}
}

// deleteEntriesLocked removes the records of the entries [lo, hi).
func (q *Queue) deleteEntriesLocked(p *part, lo, hi uint64) {
	p.batch.DeleteRange(entryKey(q.id, lo), entryKey(q.id, hi))
	if q.disk.failures {
		p.batch.DeleteRange(failuresKey(q.id, lo), failuresKey(q.id, hi))
	}
}

// loadFailures reads how often entries, which are in order, have failed. No lock is
// held.
func (q *Queue) loadFailures(entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	lo, hi := entries[0].ord, entries[len(entries)-1].ord+1
	i := 0
	return q.sh.store.Scan(failuresKey(q.id, lo), failuresKey(q.id, hi), func(k, v []byte) bool {
		for entries[i].ord < ordinalOf(k) { // the last is not: its key is in the range
			i++
		}
		if n, size := binary.Uvarint(v); entries[i].ord == ordinalOf(k) && size > 0 {
			entries[i].setFailures(int(min(n, maxFailures)))
		}
		return true
	})
}
