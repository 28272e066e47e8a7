"""What a route demands of its caller, `requires` a scope or `public` with a reason, and the check that none was forgotten."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated, Any, ClassVar

from fastapi import Depends, FastAPI
from fastapi.openapi.models import HTTPBearer as BearerScheme
from fastapi.routing import RouteContext, iter_route_contexts
from fastapi.security.base import SecurityBase
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute
from starlette.types import Scope

from trenza.chassis.auth.roles import RoleBook, Roles
from trenza.chassis.auth.tokens import InvalidToken, TokenVerifier
from trenza.chassis.context import ANONYMOUS, Principal, current_context, use_context
from trenza.chassis.contract import ContractError

__all__ = [
    "DOCUMENT_PATHS",
    "PLATFORM",
    "Guard",
    "InvalidToken",
    "PublicAccess",
    "RequiredScope",
    "RoleBook",
    "Roles",
    "ScopeMissing",
    "SeveralAuthorizations",
    "Unauthenticated",
    "admitted",
    "bearer_token",
    "check_routes",
    "guards_of",
    "install_auth",
    "judge_route",
    "platform_of",
    "public",
    "requires",
    "verified_principal",
]

DOCUMENT_PATHS = ("/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc")
"""Plain routes that FastAPI adds by itself and that cannot carry a dependency. They show the API, not data."""

PLATFORM = "trenza.platform"
"""The key of an ASGI scope that holds the platform's application where a mounted one has taken the place of ``app``."""


_VERIFIED = "trenza.verified"
"""The key of an ASGI scope that holds the token that was verified, and what came of it."""


class Unauthenticated(ContractError):
    """The request names no principal, and this route needs one."""

    status: ClassVar[int] = 401
    code = "UNAUTHENTICATED"
    title = "Authentication required"


class SeveralAuthorizations(ContractError):
    """The request has more than one ``Authorization`` header; whose it is would depend on who reads it."""

    status: ClassVar[int] = 400
    code = "SEVERAL_AUTHORIZATIONS"
    title = "Several Authorization headers"

    def __init__(self, count: int) -> None:
        super().__init__(
            f"The request has {count} Authorization headers; one is allowed.",
            count=count,
            field="Authorization",
            limit=1,
            remedy="send one Authorization header",
        )


class ScopeMissing(ContractError):
    """The principal is known but lacks the scope, which ``fields["scope"]`` names."""

    status: ClassVar[int] = 403
    code = "SCOPE_MISSING"
    title = "Permission missing"

    def __init__(self, scope: str) -> None:
        super().__init__(f"This needs the scope {scope} (or a higher role of the same service).", scope=scope)


class _BearerToken(SecurityBase):
    """Finds ``Authorization: Bearer …`` on requests and WebSocket handshakes, and declares it in the OpenAPI document."""

    def __init__(self) -> None:
        self.model = BearerScheme(bearerFormat="JWT", description="A token that `trenza token SCOPE…` printed.")
        self.scheme_name = "Bearer"

    async def __call__(self, connection: HTTPConnection) -> str | None:
        return bearer_token(connection.headers.getlist("authorization"))


_bearer = _BearerToken()


def bearer_token(sent: Sequence[str]) -> str | None:
    """The token in the ``Authorization`` headers of a request, if it has one. Raises `SeveralAuthorizations`."""
    if len(sent) > 1:
        raise SeveralAuthorizations(len(sent))
    scheme, _, token = "".join(sent).partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def verified_principal(scope: Scope, token: str) -> Principal:
    """The bearer of a request's token, whose signature is checked once however many ask. Raises `InvalidToken`."""
    known: tuple[str, Principal | InvalidToken] | None = scope.get(_VERIFIED)
    if known is None or known[0] != token:  # a middleware of a mounted application may have put in another
        verifier: TokenVerifier = _state(HTTPConnection(scope), "token_verifier")
        try:
            known = token, verifier.verify(token)
        except InvalidToken as refusal:
            known = token, InvalidToken(refusal.reason)  # a new one: its trace would keep the whole request alive
        scope[_VERIFIED] = known
    if isinstance(known[1], InvalidToken):
        raise InvalidToken(known[1].reason)
    return known[1]


async def _verified(connection: HTTPConnection, token: Annotated[str | None, Depends(_bearer)]) -> Principal | None:
    return None if token is None else verified_principal(connection.scope, token)


@dataclass(frozen=True)
class RequiredScope:
    """The dependency behind `requires`. Puts the principal into the context for as long as the request lasts."""

    scope: str
    by_unit: bool = False

    async def __call__(
        self, connection: HTTPConnection, principal: Annotated[Principal | None, Depends(_verified)]
    ) -> AsyncIterator[Principal]:
        """Give the principal, or raise `Unauthenticated`, `InvalidToken` or `ScopeMissing`."""
        if principal is None:
            raise Unauthenticated("Send a token: Authorization: Bearer …")
        roles: RoleBook = _state(connection, "roles")
        units = roles.units(principal.scopes, self.scope)
        if units is not None and not (self.by_unit and units):
            raise ScopeMissing(self.scope)
        with use_context(replace(current_context(), principal=principal)):
            yield principal


