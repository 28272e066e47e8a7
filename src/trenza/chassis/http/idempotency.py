"""Idempotency-Key: a request that is sent again gets the first one's answer, and takes effect once."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Row, Table, Text, Uuid, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.context import Principal
from trenza.chassis.data import Database, DatabaseUnavailable, UnitOfWork
from trenza.chassis.data.types import UtcDateTime
from trenza.chassis.http.phrases import Refusal
from trenza.chassis.telemetry.logs import get_logger

__all__ = [
    "Idempotency",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "InvalidIdempotencyKey",
    "fingerprint_of",
    "free_interrupted_keys",
]

_log = get_logger(__name__)

KEPT = timedelta(hours=24)
LEASE = timedelta(seconds=60)
_RENEW_SECONDS = LEASE.total_seconds() / 3
_RETRY_SECONDS = 2
_LONGEST_KEY = 255
_KEY = re.compile(rf"[\x21-\x7e]([\x20-\x7e]{{0,{_LONGEST_KEY - 2}}}[\x21-\x7e])?")
_NOT_KEPT = frozenset((b"content-length", b"date", b"connection"))

_keys = Table(
    "idempotency_keys",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("token", Uuid),
    Column("lease_until", UtcDateTime),
    Column("status", Integer),
    Column("headers", Text),
    Column("body", LargeBinary),
    Column("expires_at", UtcDateTime, nullable=False),
)


class InvalidIdempotencyKey(Refusal):
    """The header is not 1 to 255 printable ASCII characters."""

    status = 400
    code = "INVALID_IDEMPOTENCY_KEY"
    title = "Invalid Idempotency-Key"


class IdempotencyKeyReused(Refusal):
    """The key came before with another request."""

    status = 422
    code = "IDEMPOTENCY_KEY_REUSED"
    title = "Idempotency-Key reused"


class IdempotencyKeyInUse(Refusal):
    """The first request with this key has not ended."""

    status = 409
    code = "IDEMPOTENCY_KEY_IN_USE"
    title = "Request in progress"


class Idempotency:
    """Remembers answers in the service's own database, for 24 hours, by principal (scopes included), route and key."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def run(
        self,
        key: str | None,
        *,
        principal: Principal,
        route: str,
        fingerprint: str,
        produce: Callable[[], Awaitable[Response]],
        lasting: Callable[[], bool] = lambda: True,
    ) -> Response:
        """The answer of ``produce``, or that of an earlier run with the same key (then with ``Idempotency-Replayed: true``).

        Without a key it just runs. ``route`` is the route's template and ``fingerprint`` a digest of all that the request asks
        for (`fingerprint_of`). Only whole responses below 500 are remembered, and only if ``lasting`` says afterwards that the
        request would not fare better another time: after any other, and after an exception, the key is free again. After a
        crash, or a cancelled request, it is so once its lease of 60 seconds has run out; what must not happen twice even then
        belongs into the unit of work of ``produce`` under a unique constraint. On embedded data the next start frees it.

        Raises `InvalidIdempotencyKey`, `IdempotencyKeyReused` and `IdempotencyKeyInUse`.
        """
        if key is None:
            return await produce()
        if not _KEY.fullmatch(key):
            raise InvalidIdempotencyKey(field="Idempotency-Key", limit=_LONGEST_KEY)
        # With the scopes: whoever may do less must not be handed what the same subject got by another token.
        row_id = fingerprint_of(principal.kind, principal.subject, " ".join(sorted(principal.scopes)), route, key)
        token = uuid4()
        async with self._database.work() as work:
            earlier = await self._claim(work, row_id, fingerprint, token)
        if earlier is not None:
            return _replay(earlier)
        try:
            async with self._lease_kept(row_id, token):
                response = await produce()
        except Exception:
            await self._release(row_id, token)
            raise
        if response.status_code >= 500 or not lasting():  # noqa: PLR2004 - server errors
            await self._release(row_id, token)
        else:
            await self._remember(row_id, token, response)
        return response

    async def purge(self) -> int:
        """Forget what is older than 24 hours; returns how many keys."""
        async with self._database.work() as work:
            return (await work.execute(delete(_keys).where(_keys.c.expires_at <= self._clock.now()))).rowcount

    async def _claim(self, work: UnitOfWork, row_id: str, fingerprint: str, token: UUID) -> Row[Any] | None:
        """Make the key ours, or return the row that holds its answer."""
        now = self._clock.now()
        claim = {
            "fingerprint": fingerprint,
            "token": token,
            "lease_until": now + LEASE,
            "expires_at": now + KEPT,
            "status": None,
            "headers": None,
            "body": None,
        }
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        if (await work.execute(insert(_keys).values(id=row_id, **claim).on_conflict_do_nothing())).rowcount:
            return None
        row = (await work.execute(select(_keys).where(_keys.c.id == row_id).with_for_update())).one()
        if row.expires_at > now:
            if row.fingerprint != fingerprint:
                raise IdempotencyKeyReused
            if row.status is not None:
                return row
            if row.lease_until > now:
                raise IdempotencyKeyInUse(retry_after=_RETRY_SECONDS)
        await work.execute(update(_keys).where(_keys.c.id == row_id).values(**claim))
        return None

    @asynccontextmanager
    async def _lease_kept(self, row_id: str, token: UUID) -> AsyncIterator[None]:
        """Renew the lease for as long as the block runs: slow is not dead."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEW_SECONDS)
                try:
                    async with self._database.work() as work:
                        await work.execute(_ours(update(_keys), row_id, token).values(lease_until=self._clock.now() + LEASE))
                except (DatabaseUnavailable, SQLAlchemyError, OSError) as error:
                    _log.warning("lease of an idempotency key was not renewed, trying again", reason=type(error).__name__)

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal

    async def _release(self, row_id: str, token: UUID) -> None:
        async with self._database.work() as work:
            await work.execute(_ours(delete(_keys), row_id, token))

    async def _remember(self, row_id: str, token: UUID, response: Response) -> None:
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in _kept_headers(response)]
        answer = {"status": response.status_code, "headers": orjson.dumps(headers).decode(), "body": _whole_body(response)}
        async with self._database.work() as work:
            await work.execute(_ours(update(_keys), row_id, token).values(token=None, lease_until=None, **answer))


async def free_interrupted_keys(database: Database, now: datetime) -> None:
    """Free the keys of requests that other processes had begun, for a process that knows to be alone on this database.

    Who sends such a request again need not wait until the lease of the dead one has run out.
    """
    async with database.work() as work:
        await work.execute(update(_keys).where(_keys.c.lease_until > now).values(lease_until=now))


def fingerprint_of(*parts: str | bytes) -> str:
    """A digest of the parts of a request, in order. No two different lists of parts have the same."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()


def _ours(statement: Any, row_id: str, token: UUID) -> Any:
    """Only while nobody has taken the claim over."""
    return statement.where(_keys.c.id == row_id, _keys.c.token == token)


def _kept_headers(response: Response) -> list[tuple[bytes, bytes]]:
    return [header for header in response.raw_headers if header[0] not in _NOT_KEPT]


def _whole_body(response: Response) -> bytes:
    body = getattr(response, "body", None)
    if body is None:
        raise TypeError(f"a {type(response).__name__} cannot be remembered: answer an Idempotency-Key with a whole response")
    return bytes(body)


def _replay(row: Row[Any]) -> Response:
    response = Response(row.body, row.status)
    kept = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in orjson.loads(row.headers)]
    response.raw_headers[:0] = kept
    response.headers["Idempotency-Replayed"] = "true"
    return response
