"""The document of a deployment's contracts: each operation's parameters, result, errors, idempotence and time-out."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from trenza.chassis.contract.description import describe

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trenza.chassis.service import Service

__all__ = ["FORMAT", "describe_contracts"]

FORMAT = "trenza contracts 1"
"""What the member ``format`` says."""


def describe_contracts(services: Iterable[Service], *, title: str) -> dict[str, JsonValue]:
    """The document, as JSON in a stable order. Schemas are JSON Schema 2020-12, with ``$defs`` of their own for each service.

    Events are not part of it, as the AsyncAPI document has them, nor public routes, which OpenAPI has.
    """
    return {
        "format": FORMAT,
        "title": title,
        "version": version("trenza"),
        "services": {service.name: _calls_of(service) for service in sorted(services, key=lambda service: service.name)},
    }


def _calls_of(service: Service) -> dict[str, Any]:
    contract = service.contract
    described = describe(service=service.name, paths=(), operations=tuple(contract.operations.values()), events=())
    return {name: described[name] for name in ("operations", "errors", "$defs")}
