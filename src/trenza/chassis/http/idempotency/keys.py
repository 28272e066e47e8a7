"""The table of idempotency keys: who holds one and until when, and the answer that it has got."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self
from uuid import UUID

import orjson
from sqlalchemy import Column, Delete, Integer, LargeBinary, MetaData, Row, Table, Text, Update, Uuid, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from starlette.responses import Response

from trenza.chassis.data import Database, UnitOfWork
from trenza.chassis.data.types import UtcDateTime

__all__ = [
    "LEASE",
    "Answer",
    "Claim",
    "abandoned",
    "answered",
    "expired",
    "free_interrupted_keys",
    "insert_or_find",
    "released",
    "renewed",
    "taken_over",
]

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=60)
_NOT_KEPT = frozenset((b"content-length", b"date", b"connection"))

_keys = Table(
    "idempotency_keys",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("token", Uuid),  # of the request that runs; of none once it has ended
    Column("lease_until", UtcDateTime),
    Column("status", Integer),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("expires_at", UtcDateTime, nullable=False),
)


class Claim(NamedTuple):
    """A key that a request has made its own; every statement about it changes nothing once somebody else has it."""

    key_id: str
    fingerprint: str
    token: UUID

    def values(self, now: datetime) -> dict[str, Any]:
        """Its row."""
        held = {"fingerprint": self.fingerprint, "token": self.token, "lease_until": now + LEASE, "expires_at": now + KEPT}
        return {**held, "status": None, "headers": None, "body": None}


class Answer(NamedTuple):
    """What a key keeps of a response; ``headers`` is JSON."""

    status: int
    headers: str
    body: bytes

    @classmethod
    def of(cls, response: Response) -> Self:
        """What is kept of it. Raises `TypeError` for one that is not whole."""
        body = getattr(response, "body", None)
        if body is None:
            raise TypeError(f"a {type(response).__name__} cannot be remembered: answer an Idempotency-Key with a whole response")
        kept = [header for header in response.raw_headers if header[0] not in _NOT_KEPT]
        headers = orjson.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in kept])
        return cls(response.status_code, headers.decode(), bytes(body))

    def replayed(self) -> Response:
        """The response again."""
        response = Response(self.body, self.status)
        kept = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(self.headers)]
        response.raw_headers[:0] = kept
        response.headers["Idempotency-Replayed"] = "true"
        return response


async def insert_or_find(work: UnitOfWork, claim: Claim, now: datetime, *, on_sqlite: bool) -> Row[Any] | None:
    """Claim a key that nobody has used; else its row, locked."""
    insert = (sqlite.insert if on_sqlite else postgresql.insert)(_keys).values(id=claim.key_id, **claim.values(now))
    find = select(_keys).where(_keys.c.id == claim.key_id).with_for_update()
    while True:  # it may be freed between the two statements
        if (await work.execute(insert.on_conflict_do_nothing())).rowcount:
            return None
        if (row := (await work.execute(find)).one_or_none()) is not None:
            return row


def taken_over(claim: Claim, now: datetime) -> Update:
    """Claim a key whose row is locked."""
    return update(_keys).where(_keys.c.id == claim.key_id).values(**claim.values(now))


def renewed(claim: Claim, now: datetime) -> Update:
    """Hold it for another `LEASE`."""
    return update(_keys).where(*_ours(claim)).values(lease_until=now + LEASE)


def released(claim: Claim) -> Delete:
    """Let the next request with it run."""
    return delete(_keys).where(*_ours(claim))


def abandoned(claim: Claim) -> Update:
    """Let its lease run out, and be known as one that nobody renews."""
    return update(_keys).where(*_ours(claim)).values(token=None)


def answered(claim: Claim, answer: Answer) -> Update:
    """Keep the answer."""
    return update(_keys).where(*_ours(claim)).values(token=None, lease_until=None, **answer._asdict())


def expired(now: datetime) -> Delete:
    """Forget what is old."""
    return delete(_keys).where(_keys.c.expires_at <= now)


async def free_interrupted_keys(database: Database, now: datetime) -> None:
    """Free the keys of requests that other processes had begun, for a process that knows to be alone on this database.

    Who sends such a request again need not wait until the lease of the dead one has run out.
    """
    async with database.work() as work:
        await work.execute(update(_keys).where(_keys.c.lease_until > now).values(lease_until=now))


def _ours(claim: Claim) -> tuple[Any, ...]:
    return _keys.c.id == claim.key_id, _keys.c.token == claim.token
