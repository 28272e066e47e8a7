"""Migrations: from nothing, twice, by several processes at once, and the chassis' tables as the code describes them."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from trenza.chassis.data import Database
from trenza.chassis.data.migrations import NoMigrations, pending, upgrade
from trenza.chassis.messages import tables

FIRST = """
import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table("loaves", sa.Column("id", sa.Integer, primary_key=True))
"""
SECOND = """
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("loaves", sa.Column("crust", sa.Text))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A service's migrations package with one migration."""
    name = f"bakery_{tmp_path.name.replace('-', '_')}"
    versions = tmp_path / name / "migrations" / "versions"
    versions.mkdir(parents=True)
    (versions / "0001_loaves.py").write_text(FIRST)
    monkeypatch.syspath_prepend(str(tmp_path))
    return f"{name}.migrations"


async def columns(database: Database) -> list[str]:
    async with database.read() as connection:
        return await connection.run_sync(lambda sync: [column["name"] for column in sa.inspect(sync).get_columns("loaves")])


async def test_an_empty_database_is_brought_up_to_date_and_kept_there(database_url: str, package: str, tmp_path: Path) -> None:
    database = Database(database_url, schema="bakery")
    assert await pending(database, package)
    await upgrade(database, package)
    assert not await pending(database, package)
    await upgrade(database, package)
    assert await columns(database) == ["id"]
    (tmp_path / package.replace(".", "/") / "versions" / "0002_crust.py").write_text(SECOND)
    assert await pending(database, package)
    assert not await pending(database, None)
    await upgrade(database, package)
    assert await columns(database) == ["id", "crust"]
    async with database.read() as connection:
        for table, version in (("trenza_version", None), ("alembic_version", "0002")):
            found = await connection.scalar(sa.text(f"SELECT version_num FROM {table}"))  # noqa: S608 - two constants
            assert version in (None, found)
    await database.close()


async def test_a_migration_that_fails_leaves_nothing_behind(database_url: str, package: str, tmp_path: Path) -> None:
    broken = tmp_path / package.replace(".", "/") / "versions" / "0002_broken.py"
    broken.write_text(SECOND.replace('op.add_column("loaves", ', 'op.drop_table("loaves"); op.add_column("nowhere", '))
    database = Database(database_url, schema="bakery")
    with pytest.raises(sa.exc.SQLAlchemyError):
        await upgrade(database, package)
    assert await pending(database, None)
    broken.unlink()
    await upgrade(database, package)
    assert await columns(database) == ["id"]
    await database.close()


_PROCESS = """
import asyncio, sys
from trenza.chassis.data import Database
from trenza.chassis.data.migrations import upgrade

async def main():
    database = Database(sys.argv[1], schema="bakery")
    await upgrade(database, None)
    await database.close()

asyncio.run(main())
"""


async def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", _PROCESS, database_url, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        for _ in range(4)
    ]
    outputs = [(await process.communicate())[0].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, "\n".join(outputs)
    database = Database(database_url, schema="bakery")
    assert not await pending(database, None)
    await database.close()


async def test_the_tables_of_messages_are_as_the_code_describes_them(database: Database) -> None:
    def differences(connection: sa.Connection) -> list[object]:
        ours = set(tables.metadata.tables)

        def ours_only(_thing: object, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001
            return kind != "table" or name in ours

        context = MigrationContext.configure(connection, opts={"include_object": ours_only, "compare_type": False})
        return list(compare_metadata(context, tables.metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []


async def test_a_package_without_versions_is_named(database_url: str) -> None:
    database = Database(database_url, schema="bakery")
    with pytest.raises(NoMigrations, match=r"no\.such\.package has no folder 'versions'"):
        await upgrade(database, "no.such.package")
    await database.close()
