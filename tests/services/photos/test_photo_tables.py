"""The migrations make the tables that the code uses, and lists use their indexes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncConnection

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import pending, upgrade
from trenza.services.photos import store
from trenza.services.photos.contract import PhotoFilter, PhotoPosition
from trenza.services.photos.tables import metadata

Ask = Callable[[AsyncConnection], Awaitable[object]]
AFTER = PhotoPosition(created_at=datetime(2026, 1, 1, tzinfo=UTC), id=UUID("01930000-0000-7000-8000-000000000000"))
PACKAGE = "trenza.services.photos.migrations"


@asynccontextmanager
async def up_to_date(url: str) -> AsyncIterator[Database]:
    """A database that the migrations have made."""
    database = Database(url, schema="photos")
    await upgrade(database, PACKAGE)
    try:
        yield database
    finally:
        await database.close()


async def test_the_migrations_make_the_tables(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        def ours(_object: object, name: str | None, kind: str, _reflected: object, _compare_to: object) -> bool:
            return kind != "table" or name in metadata.tables

        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
        return list(compare_metadata(context, metadata))

    async with up_to_date(database_url) as database:
        async with database.writing() as connection:
            assert await connection.run_sync(differences) == []
        assert not await pending(database, PACKAGE)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda connection: store.page(connection, PhotoFilter(upid="UP-1"), AFTER, 9), "photos_by_project"),
        (lambda connection: store.page(connection, PhotoFilter(), AFTER, 9), "photos_by_time"),
        (lambda connection: store.find_same_bytes(connection, "UP-1", "0" * 64, None), "photos_same_bytes"),
    ],
)
async def test_lists_and_duplicates_are_found_by_index(sqlite_url: str, ask: Ask, index: str) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        if statement.startswith("SELECT"):  # and not the transaction's BEGIN
            asked.append((statement, parameters))

    async with up_to_date(sqlite_url) as database, database.read() as connection:
        event.listen(connection.sync_connection, "before_cursor_execute", note)
        await ask(connection)
        [(statement, parameters)] = asked
        plan = [str(row.detail) for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    assert len(plan) == 1, plan  # one step: neither a sort nor a second look
    assert index in plan[0]
