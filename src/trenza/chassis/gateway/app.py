"""The gateway as an ASGI application: every request through one door, to a service in this process or in another."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import unquote

from fastapi import APIRouter
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trenza.chassis.auth.permissions import Roles
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.context import Context, new_correlation_id, use_context, valid_correlation_id
from trenza.chassis.contract import ContractError
from trenza.chassis.gateway.answers import AnswerHeaders
from trenza.chassis.gateway.compositions import PART, Compositions, NoBody
from trenza.chassis.gateway.declarations import GatewayDeclarations
from trenza.chassis.gateway.dispatch import Dispatch, Plan, Where
from trenza.chassis.gateway.documents import Documents
from trenza.chassis.gateway.door import door_app
from trenza.chassis.gateway.health import add_checks
from trenza.chassis.gateway.proxy import Proxy
from trenza.chassis.gateway.requests import RequestHead, read_head
from trenza.chassis.gateway.routes import LEGACY, GatewayRoute, Routes
from trenza.chassis.gateway.settings import GatewaySettings
from trenza.chassis.gateway.sockets import Sockets
from trenza.chassis.gateway.strangler import Shadows
from trenza.chassis.gateway.tokens import TokenCheck
from trenza.chassis.gateway.upstream import ClientGone
from trenza.chassis.http.limits import BodyTooLarge
from trenza.chassis.http.middleware import answering_cors
from trenza.chassis.http.operations import no_calls, no_messages
from trenza.chassis.http.problem import Problem, problem_response
from trenza.chassis.http.rate_limits import RateLimits
from trenza.chassis.http.rate_limits.door import RateLimitDoor, with_rate_limits
from trenza.chassis.http.security_headers import SecurityHeaders
from trenza.chassis.peers import PeerLimits
from trenza.chassis.settings import CannotStart, PlatformSettings
from trenza.chassis.telemetry.health import Health
from trenza.chassis.telemetry.logs import get_logger
from trenza.chassis.telemetry.metrics import observe_request

__all__ = ["Gateway", "GatewayMisdeclared"]

_PLAN: Final = "trenza.plan"
_CLIENT_GONE: Final = 499
_PAGES: Final = ("/openapi.json", "/health", "/health/live", "/health/ready", "/health/status", "/metrics")
_REFUSALS: Final = (Problem, ContractError, BodyTooLarge)

_log = get_logger("trenza.access")


class GatewayMisdeclared(CannotStart):
    """The gateway's routes or declarations do not fit together; lists every problem, each with its remedy."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("the gateway cannot be made:\n" + "\n".join(f"  - {problem}" for problem in problems))
        self.problems = problems


