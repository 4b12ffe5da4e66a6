package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/narumq/naru/core/internal/tasks"
)

// Config are the limits of the bus, with their defaults in DefaultConfig.
type Config struct {
	QueueMemory     int64         `yaml:"queue_memory" unit:"bytes" reload:"true" doc:"Memory for the messages of all queues together; what is beyond waits on disk only."`
	RetainedMemory  int64         `yaml:"retained_memory" unit:"bytes" reload:"true" doc:"Memory for the payloads of retained messages; what is beyond is read from disk."`
	MemoryAlarm     int64         `yaml:"memory_alarm" unit:"bytes" reload:"true" doc:"Messages in memory and bytes on their way to disk, together, beyond which publishers are held back until there is a quarter less: the disk does not keep up, or very many clients do not take what they were sent. 0: no limit."`
	MaxUncommitted  int64         `yaml:"max_uncommitted" unit:"bytes" reload:"true" doc:"Bytes on their way to disk from which on publishers wait for what they have sent before they are read again."`
	DeliveryTimeout time.Duration `yaml:"delivery_timeout" reload:"true" doc:"A consumer of a shared subscription or a named queue that settles nothing for so long is disconnected, and what it has goes back. 0: never."`
	MinFreeDisk     int64         `yaml:"min_free_disk" unit:"bytes" reload:"true" doc:"Free space on the disk of data_dir below which publishers are held back until there is more. 0: no check."`
}

// DefaultConfig returns the limits that hold where nothing is configured.
func DefaultConfig() Config {
	return Config{
		QueueMemory:     256 << 20,
		RetainedMemory:  64 << 20,
		MemoryAlarm:     512 << 20,
		MaxUncommitted:  64 << 20,
		DeliveryTimeout: 30 * time.Minute,
		MinFreeDisk:     1 << 30,
	}
}

// Validate checks the limits.
func (c Config) Validate() error {
	switch {
	case c.QueueMemory < 1<<20 || c.RetainedMemory < 0 || c.MaxUncommitted < 1<<16 || c.DeliveryTimeout < 0 || c.MinFreeDisk < 0:
		return errors.New("queue_memory must be at least 1MiB, max_uncommitted at least 64KiB, and nothing negative")
	case c.MemoryAlarm != 0 && c.MemoryAlarm < c.QueueMemory+c.MaxUncommitted:
		return errors.New("memory_alarm must not be below queue_memory and max_uncommitted together")
	case c.DeliveryTimeout > 0 && c.DeliveryTimeout < time.Millisecond:
		return errors.New("delivery_timeout must be at least a millisecond, or 0")
	}
	return nil
}

// Options are what a bus is made of.
type Options struct {
	Config
	// Shards hold the durable state. Their number must not change.
	Shards []Shard
	// VHosts are the names to be there; "/" always is.
	VHosts []string
	// VHostLimits are those of vhosts that have any.
	VHostLimits map[string]VHostLimits
	// Authenticator decides who clients are; nil: whoever they say.
	Authenticator Authenticator
	// Authorizer decides what they may do; nil: everything.
	Authorizer   Authorizer
	Interceptors []Interceptor
	Listeners    []Listener
	// Policies are in force from the start; nil: none. See SetPolicies.
	Policies *Policies
	// FreeSpace tells the free bytes of the disk the shards are on; nil: no
	// disk alarm.
	FreeSpace func() (int64, error)
	// Fail is called, once, when a shard fails to commit or to read: nothing
	// that was promised can be kept any more, and the process must end. nil:
	// panic.
	Fail func(error)
}

// A Bus is the core: vhosts, the commits of their durable state and what is
// done from time to time. Its methods may be called from any goroutine.
type Bus struct {
	limits          atomic.Pointer[Config]
	policies        atomic.Pointer[Policies]
	started         time.Time
	opt             Options
	shards          []*shard
	workers         []*worker
	authorizer      Authorizer
	authorizeInline bool
	unrestricted    atomic.Bool // the authorizer allows everything
	interceptors    []Interceptor
	interceptInline bool
	listeners       []Listener
	watchers        atomic.Pointer[[]*Listener]
	turns           *sync.Pool

	rightsEpoch atomic.Uint64
	memory      atomic.Int64 // bytes of messages that queues hold
	ids         atomic.Uint64
	stats       busStats
	drops       dropLog
	alarms      alarms
	occupancy   occupancy
	rejecting   atomic.Bool // some queue refuses what it has no room for
	janitor     janitor
	timers      timers

	// gauges
	sessionCount    atomic.Int64
	bindings        atomic.Int64
	retainedCount   atomic.Int64
	expiredSessions atomic.Int64

	vhosts map[string]*VHost // fixed after Open

	ctx     context.Context
	stop    context.CancelFunc
	spawned tasks.Group    // housekeeping and what waits outside Feed
	wg      sync.WaitGroup // workers
	closing sync.Once
	failing sync.Once
}

