from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from trenza.chassis.data import Database

_COUNT = sa.text("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :upto) SELECT count(*) FROM n")
_SLOW = 3_000_000
"""Takes some tenths of a second on any machine."""
_INSERT = sa.text("INSERT INTO readings VALUES (:value)")


@pytest.fixture
async def database(sqlite_url: str) -> AsyncIterator[Database]:
    database = Database(sqlite_url, schema="test")
    async with database.work() as work:
        await work.execute(sa.text("CREATE TABLE readings (value integer)"))
    yield database
    await database.close()


async def _count(database: Database, upto: int) -> int:
    async with database.read() as connection:
        return int(await connection.scalar(_COUNT, {"upto": upto}) or 0)


async def _turns_during(counting: asyncio.Task[int]) -> int:
    """How many turns of its own the event loop could take meanwhile."""
    turns = 0
    while not counting.done():
        await asyncio.sleep(0.001)
        turns += 1
    return turns


async def test_a_statement_that_turns_slow_leaves_the_event_loop_alone(database: Database) -> None:
    for _ in range(5):
        assert await _count(database, 10) == 10  # trusted from here on
    assert await _count(database, _SLOW) == _SLOW  # may hold the loop up, once
    counting = asyncio.create_task(_count(database, _SLOW))
    assert await _turns_during(counting) > 20
    assert await counting == _SLOW


async def test_a_new_statement_leaves_the_event_loop_alone(database: Database) -> None:
    statement = sa.text(f"{_COUNT.text} /* seen for the first time */")

    async def count() -> int:
        async with database.read() as connection:
            return int(await connection.scalar(statement, {"upto": _SLOW}) or 0)

    counting = asyncio.create_task(count())
    assert await _turns_during(counting) > 20


@pytest.mark.parametrize("trusted", [False, True])
async def test_a_write_waits_for_the_lock_of_another_process(database: Database, *, trusted: bool) -> None:
    for value in range(5 if trusted else 0):
        async with database.work() as work:
            await work.execute(_INSERT, {"value": value})
    other = sqlite3.connect(Path(database.url.database or ""), isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")

    async def write() -> None:
        async with database.work() as work:
            await work.execute(_INSERT, {"value": 100})

    writing = asyncio.create_task(write())
    release = threading.Timer(0.3, lambda: other.execute("COMMIT"))
    release.start()
    turns = 0
    while not writing.done():
        await asyncio.sleep(0.001)
        turns += 1
    await writing
    release.join()
    other.close()
    assert turns > 20, "the event loop stood still while the lock was taken"
    async with database.read() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM readings WHERE value = 100")) == 1


async def test_a_unit_of_work_that_does_nothing_takes_no_lock(database: Database) -> None:
    other = sqlite3.connect(Path(database.url.database or ""), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(5), database.work():
        pass
    other.execute("ROLLBACK")
    other.close()


async def test_a_failed_statement_leaves_the_unit_of_work_to_its_owner(database: Database) -> None:
    with pytest.raises(sa.exc.OperationalError):
        async with database.work() as work:
            await work.execute(_INSERT, {"value": 1})
            await work.execute(sa.text("INSERT INTO nowhere VALUES (1)"))
    async with database.read() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM readings")) == 0
