package core

import (
	"cmp"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// What operators see. Each list is a sequence of snapshots: what comes and goes
// meanwhile may be in it or not, and no lock is held while the reader works. Of
// sessions and retained messages one part at a time is looked at, so that a
// list of a million holds nobody up. A vhost of "" means all of them.

// ConnectionInfo is a client that has logged in.
type ConnectionInfo struct {
	VHost string `json:"vhost"`
	// Name is what Kick knows it by: the client id, or the two ends of the
	// connection where clients have no ids.
	Name      string    `json:"name"`
	ClientID  string    `json:"client_id"`
	Label     string    `json:"client_name"` // what a client without an id calls itself
	User      string    `json:"user"`
	Anonymous bool      `json:"anonymous"`
	Protocol  string    `json:"protocol"`
	Listener  string    `json:"listener"`
	Peer      string    `json:"peer"`
	Since     time.Time `json:"since"`
	Clean     bool      `json:"clean"`
	State     string    `json:"state"`     // "running", or "blocked" while an alarm has it wait
	Channels  int       `json:"channels"`  // where the protocol has some
	InFlight  int64     `json:"in_flight"` // messages sent and not settled
}

// SessionInfo is what a client id stands for, connected or not.
type SessionInfo struct {
	VHost         string    `json:"vhost"`
	ClientID      string    `json:"client_id"`
	User          string    `json:"user"`
	Anonymous     bool      `json:"anonymous"`
	Connected     bool      `json:"connected"`
	Clean         bool      `json:"clean"`
	Since         time.Time `json:"since,omitzero"`   // connected since
	Offline       time.Time `json:"offline,omitzero"` // or without a client since, if that is known
	Expires       time.Time `json:"expires,omitzero"` // if nobody connects
	Subscriptions int       `json:"subscriptions"`
	Ready         int64     `json:"ready"`
	InFlight      int64     `json:"in_flight"` // of its own queue
	Bytes         int64     `json:"bytes"`
	InMemory      int64     `json:"in_memory"`
}

// NamedQueueInfo is a declared queue or a shared subscription.
type NamedQueueInfo struct {
	VHost     string `json:"vhost"`
	Name      string `json:"name"`
	Kind      string `json:"kind"` // "queue" or "shared"
	Type      string `json:"type"` // what it was asked to be, "classic" or "quorum"; "" of what is shared
	Durable   bool   `json:"durable"`
	Ready     int64  `json:"ready"`
	InFlight  int64  `json:"in_flight"`
	Bytes     int64  `json:"bytes"`
	InMemory  int64  `json:"in_memory"`
	Consumers int    `json:"consumers"`
	Members   int    `json:"members"`    // of a shared subscription, connected or not
	MaxLength int64  `json:"max_length"` // as in QueueLimits
	MaxBytes  int64  `json:"max_bytes"`
	Overflow  string `json:"overflow"`

	AutoDelete    bool   `json:"auto_delete"`
	Exclusive     bool   `json:"exclusive"`
	Owner         string `json:"owner"` // name of the connection that has it for itself
	SingleActive  bool   `json:"single_active_consumer"`
	MaxPriority   uint8  `json:"max_priority"`
	TTL           *int64 `json:"message_ttl_ms,omitempty"`
	Expires       int64  `json:"expires_ms"` // without use, 0: never
	DeliveryLimit *int32 `json:"delivery_limit,omitempty"`
	// DeadLetter is the exchange for what is dropped; nil: there is none.
	DeadLetter    *string `json:"dead_letter_exchange,omitempty"`
	DeadLetterKey *string `json:"dead_letter_routing_key,omitempty"`
	Arguments     string  `json:"arguments,omitempty"` // of the declarer, as text

	Policy         string `json:"policy,omitempty"`
	OperatorPolicy string `json:"operator_policy,omitempty"`
}

// SubscriptionInfo is a subscription of a session.
type SubscriptionInfo struct {
	VHost     string `json:"vhost"`
	ClientID  string `json:"client_id"`
	Filter    string `json:"filter"`
	QoS       QoS    `json:"qos"`
	Kind      string `json:"kind"` // "plain", "shared" or "queue"
	Connected bool   `json:"connected"`
}

// RetainedInfo is a retained message. Those under $SYS are left out, unless they
// are asked for.
type RetainedInfo struct {
	VHost     string    `json:"vhost"`
	Topic     string    `json:"topic"`
	QoS       QoS       `json:"qos"`
	Bytes     int       `json:"bytes"`
	Published time.Time `json:"published,omitzero"`
}

// BindingInfo leads from an exchange to a declared queue, a shared subscription
// or another exchange. What leads to a session is a subscription.
type BindingInfo struct {
	VHost    string `json:"vhost"`
	Exchange string `json:"exchange"` // "" is the default exchange
	Key      string `json:"key"`
	Syntax   string `json:"syntax"` // "mqtt" or "amqp"
	Queue    string `json:"queue"`  // the destination, whatever kind it is
	// Destination is "queue" or "exchange".
	Destination string `json:"destination_type"`
	Arguments   string `json:"arguments,omitempty"` // as text
}

// ExchangeInfo is an exchange.
type ExchangeInfo struct {
	VHost      string `json:"vhost"`
	Name       string `json:"name"` // "" is the default exchange
	Type       string `json:"type"`
	Durable    bool   `json:"durable"`
	AutoDelete bool   `json:"auto_delete"`
	Internal   bool   `json:"internal"`
	Alternate  string `json:"alternate"`
	Bindings   int    `json:"bindings"`            // from it, as in the list of bindings
	Arguments  string `json:"arguments,omitempty"` // of the declarer, as text
	Policy     string `json:"policy,omitempty"`
}

func (s Syntax) String() string { return [...]string{"mqtt", "amqp"}[s] }

func (o Overflow) String() string {
	return [...]string{"drop-head", "reject-publish", "reject-publish-dlx"}[o]
}

// VHosts returns the vhosts by their names.
func (b *Bus) VHosts() []*VHost {
	var all []*VHost
	for _, name := range slices.Sorted(maps.Keys(b.vhosts)) {
		all = append(all, b.vhosts[name])
	}
	return all
}

func (b *Bus) vhostsNamed(name string) []*VHost {
	if name == "" {
		return b.VHosts()
	}
	if vh := b.vhosts[name]; vh != nil {
		return []*VHost{vh}
	}
	return nil
}

// eachSession calls f with no lock held, until it returns false.
func (b *Bus) eachSession(vhost string, f func(*Session) bool) {
	var page []*Session
	for _, vh := range b.vhostsNamed(vhost) {
		for i := range vh.sessions {
			reg := &vh.sessions[i]
			reg.mu.Lock()
			page = slices.AppendSeq(page[:0], maps.Values(reg.m))
			reg.mu.Unlock()
			for _, s := range page {
				if !f(s) {
					return
				}
			}
		}
	}
}

// Connections lists the clients that have logged in.
func (b *Bus) Connections(vhost string) iter.Seq[ConnectionInfo] {
	return func(yield func(ConnectionInfo) bool) {
		lent := b.lentByQueues(vhost)
		more := true
		b.eachSession(vhost, func(s *Session) bool {
			who, connected := s.client()
			if !connected {
				return true
			}
			c := DescribeConnection(&who.Identity, time.UnixMilli(who.since))
			c.VHost, c.Name, c.ClientID, c.Clean = s.queue.vh.name, s.queue.name, s.queue.name, s.clean
			c.InFlight = s.queue.Info().Unsettled + lent[s]
			more = yield(c)
			return more
		})
		if more {
			b.eachClient(vhost, func(c Client) bool { return yield(c.Info()) })
		}
	}
}

// DescribeConnection begins the description of a connection with who it acts
// for.
func DescribeConnection(who *Identity, since time.Time) ConnectionInfo {
	return ConnectionInfo{
		VHost: who.VHost, Name: ConnectionName(who.Peer, who.Listener), ClientID: who.ClientID, User: who.User, Anonymous: who.Anonymous,
		Protocol: who.Protocol, Listener: who.Listener, Peer: peerText(who.Peer), Since: since.UTC(), State: "running",
	}
}

func peerText(p netip.AddrPort) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// client returns who has the session, or had it last.
func (s *Session) client() (who *Principal, connected bool) {
	reg := s.queue.vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	return s.principal(), s.owner != nil
}

// lentByQueues counts what sessions have from groups and named queues.
func (b *Bus) lentByQueues(vhost string) map[*Session]int64 {
	lent := make(map[*Session]int64)
	b.eachNamed(vhost, func(q *Queue) bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		for _, c := range q.consumers {
			if c.unsettled > 0 && c.opt.Identity != nil {
				lent[c.opt.Identity.session] += int64(c.unsettled)
			}
		}
		return true
	})
	return lent
}

