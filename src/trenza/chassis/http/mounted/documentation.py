"""The OpenAPI documents of mounted applications, as part of the platform's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI

from trenza.chassis.auth.permissions import RequiredScope
from trenza.chassis.http.documentation import documented_problems
from trenza.chassis.http.mounted.serving import Mounted

__all__ = ["install_mounted_documents"]

_COMPONENTS: Final = "#/components/"
_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "trace")


def install_mounted_documents(app: FastAPI, mounts: Sequence[Mounted]) -> None:
    """Add the operations of mounted applications to the platform's document, below their prefixes.

    Their components and operation ids carry the service's name, so that two applications may both have an ``Item``.
    """
    made: Callable[[], dict[str, Any]] = app.openapi
    finished: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not finished:
            document = made()
            for mounted in mounts:
                _join(document, mounted)
            finished.append(document)
        return finished[0]

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _join(document: dict[str, Any], mounted: Mounted) -> None:
    own = _renamed(mounted.declared.app.openapi(), mounted.service)
    for kind, components in own.get("components", {}).items():
        target = document.setdefault("components", {}).setdefault(kind, {})
        target.update({f"{mounted.service}.{name}": component for name, component in components.items()})
    for path, item in own.get("paths", {}).items():
        for method in _METHODS:
            if method in item:
                _complete(item[method], mounted, method.upper(), path)
        document["paths"][f"{mounted.prefix}{path}"] = item


def _complete(operation: dict[str, Any], mounted: Mounted, method: str, path: str) -> None:
    """What the platform knows of an operation and its application does not."""
    operation["tags"] = operation.get("tags") or [mounted.service]
    if "operationId" in operation:
        operation["operationId"] = f"{mounted.service}_{operation['operationId']}"
    asked = [{f"{mounted.service}.{name}": scopes for name, scopes in one.items()} for one in operation.get("security", ())]
    if isinstance(mounted.declared.declared(method, path), RequiredScope):
        asked = [{"Bearer": [], **one} for one in asked or ({},)]
        for status, answer in documented_problems(401, 403).items():
            operation["responses"].setdefault(str(status), answer)
    if asked:
        operation["security"] = asked


def _renamed(part: Any, service: str) -> Any:
    """A copy in which every reference to a component has the service's name in it."""
    if isinstance(part, dict):
        return {key: _renamed(value, service) for key, value in part.items()}
    if isinstance(part, list):
        return [_renamed(value, service) for value in part]
    if isinstance(part, str) and part.startswith(_COMPONENTS):
        kind, _, name = part.removeprefix(_COMPONENTS).partition("/")
        return f"{_COMPONENTS}{kind}/{service}.{name}"
    return part
