"""The unit of work: business writes and outgoing messages that commit in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, Self
from uuid import UUID

from trenza.chassis.contract import Event, Task

if TYPE_CHECKING:
    from sqlalchemy import CursorResult, Executable
    from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = [
    "CommitWatch",
    "MessageWriter",
    "NestedUnitOfWork",
    "NoMessages",
    "UnitOfWork",
    "forbid_open_work",
    "note_undecided",
    "open_unit_of_work",
]


class NestedUnitOfWork(RuntimeError):
    """Something was attempted inside an open unit of work that would escape its transaction or hold it open."""


class MessageWriter(Protocol):
    """Writes messages into a service's own database, inside a transaction that somebody else commits."""

    async def publish(self, connection: AsyncConnection, event: Event, *, deliver_within: timedelta | None) -> UUID:
        """Store an event in the outbox and return its message id."""
        ...

    async def enqueue(
        self,
        connection: AsyncConnection,
        task: Task,
        *,
        delay: timedelta,
        priority: int,
        unique_key: str | None,
        deliver_within: timedelta | None,
    ) -> UUID:
        """Store a task in the inbox of its own service and return its message id."""
        ...

    def wake(self, *, published: bool, enqueued: bool) -> None:
        """Tell relay (``published``) and worker (``enqueued``) of this process that a commit has left them work."""
        ...


class NoMessages:
    """The writer of a database whose service declares no messages."""

    async def publish(
        self,
        connection: AsyncConnection,  # noqa: ARG002
        event: Event,
        *,
        deliver_within: timedelta | None,  # noqa: ARG002
    ) -> UUID:
        """Refuse: nothing would deliver it."""
        message = f"{event.message_type} cannot be published: this database has no outbox"
        raise RuntimeError(message)

    async def enqueue(
        self,
        connection: AsyncConnection,  # noqa: ARG002
        task: Task,
        *,
        delay: timedelta,  # noqa: ARG002
        priority: int,  # noqa: ARG002
        unique_key: str | None,  # noqa: ARG002
        deliver_within: timedelta | None,  # noqa: ARG002
    ) -> UUID:
        """Refuse: nothing would run it."""
        message = f"{task.message_type} cannot be enqueued: this database has no inbox"
        raise RuntimeError(message)

    def wake(self, *, published: bool, enqueued: bool) -> None:
        """Nobody to wake."""


class UnitOfWork:
    """One open transaction of one service's database. Made by `Database.work`, never by hand."""

    def __init__(self, connection: AsyncConnection, messages: MessageWriter) -> None:
        self.connection = connection
        self._messages = messages
        self._published = False
        self._enqueued = False
        self._on_commit: list[Callable[[], None]] = []

    async def execute(self, statement: Executable, parameters: Any = None) -> CursorResult[Any]:
        """Run a SQLAlchemy Core statement in this transaction."""
        return await self.connection.execute(statement, parameters)

    async def publish(self, event: Event, *, deliver_within: timedelta | None = None) -> UUID:
        """Announce a fact: it leaves if, and only if, this unit of work commits. Returns the message id.

        Who has not begun to handle it ``deliver_within`` from now gets a dead letter instead; None: it never goes stale.
        """
        self._published = True
        return await self._messages.publish(self.connection, event, deliver_within=deliver_within)

    async def enqueue(
        self,
        task: Task,
        *,
        delay: timedelta = timedelta(0),
        priority: int = 0,
        unique_key: str | None = None,
        deliver_within: timedelta | None = None,
    ) -> UUID:
        """Give this service work that starts after the commit, ``delay`` later. Returns the task's message id.

        Higher ``priority`` runs first (0 is normal, negative is background). While an unfinished task of the same type has the
        same ``unique_key``, no second one is stored and the first one's id comes back. A task that has not begun
        ``deliver_within`` from now becomes a dead letter; None: it never goes stale.
        """
        self._enqueued = True
        return await self._messages.enqueue(
            self.connection, task, delay=delay, priority=priority, unique_key=unique_key, deliver_within=deliver_within
        )

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call something cheap after a successful commit. A crash may skip it: never put a promise here."""
        self._on_commit.append(callback)

    def committed(self) -> None:
        """Called by the database once the commit is durable."""
        if self._published or self._enqueued:
            self._messages.wake(published=self._published, enqueued=self._enqueued)
        for callback in self._on_commit:
            callback()


class CommitWatch:
    """Notices, of the units of work that begin in its block, those of which nobody knows whether they have committed.

    ``with commits: …``, and ``commits.undecided`` afterwards. What runs in tasks that were made in the block counts as well.
    """

    def __init__(self) -> None:
        self.undecided = False
        """Whether there was one: its database went away in the midst of a commit."""
        self._token: Token[tuple[CommitWatch, ...]] | None = None

    def __enter__(self) -> Self:
        self._token = _watches.set((*_watches.get(), self))
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _watches.reset(self._token)


_watches: ContextVar[tuple[CommitWatch, ...]] = ContextVar("trenza_commit_watches", default=())


def note_undecided() -> None:
    """Tell those who watch that nobody knows whether the unit of work of this moment has committed."""
    for watch in _watches.get():
        watch.undecided = True


_open: ContextVar[UnitOfWork | None] = ContextVar("trenza_open_unit_of_work", default=None)


@contextmanager
def open_unit_of_work(unit: UnitOfWork) -> Iterator[None]:
    """Mark the block as running inside this unit of work."""
    token = _open.set(unit)
    try:
        yield
    finally:
        _open.reset(token)


def forbid_open_work(what: str) -> None:
    """Raise `NestedUnitOfWork` when a unit of work is open: the split deployment could not do it, so the monolith must not."""
    if _open.get() is not None:
        message = f"cannot {what} while a unit of work is open; end it first"
        raise NestedUnitOfWork(message)
