"""Taskiq: RabbitMQ, Kafka, PostgreSQL (taskiq-postgres on asyncpg) or Redis streams, asyncio."""

from __future__ import annotations

import asyncio
from argparse import Namespace
from collections.abc import Sequence

import uvloop
from protocol import NOTE, Tally, arguments, say, send_async
from taskiq import AsyncBroker
from taskiq.api import run_receiver_task

PREFETCH = 200


def _broker(options: Namespace) -> AsyncBroker:
    if options.url.startswith("redis"):
        from taskiq_redis import RedisStreamBroker  # noqa: PLC0415 - only what is measured is loaded

        return RedisStreamBroker(options.url)
    if options.url.startswith("amqp"):
        from taskiq_aio_pika import AioPikaBroker, Queue  # noqa: PLC0415

        return AioPikaBroker(options.url, qos=PREFETCH, task_queues=[Queue(name=options.queue)])
    if options.url.startswith("kafka"):
        from taskiq_aio_kafka import AioKafkaBroker  # noqa: PLC0415

        broker = AioKafkaBroker(options.url.removeprefix("kafka://"), kafka_topic=options.queue)
        broker.configure_producer(acks="all")
        broker.configure_consumer(group_id=options.queue, auto_offset_reset="earliest")
        return broker
    from taskiq_pg.asyncpg import AsyncpgBroker  # noqa: PLC0415

    return AsyncpgBroker(options.url, write_kwargs={"min_size": options.concurrency, "max_size": 20})


async def _main(options: Namespace) -> None:
    broker = _broker(options)
    tally = Tally(options.count)

    @broker.task(task_name="note")
    async def note(number: int, note: str) -> None:  # noqa: ARG001 - as large as everybody's
        tally(number)

    async def send(numbers: Sequence[int]) -> None:
        for number in numbers:
            await note.kiq(number, NOTE)

    broker.is_worker_process = options.action == "work"
    await broker.startup()
    match options.action:
        case "send":
            await send_async(options, send)
        case "work":
            worker = asyncio.create_task(run_receiver_task(broker, max_async_tasks=options.concurrency))
            await asyncio.sleep(1)
            say("ready")
            await tally.wait()
            say({"begun": tally.begun})
            worker.cancel()
            await asyncio.wait([worker], timeout=10)
    await broker.shutdown()


uvloop.run(_main(arguments()))
