"""Runs requests under their Idempotency-Key: once, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal
from uuid import UUID, uuid4

from sqlalchemy import Delete, Row, Update
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.context import Principal
from trenza.chassis.data import CommitWatch, Database, DatabaseUnavailable
from trenza.chassis.http.idempotency import keys
from trenza.chassis.http.idempotency.keys import Answer, Claim
from trenza.chassis.http.phrases import Refusal
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Idempotency", "IdempotencyKeyInUse", "IdempotencyKeyReused", "InvalidIdempotencyKey", "fingerprint_of"]

_log = get_logger(__name__)

_RENEW_SECONDS = keys.LEASE.total_seconds() / 3
_RENEW_AGAIN_SECONDS = 1.0
"""After a failure: whoever sees a lease that has run out, once the database is back, may take the key."""
_RETRY_SECONDS = 2
_LONGEST_KEY = 255
_KEY = re.compile(rf"[\x21-\x7e]([\x20-\x7e]{{0,{_LONGEST_KEY - 2}}}[\x21-\x7e])?")


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
    """The first request with this key has not ended, or it is not known how."""

    status = 409
    code = "IDEMPOTENCY_KEY_IN_USE"
    title = "Request in progress"


@dataclass
class _Run:
    """A request of this process under its claim, for as long as the database may not know how it stands."""

    state: Literal["runs", "free", "answered", "undecided"] = "runs"
    """How it has ended. ``undecided``: nobody knows whether it has committed anything."""
    answer: Answer | None = None


class Idempotency:
    """Remembers answers in the service's own database, for 24 hours, by principal (scopes included), route and key."""

    def __init__(self, database: Database, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._runs: dict[UUID, _Run] = {}
        """By the tokens of their claims. While the database is away leases cannot be renewed, nor endings recorded."""

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
        request would not fare better another time: after any other, and after an exception, the key is free again, at once or
        as soon as the database is back. Where it is not known whether a unit of work of the request has committed, as after a
        crash or a cancelled request, it is so once its lease of 60 seconds has run out; what must not happen twice even then
        belongs into the unit of work of ``produce`` under a unique constraint. On embedded data the next start frees it.

        Raises `InvalidIdempotencyKey`, `IdempotencyKeyReused` and `IdempotencyKeyInUse`.
        """
        if key is None:
            return await produce()
        if not _KEY.fullmatch(key):
            raise InvalidIdempotencyKey(field="Idempotency-Key", limit=_LONGEST_KEY)
        # With the scopes: whoever may do less must not be handed what the same subject got by another token.
        key_id = fingerprint_of(principal.kind, principal.subject, " ".join(sorted(principal.scopes)), route, key)
        claim = Claim(key_id, fingerprint, uuid4())
        run = self._runs[claim.token] = _Run()
        try:
            earlier = await self._claim(claim)
            return await self._produced(claim, produce, lasting) if earlier is None else earlier.replayed()
        finally:
            if run.state == "runs":  # refused, answered by an earlier one, or cancelled
                del self._runs[claim.token]

    async def purge(self) -> int:
        """Forget what is older than 24 hours; returns how many keys."""
        async with self._database.work() as work:
            return (await work.execute(keys.expired(self._clock.now()))).rowcount

    async def _claim(self, claim: Claim) -> Answer | None:
        """Make the key ours, or return the answer that it has."""
        commits = CommitWatch()
        try:
            with commits:
                async with self._database.work() as work:
                    now = self._clock.now()
                    row = await keys.insert_or_find(work, claim, now, on_sqlite=self._database.is_sqlite)
                    if row is not None:
                        if row.expires_at > now and (answer := self._judge(row, claim, now)) is not None:
                            return answer
                        await work.execute(keys.taken_over(claim, now))
        except DatabaseUnavailable:
            if commits.undecided:  # it may be ours, and nothing has run under it
                await self._end(claim, keys.released(claim), _Run("free"))
            raise
        return None

    def _judge(self, row: Row[Any], claim: Claim, now: datetime) -> Answer | None:
        """The answer of a key that was claimed before; None where it is free. Raises where it is neither."""
        if row.fingerprint != claim.fingerprint:
            raise IdempotencyKeyReused
        if row.status is not None:
            return Answer(row.status, row.headers, row.body)
        run = self._runs.get(row.token)
        if run is not None and run.state in ("free", "answered"):
            return run.answer
        left = (row.lease_until - now).total_seconds()
        if run is None and left <= 0:
            return None
        raise IdempotencyKeyInUse(retry_after=_RETRY_SECONDS if row.token is not None else math.ceil(left))

    async def _produced(self, claim: Claim, produce: Callable[[], Awaitable[Response]], lasting: Callable[[], bool]) -> Response:
        """Run the request under its claim, and settle what becomes of the key."""
        commits = CommitWatch()
        try:
            async with self._lease_kept(claim):
                with commits:
                    response = await produce()
        except Exception:
            await self._give_up(claim, commits)
            raise
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or not lasting():
            await self._give_up(claim, commits)
        else:
            answer = Answer.of(response)
            await self._end(claim, keys.answered(claim, answer), _Run("answered", answer))
        return response

    async def _give_up(self, claim: Claim, commits: CommitWatch) -> None:
        """Free the key, unless something may have been committed unnoticed."""
        if commits.undecided:
            _log.warning("a key stays in use until its lease ends: its request may have committed")
            await self._end(claim, keys.abandoned(claim), _Run("undecided"))
        else:
            await self._end(claim, keys.released(claim), _Run("free"))

    async def _end(self, claim: Claim, statement: Update | Delete, run: _Run) -> None:
        """Record how a request has ended: now, or once the database is back. Until then this process remembers it."""

        async def record() -> None:
            async with self._database.work() as work:
                await work.execute(statement)
            del self._runs[claim.token]

        ended = self._runs[claim.token]
        ended.state, ended.answer = run.state, run.answer
        try:
            await record()
        except DatabaseUnavailable as error:
            _log.warning("the end of a request with a key is recorded once the database is back", reason=str(error))
            self._database.when_back(record)

    @asynccontextmanager
    async def _lease_kept(self, claim: Claim) -> AsyncIterator[None]:
        """Renew the lease for as long as the block runs: slow is not dead."""

        async def renew() -> None:
            pause = _RENEW_SECONDS
            while True:
                await asyncio.sleep(pause)
                try:
                    async with self._database.work() as work:
                        await work.execute(keys.renewed(claim, self._clock.now()))
                    pause = _RENEW_SECONDS
                except (DatabaseUnavailable, SQLAlchemyError, OSError) as error:
                    pause = _RENEW_AGAIN_SECONDS
                    _log.warning("lease of an idempotency key was not renewed, trying again", reason=type(error).__name__)

        renewal = asyncio.create_task(renew())
        try:
            yield
        finally:
            renewal.cancel()
            with suppress(asyncio.CancelledError):
                await renewal


def fingerprint_of(*parts: str | bytes) -> str:
    """A digest of the parts of a request, in order. No two different lists of parts have the same."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()
