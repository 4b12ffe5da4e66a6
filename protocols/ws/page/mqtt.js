// A small MQTT 3.1.1 client for browsers. It shows how little there is between a
// WebSocket and a message: every packet is made and read here, in the open.
//
//   const client = new Client('ws://localhost:8083/mqtt', { clientId: 'me' })
//   client.onmessage = (m) => console.log(m.topic, text(m.payload))
//   await client.connect()
//   await client.subscribe('sensors/#', 1)
//   await client.publish('sensors/kitchen', 'warm', { qos: 1 })
//
// It keeps no state across connections; whoever needs that takes a full client,
// such as MQTT.js.

const CONNECT = 1, CONNACK = 2, PUBLISH = 3, PUBACK = 4, PUBREC = 5, PUBREL = 6, PUBCOMP = 7
const SUBSCRIBE = 8, SUBACK = 9, UNSUBSCRIBE = 10, UNSUBACK = 11, PINGREQ = 12, PINGRESP = 13, DISCONNECT = 14

const refusals = {
  1: 'the broker does not speak this version of MQTT',
  2: 'the client id is not accepted',
  3: 'the broker is not available',
  4: 'wrong user name or password',
  5: 'not authorised'
}

const bytes = (s) => typeof s === 'string' ? new TextEncoder().encode(s) : s

// text returns a payload as text, or undefined if it is none.
export function text (payload) {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload)
  } catch {
    return undefined
  }
}

const word = (n) => [n >> 8, n & 0xff]

// string is a length in two bytes and that many bytes.
function string (s) {
  const b = bytes(s)
  if (b.length > 65535) throw new Error('longer than 65,535 bytes: ' + String(s).slice(0, 40) + '…')
  return [...word(b.length), ...b]
}

// packet puts the fixed header in front: type and flags, and the length in
// groups of seven bits.
function packet (type, flags, head, payload = []) {
  const out = [type << 4 | flags]
  let n = head.length + payload.length
  do {
    out.push((n & 0x7f) | (n > 0x7f ? 0x80 : 0))
    n >>>= 7
  } while (n > 0)
  const all = new Uint8Array(out.length + head.length + payload.length)
  all.set(out)
  all.set(head, out.length)
  all.set(payload, out.length + head.length)
  return all
}

export class Client {
  // options: clientId, user, password, keepAlive (seconds), clean,
  // will: { topic, payload, qos, retain }
  constructor (url, options = {}) {
    this.url = url
    this.options = { clientId: '', keepAlive: 30, clean: true, ...options }
    this.onmessage = () => {}
    this.onclose = () => {} // called once, with an Error or with nothing after disconnect()
    this.received = new Uint8Array(0)
    this.waiting = new Map() // what to do when an acknowledgement comes, by packet id
    this.inbound = new Set() // ids of QoS 2 messages that the broker has not released
    this.lastId = 0
  }

  // connect resolves when the broker has let us in, with whether it had a session.
  connect () {
    return new Promise((resolve, reject) => {
      this.entered = { resolve, reject }
      this.socket = new WebSocket(this.url, ['mqtt'])
      this.socket.binaryType = 'arraybuffer'
      this.socket.onopen = () => this.hello()
      this.socket.onmessage = (e) => this.take(new Uint8Array(e.data))
      this.socket.onclose = (e) => this.gone(e)
    })
  }

  hello () {
    const o = this.options
    let flags = o.clean ? 2 : 0
    const rest = string(o.clientId)
    if (o.will) {
      flags |= 4 | (o.will.qos || 0) << 3 | (o.will.retain ? 32 : 0)
      rest.push(...string(o.will.topic), ...string(o.will.payload))
    }
    if (o.user) {
      flags |= 128
      rest.push(...string(o.user))
      if (o.password) {
        flags |= 64
        rest.push(...string(o.password))
      }
    }
    this.send(packet(CONNECT, 0, [...string('MQTT'), 4, flags, ...word(o.keepAlive), ...rest]))
  }

  send (p) {
    if (!this.socket || this.socket.readyState !== WebSocket.OPEN) throw new Error('not connected')
    this.socket.send(p)
  }

