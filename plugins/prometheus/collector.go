package prometheus

import (
	"strconv"

	prom "github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/narumq/naru/core"
)

// Sources are what the figures are read from.
type Sources struct {
	Version string
	Bus     *core.Bus
	Events  *Events
	// Sockets are those open now, those accepted since the start, and the bytes
	// that went over them.
	Sockets func() (open int64, accepted, received, sent uint64)
	// Store tells of the store on disk; nil if there is none.
	Store func() Store
	// Ready says why the broker does not serve, nil if it does.
	Ready func() error
}

// Store is what the store on disk has done.
type Store struct {
	Commits, Groups, Bytes, Pending, DiskBytes int64
	Fsync                                      prom.Histogram // of the log; nil when the store is closed
}

// A collector reads everything at each scrape.
type collector struct{ Sources }

func describe(name, help string, labels ...string) *prom.Desc {
	return prom.NewDesc("naru_"+name, help, labels, nil)
}

var (
	info             = describe("info", "The version that runs; always 1.", "version")
	connections      = describe("connections", "Open connections, logged in or not.")
	accepted         = describe("connections_accepted_total", "Connections accepted.")
	networkIn        = describe("network_received_bytes_total", "Bytes read from sockets.")
	networkOut       = describe("network_sent_bytes_total", "Bytes written to sockets.")
	clients          = describe("clients", "Clients that are logged in.", "protocol")
	logins           = describe("logins_total", "Clients that have logged in.", "protocol")
	loginsRefused    = describe("logins_refused_total", "Connections that ended before a login.", "protocol")
	disconnects      = describe("disconnects_total", "Clients that have gone. how: goodbye, or broken off.", "protocol", "how")
	publishRefused   = describe("publish_refused_total", "Messages that were not taken.", "protocol")
	subscribeRefused = describe("subscribe_refused_total", "Subscriptions that were not made.", "protocol")
	messagesIn       = describe("messages_received_total", "Messages that clients published.", "protocol", "qos")
	messagesOut      = describe("messages_sent_total", "Messages sent to clients, repetitions included.", "protocol", "qos")
	bytesIn          = describe("messages_received_bytes_total", "Bytes of payload that clients published.", "protocol", "qos")
	bytesOut         = describe("messages_sent_bytes_total", "Bytes of payload sent to clients.", "protocol", "qos")
	packetsIn        = describe("packets_received_total", "Packets of any kind.", "protocol")
	packetsOut       = describe("packets_sent_total", "Packets of any kind.", "protocol")
	dropped          = describe("messages_dropped_total", "Messages that did not reach a receiver.", "protocol", "qos", "reason")
	droppedBytes     = describe("messages_dropped_bytes_total", "Bytes of payload that did not reach a receiver.", "protocol", "qos", "reason")
	rejected         = describe("messages_rejected_total", "Messages that a full queue refused.")
	unrepresentable  = describe("messages_unrepresentable_total", "Messages whose address is no topic.")
	sessions         = describe("sessions", "Sessions, connected or not.")
	expired          = describe("sessions_expired_total", "Sessions deleted because their time was over.")
	wills            = describe("wills_published_total", "Wills published.")
	bindings         = describe("bindings", "Subscriptions and bindings.")
	retained         = describe("retained_messages", "Retained messages.")
	queues           = describe("queues", "Queues. kind: of a session, named, or of a shared subscription.", "kind")
	queueConsumers   = describe("queue_consumers", "Who takes from queues of a kind.", "kind")
	channels         = describe("channels", "Open channels.", "protocol")
	exchanges        = describe("exchanges", "Exchanges, those that are always there included.", "type")
	queueReady       = describe("queue_messages_ready", "Messages that wait, in all queues of a kind.", "kind")
	queueUnsettled   = describe("queue_messages_unsettled", "Messages sent and not acknowledged.", "kind")
	queueBytes       = describe("queue_bytes", "Bytes of payload in all queues of a kind.", "kind")
	queueMemory      = describe("queue_memory_bytes", "Bytes of messages in memory.")
	alarm            = describe("alarm", "1 while publishers are held back.", "alarm")
	authorizer       = describe("authorizer_failures_total", "Questions of rights that failed; the answer was no.")
	damaged          = describe("store_damaged_records_total", "Records that could not be read and were left out.")
	confirms         = describe("confirm_seconds", "From the read that brought messages, or another promise, to its confirmation; one for each read.")
	fsyncs           = describe("fsync_seconds", "Syncs of the log of the store.")
	storeCommits     = describe("store_commits_total", "Batches made durable.")
	storeGroups      = describe("store_groups_total", "Writes that took.")
	storeBytes       = describe("store_written_bytes_total", "Bytes of those batches.")
	storePending     = describe("store_pending_bytes", "Bytes on their way to disk.")
	storeDisk        = describe("store_disk_bytes", "Size of the files of the store.")
)

// Describe tells nothing, which has the registry check each scrape instead.
func (c *collector) Describe(chan<- *prom.Desc) {}

// A scrape is one run of Collect.
type scrape chan<- prom.Metric

