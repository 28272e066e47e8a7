"""What the OpenAPI document says of every route alike: the problem document, and the answers that permissions bring about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI

from trenza.chassis.http.problem import PROBLEM_MEDIA_TYPE
from trenza.chassis.http.rate_limits.door import UNCOUNTED_PATHS

__all__ = ["documented_problems", "install_documentation"]

_METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options")
_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}
_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457; more members name the field, its limit and the remedy.",
    "required": ["type", "title", "status", "detail", "instance", "code", "correlation_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string", "description": "Stable; for programs."},
        "correlation_id": {"type": "string"},
        "field": {"type": "string"},
        "remedy": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "Of INVALID_REQUEST: every field that is not as it must be.",
            "items": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("field", "in", "message", "limit")},
            },
        },
    },
}
_UNUSED: Final = ("HTTPValidationError", "ValidationError")
"""FastAPI's own shape of a 422, which no route of ours answers."""


def documented_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route for these statuses. 401, 403, 415, 422 and 429 are added where they follow from the route."""
    content = {PROBLEM_MEDIA_TYPE: {"schema": _SCHEMA}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install_documentation(app: FastAPI) -> None:
    """Complete the application's OpenAPI document: what follows from scopes and bodies."""
    made: Callable[[], dict[str, Any]] = app.openapi
    finished: list[dict[str, Any]] = []

    def openapi() -> dict[str, Any]:
        if not finished:
            finished.append(_completed(made()))
        return finished[0]

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    for path, operation in _operations(document):
        answers = operation["responses"]
        if path not in UNCOUNTED_PATHS:
            answers.setdefault("429", documented_problems(429)[429])
        if operation.get("security"):
            for status, answer in documented_problems(401, 403).items():
                answers.setdefault(str(status), answer)
        if "requestBody" in operation:
            answers.setdefault("415", documented_problems(415)[415])
        if "HTTPValidationError" in str(answers.get("422")):
            answers["422"] = documented_problems(422)[422]
        operation["responses"] = dict(sorted(answers.items()))
    for name in _UNUSED:
        schemas.pop(name, None)
    return document


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        yield from ((path, item[method]) for method in _METHODS if method in item)
