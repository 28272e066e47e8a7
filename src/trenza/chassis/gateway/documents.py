"""One OpenAPI document out of those of all services, as one process that hosted them all would show it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from typing import Any, Final

import orjson

from trenza.chassis.gateway.declarations import Composition
from trenza.chassis.gateway.probes import ask
from trenza.chassis.gateway.proxy import Proxy
from trenza.chassis.gateway.routes import GatewayRoute
from trenza.chassis.gateway.upstream import UpstreamBroke
from trenza.chassis.http.documentation import documented_problems
from trenza.chassis.telemetry.logs import get_logger

__all__ = ["Documents", "merged"]

Document = dict[str, Any]

_OK: Final = 200
_SECONDS: Final = 3.0
_COMPONENTS: Final = "#/components/"
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "trace")
_INTERNAL: Final = "/_call/"

_log = get_logger(__name__)


class Documents:
    """Fetches the services' documents, keeps them for ``seconds``, and goes on with the last known one of a service that is down.

    ``local`` gives the document of this process' own application.
    """

    def __init__(
        self,
        routes: Sequence[GatewayRoute],
        proxies: Sequence[Proxy],
        *,
        seconds: float,
        local: Callable[[], Document] | None,
        compositions: Sequence[Composition] = (),
    ) -> None:
        self._routes, self._proxies, self._seconds, self._local = routes, proxies, seconds, local
        self._compositions = compositions
        self._known: dict[str, Document] = {}
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def merged(self) -> Document:
        """The document of all services. Those whose own has never been seen are named under ``info`` / ``x-unavailable``."""
        if time.monotonic() - self._fetched_at >= self._seconds or len(self._known) < len(self._proxies):
            if self._fetching is None or self._fetching.done():
                self._fetching = asyncio.create_task(self._fetch())
            await asyncio.shield(self._fetching)
        own = self._local() if self._local is not None else None
        return merged(self._routes, own, self._known, self._compositions)

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _fetch(self) -> None:
        await asyncio.gather(*(self._fetch_one(proxy) for proxy in self._proxies))
        self._fetched_at = time.monotonic()

    async def _fetch_one(self, proxy: Proxy) -> None:
        reason = ""
        for replica in sorted(proxy.upstream.replicas.all, key=lambda each: each.failures):
            try:
                async with asyncio.timeout(_SECONDS):
                    status, body = await ask(proxy.upstream, replica, "/openapi.json")
                found = orjson.loads(body) if status == _OK else None
            except (UpstreamBroke, TimeoutError, orjson.JSONDecodeError) as error:
                reason = str(error) or f"no answer within {_SECONDS:g} s"
                continue
            if isinstance(found, dict) and isinstance(found.get("paths"), dict):
                self._known[proxy.service] = found
                return
            reason = f"it answers {status} without an OpenAPI document"
        _log.warning("no OpenAPI document", upstream=proxy.service, reason=reason, known=proxy.service in self._known)


def merged(
    routes: Sequence[GatewayRoute],
    own: Document | None,
    known: dict[str, Document],
    compositions: Iterable[Composition] = (),
) -> Document:
    """Merge documents, in the order of the routes.

    Paths of a service are taken from its own document alone; what no service owns (``/health``) from the first that has it. A
    component or operation id that another service has used for something else gets the service's name before it: ``photos.Item``.
    """
    unavailable = [route.service for route in routes if not route.local and route.service not in known]
    sources: list[tuple[str | None, Document]] = [(None, own)] if own is not None else []
    sources += [(route.service, known[route.service]) for route in routes if not route.local and route.service in known]
    result: Document = {"openapi": "3.1.0", "info": {"title": "Trenza", "version": "0"}, "paths": {}, "components": {}}
    if sources:
        result = {**result, **{key: value for key, value in sources[0][1].items() if key in ("openapi", "info")}}
    result["info"] = dict(result["info"])
    if unavailable:
        result["info"]["x-unavailable"] = unavailable
        result["info"]["description"] = f"Not shown, as they could not be asked yet: {', '.join(unavailable)}."
    operation_ids: dict[str, str] = {}
    for service, document in sources:
        _join(result, operation_ids, service, document, routes)
    for composition in compositions:
        result["paths"][composition.path] = {"get": _described(composition)}
    return result


def _join(
    result: Document, operation_ids: dict[str, str], service: str | None, document: Document, routes: Sequence[GatewayRoute]
) -> None:
    taken = {path: item for path, item in document["paths"].items() if _is_taken(path, service, routes, result["paths"])}
    kinds = document.get("components", {})
    present = result["components"]
    renamed = {} if service is None else _renamed(kinds, present, service)
    for kind, components in kinds.items():
        target = present.setdefault(kind, {})
        for name, component in components.items():
            new = renamed.get(f"{_COMPONENTS}{kind}/{name}", name).rsplit("/", 1)[-1]
            target.setdefault(new, _pointing(component, renamed))
    for path, item in taken.items():
        result["paths"][path] = _with_own_ids(_pointing(item, renamed), path, service, operation_ids)


def _is_taken(path: str, service: str | None, routes: Sequence[GatewayRoute], present: Document) -> bool:
    if path.startswith(_INTERNAL) or path in present:
        return False
    owner = _owner(path, routes)
    if owner is None:
        return True
    return owner.local if service is None else owner.service == service


def _owner(path: str, routes: Sequence[GatewayRoute]) -> GatewayRoute | None:
    owned = [(prefix, route) for route in routes for prefix in route.prefixes]
    fitting = [(prefix, route) for prefix, route in owned if path == prefix or (prefix != "/" and path.startswith(f"{prefix}/"))]
    return max(fitting, key=lambda each: len(each[0]))[1] if fitting else None


def _renamed(kinds: Document, present: Document, service: str) -> dict[str, str]:
    """The references to components whose name is taken by another one, or by one that leads to another one, and the new ones."""
    named = {f"{_COMPONENTS}{kind}/{name}": component for kind, group in kinds.items() for name, component in group.items()}
    taken = {f"{_COMPONENTS}{kind}/{name}": component for kind, group in present.items() for name, component in group.items()}
    both = {place: _references(component) for place, component in named.items() if place in taken}
    changed = {place for place in both if taken[place] != named[place]}
    while more := {place for place, references in both.items() if place not in changed and references & changed}:
        changed |= more
    return {place: "/".join((*place.split("/")[:-1], f"{service}.{place.rsplit('/', 1)[-1]}")) for place in changed}


def _references(part: Any) -> set[str]:
    if isinstance(part, dict):
        return set().union(*(_references(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(_references(value) for value in part))
    return {part} if isinstance(part, str) and part.startswith(_COMPONENTS) else set()


def _pointing(part: Any, renamed: dict[str, str]) -> Any:
    """A copy in which references lead to the components' new names."""
    if not renamed:
        return deepcopy(part)
    if isinstance(part, dict):
        return {key: _pointing(value, renamed) for key, value in part.items()}
    if isinstance(part, list):
        return [_pointing(value, renamed) for value in part]
    return renamed.get(part, part) if isinstance(part, str) else part


