"""Puts into a service's inbox the tasks that it gives itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from trenza.chassis.context import current_context
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages.envelope import Envelope
from trenza.chassis.messages.reception import inbox_row
from trenza.chassis.messages.statements import insert_or_ignore
from trenza.chassis.messages.tables import DELAYED, RUNNING, WAITING, in_state, inbox

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from trenza.chassis.clock import Clock
    from trenza.chassis.contract import Task
    from trenza.chassis.messages.handlers import Handlers

__all__ = ["Inbox"]

_insert = sa.insert(inbox).inline()
_same = (
    sa.select(inbox.c.message_id)
    .where(inbox.c.type == sa.bindparam("type"), inbox.c.unique_key == sa.bindparam("key"), inbox.c.unique_key.is_not(None))
    .where(in_state(inbox.c.state, WAITING, DELAYED, RUNNING))
)


class Inbox:
    """The tasks of one service on their way into its inbox. A task is a message to oneself and needs no transport."""

    def __init__(self, service: str, handlers: Handlers, clock: Clock) -> None:
        self._service = service
        self._handlers = handlers
        self._clock = clock

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
        """Store a task for this service, in the caller's transaction. Returns its id, or that of the unfinished one it repeats.

        Raises `LookupError` when nobody handles it, `MessageTooLarge` when it takes more than an envelope may.
        """
        now = self._clock.now()
        deliver_by = None if deliver_within is None else now + deliver_within
        row = self._task_row(uuid7(), task, now, deliver_by) | {"priority": priority, "unique_key": unique_key}
        if delay > timedelta(0):
            row |= {"state": DELAYED, "due_at": now + delay, "holds_key": False}
        message_id: UUID = row["message_id"]
        if unique_key is None:
            await connection.execute(_insert, row)
            return message_id
        while True:  # the one in our way may end between the two statements; then ours goes in after all
            if (await connection.execute(insert_or_ignore(connection, inbox), row)).rowcount > 0:
                return message_id
            existing: UUID | None = await connection.scalar(_same, {"type": task.message_type, "key": unique_key})
            if existing is not None:
                return existing

    async def enqueue_once(self, connection: AsyncConnection, task: Task, *, message_id: UUID, priority: int) -> None:
        """Store a task under an id that all who attempt it derive alike: the first one wins."""
        row = self._task_row(message_id, task, self._clock.now(), None) | {"priority": priority}
        await connection.execute(insert_or_ignore(connection, inbox), row)

    def _task_row(self, message_id: UUID, task: Task, now: datetime, deliver_by: datetime | None) -> dict[str, Any]:
        envelope = Envelope.wrap(
            task, message_id=message_id, service=self._service, time=now, deliver_by=deliver_by, context=current_context()
        )
        return inbox_row(
            message_id=message_id,
            consumer=self._handlers.of_task(task.message_type).consumer,
            kind="task",
            type_=task.message_type,
            envelope=envelope.to_json(),
            now=now,
            ordering_key=task.ordering_key,
        )
