"""Databases of simulated processes: real SQLite files whose statements run on the event loop, at moments that chance chooses."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from trenza.chassis.data import Database
from trenza.chassis.data.connections import Connections
from trenza.chassis.data.notices import Silence
from trenza.chassis.data.sqlite_connection import BUSY_SECONDS, SqliteConnection
from trenza.chassis.testing.simulation.process import SimulatedProcess, Stopped, here

__all__ = ["Disk", "SimulatedConnection", "SimulatedDatabase", "use_disk"]

T = TypeVar("T")

_LONGEST_BUSY_PAUSE = 0.05
_LONGEST_STATEMENT = 0.2
_READERS = 2


def _unchanged(statement: str) -> str:
    return statement


class Disk:
    """What the databases of one simulation share: chance, and connections that were opened by earlier ones on the same files.

    A statement may be delayed (``slow``, a probability), and others run meanwhile. ``rewritten`` changes SQL on its way, to break
    a rule on purpose. ``prepare`` is called with each connection of the standard library that is new.
    """

    def __init__(self, prepare: Callable[[sqlite3.Connection], None]) -> None:
        self.chance = random.Random(0)  # noqa: S311 - it has to repeat itself
        self.slow = 0.1
        self.rewritten: Callable[[str], str] = _unchanged
        self._prepare = prepare
        self._idle: defaultdict[Path, list[sqlite3.Connection]] = defaultdict(list)

    def connect(self, path: Path) -> sqlite3.Connection:
        """A connection that waits for no lock."""
        if idle := self._idle[path]:
            connection = idle.pop()
            connection.execute("PRAGMA query_only=OFF")
            return connection
        connection = sqlite3.connect(path, timeout=0, isolation_level=None)
        self._prepare(connection)
        return connection

    def give_back(self, path: Path, connection: sqlite3.Connection) -> None:
        """Roll back whatever was open, and keep the connection for the next who wants one."""
        if connection.in_transaction:
            connection.rollback()
        self._idle[path].append(connection)

    def close(self) -> None:
        """Close what is kept."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()


_current: list[Disk] = []


def use_disk(disk: Disk | None) -> None:
    """Let connections that are opened from now on stand on this disk: SQLAlchemy makes them by their class alone."""
    _current[:] = [] if disk is None else [disk]


class SimulatedConnection(SqliteConnection):
    """A connection of a simulated process. Locks are waited for in virtual time, and a stopped process runs no statement."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        process = here()
        if process is None:
            raise RuntimeError("a simulated database was opened outside of any simulated process")
        self._process: SimulatedProcess = process
        self._disk = _current[0]

    def connect(self) -> sqlite3.Connection:
        """A connection that waits for no lock: `run` does."""
        self._process.own(self)
        return self._disk.connect(self._path)

    async def execute(self, operation: str, parameters: Any = (), *, many: bool = False) -> Any:
        """Run one statement, as the rules under test have it."""
        return await super().execute(self._disk.rewritten(operation), parameters, many=many)

    async def run(self, function: Callable[[], T]) -> T:
        """Run it now or a moment later; again and again while another connection holds the lock."""
        process = self._process
        process.insist()
        if self._disk.chance.random() < self._disk.slow:
            await asyncio.sleep(self._disk.chance.choice((0.0, 0.0, self._disk.chance.random() * _LONGEST_STATEMENT)))
        await process.thawed()
        deadline = asyncio.get_running_loop().time() + BUSY_SECONDS
        while True:
            self._count()
            try:
                return function()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(self._disk.chance.random() * _LONGEST_BUSY_PAUSE)
            await process.thawed()

    def _count(self) -> None:
        process = self._process
        process.insist()
        if process.statements_left is not None:
            process.statements_left -= 1
            if process.statements_left < 0:
                process.stop("between two statements")
                raise Stopped(process.name)

    def _opened(self) -> sqlite3.Connection:
        self._process.insist()
        return super()._opened()

    async def rollback(self) -> None:
        """Roll back, which a process that ends needs not be told."""
        self._begin = ()
        if self._connection is not None and self._connection.in_transaction:
            self._connection.rollback()

    async def close(self) -> None:
        """Close the connection, with its transaction rolled back."""
        self.stop()

    def stop(self) -> None:
        """Close without waiting."""
        self._process.disown(self)
        self.drop()

    def drop(self) -> None:
        """Close, as the operating system does for a process that has ended."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._disk.give_back(self._path, connection)


class SimulatedDatabase(Database):
    """A service's database in a simulated process. It may be used by one process after another: statements stay compiled."""

    def __init__(self, path: Path, *, schema: str) -> None:
        super().__init__(f"sqlite+aiosqlite:///{path}", schema=schema, sqlite_connection=SimulatedConnection)

    def notices(self) -> Silence:
        """None: the system's clock stamps the files, and time is virtual here."""
        return Silence()

    def renew(self) -> None:
        """Be ready for another process, on another event loop perhaps."""
        self._writer = self._lazy = Connections(self._writer.engine, 1)
        self._reader = Connections(self._reader.engine, _READERS)