func (s scrape) count(d *prom.Desc, v uint64, labels ...string) {
	s <- prom.MustNewConstMetric(d, prom.CounterValue, float64(v), labels...)
}

func (s scrape) gauge(d *prom.Desc, v int64, labels ...string) {
	s <- prom.MustNewConstMetric(d, prom.GaugeValue, float64(v), labels...)
}

func (c *collector) Collect(out chan<- prom.Metric) {
	s := scrape(out)
	s.gauge(info, 1, c.Version)
	open, taken, in, sent := c.Sockets()
	s.gauge(connections, open)
	s.count(accepted, taken)
	s.count(networkIn, in)
	s.count(networkOut, sent)
	stats := c.Bus.Stats()
	for p := range core.Protocols {
		s.protocol(p, &stats.Protocols[p])
		s.events(p, &c.Events.protocols[p])
	}
	s.count(rejected, stats.Rejected)
	s.count(unrepresentable, stats.Unrepresentable)
	s.histogram(confirms, stats.Confirms)
	s.count(expired, c.Events.sessionsExpired.Load())
	s.count(wills, c.Events.willsPublished.Load())
	s.count(authorizer, c.Events.authorizerFailed.Load())
	s.count(damaged, c.Events.storeDamaged.Load())
	s.bus(c.Bus)
	if c.Store != nil {
		s.store(c.Store())
	}
}

func (s scrape) protocol(p core.Protocol, t *core.Traffic) {
	name := p.String()
	for q := range t.Received {
		qos := strconv.Itoa(q)
		s.count(messagesIn, t.Received[q], name, qos)
		s.count(messagesOut, t.Sent[q], name, qos)
		s.count(bytesIn, t.ReceivedBytes[q], name, qos)
		s.count(bytesOut, t.SentBytes[q], name, qos)
		for why, d := range t.Dropped[q] {
			s.count(dropped, d.Messages, name, qos, core.DropReason(why).String())
			s.count(droppedBytes, d.Bytes, name, qos, core.DropReason(why).String())
		}
	}
	s.count(packetsIn, t.PacketsIn, name)
	s.count(packetsOut, t.PacketsOut, name)
}

func (s scrape) events(p core.Protocol, e *protocolEvents) {
	name := p.String()
	s.gauge(clients, int64(e.connected()), name)
	s.count(logins, e.logins.Load(), name)
	s.count(loginsRefused, e.loginsRefused.Load(), name)
	s.count(disconnects, e.goodbyes.Load(), name, "goodbye")
	s.count(disconnects, e.broken.Load(), name, "broken")
	s.count(publishRefused, e.publishRefused.Load(), name)
	s.count(subscribeRefused, e.subscribeRefused.Load(), name)
}

func (s scrape) bus(b *core.Bus) {
	g := b.Gauges()
	s.gauge(sessions, g.Sessions)
	s.gauge(bindings, g.Bindings)
	s.gauge(retained, g.Retained)
	s.gauge(queueMemory, g.QueueMemory)
	for kind, d := range b.Depths() {
		name := core.QueueKind(kind).String()
		s.gauge(queues, d.Queues, name)
		s.gauge(queueConsumers, d.Consumers, name)
		s.gauge(queueReady, d.Ready, name)
		s.gauge(queueUnsettled, d.Unsettled, name)
		s.gauge(queueBytes, d.Bytes, name)
	}
	s.gauge(channels, b.ChannelCounts()[core.ProtocolAMQP], core.ProtocolAMQP.String()) // others have none
	for typ, n := range b.ExchangeCounts() {
		s.gauge(exchanges, n, core.ExchangeType(typ).String())
	}
	for name, raised := range b.Alarms() {
		v := int64(0)
		if raised {
			v = 1
		}
		s.gauge(alarm, v, name)
	}
}

func (s scrape) store(m Store) {
	s.count(storeCommits, uint64(m.Commits))
	s.count(storeGroups, uint64(m.Groups))
	s.count(storeBytes, uint64(m.Bytes))
	s.gauge(storePending, m.Pending)
	s.gauge(storeDisk, m.DiskBytes)
	var h dto.Metric
	if m.Fsync == nil || m.Fsync.Write(&h) != nil {
		return
	}
	// Pebble counts in nanoseconds, and finer than anybody wants to store.
	buckets := make(map[float64]uint64)
	last := 0.0
	for _, b := range h.Histogram.Bucket {
		if bound := b.GetUpperBound(); bound >= 1.5*last {
			buckets[bound/1e9], last = b.GetCumulativeCount(), bound
		}
	}
	s <- prom.MustNewConstHistogram(fsyncs, h.Histogram.GetSampleCount(), h.Histogram.GetSampleSum()/1e9, buckets)
}

func (s scrape) histogram(d *prom.Desc, h core.Histogram) {
	buckets := make(map[float64]uint64, len(h.Bounds))
	var sum uint64
	for i, n := range h.Counts {
		sum += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i]] = sum
		}
	}
	s <- prom.MustNewConstHistogram(d, sum, h.Sum, buckets)
}

var _ prom.Collector = (*collector)(nil)
