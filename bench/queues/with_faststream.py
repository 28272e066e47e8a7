"""FastStream: RabbitMQ (aio-pika) or Kafka (confluent-kafka), asyncio.

``work-once`` and ``send-once`` are what its user writes for an effect that happens once: each message's id goes into a table of
PostgreSQL, in the transaction of the effect, before the message is acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from argparse import Namespace
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import uvloop
from faststream import AckPolicy
from protocol import NOTE, Tally, arguments, say, send_async

PREFETCH = 200
Handler = Callable[[Any], Awaitable[None]]


def _rabbit(options: Namespace, handler: Handler | None) -> Any:
    from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue  # noqa: PLC0415 - only what is measured

    broker = RabbitBroker(options.url, logger=None, default_channel=Channel(prefetch_count=PREFETCH))
    queue = RabbitQueue(options.queue, queue_type=QueueType.QUORUM, durable=True)
    if handler is not None:
        broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR)(handler)

    async def publish(message: dict[str, Any]) -> None:
        await broker.publish(message, queue, persist=True)

    return broker, publish


def _kafka(options: Namespace, handler: Handler | None) -> Any:
    from faststream.confluent import KafkaBroker  # noqa: PLC0415

    broker = KafkaBroker(options.url, logger=None, acks="all", enable_idempotence=True)
    batch = "batches" in options.action
    if handler is not None:
        take = {"batch": True, "max_records": PREFETCH} if batch else {}
        broker.subscriber(
            options.queue, group_id=options.queue, auto_offset_reset="earliest", ack_policy=AckPolicy.NACK_ON_ERROR, **take
        )(handler)

    async def publish(message: dict[str, Any]) -> None:
        await broker.publish(message, options.queue, key=str(message["number"]).encode())

    return broker, publish


def _handlers(tally: Tally, pool: Any) -> dict[str, Handler]:
    async def note(message: dict[str, Any]) -> None:
        tally(message["number"])

    async def note_once(message: dict[str, Any]) -> None:
        async with pool.acquire() as connection, connection.transaction():
            insert = "INSERT INTO seen (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id"
            if await connection.fetchval(insert, str(message["number"])) is not None:
                tally(message["number"])

    async def note_batch(messages: list[dict[str, Any]]) -> None:
        for message in messages:
            tally(message["number"])

    return {"": note, "once": note_once, "batches": note_batch}


async def _main(options: Namespace) -> None:
    logging.disable(logging.INFO)
    tally = Tally(options.count)
    action, _, kind = options.action.partition("-")
    async with AsyncExitStack() as stack:
        pool = None
        if options.database and action in {"work", "prepare"}:
            pool = await stack.enter_async_context(asyncpg.create_pool(options.database, min_size=options.concurrency))
        if action == "prepare":
            await pool.execute("CREATE TABLE seen (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
            return
        made = _rabbit if options.url.startswith("amqp") else _kafka
        broker, publish = made(options, _handlers(tally, pool)[kind] if action == "work" else None)

        async def send(numbers: Sequence[int]) -> None:
            for number in numbers:
                await publish({"number": number, "note": NOTE})

        await stack.enter_async_context(broker)
        await broker.start()
        if action == "send":
            await send_async(options, send)
        else:
            await asyncio.sleep(1)
            say("ready")
            await tally.wait()
            say({"begun": tally.begun})


uvloop.run(_main(arguments()))
