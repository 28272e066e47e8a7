"""Trenza: PostgreSQL or SQLite, asyncio. Tasks of one service; events from one service to another, in process or by a broker.

With a broker (``--url`` names it, ``--database`` the database) the sender is the one service and the worker the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
import uvloop
from protocol import NOTE, Tally, arguments, say, send_async

from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.clock import SystemClock
from trenza.chassis.contract import Event, Task
from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.messages import LocalTransport, Messages, open_transport
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


@reacts(Noted, consumer="noted")
async def noted_finishing(tally: Tally, event: Noted, delivery: Delivery) -> None:
    """End in a transaction of its own, as handlers do that write something."""
    tally(event.number)
    async with delivery.finish():
        pass


@reacts(Noted)
async def noted(tally: Tally, event: Noted, _delivery: Delivery) -> None:
    """Begin, and end."""
    tally(event.number)


class Services:
    """The service that sends and handles tasks, and the one that reacts to its events."""

    def __init__(self, options: Namespace) -> None:
        self.brokered = bool(options.database)
        settings = PlatformSettings(worker_concurrency=options.concurrency)
        url = options.database or options.url
        self.databases = [Database(url.replace("NAME", name), schema=name) for name in ("orders", "bills")]
        finish = "finish" in options.action
        handlers = ((note_finishing if finish else note, page), (noted_finishing if finish else noted,))
        self.orders, self.bills = self.all = [
            Messages(database, name, own, (), SystemClock(), settings)
            for database, name, own in zip(self.databases, ("orders", "bills"), handlers, strict=True)
        ]
        for database, messages in zip(self.databases, self.all, strict=True):
            database.messages = messages
        self._transport = None
        if self.brokered:
            self._folder = TemporaryDirectory(prefix="bench-")  # for messages larger than any here
            folder = Path(self._folder.name)
            signer = UrlSigner(b"k" * 32, public_url="http://127.0.0.1")
            blobs = LocalBlobs(folder / "blobs", spool=folder / "spool", url_signer=signer)
            self._transport = open_transport(f"{options.url}?prefix={options.queue}", blobs=blobs, clock=SystemClock())
            for messages in self.all:
                messages.use(self._transport)
        else:
            LocalTransport().connect(*self.all)

    async def close(self) -> None:
        """Let what is under way end."""
        for messages in self.all:
            await messages.drain(10)
        if self._transport is not None:
            await self._transport.close()
        for database in self.databases:
            await database.close()


async def _work(options: Namespace, tally: Tally, services: Services) -> None:
    """Handle until all have begun; then drain, which ends when the last of them is marked as handled."""
    working = [services.bills] if services.brokered and "both" not in options.action else services.all
    for messages in working:
        await messages.subscribe()
    for messages in working:
        await messages.start(tally)
    await asyncio.sleep(1)
    say("ready")
    sending = [asyncio.create_task(options.sender())] if "both" in options.action else []
    await tally.wait()
    await asyncio.gather(*sending)
    begun = time.monotonic()
    for messages in working:
        await messages.drain(10)
    say({"begun": tally.begun, "drained": time.monotonic() - begun})


async def _send(options: Namespace, services: Services) -> None:
    """Store them; with a broker also relay them, until it has confirmed all."""

    async def send(numbers: Sequence[int]) -> None:
        async with services.databases[0].work() as work:
            for number in numbers:
                if "events" in options.action:
                    await work.publish(Noted(number=number, note=NOTE))
                elif "keyed" in options.action:
                    await work.enqueue(Page(number=number, note=NOTE, book=str(number % 100)))
                else:
                    await work.enqueue(Note(number=number, note=NOTE))

    async def confirmed() -> None:
        await services.orders.flush(60)

    if not services.brokered or "both" in options.action:
        await send_async(options, send)
        return
    await services.orders.start()
    await send_async(options, send, confirmed)


async def _main(options: Namespace) -> None:
    services = Services(options)
    if options.action == "prepare":
        for database in services.databases:
            await upgrade(database, None)
    elif options.action.startswith("send"):
        await _send(options, services)
    else:
        options.sender = lambda: _send(options, services)
        await _work(options, Tally(options.count), services)
    await services.close()


uvloop.run(_main(arguments()))
