"""Arguments and results that are too large for a request: they travel as objects, and a claim check takes their place."""

from __future__ import annotations

import asyncio
import re
from datetime import date, timedelta
from uuid import uuid4

from trenza.chassis.blobs import Blobs, BlobsUnavailable
from trenza.chassis.calls.protocol import LARGEST_BODY_BYTES, MAX_BODY_BYTES
from trenza.chassis.clock import Clock, SystemClock
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["BodyTooLarge", "LargeBodies"]

_FOLDER = "calls"
_KEY = re.compile(r"calls/\d{4}-\d\d-\d\d/[0-9a-f-]{36}\.json", re.ASCII)
_KEPT = timedelta(days=1)
"""How long the object of a process that died in a call lies there at least; calls take minutes at most."""
_SWEEP_SECONDS = 6 * 3600.0

_log = get_logger(__name__)


class BodyTooLarge(Exception):
    """No call carries so much; the message names the limit and the remedy."""


class LargeBodies:
    """Carries bodies beyond `MAX_BODY_BYTES` through the object store that all processes share, up to `LARGEST_BODY_BYTES`.

    Who asks removes what was stored for a call, that of the callee too, however the call ends. What is left all the same (by a
    process that died in a call, by a callee whose caller had given up, by a store that did not do as told) is swept a day later,
    by any process that calls.
    """

    def __init__(self, blobs: Blobs | None, clock: Clock | None = None) -> None:
        """Without ``blobs`` nothing large is carried."""
        self._blobs, self._clock = blobs, clock or SystemClock()

    def is_large(self, body: bytes) -> bool:
        """Whether the body needs an object. Raises `BodyTooLarge` where not even that carries it."""
        if len(body) <= MAX_BODY_BYTES:
            return False
        limit = MAX_BODY_BYTES if self._blobs is None else LARGEST_BODY_BYTES
        if len(body) > limit:
            raise BodyTooLarge(
                f"{len(body)} bytes are more than a call carries, which is {limit}; pass the key of an object instead"
            )
        return True

    async def put(self, body: bytes) -> str:
        """Store a body; what leads to it. Raises `BlobsUnavailable`, and has the object removed then or when cancelled."""
        key = f"{_FOLDER}/{self._clock.now().date().isoformat()}/{uuid4()}.json"
        try:
            await self._store().put(key, body, media_type="application/json")
        except BaseException:
            await self.remove(key)
            raise
        return key

    async def get(self, key: str) -> bytes:
        """The body. Raises `BlobMissing`, `BlobsUnavailable`, `BodyTooLarge`, and `ValueError` for a key that is none of ours."""
        if not _KEY.fullmatch(key):
            raise ValueError("not a key of a call's body")
        stat = await self._store().stat(key)
        if stat is not None and stat.size > LARGEST_BODY_BYTES:
            raise BodyTooLarge(f"{stat.size} bytes are more than a call carries, which is {LARGEST_BODY_BYTES}")
        return await self._store().get(key)

    async def remove(self, key: str) -> None:
        """Remove a body, also while the caller is being cancelled. What cannot be removed now is swept later."""
        await asyncio.shield(self._remove(key))

    async def sweep(self) -> None:
        """Remove what was left behind before yesterday. Raises `BlobsUnavailable`."""
        if self._blobs is None:
            return
        oldest = (self._clock.now() - _KEPT).date()
        old = [stat.key async for stat in self._blobs.list(_FOLDER) if _KEY.fullmatch(stat.key) and _day_of(stat.key) < oldest]
        if old:
            await self._blobs.delete(*old)
            _log.info("bodies of old calls swept", objects=len(old))

    async def sweep_now_and_then(self) -> None:
        """Sweep every six hours, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception as error:  # noqa: BLE001 - what cannot be removed now is removed later
                _log.warning("bodies of old calls not swept", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _remove(self, key: str) -> None:
        if not _KEY.fullmatch(key):
            return
        try:
            await self._store().delete(key)
        except BlobsUnavailable as error:
            _log.warning("body of a call not removed; it is swept later", key=key, reason=error.detail)

    def _store(self) -> Blobs:
        if self._blobs is None:
            raise BlobsUnavailable("no object store is set up for large calls")
        return self._blobs


def _day_of(key: str) -> date:
    return date.fromisoformat(key.split("/")[1])
