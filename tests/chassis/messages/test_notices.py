"""Several processes on one database hear of what is left to them, without asking the database again and again.

Each process is a `Database` of its own here: what they have in common is the file or the server.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import sqlalchemy as sa

from trenza.chassis.contract import Event, Task
from trenza.chassis.data import Database
from trenza.chassis.messages.definitions import Delivery, handles, reacts
from trenza.chassis.messages.loops import UNHEARD_SECONDS

pytestmark = pytest.mark.usefixtures("effects")

SOON_SECONDS = UNHEARD_SECONDS / 2
"""Sooner than whoever hears nothing looks for himself."""


class Dye(Task, type="test.Dye"):
    colour: str = "blue"


class Dyed(Event, type="test.Dyed"):
    colour: str = "blue"


@pytest.fixture
async def elsewhere(database: Database) -> Any:
    """Another process's way to the same database."""
    other = Database(database.url, schema=database.schema)
    yield other
    await other.close()


@pytest.fixture
def service_of(elsewhere: Database, service_of: Any) -> Any:  # noqa: ARG001 - it is to be closed after what stands on it
    """As elsewhere in these tests."""
    return service_of


def told(queue: asyncio.Queue[str]) -> tuple[Any, Any]:
    """Handlers that say what they were given."""

    @handles(Dye)
    async def dye(_: Any, order: Dye, _delivery: Delivery) -> None:
        queue.put_nowait(order.colour)

    @reacts(Dyed)
    async def hang(_: Any, event: Dyed, _delivery: Delivery) -> None:
        queue.put_nowait(event.colour)

    return dye, hang


async def test_what_a_process_without_workers_commits_begins_soon_in_another(service_of: Any, elsewhere: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    service_of(*told(heard), on=elsewhere)  # never started, as on the command line
    await service_of(*told(heard)).start()
    await asyncio.sleep(0.5)  # its start is over, and it sleeps
    for number in range(3):
        began = time.monotonic()
        async with elsewhere.work() as work:
            await work.enqueue(Dye(colour=f"task {number}"))
            await work.publish(Dyed(colour=f"event {number}"))
        async with asyncio.timeout(20):
            assert {await heard.get(), await heard.get()} == {f"task {number}", f"event {number}"}
        assert time.monotonic() - began < SOON_SECONDS


async def test_a_crowded_process_calls_for_help(service_of: Any, elsewhere: Database, database: Database) -> None:
    began, may_end = asyncio.Queue[str](), asyncio.Event()

    @handles(Dye)
    async def dye(_: Any, order: Dye, _delivery: Delivery) -> None:
        began.put_nowait(order.colour)
        await may_end.wait()

    await service_of(dye, on=elsewhere, concurrency=2).start()
    await service_of(dye, concurrency=1).start()
    await asyncio.sleep(0.5)
    for colour in ("red", "green", "yellow"):
        async with database.work() as work:
            await work.enqueue(Dye(colour=colour))
    async with asyncio.timeout(SOON_SECONDS + 10):
        assert {await began.get() for _ in range(3)} == {"red", "green", "yellow"}
    may_end.set()


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
async def test_a_listener_that_is_cut_off_looks_for_itself_and_listens_again(service_of: Any, elsewhere: Database) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    service_of(*told(heard), on=elsewhere)
    await service_of(*told(heard)).start()
    await asyncio.sleep(0.5)
    for colour in ("first", "second"):
        async with elsewhere.work() as work:
            cut = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'trenza notices'")
            assert (await work.execute(cut)).scalars().all().count(True) >= 1
            await work.enqueue(Dye(colour=colour))  # told to nobody, perhaps: it is seen all the same
        async with asyncio.timeout(20):
            assert await heard.get() == colour
        await listening(elsewhere)


async def listening(database: Database) -> None:
    """Until somebody listens on this database."""
    question = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'trenza notices' AND datname = current_database()"
    )
    async with asyncio.timeout(20):
        while True:
            async with database.read() as connection:
                if await connection.scalar(question):
                    return
            await asyncio.sleep(0.05)
