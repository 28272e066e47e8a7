"""Keeps the message tables in order: forgets what is old, settles what nobody handles, and measures what waits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.dead_letters import redrive
from trenza.chassis.messages.endings import Reason
from trenza.chassis.messages.handlers import NOBODY
from trenza.chassis.messages.loops import Loop
from trenza.chassis.messages.metrics import DEPTH, OLDEST_SECONDS
from trenza.chassis.messages.statements import insert_or_ignore
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
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database
    from trenza.chassis.messages.handlers import Handlers

__all__ = ["DEDUPLICATION_WINDOW", "ORPHAN_GRACE", "OUTBOX_RETENTION", "Maintenance"]

DEDUPLICATION_WINDOW = timedelta(days=7)
"""How long an ended message is remembered, so that a late redelivery of it is noticed. No transport keeps messages longer."""
OUTBOX_RETENTION = timedelta(days=1)
"""How long a sent message is kept for whoever asks what was announced."""
ORPHAN_GRACE = timedelta(minutes=2)
"""How long a message may wait for a replica of another release that handles it: one is being rolled out, perhaps."""
_PURGE_BATCH = 500
_INTERVAL_SECONDS = 30.0
_PURGE_EVERY = 20
"""Rounds from one purge to the next: ten minutes."""
_BOXED = {"waiting": WAITING, "delayed": DELAYED, "running": RUNNING, "failed": FAILED}

logger = get_logger(__name__)


class _Orphans(NamedTuple):
    """Conditions of messages without a handler; one for each state, for that is how the partial indexes serve them."""

    waiting: sa.ColumnElement[bool]
    """Wait for an address, which this release has."""
    refused: sa.ColumnElement[bool]
    """The same, of which an older process has made dead letters."""
    revivable: sa.ColumnElement[bool]
    """Dead letters for want of a handler which this release has."""
    lost: sa.ColumnElement[bool]
    """Wait for a handler which this release does not have."""


class Maintenance:
    """Looks after the message tables of one service. Replicas may do so at the same time."""

    def __init__(self, database: Database, service: str, handlers: Handlers, clock: Clock, adopted: Callable[[], None]) -> None:
        self._database = database
        self._service = service
        self._handlers = handlers
        self._clock = clock
        self._adopted = adopted
        self._loop = Loop(self._turn, name="maintenance", service=service)
        self._round = 0

    def start(self) -> None:
        """Begin the rounds; the first one is now."""
        self._loop.start()

    async def stop(self) -> None:
        """End the rounds."""
        await self._loop.stop()

    async def _turn(self, _rung: bool) -> float:  # noqa: FBT001 - the shape of every turn, see loops.py
        await self.settle_orphans()
        await self.measure()
        if self._round % _PURGE_EVERY == 0:
            await self.purge()
        self._round += 1
        return _INTERVAL_SECONDS

    async def settle_orphans(self) -> None:
        """Give messages that nobody took to the handlers that this release has; those that find none become dead letters.

        That includes such dead letters themselves: an older process may have made them of what this release handles.
        """
        orphans = self._orphans()
        async with self._database.read() as connection:
            if not await connection.scalar(sa.select(sa.or_(*(sa.exists().where(each) for each in orphans)))):
                return
        for unaddressed in (orphans.waiting, orphans.refused):
            while await self._adopt(unaddressed):
                self._adopted()
        if await self._revive(orphans.revivable):
            self._adopted()
        await self._give_up(orphans.lost)

    def _orphans(self) -> _Orphans:
        # What came over a transport is an event, whatever its type says: nobody gives a service tasks but itself.
        own_task = sa.and_(inbox.c.kind == "task", inbox.c.type.in_(self._handlers.types))
        unaddressed = sa.and_(inbox.c.consumer == NOBODY, sa.or_(inbox.c.type.in_(self._handlers.event_types), own_task))
        handled = sa.tuple_(inbox.c.consumer, inbox.c.type).in_(sorted(self._handlers.pairs))
        waiting = in_state(inbox.c.state, WAITING)
        refused = sa.and_(in_state(inbox.c.state, FAILED), inbox.c.reason == Reason.NO_HANDLER.value)
        return _Orphans(
            waiting=sa.and_(waiting, unaddressed),
            refused=sa.and_(refused, unaddressed),
            revivable=sa.and_(refused, handled),
            lost=sa.and_(waiting, ~handled, ~unaddressed),
        )

    async def _adopt(self, orphaned: sa.ColumnElement[bool]) -> bool:
        """Address messages that came before their handlers; a copy for each further consumer. Returns whether there were any."""
        now = self._clock.now()
        unaddressed = (
            sa.select(inbox).where(orphaned).order_by(inbox.c.position).limit(_PURGE_BATCH).with_for_update(skip_locked=True)
        )
        # As if they came now: an older process, to which the consumer is a stranger, gives it all of the grace.
        fresh = {"holds_key": True, "state": WAITING, "due_at": now, "finished_at": None, "reason": None, "error": None}
        async with self._database.work() as work:
            rows = (await work.execute(unaddressed)).mappings().all()
            for row in rows:
                copies = [
                    {**{name: value for name, value in row.items() if name != "position"}, **fresh, "consumer": handler.consumer}
                    for handler in self._handlers.of_type(row["type"])
                ]
                await work.execute(sa.delete(inbox).where(inbox.c.position == row["position"]))
                await work.execute(insert_or_ignore(work.connection, inbox), copies)
            reached(Failpoint.MAINTENANCE_ADOPTING)
        return bool(rows)

    async def _revive(self, orphaned: sa.ColumnElement[bool]) -> int:
        """Let dead letters be handled that were made for want of the handler which this release has."""
        oldest = sa.select(inbox.c.position).where(orphaned).order_by(inbox.c.position).limit(_PURGE_BATCH)
        async with self._database.work() as work:
            positions = (await work.execute(oldest)).scalars().all()
            revived = await redrive(work, positions, self._clock.now())
        if revived:
            logger.info("dead letters go on", service=self._service, count=revived, reason="their handler is there")
        return revived

    async def _give_up(self, orphaned: sa.ColumnElement[bool]) -> None:
        """Make dead letters of what has waited for a handler long enough."""
        now = self._clock.now()
        statement = (
            sa.update(inbox)
            .where(orphaned, inbox.c.due_at <= now - ORPHAN_GRACE)
            .values(
                state=FAILED, finished_at=now, reason=Reason.NO_HANDLER.value, error="no handler is declared", holds_key=False
            )
        )
        async with self._database.work() as work:
            lost = (await work.execute(statement)).rowcount
        if lost:
            logger.error("dead letters", service=self._service, count=lost, reason=Reason.NO_HANDLER.value)

    async def purge(self) -> int:
        """Delete what is past its retention, a little at a time so that nobody waits long. Returns the number of rows."""
        now, deleted = self._clock.now(), 0
        ended = in_state(inbox.c.state, COMPLETED, CANCELLED, DISCARDED)
        for table, column, old in (
            (inbox, inbox.c.finished_at, sa.and_(ended, inbox.c.finished_at < now - DEDUPLICATION_WINDOW)),
            (outbox, outbox.c.sent_at, sa.and_(in_state(outbox.c.state, SENT), outbox.c.sent_at < now - OUTBOX_RETENTION)),
        ):
            batch = sa.select(table.c.position).where(old).order_by(column).limit(_PURGE_BATCH).with_for_update(skip_locked=True)
            while True:
                async with self._database.work() as work:
                    count = (await work.execute(sa.delete(table).where(table.c.position.in_(batch)))).rowcount
                    reached(Failpoint.MAINTENANCE_PURGING)
                deleted += count
                if count < _PURGE_BATCH:
                    break
        return deleted

    async def measure(self) -> None:
        """Tell Prometheus how much waits, and for how long already."""
        now = self._clock.now()
        counts = [
            sa.select(sa.func.count()).select_from(inbox).where(in_state(inbox.c.state, state)).scalar_subquery().label(name)
            for name, state in _BOXED.items()
        ]
        statement = sa.select(
            *counts,
            sa.select(sa.func.count())
            .select_from(outbox)
            .where(in_state(outbox.c.state, WAITING))
            .scalar_subquery()
            .label("outbox"),
            sa.select(sa.func.min(inbox.c.due_at)).where(in_state(inbox.c.state, WAITING)).scalar_subquery().label("due"),
            sa.select(sa.func.min(outbox.c.created_at))
            .where(in_state(outbox.c.state, WAITING))
            .scalar_subquery()
            .label("unsent"),
        )
        async with self._database.read() as connection:
            row = (await connection.execute(statement)).one()
        for name in _BOXED:
            DEPTH.labels(self._service, "inbox", name).set(getattr(row, name))
        DEPTH.labels(self._service, "outbox", "waiting").set(row.outbox)
        for box, oldest in (("inbox", row.due), ("outbox", row.unsent)):
            OLDEST_SECONDS.labels(self._service, box).set(0.0 if oldest is None else max((now - oldest).total_seconds(), 0.0))
