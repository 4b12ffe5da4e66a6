package core

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// Exchanges, and bindings between them, are settings of a vhost: their records
// are in the first shard. Bindings of queues are where the queue is.

// A change is what one call changes of the settings of a vhost. Its records are
// handed to the shards while vh.mu is held, so that their order is that in which
// memory has changed, whichever turns did it. The replies of the turn wait for
// them by what the turn itself hands over later.
type change struct {
	t       *Turn
	batches []Batch // by shard
}

func (c *change) on(s *shard) Batch {
	if c.batches == nil {
		c.batches = make([]Batch, len(c.t.bus.shards))
	}
	if c.batches[s.index] == nil {
		c.batches[s.index] = s.store.NewBatch()
	}
	return c.batches[s.index]
}

// commit hands the records over. The caller holds vh.mu.
func (c *change) commit() {
	for i, b := range c.batches {
		if b != nil {
			s := c.t.bus.shards[i]
			s.store.Commit(b, nil)
			c.t.promise(s)
		}
	}
}

func (c *change) settings() Batch { return c.on(c.t.bus.shards[0]) }

func (c *change) saveExchange(x *Exchange) {
	c.settings().Set(exchangeKey(x.vh.name, x.name), x.record(nil))
}

func (c *change) forgetExchange(x *Exchange) {
	if x.opt.Durable {
		c.settings().Delete(exchangeKey(x.vh.name, x.name))
	}
}

// save writes a new binding, and that its exchange has had one.
func (c *change) save(b *binding) {
	first := !b.from.used
	b.from.used = true
	if first && b.from.opt.AutoDelete && b.from.opt.Durable {
		c.saveExchange(b.from)
	}
	if !b.durable() {
		return
	}
	t := c.t
	if b.queue != nil {
		t.scratch = (&bindingRecord{syntax: b.syntax, qos: ExactlyOnce, exchange: b.from.id, arguments: b.arguments}).append(t.scratch[:0])
		c.on(b.queue.sh).Set(b.recordKey(), t.scratch)
		return
	}
	t.scratch = append(t.scratch[:0], b.arguments...)
	c.settings().Set(exitKey(b), t.scratch)
}

// forget removes the record of a binding.
func (c *change) forget(b *binding) {
	switch {
	case !b.durable():
	case b.queue != nil:
		c.on(b.queue.sh).Delete(b.recordKey())
	default:
		c.settings().Delete(exitKey(b))
	}
}

// wait is for a binding that is already as it should be: whoever made it so may
// not have been told yet.
func (c *change) wait(b *binding) {
	switch {
	case !b.durable():
	case b.queue != nil:
		c.t.promise(b.queue.sh)
	default:
		c.t.promise(c.t.bus.shards[0])
	}
}

func (b *binding) recordKey() []byte {
	return bindingKey(b.queue.id, b.from.name, b.syntax, b.key, b.arguments)
}

func exchangeKey(vhost, name string) []byte {
	return appendBytes(appendBytes([]byte{keyExchange}, vhost), name)
}

// exitKey is the key of a binding from one exchange to another. Its arguments are
// the value.
func exitKey(b *binding) []byte {
	k := appendBytes([]byte{keyExit}, b.from.vh.name)
	k = appendBytes(k, b.from.name)
	k = appendBytes(k, b.exchange.name)
	k = appendBytes(append(k, byte(b.syntax)), b.key)
	return appendDigest(k, b.arguments)
}

// appendDigest has arguments, which may be long, tell keys apart.
func appendDigest(k []byte, arguments string) []byte {
	if arguments == "" {
		return k
	}
	d := sha256.Sum256([]byte(arguments))
	return append(k, d[:digestSize]...)
}

const digestSize = 16

// Flags of exchanges in records.
const (
	exchangeAutoDelete = 1 << iota
	exchangeInternal
	exchangeUsed
)

func (x *Exchange) record(b []byte) []byte {
	flags := byte(0)
	if x.opt.AutoDelete {
		flags |= exchangeAutoDelete
	}
	if x.opt.Internal {
		flags |= exchangeInternal
	}
	if x.used {
		flags |= exchangeUsed
	}
	b = append(appendBytes(b, x.typ.String()), flags)
	b = binary.AppendUvarint(b, x.id)
	b = appendBytes(b, x.opt.Alternate)
	return appendBytes(b, x.opt.Arguments)
}

func (r *recovery) exchange(_ *shard, k, v []byte) error {
	kr := reader{b: k[1:]}
	vhost, name := kr.string(), kr.string()
	vr := reader{b: v}
	typ, known := ParseExchangeType(vr.string())
	flags := vr.byte()
	id := vr.uint()
	o := ExchangeOptions{
		Type: typ, Durable: true, AutoDelete: flags&exchangeAutoDelete != 0, Internal: flags&exchangeInternal != 0,
		Alternate: vr.string(), Arguments: bytes.Clone(vr.bytes()),
	}
	if kr.err != nil || vr.err != nil || !known {
		return errRecord
	}
	vh := r.vhost(vhost)
	x := newExchange(vh, name, o)
	x.id, x.used = id, flags&exchangeUsed != 0
	if err := x.readArguments(); err != nil {
		return err
	}
	vh.registerLocked(x)
	return nil
}

// exit takes up a binding from one exchange to another.
func (r *recovery) exit(s *shard, k, v []byte) error {
	kr := reader{b: k[1:]}
	vh := r.vhost(kr.string())
	b := binding{from: vh.exchanges[kr.string()], exchange: vh.exchanges[kr.string()]}
	b.syntax, b.key, b.arguments = Syntax(kr.byte()), kr.string(), string(v)
	if kr.err != nil || b.syntax > SyntaxAMQP {
		return errRecord
	}
	if b.from == nil || b.exchange == nil {
		r.t.part(s).batch.Delete(k)
		return nil
	}
	return r.bind(&b)
}

func (r *recovery) bind(b *binding) error {
	c, err := b.choice()
	if err != nil {
		return err
	}
	r.told.Bindings++
	b.from.vh.bindLocked(b, c)
	return nil
}

// unused removes exchanges that were to go with their last binding, which led to
// something that has not outlived the former run.
func (r *recovery) unused() {
	for _, vh := range r.b.vhosts {
		for again := true; again; {
			again = false
			for _, x := range vh.exchanges {
				if x.opt.AutoDelete && x.used && len(x.out.list) == 0 {
					ch := change{t: r.t}
					vh.removeLocked(&ch, x)
					ch.commit()
					again = true
					break
				}
			}
		}
	}
}