  // reply is send for what nobody waits for: on its way out it may go unsaid.
  reply (p) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(p)
  }

  // request sends a packet with an id and resolves when it is acknowledged.
  request (make) {
    return new Promise((resolve, reject) => {
      if (this.waiting.size >= 65535) throw new Error('too much is not acknowledged')
      do this.lastId = this.lastId % 65535 + 1; while (this.waiting.has(this.lastId))
      const id = this.lastId
      this.send(make(id))
      this.waiting.set(id, { resolve, reject })
    })
  }

  // subscribe resolves with the QoS that is granted.
  async subscribe (filter, qos = 0) {
    const granted = await this.request((id) => packet(SUBSCRIBE, 2, [...word(id), ...string(filter), qos]))
    if (granted > 2) throw new Error('the broker refuses the subscription to ' + filter)
    return granted
  }

  unsubscribe (filter) {
    return this.request((id) => packet(UNSUBSCRIBE, 2, [...word(id), ...string(filter)]))
  }

  // publish resolves when the broker has acknowledged the message; at QoS 0 at once.
  async publish (topic, payload, { qos = 0, retain = false } = {}) {
    const flags = qos << 1 | (retain ? 1 : 0)
    if (qos === 0) return this.send(packet(PUBLISH, flags, string(topic), bytes(payload)))
    return this.request((id) => packet(PUBLISH, flags, [...string(topic), ...word(id)], bytes(payload)))
  }

  // disconnect says goodbye: the broker forgets the will.
  disconnect () {
    this.goodbye = true
    if (this.socket && this.socket.readyState === WebSocket.OPEN) this.send(packet(DISCONNECT, 0, []))
    if (this.socket) this.socket.close()
  }

  // take adds what has come; a WebSocket message may hold parts of packets.
  take (data) {
    let all = data
    if (this.received.length > 0) {
      all = new Uint8Array(this.received.length + data.length)
      all.set(this.received)
      all.set(data, this.received.length)
    }
    for (;;) {
      let size = 0, i = 1
      for (; i < all.length && i <= 4; i++) {
        size |= (all[i] & 0x7f) << 7 * (i - 1)
        if (all[i] < 0x80) break
      }
      if (i === 5) return this.fail(new Error('what comes is no MQTT'))
      if (i >= all.length || all.length < i + 1 + size) break
      this.handle(all[0] >> 4, all[0] & 0xf, all.subarray(i + 1, i + 1 + size))
      all = all.subarray(i + 1 + size)
    }
    this.received = all.slice()
  }

  handle (type, flags, body) {
    const id = body[0] << 8 | body[1]
    switch (type) {
      case CONNACK:
        if (body[1] !== 0) return this.fail(new Error(refusals[body[1]] || 'refused with code ' + body[1]))
        if (this.options.keepAlive > 0) this.timer = setInterval(() => this.ping(), this.options.keepAlive * 1000)
        this.inside = true
        return this.entered.resolve(body[0] === 1)
      case PUBLISH: return this.deliver(flags, body)
      case PUBACK: case PUBCOMP: case UNSUBACK: return this.acknowledged(id)
      case SUBACK: return this.acknowledged(id, body[2])
      case PUBREC: return this.reply(packet(PUBREL, 2, word(id)))
      case PUBREL:
        this.inbound.delete(id)
        return this.reply(packet(PUBCOMP, 0, word(id)))
      case PINGRESP:
        this.silent = false
    }
  }

  // deliver passes a message on: at QoS 2 once, however often it is sent.
  deliver (flags, body) {
    const qos = flags >> 1 & 3
    const length = body[0] << 8 | body[1]
    const topic = text(body.subarray(2, 2 + length))
    let rest = body.subarray(2 + length)
    let id = 0
    if (qos > 0) {
      id = rest[0] << 8 | rest[1]
      rest = rest.subarray(2)
    }
    if (!this.inbound.has(id)) {
      this.onmessage({ topic, payload: rest.slice(), qos, retain: (flags & 1) === 1, dup: (flags & 8) === 8 })
    }
    if (qos === 1) this.reply(packet(PUBACK, 0, word(id)))
    if (qos === 2) {
      this.inbound.add(id)
      this.reply(packet(PUBREC, 0, word(id)))
    }
  }

  acknowledged (id, value) {
    const w = this.waiting.get(id)
    this.waiting.delete(id)
    if (w) w.resolve(value)
  }

  ping () {
    if (this.silent) return this.fail(new Error('the broker is silent'))
    this.silent = true
    this.reply(packet(PINGREQ, 0, []))
  }

  fail (err) {
    this.reason = this.reason || err
    this.socket.close()
  }

  // gone is called when the socket has been closed, by either side.
  gone (e) {
    clearInterval(this.timer)
    const why = e.code !== 1006
      ? 'the broker closed the connection (code ' + e.code + (e.reason ? ': ' + e.reason : '') + ')'
      : this.inside ? 'the connection is lost' : 'no connection: nobody answers there, or the broker refuses this page (ws.origins)'
    const err = this.reason || new Error(why)
    this.entered.reject(err) // has no effect when it was let in
    for (const w of this.waiting.values()) w.reject(err)
    this.waiting.clear()
    this.onclose(this.goodbye ? undefined : err)
  }
}
