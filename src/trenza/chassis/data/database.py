"""One service's database: its engine, short reads, and units of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from trenza.chassis.data.connections import Connections
from trenza.chassis.data.notices import FileNotices, Notices, PostgresNotices
from trenza.chassis.data.postgres import is_closed, postgres_connections
from trenza.chassis.data.silence import has_refused, is_away, silence_of
from trenza.chassis.data.sqlite import sqlite_engine
from trenza.chassis.data.sqlite_connection import SqliteConnection, StatementThread
from trenza.chassis.data.work import MessageWriter, NoMessages, UnitOfWork, forbid_open_work, note_undecided, open_unit_of_work
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Database", "DatabaseUnavailable"]


_LAZY_CONNECTIONS = 2
"""For relay, claims and marks, each of which is under way once at a time as a rule."""
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 1.0
"""Between two tries to record something while the database is away."""

_log = get_logger(__name__)


class DatabaseUnavailable(Exception):
    """The database did not answer, or cannot be used; the message says which one, why, and what helps. It is for operators."""


class Database:
    """The database of one service.

    SQLite: WAL, ``synchronous=FULL``, ``BEGIN IMMEDIATE``, one writer connection per process (the pool of one is the writer
    lock) beside a few reading ones. PostgreSQL: a schema of the service's own, ``pool_size`` connections that are kept and as
    many more at need, and a few whose commits do not wait for the disk.
    """

    def __init__(
        self,
        url: str | URL,
        *,
        schema: str,
        messages: MessageWriter | None = None,
        pool_size: int = 8,
        sqlite_connection: type[SqliteConnection] = StatementThread,
    ) -> None:
        """``sqlite_connection`` says where the statements of an embedded database run."""
        self.url = make_url(url)
        self.schema = schema
        self.messages: MessageWriter = messages or NoMessages()
        self._background: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        if self.is_sqlite:
            readers = max(2, pool_size // 2)
            writer = sqlite_engine(self.url, writable=True, pool_size=1, connection=sqlite_connection)
            reader = sqlite_engine(self.url, writable=False, pool_size=readers, connection=sqlite_connection)
            self._writer = self._lazy = Connections(writer, 1)
            self._reader = Connections(reader, readers)
        else:
            self._writer = self._reader = postgres_connections(self.url, schema, pool_size)
            self._lazy = postgres_connections(self.url, schema, _LAZY_CONNECTIONS, synchronous_commit="off")

    @property
    def is_sqlite(self) -> bool:
        """Whether this is the embedded default."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def engines(self) -> frozenset[AsyncEngine]:
        """The engines, for those who watch their statements."""
        return frozenset((self._writer.engine, self._reader.engine, self._lazy.engine))

    @asynccontextmanager
    async def work(self, *, durable: bool = True) -> AsyncIterator[UnitOfWork]:
        """A unit of work: everything in the block commits together when it ends, or not at all when it raises.

        Opening one inside another raises `NestedUnitOfWork`: two transactions would commit separately. What is slow (another
        service, a file, a computation) stays outside: on SQLite a unit of work holds the database's only write lock.

        With ``durable=False`` the commit does not wait for the disk. It survives the death of this process; when the machine or
        the database server dies, it may be lost with all later ones like it, though never beneath a later durable one. For what
        may be forgotten: who has a message at the moment, never what was acknowledged.
        """
        forbid_open_work("open a unit of work")
        async with self._answering(), self._connected(self._writer if durable else self._lazy) as connection:
            inner = connection.sync_connection
            if self.is_sqlite and inner is not None and inner.get_execution_options().get("durable", True) is not durable:
                inner.execution_options(durable=durable)  # a kept connection keeps it, too
            unit, committing = UnitOfWork(connection, self.messages), False
            try:
                with open_unit_of_work(unit):
                    async with connection.begin():
                        yield unit
                        reached(Failpoint.WORK_BEFORE_COMMIT)
                        committing = not is_closed(connection)  # what cannot be sent is not done
            except BaseException as error:
                if committing and not has_refused(error):
                    note_undecided()
                raise
        reached(Failpoint.WORK_COMMITTED)
        unit.committed()

    @asynccontextmanager
    async def statement(self, *, durable: bool = True) -> AsyncIterator[AsyncConnection]:
        """A connection for one statement that commits by itself: on PostgreSQL one round trip instead of three.

        ``durable`` means what it means for `work`, which this is on SQLite.
        """
        if self.is_sqlite:
            async with self.work(durable=durable) as work:
                yield work.connection
            return
        forbid_open_work("run a statement beside a unit of work (use the unit of work itself)")
        connections = self._writer if durable else self._lazy
        async with self._answering(), self._connected(connections, commits_itself=True) as connection:
            try:
                yield connection
            except (DBAPIError, asyncio.CancelledError) as error:
                if not has_refused(error):
                    note_undecided()
                raise

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading: each statement sees the last commit. On SQLite it never waits for the writer."""
        forbid_open_work("read beside a unit of work (use the unit of work itself)")
        async with self._answering(), self._connected(self._reader, commits_itself=not self.is_sqlite) as connection:
            yield connection

    @asynccontextmanager
    async def _answering(self) -> AsyncIterator[None]:
        """Turn what the driver raises for a database that is away into `DatabaseUnavailable`; leave other errors alone."""
        try:
            yield
        except DBAPIError as error:
            if is_away(error):
                raise DatabaseUnavailable(silence_of(self.url, self.schema, error)) from error
            raise

    @asynccontextmanager
    async def _connected(self, connections: Connections, *, commits_itself: bool = False) -> AsyncIterator[AsyncConnection]:
        """A connection; raises `DatabaseUnavailable` when none can be had."""
        async with AsyncExitStack() as stack:
            try:
                connection = await stack.enter_async_context(connections.borrowed(commits_itself=commits_itself))
            except (OSError, TypeError) as error:  # the driver takes each option of the URL for an argument
                raise DatabaseUnavailable(silence_of(self.url, self.schema, error)) from error
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A writing connection without a transaction, for migrations."""
        async with self._answering(), self._connected(self._writer) as connection:
            yield connection

    async def ping(self, timeout: float = 2.0) -> None:
        """Ask the database for a sign of life. Raises `DatabaseUnavailable` when none comes within ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout), self._connected(self._reader) as connection:
                await connection.execute(text("SELECT 1"))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            raise DatabaseUnavailable(silence_of(self.url, self.schema, error)) from error

    def notices(self) -> Notices:
        """What other processes tell about this database, and this one."""
        return FileNotices(self.url.database or "") if self.is_sqlite else PostgresNotices(self.url, self.schema)

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something with this database that nobody waits for, but `close`. It raises nothing."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def when_back(self, record: Callable[[], Awaitable[None]]) -> None:
        """Do something once the database answers again. Nobody waits for it, and `close` gives it up."""
        self.in_background(self._insist(record))

    async def _insist(self, record: Callable[[], Awaitable[None]]) -> None:
        pause = _SHORTEST_PAUSE_SECONDS
        while not await self._is_closing(within=pause):
            try:
                await record()
            except DatabaseUnavailable:
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - nobody would hear of it: it is logged, with its traceback
                _log.exception("not recorded", database=self.schema)
                return
            else:
                return

    async def _is_closing(self, *, within: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._closing.wait()
        return self._closing.is_set()

    async def close(self) -> None:
        """Close all connections."""
        self._closing.set()
        await asyncio.gather(*self._background)
        await asyncio.gather(*(connections.close() for connections in {self._writer, self._reader, self._lazy}))
