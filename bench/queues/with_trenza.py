"""Trenza: PostgreSQL or SQLite, asyncio. Tasks of one service; events from one service to another."""

from __future__ import annotations

import asyncio
import logging
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog
import uvloop
from protocol import NOTE, Tally, arguments, say, send_async

from trenza.chassis.clock import SystemClock
from trenza.chassis.contract import Event, Task
from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.messages import LocalTransport, Messages
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.settings import PlatformSettings

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


class Note(Task, type="bench.Note"):
    """A small task without an ordering key."""

    number: int
    note: str


class Page(Task, type="bench.Page", key="book"):
    """The same with an ordering key: a hundred books."""

    number: int
    note: str
    book: str


class Noted(Event, type="bench.Noted"):
    """A small event."""

    number: int
    note: str


@handles(Note)
async def note(tally: Tally, order: Note, _delivery: Delivery) -> None:
    """Begin, and end."""
    tally(order.number)


@handles(Note, consumer="note")
async def note_finishing(tally: Tally, order: Note, delivery: Delivery) -> None:
    """End in a transaction of its own, as handlers do that write something."""
    tally(order.number)
    async with delivery.finish():
        pass


@handles(Page)
async def page(tally: Tally, order: Page, _delivery: Delivery) -> None:
    """Begin, and end."""
    tally(order.number)


@reacts(Noted)
async def noted(tally: Tally, event: Noted, _delivery: Delivery) -> None:
    """Begin, and end."""
    tally(event.number)


@asynccontextmanager
async def _services(options: Namespace) -> AsyncIterator[tuple[Messages, Messages, Database]]:
    """The service that sends and handles tasks, the one that reacts to its events, and the first one's database."""
    settings = PlatformSettings(worker_concurrency=options.concurrency)
    databases = [Database(options.url.replace("NAME", name), schema=name) for name in ("orders", "bills")]
    own = note_finishing if "finish" in options.action else note
    made = []
    for database, name, handlers in zip(databases, ("orders", "bills"), ((own, page), (noted,)), strict=True):
        messages = Messages(database, name, handlers, (), SystemClock(), settings)
        database.messages = messages
        made.append(messages)
    LocalTransport().connect(*made)
    yield made[0], made[1], databases[0]
    for messages in made:
        await messages.drain(10)
    for database in databases:
        await database.close()


async def _work(options: Namespace, tally: Tally, services: Sequence[Messages]) -> None:
    """Handle until all have begun; then drain, which ends when the last of them is marked as handled."""
    for messages in services:
        await messages.start(tally)
    await asyncio.sleep(1)
    say("ready")
    sending = [asyncio.create_task(options.sender())] if "both" in options.action else []
    await tally.wait()
    await asyncio.gather(*sending)
    begun = time.monotonic()
    for messages in services:
        await messages.drain(10)
    say({"begun": tally.begun, "drained": time.monotonic() - begun})


async def _main(options: Namespace) -> None:
    async with _services(options) as (orders, bills, database):
        if options.action == "prepare":
            for service in (orders, bills):
                await upgrade(service._database, None)  # noqa: SLF001 - a bench needs no second list of them
            return
        message: Any = Note
        if "events" in options.action:
            message = Noted
        elif "keyed" in options.action:
            message = Page

        async def send(numbers: Sequence[int]) -> None:
            async with database.work() as work:
                for number in numbers:
                    if message is Noted:
                        await work.publish(Noted(number=number, note=NOTE))
                    elif message is Page:
                        await work.enqueue(Page(number=number, note=NOTE, book=str(number % 100)))
                    else:
                        await work.enqueue(Note(number=number, note=NOTE))

        if options.action.startswith("send"):
            await send_async(options, send)
        else:
            options.sender = lambda: send_async(options, send)
            await _work(options, Tally(options.count), (orders, bills))


uvloop.run(_main(arguments()))
