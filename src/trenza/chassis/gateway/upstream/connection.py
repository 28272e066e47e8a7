"""One HTTP/1.1 connection to an upstream: requests go as bytes, answers come parsed, both no faster than they are taken."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import httptools

from trenza.chassis.gateway.upstream.errors import UpstreamBroke

__all__ = ["MOST_HEAD_BYTES", "UpstreamConnection"]

MOST_HEAD_BYTES: Final = 64 * 1024
"""The most that the headers of an answer may have, trailers included."""

_FULL: Final = 256 * 1024
_EMPTIED: Final = 64 * 1024
"""Bytes of an answer that wait here: reading pauses above the one and goes on below the other."""

_CONTINUE, _SWITCHING, _OK = 100, 101, 200


class UpstreamConnection(asyncio.Protocol):
    """Carries one exchange after another.

    ``status`` is that of the answer's head, 0 before it came. ``headers`` are its headers, names in lower case. ``complete`` says
    that all of the answer was parsed, ``continued`` that a 100 came, ``answering`` that any byte did. Trailers are dropped
    (RFC 9110, section 6.5.1, allows it), as are 102 and 103.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._permitted: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._open = False
        self.closed = False
        self.used = False
        self.idle_since = self.active_at = loop.time()
        self.head_only = False
        self._reset()

    def _reset(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = self.continued = self.answering = False
        self.error: Exception | None = None
        self._keep = self._framed = self._interim = self._paused = False
        self._head_bytes = 0
        self._buffered = 0
        self._body: deque[bytes] = deque()

    # The exchange

    def begin(self, *, head_only: bool) -> None:
        """Start an exchange; ``head_only`` for HEAD, whose answer has no body whatever its headers say."""
        if self.head_only:  # the parser waits for a body that did not come
            self._parser = httptools.HttpResponseParser(self)
        self._reset()
        self.head_only = head_only
        self._open = True
        self.active_at = self._loop.time()

    def end(self) -> bool:
        """Finish the exchange. Returns whether the connection may carry another; one that may not is closed."""
        reusable = self.complete and self._keep and not self.closed and self._open
        self._open = False
        self.used = True
        if not reusable:
            self.abort()
        return reusable

    def abort(self, error: Exception | None = None) -> None:
        """Cut the connection; who waits for an answer gets ``error``."""
        if error is not None and not self.complete and self.error is None:
            self.error = error
        if self._transport is not None and not self.closed:
            self._transport.abort()
        self.closed = True
        self._wake()

    def write(self, data: bytes) -> None:
        """Send bytes, or keep them until they can be sent; `drain` waits until there is room again."""
        if self._transport is not None and not self.closed:
            self._transport.write(data)
            self.active_at = self._loop.time()

    async def drain(self) -> None:
        """Wait while too much waits to be sent. Raises what the exchange ended with."""
        if self.error is not None:
            raise self.error
        if self._drained is not None:
            await asyncio.shield(self._drained)
            if self.error is not None:
                raise self.error

    @property
    def says_close(self) -> bool:
        """Whether the head of the answer says that this connection ends with it."""
        return any(name == b"connection" and b"close" in value.lower() for name, value in self.headers)

    @property
    def writing_held_up(self) -> bool:
        """Whether the upstream takes nothing for the moment."""
        return self._drained is not None

    @property
    def waits_for_reader(self) -> bool:
        """Whether something of the answer lies here untaken."""
        return self._buffered > 0

    async def head(self) -> None:
        """Wait until the answer's head is there. Raises what the exchange ended with instead."""
        while not self.status:
            if self.error is not None:
                raise self.error
            await self._wait()

    async def permission(self) -> None:
        """Wait for 100, a final head, or the end (RFC 9110, section 10.1.1)."""
        while not (self.continued or self.status or self.error is not None):
            self._permitted = self._loop.create_future()
            await self._permitted

    async def read(self) -> bytes:
        """What has come of the body; empty at its end. Raises what the exchange ended with, after all that came before it."""
        while not self._body:
            if self.complete:
                return b""
            if self.error is not None:
                raise self.error
            await self._wait()
        data = self._body.popleft() if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            if not self.closed:
                self._transport.resume_reading()
        return data

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._permitted is not None and not self._permitted.done():
            self._permitted.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # asyncio declares the base of all transports

    def data_received(self, data: bytes) -> None:
        """Parse."""
        self.active_at = self._loop.time()
        if not self._open:  # nobody has asked: what comes now would be taken for the answer to the next request
            self.abort()
            return
        self.answering = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            cause = error.__context__ if isinstance(error.__context__, UpstreamBroke) else None
            self.abort(cause or UpstreamBroke(f"it answered what is no HTTP/1.1: {error}"))
        else:
            if self._buffered > _FULL and not self._paused and self._transport is not None and not self.closed:
                self._paused = True
                self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; of an answer without a length it is the end as well (RFC 9112, section 6.3, rule 8)."""
        self.closed = True
        self._transport = None
        if self._open and not self.complete and self.error is None:
            if exc is None and self.status and not self._framed:
                self.complete = True
            else:
                self.error = UpstreamBroke("the connection was cut" if exc is None else f"the connection was cut: {exc}")
        self._wake()
        self.resume_writing()

    def pause_writing(self) -> None:
        """More waits to be sent than should."""
        if self._drained is None:
            self._drained = self._loop.create_future()

    def resume_writing(self) -> None:
        """There is room again, or nobody left to send to."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # httptools

    def on_message_begin(self) -> None:
        """A second answer to one request makes the connection unfit for another."""
        if self.complete:
            self._keep = False
            raise UpstreamBroke("it answered once more than it was asked")

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header, or after the body one trailer."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MOST_HEAD_BYTES:
            raise UpstreamBroke(f"its headers have more than {MOST_HEAD_BYTES} bytes")
        if not self.status:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """An interim head, or the final one."""
        status = self._parser.get_status_code()
        if status < _OK:
            if status == _SWITCHING:
                raise UpstreamBroke("it switched protocols unasked")
            self._interim = True
            self.headers = []
            self.continued = self.continued or status == _CONTINUE
            return
        if status > 599:  # noqa: PLR2004 - RFC 9110, section 15: what is higher is invalid
            raise UpstreamBroke(f"it answered {status}, which is no status")
        self.status = status
        self._framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self.headers)
        if self.head_only:
            self._keep = self._parser.get_http_version() == "1.1" and not self.says_close
            self.complete = True

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.head_only:
            self._keep = False
            return
        self._body.append(body)
        self._buffered += len(body)

    def on_message_complete(self) -> None:
        """The end of an interim head, or of the answer."""
        if self._interim:
            self._interim = False
        elif not self.complete:
            self._keep = self._parser.should_keep_alive()
            self.complete = True
