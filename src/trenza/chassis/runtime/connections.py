"""HTTP connections with bounds on what uvicorn leaves open: the size of a request's head and the time that it may take."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trenza.chassis.context import new_correlation_id

__all__ = ["HEAD_BYTES", "HEAD_SECONDS", "BoundedHttpProtocol"]

HEAD_BYTES = 64 * 1024
"""Request line and headers together. Larger heads get 431 (RFC 6585, section 5)."""

HEAD_SECONDS = 10.0
"""From the connection, or from the first byte of a further request, to the end of its head: slow senders hold no socket."""

_REASONS: Final = {400: b"Bad Request", 431: b"Request Header Fields Too Large"}


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 over httptools, which by itself collects headers without end and waits for them for ever."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = self._parsed_bytes = 0
        self._head_open = True
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn itself
        """Start the clock of the first head."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, then count what has come of a head that is not complete yet."""
        super().data_received(data)
        if self._head_open and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse_head()

    def on_url(self, url: bytes) -> None:
        """A part of the request line's address. Raises for more than a head may have, which the parser takes for its end."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; raises as `on_url` does. What follows a body are trailers, which must not pass for headers."""
        if self._head_open:
            super().on_header(name, value)
        self._count(len(name) + len(value))

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words; ours say more
        """What cannot be parsed, as a problem document."""
        if self.transport.is_closing():
            return  # refused already
        if self._parsed_bytes > HEAD_BYTES:
            self._refuse_head()
        else:
            self._refuse(
                400,
                code="MALFORMED_HTTP",
                title="Malformed request",
                detail="This is not a request of HTTP/1.1: its first line or one of its headers cannot be read.",
                remedy="encode what is no ASCII in the address, and send plain HTTP to this port",
            )

    def _count(self, length: int) -> None:
        self._parsed_bytes += length
        if self._parsed_bytes > HEAD_BYTES:
            raise ValueError("the head of the request is too large")

    def _refuse_head(self) -> None:
        self._refuse(
            431,
            code="HEADERS_TOO_LARGE",
            title="Request header fields too large",
            detail=f"The request line and headers together may have {HEAD_BYTES} bytes at most.",
            limit=HEAD_BYTES,
            remedy="shorten the address or the headers; send data in the body",
        )

    def _refuse(self, status: int, *, code: str, **members: str | int) -> None:
        """Answer before there is a request that the application could answer, and end the connection."""
        correlation_id = new_correlation_id()
        name = f"urn:trenza:problem:{code.lower().replace('_', '-')}"
        body = orjson.dumps({"type": name, "status": status, "code": code, **members, "correlation_id": correlation_id})
        head = (
            b"HTTP/1.1 %d %s\r\ncontent-type: application/problem+json\r\nx-correlation-id: %s\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n"
        )
        self.transport.write(head % (status, _REASONS[status], correlation_id.encode(), len(body)) + body)
        self.transport.close()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_bytes = self._parsed_bytes = 0
        self._head_open = True
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_late)

    def on_headers_complete(self) -> None:
        """The head is complete: from here the application's own limits hold."""
        self._head_open = False
        self._stop_timer()
        super().on_headers_complete()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        self._head_timer = None
        if self._head_open and not self.transport.is_closing():
            self.transport.close()
