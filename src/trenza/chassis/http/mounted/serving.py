"""Serving a mounted application: its lifespan, the guard before its routes, and its share of logs and metrics."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from starlette.datastructures import URL
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from trenza.chassis.auth.permissions import PLATFORM, admitted
from trenza.chassis.contract import CallFailed, ContractError
from trenza.chassis.data import DatabaseUnavailable
from trenza.chassis.http.limits import allow_encoded_body
from trenza.chassis.http.mounted.access import MountedApp
from trenza.chassis.http.problem import Problem, problem_response, refuse_handshake
from trenza.chassis.http.route_templates import UNMATCHED, RouteTemplates
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Mounted"]

_ACCESS: Final = "trenza.access"
_FIRST_REDIRECT: Final = 300
_LAST_REDIRECT: Final = 399
_ENDS: Final = (b"", b"/", b"?", b"#")
"""What may follow a host."""
_log = get_logger(__name__)


class Mounted:
    """A mounted application, as the ASGI application that the platform serves below ``prefix``."""

    def __init__(self, declared: MountedApp, *, service: str, prefix: str) -> None:
        self.declared = declared
        self.service = service
        self.prefix = prefix
        self._state: dict[str, Any] = {}
        self._templates = RouteTemplates()
        self._named: dict[str, _Named] = {}
        _put_guard_before_routes(declared.app)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the application's lifespan around the block. Servers do so for the outermost application only."""
        app = self.declared.app
        async with AsyncExitStack() as stack:
            try:
                state = await stack.enter_async_context(app.router.lifespan_context(app))
            except Exception as error:
                error.add_note(f"{self.service}: the lifespan of the application mounted at {self.prefix} did not start")
                raise
            self._state = dict(state or {})
            try:
                yield
            finally:
                self._state = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection. The application sees itself as the outermost one, below a root path."""
        allow_encoded_body(HTTPConnection(scope))  # it may have a middleware for that
        inner = {**scope, PLATFORM: scope["app"], _ACCESS: self.declared, "app_root_path": scope.get("root_path", "")}
        inner.pop("router", None)  # with the platform's router, request.url_for would not find the application's routes
        inner["state"] = {**scope.get("state", {}), **self._state}
        answered = False

        async def send_and_see(message: Message) -> None:
            nonlocal answered
            await send(_relative(message, scope))
            answered = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await self.declared.app(inner, receive, send_and_see)
        except Exception as error:
            if not answered:
                raise
            # Starlette raises again what it has answered with 500, for servers to log it. The connection is still good.
            _log.error("request failed", service=self.service, code="INTERNAL_ERROR", exc_info=error)
        finally:
            template = self._templates.template(inner)
            if template != UNMATCHED:
                scope["route"] = self._named.setdefault(template, _Named(f"{self.prefix}{template}"))


@dataclass(frozen=True)
class _Named:
    """Stands for a route of the application where the platform looks for the template of the one that answered."""

    path_format: str


class _AccessGuard:
    """The innermost middleware of the application: what it lets through, the router gets with the very same scope."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        declared: MountedApp | None = scope.get(_ACCESS)
        if declared is None:  # the application runs by itself, as it did before
            await self._app(scope, receive, send)
            return
        answering = False

        async def send_and_see(message: Message) -> None:
            nonlocal answering
            answering = True
            await send(message)

        platform_scope = {**scope, "app": scope[PLATFORM]}
        try:
            guard = declared.guard_of(scope)
            async with admitted(HTTPConnection(platform_scope), guard) if guard is not None else nullcontext():
                await self._app(scope, receive, send_and_see)
        except (Problem, ContractError, CallFailed, DatabaseUnavailable) as error:
            if answering:
                raise
            await _answer(error, platform_scope, receive, send)


def _relative(message: Message, scope: Scope) -> Message:
    """An answer whose redirect leads to the host that the request named, made to lead to where the client has come from.

    FastAPI makes its redirects (to a path with its slash) out of the Host header, which anybody may have written.
    """
    if message["type"] != "http.response.start" or not _FIRST_REDIRECT <= message["status"] <= _LAST_REDIRECT:
        return message
    origin = str(URL(scope={**scope, "path": "", "query_string": b""})).encode("latin-1")
    headers = []
    for name, value in message.get("headers", ()):
        if origin and name.lower() == b"location" and value.startswith(origin) and value[len(origin) : len(origin) + 1] in _ENDS:
            headers.append((name, b"/" + value[len(origin) :].lstrip(b"/\\")))  # two slashes would begin another host
        else:
            headers.append((name, value))
    return {**message, "headers": headers}


async def _answer(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Tell what nobody in the application handles: refusals of the guard, and of contracts that the application calls."""
    response = problem_response(HTTPConnection(scope), error)
    if scope["type"] == "websocket":
        await refuse_handshake(WebSocket(scope, receive, send), response)
    else:
        await response(scope, receive, send)


def _put_guard_before_routes(app: Any) -> None:
    """Add the guard to an application, once; one that has served before builds its middleware anew."""
    if not any(middleware.cls is _AccessGuard for middleware in app.user_middleware):
        app.user_middleware.append(Middleware(_AccessGuard))
        app.middleware_stack = None
