"""Units of work and reads: commits, roll-backs, the writer lock, cancellation, signs of life."""

from __future__ import annotations

import asyncio
import gc
import re
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from trenza.chassis.contract import Event, Task
from trenza.chassis.data import Database, DatabaseUnavailable, NestedUnitOfWork, forbid_open_work
from trenza.chassis.data.types import UtcDateTime

if TYPE_CHECKING:
    from tests.conftest import PostgresServer

metadata = sa.MetaData()
moments = sa.Table("moments", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("at", UtcDateTime))


class Happened(Event, type="test.Happened"):
    pass


class Chore(Task, type="test.Chore"):
    pass


@pytest.fixture
async def with_moments(database: Database) -> Database:
    async with database.work() as work:
        await work.connection.run_sync(metadata.create_all)
    return database


async def count(database: Database) -> Any:
    async with database.read() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(moments))


async def test_a_unit_of_work_commits_whole_or_not_at_all(with_moments: Database) -> None:
    committed: list[str] = []
    async with with_moments.work() as work:
        await work.execute(sa.insert(moments), {"at": None})
        work.on_commit(lambda: committed.append("first"))
        before = list(committed)
    assert (before, committed) == ([], ["first"])

    async def fail() -> None:
        async with with_moments.work() as work:
            await work.execute(sa.insert(moments), {"at": None})
            work.on_commit(lambda: committed.append("second"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert committed == ["first"]
    assert await count(with_moments) == 1


async def test_moments_come_back_aware_and_in_utc(with_moments: Database) -> None:
    madrid = datetime(2026, 7, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    async with with_moments.work() as work:
        await work.execute(sa.insert(moments), {"at": madrid})
        stored = await work.connection.scalar(sa.select(moments.c.at))
        assert stored == madrid
        assert stored.tzinfo is UTC
        with pytest.raises(sa.exc.StatementError, match="without a timezone"):
            await work.execute(sa.insert(moments), {"at": datetime(2026, 7, 1)})  # noqa: DTZ001 - the point


async def test_writers_take_turns_without_errors(with_moments: Database) -> None:
    async def write() -> None:
        async with with_moments.work() as work:
            await work.connection.scalar(sa.select(sa.func.count()).select_from(moments))
            await asyncio.sleep(0)
            await work.execute(sa.insert(moments).values(at=None))

    await asyncio.gather(*(write() for _ in range(50)))
    assert await count(with_moments) == 50


async def test_nesting_is_refused_and_a_database_without_messages_says_so(database: Database) -> None:
    async with database.work() as work:
        with pytest.raises(NestedUnitOfWork, match="cannot ring the bell while a unit of work is open"):
            forbid_open_work("ring the bell")
        with pytest.raises(RuntimeError, match="no outbox"):
            await work.publish(Happened())
        with pytest.raises(RuntimeError, match="no inbox"):
            await work.enqueue(Chore())
    forbid_open_work("ring the bell")


async def test_cancellation_at_any_moment_leaves_no_connection_behind(database_url: str) -> None:
    async def query(database: Database) -> None:
        async with database.work() as work:
            await work.execute(sa.text("SELECT 1"))
        async with database.read() as connection:
            await connection.execute(sa.text("SELECT 1"))

    for step in range(12):
        database = Database(database_url, schema="test", pool_size=2)
        task = asyncio.create_task(query(database))
        for _ in range(step * 3):
            await asyncio.sleep(0)
        if step % 2:
            await asyncio.sleep(0.002 * step)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await query(database)  # the pool is whole
        await database.close()
        gc.collect()  # what was left open would complain now


async def test_a_database_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    database = Database(f"postgresql+asyncpg://postgres@/nothing?host={tmp_path}", schema="test")
    with pytest.raises(DatabaseUnavailable, match="the database of test does not answer"):
        await database.ping(0.5)
    await database.close()


async def told(url: str) -> set[str]:
    """Why a database cannot be used, however it is asked; nothing when it can."""
    database = Database(url, schema="test")

    async def ask(connected: AbstractAsyncContextManager[object]) -> None:
        async with connected:
            pass

    asked = await asyncio.gather(database.ping(), ask(database.work()), ask(database.read()), return_exceptions=True)
    await database.close()
    assert all(answer is None or isinstance(answer, DatabaseUnavailable) for answer in asked)
    return {str(answer) for answer in asked if answer is not None}


async def test_a_database_that_nobody_has_created_is_told_with_the_command_that_does(postgres_url: str) -> None:
    [said] = await told(re.sub(r"/test_\w+", "/no%20such", postgres_url))
    assert "database \"no such\" does not exist; create it there with `createdb 'no such'`, or correct its name" in said
    assert "start it" not in said


async def test_a_role_that_is_not_let_in_is_told_what_to_correct(postgres_url: str) -> None:
    [said] = await told(postgres_url.replace("postgres@", "nobody:hunter2@"))
    assert "cannot be used: PostgreSQL at " in said
    assert 'role "nobody" does not exist; correct user and password in TRENZA_DATABASE_URL, or let them in' in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("postgresql+asyncpg://u:hunter2@127.0.0.1:9/x", "; start it, or correct TRENZA_DATABASE_URL"),
        ("postgresql+asyncpg://u:hunter2@no-such-host.invalid/x", "; correct the host in TRENZA_DATABASE_URL"),
        ("postgresql+asyncpg://u:hunter2@127.0.0.1/x?no_such=1", "; correct what follows the ? of TRENZA_DATABASE_URL"),
    ],
)
async def test_what_the_server_cannot_tell_itself_is_told_with_what_helps(url: str, remedy: str) -> None:
    [said] = await told(url)
    assert said.startswith("the database of test does not answer: PostgreSQL at ")
    assert said.endswith(remedy)
    assert "hunter2" not in said


async def test_a_server_that_shuts_down_is_waited_for(postgres_server: PostgresServer, postgres_url: str) -> None:
    database, said = Database(postgres_url, schema="test"), ""
    with suppress(DatabaseUnavailable):  # the server waits for this connection, and ends it with the block
        async with database.read() as connection:
            await connection.execute(sa.text("SELECT 1"))
            with postgres_server.closing():
                async with asyncio.timeout(30):
                    while True:
                        said = " ".join(await told(postgres_url))
                        if "is shutting down" in said:
                            break
                        await asyncio.sleep(0.05)  # it has not heard the signal yet
    await database.close()
    assert "cannot be used: PostgreSQL at" in said
    assert "; it is starting, stopping or recovering: wait until it takes connections again" in said
    assert "start it, or correct" not in said


async def test_connections_that_a_server_ends_are_told_so(postgres_url: str) -> None:
    database, killer = Database(postgres_url, schema="test"), Database(postgres_url, schema="killer")
    end_the_others = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(DatabaseUnavailable, match="wait until it is back, or start it"):
        async with killer.read() as connection, database.work() as work:
            await connection.execute(end_the_others)
            await work.execute(sa.text("SELECT 1"))
    await database.close()
    await killer.close()


async def test_a_living_database_answers(database: Database) -> None:
    await database.ping()


async def test_a_connection_that_is_in_use_when_all_are_closed_is_closed_after_its_use(postgres_url: str) -> None:
    database, witness = Database(postgres_url, schema="test"), Database(postgres_url, schema="witness")
    entered, leave = asyncio.Event(), asyncio.Event()

    async def use() -> None:
        async with database.read() as connection:
            await connection.execute(sa.text("SELECT 1"))
            entered.set()
            await leave.wait()

    using = asyncio.create_task(use())
    await entered.wait()
    await database.close()
    leave.set()
    await using
    others = sa.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    async with asyncio.timeout(30), witness.read() as connection:
        while True:
            if await connection.scalar(others) == 0:
                break
            await asyncio.sleep(0.05)  # the server notices it in its own time
    await witness.close()
