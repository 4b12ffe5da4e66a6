// What applications do with RabbitMQ by amqplib, each a function that fails by
// an exception. Called with HOST PORT PREFIX; tells one line of JSON for each.
'use strict'

const amqp = require('amqplib')
const assert = require('assert')

const [host, port, prefix] = process.argv.slice(2)
const patience = 10000

const connect = (options) => amqp.connect({ hostname: host, port: Number(port), username: 'guest', password: 'guest', ...options })
const name = (text) => `${prefix}-${text}`
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

// eventually waits for what the broker does in its own time.
async function eventually (what, want) {
  const deadline = Date.now() + patience
  for (;;) {
    const got = await what()
    if (got === want) return
    assert(Date.now() < deadline, `${got}, want ${want}`)
    await sleep(20)
  }
}

// take consumes so many messages.
async function take (channel, queue, count, options = {}) {
  const got = []
  let tag
  await new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`only ${got.length} of ${count} messages`)), patience)
    const begun = channel.consume(queue, (m) => {
      if (got.length < count) {
        got.push(m)
        if (!options.noAck && !options.keep) channel.ack(m)
      }
      if (got.length === count) {
        clearTimeout(timer)
        resolve()
      }
    }, { noAck: options.noAck })
    begun.then((ok) => { tag = ok.consumerTag }, reject)
  })
  await eventually(() => tag !== undefined, true)
  await channel.cancel(tag)
  return got
}

const ready = async (channel, queue) => (await channel.checkQueue(queue)).messageCount
const bodies = (messages) => messages.map((m) => m.content.toString())

