package bench

import (
	"fmt"
	"time"
)

// welcomed and subscribed take the client from CONNECT to where its scenario
// begins; whatever the broker refuses on the way ends the run.

func (c *client) welcomed(p packet, now time.Duration) error {
	switch {
	case c.stage != greeted:
		return fmt.Errorf("CONNACK: %w", errSurprise)
	case len(p.body) < 2:
		return errShort
	case p.body[1] != 0:
		return fmt.Errorf("connection refused with code %d", p.body[1])
	case c.resumes && p.body[0]&1 == 0:
		return errAmnesia
	case c.filter == "":
		c.arrive(now)
	default:
		c.stage = subscribing
		c.out = appendSubscribe(c.out, 1, c.filter, c.qos)
		c.touch()
	}
	return nil
}

func (c *client) subscribed(p packet, now time.Duration) error {
	switch {
	case c.stage != subscribing:
		return fmt.Errorf("SUBACK: %w", errSurprise)
	case len(p.body) < 3:
		return errShort
	case p.body[2] != c.qos:
		return fmt.Errorf("subscription to %s at QoS %d answered with %#x", c.filter, c.qos, p.body[2])
	}
	c.arrive(now)
	return nil
}

func (c *client) arrive(now time.Duration) {
	c.stage = up
	c.loop.up++
	c.loop.moving--
	c.loop.joined.record(now - c.dialled)
	if c.brief {
		c.leave()
	}
}
