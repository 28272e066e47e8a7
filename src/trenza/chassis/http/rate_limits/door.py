"""The middleware that counts every request before anything is done for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from trenza.chassis.http.problem import Problem, problem_response, refuse_handshake
from trenza.chassis.http.rate_limits.headers import rate_limit_headers
from trenza.chassis.http.rate_limits.limiter import Counted, RateLimits

__all__ = ["UNCOUNTED_PATHS", "UNCOUNTED_PREFIX", "RateLimitDoor", "with_rate_limits"]

UNCOUNTED_PATHS: Final = frozenset(("/health", "/health/live", "/health/ready", "/health/status", "/metrics"))
"""Probes and scrapes. Whoever watches a process must see it while others flood it; these answers are cheap and cached."""
UNCOUNTED_PREFIX: Final = "/_call/"
"""Calls between services, whose passports are checked first; one request of a user may take any number of them."""


class RateLimitDoor:
    """Stands within `Edge`, so that refusals have a correlation id, a log line and security headers, and before all routing."""

    def __init__(self, app: ASGIApp, *, limits: RateLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        limits = self._limits
        if not limits.enabled or scope["type"] == "lifespan" or _is_uncounted(scope):
            await self._app(scope, receive, send)
            return
        caller = limits.caller(scope)

        async def send_with_headers(message: Message) -> None:
            await send(with_rate_limits(message, caller.counted))

        try:
            if limits.at_door:
                await limits.count_at_door(scope)
        except Problem as refusal:
            await _refuse(refusal, scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)


def with_rate_limits(message: Message, counted: Sequence[Counted]) -> Message:
    """The message, and where an answer begins, with the fields for what counted it.

    An answer from a process behind this one may tell of limits itself: then ours join its lists.
    """
    if message["type"] != "http.response.start" or not counted:
        return message
    headers = list(message.get("headers", ()))
    told = {name.lower() for name, _ in headers}
    found = rate_limit_headers(counted)
    headers += [(name, value) for name, value in found if name not in told or name in (b"ratelimit", b"ratelimit-policy")]
    return {**message, "headers": headers}


async def _refuse(refusal: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    response = problem_response(HTTPConnection(scope), refusal)
    if scope["type"] == "websocket":
        await refuse_handshake(WebSocket(scope, receive, send), response)
    else:
        await response(scope, receive, send)


def _is_uncounted(scope: Scope) -> bool:
    path: str = scope["path"]
    if root := scope.get("root_path", ""):
        path = path.removeprefix(root)
    return path in UNCOUNTED_PATHS or path.startswith(UNCOUNTED_PREFIX)