// Sessions lists the sessions.
func (b *Bus) Sessions(vhost string) iter.Seq[SessionInfo] {
	return func(yield func(SessionInfo) bool) {
		b.eachSession(vhost, func(s *Session) bool { return yield(s.info()) })
	}
}

func (s *Session) info() SessionInfo {
	q := s.queue.Info()
	i := SessionInfo{
		VHost: s.queue.vh.name, ClientID: s.queue.name, Clean: s.clean,
		Ready: q.Ready, InFlight: q.Unsettled, Bytes: q.Bytes, InMemory: q.InMemory,
	}
	reg := s.queue.vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	who := s.principal()
	i.User, i.Anonymous, i.Subscriptions = who.User, who.Anonymous, len(s.subs.list)
	switch a := s.away; {
	case s.owner != nil:
		i.Connected, i.Since = true, time.UnixMilli(who.since).UTC()
	case a != nil && a.endedAt > 0:
		i.Offline = time.UnixMilli(a.endedAt).UTC()
		if a.expiry > 0 {
			i.Expires = time.UnixMilli(a.endedAt + a.expiry).UTC()
		}
	}
	return i
}

// Subscriptions lists the subscriptions of all sessions.
func (b *Bus) Subscriptions(vhost string) iter.Seq[SubscriptionInfo] {
	return func(yield func(SubscriptionInfo) bool) {
		var page []SubscriptionInfo
		b.eachSession(vhost, func(s *Session) bool {
			page = s.appendSubscriptions(page[:0])
			for i := range page {
				if !yield(page[i]) {
					return false
				}
			}
			return true
		})
	}
}

