"""A contract as JSON, for documents and for telling whether a new version still serves old callers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import JsonValue, TypeAdapter
from pydantic_core import to_jsonable_python

from trenza.chassis.contract.messages import Event
from trenza.chassis.contract.operations import Operation

__all__ = ["describe"]

_Mode = Literal["validation", "serialization"]


def describe(
    *, service: str, paths: tuple[str, ...], operations: Iterable[Operation], events: Iterable[type[Event]]
) -> dict[str, JsonValue]:
    """Operations, parameters, results, errors and events; JSON Schemas (2020-12) with shared ``$defs``, in a stable order."""
    operations, events = sorted(operations, key=lambda one: one.name), sorted(events, key=lambda one: one.message_type)
    inputs: list[tuple[str, _Mode, TypeAdapter[Any]]] = []
    for one in operations:
        inputs.append((f"{one.name} parameters", "validation", TypeAdapter(one.parameters)))
        inputs.append((f"{one.name} result", "serialization", TypeAdapter(one.result)))
    inputs.extend((event.message_type, "serialization", TypeAdapter(event)) for event in events)
    schemas, definitions = TypeAdapter.json_schemas(inputs)
    by_name: dict[str, Any] = {str(name): schema for (name, _mode), schema in schemas.items()}
    return {
        "service": service,
        "paths": list(paths),
        "operations": {
            one.name: {
                "idempotent": one.idempotent,
                "timeout": one.timeout,
                "parameters": by_name[f"{one.name} parameters"],
                "defaults": to_jsonable_python(dict(one.defaults)),
                "result": by_name[f"{one.name} result"],
                "errors": sorted(one.error_by_code),
            }
            for one in operations
        },
        "errors": {
            code: {"status": error.status, "title": error.title}
            for code, error in sorted({code: error for one in operations for code, error in one.error_by_code.items()}.items())
        },
        "events": {event.message_type: {"key": event.ordering_field, "schema": by_name[event.message_type]} for event in events},
        "$defs": definitions.get("$defs", {}),
    }