const scenarios = {
  async work_queue () {
    const conn = await connect()
    const ch = await conn.createChannel()
    await ch.assertQueue(name('tasks'), { durable: true })
    const done = { quick: [], slow: [] }
    const left = () => 20 - done.quick.length - done.slow.length
    for (const [who, pause] of [['quick', 1], ['slow', 50]]) {
      const worker = await conn.createChannel()
      await worker.prefetch(1)
      await worker.consume(name('tasks'), async (m) => {
        await sleep(pause) // the work
        done[who].push(m.content.toString())
        worker.ack(m)
      })
    }
    for (let i = 0; i < 20; i++) ch.sendToQueue(name('tasks'), Buffer.from(String(i)), { persistent: true })
    await eventually(left, 0)
    assert.strictEqual(new Set([...done.quick, ...done.slow]).size, 20)
    assert(done.quick.length > done.slow.length && done.slow.length > 0, JSON.stringify(done))
    await conn.close()
  },

  async publisher_confirms () {
    const conn = await connect()
    const ch = await conn.createConfirmChannel()
    await ch.assertQueue(name('confirmed'), { durable: true })
    for (let i = 0; i < 100; i++) ch.sendToQueue(name('confirmed'), Buffer.from('x'), { persistent: true })
    await ch.waitForConfirms()
    await eventually(() => ready(ch, name('confirmed')), 100)
    await conn.close()
  },

  async refused_publishes () {
    const conn = await connect()
    const ch = await conn.createConfirmChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true, arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } })
    ch.sendToQueue(queue, Buffer.from('1'))
    await ch.waitForConfirms()
    ch.sendToQueue(queue, Buffer.from('2'))
    await assert.rejects(ch.waitForConfirms())
    await conn.close()
  },

  async mandatory_returns () {
    const conn = await connect()
    const ch = await conn.createConfirmChannel()
    const back = []
    ch.on('return', (m) => back.push(m))
    ch.publish('', name('nowhere'), Buffer.from('back'), { mandatory: true, messageId: '7' })
    await ch.waitForConfirms()
    assert.strictEqual(back.length, 1)
    assert.deepStrictEqual([back[0].fields.replyCode, back[0].fields.replyText], [312, 'NO_ROUTE'])
    assert.deepStrictEqual([back[0].properties.messageId, back[0].content.toString()], ['7', 'back'])
    await conn.close()
  },

  async topic_routing () {
    const conn = await connect()
    const ch = await conn.createChannel()
    await ch.assertExchange(name('logs'), 'topic')
    const { queue } = await ch.assertQueue('', { exclusive: true })
    await ch.bindQueue(queue, name('logs'), '*.error')
    await ch.bindQueue(queue, name('logs'), 'kern.#')
    for (const key of ['kern.error', 'kern', 'cron.error', 'cron']) ch.publish(name('logs'), key, Buffer.from(key))
    assert.deepStrictEqual(bodies(await take(ch, queue, 3)), ['kern.error', 'kern', 'cron.error'])
    await ch.unbindQueue(queue, name('logs'), '*.error')
    ch.publish(name('logs'), 'cron.error', Buffer.from('no'))
    ch.publish(name('logs'), 'kern.info', Buffer.from('yes'))
    assert.deepStrictEqual(bodies(await take(ch, queue, 1)), ['yes'])
    await ch.deleteExchange(name('logs'))
    await conn.close()
  },

  async headers_exchange () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    await ch.bindQueue(queue, 'amq.headers', '', { 'x-match': 'all', [name('format')]: 'pdf', pages: 2 })
    ch.publish('amq.headers', '', Buffer.from('no'), { headers: { [name('format')]: 'pdf', pages: 3 } })
    ch.publish('amq.headers', '', Buffer.from('yes'), { headers: { [name('format')]: 'pdf', pages: 2, more: true } })
    assert.deepStrictEqual(bodies(await take(ch, queue, 1)), ['yes'])
    assert.strictEqual(await ready(ch, queue), 0)
    await conn.close()
  },

  async exchange_to_exchange () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    await ch.assertExchange(name('first'), 'direct', { autoDelete: true })
    await ch.assertExchange(name('second'), 'fanout', { autoDelete: true })
    await ch.bindExchange(name('second'), name('first'), 'k')
    await ch.bindQueue(queue, name('second'), '')
    ch.publish(name('first'), 'k', Buffer.from('through'))
    assert.deepStrictEqual(bodies(await take(ch, queue, 1)), ['through'])
    await ch.unbindExchange(name('second'), name('first'), 'k')
    await conn.close()
  },

  async rpc_by_queue () { await rpc('queue') },

  async rpc_by_direct_reply () { await rpc('direct') },

  async time_to_live_and_dead_letters () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const dead = (await ch.assertQueue('', { exclusive: true })).queue
    await ch.assertQueue(name('short'), { exclusive: true, messageTtl: 100, deadLetterExchange: '', deadLetterRoutingKey: dead })
    ch.sendToQueue(name('short'), Buffer.from('x'))
    const [m] = await take(ch, dead, 1)
    const [death] = m.properties.headers['x-death']
    assert.deepStrictEqual([death.reason, death.queue, death.count], ['expired', name('short'), 1])
    await conn.close()
  },

  async priorities () {
    const conn = await connect()
    const ch = await conn.createConfirmChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true, maxPriority: 9 })
    for (const p of [1, 9, 5, 9]) ch.sendToQueue(queue, Buffer.from(String(p)), { priority: p })
    await ch.waitForConfirms()
    assert.deepStrictEqual(bodies(await take(ch, queue, 4)), ['9', '9', '5', '1'])
    await conn.close()
  },

  async exclusive_queues () {
    const conn = await connect()
    const other = await connect()
    const { queue } = await (await conn.createChannel()).assertQueue('', { exclusive: true })
    const ch = await other.createChannel()
    ch.on('error', () => {})
    await assert.rejects(ch.checkQueue(queue), /405/)
    await conn.close()
    const again = await other.createChannel()
    again.on('error', () => {})
    await assert.rejects(again.checkQueue(queue), /404/)
    await other.close()
  },

  async consumer_cancelled () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    const told = []
    await ch.consume(queue, (m) => told.push(m))
    await (await conn.createChannel()).deleteQueue(queue)
    await eventually(() => told.length, 1)
    assert.strictEqual(told[0], null)
    await conn.close()
  },

  async requeueing () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    for (const b of ['a', 'b', 'c']) ch.sendToQueue(queue, Buffer.from(b))
    await eventually(() => ready(ch, queue), 3)
    const got = [await ch.get(queue), await ch.get(queue)]
    ch.nack(got[1], true, true)
    await eventually(() => ready(ch, queue), 3)
    const again = await take(ch, queue, 3)
    assert.deepStrictEqual(bodies(again), ['a', 'b', 'c'])
    assert.deepStrictEqual(again.map((m) => m.fields.redelivered), [true, true, false])
    await conn.close()
  },

  async recovering () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    ch.sendToQueue(queue, Buffer.from('x'))
    await eventually(() => ready(ch, queue), 1)
    await ch.get(queue)
    await ch.recover()
    await eventually(() => ready(ch, queue), 1)
    assert.strictEqual((await ch.get(queue, { noAck: true })).fields.redelivered, true)
    await conn.close()
  },

  async channel_errors () {
    const conn = await connect()
    const bad = await conn.createChannel()
    const good = await conn.createChannel()
    const errors = []
    bad.on('error', (err) => errors.push(err.code))
    bad.publish(name('no-exchange'), '', Buffer.from('x'))
    await eventually(() => errors.length, 1)
    assert.deepStrictEqual(errors, [404])
    await good.assertQueue('', { exclusive: true })
    await conn.close()
  },

  async property_types () {
    const conn = await connect()
    const ch = await conn.createChannel()
    const { queue } = await ch.assertQueue('', { exclusive: true })
    const headers = { text: 'é', small: 5, large: 2 ** 40, real: 1.5, yes: true, nothing: null, list: [1, 'two', { three: 3 }], when: { '!': 'timestamp', value: 1700000000 }, bytes: Buffer.from([0, 255]) }
    ch.sendToQueue(queue, Buffer.alloc(0), { headers, contentType: 'a/b', correlationId: 'c', timestamp: 1700000000, type: 't', appId: 'a', expiration: 60000, priority: 3 })
    const [m] = await take(ch, queue, 1)
    const p = m.properties
    assert.deepStrictEqual(p.headers, headers)
    assert.deepStrictEqual([p.contentType, p.correlationId, p.timestamp, p.type, p.appId, p.expiration, p.priority], ['a/b', 'c', 1700000000, 't', 'a', '60000', 3])
    await conn.close()
  },

  async many_channels () {
    const conn = await connect()
    const all = await Promise.all(Array.from({ length: 300 }, () => conn.createChannel()))
    const { queue } = await all[0].assertQueue('', { exclusive: true })
    all.forEach((ch, i) => ch.sendToQueue(queue, Buffer.from(String(i))))
    await eventually(() => ready(all[1], queue), 300)
    await Promise.all(all.map((ch) => ch.close()))
    await conn.close()
  },

  async refused_logins () {
    await assert.rejects(connect({ password: 'wrong' }), /ACCESS[-_]REFUSED/)
    await assert.rejects(connect({ vhost: name('none') }))
  },

  async reconnecting () {
    const conn = await connect()
    const ch = await conn.createConfirmChannel()
    await ch.assertQueue(name('again'), { durable: true })
    for (let i = 0; i < 10; i++) ch.sendToQueue(name('again'), Buffer.from(String(i)), { persistent: true })
    await ch.waitForConfirms()
    const got = new Set()
    while (got.size < 10) {
      const worker = await connect()
      worker.on('error', () => {})
      const wch = await worker.createChannel()
      wch.on('error', () => {})
      await wch.prefetch(3)
      bodies(await take(wch, name('again'), Math.min(3, 10 - got.size))).forEach((b) => got.add(b))
      await wch.checkQueue(name('again')) // behind it the acks have arrived
      worker.connection.stream.destroy() // the network breaks, without a goodbye
      await eventually(async () => (await ch.checkQueue(name('again'))).messageCount, 10 - got.size)
    }
    await conn.close()
  }
}

