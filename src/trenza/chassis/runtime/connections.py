"""HTTP connections with bounds on what uvicorn leaves open: the size of a request's head and the time that it may take."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HEAD_BYTES", "HEAD_SECONDS", "BoundedHttpProtocol"]

HEAD_BYTES = 64 * 1024
"""Request line and headers together. Larger heads get 431 (RFC 6585, section 5)."""

HEAD_SECONDS = 10.0
"""From the connection, or from the first byte of a further request, to the end of its head: slow senders hold no socket."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%s"
)
_PROBLEM = (
    b'{"type":"about:blank","title":"Request header fields too large","status":431,"code":"HEADERS_TOO_LARGE",'
    b'"detail":"The request line and headers together may be 65536 bytes at most."}'
)


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 over httptools, which by itself collects headers without end and waits for them for ever."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
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
        if self._head_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE % (len(_PROBLEM), _PROBLEM))
                self.transport.close()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._head_bytes, self._head_open = 0, True
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
