"""Brings a service's database up to date: the chassis' own tables first, then the service's, each with its version table.

A migrations package is a folder that holds ``versions/NNNN_what.py``; each file sets ``revision`` (``"0002"``) and
``down_revision`` (``"0001"``; None in the first) and has ``upgrade()`` and ``downgrade()``. It needs no ``env.py`` and no
``alembic.ini``. Files describe tables as they were then: they import types, never the live tables.
"""

from __future__ import annotations

import asyncio
import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import text

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from alembic.runtime.migration import RevisionStep
    from sqlalchemy import Connection

    from trenza.chassis.data.database import Database

__all__ = ["CHASSIS_VERSION_TABLE", "SERVICE_VERSION_TABLE", "NoMigrations", "pending", "upgrade"]

CHASSIS_VERSION_TABLE = "trenza_version"
SERVICE_VERSION_TABLE = "alembic_version"
_CHASSIS_PACKAGE = "trenza.chassis.data.alembic"


class NoMigrations(Exception):
    """A service names a migrations package that does not exist or has no ``versions`` folder."""


class _History(NamedTuple):
    script: ScriptDirectory
    version_table: str


async def upgrade(database: Database, package: str | None) -> None:
    """Apply all migrations that the database lacks, in one transaction.

    ``package`` is the service's dotted migrations package (``trenza.services.photos.migrations``), or None for a service with no
    tables of its own. Safe when several processes start at once: one migrates, the others wait and find nothing left to do.
    Raises `NoMigrations` for a package that is not there.
    """
    histories = await asyncio.to_thread(_histories, package)
    async with database.writing() as connection:
        if database.is_sqlite:
            # Rebuilding a table (the only ALTER that SQLite has for most things) must not cascade into those that refer to it.
            # The switch works outside a transaction only, hence on the driver's own connection.
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await driver.execute("PRAGMA foreign_keys=OFF")
        try:
            async with connection.begin():  # on SQLite BEGIN IMMEDIATE: this is the lock
                if not database.is_sqlite:
                    await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _lock_key(database.schema)})
                    await connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{database.schema}"'))
                for history in histories:
                    await connection.run_sync(_apply, history)
                if database.is_sqlite and (broken := (await connection.execute(text("PRAGMA foreign_key_check"))).first()):
                    raise RuntimeError(f"a migration of {database.schema} left a dangling reference in table {broken[0]!r}")
        finally:
            if database.is_sqlite:
                await driver.execute("PRAGMA foreign_keys=ON")


async def pending(database: Database, package: str | None) -> bool:
    """Whether the database lacks migrations of the chassis or of the service."""
    histories = await asyncio.to_thread(_histories, package)
    async with database.read() as connection:
        for history in histories:
            if await connection.run_sync(_current, history) != set(history.script.get_heads()):
                return True
    return False


def _histories(package: str | None) -> tuple[_History, ...]:
    """The chassis' migrations and, when it has any, the service's. Reads files: not for the event loop."""
    chassis = _History(_script(_CHASSIS_PACKAGE), CHASSIS_VERSION_TABLE)
    return (chassis,) if package is None else (chassis, _History(_script(package), SERVICE_VERSION_TABLE))


def _script(package: str) -> ScriptDirectory:
    try:
        spec = find_spec(package)
    except ModuleNotFoundError:
        spec = None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / "versions").is_dir():
            return ScriptDirectory(location)
    raise NoMigrations(f"{package} has no folder 'versions': add versions/0001_<what>.py to it")


def _context(connection: Connection, history: _History, fn: Callable[..., Any] | None = None) -> MigrationContext:
    # One transaction around everything, on SQLite too: Alembic believes that SQLite cannot, our engine's BEGIN makes it so.
    options = {"version_table": history.version_table, "transactional_ddl": True, "fn": fn}
    return MigrationContext.configure(connection, opts=options)


def _current(connection: Connection, history: _History) -> set[str]:
    return set(_context(connection, history).get_current_heads())


def _apply(connection: Connection, history: _History) -> None:
    def steps(revision: Any, _context: MigrationContext) -> list[RevisionStep]:
        return history.script._upgrade_revs("heads", revision)  # noqa: SLF001 - what `alembic upgrade` itself calls

    context = _context(connection, history, steps)
    with Operations.context(context):
        context.run_migrations()


def _lock_key(schema: str) -> int:
    """A number of 63 bits for PostgreSQL's advisory lock, the same in every process."""
    return int.from_bytes(hashlib.sha256(f"trenza:migrate:{schema}".encode()).digest()[:8], "big") >> 1
