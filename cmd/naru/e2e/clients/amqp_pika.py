"""What applications do with RabbitMQ by pika, each a function that fails by an
exception. Called with HOST PORT PREFIX; tells one line of JSON for each.

Names begin with PREFIX, so that programs which share a broker keep apart.
"""

import json
import os
import socket
import sys
import threading
import time
import traceback

import pika
from pika import BasicProperties
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker, NackError, UnroutableError

HOST, PORT, PREFIX = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PATIENCE = 10


def connect(user="guest", password="guest", **more):
    return pika.BlockingConnection(pika.ConnectionParameters(
        HOST, PORT, credentials=pika.PlainCredentials(user, password), **more))


def name(text):
    return PREFIX + "-" + text


def eventually(what, want):
    """what() is want, before long: for what the broker does in its own time."""
    deadline = time.monotonic() + PATIENCE
    while (got := what()) != want:
        assert time.monotonic() < deadline, "%r, want %r" % (got, want)
        time.sleep(0.02)


def take(channel, queue, count, ack=True):
    """takes so many messages, as a consumer"""
    got = []
    for method, properties, body in channel.consume(queue, inactivity_timeout=PATIENCE):
        assert method is not None, "only %d of %d messages: %r" % (len(got), count, got)
        got.append((method, properties, body))
        if ack:
            channel.basic_ack(method.delivery_tag)
        if len(got) == count:
            break
    channel.cancel()
    return got


def ready(channel, queue):
    return channel.queue_declare(queue, passive=True).method.message_count


def work_queue():
    """two workers with a prefetch of one share the work; all of it is done once"""
    producer = connect()
    ch = producer.channel()
    ch.queue_declare(name("tasks"), durable=True)
    done, lock = [], threading.Lock()

    def work(pause):
        worker = connect()
        wch = worker.channel()
        wch.basic_qos(prefetch_count=1)

        def on_task(c, method, properties, body):
            time.sleep(pause)  # the work
            with lock:
                done.append((threading.current_thread().name, body))
            c.basic_ack(method.delivery_tag)

        wch.basic_consume(name("tasks"), on_task)
        deadline = time.monotonic() + PATIENCE
        while len(done) < 20 and time.monotonic() < deadline:
            worker.process_data_events(0.05)
        worker.close()

    workers = [threading.Thread(target=work, args=(p,), name=n) for n, p in (("quick", 0.001), ("slow", 0.05))]
    for w in workers:
        w.start()
    eventually(lambda: ch.queue_declare(name("tasks"), passive=True).method.consumer_count, 2)
    for i in range(20):
        ch.basic_publish("", name("tasks"), b"%d" % i, BasicProperties(delivery_mode=2))
    for w in workers:
        w.join()
    assert sorted(int(b) for _, b in done) == list(range(20)), done
    each = [sum(1 for n, _ in done if n == who) for who in ("quick", "slow")]
    assert each[0] > each[1] > 0, each
    producer.close()


def worker_dies():
    """what a dead worker had is done by another, marked as redelivered"""
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("dying"), durable=True)
    for i in range(3):
        ch.basic_publish("", name("dying"), b"%d" % i)
    # All three, before any is taken: RabbitMQ answers how many there are ahead of
    # publishes that wait, so one could be the first.
    eventually(lambda: ready(ch, name("dying")), 3)
    child = os.fork()
    if child == 0:
        other = connect()
        och = other.channel()
        och.basic_qos(prefetch_count=2)
        och.basic_consume(name("dying"), lambda *_: None)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            other.process_data_events(0.1)
        os._exit(0)
    eventually(lambda: ready(ch, name("dying")), 1)
    os.kill(child, 9)
    os.waitpid(child, 0)
    eventually(lambda: ready(ch, name("dying")), 3)
    got = take(ch, name("dying"), 3)
    assert [b for _, _, b in got] == [b"0", b"1", b"2"], got
    assert [m.redelivered for m, _, _ in got] == [True, True, False], got
    conn.close()


def publisher_confirms():
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("confirmed"), durable=True)
    ch.confirm_delivery()
    for i in range(20):
        ch.basic_publish("", name("confirmed"), b"x", BasicProperties(delivery_mode=2), mandatory=True)
    eventually(lambda: ready(ch, name("confirmed")), 20)
    conn.close()


