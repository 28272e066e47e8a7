"""How connections are had: from SQLAlchemy's pool, or kept open where nothing can break them while nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Connections", "KeptConnections", "PooledConnections"]

_WAIT_SECONDS = 30.0
"""How long to wait for one that is free, as SQLAlchemy's pool does by default."""


class Connections(Protocol):
    """Connections to one database."""

    engine: AsyncEngine

    def borrowed(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection for the block. What the block leaves open of a transaction is rolled back.

        Raises TimeoutError or SQLAlchemy's when none comes free in time, and what the driver raises when none can be opened.
        """
        ...

    async def close(self) -> None:
        """Close all of them."""
        ...


class _Opening:
    """Opens connections, and lets nothing be cut off in the middle of opening or closing one.

    SQLAlchemy forgets to close a new connection when the task is cancelled while the connection is being set up. The one that
    nobody wants any more is closed in the background.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self._background: set[asyncio.Task[None]] = set()

    async def opened(self) -> AsyncConnection:
        """A connection from the engine."""
        opening = asyncio.create_task(_open(self.engine))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            self.finish(_close_unwanted(opening))
            raise

    def finish(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something to its end, whatever becomes of whoever asked for it. `close` waits for it."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def settled(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def close(self) -> None:
        """Wait for what is under way, and close what the engine holds."""
        await self.settled()
        await self.engine.dispose()


class PooledConnections(_Opening):
    """Those of a server: SQLAlchemy's pool lends them, and looks whether they are alive."""

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[AsyncConnection]:
        """See `Connections.borrowed`."""
        connection = await self.opened()
        try:
            yield connection
        finally:
            await asyncio.shield(self.finish(connection.close()))


class KeptConnections(_Opening):
    """Those of an embedded database: a file does not hang up, so nothing is set up or looked at for each use.

    The pool would take a quarter of a millisecond of processor time for it, several times what a statement takes.
    """

    def __init__(self, engine: AsyncEngine, size: int) -> None:
        super().__init__(engine)
        self._slots = asyncio.Semaphore(size)
        self._free: list[AsyncConnection] = []

    @asynccontextmanager
    async def borrowed(self) -> AsyncIterator[AsyncConnection]:
        """See `Connections.borrowed`."""
        async with asyncio.timeout(_WAIT_SECONDS):
            await self._slots.acquire()
        try:
            connection = self._free.pop() if self._free else await self.opened()
        except BaseException:
            self._slots.release()
            raise
        try:
            yield connection
        finally:
            if connection.in_transaction() or connection.invalidated:
                await asyncio.shield(self.finish(self._mend(connection)))
            else:
                self._keep(connection)

    async def _mend(self, connection: AsyncConnection) -> None:
        """Keep it when it can be made fit for another transaction."""
        try:
            await connection.rollback()
        except BaseException:
            await connection.invalidate()
            raise
        finally:
            if connection.invalidated:
                await connection.close()
                self._slots.release()
            else:
                self._keep(connection)

    def _keep(self, connection: AsyncConnection) -> None:
        self._free.append(connection)
        self._slots.release()

    async def close(self) -> None:
        """See `Connections.close`."""
        await self.settled()
        while self._free:
            await self._free.pop().close()
        await super().close()


async def _open(engine: AsyncEngine) -> AsyncConnection:
    return await engine.connect()


async def _close_unwanted(opening: asyncio.Task[AsyncConnection]) -> None:
    """Close a connection that came after whoever asked for it had been cancelled."""
    try:
        connection = await opening
    except SQLAlchemyError:
        return  # there is none
    await connection.close()
