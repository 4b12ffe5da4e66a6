"""A Paho client that a test drives: JSON commands in, lines of JSON out.

connect, subscribe, publish and disconnect are answered by {"done": ...} when
the broker has answered; messages are told as they come. The end of the input
ends the client.
"""

import base64
import json
import sys
import threading

import paho.mqtt.client as mqtt

printing = threading.Lock()


def tell(**what):
    with printing:
        print(json.dumps(what), flush=True)


def on_connect(client, userdata, flags, code):
    if code != 0:
        tell(error="connection refused: %d" % code)
    tell(done="connect", present=bool(flags["session present"]))


def on_message(client, userdata, m):
    tell(topic=m.topic, payload=base64.b64encode(m.payload).decode(), qos=m.qos, retain=bool(m.retain))


def make(command):
    client = mqtt.Client(client_id=command["id"], clean_session=command["clean"], protocol=mqtt.MQTTv311,
                         transport="websockets" if "ws" in sys.argv[1:] else "tcp")
    client.max_inflight_messages_set(command.get("inflight", 20))
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.on_connect = on_connect
    client.on_message = on_message
    client.on_subscribe = lambda *_: tell(done="subscribe")
    client.on_disconnect = lambda c, userdata, code: code == 0 and tell(done="disconnect")
    if "will" in command:
        client.will_set(command["will"], b"\x00gone\xff", qos=1)
    client.connect(command["host"], command["port"], keepalive=60)
    client.loop_start()
    return client


def publish(client, command):
    sent = [client.publish(command["topic"], base64.b64decode(p), qos=command["qos"]) for p in command["payloads"]]
    for s in sent:
        s.wait_for_publish()
    tell(done="publish")


def main():
    client = None
    for line in sys.stdin:
        command = json.loads(line)
        op = command["op"]
        if op == "connect":
            client = make(command)
        elif op == "subscribe":
            client.subscribe(command["filter"], command["qos"])
        elif op == "publish":
            publish(client, command)
        elif op == "disconnect":
            client.disconnect()
            client.loop_stop()
    if client is not None:
        client.loop_stop()


main()
