package core

import (
	"github.com/narumq/naru/core/props"
)

// The headers that tell of the deaths of a message, as RabbitMQ writes them.
const (
	deathHeader      = "x-death"
	firstDeathHeader = "x-first-death-"
	lastDeathHeader  = "x-last-death-"
)

var (
	firstDeathHeaders = []string{firstDeathHeader + "queue", firstDeathHeader + "reason", firstDeathHeader + "exchange"}
	lastDeathHeaders  = []string{lastDeathHeader + "queue", lastDeathHeader + "reason", lastDeathHeader + "exchange"}
)

// deaths is the header x-death: a table for each queue and reason, the latest
// first.
type deaths props.Array

// circles says whether a message that goes to this queue goes in a circle: it has
// died there before, and nobody has rejected it since.
func (d deaths) circles(queue string) bool {
	for it := props.Array(d).Iter(); it.Next(); {
		death := it.Value().Table()
		if reason, _ := death.Get("reason"); string(reason.Bytes()) == DiedRejected.String() {
			return false
		}
		if name, _ := death.Get("queue"); string(name.Bytes()) == queue {
			return true
		}
	}
	return false
}

// deadLetter makes the message that goes to the dead letter exchange, with the
// history of its deaths. What a publisher says of deaths counts for nothing.
func (q *Queue) deadLetter(t *Turn, m *Message, dl *DeadLetter, why Death) (*Message, deaths) {
	dead := &Message{
		Topic: m.Topic, Payload: m.Payload, Syntax: m.Syntax, QoS: m.QoS, Persistent: m.Persistent, Owned: true,
		Priority: m.Priority, Died: true,
	}
	var p props.Properties
	if len(m.Props) == 0 || p.Decode(m.Props) != nil {
		p = props.Properties{}
		if m.Persistent {
			p.Has, p.DeliveryMode = props.HasDeliveryMode, 2
		}
	}
	expiration := p.Expiration
	p.Has, p.Expiration = p.Has&^props.HasExpiration|props.HasHeaders, nil

	var former deaths
	gone := append([]string{deathHeader}, lastDeathHeaders...)
	if v, ok := p.Headers.Get(deathHeader); ok && m.Died {
		former = deaths(v.Array())
	} else {
		gone = append(gone, firstDeathHeaders...)
	}
	keys := [][]byte{amqpForm(m.Syntax, m.Topic)}
	if cc, ok := p.Headers.Get("CC"); ok {
		for it := cc.Array().Iter(); it.Next(); {
			keys = append(keys, it.Value().Bytes())
		}
	}
	if dl.HasKey {
		dead.Topic, dead.Syntax = []byte(dl.Key), SyntaxAMQP
		gone = append(gone, "CC")
	} else {
		dead.Keys = keys[1:]
	}
	all := former.add(q.name, why, m.Exchange.name, keys, expiration, t.Now/1000)
	headers := props.AppendWithout(nil, p.Headers, gone...)
	if former == nil {
		headers = addDeath(headers, firstDeathHeaders, q.name, why, m.Exchange.name)
	}
	headers = addDeath(headers, lastDeathHeaders, q.name, why, m.Exchange.name)
	p.Headers = props.AddArray(headers, deathHeader, props.Array(all))
	dead.Props = props.AppendProperties(nil, &p)
	return dead, all
}

func addDeath(t props.Table, names []string, queue string, why Death, exchange string) props.Table {
	for i, v := range [...]string{queue, why.String(), exchange} {
		t = props.AddStr(t, names[i], v)
	}
	return t
}

// add puts a death in front. One of the same queue and reason is counted.
func (d deaths) add(queue string, why Death, exchange string, keys [][]byte, expiration []byte, seconds int64) deaths {
	count := int64(1)
	var others props.Array
	for it := props.Array(d).Iter(); it.Next(); {
		death := it.Value().Table()
		name, _ := death.Get("queue")
		reason, _ := death.Get("reason")
		if string(name.Bytes()) == queue && string(reason.Bytes()) == why.String() {
			n, _ := death.Get("count")
			count = n.Int64() + 1
			continue
		}
		others = props.PushValue(others, it.Value())
	}
	var routing props.Array
	for _, k := range keys {
		routing = props.PushStr(routing, k)
	}
	death := props.AddInt64(nil, "count", count)
	death = props.AddStr(death, "reason", why.String())
	death = props.AddStr(death, "queue", queue)
	death = props.AddTime(death, "time", seconds)
	death = props.AddStr(death, "exchange", exchange)
	death = props.AddArray(death, "routing-keys", routing)
	if len(expiration) > 0 {
		death = props.AddStr(death, "original-expiration", expiration)
	}
	return append(deaths(props.PushTable(nil, death)), others...)
}
