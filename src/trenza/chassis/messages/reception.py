"""Stores in a service's inbox what a transport delivers, once for each consumer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from sqlalchemy.exc import DataError, DBAPIError

from trenza.chassis.failpoints import Failpoint, reached
from trenza.chassis.messages.endings import Reason
from trenza.chassis.messages.envelope import Envelope, MessageTooLarge, Unreadable
from trenza.chassis.messages.handlers import NOBODY
from trenza.chassis.messages.loops import Pace
from trenza.chassis.messages.metrics import RECEIVED
from trenza.chassis.messages.statements import insert_or_ignore
from trenza.chassis.messages.tables import FAILED, WAITING, inbox

if TYPE_CHECKING:
    from trenza.chassis.clock import Clock
    from trenza.chassis.data import Database

__all__ = ["ConsumersOf", "Reception", "inbox_row"]

ConsumersOf = Callable[[str], Sequence[str]]
"""The consumers of a message type; none for one that nobody takes."""

_UNREADABLE = UUID("5b0f4a5e-4d0c-5b5e-9a39-4d6c7d7f4f61")
"""Namespace of the ids given to bodies that hold none: the same body gets the same id, so that redelivery is noticed."""

_SHOWN_BYTES = 64 * 1024
"""How much is kept of a body that cannot be read, for whoever looks into it."""
_REFUSALS = ("22", "54")
"""PostgreSQL's classes of data that it does not take, and of limits that they exceed (Appendix A)."""


def _is_refusal(error: DBAPIError) -> bool:
    """Whether it is what was to be stored that the database does not take, however often it comes."""
    return isinstance(error, DataError) or str(getattr(error.orig, "sqlstate", "") or "").startswith(_REFUSALS)


class Reception:
    """The way of events into one service's inbox. Another arrival of a message changes nothing."""

    def __init__(self, database: Database, service: str, clock: Clock) -> None:
        self._database = database
        self._service = service
        self._clock = clock
        self._pace = Pace()

    async def receive(self, bodies: Sequence[str | bytes], consumers_of: ConsumersOf) -> None:
        """Store what a transport delivered. When this returns, the transport may forget the batch.

        What cannot be read becomes a dead letter; what nobody handles waits for a release that does (see `maintenance`).
        """
        await self._pace.keep()
        rows = [row for body in bodies for row in self._rows(body, consumers_of)]
        reached(Failpoint.INBOX_BEFORE_STORE)
        try:
            await self._store(rows)
        except DBAPIError as error:
            if not _is_refusal(error):
                raise
            await self._store_singly(bodies, consumers_of)
        reached(Failpoint.INBOX_STORED)
        RECEIVED.labels(self._service).inc(len(bodies))

    async def _store(self, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            async with self._database.statement() as connection:  # asyncpg runs it for all rows in one transaction
                await connection.execute(insert_or_ignore(connection, inbox), rows)

    async def _store_singly(self, bodies: Sequence[str | bytes], consumers_of: ConsumersOf) -> None:
        """The database refuses something in this batch for what it is: that becomes a dead letter, and holds up nothing else."""
        for body in bodies:
            try:
                await self._store(self._rows(body, consumers_of))
            except DBAPIError as error:
                if not _is_refusal(error):
                    raise
                await self._store([self._unreadable(body, f"the database refuses it: {str(error.orig).partition(chr(10))[0]}")])

    def _unreadable(self, body: str | bytes, error: str) -> dict[str, Any]:
        """The dead letter of a body that is no envelope; of a large one it keeps the beginning."""
        now = self._clock.now()
        raw = body.encode(errors="surrogatepass") if isinstance(body, str) else body
        text = raw[:_SHOWN_BYTES].decode(errors="backslashreplace").replace("\x00", "\\x00")
        message_id = uuid5(_UNREADABLE, raw.hex())
        row = inbox_row(message_id=message_id, consumer=NOBODY, kind="event", type_="", envelope=text, now=now)
        return row | {"state": FAILED, "finished_at": now, "reason": Reason.UNREADABLE, "error": error.replace("\x00", "\\x00")}

    def _rows(self, body: str | bytes, consumers_of: ConsumersOf) -> list[dict[str, Any]]:
        now = self._clock.now()
        try:
            envelope = Envelope.from_json(body)
            stored = envelope.to_json()
        except (Unreadable, MessageTooLarge) as error:
            return [self._unreadable(body, str(error))]
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
