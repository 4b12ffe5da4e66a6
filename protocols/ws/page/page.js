// The example page: it joins the forms to a Client. Whatever comes from the
// broker is shown as text (textContent) and never as markup.

import { Client, text } from './mqtt.js'

const shown = 200 // messages in the list
const longest = 4096 // characters of one

const $ = (id) => document.getElementById(id)
const forms = { connect: $('connect'), subscribe: $('subscribe'), publish: $('publish') }
const counters = { received: 0, published: 0, acknowledged: 0, bytes: 0 }
const filters = new Map() // subscriptions and their QoS
let client = null
let pending = [] // messages that are not in the list yet
let lastReceived = 0

function start () {
  const secure = location.protocol === 'https:'
  forms.connect.url.value = (secure ? 'wss://' : 'ws://') + (location.host || 'localhost:8083') + '/mqtt'
  forms.connect.elements.id.value = 'browser-' + Math.random().toString(16).slice(2, 8)
  forms.connect.addEventListener('submit', submit(connect))
  forms.subscribe.addEventListener('submit', submit(subscribe))
  forms.publish.addEventListener('submit', submit(publish))
  $('disconnect').addEventListener('click', () => client && client.disconnect())
  $('clear').addEventListener('click', clear)
  setInterval(rate, 1000)
}

// submit has a form do something and shows why it could not.
function submit (action) {
  return async (e) => {
    e.preventDefault()
    say('')
    try {
      await action(e.target.elements)
    } catch (err) {
      say(err.message)
    }
  }
}

function say (message) {
  $('error').textContent = message
  $('error').hidden = message === ''
}

function state (name, words) {
  $('state').textContent = words
  $('state').dataset.state = name
  const on = name === 'on'
  for (const form of [forms.subscribe, forms.publish]) form.querySelector('fieldset').disabled = !on
  $('disconnect').disabled = name === 'off'
  forms.connect.querySelector('.main').disabled = name !== 'off'
}

async function connect (fields) {
  const c = new Client(fields.url.value, {
    clientId: fields.id.value,
    user: fields.user.value,
    password: fields.password.value,
    keepAlive: Number(fields.keepalive.value),
    clean: fields.clean.checked
  })
  c.onmessage = receive
  c.onclose = (err) => {
    if (c !== client) return
    client = null
    state('off', 'not connected')
    filters.clear()
    showFilters()
    if (err) say(err.message)
  }
  client = c
  state('waiting', 'connecting …')
  let resumed
  try {
    resumed = await c.connect()
  } catch (err) {
    if (c === client) {
      client = null
      state('off', 'not connected')
    }
    throw err
  }
  state('on', 'connected' + (resumed ? ', with the session of last time' : ''))
  forms.subscribe.filter.focus()
}

async function subscribe (fields) {
  const filter = fields.filter.value
  const granted = await client.subscribe(filter, Number(fields.qos.value))
  filters.set(filter, granted)
  showFilters()
}

function showFilters () {
  $('filters').replaceChildren(...[...filters].map(([filter, qos]) => {
    const button = element('button', '×')
    button.type = 'button'
    button.setAttribute('aria-label', 'Unsubscribe from ' + filter)
    button.addEventListener('click', submit(async () => {
      await client.unsubscribe(filter)
      filters.delete(filter)
      showFilters()
    }))
    const item = element('li', '')
    item.append(element('code', filter), element('span', 'QoS ' + qos), button)
    return item
  }))
}

async function publish (fields) {
  const qos = Number(fields.qos.value)
  const began = performance.now()
  const sent = client.publish(fields.topic.value, fields.payload.value, { qos, retain: fields.retain.checked })
  count('published', 1)
  await sent
  if (qos === 0) {
    $('sent').textContent = 'Sent. At QoS 0 nobody says whether it has arrived.'
    return
  }
  count('acknowledged', 1)
  $('sent').textContent = `Acknowledged after ${(performance.now() - began).toFixed(1)} ms.`
}

function count (name, n) {
  counters[name] += n
  $(name).textContent = counters[name].toLocaleString('en')
}

// receive puts a message aside; the list is drawn once for each picture of the
// screen, however many come.
function receive (m) {
  count('received', 1)
  count('bytes', m.payload.length)
  if ($('pause').checked) return
  if (pending.push({ ...m, at: new Date() }) === 1) setTimeout(draw, 50)
  if (pending.length > shown) pending.shift()
}

function draw () {
  const rows = pending.map(row).reverse()
  pending = []
  $('messages').prepend(...rows)
  while ($('messages').childElementCount > shown) $('messages').lastElementChild.remove()
  $('empty').hidden = true
}

function row (m) {
  const tr = document.createElement('tr')
  const at = m.at.toTimeString().slice(0, 8) + '.' + String(m.at.getMilliseconds()).padStart(3, '0')
  tr.append(element('td', at), element('td', m.topic), element('td', readable(m.payload)), element('td', m.qos), element('td', m.retain ? 'yes' : ''))
  return tr
}

// readable is a payload as text, or as hexadecimal digits.
function readable (payload) {
  const part = payload.length > longest ? payload.slice(0, longest) : payload
  let s = text(part)
  if (s === undefined) s = [...part.slice(0, 256)].map((b) => b.toString(16).padStart(2, '0')).join(' ')
  return payload.length > part.length ? `${s} … (${payload.length.toLocaleString('en')} bytes)` : s
}

function element (name, content) {
  const e = document.createElement(name)
  e.textContent = content
  return e
}

function clear () {
  pending = []
  $('messages').replaceChildren()
  $('empty').hidden = false
  for (const name of Object.keys(counters)) count(name, -counters[name])
  lastReceived = 0
}

function rate () {
  $('rate').textContent = Math.max(0, counters.received - lastReceived).toLocaleString('en')
  lastReceived = counters.received
}

start()
