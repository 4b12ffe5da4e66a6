// A client of the example page's own script that a test drives, by the same
// commands as python.py. The script is loaded from the broker, as a browser does.
import { createRequire } from 'node:module'
import readline from 'node:readline'

globalThis.WebSocket = createRequire(import.meta.url)('ws')

const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n')
let client = null

const commands = {
  async connect (command) {
    const source = await (await fetch(`http://${command.host}:${command.port}/mqtt.js`)).text()
    const { Client } = await import('data:text/javascript,' + encodeURIComponent(source))
    const options = { clientId: command.id, clean: command.clean }
    if (command.will) options.will = { topic: command.will, payload: Buffer.from('\x00gone\xff', 'latin1'), qos: 1 }
    client = new Client(`ws://${command.host}:${command.port}/mqtt`, options)
    let early = [] // what comes with the broker's answer is told after it
    const message = (m) => tell({ topic: m.topic, payload: Buffer.from(m.payload).toString('base64'), qos: m.qos, retain: m.retain })
    client.onmessage = (m) => early ? early.push(m) : message(m)
    client.onclose = (err) => err ? tell({ error: String(err) }) : tell({ done: 'disconnect' })
    tell({ done: 'connect', present: await client.connect() })
    early.forEach(message)
    early = null
    return null
  },
  async subscribe (command) {
    await client.subscribe(command.filter, command.qos)
  },
  async publish (command) {
    await Promise.all(command.payloads.map((p) => client.publish(command.topic, Buffer.from(p, 'base64'), { qos: command.qos })))
  },
  async disconnect () {
    client.disconnect() // onclose tells
    return null
  }
}

const input = readline.createInterface({ input: process.stdin })
input.on('line', async (line) => {
  const command = JSON.parse(line)
  try {
    const more = await commands[command.op](command)
    if (more !== null) tell({ done: command.op, ...more })
  } catch (err) {
    tell({ error: String(err) })
  }
})
input.on('close', () => process.exit(0))
