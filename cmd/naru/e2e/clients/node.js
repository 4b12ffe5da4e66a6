// An mqtt.js client that a test drives, by the same commands as python.py.
'use strict'

const mqtt = require('mqtt')
const readline = require('readline')

let client = null

const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n')

const check = (err, granted) => {
  if (err) tell({ error: String(err) })
}

function connect (command) {
  const options = { clientId: command.id, clean: command.clean, protocolVersion: 4, keepalive: 60, reconnectPeriod: 0 }
  if (command.will) {
    options.will = { topic: command.will, payload: Buffer.from('\x00gone\xff', 'latin1'), qos: 1, retain: false }
  }
  client = mqtt.connect(`${process.argv[2] || 'mqtt'}://${command.host}:${command.port}/any/path`, options)
  let early = [] // mqtt.js may pass messages on before it says that it is connected
  client.on('connect', (ack) => {
    tell({ done: 'connect', present: ack.sessionPresent })
    early.forEach(tell)
    early = null
  })
  client.on('error', (err) => check(err))
  client.on('message', (topic, payload, packet) => {
    const message = { topic, payload: payload.toString('base64'), qos: packet.qos, retain: packet.retain }
    early ? early.push(message) : tell(message)
  })
}

function publish (command) {
  let left = command.payloads.length
  for (const payload of command.payloads) {
    client.publish(command.topic, Buffer.from(payload, 'base64'), { qos: command.qos }, (err) => {
      check(err)
      if (--left === 0) tell({ done: 'publish' })
    })
  }
}

const input = readline.createInterface({ input: process.stdin })
input.on('line', (line) => {
  const command = JSON.parse(line)
  switch (command.op) {
    case 'connect':
      return connect(command)
    case 'subscribe':
      return client.subscribe(command.filter, { qos: command.qos }, (err) => {
        check(err)
        tell({ done: 'subscribe' })
      })
    case 'publish':
      return publish(command)
    case 'disconnect':
      return client.end(false, {}, () => tell({ done: 'disconnect' }))
  }
})
input.on('close', () => process.exit(0))
