package mqtt

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"

	"github.com/narumq/naru/core"
)

// sys tells what the broker does under $SYS, by the names that Mosquitto gave.
type sys struct {
	version string
	started time.Time
	told    map[string]string // what each topic says; a value is sent when it changes
	loads   []load
	heapMax uint64
}

// A load is the rate of a counter for each minute, as moving averages over 1, 5
// and 15 minutes.
type load struct {
	name    string
	last    uint64
	average [3]float64
}

var loadMinutes = [3]float64{1, 5, 15}

func newSys(version string) *sys {
	s := &sys{version: version, started: time.Now(), told: make(map[string]string)}
	for _, n := range [...]string{
		"messages/received", "messages/sent", "publish/dropped", "publish/received", "publish/sent",
		"bytes/received", "bytes/sent", "sockets", "connections",
	} {
		s.loads = append(s.loads, load{name: n})
	}
	return s
}

// tellSys publishes on a timer until ctx ends.
func (a *Adapter) tellSys(ctx context.Context) {
	defer a.wg.Done()
	pub := a.bus.VHost("/").NewInternalPublisher()
	tick := time.NewTicker(a.cfg.SysInterval)
	defer tick.Stop()
	for {
		t := a.bus.NewTurn()
		a.publishSys(t, pub)
		t.End()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (a *Adapter) publishSys(t *core.Turn, pub *core.Publisher) {
	for _, v := range a.sysValues() {
		topic := "$SYS/broker/" + v.topic
		if a.sys.told[topic] == v.value {
			continue
		}
		a.sys.told[topic] = v.value
		m := t.Message()
		m.Exchange = pub.VHost().Topics()
		m.Topic, m.Payload, m.Owned = []byte(topic), []byte(v.value), true
		m.Retain = true
		if _, err := pub.Publish(t, m); err != nil {
			a.log.Error("cannot publish", "topic", topic, "err", err)
		}
	}
}

type sysValue struct{ topic, value string }

// sysValues returns every value in the order in which they are told.
func (a *Adapter) sysValues() []sysValue {
	s := a.sys
	stats, gauges := a.bus.Stats(), a.bus.Gauges()
	in, out := a.srv.Traffic()
	connected := a.connected.Load()
	var dropped, received, sent, receivedBytes, sentBytes uint64
	for _, n := range stats.Dropped {
		dropped += n
	}
	for i := range stats.Received {
		received += stats.Received[i]
		sent += stats.Sent[i]
		receivedBytes += stats.ReceivedBytes[i]
		sentBytes += stats.SentBytes[i]
	}
	stored, storedBytes := a.bus.Stored()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	s.heapMax = max(s.heapMax, mem.HeapAlloc)

	num := func(topic string, v any) sysValue { return sysValue{topic, fmt.Sprint(v)} }
	vs := []sysValue{
		{"version", "naru version " + s.version},
		{"uptime", fmt.Sprintf("%d seconds", int(time.Since(s.started).Seconds()))},
		num("clients/total", gauges.Sessions),
		num("clients/connected", connected),
		num("clients/active", connected),
		num("clients/disconnected", max(gauges.Sessions-connected, 0)),
		num("clients/inactive", max(gauges.Sessions-connected, 0)),
		num("clients/maximum", a.most.Load()),
		num("clients/expired", gauges.ExpiredSessions),
		num("subscriptions/count", gauges.Bindings),
		num("shared_subscriptions/count", a.bus.Groups()),
		num("retained messages/count", gauges.Retained),
		num("messages/stored", stored),
		num("store/messages/count", stored),
		num("store/messages/bytes", storedBytes),
		num("messages/received", stats.PacketsIn),
		num("messages/sent", stats.PacketsOut),
		num("bytes/received", in),
		num("bytes/sent", out),
		num("publish/messages/received", received),
		num("publish/messages/sent", sent),
		num("publish/messages/dropped", dropped),
		num("publish/bytes/received", receivedBytes),
		num("publish/bytes/sent", sentBytes),
		num("heap/current", mem.HeapAlloc),
		num("heap/maximum", s.heapMax),
	}
	counters := [...]uint64{
		stats.PacketsIn, stats.PacketsOut, dropped, received, sent, in, out, a.srv.Accepted(), a.logins.Load(),
	}
	for i := range s.loads {
		l := &s.loads[i]
		l.update(counters[i], a.cfg.SysInterval)
		for j, m := range loadMinutes {
			topic := fmt.Sprintf("load/%s/%dmin", l.name, int(m))
			vs = append(vs, sysValue{topic, strconv.FormatFloat(l.average[j], 'f', 2, 64)})
		}
	}
	return vs
}

// update takes the counter's rate since the last time into the averages.
func (l *load) update(now uint64, interval time.Duration) {
	minutes := interval.Minutes()
	rate := float64(now-l.last) / minutes
	l.last = now
	for i, m := range loadMinutes {
		l.average[i] += (rate - l.average[i]) * (1 - math.Exp(-minutes/m))
	}
}
