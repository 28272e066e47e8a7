"""The outbox: events that a service has committed and that the transport has not yet taken over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from trenza.chassis.context import current_context
from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.identifiers import uuid7
from trenza.chassis.messages.envelope import Envelope
from trenza.chassis.messages.statements import among, insert_or_ignore, numbers_as_text
from trenza.chassis.messages.tables import SENT, WAITING, in_state, leases, outbox
from trenza.chassis.messages.transports.base import Outgoing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from trenza.chassis.clock import Clock
    from trenza.chassis.contract import Event
    from trenza.chassis.data import Database

__all__ = ["Batch", "Outbox"]

_LEASE_NAME = "relay"
_waiting = in_state(outbox.c.state, WAITING)
_insert = sa.insert(outbox).inline()
_oldest = sa.select(outbox).where(_waiting).order_by(outbox.c.position).limit(sa.bindparam("batch"))
_take_lease = (
    sa.update(leases)
    .where(leases.c.name == _LEASE_NAME)
    .where(
        sa.or_(
            leases.c.token.is_(None),
            leases.c.token == sa.bindparam("own"),
            leases.c.until <= sa.bindparam("now"),
            leases.c.until > sa.bindparam("longest"),
        )
    )
    .values(token=sa.bindparam("own"), until=sa.bindparam("end"))
)
_leased = _take_lease.returning(leases.c.name).cte("leased")
_found = _oldest.subquery("found")
_lease_and_oldest = sa.select(_found).select_from(_leased.outerjoin(_found, sa.true())).order_by(_found.c.position)
"""No row without the lease; one without a position when nothing waits.

It sees what was committed when it began, so that after waiting for another relay it may repeat what that one has just published.
"""
_release_lease = (
    sa.update(leases)
    .where(leases.c.name == _LEASE_NAME, leases.c.token == sa.bindparam("own"))
    .values(token=sa.null(), until=sa.null())
)
_sent = (
    sa.update(outbox)
    .where(among(outbox.c.position, "positions"), _waiting)
    .values(state=SENT, sent_at=sa.bindparam("now", type_=outbox.c.sent_at.type))
)


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages that are about to be published, oldest first; ``positions`` are their rows."""

    messages: tuple[Outgoing, ...]
    positions: tuple[int, ...]


def _batch(rows: Sequence[sa.Row[Any]]) -> Batch:
    return Batch(
        messages=tuple(Outgoing(row.message_id, row.type, row.ordering_key, row.envelope) for row in rows),
        positions=tuple(row.position for row in rows),
    )


class Outbox:
    """The outbox of one service.

    It is read by state, oldest first, never by "id > last seen": a sequence's numbers are committed out of order. One relay at a
    time holds the lease ``relay``; were several to share out the rows among them, the order within a key would be lost. A relay
    that outlives its lease may publish what its successor publishes too; inboxes take each message once. Each begins with the
    oldest message that no transport has confirmed, so that the first arrivals of a key are in order even then.
    """

    def __init__(self, database: Database, service: str, clock: Clock) -> None:
        self._database = database
        self._service = service
        self._clock = clock
        self._token = uuid4()

    async def publish(self, connection: AsyncConnection, event: Event, *, deliver_within: timedelta | None) -> UUID:
        """Store an event in the caller's transaction and return its id. Raises `MessageTooLarge`."""
        now, message_id = self._clock.now(), uuid7()
        envelope = Envelope.wrap(
            event,
            message_id=message_id,
            service=self._service,
            time=now,
            deliver_by=None if deliver_within is None else now + deliver_within,
            context=current_context(),
        )
        row = {
            "message_id": message_id,
            "type": event.message_type,
            "ordering_key": event.ordering_key,
            "envelope": envelope.to_json(),
            "state": WAITING,
            "created_at": now,
            "sent_at": None,
        }
        await connection.execute(_insert, row)
        return message_id

    async def has_waiting(self) -> bool:
        """Whether anything waits to be published."""
        async with self._database.read() as connection:
            return bool(await connection.scalar(sa.select(sa.exists().where(_waiting))))

    async def claim(self, limit: int, lease: timedelta, *, sent: Batch | None = None) -> Batch | None:
        """Take the relay's lease and the oldest waiting messages; None while another relay holds the lease.

        ``sent`` is what the transport has taken over since the last claim: it is recorded as sent in the same transaction. When
        nothing waits any more, the lease is given back at once. The commit need not wait for the disk: what is forgotten when
        the machine dies is published again, and ignored.
        """
        if sent is None and not self._database.is_sqlite and (first := await self._claim_at_once(limit, lease)) is not None:
            return first
        async with self._database.work(durable=False) as work:
            if sent is not None and sent.positions:
                await work.execute(_sent, {"positions": numbers_as_text(sent.positions), "now": self._clock.now()})
            if not await self._take_lease(work.connection, self._clock.now(), lease):
                return None
            rows = (await work.execute(_oldest, {"batch": limit})).all()
            if not rows:
                await work.execute(_release_lease, {"own": self._token})
            if sent is not None:
                reached(Failpoint.RELAY_BEFORE_MARK)
        return _batch(rows)

    async def _claim_at_once(self, limit: int, lease: timedelta) -> Batch | None:
        """Lease and messages by one statement (PostgreSQL only): the way of a message that was alone. None without both."""
        now = self._clock.now()
        values = {"own": self._token, "now": now, "end": now + lease, "longest": now + 2 * lease, "batch": limit}
        async with self._database.statement(durable=False) as connection:
            rows = [row for row in (await connection.execute(_lease_and_oldest, values)) if row.position is not None]
        return _batch(rows) if rows else None

    async def _take_lease(self, connection: AsyncConnection, now: datetime, lease: timedelta) -> bool:
        """Take it when it is free, ours, over, or longer than any lease: the clock of who took it was ahead, by an hour perhaps.

        Dead, such a relay would hold up everything for that long; alive, it goes on beside us, and repeats what we publish.
        """
        values = {"own": self._token, "now": now, "end": now + lease, "longest": now + 2 * lease}
        if (await connection.execute(_take_lease, values)).rowcount == 1:
            return True
        row = {"name": _LEASE_NAME, "token": self._token, "until": now + lease}  # the very first time
        return (await connection.execute(insert_or_ignore(connection, leases), row)).rowcount == 1

    async def release(self) -> None:
        """Give the lease back, with messages still waiting: another relay may have better luck."""
        async with self._database.work(durable=False) as work:
            await work.execute(_release_lease, {"own": self._token})
