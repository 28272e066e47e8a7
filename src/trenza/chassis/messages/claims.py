"""Claims messages for a worker: the head of each ordering key, under a lease with a token."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from trenza.chassis.messages.room import Room, share_out
from trenza.chassis.messages.statements import among, are_held, held_as_text, numbers_as_text
from trenza.chassis.messages.tables import CANCELLED, DELAYED, RUNNING, WAITING, in_state, inbox, leases

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from trenza.chassis.data import UnitOfWork

__all__ = ["Claimed", "Outlook", "cancelled", "claim", "end_leases", "extend", "look", "settle"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """One message that this worker holds; ``attempt`` counts the one that begins now."""

    position: int
    message_id: UUID
    consumer: str
    type: str
    ordering_key: str | None
    priority: int
    attempt: int
    envelope: str
    token: UUID


@dataclass(frozen=True, slots=True)
class Outlook:
    """What an inbox will want next: whether messages are waiting, when one falls due, when a lease runs out."""

    waiting: bool
    next_due: datetime | None
    next_expiry: datetime | None

    def seconds(self, now: datetime, longest: float) -> float:
        """Until the next delayed message falls due or a lease runs out: ``longest`` at most, 0 when that is past."""
        moments = [moment for moment in (self.next_due, self.next_expiry) if moment is not None]
        return min(max((min(moments) - now).total_seconds(), 0.0), longest) if moments else longest


_held = inbox.alias("held")
# Spelt out, because SQLite would be shown `holds_key = 1`, which is not the condition of the partial index.
_holds_key = sa.text("held.holds_key")
_same_key = sa.and_(_held.c.consumer == inbox.c.consumer, _held.c.ordering_key == inbox.c.ordering_key)
_key_is_free = sa.or_(
    inbox.c.ordering_key.is_(None),
    sa.and_(
        ~sa.exists().where(_same_key, _holds_key, _held.c.position < inbox.c.position),
        # A message that was committed late may stand before one that already runs.
        ~sa.exists().where(_same_key, in_state(_held.c.state, RUNNING)),
    ),
)
# The types as well: a newer process may have addressed messages to a consumer that does not know them here. They wait for it.
_wanted = sa.and_(
    inbox.c.consumer.in_(sa.bindparam("consumers", expanding=True)), inbox.c.type.in_(sa.bindparam("types", expanding=True))
)
_candidates = (
    sa.select(
        inbox.c.position,
        inbox.c.message_id,
        inbox.c.consumer,
        inbox.c.type,
        inbox.c.ordering_key,
        inbox.c.priority,
        inbox.c.attempts,
        inbox.c.envelope,
    )
    .where(in_state(inbox.c.state, WAITING), _wanted, _key_is_free)
    .order_by(inbox.c.priority.desc(), inbox.c.position)
    .limit(sa.bindparam("batch"))
    .with_for_update(skip_locked=True, of=inbox)  # SQLite has no such clause and needs none: BEGIN IMMEDIATE
)
_fallen_due = sa.select(inbox.c.position).where(in_state(inbox.c.state, DELAYED), inbox.c.due_at <= sa.bindparam("now"))
_promote = (
    sa.update(inbox).where(inbox.c.position.in_(_fallen_due.with_for_update(skip_locked=True))).values({inbox.c.state: WAITING})
)
_expired = (
    sa.select(inbox.c.position)
    .where(in_state(inbox.c.state, RUNNING), inbox.c.lease_until <= sa.bindparam("now"))
    .where(inbox.c.lease_token.not_in(sa.bindparam("own", expanding=True)))
)
_cancelled = inbox.c.cancel_requested.is_(sa.true())
_recover = (
    sa.update(inbox)
    .where(inbox.c.position.in_(_expired.with_for_update(skip_locked=True)))
    .values(
        state=sa.case((_cancelled, CANCELLED), else_=WAITING),
        finished_at=sa.case((_cancelled, sa.bindparam("now", type_=inbox.c.finished_at.type)), else_=sa.null()),
        holds_key=sa.case((_cancelled, sa.false()), else_=sa.true()),
        lease_token=None,
        lease_until=None,
    )
    .returning(inbox.c.message_id)
)
_running = inbox.alias("running")
_take = (
    sa.update(inbox)
    .where(among(inbox.c.position, "positions"), in_state(inbox.c.state, WAITING))
    # Again, because the candidates were chosen before the keys were locked: see _lock_keys.
    .where(
        sa.or_(
            inbox.c.ordering_key.is_(None),
            ~sa.exists().where(
                _running.c.consumer == inbox.c.consumer,
                _running.c.ordering_key == inbox.c.ordering_key,
                in_state(_running.c.state, RUNNING),
            ),
        )
    )
    .values(
        state=RUNNING,
        attempts=inbox.c.attempts + 1,
        holds_key=True,
        lease_token=sa.bindparam("token"),
        lease_until=sa.bindparam("until"),
    )
    .returning(inbox.c.position)
)
_extend = (
    sa.update(inbox)
    .where(are_held(inbox.c.position, inbox.c.lease_token, "held"), in_state(inbox.c.state, RUNNING))
    .values(lease_until=sa.bindparam("until"))
    .returning(inbox.c.position, inbox.c.lease_token, inbox.c.cancel_requested)
)
_asked_to_stop = sa.select(inbox.c.message_id).where(
    are_held(inbox.c.position, inbox.c.lease_token, "held"), in_state(inbox.c.state, RUNNING), _cancelled
)
_outlook = sa.select(
    sa.exists().where(in_state(inbox.c.state, WAITING), _wanted).label("waiting"),
    sa.select(sa.func.min(inbox.c.due_at)).where(in_state(inbox.c.state, DELAYED)).scalar_subquery().label("next_due"),
    sa.select(sa.func.min(inbox.c.lease_until)).where(in_state(inbox.c.state, RUNNING)).scalar_subquery().label("next_expiry"),
)


async def claim(
    work: UnitOfWork, *, room: Room, types: Collection[str], until: datetime, schema: str
) -> tuple[list[Claimed], bool]:
    """Claim as many messages of these types as there is ``room`` for, until the given moment.

    Takes the highest priority first, then of the consumer with the fewest at work, then the oldest; of each (consumer, ordering
    key) only the first unfinished. Counts an attempt for each. The second value tells whether there may be more to claim now.
    """
    consumers, found, more = set(room.consumers), list[sa.Row[Any]](), False
    while consumers:  # a flood fills the first batch; those who are not in it are looked for behind it
        batch = {"consumers": sorted(consumers), "types": sorted(types), "batch": room.size}
        rows = (await work.execute(_candidates, batch)).all()
        found += rows
        if len(rows) < room.size:
            break
        more = True
        consumers -= {row.consumer for row in rows}
    chosen = share_out(room, found)
    if work.connection.dialect.name == "postgresql":
        chosen = await _lock_keys(work.connection, schema, chosen)
    if not chosen:
        return [], bool(found)
    token = uuid4()
    values = {"positions": numbers_as_text(row.position for row in chosen), "token": token, "until": until}
    taken = set((await work.execute(_take, values)).scalars())
    claimed = [
        Claimed(
            position=row.position,
            message_id=row.message_id,
            consumer=row.consumer,
            type=row.type,
            ordering_key=row.ordering_key,
            priority=row.priority,
            attempt=row.attempts + 1,
            envelope=row.envelope,
            token=token,
        )
        for row in chosen
        if row.position in taken
    ]
    return claimed, more


async def _lock_keys(connection: AsyncConnection, schema: str, chosen: list[sa.Row[Any]]) -> list[sa.Row[Any]]:
    """Keep those whose ordering key no other worker is claiming at this moment (PostgreSQL only).

    Two transactions may each see another message of one key as its head, when both were committed between their snapshots. With
    the key locked until our commit, the statement that follows sees what the other one took.
    """
    numbers = {row.position: _number(schema, row.consumer, row.ordering_key) for row in chosen if row.ordering_key is not None}
    if not numbers:
        return chosen
    wanted = sa.select(sa.func.unnest(sa.bindparam("keys", type_=sa.ARRAY(sa.BigInteger))).label("key")).subquery()
    locked = sa.select(wanted.c.key, sa.func.pg_try_advisory_xact_lock(wanted.c.key))
    got = {key for key, ours in await connection.execute(locked, {"keys": sorted(set(numbers.values()))}) if ours}
    return [row for row in chosen if row.ordering_key is None or numbers[row.position] in got]


def _number(schema: str, consumer: str, key: str) -> int:
    """A number of 63 bits for the advisory lock of an ordering key."""
    return int.from_bytes(hashlib.sha256(f"{schema}\0{consumer}\0{key}".encode()).digest()[:8], "big") >> 1


async def settle(work: UnitOfWork, now: datetime, own: Collection[UUID]) -> tuple[int, list[UUID]]:
    """Let what has fallen due be claimed, and what is held under a lease that has run out.

    Returns how many fell due, and the ids of those whose lease had run out. Those under one's ``own`` tokens are left alone:
    they still run here, only their heartbeat is late.
    """
    promoted = (await work.execute(_promote, {"now": now})).rowcount
    return promoted, list((await work.execute(_recover, {"now": now, "own": list(own)})).scalars())


async def end_leases(work: UnitOfWork, now: datetime) -> None:
    """Let every lease run out now: those on messages, and the relay's."""
    await work.execute(sa.update(inbox).where(in_state(inbox.c.state, RUNNING)).values(lease_until=now))
    await work.execute(sa.update(leases).values(token=None, until=None))


async def look(connection: AsyncConnection, consumers: Collection[str], types: Collection[str]) -> Outlook:
    """See what there will be to do."""
    row = (await connection.execute(_outlook, {"consumers": sorted(consumers), "types": sorted(types)})).one()
    return Outlook(waiting=bool(row.waiting), next_due=row.next_due, next_expiry=row.next_expiry)


async def extend(work: UnitOfWork, held: Collection[Claimed], until: datetime) -> dict[tuple[int, UUID], bool]:
    """Prolong leases. Returns (position, token) of those that still are ours, with whether their cancellation was asked for."""
    values = {"held": held_as_text((each.position, each.token) for each in held), "until": until}
    return {(row.position, row.lease_token): row.cancel_requested for row in await work.execute(_extend, values)}


async def cancelled(connection: AsyncConnection, held: Collection[Claimed]) -> list[UUID]:
    """The ids of those messages whose cancellation was asked for."""
    values = {"held": held_as_text((each.position, each.token) for each in held)}
    return list((await connection.execute(_asked_to_stop, values)).scalars())
