"""The gateway of a process to which clients come: before what it hosts itself, and before what other processes host."""

from __future__ import annotations

from functools import partial
from typing import Any

from fastapi import FastAPI

from trenza.chassis.auth.tokens import TokenVerifier
from trenza.chassis.gateway import Gateway, GatewayDeclarations, GatewayRoute, GatewaySettings
from trenza.chassis.http.blobs import object_paths
from trenza.chassis.peers import client_tls
from trenza.chassis.runtime.assembly import Assembly
from trenza.chassis.runtime.health import calls_of, health_of, messages_of
from trenza.chassis.runtime.reference import reference_router
from trenza.chassis.service import Service
from trenza.chassis.settings import load_settings

__all__ = ["gateway_before"]


def gateway_before(app: FastAPI, assembly: Assembly, services: tuple[Service, ...], declared: GatewayDeclarations) -> Gateway:
    """The gateway before an application, for these services: those of the process, and those that are hosted elsewhere.

    Raises `GatewayMisdeclared` and `UnusableTls`.
    """
    placement, settings = assembly.placement, assembly.settings
    hosted = {service.name for service in assembly.services}
    routes = [
        GatewayRoute(
            service.name,
            (*service.contract.paths, *_objects_of(service, assembly)),
            () if service.name in hosted else tuple(placement.elsewhere.get(service.name, ())),
            checks_tokens=service.mounted is None,
        )
        for service in services
    ]
    verifier: TokenVerifier = app.state.token_verifier

    def calls() -> dict[str, Any]:
        return calls_of(assembly) | {f"{state['service']} service": state for state in gateway.states()}

    gateway = Gateway(
        app,
        routes,
        settings,
        verifier=verifier,
        declared=declared,
        options=load_settings(GatewaySettings),
        health=health_of(assembly),
        document=app.openapi,
        messages=partial(messages_of, assembly),
        calls=calls,
        routers=(reference_router(),),
        rate_limits=assembly.rate_limits,
        tls=client_tls(settings),
    )
    return gateway


def _objects_of(service: Service, assembly: Assembly) -> tuple[str, ...]:
    """Where the signed links of its objects lead in a folder; a bucket serves its own.

    The service itself answers them, as it knows when a link is to take no more.
    """
    return object_paths(service.name) if service.has_database and assembly.settings.blobs_url is None else ()
