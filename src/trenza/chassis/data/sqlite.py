"""The engines of an embedded SQLite database: durable, one writer at a time, and safe to cancel."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
from sqlalchemy import event
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

__all__ = ["sqlite_engine"]

BUSY_SECONDS = 15.0
"""How long a writer waits for another process's write lock (the CLI beside a running service)."""
_POOL_SECONDS = 30.0
_ITERATED_ROWS = 64


class _UninterruptedConnection(aiosqlite.Connection):
    """A connection whose statements are never abandoned half-way.

    The driver runs them in a thread, which a cancellation does not reach: the statement (``BEGIN IMMEDIATE`` among them) would go
    on, and take the write lock for a connection that nobody holds any more. So whoever is cancelled waits for its end.
    """

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        statement = asyncio.ensure_future(super()._execute(fn, *args, **kwargs))  # type: ignore[no-untyped-call]  # aiosqlite's
        cancelled: asyncio.CancelledError | None = None
        while not statement.done():
            try:
                await asyncio.wait({statement})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            statement.exception()  # looked at: the cancellation is what the caller learns
            raise cancelled
        return statement.result()

    async def close(self) -> None:
        """Close the connection, with its transaction rolled back.

        SQLite keeps a closed connection, and its lock, while a cursor has a result left to read; the task that was cancelled may
        have left one behind.
        """
        if self._connection is not None and self._connection.in_transaction:
            await self.rollback()
        await super().close()


def sqlite_engine(url: URL, *, writable: bool, pool_size: int) -> AsyncEngine:
    """An engine over a database file, with at most ``pool_size`` connections.

    WAL, ``synchronous=FULL``; transactions begin with ``BEGIN IMMEDIATE`` when ``writable``, and otherwise cannot write at all.
    """
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=_POOL_SECONDS,
        connect_args={"async_creator_fn": partial(_connect, path)},
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
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writable else "BEGIN")

    return engine


def _connect(path: Path, *_args: object, **_options: object) -> aiosqlite.Connection:
    """A connection in autocommit mode: SQLAlchemy's BEGIN, not the driver's, opens transactions."""

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    connection = _UninterruptedConnection(connect, iter_chunk_size=_ITERATED_ROWS)
    connection._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does: a forgotten connection must not keep the process alive
    return connection