def refused_publishes():
    """a full queue that rejects raises NackError"""
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("full"), exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    ch.confirm_delivery()
    ch.basic_publish("", name("full"), b"1")
    try:
        ch.basic_publish("", name("full"), b"2")
        raise AssertionError("it was taken")
    except NackError:
        pass
    conn.close()


def mandatory_returns():
    conn = connect()
    ch = conn.channel()
    ch.confirm_delivery()
    try:
        ch.basic_publish("", name("nowhere"), b"back", BasicProperties(message_id="7"), mandatory=True)
        raise AssertionError("it was taken")
    except UnroutableError as err:
        back = err.messages[0]
        assert (back.method.reply_code, back.method.reply_text) == (312, "NO_ROUTE"), back.method
        assert (back.properties.message_id, back.body) == ("7", b"back"), back
    conn.close()


def topic_routing():
    conn = connect()
    ch = conn.channel()
    ch.exchange_declare(name("logs"), "topic", durable=True)
    queues = {}
    for key in ("*.error", "kern.#", "#"):
        queues[key] = ch.queue_declare("", exclusive=True).method.queue
        ch.queue_bind(queues[key], name("logs"), key)
    for key in ("kern.error", "kern.info.disk", "cron.error", "cron"):
        ch.basic_publish(name("logs"), key, key.encode())
    for pattern, want in (("*.error", "kern.error cron.error"), ("kern.#", "kern.error kern.info.disk"),
                          ("#", "kern.error kern.info.disk cron.error cron")):
        got = [b.decode() for _, _, b in take(ch, queues[pattern], len(want.split()))]
        assert got == want.split(), (pattern, got)
        assert ready(ch, queues[pattern]) == 0
    ch.exchange_delete(name("logs"))
    conn.close()


def headers_exchange():
    conn = connect()
    ch = conn.channel()
    ch.exchange_declare(name("headers"), "headers")
    both = ch.queue_declare("", exclusive=True).method.queue
    either = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(both, name("headers"), arguments={"x-match": "all", "format": "pdf", "pages": 2})
    ch.queue_bind(either, name("headers"), arguments={"x-match": "any", "format": "pdf", "pages": 2})
    for n, h in enumerate(({"format": "pdf", "pages": 2}, {"format": "pdf", "pages": 3}, {"format": "zip"})):
        ch.basic_publish(name("headers"), "", b"%d" % n, BasicProperties(headers=h))
    assert [b for _, _, b in take(ch, both, 1)] == [b"0"]
    assert [b for _, _, b in take(ch, either, 2)] == [b"0", b"1"]
    assert ready(ch, both) == ready(ch, either) == 0
    conn.close()


def serve(queue, count):
    """answers so many requests by doubling a number"""
    conn = connect()
    ch = conn.channel()
    for _ in range(count):
        (method, properties, body), = take(ch, queue, 1)
        ch.basic_publish("", properties.reply_to, b"%d" % (2 * int(body)),
                         BasicProperties(correlation_id=properties.correlation_id))
    conn.close()


def rpc(reply_queue):
    conn = connect()
    ch = conn.channel()
    service = name("service-" + reply_queue)
    ch.queue_declare(service)
    server = threading.Thread(target=serve, args=(service, 3))
    server.start()
    answers = {}

    def on_answer(c, method, properties, body):
        answers[properties.correlation_id] = int(body)

    if reply_queue == "queue":
        reply_to = ch.queue_declare("", exclusive=True).method.queue
    else:
        reply_to = "amq.rabbitmq.reply-to"
    ch.basic_consume(reply_to, on_answer, auto_ack=True)
    for n in (1, 2, 3):
        ch.basic_publish("", service, b"%d" % n, BasicProperties(reply_to=reply_to, correlation_id=str(n)))
    deadline = time.monotonic() + PATIENCE
    while len(answers) < 3 and time.monotonic() < deadline:
        conn.process_data_events(0.05)
    assert answers == {"1": 2, "2": 4, "3": 6}, answers
    server.join()
    ch.queue_delete(service)
    conn.close()


def rpc_by_queue():
    rpc("queue")