// Open makes a bus on its shards and reads what a former run left there. Wills
// of clients that were connected then are published.
func Open(o Options) (*Bus, error) {
	if len(o.Shards) == 0 {
		return nil, errors.New("a bus needs a shard")
	}
	b := &Bus{
		opt: o, started: time.Now(), authorizer: o.Authorizer, interceptors: o.Interceptors, listeners: o.Listeners,
		vhosts: make(map[string]*VHost),
	}
	b.Configure(o.Config)
	b.policies.Store(o.Policies)
	_, b.authorizeInline = o.Authorizer.(Inline)
	b.unrestricted.Store(isUnrestricted(o.Authorizer))
	b.interceptInline = true
	for _, i := range o.Interceptors {
		if _, ok := i.(Inline); !ok {
			b.interceptInline = false
		}
	}
	b.rightsEpoch.Store(1)
	b.ctx, b.stop = context.WithCancel(context.Background())
	for i, s := range o.Shards {
		b.shards = append(b.shards, &shard{index: i, store: s, bus: b})
	}
	b.turns = newTurnPool(b)
	b.timers.init()
	for _, name := range append([]string{"/"}, o.VHosts...) {
		if b.vhosts[name] == nil {
			b.vhosts[name] = newVHost(b, name)
		}
	}
	for range runtime.GOMAXPROCS(0) {
		w := newWorker(b)
		b.workers = append(b.workers, w)
		b.wg.Add(1)
		go w.run()
	}
	if err := b.recover(); err != nil {
		b.stopWorkers()
		b.stop()
		return nil, err
	}
	b.spawned.Add(1)
	go b.housekeep()
	return b, nil
}

// Configure puts other limits in force. They hold from the next message on, and
// for alarms from the next look.
func (b *Bus) Configure(c Config) { b.limits.Store(&c) }

// Close stops the bus after its adapters: what is on its way is committed. It
// may be called more than once.
func (b *Bus) Close() error {
	b.closing.Do(func() {
		b.stop()
		b.spawned.Wait()
		t := b.NewTurn()
		for _, vh := range b.vhosts {
			vh.retained.flush(t)
		}
		t.End()
		b.Sync()
		b.stopWorkers()
		b.drops.tell(b)
	})
	return nil
}

func (b *Bus) stopWorkers() {
	for _, w := range b.workers {
		w.close()
	}
	b.wg.Wait()
}

// Sync waits until everything committed so far is durable.
func (b *Bus) Sync() {
	done := make(chan struct{}, len(b.shards))
	for _, s := range b.shards {
		s.seq.Lock()
		s.store.Commit(s.store.NewBatch(), func(err error) {
			if err != nil {
				b.fail(err)
			}
			done <- struct{}{}
		})
		s.seq.Unlock()
	}
	for range b.shards {
		<-done
	}
}

// VHost returns the vhost of this name, or nil.
func (b *Bus) VHost(name string) *VHost { return b.vhosts[name] }

// Authenticate decides who a client is. It may block: see AuthenticateQuick.
func (b *Bus) Authenticate(ctx context.Context, c *Credentials) (Identity, error) {
	if b.opt.Authenticator == nil {
		id := c.Identity
		id.Anonymous = !c.HasUser
		if c.HasCertificate {
			id.User, id.Anonymous = c.CertificateUser, false
		}
		return id, nil
	}
	return b.opt.Authenticator.Authenticate(ctx, c)
}

// AuthenticateQuick does what Authenticate does if it can be done without
// blocking.
func (b *Bus) AuthenticateQuick(c *Credentials) (id Identity, err error, answered bool) {
	if b.opt.Authenticator == nil {
		id, err = b.Authenticate(context.Background(), c)
		return id, err, true
	}
	if q, ok := b.opt.Authenticator.(QuickAuthenticator); ok {
		return q.AuthenticateQuick(c)
	}
	return Identity{}, nil, false
}

// fail ends it all: a commit or a read has failed, and nothing that was
// promised can be kept.
func (b *Bus) fail(err error) {
	b.failing.Do(func() {
		err = fmt.Errorf("store failed: %w", err)
		if b.opt.Fail == nil {
			panic(err)
		}
		b.opt.Fail(err)
	})
}

