"""Dead letters: what an operator can see of them, and do with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import sqlalchemy as sa

from trenza.chassis.clock import SystemClock
from trenza.chassis.contract import Value
from trenza.chassis.data.notices import tell
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.news import WORK_NOTICE
from trenza.chassis.messages.tables import DELAYED, DISCARDED, FAILED, RUNNING, WAITING, in_state, inbox

if TYPE_CHECKING:
    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database, UnitOfWork

__all__ = ["DeadLetter", "DeadLetterPage", "DeadLetters", "redrive"]

_LARGEST_PAGE = 200
_is_dead = in_state(inbox.c.state, FAILED)


class DeadLetter(Value):
    """A message that no attempt will handle unless an operator redrives it. ``envelope`` is its CloudEvents JSON, as stored."""

    id: UUID
    consumer: str
    type: str
    ordering_key: str | None
    reason: str
    """attempts_exhausted, rejected, unreadable, no_handler or expired."""
    error: str | None
    attempts: int
    blocks_key: bool
    """Whether later messages of its ordering key wait for it."""
    created_at: datetime
    failed_at: datetime
    envelope: str


class DeadLetterPage(Value):
    """Dead letters, oldest first; ``cursor`` continues after them and is None at the end."""

    letters: tuple[DeadLetter, ...]
    cursor: str | None


class DeadLetters:
    """The dead letters in one service's database. A running service sees at once what is redriven here."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def list(self, *, limit: int = 50, cursor: str | None = None, type: str | None = None) -> DeadLetterPage:  # noqa: A002 - CloudEvents' word
        """Dead letters, oldest first, at most 200 a page. Raises `ValueError` for a cursor that `list` did not hand out."""
        limit = max(1, min(limit, _LARGEST_PAGE))
        statement = sa.select(inbox).where(_is_dead, *_of_type(type)).order_by(inbox.c.position).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(inbox.c.position > int(cursor))
        async with self._database.read() as connection:
            rows = (await connection.execute(statement)).all()
        more = len(rows) > limit
        rows = rows[:limit]
        return DeadLetterPage(letters=tuple(map(_letter, rows)), cursor=str(rows[-1].position) if more else None)

    async def show(self, message_id: UUID) -> tuple[DeadLetter, ...]:
        """The dead letters of one message: one for each consumer that failed with it, none when there is no such letter."""
        statement = sa.select(inbox).where(inbox.c.message_id == message_id, _is_dead).order_by(inbox.c.consumer)
        async with self._database.read() as connection:
            return tuple(map(_letter, await connection.execute(statement)))

    async def redrive(self, *, ids: Sequence[UUID] | None = None, type: str | None = None) -> int:  # noqa: A002
        """Let dead letters be handled again, with all their attempts before them; all of them, some ids, or one type.

        Returns how many. One whose unique key an unfinished task has taken meanwhile stays where it is.
        """
        async with self._database.work() as work:
            redriven = await redrive(work, await self._positions(work, ids, type), self._clock.now())
            if redriven:
                await tell(work, self._database.schema, WORK_NOTICE)
            reached(Failpoint.LETTERS_REDRIVING)
        return redriven

    async def discard(self, *, ids: Sequence[UUID] | None = None, type: str | None = None) -> int:  # noqa: A002
        """Give dead letters up: all of them, some ids, or one type. Returns how many. Messages that waited for them go on."""
        async with self._database.work() as work:
            positions = await self._positions(work, ids, type)
            statement = (
                sa.update(inbox)
                .where(inbox.c.position.in_(positions), _is_dead)
                .values(state=DISCARDED, holds_key=False, finished_at=self._clock.now())
            )
            discarded = (await work.execute(statement)).rowcount
            if discarded:
                await tell(work, self._database.schema, WORK_NOTICE)
        return discarded

    async def _positions(self, work: UnitOfWork, ids: Sequence[UUID] | None, type_: str | None) -> Sequence[int]:
        statement = sa.select(inbox.c.position).where(_is_dead, *_of_type(type_)).order_by(inbox.c.position)
        if ids is not None:
            statement = statement.where(inbox.c.message_id.in_(ids))
        return (await work.execute(statement)).scalars().all()


_other = inbox.alias("other")
_redrive = (
    sa.update(inbox)
    .where(inbox.c.position == sa.bindparam("which"), _is_dead)
    .where(
        sa.or_(
            inbox.c.unique_key.is_(None),
            ~sa.exists().where(
                _other.c.type == inbox.c.type,
                _other.c.unique_key == inbox.c.unique_key,
                in_state(_other.c.state, WAITING, DELAYED, RUNNING),
            ),
        )
    )
    .values(
        state=WAITING,
        attempts=0,
        due_at=sa.bindparam("at"),
        finished_at=None,
        holds_key=True,
        cancel_requested=False,
        progress=0.0,
        reason=None,
    )
)


async def redrive(work: UnitOfWork, positions: Sequence[int], now: datetime) -> int:
    """Let the dead letters in these rows be handled again; returns how many. See `DeadLetters.redrive`."""
    redriven = 0
    for position in positions:
        redriven += (await work.execute(_redrive, {"at": now, "which": position})).rowcount
    return redriven


def _of_type(type_: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    return () if type_ is None else (inbox.c.type == type_,)


def _letter(row: sa.Row[Any]) -> DeadLetter:
    return DeadLetter(
        id=row.message_id,
        consumer=row.consumer,
        type=row.type,
        ordering_key=row.ordering_key,
        reason=row.reason,
        error=row.error,
        attempts=row.attempts,
        blocks_key=row.holds_key,
        created_at=row.created_at,
        failed_at=row.finished_at,
        envelope=row.envelope,
    )