func (s *Session) appendSubscriptions(to []SubscriptionInfo) []SubscriptionInfo {
	reg := s.queue.vh.sessionShard(s.queue.name)
	reg.mu.Lock()
	defer reg.mu.Unlock()
	for i := range s.subs.list {
		sub := &s.subs.list[i]
		kind := "plain"
		switch _, group, _ := splitFilter(sub.filter); group {
		case "":
		case queuePrefix:
			kind = "queue"
		default:
			kind = "shared"
		}
		to = append(to, SubscriptionInfo{
			VHost: s.queue.vh.name, ClientID: s.queue.name, Filter: sub.filter, QoS: sub.qos, Kind: kind, Connected: s.owner != nil,
		})
	}
	return to
}

// eachNamed calls f for declared queues and groups, by their names and with no
// lock held, until it returns false.
func (b *Bus) eachNamed(vhost string, f func(*Queue) bool) {
	for _, vh := range b.vhostsNamed(vhost) {
		vh.mu.RLock()
		qs := slices.Collect(maps.Values(vh.queues))
		vh.mu.RUnlock()
		slices.SortFunc(qs, func(a, b *Queue) int { return cmp.Compare(a.name, b.name) })
		for _, q := range qs {
			if !f(q) {
				return
			}
		}
	}
}

