"""The board of a service's tasks: their states, waiting for their end, and cancelling them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import UUID

import sqlalchemy as sa

from trenza.chassis.contract import Value
from trenza.chassis.data import forbid_open_work
from trenza.chassis.data.notices import tell
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.news import CANCELLED_NOTICE
from trenza.chassis.messages.tables import CANCELLED, DELAYED, DISCARDED, FAILED, RUNNING, WAITING, in_state, inbox

if TYPE_CHECKING:
    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database

__all__ = ["Board", "TaskPage", "TaskState", "TaskStateName"]

_FIRST_LOOK_SECONDS = 0.25
_LONGEST_LOOK_SECONDS = 2.0
"""`Board.wait` looks by itself as well, for a task that another process handles: soon, then less and less often."""
_LARGEST_PAGE = 200

TaskStateName = Literal["waiting", "running", "completed", "failed", "cancelled"]
_STORED: dict[TaskStateName, tuple[str, ...]] = {
    "waiting": (WAITING, DELAYED),
    "running": (RUNNING,),
    "completed": ("completed",),
    "failed": (FAILED, DISCARDED),
    "cancelled": (CANCELLED,),
}
_SHOWN = {stored: shown for shown, several in _STORED.items() for stored in several}


class TaskState(Value):
    """How a task stands. ``error`` is that of its latest failed attempt; ``failed`` means no further one follows by itself."""

    id: UUID
    type: str
    state: TaskStateName
    progress: float
    """From 0 to 1; 1 when completed."""
    note: str
    attempts: int
    error: str | None
    created_at: datetime
    finished_at: datetime | None

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it by itself."""
        return self.state in ("completed", "failed", "cancelled")


class TaskPage(Value):
    """Tasks, newest first; ``cursor`` continues after them and is None at the end."""

    tasks: tuple[TaskState, ...]
    cursor: str | None


_columns: tuple[sa.Column[Any], ...] = (
    inbox.c.position,
    inbox.c.message_id,
    inbox.c.type,
    inbox.c.state,
    inbox.c.progress,
    inbox.c.note,
    inbox.c.attempts,
    inbox.c.error,
    inbox.c.created_at,
    inbox.c.finished_at,
)


class Board:
    """Looks at the tasks of one service's inbox; events are not on it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._watchers: defaultdict[UUID, set[asyncio.Event]] = defaultdict(set)

    async def find(self, task_id: UUID) -> TaskState | None:
        """The state of a task, or None when no such task is known (any more: ended ones are kept for seven days)."""
        statement = sa.select(*_columns).where(inbox.c.message_id == task_id, inbox.c.kind == "task")
        async with self._database.read() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else _state(row)

    async def list(self, *, state: TaskStateName | None = None, limit: int = 50, cursor: str | None = None) -> TaskPage:
        """Tasks, newest first, at most 200 a page. Raises `ValueError` for a cursor that `list` did not hand out."""
        limit = max(1, min(limit, _LARGEST_PAGE))
        statement = sa.select(*_columns).where(inbox.c.kind == "task").order_by(inbox.c.position.desc()).limit(limit + 1)
        if state is not None:
            statement = statement.where(in_state(inbox.c.state, *_STORED[state]))
        if cursor is not None:
            statement = statement.where(inbox.c.position < int(cursor))
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        more = len(rows) > limit
        rows = rows[:limit]
        return TaskPage(tasks=tuple(_state(row) for row in rows), cursor=str(rows[-1].position) if more else None)

    async def wait(self, task_id: UUID, *, timeout: float) -> TaskState | None:
        """The state of a task once it has ended, or as it is after ``timeout`` seconds; None when it is not known."""
        forbid_open_work("wait for a task")
        event = asyncio.Event()
        self._watchers[task_id].add(event)  # before looking: its end must not fall in between
        try:
            deadline, look = asyncio.get_running_loop().time() + timeout, _FIRST_LOOK_SECONDS
            while True:
                event.clear()
                state = await self.find(task_id)
                remaining = deadline - asyncio.get_running_loop().time()
                if state is None or state.ended or remaining <= 0:
                    return state
                try:
                    async with asyncio.timeout(min(remaining, look)):
                        await event.wait()
                except TimeoutError:
                    look = min(2 * look, _LONGEST_LOOK_SECONDS)
        finally:
            self._watchers[task_id].discard(event)
            if not self._watchers[task_id]:
                del self._watchers[task_id]

    async def cancel(self, task_id: UUID) -> bool:
        """Ask a task to stop; False when it has ended already or is not known.

        A waiting one never starts. A running one is cancelled, and what its `Delivery.finish` would write is refused from now on.
        """
        waits = in_state(inbox.c.state, WAITING, DELAYED)
        statement = (
            sa.update(inbox)
            .where(inbox.c.message_id == task_id, inbox.c.kind == "task")
            .where(in_state(inbox.c.state, WAITING, DELAYED, RUNNING))
            .values(
                cancel_requested=True,
                state=sa.case((waits, CANCELLED), else_=inbox.c.state),
                finished_at=sa.case((waits, self._clock.now()), else_=inbox.c.finished_at),
                holds_key=sa.case((waits, sa.false()), else_=inbox.c.holds_key),
            )
        )
        async with self._database.work() as work:
            asked = (await work.execute(statement)).rowcount > 0
            if asked:
                await tell(work, self._database.schema, f"{CANCELLED_NOTICE} {task_id}")
        reached(Failpoint.CANCEL_ASKED)
        self.changed(task_id)
        return asked

    def changed(self, task_id: UUID) -> None:
        """Wake those who wait for this task; they look for themselves."""
        for event in self._watchers.get(task_id, ()):
            event.set()


def _state(row: sa.Row[Any]) -> TaskState:
    return TaskState(
        id=row.message_id,
        type=row.type,
        state=_SHOWN[cast("str", row.state)],
        progress=row.progress,
        note=row.note,
        attempts=row.attempts,
        error=row.error,
        created_at=row.created_at,
        finished_at=row.finished_at,
    )
