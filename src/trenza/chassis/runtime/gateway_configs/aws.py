"""The configuration of an HTTP API of Amazon API Gateway: an OpenAPI 3.0 document with its extensions, to be imported."""

from __future__ import annotations

from importlib.metadata import version
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from pydantic import JsonValue

from trenza.chassis.http.middleware import CORS_METHODS, CORS_REQUEST_HEADERS, CORS_RESPONSE_HEADERS
from trenza.chassis.runtime.gateway_configs.public_routes import public_routes
from trenza.chassis.runtime.plan import Plan

__all__ = ["aws_config", "aws_notes"]

_LONGEST_MILLISECONDS = 30_000
"""The most that HTTP APIs wait for an answer
(https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html)."""


def aws_config(plan: Plan) -> dict[str, JsonValue]:
    """The document, as JSON in a stable order, for ``aws apigatewayv2 import-api``.

    Each spelling of an owned prefix is a path, and one with ``{proxy+}`` for what lies below it; each leads to the service's own
    address by any method. What no service owns, ``/_call`` included, has no path. Raises `DeploymentError` for services that
    have no address.
    """
    paths: dict[str, Any] = {}
    for route in public_routes(plan):
        for spelling in route.spellings:
            paths[spelling] = _path(f"{route.urls[0]}{route.prefix}", route.service)
            if route.whole:
                paths[f"{spelling}/{{proxy+}}"] = _path(f"{route.urls[0]}{route.prefix}/{{proxy}}", route.service)
    return {
        "openapi": "3.0.1",
        "info": {"title": f"Trenza, deployment {plan.deployment.name}", "version": version("trenza")},
        "paths": paths,
        **_cors(plan),
        "x-amazon-apigateway-importexport-version": "1.0",
    }


def aws_notes(plan: Plan) -> tuple[str, ...]:
    """What this configuration does not do, in sentences."""
    notes = [
        "HTTP APIs take bodies of up to 10 MB: send larger files by direct upload to S3",
        "HTTP APIs wait 30 s for an answer and pass it on when it is whole: no server-sent events, no longer Prefer: wait",
        "tokens are verified by the services: JWT authorizers know RSA and ECDSA, and Trenza signs with Ed25519",
        "how many requests are let through is set at the stage (ThrottlingRateLimit), not in this document",
    ]
    addresses = {route.service: route.urls for route in public_routes(plan)}
    for service, urls in addresses.items():
        if len(urls) > 1:
            notes.append(f"{service} has {len(urls)} addresses and API Gateway uses one, {urls[0]}: name a load balancer's")
        if _is_private(urlsplit(urls[0]).hostname or ""):
            notes.append(f"API Gateway does not reach {urls[0]} ({service}): write an address that is public")
    return tuple(notes)


def _path(uri: str, service: str) -> dict[str, Any]:
    return {
        "x-amazon-apigateway-any-method": {
            "tags": [service],
            "responses": {"default": {"description": f"The answer of {service}."}},
            "x-amazon-apigateway-integration": {
                "type": "http_proxy",
                "httpMethod": "ANY",
                "uri": uri,
                "connectionType": "INTERNET",
                "payloadFormatVersion": "1.0",
                "timeoutInMillis": _LONGEST_MILLISECONDS,
            },
        }
    }


def _cors(plan: Plan) -> dict[str, Any]:
    if not plan.settings.cors_origins:
        return {}
    return {
        "x-amazon-apigateway-cors": {
            "allowOrigins": list(plan.settings.cors_origins),
            "allowMethods": list(CORS_METHODS),
            "allowHeaders": list(CORS_REQUEST_HEADERS),
            "exposeHeaders": list(CORS_RESPONSE_HEADERS),
            "maxAge": 600,
        }
    }


def _is_private(host: str) -> bool:
    """Whether a host is surely none of the public internet's: a private address, or a name without a domain."""
    try:
        return not ip_address(host).is_global
    except ValueError:
        return "." not in host
