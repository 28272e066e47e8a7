"""Moving prefixes from a legacy application to the services that own them: who is served by which side, and what they say."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Sequence
from hashlib import blake2b, sha256
from typing import Any, Final

import orjson
from starlette.types import Message, Send

from trenza.chassis.gateway.declarations import Move
from trenza.chassis.gateway.figures import SHADOWED
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Moves", "Shadows", "share_of"]

_COMPARED_BYTES: Final = 1024 * 1024
"""JSON up to this size is compared by value, so that neither spaces nor the order of members count; the rest by digest."""
_GZIP: Final = 31
"""zlib's window bits for gzip and its header."""

_log = get_logger(__name__)


def share_of(prefix: str, client: str) -> float:
    """Where a client stands among all, from 0 to (less than) 100: always the same, evenly spread, another for each prefix."""
    digest = blake2b(f"{prefix}\0{client}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48 * 100


class Moves:
    """Which clients the services serve already."""

    def __init__(self, declared: Sequence[Move]) -> None:
        self._by_prefix = {move.prefix: move for move in declared}

    def of(self, prefix: str) -> Move | None:
        """The move of an owned prefix; None when it is the service's altogether."""
        return self._by_prefix.get(prefix)

    @staticmethod
    def moved(move: Move, client: str) -> bool:
        """Whether the service serves this client (a user's name, or an address). Raising the percentage moves nobody back."""
        return share_of(move.prefix, client) < move.percent


class Fingerprint:
    """Takes an answer as it passes and keeps what tells it from another: its status, and a digest or the value of its body."""

    def __init__(self, onward: Send | None = None) -> None:
        self._onward = onward
        self._digest = sha256()
        self._json: bytearray | None = None
        self._unzip: Any = None
        self.status = 0
        self.complete = False

    async def send(self, message: Message) -> None:
        """Look at a message and pass it on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = {name.lower(): value.lower() for name, value in message["headers"]}
            if b"json" in headers.get(b"content-type", b""):
                self._json = bytearray()
            if headers.get(b"content-encoding") == b"gzip":
                self._unzip = zlib.decompressobj(_GZIP)
        else:
            self._take(message.get("body", b""))
            self.complete = not message.get("more_body", False)
        if self._onward is not None:
            await self._onward(message)

    def _take(self, data: bytes) -> None:
        if self._unzip is not None:
            try:
                data = self._unzip.decompress(data)
            except zlib.error:
                self._unzip = None  # it is compared as it is
        self._digest.update(data)
        if self._json is not None:
            self._json += data
            if len(self._json) > _COMPARED_BYTES:
                self._json = None

    def body(self) -> object:
        """Something equal for equal bodies."""
        if self._json:
            try:
                return orjson.loads(bytes(self._json))
            except orjson.JSONDecodeError:
                return self._digest.digest()
        return self._digest.digest()


Relay = Callable[[Send], Awaitable[None]]
"""Sends a request to one side and its answer to where it is told."""


class Shadows:
    """Asks the other side as well, and counts and logs where it answers something else; never what it answers."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._running: set[asyncio.Task[None]] = set()

    async def serve(self, prefix: str, answer: Relay, other: Relay, send: Send) -> None:
        """Give the client one side's answer while the other is asked; nobody waits for the comparison."""
        if len(self._running) >= self._concurrency:
            SHADOWED.labels(prefix, "skipped").inc()
            await answer(send)
            return
        given = Fingerprint(send)
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._compare(prefix, given, over, other))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await answer(given.send)
        finally:
            over.set_result(None)

    async def settled(self) -> None:
        """Wait until the comparisons that are under way are over."""
        await asyncio.gather(*self._running)

    async def close(self) -> None:
        """End the comparisons that are under way."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _compare(self, prefix: str, given: Fingerprint, over: asyncio.Future[None], other: Relay) -> None:
        shadow = Fingerprint()
        try:
            await other(shadow.send)
        except Exception as error:  # noqa: BLE001 - whatever breaks the shadow, the client has its answer
            SHADOWED.labels(prefix, "failed").inc()
            _log.warning("shadow gave no answer", prefix=prefix, reason=type(error).__name__)
            return
        await over
        if not given.complete:
            SHADOWED.labels(prefix, "skipped").inc()  # the client left, or its answer broke off
            return
        result = "status" if given.status != shadow.status else "same" if given.body() == shadow.body() else "body"
        SHADOWED.labels(prefix, result).inc()
        if result != "same":
            _log.warning("shadow differs", prefix=prefix, differs=result, status=given.status, shadow_status=shadow.status)
