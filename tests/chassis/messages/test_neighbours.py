"""Events between processes without a broker: they go into the database of whoever has noted that it takes them.

Each process is a `Database` of its own here: what they have in common is the file or the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL, make_url

from trenza.chassis.clock import SystemClock
from trenza.chassis.contract import Event
from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.messages import Messages, NeighbourTransport
from trenza.chassis.messages.definitions import Delivery, Handler, reacts
from trenza.chassis.messages.transports.base import TransportUnavailable
from trenza.chassis.settings import PlatformSettings

SECONDS = 30.0


class Baked(Event, type="bakery.Baked", key="oven"):
    oven: str
    number: int


class Burnt(Event, type="bakery.Burnt"):
    number: int


@dataclass
class Town:
    """Services, each in a process and a database of its own."""

    url_of: Callable[[str], URL]
    opened: list[Database] = field(default_factory=list)
    started: list[tuple[Messages, NeighbourTransport]] = field(default_factory=list)

    def database(self, service: str) -> Database:
        """A way to the database of a service."""
        database = Database(self.url_of(service), schema=service)
        self.opened.append(database)
        return database

    async def process(self, service: str, *handlers: Handler, beside: tuple[str, ...]) -> Messages:
        """Start the one service of a process, ``beside`` those of others."""
        database = self.database(service)
        await upgrade(database, None)
        messages = Messages(database, service, handlers, (), SystemClock(), PlatformSettings())
        database.messages = messages
        transport = NeighbourTransport({name: Database(self.url_of(name), schema=name) for name in beside}, SystemClock())
        messages.use(transport)
        self.started.append((messages, transport))
        await messages.start()
        return messages

    async def publish(self, service: str, *events: Event) -> None:
        """Publish in one unit of work of the service."""
        database = next(database for database in self.opened if database.schema == service)
        async with database.work() as work:
            for event in events:
                await work.publish(event)

    async def stop(self) -> None:
        """Stop all processes."""
        for messages, transport in self.started:
            await messages.drain(0)
            await transport.close()
        self.started.clear()
        for database in self.opened:
            await database.close()
        self.opened.clear()


@pytest.fixture(params=["sqlite", "postgres"])
async def town(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Town]:
    """A file for each service, or one PostgreSQL for all; the test runs once on each kind."""
    if request.param == "sqlite":
        town = Town(lambda service: make_url(f"sqlite+aiosqlite:///{tmp_path / service}.sqlite3"))
    else:
        shared = make_url(request.getfixturevalue("postgres_url"))
        town = Town(lambda _service: shared)
    yield town
    await town.stop()


def counted(queue: asyncio.Queue[Any]) -> Handler:
    """A handler that says what it was given."""

    @reacts(Baked)
    async def count(_: Any, event: Baked, _delivery: Delivery) -> None:
        queue.put_nowait((event.oven, event.number))

    return count


async def taken(queue: asyncio.Queue[Any], count: int) -> list[Any]:
    async with asyncio.timeout(SECONDS):
        return [await queue.get() for _ in range(count)]


async def test_an_event_reaches_the_services_of_other_processes_in_order(town: Town) -> None:
    sold: asyncio.Queue[Any] = asyncio.Queue()
    eaten: asyncio.Queue[Any] = asyncio.Queue()
    everybody = ("bakery", "shop", "home")
    await town.process("shop", counted(sold), beside=everybody[:1] + everybody[2:])
    await town.process("home", counted(eaten), beside=everybody[:2])
    await town.process("bakery", beside=everybody[1:])
    events = [Baked(oven=oven, number=number) for number in range(50) for oven in ("left", "right")]
    await town.publish("bakery", *events, Burnt(number=1))
    for queue in (sold, eaten):
        got = await taken(queue, 100)
        assert [number for oven, number in got if oven == "left"] == list(range(50))
        assert [number for oven, number in got if oven == "right"] == list(range(50))
        assert queue.empty()


async def test_a_service_gets_its_own_events_within_its_process(town: Town) -> None:
    sold: asyncio.Queue[Any] = asyncio.Queue()
    await town.process("shop", counted(sold), beside=("bakery",))
    await town.publish("shop", Baked(oven="own", number=1))
    assert await taken(sold, 1) == [("own", 1)]


async def test_what_is_published_while_a_service_is_away_waits_in_its_inbox(town: Town) -> None:
    first: asyncio.Queue[Any] = asyncio.Queue()
    await town.process("shop", counted(first), beside=("bakery",))
    await town.stop()
    await town.process("bakery", beside=("shop",))
    await town.publish("bakery", *(Baked(oven="left", number=number) for number in range(5)))
    for messages, _ in town.started:
        assert await messages.flush(SECONDS)
    await town.stop()  # the bakery is gone before the shop is back
    again: asyncio.Queue[Any] = asyncio.Queue()
    await town.process("shop", counted(again), beside=("bakery",))
    assert [number for _, number in await taken(again, 5)] == list(range(5))
    assert first.empty()


async def test_a_service_that_has_never_run_holds_nobody_up_and_is_not_made(town: Town) -> None:
    await town.process("bakery", beside=("ghost", "shop"))
    await town.publish("bakery", Baked(oven="left", number=1))
    ((messages, _),) = town.started
    assert await messages.flush(SECONDS)
    sold: asyncio.Queue[Any] = asyncio.Queue()
    await town.process("shop", counted(sold), beside=("bakery",))  # from its first start on it takes part
    await town.publish("bakery", Baked(oven="left", number=2))
    assert await taken(sold, 1) == [("left", 2)]
    ghost = town.url_of("ghost")
    if ghost.get_backend_name() == "sqlite":
        assert ghost.database is not None
        assert not await asyncio.to_thread(Path(ghost.database).exists)


async def test_a_release_that_takes_less_is_sent_less(town: Town) -> None:
    sold: asyncio.Queue[Any] = asyncio.Queue()
    await town.process("shop", counted(sold), beside=("bakery",))
    await town.stop()
    shop = await town.process("shop", beside=("bakery",))
    await town.process("bakery", beside=("shop",))
    await town.publish("bakery", Baked(oven="left", number=1))
    for messages, _ in town.started:
        assert await messages.flush(SECONDS)
    now = SystemClock().now()
    found = await shop.overview.look(after=now, until=now)
    assert sum(queue.waiting + queue.dead for queue in found.queues) == 0


async def test_a_database_that_is_away_keeps_the_events_in_the_outbox(tmp_path: Path) -> None:
    folder = tmp_path / "db"
    folder.mkdir()
    town = Town(lambda service: make_url(f"sqlite+aiosqlite:///{folder / service}.sqlite3"))
    sold: asyncio.Queue[Any] = asyncio.Queue()
    await town.process("shop", counted(sold), beside=("bakery",))
    await town.stop()
    kept = (folder / "shop.sqlite3").read_bytes()
    (folder / "shop.sqlite3").write_bytes(b"no database at all" * 300)
    await town.process("bakery", beside=("shop",))
    ((messages, transport),) = town.started
    await town.publish("bakery", Baked(oven="left", number=1))
    assert not await messages.flush(1.0)
    with pytest.raises(TransportUnavailable, match="shop"):
        await transport.ping()
    await town.stop()
    (folder / "shop.sqlite3").write_bytes(kept)
    await town.process("shop", counted(sold), beside=("bakery",))
    await town.process("bakery", beside=("shop",))
    assert await taken(sold, 1) == [("left", 1)]
    await town.stop()