// Queues lists declared queues and shared subscriptions.
func (b *Bus) Queues(vhost string) iter.Seq[NamedQueueInfo] {
	return func(yield func(NamedQueueInfo) bool) {
		b.eachNamed(vhost, func(q *Queue) bool {
			i := q.Info()
			n := NamedQueueInfo{
				VHost: q.vh.name, Name: q.name, Kind: "queue", Durable: i.Durable,
				Ready: i.Ready, InFlight: i.Unsettled, Bytes: i.Bytes, InMemory: i.InMemory, Consumers: i.Consumers,
			}
			q.describe(&n)
			if q.kind == KindGroup {
				n.Kind = "shared"
				q.group.mu.Lock()
				n.Members = len(q.group.members)
				q.group.mu.Unlock()
			}
			return yield(n)
		})
	}
}

// describe tells how the queue was declared, with what is in force now.
func (q *Queue) describe(n *NamedQueueInfo) {
	q.mu.Lock()
	l := q.limits.value()
	var dead *DeadLetter
	var expires int64
	var failures int32
	if q.named != nil {
		l.Overflow = q.named.overflow
		dead, expires, failures = q.named.deadLetter, q.named.expires, q.named.deliveryLimit
	}
	q.mu.Unlock()
	n.MaxLength, n.MaxBytes, n.Overflow = l.MaxLength, l.MaxBytes, l.Overflow.String()
	if l.TTL != 0 {
		ttl := max(l.TTL, 0) // AtOnce
		n.TTL = &ttl
	}
	if q.named == nil {
		return
	}
	o := &q.named.opt
	n.Type = "classic"
	if o.Quorum {
		n.Type = "quorum"
	}
	n.AutoDelete, n.SingleActive, n.MaxPriority, n.Expires = o.AutoDelete, o.SingleActive, o.MaxPriority, expires
	n.Arguments = argumentsText(string(o.Arguments))
	if who := o.Owner; who != nil {
		n.Exclusive, n.Owner = true, ConnectionName(who.Peer, who.Listener)
	}
	e := q.vh.bus.Policies().ForQueue(q.vh.name, q.name, o.Quorum)
	n.Policy, n.OperatorPolicy = e.Policy, e.Operator
	if failures != 0 {
		limit := max(failures, 0)
		n.DeliveryLimit = &limit
	}
	if dead != nil {
		n.DeadLetter = &dead.Exchange
		if dead.HasKey {
			n.DeadLetterKey = &dead.Key
		}
	}
}

// Bindings lists what leads to declared queues, shared subscriptions and
// exchanges.
func (b *Bus) Bindings(vhost string) iter.Seq[BindingInfo] {
	return func(yield func(BindingInfo) bool) {
		more := true
		b.eachNamed(vhost, func(q *Queue) bool {
			vh := q.vh
			i := BindingInfo{VHost: vh.name, Queue: q.name, Destination: "queue"}
			if q.kind == KindGroup {
				i.Exchange, i.Key, i.Syntax = topicExchange, q.group.pattern, SyntaxMQTT.String()
				more = yield(i)
				return more
			}
			i.Exchange, i.Key, i.Syntax = defaultExchange, q.name, SyntaxAMQP.String()
			more = yield(i)
			var bound []binding
			vh.mu.RLock()
			if set := vh.bound[q]; set != nil {
				bound = slices.Clone(set.list)
			}
			vh.mu.RUnlock()
			for j := 0; more && j < len(bound); j++ {
				more = yield(bound[j].info())
			}
			return more
		})
		if !more {
			return
		}
		b.eachExchange(vhost, func(x *Exchange) bool {
			x.vh.mu.RLock()
			in := slices.Clone(x.in.list)
			x.vh.mu.RUnlock()
			for j := range in {
				if !yield(in[j].info()) {
					return false
				}
			}
			return true
		})
	}
}

func (b *binding) info() BindingInfo {
	i := BindingInfo{
		VHost: b.from.vh.name, Exchange: b.from.name, Key: b.key, Syntax: b.syntax.String(), Destination: "queue",
		Arguments: argumentsText(b.arguments),
	}
	if b.queue != nil {
		i.Queue = b.queue.name
	} else {
		i.Queue, i.Destination = b.exchange.name, "exchange"
	}
	return i
}

