"""One attempt at one message, as its handler sees it, and the marks of those that need no transaction of their own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid5

import sqlalchemy as sa

from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages import endings
from trenza.chassis.messages.definitions import LeaseLost
from trenza.chassis.messages.tables import RUNNING, in_state, inbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database, UnitOfWork
    from trenza.chassis.messages.claims import Claimed

__all__ = ["Completions", "InboxDelivery"]

_PROGRESS_SECONDS = 0.25
"""The shortest time between two writes of one message's progress."""


class InboxDelivery:
    """The `Delivery` of a claimed inbox row."""

    def __init__(self, database: Database, claimed: Claimed, *, attempts: int, clock: Clock) -> None:
        self._database = database
        self._claimed = claimed
        self._attempts = attempts
        self._clock = clock
        self._progress_written = float("-inf")
        self._finishing = False
        self.finished = False
        """Whether `finish` has committed."""

    @property
    def message_id(self) -> UUID:
        """The id that stays the same over all attempts and redeliveries."""
        return self._claimed.message_id

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._claimed.attempt

    @property
    def last_attempt(self) -> bool:
        """Whether a failure now makes it a dead letter."""
        return self._claimed.attempt >= self._attempts

    @asynccontextmanager
    async def finish(self) -> AsyncIterator[UnitOfWork]:
        """The unit of work that ends this delivery; see `Delivery.finish`.

        The guard comes first, not last: its row stays locked until the commit (SQLite: the whole database does), so nobody can
        take the message over in between, and a worker that has lost it learns so before it writes anything.
        """
        if self._finishing:
            raise RuntimeError("finish() ends a delivery; call it once")
        self._finishing = True
        reached(Failpoint.HANDLER_FINISHING)
        try:
            async with self._database.work() as work:
                self._insist(owned=await endings.complete(work, self._claimed, self._clock.now()))
                reached(Failpoint.HANDLER_GUARDED)
                yield work
                reached(Failpoint.HANDLER_BEFORE_COMMIT)
        except BaseException:
            self._finishing = False  # nothing was stored; a handler that handles the error may try again
            raise
        self.finished = True
        reached(Failpoint.HANDLER_COMMITTED)

    async def progress(self, fraction: float, note: str = "") -> None:
        """Write how far the task is, unless that was done a moment ago; see `Delivery.progress`."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"progress is a fraction from 0 to 1, not {fraction}")
        moment = asyncio.get_running_loop().time()
        if moment - self._progress_written < _PROGRESS_SECONDS:
            return
        self._progress_written = moment
        statement = (
            sa.update(inbox)
            .where(inbox.c.position == self._claimed.position, inbox.c.lease_token == self._claimed.token)
            .where(in_state(inbox.c.state, RUNNING))
            .values(progress=fraction, note=note.replace("\x00", ""))
        )
        async with self._database.work() as work:
            self._insist(owned=(await work.execute(statement)).rowcount == 1)

    def _insist(self, *, owned: bool) -> None:
        if not owned:
            raise LeaseLost(f"{self._claimed.type} {self.message_id}: this attempt no longer owns the message")

    def step_key(self, step: str) -> str:
        """An idempotency key for an external effect of this message: the same at every attempt, another for each consumer."""
        return uuid5(self.message_id, f"{self._claimed.consumer}:{step}").hex


class Completions:
    """Marks handled messages whose handlers wrote nothing more: those that end during one commit share the next."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._pending: list[tuple[Claimed, asyncio.Future[bool]]] = []
        self._writing: asyncio.Task[None] | None = None

    async def complete(self, claimed: Claimed) -> bool:
        """Mark a message as handled; False when it was no longer ours. Returns after the commit."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._pending.append((claimed, done))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return await done

    async def _write(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending, []
                try:
                    async with self._database.work() as work:
                        held = [(claimed.position, claimed.token) for claimed, _ in batch]
                        ours = await endings.complete_all(work, held, self._clock.now())
                        reached(Failpoint.MARKS_BEFORE_COMMIT)
                    reached(Failpoint.MARKS_COMMITTED)
                except Exception as error:  # noqa: BLE001 - it belongs to those who wait, each of whom raises it
                    _settle(batch, error)
                else:
                    _settle(batch, ours)
        finally:
            self._writing = None


def _settle(batch: list[tuple[Claimed, asyncio.Future[bool]]], result: set[int] | Exception) -> None:
    for claimed, done in batch:
        if done.done():  # its waiter was cancelled
            continue
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(claimed.position in result)