@dataclass(frozen=True)
class PublicAccess:
    """The dependency behind `public`: nobody is asked who they are, tokens are not looked at."""

    reason: str

    async def __call__(self) -> Principal:
        """Give the anonymous principal."""
        return ANONYMOUS


Guard = RequiredScope | PublicAccess


@asynccontextmanager
async def admitted(connection: HTTPConnection, guard: Guard) -> AsyncIterator[Principal]:
    """Hold a guard around a block, for what cannot carry a dependency. Raises what the dependency raises."""
    if isinstance(guard, PublicAccess):
        yield await guard()
        return
    principal = await _verified(connection, await _bearer(connection))
    async with asynccontextmanager(guard.__call__)(connection, principal) as admitted_principal:
        yield admitted_principal


@cache
def requires(scope: str, *, by_unit: bool = False) -> Any:
    """Demand a scope of a route's caller.

    ``by_unit`` also lets those in who hold it for an organisation unit alone (``photos:editor@NORTE``): the route then shows and
    takes nothing of other units, by ``app.state.roles.units(principal.scopes, scope)``.

    ``Annotated[Principal, requires("photos:editor")]`` gives the principal; ``dependencies=[requires("photos:editor")]`` only
    guards. Answers 401 without a valid token and 403, naming the scope, without the role.
    """
    service, _, role = scope.partition(":")
    if not service or not role:
        raise ValueError(f"a scope is written service:role, not {scope!r}")
    return Depends(RequiredScope(scope, by_unit))


@cache
def public(reason: str) -> Any:
    """Open a route to everybody, and say why: ``dependencies=[public("load balancers ask without a token")]``."""
    if not reason.strip():
        raise ValueError("a public route needs a reason")
    return Depends(PublicAccess(reason))


def install_auth(app: FastAPI, verifier: TokenVerifier, roles: Iterable[Roles] = ()) -> None:
    """Give the application what `requires` works with: who is trusted, and the roles of all its services."""
    app.state.token_verifier = verifier
    app.state.roles = RoleBook(roles)


def platform_of(connection: HTTPConnection) -> Any:
    """The platform's application, also for a connection that a mounted one serves."""
    return connection.scope.get(PLATFORM) or connection.app


def _state(connection: HTTPConnection, name: str) -> Any:
    found = getattr(platform_of(connection).state, name, None)
    if found is None:
        raise RuntimeError(f"app.state.{name} is missing: call install_auth(app, verifier, roles) when the app is made")
    return found


def check_routes(app: FastAPI, roles: Iterable[Roles] = (), *, allowed: Collection[str] = DOCUMENT_PATHS) -> tuple[str, ...]:
    """What is wrong with the routes' permissions, a sentence each with its remedy. Empty when all is well.

    Walks included routers, mounted applications and WebSocket routes. A finding is a route with neither `requires` nor
    `public`, one with both, a scope that no `Roles` declares, and anything that cannot be looked into. Plain routes whose
    whole path is in ``allowed`` are passed over.
    """
    known = RoleBook(roles).scopes
    return tuple(
        finding for where, route in _walk(app, "") for finding in judge_route(where, route, known, plain_is_fine=where in allowed)
    )


def judge_route(where: str, route: RouteContext, known: frozenset[str], *, plain_is_fine: bool) -> Iterator[str]:
    """What is wrong with the permissions of one route, whose whole path is ``where``; see `check_routes`."""
    dependant = getattr(route, "dependant", None)
    name = f"{','.join(sorted(route.methods or ())) or type(route.original_route).__name__} {where}"
    if dependant is None:
        if not plain_is_fine:
            yield f"{name}: carries no permission; make it a FastAPI route with requires(…) or public(…)"
        return
    guards = list(guards_of(dependant))
    scopes = {guard.scope for guard in guards if isinstance(guard, RequiredScope)}
    if not guards:
        yield f"{name}: has neither requires(…) nor public(…); add one"
    if scopes and len(scopes) < len(set(guards)):
        yield f"{name}: has both requires(…) and public(…); keep one"
    for scope in sorted(scopes - known):
        yield f"{name}: requires {scope!r}, which no Roles declares; the service's wiring lists its roles"


def guards_of(dependant: Any) -> Iterator[Guard]:
    """The guards anywhere in a tree of dependencies."""
    if isinstance(dependant.call, Guard):
        yield dependant.call
    for inner in dependant.dependencies:
        yield from guards_of(inner)


def _walk(app: Any, prefix: str) -> Iterator[tuple[str, RouteContext]]:
    """Every route with its whole path."""
    routes: list[BaseRoute] = [*app.routes, *_late_routes(app)]
    for route in iter_route_contexts(routes):
        where = f"{prefix}{route.path or ''}"
        inner = getattr(route, "app", None)
        if getattr(route, "dependant", None) is None and hasattr(inner, "routes"):
            yield from _walk(inner, where)
        else:
            yield where, route


def _late_routes(app: Any) -> Iterable[BaseRoute]:
    """The routes that FastAPI tries last (``app.frontend``). It lists them nowhere public."""
    router = getattr(app, "router", app)
    late = getattr(router, "_iter_low_priority_routes", None)
    return () if late is None else late()
