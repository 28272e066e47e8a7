"""The FastAPI application of one process: every service's routes behind one set of middleware, and one lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from trenza.chassis.auth.permissions import DOCUMENT_PATHS, RoleBook, check_routes, install_auth
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.clock import Clock
from trenza.chassis.http.blobs import blob_router
from trenza.chassis.http.documentation import install_documentation
from trenza.chassis.http.json_bodies import SOUND_TEXTS
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.mounted import install_mounted_documents
from trenza.chassis.http.operations import operations_router
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.http.rate_limits import check_limits
from trenza.chassis.runtime.assembly import Assembly
from trenza.chassis.runtime.deployment import Deployment, load_services
from trenza.chassis.runtime.health import health_of, messages_of
from trenza.chassis.runtime.reference import reference_router
from trenza.chassis.runtime.signing import signing_key
from trenza.chassis.runtime.wiring import WiringError, wiring_problems
from trenza.chassis.service import Service
from trenza.chassis.settings import PlatformSettings

__all__ = ["assemble", "create_app"]


def create_app(deployment: Deployment, settings: PlatformSettings, *, alone: bool = False) -> FastAPI:
    """The application of a deployment's only process; ``alone`` as for `Assembly`.

    Raises `DeploymentError`, `InvalidSettings`, `UnsafeSettings` or `WiringError`, each with all of its problems at once.
    """
    return assemble(load_services(deployment.only_process().services), settings, alone=alone)


def assemble(
    services: tuple[Service, ...], settings: PlatformSettings, *, clock: Clock | None = None, alone: bool = False
) -> FastAPI:
    """The application of services that are loaded already; ``clock`` and ``alone`` as for `Assembly`."""
    if problems := wiring_problems(services):
        raise WiringError(problems)
    assembly = Assembly(services, settings, clock=clock, alone=alone)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with assembly.running():
            yield

    app = FastAPI(
        title="Trenza",
        summary="FastAPI services, braided into one process.",
        version=version("trenza"),
        lifespan=lifespan,
        dependencies=[SOUND_TEXTS],
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # its redirects would be absolute, to whatever the Host header says
    )
    app.state.assembly = assembly
    app.state.readiness = assembly.readiness
    app.state.implementations = assembly.implementations
    roles = tuple(service.roles for service in services if service.roles is not None)
    install_auth(app, TokenVerifier([signing_key(settings)]), roles)
    install_problem_handlers(app, {code: words for service in services for code, words in service.phrases.items()})
    mounts = tuple(assembly.mounts.values())
    pages = [f"{mount.prefix}{path}" for mount in mounts for path in mount.declared.document_paths]
    install_middleware(app, settings, document_paths=pages, rate_limits=assembly.rate_limits)
    app.include_router(operations_router(health_of(assembly), settings, messages=partial(messages_of, assembly)))
    app.include_router(blob_router(assembly.blobs))
    app.include_router(reference_router())
    for service in services:
        if service.router is not None:
            app.include_router(service.router)
    for mount in mounts:
        app.mount(mount.prefix, mount)
    install_documentation(app)
    install_mounted_documents(app, mounts)
    known = RoleBook(roles).scopes
    if problems := (
        *check_routes(app, roles, allowed=(*DOCUMENT_PATHS, *(mount.prefix for mount in mounts))),
        *check_limits(app),
        *(f"{mount.service}: {problem}" for mount in mounts for problem in mount.declared.problems(mount.prefix, known)),
    ):
        raise WiringError(problems)
    return app
