"""Messages too large for a broker travel as objects: the broker carries a claim check (the field's name for the pattern)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import orjson

from trenza.chassis.blobs import BlobMissing, Blobs, BlobsUnavailable
from trenza.chassis.clock import Clock
from trenza.chassis.messages.transports.base import Outgoing, Receiver, Transport, TransportUnavailable
from trenza.chassis.messages.transports.misdirected import envelope_in, refused
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["CARRIED_BYTES", "KEPT", "ClaimChecks"]

CARRIED_BYTES = 240 * 1024
"""What every broker carries as it is; the smallest limit is that of SQS and EventBridge: 256 KiB with their own attributes."""
KEPT = timedelta(days=14)
"""How long an object waits for those who fetch it: as long as SQS keeps a message at most."""
_SWEEP_SECONDS = 6 * 3600.0
_FOLDER = "messages"
_KEY = re.compile(r"messages/\d{4}-\d\d-\d\d/[0-9a-f-]{36}\.json", re.ASCII)

_log = get_logger(__name__)


class ClaimChecks(Transport):
    """A transport that carries any envelope, over one that carries `CARRIED_BYTES`.

    The object is stored before its claim check is published, so that who receives the one finds the other. Sender and receivers
    share the object store. Objects are removed `KEPT` after the day on which they were stored, whoever has fetched them.
    """

    def __init__(self, inner: Transport, blobs: Blobs, clock: Clock, *, carried_bytes: int = CARRIED_BYTES) -> None:
        self.place = inner.place
        self._inner = inner
        self._blobs = blobs
        self._clock = clock
        self._carried = carried_bytes
        self._sweeping: asyncio.Task[None] | None = None

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish each message, or the claim check of what was stored for it."""
        await self._inner.publish([await self._checked_in(message) for message in messages])

    async def subscribe(self, service: str, types: frozenset[str], receiver: Receiver) -> None:
        """Deliver whole envelopes."""
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep_now_and_then(), name="claim checks")
        await self._inner.subscribe(service, types, self.receiver(receiver))

    def receiver(self, receiver: Receiver) -> Receiver:
        """The same receiver, given whole envelopes: also for what receives without a subscription, as a function does."""
        return partial(self._receive, receiver)

    async def unsubscribe(self, service: str) -> None:
        """Stop delivering."""
        await self._inner.unsubscribe(service)

    async def ping(self) -> None:
        """Ask the broker."""
        await self._inner.ping()

    async def close(self) -> None:
        """Close the connections."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeping
        await self._inner.close()

    async def _checked_in(self, message: Outgoing) -> Outgoing:
        if len(message.body.encode()) <= self._carried:
            return message
        key = f"{_FOLDER}/{self._clock.now().date().isoformat()}/{message.id}.json"
        try:
            await self._blobs.put(key, message.body.encode(), media_type="application/json")
        except BlobsUnavailable as error:
            raise TransportUnavailable(f"a large message could not be stored: {error}") from error
        envelope: dict[str, Any] = orjson.loads(message.body)
        del envelope["data"]
        return replace(message, body=orjson.dumps(envelope | {"dataref": key}).decode())

    async def _receive(self, receiver: Receiver, bodies: Sequence[str | bytes]) -> None:
        await receiver([await self._checked_out(body) for body in bodies])

    async def _checked_out(self, body: str | bytes) -> str | bytes:
        """The envelope that a claim check stands for; the check itself when the object is gone, which makes it a dead letter."""
        key = _key_in(body)
        if key is None:
            return body
        try:
            whole = await self._blobs.get(key)
        except BlobMissing:
            _log.error("the object of a large message is gone", key=key)
            return body
        check, checked = envelope_in(body), envelope_in(whole)
        if (check.get("id"), check.get("type")) != (checked.get("id"), checked.get("type")):
            return refused(body, "the object that it names holds another message")
        return whole

    async def _sweep_now_and_then(self) -> None:
        while True:
            try:
                await self._sweep()
            except Exception as error:  # noqa: BLE001 - what cannot be removed now is removed later
                _log.warning("objects of old messages not swept", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _sweep(self) -> None:
        oldest = (self._clock.now() - KEPT).date()
        old = [stat.key async for stat in self._blobs.list(_FOLDER) if _KEY.fullmatch(stat.key) and _day_of(stat.key) < oldest]
        if old:
            await self._blobs.delete(*old)
            _log.info("objects of old messages swept", objects=len(old))


def _key_in(body: str | bytes) -> str | None:
    """The key that a claim check names. Only keys that we give are believed: a message may come from anybody."""
    if '"dataref"' not in body if isinstance(body, str) else b'"dataref"' not in body:
        return None
    envelope = envelope_in(body)
    key = envelope.get("dataref") if "data" not in envelope else None
    return key if isinstance(key, str) and _KEY.fullmatch(key) else None


def _day_of(key: str) -> date:
    return date.fromisoformat(key.split("/")[1])
