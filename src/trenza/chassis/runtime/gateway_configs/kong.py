"""The declarative configuration of Kong Gateway, format 3.0, with plugins of its free edition only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import JsonValue

from trenza.chassis.calls.budget import MOST_ATTEMPTS
from trenza.chassis.http.middleware import (
    CORRELATION_HEADER,
    CORS_METHODS,
    CORS_REQUEST_HEADERS,
    CORS_RESPONSE_HEADERS,
    DEFAULT_REQUEST_SECONDS,
)
from trenza.chassis.peers import CONNECT_SECONDS
from trenza.chassis.runtime.deployment import DeploymentError
from trenza.chassis.runtime.gateway_configs.public_routes import PublicRoute, public_routes
from trenza.chassis.runtime.plan import Plan

__all__ = ["KongLimits", "kong_config", "kong_notes"]

_PROBE_SECONDS = 5
_PROBE_FAILURES = 2
_LATER_SECONDS = 10.0
"""How much longer Kong waits than a process does, whose own 504 says more."""


@dataclass(frozen=True)
class KongLimits:
    """What Kong holds clients to."""

    requests_per_minute: int = 100
    """Of one address, at one node of Kong; 0 for no limit. The specification's default for clients without a token."""
    body_megabytes: int = 4096
    """The most that any body may have. Services hold each route to a lower limit themselves, while they read."""


def kong_config(plan: Plan, limits: KongLimits) -> dict[str, JsonValue]:
    """The configuration, as JSON in a stable order (https://developer.konghq.com/gateway/entities/).

    For each service an upstream with a target for each replica, asked at ``/health/ready``; for each owned prefix a Kong service
    that leads to it from every spelling; what no service owns, ``/_call`` included, has no route. Raises `DeploymentError` for
    services that have no address, or addresses of both http and https.
    """
    routes = public_routes(plan)
    upstreams = {route.service: route.urls for route in routes}
    schemes = {service: _scheme(service, urls) for service, urls in upstreams.items()}
    names = _names(routes)
    return {
        "_format_version": "3.0",
        "upstreams": [_upstream(service, urls, schemes[service], plan) for service, urls in upstreams.items()],
        "services": [_service(name, route, schemes[route.service]) for name, route in zip(names, routes, strict=True)],
        "plugins": [{"name": name, "config": config} for name, config in _plugins(plan, limits)],
    }


def kong_notes(plan: Plan) -> tuple[str, ...]:
    """What this configuration does not do, in sentences."""
    notes = [
        "tokens are verified by the services: Kong's free jwt plugin reads no JWKS and takes all of an issuer's for one user's",
        "requests are counted by address, at each node of Kong; behind a load balancer set its trusted_ips and real_ip_header",
        "compositions of several services are made by Trenza's own gateway alone",
    ]
    if plan.deployment.public_url is None:
        notes.append("no process is the gateway, so /docs, /openapi.json and /health have no route; probes ask the processes")
    if plan.settings.tls_cert_file is not None:
        notes.append("the processes want a certificate of their peers: give Kong's services a client_certificate")
    return tuple(notes)


def _scheme(service: str, urls: tuple[str, ...]) -> str:
    schemes = sorted({urlsplit(url).scheme for url in urls})
    if len(schemes) > 1:
        problem = f"{service} has addresses of http and of https, which Kong cannot balance; write one of both in each url"
        raise DeploymentError("Kong", (problem,))
    return schemes[0]


def _names(routes: Iterable[PublicRoute]) -> list[str]:
    """A name for each route, after what it leads to, each once."""
    names: list[str] = []
    for route in routes:
        name = f"{route.service}{route.prefix.rstrip('/').replace('/', '-') or '-root'}"
        names.append(name if name not in names else f"{name}-{len(names)}")
    return names


def _upstream_name(service: str) -> str:
    """Kong takes host names here, which have no underscores."""
    return f"{service.replace('_', '-')}.trenza"


def _upstream(service: str, urls: tuple[str, ...], scheme: str, plan: Plan) -> dict[str, Any]:
    patience = plan.settings.call_failure_threshold
    return {
        "name": _upstream_name(service),
        "algorithm": "least-connections",
        "healthchecks": {
            "active": {
                "type": scheme,
                "http_path": "/health/ready",
                "timeout": round(CONNECT_SECONDS),
                "healthy": {"interval": _PROBE_SECONDS, "successes": 1, "http_statuses": [200]},
                "unhealthy": {
                    "interval": _PROBE_SECONDS,
                    "http_failures": _PROBE_FAILURES,
                    "tcp_failures": _PROBE_FAILURES,
                    "timeouts": _PROBE_FAILURES,
                    "http_statuses": [500, 502, 503, 504],
                },
            },
            # An answer of 500 is a defect of one route, no reason to leave the process alone.
            "passive": {"type": scheme, "unhealthy": {"http_failures": 0, "tcp_failures": patience, "timeouts": patience}},
        },
        "targets": [{"target": _target(url), "weight": 100} for url in urls],
    }


def _target(url: str) -> str:
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _service(name: str, route: PublicRoute, scheme: str) -> dict[str, Any]:
    milliseconds = round(1000 * (DEFAULT_REQUEST_SECONDS + _LATER_SECONDS))
    return {
        "name": name,
        "protocol": scheme,
        "host": _upstream_name(route.service),
        "port": 443 if scheme == "https" else 80,
        "path": route.prefix,
        "connect_timeout": round(1000 * CONNECT_SECONDS),
        "read_timeout": milliseconds,
        "write_timeout": milliseconds,
        # Asked again are a connection that failed, and what is idempotent by its method (nginx, proxy_next_upstream).
        "retries": MOST_ATTEMPTS - 1,
        "routes": [
            {
                "name": name,
                "protocols": ["http", "https"],
                "paths": [path for spelling in route.spellings for path in _paths(spelling, whole=route.whole)],
                "strip_path": True,
                "path_handling": "v0",
                "preserve_host": False,
                "request_buffering": False,
                "response_buffering": False,
            }
        ],
    }


def _paths(spelling: str, *, whole: bool) -> list[str]:
    """A path in whole segments: Kong's prefixes alone would take ``/api/photosphere`` for ``/api/photos``."""
    pattern = spelling.replace(".", r"\.")
    exact = f"~{pattern}$"
    return [exact, f"{spelling}/"] if whole else [exact]


def _plugins(plan: Plan, limits: KongLimits) -> Iterable[tuple[str, dict[str, JsonValue]]]:
    yield "correlation-id", {"header_name": CORRELATION_HEADER, "generator": "uuid", "echo_downstream": True}
    if plan.settings.cors_origins:
        yield (
            "cors",
            {
                "origins": list(plan.settings.cors_origins),
                "methods": list(CORS_METHODS),
                "headers": list(CORS_REQUEST_HEADERS),
                "exposed_headers": list(CORS_RESPONSE_HEADERS),
                "credentials": False,
                "max_age": 600,
                "preflight_continue": False,
            },
        )
    if limits.requests_per_minute:
        yield (
            "rate-limiting",
            {"minute": limits.requests_per_minute, "limit_by": "ip", "policy": "local", "fault_tolerant": True},
        )
    yield "request-size-limiting", {"allowed_payload_size": limits.body_megabytes, "size_unit": "megabytes"}
