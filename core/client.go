package core

import (
	"cmp"
	"context"
	"iter"
	"net/netip"
	"slices"
	"sync"
)

// A Client is a connection that has no session: all that it has goes with it.
// Operators know it by its name, as they know others by their client ids.
type Client interface {
	Owner
	// Info and Channels tell what there is at the moment. They are called from
	// any goroutine, with no lock held.
	Info() ConnectionInfo
	Channels() []ChannelInfo
}

// ChannelInfo is a channel: one of the conversations of a client that has several
// at a time.
type ChannelInfo struct {
	VHost       string `json:"vhost"`
	Connection  string `json:"connection"` // its name
	Number      int    `json:"number"`
	User        string `json:"user"`
	Anonymous   bool   `json:"anonymous"`
	Protocol    string `json:"protocol"`
	State       string `json:"state"` // "running" or "closing"
	Mode        string `json:"mode"`  // of publishing: "plain", "confirm" or "transaction"
	Consumers   int    `json:"consumers"`
	Unacked     int64  `json:"unacked"`     // messages sent and not settled
	Unconfirmed int64  `json:"unconfirmed"` // publishes whose confirm has not left
	Prefetch    int    `json:"prefetch"`    // limit of unacked for a consumer that begins now, 0: none
	Total       int    `json:"global_prefetch"`
}

// ConsumerInfo is a consumer of a declared queue or of a shared subscription.
type ConsumerInfo struct {
	VHost      string `json:"vhost"`
	Queue      string `json:"queue"`
	Connection string `json:"connection"` // its name
	Channel    int    `json:"channel"`    // 0 where there are none
	Tag        string `json:"tag"`
	User       string `json:"user"`
	Anonymous  bool   `json:"anonymous"`
	Protocol   string `json:"protocol"`
	Acks       bool   `json:"ack_required"`
	Exclusive  bool   `json:"exclusive"`
	Active     bool   `json:"active"` // not one that waits to take the place of another
	Priority   int32  `json:"priority"`
	Prefetch   int32  `json:"prefetch"` // limit of unacked, 0: none
	Unacked    int64  `json:"unacked"`
}

// A NamedSink is a Sink of which operators know more than whose it is.
type NamedSink interface {
	ConsumerName() (connection string, channel int, tag string)
}

// ConnectionName names a connection by its two ends. One over a Unix socket has
// but one.
func ConnectionName(peer netip.AddrPort, listener string) string {
	from := peerText(peer)
	if from == "" {
		from = "local"
	}
	return from + " -> " + listener
}

// clientList is the clients of a vhost that have no sessions.
type clientList struct {
	mu sync.Mutex
	m  map[*attached]struct{} // guarded by mu
}

type attached struct {
	Client
	gone chan struct{} // closed when it is no longer on the list
}

// Attach has operators see a client, until detach is called, once.
func (vh *VHost) Attach(c Client) (detach func()) {
	a := &attached{c, make(chan struct{})}
	l := &vh.clients
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = make(map[*attached]struct{})
	}
	l.m[a] = struct{}{}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.m, a)
		close(a.gone)
	}
}

func (l *clientList) all() []*attached {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*attached, 0, len(l.m))
	for a := range l.m {
		all = append(all, a)
	}
	return all
}

// kick ends the clients of this name, and waits until they have let go.
func (l *clientList) kick(ctx context.Context, name string) (found bool) {
	for _, a := range l.all() {
		if a.Info().Name != name {
			continue
		}
		found = true
		a.Kick(ErrKicked)
		select {
		case <-a.gone:
		case <-ctx.Done():
		}
	}
	return found
}

// eachClient calls f with no lock held, until it returns false.
func (b *Bus) eachClient(vhost string, f func(Client) bool) {
	for _, vh := range b.vhostsNamed(vhost) {
		for _, a := range vh.clients.all() {
			if !f(a.Client) {
				return
			}
		}
	}
}

// Channels lists the channels of the clients that have some.
func (b *Bus) Channels(vhost string) iter.Seq[ChannelInfo] {
	return func(yield func(ChannelInfo) bool) {
		b.eachClient(vhost, func(c Client) bool {
			all := c.Channels()
			slices.SortFunc(all, func(a, b ChannelInfo) int { return cmp.Compare(a.Number, b.Number) })
			for _, i := range all {
				if !yield(i) {
					return false
				}
			}
			return true
		})
	}
}

// ChannelCounts returns how many channels are open, by protocol.
func (b *Bus) ChannelCounts() (n [Protocols]int64) {
	b.eachClient("", func(c Client) bool {
		i := c.Info()
		n[ProtocolOf(&Identity{Protocol: i.Protocol})] += int64(i.Channels)
		return true
	})
	return n
}

// ExchangeCounts returns how many exchanges there are, by ExchangeType.
func (b *Bus) ExchangeCounts() (n [len(exchangeTypes)]int64) {
	for _, vh := range b.vhosts {
		vh.mu.RLock()
		for _, x := range vh.exchanges {
			n[x.typ]++
		}
		vh.mu.RUnlock()
	}
	return n
}

// Consumers lists who takes from declared queues and shared subscriptions.
func (b *Bus) Consumers(vhost string) iter.Seq[ConsumerInfo] {
	return func(yield func(ConsumerInfo) bool) {
		b.eachNamed(vhost, func(q *Queue) bool {
			for _, i := range q.consumerInfos() {
				if !yield(i) {
					return false
				}
			}
			return true
		})
	}
}

// consumerInfos lists the consumers in the order in which they came, or rank.
func (q *Queue) consumerInfos() []ConsumerInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	active := (*Consumer)(nil) // all are
	if n := q.named; n != nil && n.opt.SingleActive && len(q.consumers) > 0 {
		if active = n.active; active == nil {
			active = q.consumers[0]
		}
	}
	all := make([]ConsumerInfo, 0, len(q.consumers))
	for _, c := range q.consumers {
		i := ConsumerInfo{
			VHost: q.vh.name, Queue: q.name, Acks: c.opt.QoS > AtMostOnce, Exclusive: c.opt.Exclusive,
			Active: active == nil || active == c, Priority: c.opt.Priority, Prefetch: c.opt.Limit, Unacked: int64(c.unsettled),
		}
		if c.credit != nil {
			i.Unacked = int64(c.credit.used.Load())
		}
		if who := c.opt.Identity; who != nil {
			i.Connection, i.User, i.Anonymous, i.Protocol = who.ClientID, who.User, who.Anonymous, who.Protocol
		}
		if s, ok := c.sink.(NamedSink); ok { // it knows its name without a lock
			i.Connection, i.Channel, i.Tag = s.ConsumerName()
		}
		all = append(all, i)
	}
	return all
}
