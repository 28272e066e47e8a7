"""The statements that run all the time are served by the partial indexes, however many messages have ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from trenza.chassis.contract import Task
from trenza.chassis.data import Database, UnitOfWork
from trenza.chassis.data.migrations import upgrade
from trenza.chassis.messages import claims
from trenza.chassis.messages.definitions import Delivery, handles
from trenza.chassis.messages.handlers import Handlers
from trenza.chassis.messages.maintenance import Maintenance
from trenza.chassis.messages.outbox import Outbox
from trenza.chassis.messages.overview import Overview
from trenza.chassis.messages.room import Room
from trenza.chassis.testing.clock import ManualClock

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Render(Task, type="test.Render"):
    number: int = 0


async def claim(work: UnitOfWork) -> object:
    room = Room(8, {"render": 4, "react": 4})
    return await claims.claim(work, room=room, types=["test.Render"], until=NOW + timedelta(seconds=30), schema="test")


async def settle(work: UnitOfWork) -> object:
    return await claims.settle(work, NOW, [])


async def look(work: UnitOfWork) -> object:
    return await claims.look(work.connection, ["render", "react"], ["test.Render"])


@pytest.mark.parametrize(
    ("question", "indexes"),
    [
        (claim, {"inbox_waiting", "inbox_keys", "inbox_running"}),
        (settle, {"inbox_delayed", "inbox_running"}),
        (look, {"inbox_waiting", "inbox_delayed", "inbox_running"}),
    ],
)
async def test_sqlite_uses_the_partial_indexes(
    sqlite_url: str, question: Callable[[UnitOfWork], Awaitable[object]], indexes: set[str]
) -> None:
    database = Database(sqlite_url, schema="test")
    await upgrade(database, None)
    plans = await explained(database, question)
    await database.close()
    steps = [step for plan in plans for step in plan]
    assert indexes <= {word for step in steps for word in step.split()}
    assert not [step for step in steps if step.startswith(("SCAN inbox", "SCAN held")) and "USING" not in step], steps
    assert not [step for step in steps if "TEMP B-TREE" in step], steps


async def test_a_glance_reads_nothing_that_ended_long_ago(sqlite_url: str) -> None:
    database = Database(sqlite_url, schema="test")
    await upgrade(database, None)
    recorded = record(database)
    await Overview(database, Handlers(())).look(after=NOW, until=NOW + timedelta(seconds=1))
    steps = [step for entry in recorded if entry[0].startswith("SELECT") for step in await plan(database, *entry)]
    await database.close()
    indexes = {"inbox_waiting", "inbox_delayed", "inbox_running", "inbox_failed", "inbox_ended", "outbox_waiting", "outbox_sent"}
    assert indexes <= {word for step in steps for word in step.split()}
    assert not [step for step in steps if step.startswith("SCAN") and "INDEX" not in step and "box" in step], steps


async def test_orphans_are_found_by_their_indexes(sqlite_url: str) -> None:
    @handles(Render)
    async def render(_: Any, _order: Render, _delivery: Delivery) -> None: ...

    database = Database(sqlite_url, schema="test")
    await upgrade(database, None)
    recorded = record(database)
    await Maintenance(database, "test", Handlers((render,)), ManualClock(), lambda: None).settle_orphans()
    (select,) = [entry for entry in recorded if entry[0].startswith("SELECT")]
    steps = await plan(database, *select)
    await database.close()
    assert {"inbox_waiting", "inbox_failed"} <= {word for step in steps for word in step.split()}
    assert not [step for step in steps if step.startswith("SCAN inbox") and "INDEX" not in step], steps


async def test_the_relay_reads_its_index(sqlite_url: str) -> None:
    database = Database(sqlite_url, schema="test")
    await upgrade(database, None)
    outbox = Outbox(database, "test", ManualClock())
    recorded = record(database)
    await outbox.claim(200, timedelta(seconds=30))
    (select,) = [entry for entry in recorded if entry[0].startswith("SELECT")]
    assert any("outbox_waiting" in step for step in await plan(database, *select))
    await database.close()


def record(database: Database) -> list[tuple[str, Any]]:
    """The statements that the database is asked from now on."""
    recorded: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        recorded.append((statement, parameters))

    for engine in database.engines:
        sa.event.listen(engine.sync_engine, "before_cursor_execute", note)
    return recorded


async def plan(database: Database, statement: str, parameters: Any) -> list[str]:
    async with database.work() as work:
        rows = await work.connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        return [str(row.detail) for row in rows]


async def explained(database: Database, question: Callable[[UnitOfWork], Awaitable[object]]) -> list[list[str]]:
    recorded = record(database)
    async with database.work() as work:
        await question(work)
    asked = [entry for entry in recorded if entry[0].startswith(("SELECT", "UPDATE"))]
    return [await plan(database, *entry) for entry in asked]


async def test_postgresql_sweeps_the_queues_early(postgres_url: str) -> None:
    """With its defaults it would wait until a fifth of all that is remembered is dead."""
    database = Database(postgres_url, schema="test")
    await upgrade(database, None)
    async with database.read() as connection:
        question = "SELECT relname, reloptions FROM pg_class WHERE relname IN ('inbox', 'outbox') AND relkind = 'r'"
        found = {name: options for name, options in await connection.execute(sa.text(question))}  # noqa: C416 - rows, not tuples
    await database.close()
    assert all("autovacuum_vacuum_scale_factor=0.01" in found[table] for table in ("inbox", "outbox"))
