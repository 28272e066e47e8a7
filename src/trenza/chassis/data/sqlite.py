"""The engines of an embedded SQLite database: durable, one writer at a time, and safe to cancel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from trenza.chassis.data.sqlite_connection import SqliteConnection

__all__ = ["sqlite_engine"]

_POOL_SECONDS = 30.0


def sqlite_engine(url: URL, *, writable: bool, pool_size: int, connection: type[SqliteConnection]) -> AsyncEngine:
    """An engine over a database file, with at most ``pool_size`` connections.

    WAL; transactions begin with ``BEGIN IMMEDIATE`` when ``writable``, and otherwise cannot write at all. Commits wait for the
    disk (``synchronous=FULL``), but for those of a connection with the execution option ``durable=False``: they reach it with
    the next one that waits. ``connection`` says where statements run.
    """
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,  # in what its errors say: they hold whole messages
        pool_timeout=_POOL_SECONDS,
        connect_args={"async_creator_fn": _creator(connection, path)},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA temp_store=MEMORY")
        if not writable:
            cursor.execute("PRAGMA query_only=ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Any) -> None:
        driver = connection.connection.driver_connection
        if writable:
            durable = connection.get_execution_options().get("durable", True)
            driver.begin(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}", "BEGIN IMMEDIATE")
        else:
            driver.begin("BEGIN")

    return engine


def _creator(kind: type[SqliteConnection], path: Path) -> Callable[..., Any]:
    async def create(*_args: object, **_options: object) -> SqliteConnection:
        connection = kind(path)
        await connection.open()
        return connection

    return create