def rpc_by_direct_reply():
    rpc("direct")


def time_to_live_and_dead_letters():
    conn = connect()
    ch = conn.channel()
    ch.exchange_declare(name("dlx"), "fanout")
    dead = ch.queue_declare("", exclusive=True).method.queue
    ch.queue_bind(dead, name("dlx"))
    ch.queue_declare(name("short"), exclusive=True, arguments={"x-message-ttl": 100, "x-dead-letter-exchange": name("dlx")})
    ch.basic_publish("", name("short"), b"x", BasicProperties(headers={"mine": 1}))
    (method, properties, body), = take(ch, dead, 1)
    death, = properties.headers["x-death"]
    assert (death["reason"], death["queue"], death["count"]) == ("expired", name("short"), 1), death
    assert (method.routing_key, properties.headers["mine"], body) == (name("short"), 1, b"x")
    ch.exchange_delete(name("dlx"))
    conn.close()


def priorities():
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("priorities"), exclusive=True, arguments={"x-max-priority": 9})
    ch.confirm_delivery()
    for p in (1, 9, 5, 9):
        ch.basic_publish("", name("priorities"), b"%d" % p, BasicProperties(priority=p))
    assert [b for _, _, b in take(ch, name("priorities"), 4)] == [b"9", b"9", b"5", b"1"]
    conn.close()


def exclusive_queues():
    conn, other = connect(), connect()
    queue = conn.channel().queue_declare("", exclusive=True).method.queue
    try:
        other.channel().queue_declare(queue, passive=True)
        raise AssertionError("it is not exclusive")
    except ChannelClosedByBroker as err:
        assert err.reply_code == 405, err
    conn.close()
    try:
        other.channel().queue_declare(queue, passive=True)
        raise AssertionError("it is still there")
    except ChannelClosedByBroker as err:
        assert err.reply_code == 404, err
    other.close()


def consumer_cancelled():
    """a consumer is told that its queue was deleted"""
    conn = connect()
    ch = conn.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    told = []
    ch.add_on_cancel_callback(told.append)
    tag = ch.basic_consume(queue, lambda *_: None)
    conn.channel().queue_delete(queue)
    deadline = time.monotonic() + PATIENCE
    while not told and time.monotonic() < deadline:
        conn.process_data_events(0.05)
    assert [m.method.consumer_tag for m in told] == [tag], told
    conn.close()


def acks_late():
    """Celery's acks_late and autoretry: requeued until it works, acked then"""
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("celery"), durable=True)
    ch.exchange_declare(name("celery"), "direct", durable=True)
    ch.queue_bind(name("celery"), name("celery"), name("celery"))
    task = {"task": "add", "args": [2, 3], "id": "1"}
    ch.basic_publish(name("celery"), name("celery"), json.dumps(task),
                     BasicProperties(content_type="application/json", content_encoding="utf-8", delivery_mode=2,
                                     correlation_id="1", reply_to=name("celery"), priority=0,
                                     headers={"lang": "py", "task": "add", "id": "1", "retries": 0, "eta": None,
                                              "timelimit": [None, None], "argsrepr": "(2, 3)"}))
    seen = []
    for method, properties, body in ch.consume(name("celery"), inactivity_timeout=PATIENCE):
        assert method is not None, seen
        seen.append(method.redelivered)
        assert json.loads(body) == task and properties.headers["timelimit"] == [None, None], properties
        if len(seen) < 3:
            ch.basic_reject(method.delivery_tag, requeue=True)
            continue
        ch.basic_ack(method.delivery_tag)
        break
    ch.cancel()
    assert seen == [False, True, True], seen
    assert ready(ch, name("celery")) == 0
    conn.close()


def eta():
    """delayed tasks: a queue per delay, whose messages expire into the work queue"""
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("due"), durable=True)
    ch.queue_declare(name("delay-300"), durable=True, arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name("due"), "x-message-ttl": 300, "x-expires": 5000})
    began = time.monotonic()
    for i in range(5):
        ch.basic_publish("", name("delay-300"), b"%d" % i, BasicProperties(delivery_mode=2))
    got = take(ch, name("due"), 5)
    assert [b for _, _, b in got] == [b"%d" % i for i in range(5)], got
    assert time.monotonic() - began >= 0.3, "too early"
    conn.close()


