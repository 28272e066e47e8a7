"""A transport of calls into an application in this process: the whole HTTP surface, without a socket."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from typing import Any

import httpx

from trenza.chassis.calls.transport import Answer

__all__ = ["AsgiTransport"]


class AsgiTransport:
    """Posts calls to an ASGI application.

    The application runs in a task with an empty context, so that nothing reaches it but what is on the wire. As over a socket, an
    exception that escapes it is a 500 to the caller, and a caller that gives up cancels it.
    """

    def __init__(self, app: Any) -> None:
        self._transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)

    async def post(
        self, path: str, headers: Mapping[str, str], body: bytes, timeout: float, *, idempotent: bool = False
    ) -> Answer:
        """The application's answer within ``timeout`` seconds; raises `TimeoutError` after that. It asks once in any case."""
        del idempotent
        request = httpx.Request("POST", f"http://callee{path}", headers=dict(headers), content=body)
        exchange = asyncio.create_task(self._exchange(request), context=contextvars.Context())
        async with asyncio.timeout(timeout):
            return await exchange

    async def _exchange(self, request: httpx.Request) -> Answer:
        response = await self._transport.handle_async_request(request)
        return Answer(
            response.status_code, {name.lower(): value for name, value in response.headers.items()}, await response.aread()
        )