class Gateway:
    """One door before all services.

    ``inner`` is this process' own application: it answers for services without ``urls`` and, unless there is a legacy upstream,
    for what no service owns. Its ``document`` gives its OpenAPI document, and ``health`` its checks, to which the gateway adds
    one for each service elsewhere. ``routers`` are further pages of the gateway (the page at ``/docs``), ``messages`` and
    ``calls`` what ``/health/status`` tells of them. ``rate_limits`` count what is passed on. ``tls`` is what
    `trenza.chassis.peers.client_tls` gives; it does not hold for the legacy upstream, which has a certificate of its own.

    Raises `GatewayMisdeclared`. Serve it within one event loop, and `close` it there.
    """

    def __init__(
        self,
        inner: ASGIApp | None,
        routes: Sequence[GatewayRoute],
        settings: PlatformSettings,
        *,
        verifier: TokenVerifier,
        declared: GatewayDeclarations | None = None,
        options: GatewaySettings | None = None,
        health: Health | None = None,
        document: Callable[[], dict[str, Any]] | None = None,
        messages: Callable[[], Awaitable[Mapping[str, Any]]] = no_messages,
        calls: Callable[[], Mapping[str, Any]] = no_calls,
        routers: Sequence[APIRouter] = (),
        roles: Iterable[Roles] = (),
        rate_limits: RateLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        declared = declared or GatewayDeclarations()
        self._inner, self._options = inner, options or GatewaySettings()
        self._trusted = settings.trusted_proxies
        if problems := tuple(declared.problems(tuple(routes))):
            raise GatewayMisdeclared(problems)
        try:
            table = Routes(routes)
        except ValueError as error:
            raise GatewayMisdeclared((str(error),)) from None
        self._security = SecurityHeaders(https=settings.public_url.startswith("https://"), document_paths=())
        headers = AnswerHeaders(self._security, cors=bool(settings.cors_origins))
        limits = replace(PeerLimits.of(settings), recovery_seconds=self._options.recovery_seconds)
        make = partial(Proxy, settings=self._options, limits=limits, headers=headers)
        self._proxies = {route.service: make(route.service, route.urls, tls=tls) for route in routes if not route.local}
        self._legacy = make(LEGACY, declared.legacy, own=False) if declared.legacy else None
        everywhere = [*self._proxies.values(), *([self._legacy] if self._legacy is not None else [])]
        self._everywhere = everywhere
        health = health or Health()
        add_checks(health, everywhere)
        self._compositions = Compositions(declared.compositions, self)
        self._documents = Documents(
            routes,
            list(self._proxies.values()),
            seconds=self._options.document_seconds,
            local=document,
            compositions=declared.compositions,
        )
        self._door = door_app(
            settings,
            verifier,
            health,
            self._documents,
            self._compositions,
            messages=messages,
            calls=calls,
            routers=routers,
            roles=roles,
        )
        more = [getattr(route, "path", "") for router in routers for route in router.routes]
        own = everywhere or declared.compositions or inner is None
        pages = frozenset(path.encode() for path in (*_PAGES, *more)) if own else frozenset()
        self._dispatch = Dispatch(
            table, self._proxies, self._legacy, declared, TokenCheck(verifier), pages=pages, has_inner=inner is not None
        )
        self._shadows = Shadows(self._options.shadow_concurrency)
        self._sockets = Sockets(settings)
        self._remote = answering_cors(self._answer_remotely, settings)
        self._rate_limits = rate_limits if rate_limits is not None and rate_limits.enabled else None
        self._counted_sockets: ASGIApp = self._serve_socket
        if self._rate_limits is not None:
            self._counted_sockets = RateLimitDoor(self._serve_socket, limits=self._rate_limits)

    async def close(self) -> None:
        """End what is under way in the background, and close idle connections."""
        await self._shadows.close()
        await self._documents.close()
        for proxy in self._everywhere:
            proxy.close()

    async def settled(self) -> None:
        """Wait until the comparisons of shadow mode that are under way are over."""
        await self._shadows.settled()

    def states(self) -> list[dict[str, Any]]:
        """How each service elsewhere stands; see `Proxy.state`."""
        return [proxy.state() for proxy in self._everywhere]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        plan: Plan | Exception
        head: RequestHead | None = None
        try:
            head = read_head(scope, self._trusted)
            plan = self._plan(scope, head)
        except _REFUSALS as error:
            plan = error
        if isinstance(plan, Plan) and plan.where is not Where.PROXY:
            await self._answer_here(plan, scope, receive, send)
            return
        scope[_PLAN] = plan, head
        scope["app"] = self._door  # whose state knows how tokens are verified
        await (self._counted_sockets if scope["type"] == "websocket" else self._remote)(scope, receive, send)

    def _plan(self, scope: Scope, head: RequestHead) -> Plan:
        if scope["type"] == "websocket":
            self._sockets.check_origin(scope, head)
        if head.method in ("GET", "HEAD") and scope["type"] == "http" and self._compositions.find(scope["raw_path"]) is not None:
            return Plan(Where.DOOR, scope["raw_path"])
        return self._dispatch.plan(scope, head)

    async def _answer_here(self, plan: Plan, scope: Scope, receive: Receive, send: Send) -> None:
        """By an application of this process, which does by itself all that is done around a request."""
        if plan.where is Where.DOOR:
            await self._door(scope, receive, send)
            return
        if self._inner is None:
            raise RuntimeError("there is a service in this process, and no application: give the gateway its inner one")
        if plan.target != scope.get("raw_path"):
            scope = {**scope, "raw_path": plan.target, "path": unquote(plan.target.decode("ascii"))}
        await self._inner(scope, receive, send)

    async def _answer_remotely(self, scope: Scope, receive: Receive, send: Send) -> None:
        """By another process; also what was refused before anybody was asked."""
        plan, head = scope[_PLAN]
        started, status = time.perf_counter(), 0
        caller = None if self._rate_limits is None else self._rate_limits.caller(scope)

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = message if caller is None else with_rate_limits(message, caller.counted)
            await send(message)

        correlation_id = head.correlation_id if head is not None else _correlation_id(scope)
        context = Context(correlation_id=correlation_id, traceparent=None if head is None else head.traceparent)
        with use_context(context):
            try:
                if self._rate_limits is not None:
                    await self._rate_limits.count_at_door(scope)
                await self._relay(scope, receive, send_and_see)
            except ClientGone:
                status = status or _CLIENT_GONE
            except Exception as error:
                if status:
                    raise  # the server breaks the connection, so that the client cannot take half an answer for a whole one
                await self._refuse(error, scope, receive, send_and_see, correlation_id)
            finally:
                self._record(plan, scope, status or 500, time.perf_counter() - started)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan, head = scope[_PLAN]
        await self._sockets.serve(plan, head, scope, receive, send)

    async def _relay(self, scope: Scope, receive: Receive, send: Send) -> None:
        plan, head = scope[_PLAN]
        if not isinstance(plan, Plan):
            raise plan
        proxy, query = plan.proxy, scope["query_string"]
        if proxy is None:
            raise RuntimeError("a plan for a proxy has none")
        target = b"%s?%s" % (plan.target, query) if query else plan.target
        if plan.shadow is None or head.has_body or head.method not in ("GET", "HEAD"):
            await proxy.relay(scope, receive, send, head, target)
            return
        other, path = plan.shadow
        shadow_target = b"%s?%s" % (path, query) if query else path

        async def answer(to: Send) -> None:
            await proxy.relay(scope, receive, to, head, target)

        async def ask_other(to: Send) -> None:
            await other.relay(scope, NoBody(), to, head, shadow_target)

        await self._shadows.serve(plan.endpoint.removesuffix("/*"), answer, ask_other, send)

    async def _refuse(self, error: Exception, scope: Scope, receive: Receive, send: Send, correlation_id: str) -> None:
        response = problem_response(HTTPConnection(scope), error)
        response.raw_headers.append((b"x-correlation-id", correlation_id.encode()))
        self._security.add_to(response.raw_headers, scope["path"])
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"]):
            # A body may follow that nobody reads.
            response.raw_headers[:] = [header for header in response.raw_headers if header[0] != b"connection"]
            response.raw_headers.append((b"connection", b"close"))
        await response(scope, receive, send)

    @staticmethod
    def _record(plan: Plan | Exception, scope: Scope, status: int, seconds: float) -> None:
        endpoint, upstream = "(none)", None
        if isinstance(plan, Plan) and plan.proxy is not None:
            endpoint, upstream = plan.endpoint, plan.proxy.service
        method = scope["method"]
        observe_request(method=method, endpoint=endpoint, status_code=status, seconds=seconds)
        write = _log.debug if PART in scope else _log.info
        path, ms = scope["path"], round(seconds * 1000, 1)
        write("request", method=method, endpoint=endpoint, path=path, status=status, ms=ms, upstream=upstream)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The inner application's; without one, our own, which ends with `close`."""
        if self._inner is not None:
            await self._inner(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.close()
        await send({"type": "lifespan.shutdown.complete"})


def _correlation_id(scope: Scope) -> str:
    """That of a request whose head was refused."""
    sent = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-correlation-id"), None)
    return valid_correlation_id(sent) or new_correlation_id()
