"""Services made of a few handlers, and a table in which they leave traces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
import sqlalchemy as sa
import structlog

from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.data import Database, UnitOfWork
from trenza.chassis.messages import Messages
from trenza.chassis.messages.definitions import Handler, Schedule
from trenza.chassis.settings import PlatformSettings


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> Iterator[None]:
    """Failures are what these tests are about: log them without the colourful tracebacks that take a second each."""
    drawn = structlog.get_config()
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    yield
    structlog.configure(**drawn)


class Effects:
    """What handlers wrote in the transactions that ended their deliveries."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._table = sa.Table(
            "effects",
            sa.MetaData(),
            sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("what", sa.Text),
        )

    async def create(self) -> None:
        async with self._database.work() as work:
            await work.connection.run_sync(self._table.metadata.create_all)

    async def add(self, work: UnitOfWork, what: str) -> None:
        await work.execute(sa.insert(self._table).values(what=what))

    async def all(self) -> list[str]:
        async with self._database.read() as connection:
            return list((await connection.execute(sa.select(self._table.c.what).order_by(self._table.c.id))).scalars())


@pytest.fixture
async def effects(database: Database) -> Effects:
    """A table of traces in the test's database."""
    effects = Effects(database)
    await effects.create()
    return effects


ServiceOf = Callable[..., Messages]


@pytest.fixture
async def service_of(database: Database) -> AsyncIterator[ServiceOf]:
    """Makes the messages of a service on the test's database; every one that was started is drained at the end."""
    made: list[Messages] = []

    def service_of(
        *handlers: Handler,
        schedules: Sequence[Schedule] = (),
        clock: Clock | None = None,
        concurrency: int = 8,
        on: Database | None = None,
        name: str = "test",
    ) -> Messages:
        home = on or database
        settings = PlatformSettings(worker_concurrency=concurrency)
        messages = Messages(home, name, handlers, schedules, clock or SystemClock(), settings)
        home.messages = messages
        made.append(messages)
        return messages

    yield service_of
    for messages in made:
        await messages.drain(0)


@pytest.fixture
def enqueue(database: Database) -> Callable[..., Any]:
    """Enqueues one task in a unit of work of its own, with the options of `UnitOfWork.enqueue`."""

    async def enqueue(task: Any, **options: Any) -> Any:
        async with database.work() as work:
            return await work.enqueue(task, **options)

    return enqueue