def retry_with_backoff():
    """failed work waits in a second queue and comes back; x-death counts"""
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("work"), durable=True, arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name("wait")})
    ch.queue_declare(name("wait"), durable=True, arguments={
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": name("work"), "x-message-ttl": 50})
    ch.basic_publish("", name("work"), b"x", BasicProperties(delivery_mode=2))
    for attempt in range(4):
        (method, properties, _), = take(ch, name("work"), 1, ack=False)[-1:]
        deaths = {d["queue"]: d["count"] for d in (properties.headers or {}).get("x-death", [])}
        assert deaths.get(name("work"), 0) == attempt, (attempt, deaths)
        if attempt == 3:
            ch.basic_ack(method.delivery_tag)
        else:
            ch.basic_nack(method.delivery_tag, requeue=False)
    conn.close()


def transactions():
    conn = connect()
    ch, other = conn.channel(), conn.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    ch.tx_select()
    ch.basic_publish("", queue, b"gone")
    ch.tx_rollback()
    ch.basic_publish("", queue, b"kept")
    assert ready(other, queue) == 0
    ch.tx_commit()
    eventually(lambda: ready(other, queue), 1)
    _, _, body = other.basic_get(queue, auto_ack=True)
    assert body == b"kept", body
    conn.close()


def large_and_empty():
    conn = connect()
    ch = conn.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    bodies = [b"", bytes(range(256)) * 4096, b"end"]
    for b in bodies:
        ch.basic_publish("", queue, b)
    assert [b for _, _, b in take(ch, queue, 3)] == bodies
    conn.close()


def heartbeats():
    """a connection with a heartbeat of a second lives while it is looked after"""
    conn = connect(heartbeat=1)
    ch = conn.channel()
    queue = ch.queue_declare("", exclusive=True).method.queue
    conn.sleep(3.5)  # more than the broker would wait for a silent client
    ch.basic_publish("", queue, b"x")
    assert take(ch, queue, 1)[0][2] == b"x"
    conn.close()


def refused_logins():
    try:
        connect(password="wrong")
        raise AssertionError("it was let in")
    except pika.exceptions.ProbableAuthenticationError as err:
        assert "ACCESS_REFUSED" in str(err), err
    try:
        connect(virtual_host=name("none"))
        raise AssertionError("it was let in")
    except (pika.exceptions.ProbableAccessDeniedError, ConnectionClosedByBroker) as err:
        assert "530" in str(err), err


def reconnecting():
    """a client that lost its connection connects again and finds what it left"""
    conn = connect()
    ch = conn.channel()
    ch.queue_declare(name("again"), durable=True)
    ch.confirm_delivery()
    for i in range(10):
        ch.basic_publish("", name("again"), b"%d" % i, BasicProperties(delivery_mode=2))
    got = []
    while len(set(got)) < 10:
        worker = connect()
        wch = worker.channel()
        wch.basic_qos(prefetch_count=4)
        for method, _, body in wch.consume(name("again"), inactivity_timeout=PATIENCE):
            assert method is not None, got
            got.append(body)
            wch.basic_ack(method.delivery_tag)
            if len(got) % 3 == 0 or len(set(got)) == 10:
                break
        worker.process_data_events(0)
        worker._impl._transport._sock.shutdown(socket.SHUT_RDWR)  # the network breaks, without a goodbye
        eventually(lambda: ch.queue_declare(name("again"), passive=True).method.consumer_count, 0)
    assert set(got) == {b"%d" % i for i in range(10)}, got
    conn.close()


SCENARIOS = [work_queue, worker_dies, publisher_confirms, refused_publishes, mandatory_returns, topic_routing,
             headers_exchange, rpc_by_queue, rpc_by_direct_reply, time_to_live_and_dead_letters, priorities,
             exclusive_queues, consumer_cancelled, acks_late, eta, retry_with_backoff, transactions,
             large_and_empty, heartbeats, refused_logins, reconnecting]

for scenario in SCENARIOS:
    error = ""
    try:
        scenario()
    except Exception:
        error = traceback.format_exc()
    print(json.dumps({"name": scenario.__name__, "error": error}), flush=True)
