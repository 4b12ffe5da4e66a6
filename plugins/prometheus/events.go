package prometheus

import (
	"sync/atomic"

	"github.com/narumq/naru/core"
)

// Events counts what the bus tells. It is made before the bus, whose listener
// it is, and the zero value is ready.
type Events struct {
	protocols [core.Protocols]protocolEvents

	sessionsExpired, willsPublished, authorizerFailed, storeDamaged atomic.Uint64
}

type protocolEvents struct {
	logins, loginsRefused, goodbyes, broken, publishRefused, subscribeRefused atomic.Uint64
}

// Listen is a core.Listener.
func (e *Events) Listen(event core.Event) {
	switch ev := event.(type) {
	case core.Connected:
		e.of(ev.Identity).logins.Add(1)
	case core.Disconnected:
		if ev.Cause == nil {
			e.of(ev.Identity).goodbyes.Add(1)
		} else {
			e.of(ev.Identity).broken.Add(1)
		}
	case core.LoginRefused:
		e.of(ev.Identity).loginsRefused.Add(1)
	case core.PublishRefused:
		e.of(ev.Identity).publishRefused.Add(uint64(ev.Count))
	case core.SubscribeRefused:
		e.of(ev.Identity).subscribeRefused.Add(uint64(ev.Count))
	case core.SessionExpired:
		e.sessionsExpired.Add(1)
	case core.WillPublished:
		if ev.Err == nil {
			e.willsPublished.Add(1)
		}
	case core.AuthorizerFailed:
		e.authorizerFailed.Add(1)
	case core.StoreDamaged:
		e.storeDamaged.Add(1)
	}
}

func (e *Events) of(id *core.Identity) *protocolEvents { return &e.protocols[core.ProtocolOf(id)] }

// connected returns the clients of a protocol that are logged in.
func (p *protocolEvents) connected() uint64 {
	left := p.goodbyes.Load() + p.broken.Load() // before logins, which only grows
	return p.logins.Load() - left
}

var _ core.Listener = (*Events)(nil).Listen
