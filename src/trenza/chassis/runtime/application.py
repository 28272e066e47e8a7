"""The FastAPI application of one process: every service's routes behind one set of middleware, and one lifespan."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI

from trenza.chassis.auth.permissions import DOCUMENT_PATHS, RoleBook, check_routes, install_auth
from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.calls import LargeBodies, call_router
from trenza.chassis.clock import Clock
from trenza.chassis.gateway import Gateway
from trenza.chassis.http.blobs import blob_router
from trenza.chassis.http.documentation import install_documentation
from trenza.chassis.http.json_bodies import SOUND_TEXTS
from trenza.chassis.http.middleware import install_middleware
from trenza.chassis.http.mounted import install_mounted_documents
from trenza.chassis.http.operations import operations_router
from trenza.chassis.http.problem import install_problem_handlers
from trenza.chassis.http.rate_limits import check_limits
from trenza.chassis.runtime.assembly import Assembly
from trenza.chassis.runtime.deployment import Deployment
from trenza.chassis.runtime.entrance import gateway_before
from trenza.chassis.runtime.health import calls_of, health_of, messages_of
from trenza.chassis.runtime.loading import load_services
from trenza.chassis.runtime.placement import BRAIDED, Placement
from trenza.chassis.runtime.reference import reference_router
from trenza.chassis.runtime.wiring import WiringError, wiring_problems
from trenza.chassis.service import Service
from trenza.chassis.settings import PlatformSettings

__all__ = ["assemble", "create_app"]


def create_app(
    deployment: Deployment, settings: PlatformSettings, *, process: str | None = None, alone: Collection[str] = ()
) -> FastAPI:
    """The application of the named process of a deployment, which may leave it out if it has one; ``alone`` as for `Assembly`.

    ``app.state.entrance`` is what a server is to serve: the gateway before it, where clients come to this process, or itself.

    Raises `DeploymentError`, `InvalidSettings`, `UnsafeSettings` or `WiringError`, each with all of its problems at once.
    """
    name = deployment.only_process() if process is None else process
    placement = Placement.of(deployment, name)
    if not placement.gateway:
        return assemble(load_services(deployment.process(name).services), settings, alone=alone, placement=placement)
    every = load_services(deployment.services)
    hosted = tuple(service for service in every if service.name in deployment.process(name).services)
    app = assemble(hosted, settings, alone=alone, placement=placement)
    app.state.entrance = gateway_before(app, app.state.assembly, every, deployment.gateway)
    return app


def assemble(
    services: tuple[Service, ...],
    settings: PlatformSettings,
    *,
    clock: Clock | None = None,
    alone: Collection[str] = (),
    placement: Placement = BRAIDED,
) -> FastAPI:
    """The application of services that are loaded already; ``clock``, ``alone`` and ``placement`` as for `Assembly`."""
    if problems := wiring_problems(services, placement.elsewhere):
        raise WiringError(problems)
    assembly = Assembly(services, settings, clock=clock, alone=alone, placement=placement)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with assembly.running():
            yield
            if isinstance(app.state.entrance, Gateway):
                await app.state.entrance.close()

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
    app.state.entrance = app
    app.state.assembly = assembly
    app.state.readiness = assembly.readiness
    app.state.implementations = assembly.implementations
    roles = tuple(service.roles for service in services if service.roles is not None)
    verifier = TokenVerifier(assembly.keys)
    install_auth(app, verifier, roles)
    install_problem_handlers(app, {code: words for service in services for code, words in service.phrases.items()})
    mounts = tuple(assembly.mounts.values())
    pages = [f"{mount.prefix}{path}" for mount in mounts for path in mount.declared.document_paths]
    install_middleware(app, settings, document_paths=pages, rate_limits=assembly.rate_limits)
    health, messages, calls = health_of(assembly), partial(messages_of, assembly), partial(calls_of, assembly)
    if placement.called:
        _open_to_calls(app, assembly)
    app.include_router(operations_router(health, settings, messages=messages, calls=calls))
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


def _open_to_calls(app: FastAPI, assembly: Assembly) -> None:
    """Add the internal routes; before all others, among which FastAPI looks one by one."""
    large = LargeBodies(assembly.blobs, assembly.clock)
    verifier: TokenVerifier = app.state.token_verifier
    for service in assembly.services:
        implementation = assembly.implementation_of(service)
        app.include_router(call_router(implementation, service.contract, verifier, clock=assembly.clock, large=large))
