"""What happens around every request: context, limits, deadline, headers, access log and metrics, in one pass of pure ASGI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trenza.chassis.context import Context, new_correlation_id, use_context, valid_correlation_id
from trenza.chassis.http.limits import BodyLimit
from trenza.chassis.http.problem import Problem, problem_response
from trenza.chassis.http.rate_limits import RateLimitDoor, RateLimits
from trenza.chassis.http.rate_limits.headers import RATE_LIMIT_HEADERS
from trenza.chassis.http.route_templates import RouteTemplates
from trenza.chassis.http.security_headers import SecurityHeaders
from trenza.chassis.settings import PlatformSettings
from trenza.chassis.telemetry.logs import get_logger
from trenza.chassis.telemetry.metrics import observe_request

__all__ = [
    "CORRELATION_HEADER",
    "CORS_METHODS",
    "CORS_REQUEST_HEADERS",
    "CORS_RESPONSE_HEADERS",
    "DEFAULT_BODY_BYTES",
    "DEFAULT_REQUEST_SECONDS",
    "Edge",
    "answering_cors",
    "install_middleware",
]

CORRELATION_HEADER = "X-Correlation-ID"
DEFAULT_BODY_BYTES = 10 * 1024 * 1024
"""The most that a body may have where the route does not raise it (`trenza.chassis.http.limits.allow_body`)."""
DEFAULT_REQUEST_SECONDS = 120.0
"""How long an answer may take to begin, from the last that the client sent."""

_CLIENT_GONE = 499
"""What the access log shows, as nginx does, where the client left before its answer."""
_WORTH_READING = 256 * 1024
"""Bytes. What is left of an unread body beyond this costs more than a new connection."""
CORS_RESPONSE_HEADERS = (
    CORRELATION_HEADER,
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "Preference-Applied",
    "Retry-After",
    *RATE_LIMIT_HEADERS,
)
CORS_REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "If-None-Match",
    "If-Range",
    "Last-Event-ID",
    "Prefer",
    "Range",
    CORRELATION_HEADER,
)
CORS_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
"""What pages of other origins may use and see (`PlatformSettings.cors_origins` says which origins)."""
_QUIET = ("/health", "/metrics")

_log = get_logger("trenza.access")


@dataclass
class _Exchange:
    """One request and its answer, as far as it is known."""

    scope: Scope
    body: BodyLimit
    correlation_id: bytes
    started: float
    status: int = 0
    answering: bool = False
    failed: bool = False


class Edge:
    """The outermost layer of the application that is ours.

    Nothing that a route raises passes it: what no handler knew is answered as an internal error and logged with its trace.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        security: SecurityHeaders,
        body_bytes: int = DEFAULT_BODY_BYTES,
        request_seconds: float = DEFAULT_REQUEST_SECONDS,
    ) -> None:
        self._app = app
        self._security = security
        self._body_bytes = body_bytes
        self._request_seconds = request_seconds
        self._templates = RouteTemplates()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        known = _known_headers(scope)
        context = Context(
            correlation_id=valid_correlation_id(known.get(b"x-correlation-id")) or new_correlation_id(),
            traceparent=known.get(b"traceparent"),
        )
        if scope["type"] == "websocket":
            with use_context(context):
                await self._app(scope, receive, send)
            return
        if not _sends_body(known):
            context = context.with_deadline_in(self._request_seconds)
        exchange = _Exchange(
            scope,
            BodyLimit(self._body_bytes, scope, receive, _length(known.get(b"content-length")), encoded=_is_encoded(known)),
            context.correlation_id.encode(),
            time.perf_counter(),
        )
        exchange.body.complete = not _sends_body(known)
        with use_context(context):
            try:
                await self._serve(exchange, send)
            finally:
                self._record(exchange)

    async def _serve(self, exchange: _Exchange, send: Send) -> None:
        loop = asyncio.get_running_loop()

        async def receive_within_limits() -> Message:
            message = await exchange.body.receive()
            if not (exchange.answering or exchange.failed):  # the client's own time does not count
                deadline.reschedule(loop.time() + self._request_seconds)
            return message

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.answering = True
                exchange.status = message["status"]
                if not exchange.failed:
                    deadline.reschedule(None)
                message = {**message, "headers": self._headers(exchange, message)}
            await send(message)

        try:
            async with asyncio.timeout(self._request_seconds) as deadline:
                await self._app(exchange.scope, receive_within_limits, send_with_headers)
        except ClientDisconnect:
            exchange.status = exchange.status or _CLIENT_GONE
        except Exception as error:
            exchange.failed = True
            if exchange.answering:
                raise  # the server breaks the connection, so that the client cannot take half an answer for a whole one
            if isinstance(error, TimeoutError) and deadline.expired():
                error = Problem(504, "DEADLINE_EXCEEDED", seconds=self._request_seconds)
            response = problem_response(HTTPConnection(exchange.scope), error)
            await response(exchange.scope, receive_within_limits, send_with_headers)

    def _headers(self, exchange: _Exchange, message: Message) -> list[tuple[bytes, bytes]]:
        headers = [*message.get("headers", ()), (b"x-correlation-id", exchange.correlation_id)]
        self._security.add_to(headers, exchange.scope["path"])
        unread = exchange.body.unread
        if not exchange.scope.get("http_version", "1.1").startswith("1."):
            return headers  # from HTTP/2 on, a stream ends without its connection
        if unread is None or unread > _WORTH_READING:
            headers = [header for header in headers if header[0].lower() != b"connection"]
            headers.append((b"connection", b"close"))
        return headers

    def _record(self, exchange: _Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        method, endpoint = exchange.scope["method"], self._templates.template(exchange.scope)
        status = exchange.status or 500
        observe_request(method=method, endpoint=endpoint, status_code=status, seconds=seconds)
        write = _log.debug if endpoint.startswith(_QUIET) else _log.info
        path, ms = exchange.scope["path"], round(seconds * 1000, 1)
        write("request", method=method, endpoint=endpoint, path=path, status=status, ms=ms)


def install_middleware(
    app: FastAPI,
    settings: PlatformSettings,
    *,
    body_bytes: int = DEFAULT_BODY_BYTES,
    request_seconds: float = DEFAULT_REQUEST_SECONDS,
    document_paths: Collection[str] = (),
    rate_limits: RateLimits | None = None,
) -> None:
    """Put `Edge` around the application, and CORS around that where ``settings.cors_origins`` names origins.

    ``document_paths`` are pages of mounted applications that show their API as FastAPI makes them. ``rate_limits`` count what
    has passed `Edge`, by tokens that `install_auth` makes known; None counts nothing.
    """
    pages = [path for path in (app.docs_url, app.redoc_url, app.swagger_ui_oauth2_redirect_url, *document_paths) if path]
    security = SecurityHeaders(https=settings.public_url.startswith("https://"), document_paths=pages)
    if rate_limits is not None:
        app.state.rate_limits = rate_limits
        app.add_middleware(RateLimitDoor, limits=rate_limits)
    app.add_middleware(Edge, security=security, body_bytes=body_bytes, request_seconds=request_seconds)
    if settings.cors_origins:
        app.add_middleware(CORSMiddleware, **_cors(settings))


def answering_cors(app: ASGIApp, settings: PlatformSettings) -> ASGIApp:
    """The application behind what answers for cross-origin requests, where ``settings.cors_origins`` names origins."""
    return CORSMiddleware(app, **_cors(settings)) if settings.cors_origins else app


def _cors(settings: PlatformSettings) -> dict[str, Any]:
    return {
        "allow_origins": settings.cors_origins,
        "allow_methods": CORS_METHODS,
        "allow_headers": CORS_REQUEST_HEADERS,
        "expose_headers": CORS_RESPONSE_HEADERS,
    }


def _known_headers(scope: Scope) -> dict[bytes, str]:
    """The few request headers that concern this layer; the first of each."""
    known: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        if name in _CONCERNED:
            known.setdefault(name, value.decode("latin-1"))
    return known


_CONCERNED = frozenset((b"x-correlation-id", b"traceparent", b"content-length", b"transfer-encoding", b"content-encoding"))


def _sends_body(known: dict[bytes, str]) -> bool:
    return b"transfer-encoding" in known or _length(known.get(b"content-length")) not in (None, 0)


def _is_encoded(known: dict[bytes, str]) -> bool:
    return known.get(b"content-encoding", "").strip().lower() not in ("", "identity")


def _length(content_length: str | None) -> int | None:
    return int(content_length) if content_length and content_length.isascii() and content_length.isdigit() else None