async function rpc (kind) {
  const conn = await connect()
  const ch = await conn.createChannel()
  const service = (await ch.assertQueue('', { exclusive: true })).queue
  await ch.consume(service, (m) => {
    ch.sendToQueue(m.properties.replyTo, Buffer.from(String(2 * Number(m.content))), { correlationId: m.properties.correlationId })
  }, { noAck: true })
  const replyTo = kind === 'queue' ? (await ch.assertQueue('', { exclusive: true })).queue : 'amq.rabbitmq.reply-to'
  const answers = {}
  await ch.consume(replyTo, (m) => { answers[m.properties.correlationId] = m.content.toString() }, { noAck: true })
  for (const n of [1, 2, 3]) ch.sendToQueue(service, Buffer.from(String(n)), { replyTo, correlationId: String(n) })
  await eventually(() => Object.keys(answers).length, 3)
  assert.deepStrictEqual(answers, { 1: '2', 2: '4', 3: '6' })
  await conn.close()
}

async function main () {
  for (const [scenario, run] of Object.entries(scenarios)) {
    let error = ''
    try {
      await run()
    } catch (err) {
      error = String(err.stack || err)
    }
    process.stdout.write(JSON.stringify({ name: scenario, error }) + '\n')
  }
  process.exit(0)
}

main()
