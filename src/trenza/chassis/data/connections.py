"""How connections are had: kept open, and looked at before they are used again where something may have broken them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Alive", "Connections"]

_WAIT_SECONDS = 30.0
"""How long to wait for one that is free, as SQLAlchemy's pool does by default."""


Alive = Callable[[AsyncConnection, float], Awaitable[bool]]
"""Whether a connection that has rested for so many seconds can be used."""


class Connections:
    """Connections to one database that are kept open, so that nothing is set up for each use.

    SQLAlchemy's own pool would take a quarter of a millisecond of processor time for that, as much as a small statement takes.
    Nothing is cut off in the middle of opening or closing a connection: SQLAlchemy forgets to close a new one when the task is
    cancelled while it is being set up. The one that nobody wants any more is closed in the background.
    """

    def __init__(self, engine: AsyncEngine, size: int, *, kept: int | None = None, alive: Alive | None = None) -> None:
        """At most ``size`` at once, of which ``kept`` stay open (all by default).

        ``alive`` is asked before one is used again, where something may break a connection while nobody looks.
        """
        self.engine = engine
        self._slots = asyncio.Semaphore(size)
        self._kept = size if kept is None else kept
        self._alive = alive
        self._free: list[tuple[AsyncConnection, float]] = []
        """With the moment since when each rests."""
        self._closed = False
        self._background: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def borrowed(self, *, commits_itself: bool = False) -> AsyncIterator[AsyncConnection]:
        """A connection for the block. What the block leaves open of a transaction is rolled back.

        With ``commits_itself`` each statement commits (not for SQLite). Raises TimeoutError when none comes free in time, and
        what the driver raises when none can be opened.
        """
        async with asyncio.timeout(_WAIT_SECONDS):
            await self._slots.acquire()
        try:
            connection = await self._rested() or await self._opened()
        except BaseException:
            self._slots.release()
            raise
        try:
            if self._alive is not None:
                await _set_mode(connection, commits_itself=commits_itself)
            yield connection
            if commits_itself and not connection.invalidated:
                await connection.rollback()  # of nothing: SQLAlchemy believes in a transaction
        finally:
            if connection.in_transaction() or connection.invalidated:
                await asyncio.shield(self._finish(self._mend(connection)))
            elif self._is_wanted():
                self._keep(connection)
            else:
                await asyncio.shield(self._finish(self._close(connection)))

    def _is_wanted(self) -> bool:
        """Whether one that comes back is kept. Whoever still works when all are closed has the last one closed behind them."""
        return len(self._free) < self._kept and not self._closed

    async def _opened(self) -> AsyncConnection:
        """One from the engine."""
        opening = asyncio.create_task(_open(self.engine))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._finish(_close_unwanted(opening))
            raise

    async def _rested(self) -> AsyncConnection | None:
        """The one that was used last, if it lives; those that do not are closed."""
        while self._free:
            connection, since = self._free.pop()
            alive = False
            try:
                alive = self._alive is None or await self._alive(connection, time.monotonic() - since)
            finally:
                if not alive:  # or nobody waits for the answer any more
                    self._finish(_bury(connection))
            if alive:
                return connection
        return None

    async def _mend(self, connection: AsyncConnection) -> None:
        """Keep it when it can be made fit for another transaction."""
        try:
            await connection.rollback()
        except BaseException:
            await connection.invalidate()
            raise
        finally:
            if connection.invalidated or not self._is_wanted():
                await self._close(connection)
            else:
                self._keep(connection)

    async def _close(self, connection: AsyncConnection) -> None:
        try:
            if self._closed and not connection.invalidated:
                await connection.invalidate()  # the engine's pool has been replaced, and would leave it to the garbage collector
            await connection.close()
        finally:
            self._slots.release()

    def _keep(self, connection: AsyncConnection) -> None:
        self._free.append((connection, time.monotonic()))
        self._slots.release()

    def _finish(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something to its end, whatever becomes of whoever asked for it. `close` waits for it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _settled(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def close(self) -> None:
        """Close all of them, those that are under way included."""
        self._closed = True
        await self._settled()
        while self._free:
            await self._free.pop()[0].close()
        await self._settled()
        await self.engine.dispose()


async def _set_mode(connection: AsyncConnection, *, commits_itself: bool) -> None:
    """Have statements commit by themselves, or have transactions. Asks the server nothing."""
    inner = connection.sync_connection
    level = "AUTOCOMMIT" if commits_itself else "READ COMMITTED"
    if inner is not None and inner.get_execution_options().get("isolation_level") != level:
        await connection.execution_options(isolation_level=level)


async def _bury(connection: AsyncConnection) -> None:
    """Close a dead connection, whatever it says to that."""
    with suppress(SQLAlchemyError, OSError):
        await connection.invalidate()
        await connection.close()


async def _open(engine: AsyncEngine) -> AsyncConnection:
    return await engine.connect()


async def _close_unwanted(opening: asyncio.Task[AsyncConnection]) -> None:
    """Close a connection that came after whoever asked for it had been cancelled."""
    try:
        connection = await opening
    except SQLAlchemyError:
        return  # there is none
    await connection.close()
