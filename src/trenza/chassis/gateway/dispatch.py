"""Who answers a request: a service in this process, one behind a proxy, the legacy application, or the gateway itself."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from starlette.types import Scope

from trenza.chassis.gateway.declarations import GatewayDeclarations, Move
from trenza.chassis.gateway.proxy import Proxy
from trenza.chassis.gateway.requests import RequestHead
from trenza.chassis.gateway.routes import AmbiguousPath, GatewayRoute, Routes
from trenza.chassis.gateway.strangler import Moves
from trenza.chassis.gateway.tokens import TokenCheck
from trenza.chassis.http.problem import Problem

__all__ = ["Dispatch", "Plan", "Where"]


class Where(Enum):
    """Who answers."""

    INNER = auto()
    DOOR = auto()
    PROXY = auto()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done with a request. ``target`` is the path to ask for, without its query.

    ``shadow`` is the other side of a prefix that moves, with the path that it is asked for. ``endpoint`` stands for the path in
    metrics and the log.
    """

    where: Where
    target: bytes
    endpoint: str = ""
    proxy: Proxy | None = None
    shadow: tuple[Proxy, bytes] | None = None


class Dispatch:
    """Finds the plan of each request. ``proxies`` are those of services elsewhere, by name; ``pages`` the gateway's own paths."""

    def __init__(
        self,
        routes: Routes,
        proxies: dict[str, Proxy],
        legacy: Proxy | None,
        declared: GatewayDeclarations,
        tokens: TokenCheck,
        *,
        pages: frozenset[bytes],
        has_inner: bool,
    ) -> None:
        self._routes, self._proxies, self._legacy, self._tokens = routes, proxies, legacy, tokens
        self._moves = Moves(declared.moves)
        self._pages, self._has_inner = pages, has_inner

    def plan(self, scope: Scope, head: RequestHead) -> Plan:
        """The plan. Raises `Problem` (404) and `InvalidToken`."""
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        if raw in self._pages and head.method in ("GET", "HEAD"):
            return Plan(Where.DOOR, raw)
        try:
            found = self._routes.find(raw)
        except AmbiguousPath as error:
            raise Problem(404, "NOT_FOUND") from error
        if found is None:
            return self._unowned(raw)
        target = found.prefix.encode() + raw[len(found.asked) :] if found.asked != found.prefix else raw
        move = self._moves.of(found.prefix)
        if move is not None and self._legacy is not None:
            return self._moving(move, found.route, raw, target, head)
        if found.route.checks_tokens:
            self._tokens.check(head.authorization)
        return self._by_service(found.route, found.prefix, target)

    def _by_service(self, route: GatewayRoute, prefix: str, target: bytes) -> Plan:
        if route.local:
            return Plan(Where.INNER, target)
        return Plan(Where.PROXY, target, f"{prefix}/*", self._proxies[route.service])

    def _unowned(self, raw: bytes) -> Plan:
        if self._legacy is not None and raw.startswith(b"/"):
            return Plan(Where.PROXY, raw, "legacy", self._legacy)
        if self._has_inner:
            return Plan(Where.INNER, raw)
        raise Problem(404, "NOT_FOUND")

    def _moving(self, move: Move, route: GatewayRoute, raw: bytes, target: bytes, head: RequestHead) -> Plan:
        """The side that serves this client. Tokens of the legacy application are its own: it judges them by itself."""
        legacy = self._legacy
        if legacy is None:
            raise RuntimeError("a move without a legacy upstream was refused at the boot")
        proxy = self._proxies.get(route.service)
        if self._moves.moved(move, self._client(head)):
            if route.checks_tokens:
                self._tokens.check(head.authorization)
            if proxy is None:
                return Plan(Where.INNER, target)
            return Plan(Where.PROXY, target, f"{move.prefix}/*", proxy, (legacy, raw) if move.shadow else None)
        return Plan(Where.PROXY, raw, f"{move.prefix}/*", legacy, (proxy, target) if move.shadow and proxy is not None else None)

    def _client(self, head: RequestHead) -> str:
        """Who asks: the user whom a valid token names, else the address."""
        principal = self._tokens.known(head.authorization)
        return head.client if principal is None else f"subject:{principal.subject}"
