"""A SQLite connection as SQLAlchemy's asynchronous dialect wants it: each statement is one hop to the thread that runs it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

__all__ = ["BUSY_SECONDS", "SqliteConnection", "StatementThread"]

BUSY_SECONDS = 15.0
"""How long a writer waits for another process's write lock (the CLI beside a running service)."""

QUICK_SECONDS = 0.001
"""A statement that takes longer is slow: about as long as the event loop spends on a request at a time."""
TRUSTED_AFTER = 3
DEMOTED = -30
"""Where a statement that was slow on the event loop begins to count again."""
_MOST_TEXTS = 5_000

T = TypeVar("T")

_quick_runs: dict[str, int] = {}
"""How often in a row a statement was quick, by its SQL, over all databases: the tables of services are alike in size or small."""


class SqliteConnection(ABC):
    """What the ``aiosqlite`` dialect of SQLAlchemy asks of a connection; subclasses say where its statements run.

    That package's own connection hops to its thread for the cursor, the statement, its rows and its end; this one does it all at
    once. A transaction begins with its first statement: an empty one costs nothing. The connection is in autocommit mode;
    SQLAlchemy's BEGIN, not the driver's, opens transactions.
    """

    isolation_level = None

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin: tuple[str, ...] = ()
        self._changes = 0
        """Rows changed over this connection until the transaction began."""
        self._connection: sqlite3.Connection | None = None
        """The dialect looks at it too: None once closed."""

    @abstractmethod
    async def run(self, function: Callable[[], T]) -> T:
        """Run something that may take its time, to its end: who is cancelled meanwhile waits for that.

        Were a statement (``BEGIN IMMEDIATE`` among them) abandoned half-way, it would go on, and take the write lock for a
        connection that nobody holds any more.
        """

    async def run_statement(self, text: str, function: Callable[[], T]) -> T:  # noqa: ARG002 - for those who tell statements apart
        """Run one statement; ``text`` is its SQL."""
        return await self.run(function)

    async def open(self) -> None:
        """Connect."""
        self._connection = await self.run(self.connect)

    def connect(self) -> sqlite3.Connection:
        """The connection of the standard library, usable from any thread, by one at a time."""
        return sqlite3.connect(self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def begin(self, *statements: str) -> None:
        """Open a transaction before the next statement, with these; the last is the ``BEGIN``."""
        self._begin = statements

    def cursor(self) -> _Cursor:
        """A cursor that holds all rows once its statement has run."""
        return _Cursor(self)

    async def execute(
        self, operation: str, parameters: Sequence[Any] = (), *, many: bool = False
    ) -> tuple[list[Any], sqlite3.Cursor]:
        """Run one statement, once or for each row of parameters; returns its rows, and the cursor that knows the rest."""
        connection = self._opened()

        def run() -> tuple[list[Any], sqlite3.Cursor]:
            if self._begin:
                for statement in self._begin:
                    connection.execute(statement)
                self._begin, self._changes = (), connection.total_changes
            cursor = connection.executemany(operation, parameters) if many else connection.execute(operation, parameters)
            return cursor.fetchall() if cursor.description else [], cursor

        return await self.run_statement(operation, run)

    async def commit(self) -> None:
        """Commit, where a transaction was begun."""
        self._begin = ()
        connection = self._opened()
        if connection.in_transaction:
            await self.run(connection.commit)

    async def rollback(self) -> None:
        """Roll back, where a transaction was begun."""
        self._begin = ()
        connection = self._opened()
        if connection.in_transaction:
            await self.run(connection.rollback)

    async def create_function(self, *arguments: Any, **options: Any) -> None:
        """Register a function; the dialect needs one for regular expressions."""
        connection = self._opened()
        await self.run(lambda: connection.create_function(*arguments, **options))

    async def close(self) -> None:
        """Close the connection, with its transaction rolled back. Closing again does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await self.run(lambda: _close(connection))

    def stop(self) -> None:
        """Close without waiting: SQLAlchemy's last resort."""
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise ValueError("connection closed")  # the dialect knows these words, and drops the connection
        return self._connection


class StatementThread(SqliteConnection):
    """A connection with a thread for what may take long: commits, which wait for the disk, and statements not known to be quick.

    A hop to the thread and back takes about 80 µs of processor time, and as long as the interpreter's lock is busy; most
    statements take a tenth of that. So a statement that was quick ``TRUSTED_AFTER`` times runs on the event loop. One that was
    slow there goes back to the thread, and must be quick more often to return.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"sqlite {path.stem}")

    def connect(self) -> sqlite3.Connection:
        """A connection that never waits for a lock: `_patiently` does, in the thread."""
        return sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)

    async def run(self, function: Callable[[], T]) -> T:
        """Run it in the thread."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, function)
        cancelled: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait((running,))
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            running.exception()  # looked at: the cancellation is what the caller learns
            raise cancelled
        return running.result()

    async def run_statement(self, text: str, function: Callable[[], T]) -> T:
        """Run it on the event loop when it is known to be quick, otherwise in the thread."""
        if _quick_runs.get(text, 0) >= TRUSTED_AFTER:
            try:
                return _timed(text, function, when_slow=DEMOTED)
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
        return await self.run(lambda: self._patiently(lambda: _timed(text, function, when_slow=0)))

    async def commit(self) -> None:
        """Commit; in the thread when there is something for the disk."""
        connection = self._opened()
        if connection.in_transaction and connection.total_changes != self._changes:
            await self.run(lambda: self._patiently(connection.commit))
        else:
            self._begin = ()
            connection.commit()

    async def rollback(self) -> None:
        """Roll back, which never waits for the disk."""
        self._begin = ()
        self._opened().rollback()

    def _patiently(self, function: Callable[[], T]) -> T:
        """Run something again, and let it wait, when another process holds the lock."""
        try:
            return function()
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
        connection = self._opened()
        connection.execute(f"PRAGMA busy_timeout={BUSY_SECONDS * 1000:.0f}")
        try:
            return function()
        finally:
            connection.execute("PRAGMA busy_timeout=0")

    async def close(self) -> None:
        """Close the connection and end the thread."""
        try:
            await super().close()
        finally:
            self._thread.shutdown(wait=False)

    def stop(self) -> None:
        """Close after whatever the thread is doing, without waiting."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._thread.submit(_close, connection)
        self._thread.shutdown(wait=False)


class _Cursor:
    """The cursor of one statement. What follows its execution is at hand and waits for nothing."""

    arraysize = 1

    def __init__(self, connection: SqliteConnection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self._done: sqlite3.Cursor | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    @property
    def description(self) -> Any:
        return None if self._done is None else self._done.description

    @property
    def rowcount(self) -> int:
        return -1 if self._done is None else self._done.rowcount

    @property
    def lastrowid(self) -> int | None:
        return None if self._done is None else self._done.lastrowid

    async def execute(self, operation: str, parameters: Sequence[Any] = ()) -> Self:
        self._rows, self._done = await self._connection.execute(operation, parameters, many=False)
        return self

    async def executemany(self, operation: str, parameters: Sequence[Any]) -> Self:
        self._rows, self._done = await self._connection.execute(operation, parameters, many=True)
        return self

    async def fetchone(self) -> Any:
        return self._rows.pop(0) if self._rows else None

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        size = self.arraysize if size is None else size
        taken, self._rows = self._rows[:size], self._rows[size:]
        return taken

    async def fetchall(self) -> list[Any]:
        taken, self._rows = self._rows, []
        return taken

    async def close(self) -> None:
        self._rows = []


def _close(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        connection.rollback()
    connection.close()


def _timed(text: str, function: Callable[[], T], *, when_slow: int) -> T:
    began = time.perf_counter()
    result = function()
    if time.perf_counter() - began > QUICK_SECONDS:
        _quick_runs[text] = when_slow
    else:
        if len(_quick_runs) >= _MOST_TEXTS:  # someone writes values into the SQL; the others are soon known again
            _quick_runs.clear()
        _quick_runs[text] = _quick_runs.get(text, 0) + 1
    return result


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY  # the rest is the extended code
