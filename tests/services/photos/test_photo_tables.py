"""The migrations make the tables that the code uses, and lists use their indexes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import pending, upgrade
from trenza.services.photos.tables import metadata

PACKAGE = "trenza.services.photos.migrations"


@pytest.fixture
async def photos_database(database_url: str) -> AsyncIterator[Database]:
    """A database brought up to date."""
    database = Database(database_url, schema="photos")
    await upgrade(database, PACKAGE)
    yield database
    await database.close()


async def test_the_migrations_make_the_tables(photos_database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        def ours(_object: object, name: str | None, kind: str, _reflected: object, _compare_to: object) -> bool:
            return kind != "table" or name in metadata.tables

        context = MigrationContext.configure(connection, opts={"include_object": ours, "compare_type": True})
        return list(compare_metadata(context, metadata))

    async with photos_database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    assert not await pending(photos_database, PACKAGE)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT * FROM photos WHERE status <> 'deleted' AND upid = 'U' ORDER BY created_at DESC, id DESC LIMIT 9",
            "photos_by_project",
        ),
        ("SELECT * FROM photos WHERE status <> 'deleted' ORDER BY created_at DESC, id DESC LIMIT 9", "photos_by_time"),
        ("SELECT * FROM photos WHERE status <> 'deleted' AND upid = 'U' AND sha256 = 'x'", "photos_same_bytes"),
    ],
)
async def test_lists_and_duplicates_are_found_by_index(photos_database: Database, query: str, index: str) -> None:
    async with photos_database.read() as connection:
        if photos_database.is_sqlite:
            plan = "\n".join(str(row[3]) for row in await connection.execute(sa.text(f"EXPLAIN QUERY PLAN {query}")))
            assert "TEMP B-TREE" not in plan
        else:
            await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
            await connection.execute(sa.text("SET LOCAL enable_bitmapscan = off"))
            await connection.execute(sa.text("SET LOCAL enable_sort = off"))
            plan = "\n".join(str(row[0]) for row in await connection.execute(sa.text(f"EXPLAIN {query}")))
    assert index in plan