// eachExchange calls f for the exchanges, by their names and with no lock held,
// until it returns false.
func (b *Bus) eachExchange(vhost string, f func(*Exchange) bool) {
	for _, vh := range b.vhostsNamed(vhost) {
		vh.mu.RLock()
		xs := slices.Collect(maps.Values(vh.exchanges))
		vh.mu.RUnlock()
		slices.SortFunc(xs, func(a, b *Exchange) int { return cmp.Compare(a.name, b.name) })
		for _, x := range xs {
			if !f(x) {
				return
			}
		}
	}
}

// Exchanges lists the exchanges.
func (b *Bus) Exchanges(vhost string) iter.Seq[ExchangeInfo] {
	return func(yield func(ExchangeInfo) bool) {
		b.eachExchange(vhost, func(x *Exchange) bool {
			i := ExchangeInfo{
				VHost: x.vh.name, Name: x.name, Type: x.typ.String(), Durable: x.opt.Durable, AutoDelete: x.opt.AutoDelete,
				Internal: x.opt.Internal, Alternate: x.alternate(), Arguments: argumentsText(string(x.opt.Arguments)),
				Policy: x.vh.bus.Policies().ForExchange(x.vh.name, x.name).Policy,
			}
			x.vh.mu.RLock()
			i.Bindings = len(x.out.list)
			if x.name == defaultExchange || x.name == topicExchange { // queues by their names, shared subscriptions
				for _, q := range x.vh.queues {
					if (q.kind == KindNamed) == (x.name == defaultExchange) {
						i.Bindings++
					}
				}
			}
			x.vh.mu.RUnlock()
			return yield(i)
		})
	}
}

// Retained lists the retained messages that match a filter, "" for all but those
// under $SYS. What cannot be read from disk ends the list with an error.
func (b *Bus) Retained(vhost, filter string) iter.Seq2[RetainedInfo, error] {
	return func(yield func(RetainedInfo, error) bool) {
		for _, vh := range b.vhostsNamed(vhost) {
			if filter != "" {
				if err := vh.topics.validPattern(SyntaxMQTT, filter); err != nil {
					yield(RetainedInfo{}, err)
					return
				}
			}
			for after, more := "", true; more; {
				var nodes []*retainedNode
				nodes, after, more = vh.retained.page(filter, after)
				for _, n := range nodes {
					m, err := vh.retained.read(n)
					if m == nil && err == nil { // cleared meanwhile
						continue
					}
					i := RetainedInfo{VHost: vh.name, Topic: topicOfKey(n.key)}
					if m != nil {
						i.QoS, i.Bytes = m.QoS, len(m.Payload)
						if m.Published > 0 {
							i.Published = time.UnixMilli(m.Published).UTC()
						}
					}
					if !yield(i, err) || err != nil {
						return
					}
				}
			}
		}
	}
}

// retainedPage is how many retained messages are looked up at a time.
const retainedPage = 256

// page returns the next nodes that match a filter, "" for all but those under
// $SYS, and the key after which to go on.
func (r *retainedStore) page(filter, after string) (nodes []*retainedNode, next string, more bool) {
	if filter != "" {
		next = r.walk(filter, after, func(n *retainedNode) bool {
			nodes = append(nodes, n)
			return len(nodes) < retainedPage
		})
		switch {
		case next != "":
			return nodes, next, true
		case len(nodes) < retainedPage:
			return nodes, "", false
		}
		return nodes, nodes[len(nodes)-1].key, true
	}
	const sys, behindSys = "$SYS\x00", "$SYS\x01"
	from := after
	if after != "" {
		from += "\x00"
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for again := true; again; {
		again = false
		r.nodes.Ascend(from, func(key string, n *retainedNode) bool {
			if key >= sys && key < behindSys {
				from, again = behindSys, true
				return false
			}
			if n.msg != nil || n.onDisk {
				nodes = append(nodes, n)
			}
			next = key
			return len(nodes) < retainedPage
		})
	}
	return nodes, next, len(nodes) == retainedPage
}