// Fatal hands an error of a shard to whoever must end the process.
func (b *Bus) Fatal(err error) { b.fail(err) }

// spawn runs f in a goroutine that Close waits for; its context ends then.
func (b *Bus) spawn(f func(context.Context)) {
	b.spawned.Add(1)
	go func() {
		defer b.spawned.Done()
		f(b.ctx)
	}()
}

func (b *Bus) workerOf(lane uint64) *worker { return b.workers[lane%uint64(len(b.workers))] }

// newID returns a number that is not used in the store: the number of the
// start, then a count.
func (b *Bus) newID() uint64 { return b.ids.Add(1) }

const idBits = 40 // of the count

func (b *Bus) overBudget() bool { return b.memory.Load() > b.limits.Load().QueueMemory }

// Backlogged says that the shards have more to write than they should:
// connections that publish wait for their own commits before they are read
// again.
func (b *Bus) Backlogged() bool {
	for _, s := range b.shards {
		if s.store.Pending() > b.limits.Load().MaxUncommitted {
			return true
		}
	}
	return false
}

// Gauges are what the bus holds now.
type Gauges struct {
	Sessions        int64 // connected or not
	Bindings        int64 // subscriptions and bindings
	Retained        int64
	ExpiredSessions int64 // since the start
	QueueMemory     int64 // bytes of messages in memory
}

// Gauges returns what the bus holds now.
func (b *Bus) Gauges() Gauges {
	return Gauges{
		Sessions: b.sessionCount.Load(), Bindings: b.bindings.Load(), Retained: b.retainedCount.Load(),
		ExpiredSessions: b.expiredSessions.Load(), QueueMemory: b.memory.Load(),
	}
}

// Stored returns the messages in all queues, and the bytes of their payloads.
func (b *Bus) Stored() (messages, bytes int64) {
	b.eachQueue(func(q *Queue) bool {
		q.mu.Lock()
		messages += q.count
		bytes += q.bytes
		q.mu.Unlock()
		return true
	})
	return messages, bytes
}

// A Depth is what queues of one kind hold together.
type Depth struct{ Queues, Ready, Unsettled, Bytes, Consumers int64 }

// Depths returns what is in the queues, by QueueKind.
func (b *Bus) Depths() (d [queueKinds]Depth) {
	b.eachQueue(func(q *Queue) bool {
		k := &d[q.kind]
		q.mu.Lock()
		if q.named == nil || q.named.root == nil { // or it is a lane of another
			k.Queues++
			k.Consumers += int64(len(q.consumers))
		}
		k.Ready += q.count - q.unsettled
		k.Unsettled += q.unsettled
		k.Bytes += q.bytes
		q.mu.Unlock()
		return true
	})
	return d
}

// Alarms returns the names of all alarms, and which of them are raised.
func (b *Bus) Alarms() map[string]bool {
	all := make(map[string]bool, alarmKinds)
	for k := range alarmKinds {
		all[k.String()] = b.alarms.raised(k)
	}
	return all
}

// Groups returns the number of shared subscriptions.
func (b *Bus) Groups() int {
	n := 0
	for _, vh := range b.vhosts {
		vh.mu.RLock()
		for _, q := range vh.queues {
			if q.kind == KindGroup {
				n++
			}
		}
		vh.mu.RUnlock()
	}
	return n
}

// eachQueue calls f for every queue and session of every vhost, with no lock
// held, until it returns false.
func (b *Bus) eachQueue(f func(*Queue) bool) {
	var qs []*Queue
	for _, vh := range b.vhosts {
		vh.mu.RLock()
		for _, q := range vh.queues {
			q.eachLane(func(lane *Queue) bool {
				qs = append(qs, lane)
				return true
			})
		}
		vh.mu.RUnlock()
		for i := range vh.sessions {
			reg := &vh.sessions[i]
			reg.mu.Lock()
			for _, s := range reg.m {
				qs = append(qs, &s.queue)
			}
			reg.mu.Unlock()
		}
	}
	for _, q := range qs {
		if !f(q) {
			return
		}
	}
}

// queueSnapshot finds queues by id.
type queueSnapshot struct {
	queues map[uint64]*Queue
	newest uint64
}

func (b *Bus) snapshotQueues() *queueSnapshot {
	s := &queueSnapshot{queues: make(map[uint64]*Queue), newest: b.ids.Load()}
	b.eachQueue(func(q *Queue) bool {
		s.queues[q.id] = q // those without records too: they may get some meanwhile
		return true
	})
	return s
}
