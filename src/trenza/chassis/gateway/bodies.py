"""The body of one request on its way through: counted, bounded, and kept as far as it may have to be sent again."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

from starlette.types import Receive

from trenza.chassis.gateway.upstream import ClientGone
from trenza.chassis.http.limits import BodyTooLarge

__all__ = ["RequestBody"]

_IN_MEMORY: Final = 256 * 1024
"""Bytes of a kept body; what is more goes to a file without a name, which ends with the process."""
_CHUNK: Final = 64 * 1024


class RequestBody:
    """Reads a body from ``receive`` once, whatever the number of upstreams that it is sent to.

    ``limit`` is the most that it may have, ``keep`` how much of it is kept for a further upstream, both in bytes.
    """

    def __init__(self, receive: Receive, *, expected: bool, limit: int, keep: int) -> None:
        self._receive = receive
        self._limit, self._keep = limit, keep
        self._first = b""
        self._rest: IO[bytes] | None = None
        self.received = 0
        self.complete = not expected
        self.replayable = True
        """Whether all that was read can be read again."""

    async def first(self) -> bytes:
        """What has come so far, which `chunks` gives again. A small body comes whole. Raises `ClientGone`, `BodyTooLarge`."""
        self._first = await self._next()
        return self._first

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body from its beginning; only while ``replayable``. Raises `ClientGone`, `BodyTooLarge`."""
        if self._first:
            yield self._first
        if self._rest is not None:
            self._rest.seek(0)
            while data := self._rest.read(_CHUNK):
                yield data
        while not self.complete:
            if data := await self._next():
                self._store(data)
                yield data

    async def gone(self) -> None:
        """Return when the client has left; to be asked once the body is complete."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def close(self) -> None:
        """Forget what was kept."""
        self._first = b""
        if self._rest is not None:
            self._rest.close()
            self._rest = None

    def _store(self, data: bytes) -> None:
        if self.replayable and self.received <= self._keep:
            self._rest = self._rest or tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed by `close`
            self._rest.write(data)
        elif self.replayable:
            self.replayable = False
            self.close()

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        data: bytes = message.get("body", b"")
        self.complete = not message.get("more_body", False)
        self.received += len(data)
        if self.received > self._limit:
            raise BodyTooLarge(self._limit)
        return data
