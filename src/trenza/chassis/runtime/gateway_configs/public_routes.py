"""What is open to clients: the owned prefixes of all services in all their spellings, and the few pages of the platform."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from trenza.chassis.blobs.signatures import BLOB_PATH
from trenza.chassis.runtime.deployment import DeploymentError
from trenza.chassis.runtime.plan import Plan

__all__ = ["PLATFORM", "PublicRoute", "public_routes", "spellings"]

PLATFORM = "platform"
"""The name under which the pages of the gateway process are routed. No service has it: its roles are the operators'."""

_VERSIONED, _UNVERSIONED = "/api/v1", "/api"
_PAGES = ("/docs", "/openapi.json", "/health", "/health/live", "/health/ready")
"""What the gateway process shows of all. ``/health/status`` and ``/metrics`` are for operators, who ask the processes."""
_RESERVED = ("/_call", "/blobs", "/docs", "/health", "/metrics", "/openapi.json")
"""What every process serves itself: no other spelling of a prefix may lead there."""


@dataclass(frozen=True)
class PublicRoute:
    """A path that clients may use, and where it leads.

    ``spellings`` are what clients write, ``prefix`` is what the service owns and gets to see. ``whole`` routes take what lies
    below as well; others just the path itself.
    """

    service: str
    prefix: str
    spellings: tuple[str, ...]
    urls: tuple[str, ...]
    whole: bool = True


def public_routes(plan: Plan) -> tuple[PublicRoute, ...]:
    """Every public route, in the order of the services. Nothing else of any process is meant to be reached from outside.

    Objects in a folder are served by the process of the service whose they are, which knows when a link takes no more.
    Raises `DeploymentError` for services that have no address.
    """
    if problems := tuple(_unreachable(plan)):
        raise DeploymentError(f"deployment {plan.deployment.name!r} cannot stand behind a gateway", problems)
    owned = [(service.name, prefix) for service in plan.services for prefix in service.contract.paths]
    claimed = Counter(asked for _, prefix in owned for asked in spellings(prefix)[1:])
    taken = [prefix for _, prefix in owned]
    routes = []
    for service, prefix in owned:
        others = [other for other in (*taken, *_RESERVED) if other != prefix]
        free = [a for a in spellings(prefix)[1:] if claimed[a] == 1 and not any(_overlap(a, other) for other in others)]
        urls = plan.deployment.urls_of(service)
        routes.append(PublicRoute(service, prefix, (prefix, *free), urls, whole=prefix != "/"))
    return (*routes, *_objects(plan), *_pages(plan))


def spellings(prefix: str) -> tuple[str, ...]:
    """An owned prefix, and what else clients may write for it: of ``/api/photos`` also ``/api/v1/photos`` and ``/photos``.

    The root, ``/api`` itself and prefixes of other versions (``/api/v2/photos``) have one spelling.
    """
    end = prefix
    for start in (_VERSIONED, _UNVERSIONED):
        if prefix.startswith(f"{start}/"):
            end = prefix.removeprefix(start)
            break
    first = end.split("/")[1]
    if first in ("", "api") or re.fullmatch(r"v[0-9]+", first):
        return (prefix,)
    return tuple(dict.fromkeys((prefix, f"{_VERSIONED}{end}", f"{_UNVERSIONED}{end}", end)))


def _overlap(path: str, other: str) -> bool:
    if "/" in (path, other):
        return path == other
    return path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/")


def _unreachable(plan: Plan) -> Iterator[str]:
    for service in plan.services:
        if service.contract.paths and not plan.deployment.urls_of(service.name):
            name = next(name for name, process in plan.deployment.processes.items() if service.name in process.services)
            yield f'nobody reaches {service.name}: give processes.{name} a url, such as url = "http://{name}:8000"'


def _objects(plan: Plan) -> Iterator[PublicRoute]:
    """Signed links to objects in the local folder; a bucket serves its own. Keys begin with the service, or uploads/ and it."""
    if plan.settings.blobs_url is not None:
        return
    for service in plan.services:
        urls = plan.deployment.urls_of(service.name)
        if service.has_database and urls:
            for folder in (service.name, f"uploads/{service.name}"):
                path = f"{BLOB_PATH}{folder}"
                yield PublicRoute(service.name, path, (path,), urls)


def _pages(plan: Plan) -> Iterator[PublicRoute]:
    if plan.deployment.public_url is not None:
        for page in _PAGES:
            yield PublicRoute(PLATFORM, page, (page,), (plan.deployment.public_url,), whole=False)
