"""A process of the bakery, which announces loaves, or of the shop, which counts them: killed and started again by tests.

Run as ``python process.py bakery|shop DATABASE_URL TRANSPORT_URL BLOBS_FOLDER LOAVES OVENS``, which drains on SIGTERM, or as
``python process.py prepare bakery DATABASE_URL shop DATABASE_URL``, which makes the tables.

A bakery has baked so many loaves, and goes on when standard input names a larger number. It says "refused" when the database is
away. ``BAKERY_CLOCK`` names a file with the seconds by which the process's clock is ahead (negative: behind).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

from trenza.chassis.blobs.local import LocalBlobs
from trenza.chassis.blobs.signatures import UrlSigner
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.contract import Event
from trenza.chassis.data import Database, DatabaseUnavailable
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.failpoints import killing_at, parse_failpoint
from trenza.chassis.messages import Messages, open_transport
from trenza.chassis.messages.definitions import Delivery, reacts
from trenza.chassis.settings import PlatformSettings

BATCH = 40
TABLES = sa.MetaData()
baked = sa.Table("baked", TABLES, sa.Column("loaf", sa.Integer, primary_key=True, autoincrement=False))
shelved = sa.Table(
    "shelved",
    TABLES,
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("loaf", sa.Integer, nullable=False),
    sa.Column("oven", sa.Integer, nullable=False),
)


class Baked(Event, type="bakery.Baked", key="oven"):
    """A loaf has come out of an oven."""

    loaf: int
    oven: int


class Shop:
    """Puts each loaf on the shelf."""

    @staticmethod
    @reacts(Baked, attempts=1000)
    async def shelve(_: Any, event: Baked, delivery: Delivery) -> None:
        """Leave a trace in the transaction that ends the delivery."""
        async with delivery.finish() as work:
            await work.execute(sa.insert(shelved).values(loaf=event.loaf, oven=event.oven))


class MovedClock:
    """The machine's clock, moved by as many seconds as a file says at the moment."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def now(self) -> datetime:
        """The time that this process believes it is, in UTC."""
        return datetime.now(UTC) + timedelta(seconds=float(self._file.read_text()))


async def bake(database: Database, loaves: int, ovens: int) -> None:
    """Announce each loaf in the transaction that notes it, from where the last process stopped."""
    while True:
        try:
            async with database.work() as work:
                last = (await work.execute(sa.select(sa.func.max(baked.c.loaf)))).scalar()
                begin = 0 if last is None else last + 1
                if begin >= loaves:
                    return
                for loaf in range(begin, min(begin + BATCH, loaves)):
                    await work.execute(sa.insert(baked).values(loaf=loaf))
                    await work.publish(Baked(loaf=loaf, oven=loaf % ovens))
        except DatabaseUnavailable:
            print("refused", flush=True)  # noqa: T201 - the test waits for it
            await asyncio.sleep(0.1)


async def bake_on_order(database: Database, ovens: int) -> None:
    """Bake as many loaves as each line of standard input says that there shall be."""
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    while order := await orders.readline():
        await bake(database, int(order), ovens)


async def prepare(service: str, database_url: str) -> None:
    """Make the tables of one of the two services."""
    database = Database(database_url, schema=service)
    await upgrade(database, None)
    async with database.work() as work:
        await work.connection.run_sync(TABLES.create_all)
    await database.close()


async def main(service: str, database_url: str, transport_url: str, *more: str) -> None:
    """Run one of the two services until SIGTERM."""
    folder, loaves, ovens = Path(more[0]), int(more[1]), int(more[2])
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # nobody empties the other pipe all the time
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    blobs = LocalBlobs(folder / "blobs", spool=folder / "spool", url_signer=UrlSigner(b"k" * 32, public_url="http://127.0.0.1"))
    moved_by = os.environ.get("BAKERY_CLOCK")
    clock: Clock = MovedClock(Path(moved_by)) if moved_by else SystemClock()
    transport = open_transport(transport_url, blobs=blobs, clock=clock)
    database = Database(database_url, schema=service)
    handlers = (Shop.shelve,) if service == "shop" else ()
    messages = Messages(database, service, handlers, (), clock, PlatformSettings())
    database.messages = messages
    messages.use(transport)
    await messages.start()
    print("started", flush=True)  # noqa: T201 - the test waits for it
    with ExitStack() as stack:
        if point := os.environ.get("TRENZA_FAILPOINT"):
            stack.enter_context(killing_at(*parse_failpoint(point)))
        if service == "bakery":
            await bake(database, loaves, ovens)
        baking = asyncio.create_task(bake_on_order(database, ovens))
        await stop.wait()
        baking.cancel()
    await messages.drain(5)
    await transport.close()
    await database.close()
    await blobs.close()


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        for which in (2, 4):
            asyncio.run(prepare(*sys.argv[which : which + 2]))
    else:
        asyncio.run(main(*sys.argv[1:]))
