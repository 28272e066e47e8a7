"""Dramatiq: RabbitMQ, Redis or PostgreSQL (dramatiq-pg); threads, with coroutines on an event loop beside them."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Sequence

import dramatiq
from dramatiq.middleware import AsyncIO
from protocol import NOTE, Tally, arguments, say, send_sync


def _broker(options: Namespace) -> dramatiq.Broker:
    if options.url.startswith("redis"):
        from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415 - only what is measured is loaded

        return RedisBroker(url=options.url)
    if options.url.startswith("amqp"):
        from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415

        return RabbitmqBroker(url=options.url, confirm_delivery=True)
    from dramatiq_pg import PostgresBroker  # noqa: PLC0415
    from psycopg2.pool import ThreadedConnectionPool  # noqa: PLC0415

    return PostgresBroker(pool=ThreadedConnectionPool(0, 40, options.url), results=False)


def _main(options: Namespace) -> None:
    logging.disable(logging.INFO)
    if options.action == "prepare":
        import psycopg2  # noqa: PLC0415
        from dramatiq_pg.schema import generate_init_sql  # noqa: PLC0415

        with psycopg2.connect(options.url) as connection, connection.cursor() as cursor:
            cursor.execute(generate_init_sql())
        return
    broker = _broker(options)
    broker.add_middleware(AsyncIO())
    dramatiq.set_broker(broker)
    tally = Tally(options.count)

    @dramatiq.actor(actor_name="note", queue_name=options.queue)
    async def note(number: int, note: str) -> None:  # noqa: ARG001 - as large as everybody's
        tally(number)

    def send(numbers: Sequence[int]) -> None:
        for number in numbers:
            note.send(number, NOTE)

    match options.action:
        case "send":
            send_sync(options, send)
        case "work":
            worker = dramatiq.Worker(broker, worker_threads=options.concurrency)
            worker.start()
            tally.complete.wait(1)
            say("ready")
            tally.complete.wait()
            say({"begun": tally.begun})
            worker.stop()


_main(arguments())
