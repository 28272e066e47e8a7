"""FastStream: RabbitMQ (aio-pika) or Kafka (confluent-kafka), asyncio.

The kind ``once`` is what its user writes by hand for what we promise, but for an order: the sender commits each message to a
table of PostgreSQL, from which a loop publishes it; the receiver notes each message's id in the transaction of the effect, before
the message is acknowledged.
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


class Outbox:
    """Messages on their way to the broker, in a table."""

    def __init__(self, pool: Any, publish: Handler) -> None:
        self._pool = pool
        self._publish = publish
        self._filled, self._emptied = asyncio.Event(), asyncio.Event()

    async def add(self, numbers: Sequence[int]) -> None:
        """Commit them, beside whatever else the sender writes."""
        async with self._pool.acquire() as connection, connection.transaction():
            for number in numbers:
                await connection.execute("INSERT INTO outbox (number, note) VALUES ($1, $2)", number, NOTE)
        self._emptied.clear()
        self._filled.set()

    async def relay(self) -> None:
        """Publish and forget them, in batches."""
        while True:
            self._filled.clear()
            async with self._pool.acquire() as connection, connection.transaction():
                rows = await connection.fetch("SELECT number, note FROM outbox ORDER BY number LIMIT 200 FOR UPDATE SKIP LOCKED")
                await asyncio.gather(*(self._publish(dict(row)) for row in rows))
                await connection.execute("DELETE FROM outbox WHERE number = ANY($1)", [row["number"] for row in rows])
            if not rows and not self._filled.is_set():
                self._emptied.set()
                await self._filled.wait()

    async def empty(self) -> None:
        """All have been published."""
        await self._emptied.wait()


async def _main(options: Namespace) -> None:
    logging.disable(logging.INFO)
    tally = Tally(options.count)
    action, _, kind = options.action.partition("-")
    async with AsyncExitStack() as stack:
        pool = None
        if options.database:
            pool = await stack.enter_async_context(asyncpg.create_pool(options.database, min_size=options.concurrency))
        if action == "prepare":
            await pool.execute("CREATE TABLE seen (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())")
            await pool.execute("CREATE TABLE outbox (number bigint PRIMARY KEY, note text NOT NULL)")
            return
        made = _rabbit if options.url.startswith("amqp") else _kafka
        broker, publish = made(options, _handlers(tally, pool)[kind] if action == "work" else None)

        async def send(numbers: Sequence[int]) -> None:
            for number in numbers:
                await publish({"number": number, "note": NOTE})

        await stack.enter_async_context(broker)
        await broker.start()
        if action == "send" and kind == "once":
            outbox = Outbox(pool, publish)
            relay = asyncio.create_task(outbox.relay())
            await send_async(options, outbox.add, outbox.empty)
            relay.cancel()
        elif action == "send":
            await send_async(options, send)
        else:
            await asyncio.sleep(1)
            say("ready")
            await tally.wait()
            say({"begun": tally.begun})


uvloop.run(_main(arguments()))
