"""What is open to clients: the owned prefixes of all services in all their spellings, and the few pages of the platform."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from trenza.chassis.gateway import GatewayRoute
from trenza.chassis.gateway.routes import Routes
from trenza.chassis.http.blobs import object_paths
from trenza.chassis.runtime.deployment import DeploymentError
from trenza.chassis.runtime.plan import Plan

__all__ = ["PLATFORM", "PublicRoute", "public_routes"]

PLATFORM = "platform"
"""The name under which the pages of the gateway process are routed. No service has it: its roles are the operators'."""

_PAGES = ("/docs", "/openapi.json", "/health", "/health/live", "/health/ready")
"""What the gateway process shows of all. ``/health/status`` and ``/metrics`` are for operators, who ask the processes."""


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
    table = Routes([GatewayRoute(service.name, service.contract.paths) for service in plan.services])
    routes = [
        PublicRoute(service.name, prefix, table.spellings_of(prefix), plan.deployment.urls_of(service.name), whole=prefix != "/")
        for service in plan.services
        for prefix in service.contract.paths
    ]
    return (*routes, *_objects(plan), *_pages(plan))


def _unreachable(plan: Plan) -> Iterator[str]:
    for service in plan.services:
        if service.contract.paths and not plan.deployment.urls_of(service.name):
            name = next(name for name, process in plan.deployment.processes.items() if service.name in process.services)
            yield f'nobody reaches {service.name}: give processes.{name} a url, such as url = "http://{name}:8000"'


def _objects(plan: Plan) -> Iterator[PublicRoute]:
    """Signed links to objects in the local folder; a bucket serves its own."""
    if plan.settings.blobs_url is not None:
        return
    for service in plan.services:
        urls = plan.deployment.urls_of(service.name)
        if service.has_database and urls:
            for path in object_paths(service.name):
                yield PublicRoute(service.name, path, (path,), urls)


def _pages(plan: Plan) -> Iterator[PublicRoute]:
    if plan.deployment.public_url is not None:
        for page in _PAGES:
            yield PublicRoute(PLATFORM, page, (page,), (plan.deployment.public_url,), whole=False)
