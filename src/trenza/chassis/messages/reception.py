"""Stores in a service's inbox what a transport delivers, once for each consumer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID, uuid5

import orjson
import sqlalchemy as sa
from sqlalchemy.exc import DataError, DBAPIError

from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.endings import Reason
from trenza.chassis.messages.envelope import SOURCE_PREFIX, Envelope, MessageTooLarge, Unreadable
from trenza.chassis.messages.handlers import NOBODY
from trenza.chassis.messages.loops import Pace
from trenza.chassis.messages.metrics import RECEIVED
from trenza.chassis.messages.statements import insert_or_ignore
from trenza.chassis.messages.tables import FAILED, WAITING, inbox
from trenza.chassis.telemetry.logs import get_logger

if TYPE_CHECKING:
    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database

__all__ = ["UNREADABLE", "ConsumersOf", "Reception", "inbox_row"]

ConsumersOf = Callable[[str], Sequence[str]]
"""The consumers of a message type; none for one that nobody takes."""

UNREADABLE = UUID("5b0f4a5e-4d0c-5b5e-9a39-4d6c7d7f4f61")
"""Namespace of the ids given to bodies that hold none: the same body gets the same id, so that redelivery is noticed."""

_SHOWN_BYTES = 64 * 1024
"""How much is kept of a body that cannot be read, for whoever looks into it."""
_REFUSALS = ("22", "54")
"""PostgreSQL's classes of data that it does not take, and of limits that they exceed (Appendix A)."""


def _is_refusal(error: DBAPIError) -> bool:
    """Whether it is what was to be stored that the database does not take, however often it comes."""
    return isinstance(error, DataError) or str(getattr(error.orig, "sqlstate", "") or "").startswith(_REFUSALS)


_Content = tuple[str, str, str | None, bytes]

logger = get_logger(__name__)


class _Arrival(NamedTuple):
    """One body: its rows, and its envelope where it is one."""

    rows: list[dict[str, Any]]
    envelope: Envelope | None

    @property
    def is_foreign(self) -> bool:
        """Whether no service of ours sent it, whose ids can be trusted to be new."""
        return self.envelope is not None and not self.envelope.source.startswith(SOURCE_PREFIX)


