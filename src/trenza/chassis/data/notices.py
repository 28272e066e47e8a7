"""What processes that share a service's database tell one another, so that none has to ask the database again and again."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from trenza.chassis.data.work import UnitOfWork

__all__ = ["FileNotices", "Notices", "PostgresNotices", "Receiver", "Silence", "tell"]

_CHANNEL = "trenza"
_WATCH_SECONDS = 0.25
"""How often the file is looked at, which takes microseconds and asks SQLite nothing."""
_CONNECT_SECONDS = 10.0
_SILENCE_SECONDS = 60.0
"""How long a listening connection may be silent before it is asked for a sign of life."""
_LONGEST_PAUSE_SECONDS = 10.0

_OPTIONS_OF_SQLALCHEMY = {"prepared_statement_cache_size", "prepared_statement_name_func"}
"""What a URL may say that is not for the driver."""

logger = get_logger(__name__)

Receiver = Callable[[str | None], None]
"""Gets what was told, or None when something may have been told that was not heard: then look for yourself."""

_notify = sa.select(sa.func.pg_notify(_CHANNEL, sa.bindparam("text", type_=sa.Text())))


class Notices(ABC):
    """The notices about one service's database that reach this process, its own among them."""

    @property
    @abstractmethod
    def heard(self) -> bool:
        """Whether they come by themselves at present. If not, whoever waits for one looks for himself now and then."""

    @abstractmethod
    def start(self, receiver: Receiver) -> None:
        """Begin to tell the receiver, on the event loop."""

    @abstractmethod
    async def stop(self) -> None:
        """Tell it no more. Does nothing when it is not being told."""


async def tell(work: UnitOfWork, schema: str, text: str) -> None:
    """Tell all processes that listen to a service's database, once this unit of work has committed.

    On SQLite the commit itself does so. On PostgreSQL commits that tell wait for one another, disk and all: tell in a unit of
    work that is rare, or in one of its own that is not durable.
    """
    if work.connection.dialect.name == "postgresql":
        await work.execute(_notify, {"text": f"{schema} {text}"})


class Silence(Notices):
    """Hears nothing."""

    @property
    def heard(self) -> bool:
        """Never."""
        return False

    def start(self, receiver: Receiver) -> None:
        """Nothing to tell."""

    async def stop(self) -> None:
        """Nothing to end."""


class FileNotices(Notices):
    """Watches the file that SQLite appends every commit to. What was committed, and by whom, remains to be looked up."""

    def __init__(self, path: str) -> None:
        self._path = Path(f"{path}-wal")
        self._receiver: Receiver | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._seen: tuple[int, int] | None = None
        self._changed = False

    @property
    def heard(self) -> bool:
        """Always."""
        return True

    def start(self, receiver: Receiver) -> None:
        """See `Notices.start`."""
        self._receiver = receiver
        self._seen = self._stamp()
        self._wait()

    async def stop(self) -> None:
        """See `Notices.stop`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._look)

    def _look(self) -> None:
        stamp = self._stamp()
        changed, self._changed = self._changed, stamp != self._seen
        self._seen = stamp
        self._wait()
        # Once more afterwards: a second commit within the clock tick of the file system may leave the stamp as it was.
        if self._receiver is not None and (changed or self._changed):
            self._receiver(None)

    def _stamp(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None  # nothing has been written since the file was last opened, or it cannot be reached at the moment
        return status.st_mtime_ns, status.st_size


class PostgresNotices(Notices):
    """Hears the notifications about one schema, over the connection that this process has to the whole database."""

    def __init__(self, url: URL, schema: str) -> None:
        self._url = url
        self._schema = schema
        self._receiver: Receiver | None = None
        self._listener: _Listener | None = None

    @property
    def heard(self) -> bool:
        """Whether the connection stands."""
        return self._listener is not None and self._listener.heard

    def start(self, receiver: Receiver) -> None:
        """See `Notices.start`."""
        self._receiver, self._listener = receiver, _listener_of(self._url)
        self._listener.add(self._schema, receiver)

    async def stop(self) -> None:
        """See `Notices.stop`."""
        listener, self._listener = self._listener, None
        if listener is not None and self._receiver is not None:
            await listener.remove(self._schema, self._receiver)


class _Listener:
    """One connection that listens, for all services of a process whose schemas are in one database.

    It is opened again when it breaks; what was told meanwhile is lost, so everybody then looks for himself.
    """

    def __init__(self, url: URL) -> None:
        self.heard = False
        self._url = url
        self._receivers: defaultdict[str, list[Receiver]] = defaultdict(list)
        self._task: asyncio.Task[None] | None = None

    def add(self, schema: str, receiver: Receiver) -> None:
        """Tell this receiver too."""
        self._receivers[schema].append(receiver)
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="notices")

    async def remove(self, schema: str, receiver: Receiver) -> None:
        """Do not tell it any more; the last one closes the connection."""
        self._receivers[schema].remove(receiver)
        if not any(self._receivers.values()) and self._task is not None:
            _forget_listener(self._url)
            task, self._task = self._task, None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._listen(failures)
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever the driver raises, it is tried again
                failures += 1
                if failures == 1:
                    facts = {"database": self._url.render_as_string(), "reason": f"{type(error).__name__}: {error}"}
                    logger.warning("no connection for notices, trying again", **facts)
            self._tell_everybody()
            await asyncio.sleep(min(0.25 * 2.0**failures, _LONGEST_PAUSE_SECONDS))

    async def _listen(self, failures: int) -> None:
        """Listen until the connection ends."""
        ended = asyncio.Event()
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await _connect(self._url)
        try:
            connection.add_termination_listener(lambda _connection: ended.set())
            await connection.add_listener(_CHANNEL, self._hear)
            self.heard = True
            if failures:
                logger.info("notices are heard again", database=self._url.render_as_string(), failures=failures)
            self._tell_everybody()
            while not ended.is_set():
                try:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        await ended.wait()
                except TimeoutError:
                    await connection.execute("SELECT 1", timeout=_CONNECT_SECONDS)
        finally:
            self.heard = False
            connection.terminate()

    def _hear(self, _connection: object, _process: int, _channel: str, payload: object) -> None:
        schema, _, text = str(payload).partition(" ")
        for receiver in tuple(self._receivers.get(schema, ())):
            receiver(text)

    def _tell_everybody(self) -> None:
        for receivers in tuple(self._receivers.values()):
            for receiver in tuple(receivers):
                receiver(None)


_listeners: dict[tuple[asyncio.AbstractEventLoop, URL], _Listener] = {}


def _listener_of(url: URL) -> _Listener:
    key = (asyncio.get_running_loop(), url)
    if key not in _listeners:
        _listeners[key] = _Listener(url)
    return _listeners[key]


def _forget_listener(url: URL) -> None:
    del _listeners[asyncio.get_running_loop(), url]


async def _connect(url: URL) -> Any:
    asyncpg = import_module("asyncpg")  # an extra, which only those who use PostgreSQL have
    known = url.get_dialect()().create_connect_args(url)[1]
    options = {name: value for name, value in known.items() if name not in _OPTIONS_OF_SQLALCHEMY}
    return await asyncpg.connect(**options, server_settings={"application_name": "trenza notices"})
