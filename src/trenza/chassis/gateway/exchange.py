"""One request under way to an upstream: its body is pumped, its time is watched, and so is its client."""

from __future__ import annotations

import asyncio
from typing import Final

from trenza.chassis.gateway.bodies import RequestBody
from trenza.chassis.gateway.requests import RequestHead
from trenza.chassis.gateway.upstream import ClientGone, UpstreamBroke, UpstreamConnection, UpstreamSlow
from trenza.chassis.http.limits import BodyTooLarge

__all__ = ["Exchange"]

_UNWATCHED_SECONDS: Final = 0.05
"""How long an answer may take before its client is watched: most are there by then, and a watch costs as much as a request."""
_LOOK_SECONDS: Final = 1.0
_PERMISSION_SECONDS: Final = 1.0
"""How long 100 (Continue) is waited for before the body is sent all the same (RFC 9110, section 10.1.1)."""


class Exchange:
    """A request, and the connection that carries it for the moment. Call `close` at its end."""

    __slots__ = (
        "_answer_seconds",
        "_gone",
        "_idle_seconds",
        "_loop",
        "_pump",
        "_timer",
        "_watch",
        "body",
        "connection",
        "head",
        "sent",
    )

    def __init__(self, head: RequestHead, body: RequestBody, *, answer_seconds: float, idle_seconds: float) -> None:
        self.head, self.body = head, body
        self._answer_seconds, self._idle_seconds = answer_seconds, idle_seconds
        self._loop = asyncio.get_running_loop()
        self.connection: UpstreamConnection | None = None
        self._gone = False
        self.sent = False
        """Whether all of the request has been sent over this connection."""
        self._pump: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, connection: UpstreamConnection, head: bytes, first: bytes) -> None:
        """Send the request and wait for the head of its answer. Raises `UpstreamBroke`, `ClientGone`, `BodyTooLarge`."""
        self.connection = connection
        if self._gone:  # while the connection was made
            raise ClientGone
        connection.begin(head_only=self.head.method == "HEAD")
        if self._timer is None:
            self._timer = self._loop.call_later(_UNWATCHED_SECONDS, self._tick)
        if self.body.complete and self.body.received == len(first):
            self.sent = True
            connection.write(head + self._framed(first) + self._end() if self.head.has_body else head)
        else:
            self.sent = False
            connection.write(head)
            self._pump = self._loop.create_task(self._send_body(connection))
        await connection.head()

    async def leave(self) -> bool:
        """Let go of the connection; returns whether it may carry another request."""
        if self._pump is not None:
            await _cancel(self._pump)
            self._pump = None
        connection, self.connection = self.connection, None
        if connection is None:
            return False
        if not self.sent:
            connection.abort()
        return connection.end()

    async def close(self) -> None:
        """End all that was started for the request."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watch is not None:
            await _cancel(self._watch)
        self.body.close()

    async def _send_body(self, connection: UpstreamConnection) -> None:
        try:
            if self.head.expects_continue and not await self._permitted(connection):
                return
            async for chunk in self.body.chunks():
                connection.write(self._framed(chunk))
                await connection.drain()
            connection.write(self._end())
            self.sent = True
        except (ClientGone, BodyTooLarge) as error:
            connection.abort(error)
        except UpstreamBroke:
            return  # whoever waits for the answer is told

    async def _permitted(self, connection: UpstreamConnection) -> bool:
        try:
            async with asyncio.timeout(_PERMISSION_SECONDS):
                await connection.permission()
        except TimeoutError:
            return True  # it knows nothing of 100
        return connection.continued

    def _framed(self, chunk: bytes) -> bytes:
        if not chunk:
            return b""
        return b"%x\r\n%s\r\n" % (len(chunk), chunk) if self.head.chunked else chunk

    def _end(self) -> bytes:
        return b"0\r\n\r\n" if self.head.chunked else b""

    def _tick(self) -> None:
        """Look whether the upstream is late, and begin to watch the client once nothing more is read of it."""
        now = self._loop.time()
        if self._watch is None and self.body.complete:
            self._watch = self._loop.create_task(self._watch_client())
        connection, due = self.connection, float("inf")
        if connection is not None and (self.sent or connection.status or connection.writing_held_up):
            if connection.waits_for_reader:  # it is the client who is slow
                connection.active_at = now
            limit = self._idle_seconds if connection.status or not self.sent else self._answer_seconds
            due = connection.active_at + limit
            if due <= now:
                connection.abort(UpstreamSlow(limit))
                due = float("inf")
        self._timer = self._loop.call_at(
            min(due, now + (_LOOK_SECONDS if self._watch is None else self._idle_seconds)), self._tick
        )

    async def _watch_client(self) -> None:
        await self.body.gone()
        self._gone = True
        if self.connection is not None:
            self.connection.abort(ClientGone())


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
