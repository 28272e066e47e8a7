"""How a claimed message leaves its worker: completed, retried, postponed, released, cancelled, or as a dead letter.

Every statement is guarded by the lease token: a worker whose lease has run out changes nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trenza.chassis.messages.statements import are_held, held_as_text
from trenza.chassis.messages.tables import CANCELLED, COMPLETED, DELAYED, FAILED, RUNNING, WAITING, in_state, inbox

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from trenza.chassis.data import UnitOfWork
    from trenza.chassis.messages.claims import Claimed

__all__ = ["Reason", "complete", "complete_all", "confirm_cancelled", "fail", "postpone", "release", "release_all", "retry"]

_LONGEST_ERROR = 2000
"""Characters of an error that are kept with the message."""


class Reason(StrEnum):
    """Why a message became a dead letter."""

    EXHAUSTED = "attempts_exhausted"
    REJECTED = "rejected"
    UNREADABLE = "unreadable"
    NO_HANDLER = "no_handler"
    EXPIRED = "expired"


_complete_all = (
    sa.update(inbox)
    .where(are_held(inbox.c.position, inbox.c.lease_token, "held"))
    .where(in_state(inbox.c.state, RUNNING), inbox.c.cancel_requested.is_(sa.false()))
    .values(
        state=COMPLETED,
        finished_at=sa.bindparam("now", type_=inbox.c.finished_at.type),
        progress=1.0,
        holds_key=False,
        lease_token=None,
        lease_until=None,
    )
    .returning(inbox.c.position)
)
_cancelled = inbox.c.cancel_requested.is_(sa.true())
_release_all = (
    sa.update(inbox)
    .where(are_held(inbox.c.position, inbox.c.lease_token, "held"))
    .where(in_state(inbox.c.state, RUNNING))
    .values(
        state=sa.case((_cancelled, CANCELLED), else_=WAITING),
        finished_at=sa.case((_cancelled, sa.bindparam("now", type_=inbox.c.finished_at.type)), else_=sa.null()),
        holds_key=sa.case((_cancelled, sa.false()), else_=sa.true()),
        attempts=inbox.c.attempts - 1,
        lease_token=None,
        lease_until=None,
    )
)


async def complete(work: UnitOfWork, claimed: Claimed, now: datetime) -> bool:
    """Mark one message as handled, unless the lease is lost or somebody cancelled it. Locks the row until the commit."""
    return bool(await complete_all(work, [(claimed.position, claimed.token)], now))


async def complete_all(work: UnitOfWork, held: Iterable[tuple[int, UUID]], now: datetime) -> set[int]:
    """Mark messages as handled, and return the positions of those that still were ours to mark."""
    values = {"held": held_as_text(held), "now": now}
    return set((await work.execute(_complete_all, values)).scalars())


async def retry(work: UnitOfWork, claimed: Claimed, now: datetime, *, due_at: datetime, error: str) -> bool:
    """Let a failed attempt be followed by another one, not before ``due_at``. What was cancelled meanwhile stays so."""
    return await _end(work, claimed, now, DELAYED, due_at=due_at, error=_shortened(error))


async def postpone(work: UnitOfWork, claimed: Claimed, now: datetime, *, due_at: datetime, note: str) -> bool:
    """Put a message off without counting the attempt."""
    return await _end(work, claimed, now, DELAYED, due_at=due_at, note=_shortened(note), attempts=inbox.c.attempts - 1)


async def release(work: UnitOfWork, claimed: Claimed, now: datetime) -> bool:
    """Give a message back for somebody else to claim at once, without counting the attempt (the process is to end)."""
    return await release_all(work, [(claimed.position, claimed.token)], now) == 1


async def release_all(work: UnitOfWork, held: Iterable[tuple[int, UUID]], now: datetime) -> int:
    """Give messages back; returns how many still were ours to give."""
    return (await work.execute(_release_all, {"held": held_as_text(held), "now": now})).rowcount


async def fail(
    work: UnitOfWork, claimed: Claimed, now: datetime, *, reason: Reason, error: str, blocks_key: bool, ran: bool = True
) -> bool:
    """Make it a dead letter. Later messages of its key go on, or wait for the operator when ``blocks_key``.

    ``ran`` is False when its handler was not called: the attempt that was counted at the claim is then taken back.
    """
    return await _end(
        work,
        claimed,
        now,
        FAILED,
        finished_at=now,
        holds_key=blocks_key,
        reason=reason.value,
        error=_shortened(error),
        attempts=inbox.c.attempts - (0 if ran else 1),
    )


async def confirm_cancelled(work: UnitOfWork, claimed: Claimed, now: datetime) -> bool:
    """End a running message whose cancellation was asked for; False when it was not, or is no longer ours."""
    statement = (
        _ours(claimed)
        .where(inbox.c.cancel_requested.is_(sa.true()))
        .values(state=CANCELLED, finished_at=now, holds_key=False, lease_token=None, lease_until=None)
    )
    return (await work.execute(statement)).rowcount == 1


def _ours(claimed: Claimed) -> sa.Update:
    return (
        sa.update(inbox)
        .where(inbox.c.position == claimed.position, inbox.c.lease_token == claimed.token)
        .where(in_state(inbox.c.state, RUNNING))
    )


async def _end(
    work: UnitOfWork,
    claimed: Claimed,
    now: datetime,
    state: str,
    *,
    finished_at: datetime | None = None,
    holds_key: bool = True,
    **values: Any,
) -> bool:
    """Leave the lease for another state, or for ``cancelled`` when that was asked for meanwhile."""
    cancelled = inbox.c.cancel_requested.is_(sa.true())
    statement = _ours(claimed).values(
        state=sa.case((cancelled, CANCELLED), else_=state),
        finished_at=sa.case((cancelled, now), else_=sa.literal(finished_at, inbox.c.finished_at.type)),
        holds_key=sa.case((cancelled, sa.false()), else_=sa.true() if holds_key else sa.false()),
        lease_token=None,
        lease_until=None,
        **values,
    )
    return (await work.execute(statement)).rowcount == 1


def _shortened(text: str) -> str:
    """At most so much as an operator reads; PostgreSQL's text cannot hold the NUL character."""
    return text.replace("\x00", "\\x00")[:_LONGEST_ERROR]
