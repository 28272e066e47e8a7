"""What an operator sees of a service's messages at a glance: how much waits, for how long already, and how fast it goes."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trenza.chassis.contract import Value
from trenza.chassis.messages.tables import (
    CANCELLED,
    COMPLETED,
    DELAYED,
    DISCARDED,
    FAILED,
    RUNNING,
    SENT,
    WAITING,
    in_state,
    inbox,
    outbox,
)

if TYPE_CHECKING:
    from trenza.chassis.data import Database
    from trenza.chassis.messages.handlers import Handlers

__all__ = ["MessagesOverview", "Overview", "QueueState"]


class QueueState(Value):
    """The messages of one type that one consumer handles; an empty consumer stands for those that nobody does."""

    consumer: str
    type: str
    waiting: int = 0
    delayed: int = 0
    retrying: int = 0
    """Of the delayed ones: those that a failed attempt has put off."""
    running: int = 0
    dead: int = 0
    oldest_seconds: float | None = None
    """For how long the oldest waiting one could have been handled; None when none waits."""
    handled_per_second: float = 0.0
    failed_per_second: float = 0.0
    """Those that became dead letters."""


class MessagesOverview(Value):
    """The messages of one service at one moment; the rates are those of the ``seconds`` before it."""

    at: datetime
    seconds: float
    queues: tuple[QueueState, ...]
    """By consumer and type; all that are declared, and all that the inbox holds."""
    outbox_waiting: int
    outbox_oldest_seconds: float | None
    sent_per_second: float


_ENDED = in_state(inbox.c.state, COMPLETED, CANCELLED, DISCARDED)
_after, _until = (sa.bindparam(name, type_=inbox.c.finished_at.type) for name in ("after", "until"))
_in_window = sa.and_(inbox.c.finished_at > _after, inbox.c.finished_at <= _until)


def _held(state: str, lately: Any, *, oldest: sa.ColumnElement[datetime]) -> sa.Select[Any]:
    """The messages in one state: a statement for each, for that is how the partial indexes serve them."""
    return (
        sa.select(
            sa.literal_column(f"'{state}'", sa.Text()).label("state"),
            inbox.c.consumer,
            inbox.c.type,
            sa.func.count().label("messages"),
            sa.func.sum(sa.case((lately, 1), else_=0)).label("counted"),
            sa.func.min(oldest).label("oldest"),
        )
        .where(in_state(inbox.c.state, state))
        .group_by(inbox.c.consumer, inbox.c.type)
    )


_queues = sa.union_all(
    _held(WAITING, sa.false(), oldest=inbox.c.due_at),
    _held(DELAYED, inbox.c.attempts > 0, oldest=inbox.c.due_at),
    _held(RUNNING, sa.false(), oldest=inbox.c.due_at),
    _held(FAILED, _in_window, oldest=inbox.c.finished_at),
    sa.select(
        sa.literal_column(f"'{COMPLETED}'", sa.Text()),
        inbox.c.consumer,
        inbox.c.type,
        sa.func.count(),
        sa.func.sum(sa.case((in_state(inbox.c.state, COMPLETED), 1), else_=0)),
        sa.func.min(inbox.c.finished_at),
    )
    .where(_ENDED, _in_window)
    .group_by(inbox.c.consumer, inbox.c.type),
)
_unsent = sa.select(sa.func.count(), sa.func.min(outbox.c.created_at)).where(in_state(outbox.c.state, WAITING))
_sent = sa.select(sa.func.count()).where(in_state(outbox.c.state, SENT), outbox.c.sent_at > _after, outbox.c.sent_at <= _until)


class Overview:
    """Looks at one service's message tables. Reads what waits, runs and is dead, and what ended lately; not what ended before."""

    def __init__(self, database: Database, handlers: Handlers) -> None:
        self._database = database
        self._handlers = handlers

    async def look(self, *, after: datetime, until: datetime) -> MessagesOverview:
        """The state at ``until``, with the rates since ``after``."""
        window = {"after": after, "until": until}
        seconds = max((until - after).total_seconds(), 0.001)  # a clock that is set back gives no sense, but no error either
        async with self._database.read() as connection:
            rows = (await connection.execute(_queues, window)).all()
            unsent, oldest = (await connection.execute(_unsent)).one()
            sent = await connection.scalar(_sent, window)
        found: dict[tuple[str, str], dict[str, Any]] = {pair: {} for pair in self._handlers.pairs}
        for row in rows:
            figures = found.setdefault((row.consumer, row.type), {})
            match row.state:
                case "waiting":
                    figures |= {"waiting": row.messages, "oldest_seconds": _age(row.oldest, until)}
                case "delayed":
                    figures |= {"delayed": row.messages, "retrying": row.counted}
                case "running":
                    figures["running"] = row.messages
                case "failed":
                    figures |= {"dead": row.messages, "failed_per_second": row.counted / seconds}
                case _:
                    figures["handled_per_second"] = row.counted / seconds
        return MessagesOverview(
            at=until,
            seconds=seconds,
            queues=tuple(
                QueueState(consumer=consumer, type=type_, **found[consumer, type_]) for consumer, type_ in sorted(found)
            ),
            outbox_waiting=unsent,
            outbox_oldest_seconds=None if oldest is None else _age(oldest, until),
            sent_per_second=(sent or 0) / seconds,
        )


def _age(moment: datetime, now: datetime) -> float:
    return max((now - moment).total_seconds(), 0.0)