def _with_own_ids(item: Any, path: str, service: str | None, operation_ids: dict[str, str]) -> Any:
    for method in _METHODS:
        operation = item.get(method)
        if isinstance(operation, dict) and "operationId" in operation:
            place = f"{method} {path}"
            if operation_ids.setdefault(operation["operationId"], place) != place and service is not None:
                operation["operationId"] = f"{service}_{operation['operationId']}"
                operation_ids[operation["operationId"]] = place
    return item


def _described(composition: Composition) -> Document:
    properties = {
        name: {"description": f"What GET {path} answers; null when it fails."} for name, path in composition.parts.items()
    }
    problems = {
        "type": "object",
        "description": "Why parts are null, by their names.",
        "additionalProperties": {"type": "object"},
    }
    schema = {"type": "object", "properties": {**properties, "problems": problems}, "required": [*properties, "problems"]}
    places = [part[1:-1] for part in composition.path.split("/") if part.startswith("{")]
    return {
        "tags": ["compositions"],
        "summary": composition.summary or f"{', '.join(composition.parts)} in one answer",
        "operationId": "compose" + "".join(c if c.isalnum() else "_" for c in composition.path),
        **(
            {"parameters": [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in places]}
            if places
            else {}
        ),
        "responses": {
            "200": {"description": "The parts", "content": {"application/json": {"schema": schema}}},
            **{str(status): answer for status, answer in documented_problems(401).items()},
        },
    }