class Reception:
    """The way of events into one service's inbox. Another arrival of a message changes nothing."""

    def __init__(self, database: Database, service: str, clock: Clock) -> None:
        self._database = database
        self._service = service
        self._clock = clock
        self._pace = Pace()

    async def receive(self, bodies: Sequence[str | bytes], consumers_of: ConsumersOf) -> None:
        """Store what a transport delivered. When this returns, the transport may forget the batch.

        What cannot be read becomes a dead letter; what nobody handles waits for a release that does (see `maintenance`). Tasks
        are not handled: a service gives them to itself, and nobody gives them to it over a transport.
        """
        await self._pace.keep()
        arrivals = [self._arrival(body, consumers_of) for body in bodies]
        rows = [row for arrival in arrivals for row in arrival.rows]
        reached(Failpoint.INBOX_BEFORE_STORE)
        try:
            await self._store(rows)
        except DBAPIError as error:
            if not _is_refusal(error):
                raise
            rows = await self._store_singly(bodies, consumers_of)
        reached(Failpoint.INBOX_STORED)
        RECEIVED.labels(self._service).inc(len(bodies))
        for row in rows:
            if row["state"] == FAILED:
                facts = {"attempts": 0, "reason": row["reason"].value}
                logger.error("dead letter", service=self._service, type="", message_id=str(row["message_id"]), **facts)
        if foreign := [arrival.envelope for arrival in arrivals if arrival.envelope is not None and arrival.is_foreign]:
            await self._tell_ignored(foreign)

    async def _store(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            async with self._database.statement() as connection:  # asyncpg runs it for all rows in one transaction
                await connection.execute(insert_or_ignore(connection, inbox), rows)

    async def _store_singly(self, bodies: Sequence[str | bytes], consumers_of: ConsumersOf) -> list[dict[str, Any]]:
        """The database refuses something in this batch for what it is: that becomes a dead letter, and holds up nothing else."""
        stored: list[dict[str, Any]] = []
        for body in bodies:
            rows = self._arrival(body, consumers_of).rows
            try:
                await self._store(rows)
            except DBAPIError as error:
                if not _is_refusal(error):
                    raise
                rows = [self._unreadable(body, f"the database refuses it: {str(error.orig).partition(chr(10))[0]}")]
                await self._store(rows)
            stored += rows
        return stored

    async def _tell_ignored(self, foreign: Sequence[Envelope]) -> None:
        """Log what was taken for a copy and is none: its sender has used an id twice."""
        known = sa.select(inbox.c.message_id, inbox.c.envelope).where(inbox.c.message_id.in_({each.id for each in foreign}))
        async with self._database.read() as connection:
            rows = (await connection.execute(known)).all()
        kept = set[tuple[UUID, _Content]]()
        for row in rows:
            with suppress(Unreadable):  # a dead letter, whose id somebody has worked out
                kept.add((row.message_id, _content(Envelope.from_json(row.envelope))))
        for each in foreign:
            if (each.id, _content(each)) not in kept:
                facts = {"type": each.type, "message_id": str(each.id), "source": each.source}
                logger.warning("message ignored, another has its id", service=self._service, **facts)

    def _unreadable(self, body: str | bytes, error: str) -> dict[str, Any]:
        """The dead letter of a body that is no envelope; of a large one it keeps the beginning."""
        now = self._clock.now()
        raw = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        text = raw[:_SHOWN_BYTES].decode(errors="backslashreplace").replace("\x00", "\\x00")
        message_id = uuid5(UNREADABLE, raw.hex())
        row = inbox_row(message_id=message_id, consumer=NOBODY, kind="event", type_="", envelope=text, now=now)
        row |= {"state": FAILED, "finished_at": now, "holds_key": False}
        return row | {"reason": Reason.UNREADABLE, "error": error.replace("\x00", "\\x00")}

    def _arrival(self, body: str | bytes, consumers_of: ConsumersOf) -> _Arrival:
        try:
            envelope = Envelope.from_json(body)
            return _Arrival(self._rows(envelope, envelope.to_json(), consumers_of), envelope)
        except (Unreadable, MessageTooLarge) as error:
            return _Arrival([self._unreadable(body, str(error))], None)

    def _rows(self, envelope: Envelope, stored: str, consumers_of: ConsumersOf) -> list[dict[str, Any]]:
        now = self._clock.now()
        consumers = consumers_of(envelope.type) or (NOBODY,)
        return [
            inbox_row(
                message_id=envelope.id,
                consumer=consumer,
                kind="event",
                type_=envelope.type,
                envelope=stored,
                now=now,
                ordering_key=envelope.ordering_key,
            )
            | {"holds_key": consumer != NOBODY}
            for consumer in consumers
        ]


def _content(envelope: Envelope) -> _Content:
    """What makes two messages different; the members of their data may stand in another order."""
    data = orjson.dumps(orjson.loads(envelope.data), option=orjson.OPT_SORT_KEYS)
    return envelope.source, envelope.type, envelope.ordering_key, data


def inbox_row(
    *, message_id: UUID, consumer: str, kind: str, type_: str, envelope: str, now: datetime, ordering_key: str | None = None
) -> dict[str, Any]:
    """A row that waits to be claimed. Every row names every column, so that a batch is one statement."""
    return {
        "message_id": message_id,
        "consumer": consumer,
        "kind": kind,
        "type": type_,
        "ordering_key": ordering_key,
        "unique_key": None,
        "envelope": envelope,
        "state": WAITING,
        "holds_key": True,
        "priority": 0,
        "attempts": 0,
        "created_at": now,
        "due_at": now,
        "finished_at": None,
        "lease_token": None,
        "lease_until": None,
        "cancel_requested": False,
        "progress": 0.0,
        "note": "",
        "reason": None,
        "error": None,
    }
