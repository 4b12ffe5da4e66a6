package core

// expiredLocked says whether the time of an entry that waits is over. What a
// session may have sent, and what came to it alone, does not expire.
func (q *Queue) expiredLocked(t *Turn, e *entry) bool {
	return e.expires != 0 && e.expires <= t.Now && e.state == entryReady && e.ord >= q.floorLocked() && e.flags&flagMoved == 0
}

// armExpiryLocked has the queue looked at when this entry expires, if nobody
// looks earlier. With consumers messages expire as they are reached; without,
// nobody would come by, and dead letters would not leave.
func (q *Queue) armExpiryLocked(t *Turn, at int64) {
	n := q.named
	if n == nil || at == 0 || n.expiryAt != 0 && n.expiryAt <= at {
		return
	}
	n.expiryAt = at
	q.vh.bus.timers.set(&n.expiry, at)
}

// expireDue removes what has expired at the head of the queue.
func (q *Queue) expireDue(t *Turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.named.expiryAt = 0
	q.expireLocked(t)
}

// expireLocked removes the messages at the head that have expired, and arms the
// timer for the next.
func (q *Queue) expireLocked(t *Turn) {
	if q.deleted {
		return
	}
	for n := 0; ; n++ {
		e := q.nextLocked(t)
		switch {
		case e == nil: // who reads it looks again
			return
		case e.flags&flagPending != 0:
			if e.expires != 0 {
				q.armExpiryLocked(t, max(e.expires, t.Now+expirePending))
			}
			return
		case !q.expiredLocked(t, e):
			q.armExpiryLocked(t, e.expires)
			return
		case n == expireStep: // others come first
			t.bus.workerOf(q.id).post(task{f: q.expireDue})
			return
		}
		q.dieLocked(t, e, DiedExpired)
	}
}

// expirePending is how many milliseconds to wait for what is not on disk yet.
const expirePending = 100

// expireStep bounds what expires in one go, so that nobody waits long for the
// lock.
const expireStep = 1024
